//! Ironic's API: nodes, what is set on them, validation and provisioning.

mod explain;
mod follow;
mod node;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use ureq::{Agent, http};

use super::api::{Access, Answer, ApiError, Service, refusal};
use super::instance_info::{NodeSettings, OWNED};
use crate::error::{ExitCode, Failure, Result};
use crate::web;

pub use explain::{Explanation, explain};
pub use follow::{Ending, Limits, follow};
pub use node::Node;

/// The oldest API with the heartbeats of the anaconda interface (Xena).
const MICROVERSION: (u32, u32) = (1, 72);
/// How long a node that is locked is waited for.
const LOCKED_FOR: Duration = Duration::from_secs(60);

/// An Ironic.
#[derive(Debug)]
pub struct Ironic<'a> {
    service: Service<'a>,
    newest: (u32, u32),
}

/// What validation says of one of a node's interfaces.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Verdict {
    /// The interface: `boot`, `deploy`, `power`.
    pub interface: String,
    /// What is wrong, in Ironic's words.
    pub reason: String,
    /// The same for a person, when osimg knows it.
    pub explanation: Option<Explanation>,
}

/// What was set on a node.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Change {
    /// Names of what was set, such as `instance_info/image_source`.
    pub set: Vec<String>,
    /// Names of what was taken away because it belonged to another image.
    pub removed: Vec<String>,
}

impl<'a> Ironic<'a> {
    /// Opens the Ironic at `url`.
    ///
    /// # Errors
    /// When it does not answer, is none, or is too old for the anaconda interface.
    pub fn open(agent: &'a Agent, url: &str, access: &'a dyn Access) -> Result<Self> {
        // Endpoints are written with and without the version.
        let url = url.trim_end_matches('/').trim_end_matches("/v1");
        let root = Service::new("Ironic", agent, url, access).get("/")?;
        let newest = root.body["versions"]
            .as_array()
            .into_iter()
            .flatten()
            .chain(std::iter::once(&root.body["default_version"]))
            .find_map(|version| parse_version(version["version"].as_str()?));
        let Some(newest) = newest else {
            return Err(Failure::new(ExitCode::Registry, format!("asking {url} for its versions: this is no Ironic"))
                .hint("look at the baremetal endpoint in Keystone's catalogue, or at baremetal_endpoint_override in clouds.yaml")
                .into());
        };
        if newest < MICROVERSION {
            let text = format!("asking {url} for its versions: its newest is {}.{}", newest.0, newest.1);
            let hint = format!("the anaconda deploy interface needs {}.{} (Xena) or later: upgrade Ironic", MICROVERSION.0, MICROVERSION.1);
            return Err(Failure::new(ExitCode::Registry, text).hint(hint).into());
        }
        let version = format!("{}.{}", MICROVERSION.0, MICROVERSION.1);
        let service = Service::new("Ironic", agent, &format!("{url}/v1"), access).header("x-openstack-ironic-api-version", version);
        Ok(Self { service, newest })
    }

    /// The newest microversion that it has.
    #[must_use]
    pub fn newest(&self) -> String {
        format!("{}.{}", self.newest.0, self.newest.1)
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        self.service.url()
    }

    /// Any resource, for reading.
    ///
    /// # Errors
    /// When Ironic refuses or cannot be reached.
    pub fn read(&self, path: &str) -> Result<Value> {
        self.service.get(path).map(|answer| answer.body)
    }

    /// A node by its name or UUID.
    ///
    /// # Errors
    /// When there is none that the caller may see.
    pub fn node(&self, name: &str) -> Result<Node> {
        let answer = self.service.get(&format!("/nodes/{}", segment(name)));
        let body = answer.map_err(|error| self.about(name, "looking up", error))?.body;
        Node::of_json(&body)
            .ok_or_else(|| Failure::new(ExitCode::Registry, format!("looking up the node {name}: Ironic's answer is no node")).into())
    }

    /// Sets the interfaces, driver_info and instance_info of a node, and takes away what another image left.
    /// What driver_info has already stays.
    ///
    /// # Errors
    /// When Ironic refuses.
    pub fn apply(&self, node: &Node, settings: &NodeSettings) -> Result<Change> {
        let mut change = Change::default();
        let mut patch = Vec::new();
        let mut add = |path: String, value: &Value| {
            patch.push(json!({ "op": "add", "path": format!("/{path}"), "value": value }));
            change.set.push(path);
        };
        if node.deploy_interface.as_deref() != Some(settings.deploy_interface) {
            add("deploy_interface".into(), &json!(settings.deploy_interface));
        }
        if let Some(boot) = settings.boot_interface.as_ref().filter(|boot| node.boot_interface.as_ref() != Some(boot)) {
            add("boot_interface".into(), &json!(boot));
        }
        for (key, value) in settings.driver_info.iter().filter(|(key, _)| !node.driver_info.contains_key(**key)) {
            add(format!("driver_info/{key}"), &json!(value));
        }
        for (key, value) in &settings.instance_info {
            if node.instance_info.get(*key) != Some(value) {
                add(format!("instance_info/{key}"), value);
            }
        }
        for key in OWNED.iter().filter(|key| node.instance_info.contains_key(**key) && !settings.instance_info.contains_key(**key)) {
            patch.push(json!({ "op": "remove", "path": format!("/instance_info/{key}") }));
            change.removed.push(format!("instance_info/{key}"));
        }
        if !patch.is_empty() {
            let path = format!("/nodes/{}", node.uuid);
            self.while_locked(|| self.service.send(http::Method::PATCH, &path, &json!(patch)))
                .map_err(|error| self.about(&node.title(), "setting up", error))?;
        }
        Ok(change)
    }

    /// What Ironic's own validation finds wrong.
    ///
    /// # Errors
    /// When Ironic refuses.
    pub fn validate(&self, node: &Node) -> Result<Vec<Verdict>> {
        let body = self
            .service
            .get(&format!("/nodes/{}/validate", node.uuid))
            .map_err(|error| self.about(&node.title(), "validating", error))?
            .body;
        let answers: BTreeMap<String, Value> = serde_json::from_value(body).unwrap_or_default();
        // Only these decide over a deployment; a console that is not set up does not.
        let deciding = ["boot", "deploy", "management", "network", "power", "storage"];
        Ok(answers
            .into_iter()
            .filter(|(interface, answer)| deciding.contains(&interface.as_str()) && answer["result"] == json!(false))
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
    pub fn start(&self, node: &Node, config_drive: Option<&Value>) -> Result<()> {
        let mut body = json!({ "target": node.deploying_verb()? });
        if let (Some(drive), Some(fields)) = (config_drive, body.as_object_mut()) {
            fields.insert("configdrive".into(), drive.clone());
        }
        let path = format!("/nodes/{}/states/provision", node.uuid);
        self.while_locked(|| self.service.send(http::Method::PUT, &path, &body))
            .map(|_| ())
            .map_err(|error| self.about(&node.title(), "starting the deployment of", error))
    }

    /// Calls again while the conductor has the node locked.
    fn while_locked(&self, call: impl Fn() -> Result<Answer>) -> Result<Answer> {
        let began = Instant::now();
        let mut wait = Duration::from_millis(200);
        loop {
            match call() {
                Err(error) if refusal(&error).is_some_and(locked) && began.elapsed() < LOCKED_FOR => web::pause(wait)?,
                outcome => return outcome,
            }
            wait = (wait * 2).min(Duration::from_secs(5));
        }
    }

    /// An error of a call about a node as a person understands it.
    fn about(&self, node: &str, doing: &str, error: anyhow::Error) -> anyhow::Error {
        let Some(refusal) = refusal(&error).cloned() else { return error };
        let failure = Failure::new(ExitCode::Registry, format!("{doing} the node {}", node.escape_debug()));
        let failure = match refusal.status {
            404 => failure.hint(
                "`baremetal node list` shows the nodes that you may see; a project sees those that it owns or leases (baremetal node set NODE --owner PROJECT_ID)",
            ),
            401 | 403 => failure.hint("it takes a role: member of the project that owns the node, or admin (openstack role assignment list --names)"),
            409 if locked(&refusal) => {
                failure.hint(format!("the conductor is at work on it: look at `baremetal node show {node}` (reservation) and try again"))
            }
            _ => match explain(&refusal.message, node) {
                Some(explanation) => failure.hint(explanation.to_string()),
                None => failure,
            },
        };
        failure.because(refusal).into()
    }
}

fn locked(refusal: &ApiError) -> bool {
    refusal.status == 409 && refusal.message.contains("is locked by host")
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// A name as one segment of a path.
fn segment(name: &str) -> String {
    name.bytes()
        .map(
            |byte| {
                if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
            },
        )
        .collect()
}
