//! A node of Ironic, as far as a deployment depends on it, and whether an image may go onto it.

use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::error::{ExitCode, Failure, Result};

/// The states in which nothing is installed on a node and nothing else works on it.
const FREE: [&str; 6] =
    ["enroll", "manageable", "available", "deploy failed", "inspect failed", "clean failed"];
/// The states in which Ironic lets interfaces be changed.
const CHANGEABLE: [&str; 3] = ["enroll", "manageable", "available"];

/// A node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Node {
    /// Its UUID.
    pub uuid: String,
    /// Its name.
    pub name: Option<String>,
    /// Where in its life it is.
    pub state: String,
    /// Where it is going.
    pub target: Option<String>,
    /// The last error.
    pub last_error: Option<String>,
    /// Its hardware type.
    pub driver: String,
    /// How it is installed.
    pub deploy_interface: Option<String>,
    /// How it boots.
    pub boot_interface: Option<String>,
    /// The conductor that holds it at this moment.
    pub reservation: Option<String>,
    /// Why it is in maintenance, if it is.
    pub maintenance: Option<String>,
    /// The project that owns it.
    pub owner: Option<String>,
    /// The project that it is leased to.
    pub lessee: Option<String>,
    /// The instance that it belongs to: Nova's, metalsmith's, or [`Node::own_instance`].
    pub instance_uuid: Option<String>,
    /// The last message of the installer.
    pub installer_says: Option<String>,
    /// Whether it is protected from being erased.
    pub protected: bool,
    /// The driver's settings.
    #[serde(skip)]
    pub driver_info: Map<String, Value>,
    /// The image to be installed.
    #[serde(skip)]
    pub instance_info: Map<String, Value>,
    /// Its hardware.
    #[serde(skip)]
    pub properties: Map<String, Value>,
    /// Notes of the operators of the node.
    #[serde(skip)]
    pub extra: Map<String, Value>,
}

impl Node {
    /// A node of the API's JSON; none if it is not.
    #[must_use]
    pub(crate) fn from_json(body: &Value) -> Option<Self> {
        let text =
            |key: &str| body[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let map = |key: &str| body[key].as_object().cloned().unwrap_or_default();
        let maintenance = body["maintenance"].as_bool().unwrap_or(false);
        Some(Self {
            uuid: text("uuid")?,
            name: text("name"),
            state: text("provision_state").unwrap_or_else(|| "available".into()),
            target: text("target_provision_state"),
            last_error: text("last_error"),
            driver: text("driver").unwrap_or_default(),
            deploy_interface: text("deploy_interface"),
            boot_interface: text("boot_interface"),
            reservation: text("reservation"),
            maintenance: maintenance
                .then(|| text("maintenance_reason").unwrap_or_else(|| "no reason given".into())),
            owner: text("owner"),
            lessee: text("lessee"),
            instance_uuid: text("instance_uuid"),
            installer_says: body["driver_internal_info"]["agent_status_message"]
                .as_str()
                .map(str::to_owned),
            protected: body["protected"].as_bool().unwrap_or(false),
            driver_info: map("driver_info"),
            instance_info: map("instance_info"),
            properties: map("properties"),
            extra: map("extra"),
        })
    }

    /// Its name, else its UUID.
    #[must_use]
    pub(crate) fn title(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.uuid.clone())
    }

    /// The instance UUID that osimg gives this node. It follows from the node's UUID, so that every
    /// osimg recognises it.
    #[must_use]
    pub(crate) fn own_instance(&self) -> String {
        let digest = Sha256::digest(format!("osimg instance of node {}", self.uuid));
        let hex = hex::encode(digest);
        let cut = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
        // RFC 9562, version 8: a UUID of the application's own making.
        format!("{}-{}-8{}-8{}-{}", cut(0, 8), cut(8, 12), cut(12, 15), cut(15, 18), cut(18, 30))
    }

    /// Whether an image may be set on it. `project` is the caller's, `arch` the image's
    /// architecture.
    ///
    /// # Errors
    /// When it belongs to another consumer, something is installed on it, or the image is for
    /// another architecture.
    pub(crate) fn check_settable(
        &self,
        deploy_interface: &str,
        project: Option<&str>,
        arch: Option<&str>,
    ) -> Result<()> {
        self.check_consumer(project)?;
        let title = self.title();
        if let Some(reason) = &self.maintenance {
            return Err(self
                .refusal(format!("it is in maintenance: {}", reason.escape_debug()))
                .hint(format!("when that is over: baremetal node maintenance unset {title}"))
                .into());
        }
        match self.state.as_str() {
            state if FREE.contains(&state) => {}
            "active" | "rescue" | "error" | "rescue failed" | "service failed" | "adopt failed" => {
                let protected = if self.protected { " and protected" } else { "" };
                let failure = self.refusal(format!(
                    "it is '{}'{protected}: something is installed on it",
                    self.state
                ));
                let unprotect = format!("baremetal node unset {title} --protected, then ");
                let first = if self.protected { unprotect } else { String::new() };
                return Err(failure
                    .hint(format!(
                        "if it may be erased: {first}baremetal node undeploy {title}, then deploy \
                         again"
                    ))
                    .into());
            }
            state => {
                return Err(self
                    .refusal(format!("it is '{state}'"))
                    .hint(format!(
                        "wait until it is done, or give it up: baremetal node undeploy {title}"
                    ))
                    .into());
            }
        }
        if !CHANGEABLE.contains(&self.state.as_str())
            && self.deploy_interface.as_deref() != Some(deploy_interface)
        {
            let own = self.deploy_interface.as_deref().unwrap_or("none");
            return Err(self
                .refusal(format!(
                    "its deploy interface is {own} and cannot be changed while it is '{}'",
                    self.state
                ))
                .hint(format!("free it first: baremetal node undeploy {title}"))
                .into());
        }
        self.check_architecture(arch)
    }

    /// Refuses a node that another consumer uses.
    fn check_consumer(&self, project: Option<&str>) -> Result<()> {
        let title = self.title();
        if let Some(instance) =
            self.instance_uuid.as_ref().filter(|instance| **instance != self.own_instance())
        {
            return Err(self
                .refusal(format!(
                    "it belongs to the instance {} of another consumer",
                    instance.escape_debug()
                ))
                .hint(format!(
                    "choose another node; if nothing uses it any more: baremetal node unset \
                     {title} --instance-uuid"
                ))
                .into());
        }
        if let Some(lessee) = self.lessee.as_deref().filter(|lessee| Some(*lessee) != project) {
            return Err(self
                .refusal(format!("it is leased to the project {}", lessee.escape_debug()))
                .hint(format!(
                    "choose another node; if the lease is over: baremetal node unset {title} \
                     --lessee"
                ))
                .into());
        }
        Ok(())
    }

    /// Its architecture, as rpm names it, where it is known.
    pub(crate) fn arch(&self) -> Option<String> {
        self.properties
            .get("cpu_arch")
            .and_then(Value::as_str)
            .filter(|arch| !arch.is_empty())
            .map(usual)
    }

    fn check_architecture(&self, arch: Option<&str>) -> Result<()> {
        let node =
            self.properties.get("cpu_arch").and_then(Value::as_str).filter(|arch| !arch.is_empty());
        match (node, arch) {
            (Some(node), Some(image)) if usual(node) != usual(image) => {
                let title = self.title();
                let (node, image) = (node.escape_debug(), image.escape_debug());
                Err(self
                    .refusal(format!("its architecture is {node}, and the image is for {image}"))
                    .hint(format!(
                        "choose the image for {node}; if the node's property is wrong: baremetal \
                         node set {title} --property cpu_arch={image}"
                    ))
                    .into())
            }
            _ => Ok(()),
        }
    }

    fn refusal(&self, why: String) -> Failure {
        Failure::new(ExitCode::Registry, format!("setting up the node {}: {why}", self.title()))
    }

    /// The verb that brings a node in this state to `active`.
    ///
    /// # Errors
    /// When none does.
    pub(crate) fn deploying_verb(&self) -> Result<&'static str> {
        let title = self.title();
        let refuse = |why: String, hint: String| {
            Err(Failure::new(
                ExitCode::Registry,
                format!("starting the deployment of the node {title}: {why}"),
            )
            .hint(hint)
            .into())
        };
        match self.state.as_str() {
            "available" | "deploy failed" => Ok("active"),
            "active" if self.protected => refuse(
                "it is active and protected".into(),
                format!("if it may be erased: baremetal node unset {title} --protected"),
            ),
            "active" | "error" => refuse(
                format!("it is '{}': something is installed on it", self.state),
                format!("if it may be erased: baremetal node undeploy {title}, then deploy again"),
            ),
            "enroll" => refuse(
                "it is only enrolled".into(),
                format!("baremetal node manage {title}, then baremetal node provide {title}"),
            ),
            "manageable" => refuse(
                "it is manageable, not yet available".into(),
                format!("baremetal node provide {title}"),
            ),
            state => refuse(
                format!("it is '{state}'"),
                format!(
                    "wait until it is available: baremetal node show {title} -f value -c \
                     provision_state"
                ),
            ),
        }
    }
}

/// An architecture by rpm's name.
fn usual(arch: &str) -> String {
    match arch.to_ascii_lowercase().as_str() {
        "amd64" | "x86-64" => "x86_64".to_owned(),
        "arm64" => "aarch64".to_owned(),
        "ppc64el" => "ppc64le".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(change: &Value) -> Node {
        let mut body = json!({ "uuid": "1aa085aa-ddb0-46a3-ad5e-cf0054dc4ef5", "name": "n1",
            "provision_state": "available",
            "deploy_interface": "direct", "properties": { "cpu_arch": "x86_64" } });
        let fields = change.as_object().expect("an object").clone();
        body.as_object_mut().expect("an object").extend(fields);
        Node::from_json(&body).expect("a node")
    }

    #[test]
    fn the_own_instance_uuid_is_a_uuid_that_differs_between_nodes() {
        let (one, two) =
            (node(&json!({})), node(&json!({ "uuid": "2aa085aa-ddb0-46a3-ad5e-cf0054dc4ef5" })));
        assert!(
            crate::deploy::instance_info::is_uuid(&one.own_instance()),
            "{}",
            one.own_instance()
        );
        assert_ne!(one.own_instance(), two.own_instance());
        assert_eq!(one.own_instance(), node(&json!({ "name": "renamed" })).own_instance());
    }

    #[test]
    fn a_node_that_is_not_free_or_of_another_kind_is_refused_and_a_free_one_is_not() {
        let check =
            |change: &Value| node(change).check_settable("anaconda", Some("p1"), Some("x86_64"));
        let own = node(&json!({})).own_instance();
        for fine in [
            json!({}),
            json!({ "instance_uuid": own }),
            json!({ "lessee": "p1" }),
            json!({ "properties": {} }),
            json!({ "properties": { "cpu_arch": "amd64" } }),
            json!({ "provision_state": "deploy failed", "deploy_interface": "anaconda" }),
        ] {
            check(&fine).unwrap_or_else(|error| panic!("{fine}: {error:#}"));
        }
        for (change, part) in [
            (
                json!({ "instance_uuid": "3aa085aa-ddb0-46a3-ad5e-cf0054dc4ef5" }),
                "another consumer",
            ),
            (json!({ "lessee": "p2" }), "leased to the project p2"),
            (
                json!({ "properties": { "cpu_arch": "aarch64" } }),
                "its architecture is aarch64, and the image is for x86_64",
            ),
            (
                json!({ "maintenance": true, "maintenance_reason": "a disk" }),
                "in maintenance: a disk",
            ),
            (json!({ "provision_state": "deploy failed" }), "cannot be changed"),
        ] {
            let error = check(&change).expect_err(part);
            assert!(format!("{error:#}").contains(part), "{error:#}");
        }
        for state in [
            "active",
            "rescue",
            "error",
            "service failed",
            "deploying",
            "wait call-back",
            "cleaning",
            "servicing",
            "deploy hold",
            "new",
        ] {
            for interface in ["anaconda", "direct"] {
                check(&json!({ "provision_state": state, "deploy_interface": interface }))
                    .expect_err(state);
            }
        }
    }
}
