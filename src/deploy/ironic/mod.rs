//! Ironic's API: nodes, what is set on them, validation and provisioning.

mod apply;
mod explain;
mod follow;
mod node;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::cloud::{Answer, Session, escaped};
use crate::error::{ExitCode, Failure, Result};
use crate::http::Call;
use crate::process;

pub(crate) use apply::Change;
pub(crate) use explain::Explanation;
pub use explain::explain;
pub(crate) use follow::{Ending, Followed, Limits, follow};
pub(crate) use node::Node;

/// The oldest API with the heartbeats of the anaconda interface (Xena).
const MICROVERSION: (u32, u32) = (1, 72);
/// How long a node that is locked is waited for.
const LOCKED_FOR: Duration = Duration::from_secs(60);
/// The service's type in the catalogue.
const BAREMETAL: &str = "baremetal";

/// An Ironic.
#[derive(Debug)]
pub(crate) struct Ironic<'a> {
    session: &'a Session,
    newest: (u32, u32),
    patience: Duration,
}

/// The result of validating one of a node's interfaces.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Verdict {
    /// The interface: `boot`, `deploy`, `power`.
    pub interface: String,
    /// The problem, in Ironic's words.
    pub reason: String,
    /// The explanation, if osimg has one.
    pub explanation: Option<Explanation>,
}

impl<'a> Ironic<'a> {
    /// Opens the cloud's Ironic.
    ///
    /// # Errors
    /// When it does not answer, is none, or is too old for the anaconda interface.
    pub(crate) fn open(session: &'a Session) -> Result<Self> {
        let url = session.endpoint(BAREMETAL)?;
        let doing = format!("asking {url} for its versions");
        let root =
            session.call(BAREMETAL, &Call::get("/"))?.expect(&[200, 300], &doing)?.json(&doing)?;
        let newest = root["versions"]
            .as_array()
            .into_iter()
            .flatten()
            .chain(std::iter::once(&root["default_version"]))
            .find_map(|version| parse_version(version["version"].as_str()?));
        let Some(newest) = newest else {
            return Err(Failure::new(ExitCode::Registry, format!("{doing}: this is not Ironic"))
                .hint(
                    "look at the baremetal endpoint in Keystone's catalogue, or at \
                     baremetal_endpoint_override in clouds.yaml",
                )
                .into());
        };
        if newest < MICROVERSION {
            let text = format!("{doing}: its newest is {}.{}", newest.0, newest.1);
            let hint = format!(
                "the anaconda deploy interface needs {}.{} (Xena) or later: upgrade Ironic",
                MICROVERSION.0, MICROVERSION.1
            );
            return Err(Failure::new(ExitCode::Registry, text).hint(hint).into());
        }
        Ok(Self { session, newest, patience: LOCKED_FOR })
    }

    /// Waits for nodes that a conductor has locked no longer than this; a minute otherwise.
    #[must_use]
    pub(crate) fn patience(mut self, longest: Duration) -> Self {
        self.patience = self.patience.min(longest);
        self
    }

    /// The caller's project; none without Keystone, or for the whole system.
    #[must_use]
    pub(crate) fn project(&self) -> Option<String> {
        self.session.project().map(|project| project.id)
    }

    /// The caller, for messages.
    #[must_use]
    pub(crate) fn who(&self) -> String {
        self.session.who()
    }

    /// Where it is.
    #[must_use]
    pub(crate) fn url(&self) -> String {
        self.session.endpoint(BAREMETAL).unwrap_or_default()
    }

    /// The newest microversion that it has.
    #[must_use]
    pub(crate) fn newest(&self) -> String {
        format!("{}.{}", self.newest.0, self.newest.1)
    }

    /// Any resource, for reading; `None` if the caller may not see it or it does not exist.
    ///
    /// # Errors
    /// When Ironic fails otherwise or cannot be reached.
    pub(crate) fn read(&self, path: &str, doing: &str) -> Result<Option<Value>> {
        let answer = self.call(Call::get(path))?;
        // Ironic 39 answers 500 where a token is of another scope than its policy wants.
        if answer.is(&[401, 403, 404]) || answer.message().contains("requires a scope of") {
            return Ok(None);
        }
        answer.expect(&[200], doing)?.json(doing).map(Some)
    }

    /// A node by its name or UUID.
    ///
    /// # Errors
    /// When there is none that the caller may see.
    pub(crate) fn node(&self, name: &str) -> Result<Node> {
        let doing = "looking up";
        let answer = self.call(Call::get(format!("/v1/nodes/{}", escaped(name))))?;
        let body = self.about(name, doing, answer)?.json(doing)?;
        Node::from_json(&body).ok_or_else(|| {
            Failure::new(
                ExitCode::Registry,
                format!("looking up the node {name}: Ironic did not answer with a node"),
            )
            .into()
        })
    }

    /// The faults that Ironic's own validation finds.
    ///
    /// # Errors
    /// When Ironic refuses.
    pub(crate) fn validate(&self, node: &Node) -> Result<Vec<Verdict>> {
        let answer = self.call(Call::get(format!("/v1/nodes/{}/validate", node.uuid)))?;
        let body = self.about(&node.title(), "validating", answer)?.json("validating the node")?;
        let answers: BTreeMap<String, Value> = serde_json::from_value(body).unwrap_or_default();
        // Only these decide over a deployment; a console that is not set up does not.
        let deciding = ["boot", "deploy", "management", "network", "power", "storage"];
        Ok(answers
            .into_iter()
            .filter(|(interface, answer)| {
                deciding.contains(&interface.as_str()) && answer["result"] == json!(false)
            })
            .map(|(interface, answer)| {
                let reason = answer["reason"].as_str().unwrap_or("no reason given").to_owned();
                let explanation = explain(&reason, &node.title());
                Verdict { interface, reason, explanation }
            })
            .collect())
    }

    /// Starts the deployment of a node, with a config drive if there is one.
    ///
    /// # Errors
    /// When the node's state does not allow it, or Ironic refuses.
    pub(crate) fn start(&self, node: &Node, config_drive: Option<&Value>) -> Result<()> {
        let mut body = json!({ "target": node.deploying_verb()? });
        if let (Some(drive), Some(fields)) = (config_drive, body.as_object_mut()) {
            fields.insert("configdrive".into(), drive.clone());
        }
        let call = Call::json("PUT", format!("/v1/nodes/{}/states/provision", node.uuid), &body);
        let answer = self.while_locked(&call)?;
        self.about(&node.title(), "starting the deployment of", answer).map(|_| ())
    }

    fn call(&self, call: Call) -> Result<Answer> {
        let version = format!("{}.{}", MICROVERSION.0, MICROVERSION.1);
        self.session.call(BAREMETAL, &call.header("x-openstack-ironic-api-version", version))
    }

    /// Calls again while the conductor has the node locked.
    fn while_locked(&self, call: &Call) -> Result<Answer> {
        let began = Instant::now();
        let mut wait = Duration::from_millis(200);
        loop {
            let answer = self.call(call.clone())?;
            if !locked(&answer) || began.elapsed() >= self.patience {
                return Ok(answer);
            }
            process::pause(wait)?;
            wait = (wait * 2).min(Duration::from_secs(5));
        }
    }

    /// The answer to a call on a node; a refusal becomes a failure that explains it.
    fn about(&self, node: &str, doing: &str, answer: Answer) -> Result<Answer> {
        if answer.is(&[200, 202, 204]) {
            return Ok(answer);
        }
        let node = node.escape_debug().to_string();
        let doing = format!("{doing} the node {node}");
        let message = answer.message();
        let hint = match answer.status {
            404 => format!(
                "{} sees the nodes that its project owns or leases; all of them are seen with \
                 system scope (system_scope: all in clouds.yaml). Give it one: baremetal node set \
                 NODE --owner PROJECT_ID",
                self.session.who()
            ),
            403 if message.contains("interface") => format!(
                "{} may not change how a node is installed: an operator sets it once: baremetal \
                 node set {node} --deploy-interface anaconda",
                self.session.who()
            ),
            403 => format!(
                "{} may not do that: it requires a role in the project that owns the node \
                 (baremetal node set {node} --owner PROJECT_ID), or admin",
                self.session.who()
            ),
            409 if locked(&answer) => {
                format!(
                    "the conductor has been at work on it for {} s: see `baremetal node show \
                     {node}` (reservation)",
                    LOCKED_FOR.as_secs()
                )
            }
            _ => match explain(&message, &node) {
                Some(explanation) => explanation.to_string(),
                None => return Err(answer.refusal(&doing)),
            },
        };
        let request = answer
            .header("x-openstack-request-id")
            .map(|id| format!(" (request {id})"))
            .unwrap_or_default();
        Err(Failure::new(
            ExitCode::Registry,
            format!("{doing}: Ironic answered {}: {message}{request}", answer.status),
        )
        .hint(hint)
        .into())
    }
}

fn locked(answer: &Answer) -> bool {
    answer.status == 409 && answer.message().contains("is locked by host")
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
