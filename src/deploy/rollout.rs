//! An image onto nodes: everything is looked up before anything is changed, and nothing is started before everything is valid.

use serde::Serialize;
use serde_json::Value;

use super::instance_info::NodeSettings;
use super::ironic::{Change, Ending, Ironic, Limits, Node, Verdict, follow};
use crate::error::{ExitCode, Failure, Result};
use crate::report::Report;

/// How far to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Set the nodes up and validate them.
    Apply,
    /// And start the deployment.
    Start,
    /// And follow it to its end.
    Wait(Limits),
}

/// What became of a node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// The node's name or UUID.
    pub node: String,
    /// Its UUID.
    pub uuid: String,
    /// What was set on it.
    pub change: Change,
    /// What Ironic's validation finds wrong.
    pub invalid: Vec<Verdict>,
    /// Whether its deployment was started.
    pub started: bool,
    /// How that ended, if it was followed.
    pub ending: Option<Ending>,
}

/// Tells the nodes what to install, and starts and follows it as far as asked. `config_drive` is what cloud-init finds on the node.
///
/// # Errors
/// When a node is unknown, not in a state for it, or Ironic refuses or finds it invalid; what was set on it stays and is started by nothing.
pub fn roll_out(
    ironic: &Ironic<'_>,
    names: &[String],
    settings: &NodeSettings,
    config_drive: Option<&Value>,
    extent: Extent,
    report: &Report,
) -> Result<Vec<Outcome>> {
    let step = report.step("setting up nodes");
    let mut nodes: Vec<Node> = Vec::new();
    for name in names {
        let node = ironic.node(name)?;
        if nodes.iter().any(|other| other.uuid == node.uuid) {
            continue;
        }
        node.check_settable(settings.deploy_interface)?;
        if extent != Extent::Apply {
            node.deploying_verb()?;
        }
        nodes.push(node);
    }
    let mut outcomes = Vec::new();
    for node in &nodes {
        step.item(&node.title());
        let change = ironic.apply(node, settings)?;
        let invalid = ironic.validate(node)?;
        outcomes.push(Outcome { node: node.title(), uuid: node.uuid.clone(), change, invalid, started: false, ending: None });
    }
    let wrong: Vec<&Outcome> = outcomes.iter().filter(|outcome| !outcome.invalid.is_empty()).collect();
    if !wrong.is_empty() {
        return Err(invalid(&wrong).into());
    }
    step.finish(&format!("{} valid", outcomes.iter().map(|o| o.node.as_str()).collect::<Vec<_>>().join(", ")));
    if extent == Extent::Apply {
        return Ok(outcomes);
    }
    for (node, outcome) in nodes.iter().zip(&mut outcomes) {
        ironic.start(node, config_drive)?;
        outcome.started = true;
    }
    if let Extent::Wait(limits) = extent {
        let endings = follow(ironic, &nodes, limits, report)?;
        for (outcome, ending) in outcomes.iter_mut().zip(endings) {
            outcome.ending = Some(ending);
        }
    }
    Ok(outcomes)
}

fn invalid(wrong: &[&Outcome]) -> Failure {
    let mut said = Vec::new();
    let mut hints = Vec::new();
    for outcome in wrong {
        for verdict in &outcome.invalid {
            // Ironic often gives the same reason for boot and deploy.
            let line = format!("{}: {}", outcome.node, verdict.reason.trim_end_matches('.'));
            if !said.contains(&line) {
                said.push(line);
            }
            let hint = verdict.explanation.as_ref().map(ToString::to_string);
            hints.extend(hint.filter(|hint| !hints.contains(hint)));
        }
    }
    let mut failure = Failure::new(ExitCode::Registry, format!("validating nodes: {}", said.join("; ")));
    for hint in hints {
        failure = failure.hint(hint);
    }
    failure.hint("the image was set on the nodes all the same; nothing was started")
}

/// The failure that nodes which did not become active are, if there is any.
#[must_use]
pub fn failed(outcomes: &[Outcome]) -> Option<Failure> {
    let bad: Vec<&Ending> = outcomes.iter().filter_map(|outcome| outcome.ending.as_ref()).filter(|ending| !ending.active).collect();
    if bad.is_empty() {
        return None;
    }
    let said: Vec<String> =
        bad.iter().map(|e| format!("{} is '{}': {}", e.node, e.state, e.error.as_deref().unwrap_or("no reason given"))).collect();
    let mut failure = Failure::new(ExitCode::Registry, format!("deploying: {}", said.join("; ")));
    let mut hints: Vec<String> = Vec::new();
    for ending in bad {
        let hint = match &ending.explanation {
            Some(explanation) => explanation.to_string(),
            None => format!("Ironic's log tells more; free the node: baremetal node undeploy {}", ending.node),
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
