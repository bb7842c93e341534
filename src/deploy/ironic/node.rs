//! A node of Ironic, as far as a deployment wants to know it.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{ExitCode, Failure, Result};

/// A node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Node {
    /// Its UUID.
    pub uuid: String,
    /// Its name.
    pub name: Option<String>,
    /// Where in its life it is.
    pub state: String,
    /// Where it is going.
    pub target: Option<String>,
    /// What went wrong last.
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
    /// What the installer said last.
    pub installer_says: Option<String>,
    /// Whether a person said that nobody may install it anew.
    pub protected: bool,
    /// The driver's settings.
    #[serde(skip)]
    pub driver_info: Map<String, Value>,
    /// What is to be installed.
    #[serde(skip)]
    pub instance_info: Map<String, Value>,
    /// Its hardware.
    #[serde(skip)]
    pub properties: Map<String, Value>,
}

impl Node {
    /// A node of the API's JSON; none if it is not.
    #[must_use]
    pub fn of_json(body: &Value) -> Option<Self> {
        let text = |key: &str| body[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
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
            maintenance: maintenance.then(|| text("maintenance_reason").unwrap_or_else(|| "no reason given".into())),
            owner: text("owner"),
            installer_says: body["driver_internal_info"]["agent_status_message"].as_str().map(str::to_owned),
            protected: body["protected"].as_bool().unwrap_or(false),
            driver_info: map("driver_info"),
            instance_info: map("instance_info"),
            properties: map("properties"),
        })
    }

    /// What a person calls it: its name, else its UUID.
    #[must_use]
    pub fn title(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.uuid.clone())
    }

    /// Whether it may be told what to install.
    ///
    /// # Errors
    /// Says what stands in the way.
    pub fn check_settable(&self, deploy_interface: &str) -> Result<()> {
        let title = self.title();
        let doing = format!("setting up the node {title}");
        if let Some(reason) = &self.maintenance {
            return Err(Failure::new(ExitCode::Registry, format!("{doing}: it is in maintenance: {}", reason.escape_debug()))
                .hint(format!("when that is over: baremetal node maintenance unset {title}"))
                .into());
        }
        // Ironic lets interfaces be changed only in these.
        let still = ["enroll", "inspecting", "inspect wait", "manageable", "available"].contains(&self.state.as_str());
        if !still && self.deploy_interface.as_deref() != Some(deploy_interface) {
            let text = format!(
                "{doing}: its deploy interface is {} and cannot be changed while it is '{}'",
                self.deploy_interface.as_deref().unwrap_or("none"),
                self.state
            );
            return Err(Failure::new(ExitCode::Registry, text).hint(format!("free it first: baremetal node undeploy {title}")).into());
        }
        if ["deploying", "wait call-back", "cleaning", "clean wait", "deleting", "rebuilding"].contains(&self.state.as_str()) {
            return Err(Failure::new(ExitCode::Registry, format!("{doing}: it is '{}'", self.state))
                .hint(format!("wait until it is done, or give it up: baremetal node undeploy {title}"))
                .into());
        }
        Ok(())
    }

    /// The verb that brings a node in this state to `active`.
    ///
    /// # Errors
    /// When none does.
    pub fn deploying_verb(&self) -> Result<&'static str> {
        let title = self.title();
        let refuse = |why: String, hint: String| {
            Err(Failure::new(ExitCode::Registry, format!("starting the deployment of the node {title}: {why}")).hint(hint).into())
        };
        match self.state.as_str() {
            "available" | "deploy failed" => Ok("active"),
            "active" if self.protected => {
                refuse("it is active and protected".into(), format!("if it may be erased: baremetal node unset {title} --protected"))
            }
            "active" | "error" => refuse(
                format!("it is '{}': something is installed on it", self.state),
                format!("if it may be erased: baremetal node undeploy {title}, then deploy again"),
            ),
            "enroll" => refuse("it is only enrolled".into(), format!("baremetal node manage {title}, then baremetal node provide {title}")),
            "manageable" => refuse("it is manageable, not yet available".into(), format!("baremetal node provide {title}")),
            state => refuse(
                format!("it is '{state}'"),
                format!("wait until it is available: baremetal node show {title} -f value -c provision_state"),
            ),
        }
    }
}
