//! Follows nodes through their states until each is active or has failed.

use serde::Serialize;
use std::time::{Duration, Instant};

use super::explain::{Explanation, explain};
use super::{Ironic, Node};
use crate::error::{ExitCode, Failure};
use crate::process;
use crate::report::{Report, Unit};

/// The shortest and the longest time between two looks.
const SOON: Duration = Duration::from_millis(250);
const LATE: Duration = Duration::from_secs(10);
/// How often in a row Ironic may fail to answer.
const FAILURES: u32 = 8;

/// How long to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// In all.
    pub total: Duration,
}

/// The end of a node's deployment, or the last that was seen of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Ending {
    /// The node's name or UUID.
    pub node: String,
    /// Its UUID.
    pub uuid: String,
    /// The last state.
    pub state: String,
    /// Whether it is active.
    pub active: bool,
    /// Whether the deployment goes on without osimg.
    pub open: bool,
    /// The error, if there is one.
    pub error: Option<String>,
    /// An explanation of Ironic's error.
    pub explanation: Option<Explanation>,
    /// How long it took.
    pub seconds: f64,
}

/// The endings of several nodes, in their order.
#[derive(Debug)]
pub(crate) struct Followed {
    /// One for each node.
    pub endings: Vec<Ending>,
    /// Why osimg no longer follows, when some deployments are still going on.
    pub stopped: Option<anyhow::Error>,
}

/// A node that is followed.
struct Followee {
    node: Node,
    ending: Option<Ending>,
    /// How often in a row Ironic failed to report it.
    failures: u32,
}

/// Follows the nodes until every one is active or has failed, and reports every change of state.
/// The time limit, a signal or an Ironic that no longer answers ends it earlier: the deployments go
/// on without osimg.
pub(crate) fn follow(
    ironic: &Ironic<'_>,
    nodes: &[Node],
    limits: Limits,
    report: &Report,
) -> Followed {
    let began = Instant::now();
    let step = report.step("deploying");
    let mut all: Vec<Followee> = nodes
        .iter()
        .map(|node| Followee { node: node.clone(), ending: None, failures: 0 })
        .collect();
    let mut wait = SOON;
    let mut lost: Option<anyhow::Error> = None;
    let stopped = loop {
        let mut changed = false;
        for one in all.iter_mut().filter(|one| one.ending.is_none()) {
            let now = match ironic.node(&one.node.uuid) {
                Ok(now) => now,
                // A conductor that restarts, a proxy that fails: the deployment does not depend on
                // being watched.
                Err(error) => {
                    one.failures += 1;
                    if one.failures >= FAILURES {
                        let error = error.context(format!(
                            "following the node {}, which goes on without osimg",
                            one.node.title()
                        ));
                        one.ending = Some(open_ending(&one.node, began, &format!("{error:#}")));
                        lost = lost.or(Some(error));
                    }
                    continue;
                }
            };
            one.failures = 0;
            if (&now.state, &now.installer_says) != (&one.node.state, &one.node.installer_says) {
                changed = true;
                let text = now
                    .installer_says
                    .as_ref()
                    .filter(|text| Some(*text) != one.node.installer_says.as_ref());
                let text = text.map(|text| format!(": {}", printable(text))).unwrap_or_default();
                report.note(&format!(
                    "{}: {}{text} (after {:.0} s)",
                    now.title(),
                    now.state,
                    began.elapsed().as_secs_f64()
                ));
            }
            one.ending = end(&now, began);
            one.node = now;
        }
        let open: Vec<&Followee> = all.iter().filter(|one| one.ending.is_none()).collect();
        step.progress(Unit::Items, (all.len() - open.len()) as u64, all.len() as u64);
        let states: Vec<String> =
            open.iter().map(|one| format!("{}: {}", one.node.title(), one.node.state)).collect();
        step.item(&states.join(", "));
        if open.is_empty() {
            break None;
        }
        if began.elapsed() >= limits.total {
            let text = format!(
                "following the deployment: the time limit of {} s has passed; {}",
                limits.total.as_secs(),
                states.join(", ")
            );
            break Some(left(Failure::new(ExitCode::TimedOut, text), &open));
        }
        wait = if changed { SOON } else { (wait * 3 / 2).min(LATE) };
        if process::pause(wait.min(limits.total.saturating_sub(began.elapsed()))).is_err() {
            let text = format!(
                "stopped while following the deployment, which goes on; {}",
                states.join(", ")
            );
            break Some(left(
                Failure::new(process::stop_requested().unwrap_or(ExitCode::Interrupted), text),
                &open,
            ));
        }
    };
    let why = stopped.as_ref().map(ToString::to_string).unwrap_or_default();
    let endings: Vec<Ending> = all
        .into_iter()
        .map(|one| one.ending.unwrap_or_else(|| open_ending(&one.node, began, &why)))
        .collect();
    step.finish(&format!(
        "{} of {} active",
        endings.iter().filter(|e| e.active).count(),
        endings.len()
    ));
    Followed { endings, stopped: stopped.map(anyhow::Error::from).or(lost) }
}

fn left(mut failure: Failure, open: &[&Followee]) -> Failure {
    for one in open {
        let title = one.node.title();
        failure = failure.hint(format!(
            "look: baremetal node show {title} -f value -c provision_state -c last_error; give it \
             up: baremetal node undeploy {title}"
        ));
    }
    failure
}

/// The ending of a node that is no longer followed.
fn open_ending(node: &Node, began: Instant, error: &str) -> Ending {
    Ending {
        node: node.title(),
        uuid: node.uuid.clone(),
        state: node.state.clone(),
        active: false,
        open: true,
        error: Some(error.to_owned()),
        explanation: None,
        seconds: seconds_since(began),
    }
}

fn seconds_since(began: Instant) -> f64 {
    (began.elapsed().as_secs_f64() * 10.0).round() / 10.0
}

/// The ending of a node that has one.
fn end(node: &Node, began: Instant) -> Option<Ending> {
    let active = match node.state.as_str() {
        "active" => true,
        "deploying" | "wait call-back" | "rebuilding" | "deploy hold" => return None,
        // A failed deployment ends in one of these; any other state was set by someone else in the
        // meantime.
        _ => false,
    };
    let error = (!active).then(|| {
        node.last_error
            .clone()
            .map_or_else(|| format!("the node became '{}'", node.state), |e| printable(&e))
    });
    Some(Ending {
        node: node.title(),
        uuid: node.uuid.clone(),
        state: node.state.clone(),
        active,
        open: false,
        explanation: error.as_deref().and_then(|error| explain(error, &node.title())),
        error,
        seconds: seconds_since(began),
    })
}

/// Someone else's text on one line.
fn printable(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().filter(|c| !c.is_control()).take(1000).collect()
}
