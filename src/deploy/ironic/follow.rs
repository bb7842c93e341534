//! Follows nodes through their states until each is active or has failed.

use serde::Serialize;
use std::time::{Duration, Instant};

use super::explain::{Explanation, explain};
use super::{Ironic, Node};
use crate::error::{ExitCode, Failure, Result};
use crate::process;
use crate::report::{Report, Unit};

/// The shortest and the longest time between two looks.
const SOON: Duration = Duration::from_millis(250);
const LATE: Duration = Duration::from_secs(10);
/// How often in a row Ironic may fail to answer.
const FAILURES: u32 = 8;

/// How long to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// In all.
    pub total: Duration,
}

/// How the deployment of a node ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ending {
    /// The node's name or UUID.
    pub node: String,
    /// Its UUID.
    pub uuid: String,
    /// The last state.
    pub state: String,
    /// Whether it is active.
    pub active: bool,
    /// What Ironic says went wrong.
    pub error: Option<String>,
    /// The same for a person.
    pub explanation: Option<Explanation>,
    /// How long it took.
    pub seconds: f64,
}

/// Follows the nodes until every one is active or has failed. Says every change of state.
///
/// # Errors
/// When the time is over or a signal comes: says in which state each node is left. It goes on without osimg.
pub fn follow(ironic: &Ironic<'_>, nodes: &[Node], limits: Limits, report: &Report) -> Result<Vec<Ending>> {
    let began = Instant::now();
    let step = report.step("deploying");
    let mut seen: Vec<Node> = nodes.to_vec();
    let mut endings: Vec<Option<Ending>> = nodes.iter().map(|_| None).collect();
    let (mut wait, mut failures) = (SOON, 0);
    loop {
        let mut changed = false;
        for (node, ending) in seen.iter_mut().zip(&mut endings).filter(|(_, ending)| ending.is_none()) {
            let now = match ironic.node(&node.uuid) {
                Ok(now) => now,
                // A conductor that restarts, a proxy that stumbles: the deployment does not depend on our looking.
                Err(error) => {
                    failures += 1;
                    if failures >= FAILURES {
                        return Err(error.context(format!("following the node {}, which goes on without osimg", node.title())));
                    }
                    continue;
                }
            };
            failures = 0;
            if (&now.state, &now.installer_says) != (&node.state, &node.installer_says) {
                changed = true;
                let says = now.installer_says.as_ref().filter(|says| Some(*says) != node.installer_says.as_ref());
                let says = says.map(|says| format!(": {}", printable(says))).unwrap_or_default();
                report.note(&format!("{}: {}{says} (after {:.0} s)", now.title(), now.state, began.elapsed().as_secs_f64()));
            }
            *ending = end(&now, began);
            *node = now;
        }
        let open = endings.iter().filter(|ending| ending.is_none()).count();
        step.progress(Unit::Items, (endings.len() - open) as u64, endings.len() as u64);
        let states: Vec<String> =
            seen.iter().zip(&endings).filter(|(_, e)| e.is_none()).map(|(n, _)| format!("{}: {}", n.title(), n.state)).collect();
        step.item(&states.join(", "));
        if open == 0 {
            let endings: Vec<Ending> = endings.into_iter().flatten().collect();
            step.finish(&format!("{} of {} active", endings.iter().filter(|e| e.active).count(), endings.len()));
            return Ok(endings);
        }
        if began.elapsed() >= limits.total {
            let text =
                format!("following the deployment: the time limit of {} s has passed; {}", limits.total.as_secs(), states.join(", "));
            return Err(left(Failure::new(ExitCode::TimedOut, text), &seen, &endings).into());
        }
        wait = if changed { SOON } else { (wait * 3 / 2).min(LATE) };
        let until = Instant::now() + wait.min(limits.total.saturating_sub(began.elapsed()));
        while Instant::now() < until {
            if let Some(code) = process::stop_requested() {
                let text = format!("stopped while following the deployment, which goes on; {}", states.join(", "));
                return Err(left(Failure::new(code, text), &seen, &endings).into());
            }
            std::thread::sleep(until.saturating_duration_since(Instant::now()).min(Duration::from_millis(100)));
        }
    }
}

fn left(mut failure: Failure, nodes: &[Node], endings: &[Option<Ending>]) -> Failure {
    for (node, _) in nodes.iter().zip(endings).filter(|(_, ending)| ending.is_none()) {
        let title = node.title();
        failure = failure.hint(format!(
            "look: baremetal node show {title} -f value -c provision_state -c last_error; give it up: baremetal node undeploy {title}"
        ));
    }
    failure
}

/// The ending of a node that has one.
fn end(node: &Node, began: Instant) -> Option<Ending> {
    let active = match node.state.as_str() {
        "active" => true,
        "deploying" | "wait call-back" | "rebuilding" | "deploy hold" => return None,
        // Ironic fails a deployment by way of these; anything else was done by somebody else meanwhile.
        _ => false,
    };
    let error = (!active).then(|| node.last_error.clone().map_or_else(|| format!("the node became '{}'", node.state), |e| printable(&e)));
    Some(Ending {
        node: node.title(),
        uuid: node.uuid.clone(),
        state: node.state.clone(),
        active,
        explanation: error.as_deref().and_then(|error| explain(error, &node.title())),
        error,
        seconds: (began.elapsed().as_secs_f64() * 10.0).round() / 10.0,
    })
}

/// Somebody else's text on one line.
fn printable(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().filter(|c| !c.is_control()).take(1000).collect()
}
