//! An image onto nodes: everything is looked up before anything is changed, and nothing is started
//! before everything is valid. Whatever happens to one node, the outcome of every node is reported.

use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

use super::instance_info::NodeSettings;
use super::ironic::{Change, Ending, Followed, Ironic, Limits, Node, Verdict, follow};
use crate::error::{ExitCode, Failure, Result, exit_code};
use crate::process;
use crate::report::Report;

/// How far to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Set the nodes up and validate them.
    Apply,
    /// And start the deployment.
    Start,
    /// And follow it to its end.
    Wait(Limits),
}

/// The actions on the nodes.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    /// The settings of every node.
    pub settings: &'a NodeSettings,
    /// The image's architecture, if it is known.
    pub arch: Option<&'a str>,
    /// The config drives of nodes, by the names that the user gave for the nodes.
    pub config_drives: &'a BTreeMap<String, Value>,
    /// How far to go.
    pub extent: Extent,
}

/// How far a node came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Progress {
    /// The image may not go onto it; it was not changed.
    Refused,
    /// It was not changed, because of another node or a signal.
    Untouched,
    /// Setting it up failed.
    NotSet,
    /// Ironic's validation finds something wrong.
    Invalid,
    /// It is set up and valid; no more was asked for.
    Valid,
    /// It is set up and valid, and was not started because of another node or a signal.
    NotStarted,
    /// Starting its deployment failed.
    StartFailed,
    /// Its deployment was started.
    Started,
    /// Its deployment goes on without osimg.
    Open,
    /// Its deployment failed.
    Failed,
    /// It is active.
    Active,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused",
            Self::Untouched => "untouched",
            Self::NotSet => "not set up",
            Self::Invalid => "invalid",
            Self::Valid => "valid",
            Self::NotStarted => "valid, not started",
            Self::StartFailed => "start failed",
            Self::Started => "started",
            Self::Open => "goes on",
            Self::Failed => "failed",
            Self::Active => "active",
        })
    }
}

/// The outcome for a node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Outcome {
    /// The node's name or UUID.
    pub node: String,
    /// Its UUID, if the node was found.
    pub uuid: Option<String>,
    /// How far it came.
    pub progress: Progress,
    /// The settings that were changed on it.
    pub change: Change,
    /// The problems that Ironic's validation finds.
    pub invalid: Vec<Verdict>,
    /// Whether its deployment was started.
    pub started: bool,
    /// How that ended, if it was followed.
    pub ending: Option<Ending>,
    /// Why it did not come further.
    pub error: Option<String>,
}

impl Outcome {
    fn new(node: &str, uuid: Option<&str>, progress: Progress) -> Self {
        Self {
            node: node.to_owned(),
            uuid: uuid.map(str::to_owned),
            progress,
            change: Change::default(),
            invalid: Vec::new(),
            started: false,
            ending: None,
            error: None,
        }
    }

    /// The state to print for the node.
    #[must_use]
    pub(crate) fn state(&self) -> String {
        match &self.ending {
            Some(ending) if !ending.open => ending.state.clone(),
            Some(ending) => format!("{}: {}", self.progress, ending.state),
            None => self.progress.to_string(),
        }
    }

    fn fail(&mut self, progress: Progress, error: &anyhow::Error) {
        self.progress = progress;
        self.error = Some(format!("{error:#}"));
    }
}

/// The outcomes of all nodes.
#[derive(Debug)]
pub(crate) struct Rollout {
    /// One for each node, in the order in which they were named.
    pub nodes: Vec<Outcome>,
    /// The failure, unless everything that was asked for was done.
    pub failure: Option<anyhow::Error>,
}

/// A node with its outcome so far, and its place among the names.
struct Target {
    node: Node,
    name: String,
    at: usize,
}

/// Sets the image on the nodes, and starts and follows the deployment as far as asked.
pub(crate) fn roll_out(
    ironic: &Ironic<'_>,
    names: &[String],
    plan: &Plan<'_>,
    report: &Report,
) -> Rollout {
    let mut nodes = Vec::new();
    match all_steps(ironic, names, plan, &mut nodes, report) {
        Ok(()) => Rollout { nodes, failure: None },
        Err(failure) => Rollout { nodes, failure: Some(failure) },
    }
}

fn all_steps(
    ironic: &Ironic<'_>,
    names: &[String],
    plan: &Plan<'_>,
    outcomes: &mut Vec<Outcome>,
    report: &Report,
) -> Result<()> {
    let step = report.step("setting up nodes");
    let targets = look_up(ironic, names, plan, outcomes)?;
    set_up(ironic, &targets, plan, outcomes, |title| step.item(title), report)?;
    step.finish(&format!(
        "{} valid",
        outcomes.iter().map(|o| o.node.as_str()).collect::<Vec<_>>().join(", ")
    ));
    if plan.extent == Extent::Apply {
        return Ok(());
    }
    let mut errors = start(ironic, &targets, plan, outcomes);
    if let Extent::Wait(limits) = plan.extent {
        let started: Vec<&Target> =
            targets.iter().filter(|t| outcomes.get(t.at).is_some_and(|o| o.started)).collect();
        if !started.is_empty() {
            errors.extend(watch(ironic, &started, limits, outcomes, report));
        }
    }
    merged("deploying", errors)
}

/// Looks all nodes up and checks them. When one of them is refused, none is changed.
fn look_up(
    ironic: &Ironic<'_>,
    names: &[String],
    plan: &Plan<'_>,
    outcomes: &mut Vec<Outcome>,
) -> Result<Vec<Target>> {
    let mut targets: Vec<Target> = Vec::new();
    let mut errors = Vec::new();
    for name in names {
        if let Some(code) = process::stop_requested() {
            if !errors.iter().any(|error| exit_code(error) == code) {
                errors.push(process::stopped(code).into());
            }
            outcomes.push(Outcome::new(name, None, Progress::Untouched));
            continue;
        }
        let node = match ironic.node(name) {
            Ok(node) => node,
            Err(error) => {
                let mut outcome = Outcome::new(name, None, Progress::Refused);
                outcome.fail(Progress::Refused, &error);
                outcomes.push(outcome);
                errors.push(error);
                continue;
            }
        };
        if targets.iter().any(|other| other.node.uuid == node.uuid) {
            continue;
        }
        let mut outcome = Outcome::new(&node.title(), Some(&node.uuid), Progress::Untouched);
        if let Err(error) = check(&node, ironic, plan) {
            outcome.fail(Progress::Refused, &error);
            errors.push(error);
        }
        targets.push(Target { node, name: name.clone(), at: outcomes.len() });
        outcomes.push(outcome);
    }
    merged("setting up nodes", errors)?;
    Ok(targets)
}

/// Whether the image may go onto the node, and be started there if that is asked for.
fn check(node: &Node, ironic: &Ironic<'_>, plan: &Plan<'_>) -> Result<()> {
    node.check_settable(plan.settings.deploy_interface, ironic.project().as_deref(), plan.arch)?;
    if plan.extent != Extent::Apply {
        node.deploying_verb()?;
    }
    Ok(())
}

/// Sets every node up and validates it.
fn set_up(
    ironic: &Ironic<'_>,
    targets: &[Target],
    plan: &Plan<'_>,
    outcomes: &mut [Outcome],
    show: impl Fn(&str),
    report: &Report,
) -> Result<()> {
    let mut errors = Vec::new();
    for target in targets {
        let Some(outcome) = outcomes.get_mut(target.at) else { continue };
        // The first signal is one error: the nodes after it stay untouched.
        if let Err(stop) = process::check_stop() {
            errors.push(stop);
            break;
        }
        show(&outcome.node);
        // The set-up of many nodes takes minutes: another consumer may have taken this one in the
        // meantime.
        let applied = ironic
            .node(&target.node.uuid)
            .and_then(|now| check(&now, ironic, plan).map(|()| now))
            .and_then(|now| ironic.apply(&now, plan.settings, &mut outcome.change));
        if outcome.change.refused.iter().any(|field| field == "instance_uuid") {
            report.warn(&format!(
                "{}: {} may not set its instance_uuid, so that another consumer may take the node",
                outcome.node,
                ironic.who()
            ));
        }
        match applied.and_then(|()| ironic.validate(&target.node)) {
            Ok(invalid) => outcome.invalid = invalid,
            Err(error) => {
                outcome.fail(Progress::NotSet, &error);
                errors.push(error);
                continue;
            }
        }
        outcome.progress =
            if outcome.invalid.is_empty() { Progress::Valid } else { Progress::Invalid };
    }
    let wrong: Vec<&Outcome> =
        outcomes.iter().filter(|outcome| outcome.progress == Progress::Invalid).collect();
    if !wrong.is_empty() {
        errors.push(invalid(&wrong).into());
    }
    if !errors.is_empty() && plan.extent != Extent::Apply {
        outcomes
            .iter_mut()
            .filter(|o| o.progress == Progress::Valid)
            .for_each(|o| o.progress = Progress::NotStarted);
    }
    merged("setting up nodes", errors)
}

/// Starts the deployment of every node. One that fails does not keep the others.
fn start(
    ironic: &Ironic<'_>,
    targets: &[Target],
    plan: &Plan<'_>,
    outcomes: &mut [Outcome],
) -> Vec<anyhow::Error> {
    let mut errors = Vec::new();
    for target in targets {
        if let Err(stop) = process::check_stop() {
            outcomes
                .iter_mut()
                .filter(|o| o.progress == Progress::Valid)
                .for_each(|o| o.progress = Progress::NotStarted);
            errors.push(stop);
            break;
        }
        let Some(outcome) = outcomes.get_mut(target.at) else { continue };
        match ironic.start(&target.node, plan.config_drives.get(&target.name)) {
            Ok(()) => {
                outcome.started = true;
                outcome.progress = Progress::Started;
            }
            Err(error) => {
                outcome.fail(Progress::StartFailed, &error);
                errors.push(error);
            }
        }
    }
    errors
}

/// Follows the started nodes.
fn watch(
    ironic: &Ironic<'_>,
    started: &[&Target],
    limits: Limits,
    outcomes: &mut [Outcome],
    report: &Report,
) -> Vec<anyhow::Error> {
    let nodes: Vec<Node> = started.iter().map(|target| target.node.clone()).collect();
    let Followed { endings, stopped } = follow(ironic, &nodes, limits, report);
    let mut errors: Vec<anyhow::Error> = failed(&endings).into_iter().map(Into::into).collect();
    errors.extend(stopped);
    for (target, ending) in started.iter().zip(endings) {
        let Some(outcome) = outcomes.get_mut(target.at) else { continue };
        outcome.progress = match (ending.active, ending.open) {
            (true, _) => Progress::Active,
            (false, true) => Progress::Open,
            (false, false) => Progress::Failed,
        };
        outcome.error.clone_from(&ending.error);
        outcome.ending = Some(ending);
    }
    errors
}

/// One error for all of them. A signal or a time limit decides the exit code.
fn merged(doing: &str, mut errors: Vec<anyhow::Error>) -> Result<()> {
    if errors.len() < 2 {
        return errors.pop().map_or(Ok(()), Err);
    }
    let code = errors.iter().map(exit_code).find(|code| *code as u8 >= ExitCode::TimedOut as u8);
    let code = code.or_else(|| errors.first().map(exit_code)).unwrap_or(ExitCode::Registry);
    let text: Vec<String> = errors.iter().map(|error| format!("{error:#}")).collect();
    let mut failure = Failure::new(code, format!("{doing}: {}", text.join("; ")));
    let mut hints: Vec<&String> = Vec::new();
    for hint in errors
        .iter()
        .flat_map(|error| error.chain())
        .filter_map(|cause| cause.downcast_ref::<Failure>())
        .flat_map(Failure::hints)
    {
        if !hints.contains(&hint) {
            hints.push(hint);
            failure = failure.hint(hint);
        }
    }
    Err(failure.into())
}

fn invalid(wrong: &[&Outcome]) -> Failure {
    let mut reasons = Vec::new();
    let mut hints = Vec::new();
    for outcome in wrong {
        for verdict in &outcome.invalid {
            // Ironic often gives the same reason for boot and deploy.
            let line = format!("{}: {}", outcome.node, verdict.reason.trim_end_matches('.'));
            if !reasons.contains(&line) {
                reasons.push(line);
            }
            let hint = verdict.explanation.as_ref().map(ToString::to_string);
            hints.extend(hint.filter(|hint| !hints.contains(hint)));
        }
    }
    let mut failure =
        Failure::new(ExitCode::Registry, format!("validating nodes: {}", reasons.join("; ")));
    for hint in hints {
        failure = failure.hint(hint);
    }
    failure.hint("the image was set on the nodes all the same; nothing was started")
}

/// The failure of the nodes whose deployment has ended and which are not active, if there are any.
fn failed(endings: &[Ending]) -> Option<Failure> {
    let bad: Vec<&Ending> =
        endings.iter().filter(|ending| !ending.active && !ending.open).collect();
    if bad.is_empty() {
        return None;
    }
    let reasons: Vec<String> = bad
        .iter()
        .map(|e| {
            format!(
                "{} is '{}': {}",
                e.node,
                e.state,
                e.error.as_deref().unwrap_or("no reason given")
            )
        })
        .collect();
    let mut failure =
        Failure::new(ExitCode::Registry, format!("deploying: {}", reasons.join("; ")));
    let mut hints: Vec<String> = Vec::new();
    for ending in bad {
        let hint = match &ending.explanation {
            Some(explanation) => explanation.to_string(),
            None => format!(
                "Ironic's log has the details; free the node: baremetal node undeploy {}",
                ending.node
            ),
        };
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    }
    for hint in hints {
        failure = failure.hint(hint);
    }
    Some(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_errors_become_one_with_every_hint_once_and_a_signal_decides_the_exit_code() {
        let error = |code, text: &str| anyhow::Error::from(Failure::new(code, text).hint("look"));
        let one = merged("deploying", vec![error(ExitCode::Registry, "a")]).expect_err("one");
        assert_eq!(one.to_string(), "a");
        let several = vec![error(ExitCode::Registry, "a"), error(ExitCode::Interrupted, "b")];
        let several = merged("deploying", several).expect_err("several");
        assert_eq!(exit_code(&several), ExitCode::Interrupted);
        assert_eq!(crate::error::render(&several), "error: deploying: a; b\nhint: look");
        merged("deploying", Vec::new()).expect("none");
    }
}
