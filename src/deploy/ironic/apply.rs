//! Sets an image on a node, and removes what an earlier attempt left there.
//!
//! instance_info belongs to one deployment, and Ironic empties it when a node is freed. Interfaces
//! and driver_info outlast it, and an operator may have set them: osimg notes in the node's `extra`
//! which of them are its own.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

use super::{Ironic, Node};
use crate::deploy::instance_info::{NodeSettings, OWNED};
use crate::error::Result;
use crate::http::Call;

/// The member of a node's `extra` that is osimg's.
const NOTE: &str = "osimg";
/// The keys of driver_info that osimg may set.
const DRIVER_KEYS: [&str; 2] = ["deploy_kernel", "deploy_ramdisk"];

/// The changes made to a node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Change {
    /// Names of fields that were set, such as `instance_info/image_source`.
    pub set: Vec<String>,
    /// Names of fields that were removed because they belonged to another deployment.
    pub removed: Vec<String>,
    /// Names of fields that the caller's roles do not allow to set.
    pub refused: Vec<String>,
}

/// The settings of osimg's that outlast a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Note {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    driver_info: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boot_interface: Option<Replaced>,
}

/// An interface that osimg changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Replaced {
    set: String,
    was: Option<String>,
}

/// An interface or key to be changed: its path and its new value, none to remove it.
type Edit = (String, Option<Value>);

impl Note {
    fn read(node: &Node) -> Self {
        node.extra
            .get(NOTE)
            .and_then(|note| serde_json::from_value(note.clone()).ok())
            .unwrap_or_default()
    }

    /// The boot interface's edit, if any, and the note on it.
    fn boot_interface(
        &self,
        node: &Node,
        wanted: Option<&String>,
    ) -> (Option<Edit>, Option<Replaced>) {
        let current = node.boot_interface.as_ref();
        let own = self.boot_interface.as_ref().filter(|note| Some(&note.set) == current);
        let original = own.map_or(current, |note| note.was.as_ref());
        let after = wanted.or(original);
        let edit = (after != current)
            .then(|| ("boot_interface".to_owned(), after.map(|name| json!(name))));
        let note = after
            .filter(|_| after != original)
            .map(|set| Replaced { set: set.clone(), was: original.cloned() });
        (edit, note)
    }

    /// The edits of driver_info, and the values in it that are osimg's afterwards. An operator's
    /// own value stays.
    fn driver_info(
        &self,
        node: &Node,
        wanted: &BTreeMap<&'static str, String>,
    ) -> (Vec<Edit>, BTreeMap<String, Value>) {
        let (mut edits, mut notes) = (Vec::new(), BTreeMap::new());
        for key in DRIVER_KEYS {
            let current = node.driver_info.get(key);
            if current.is_some() && self.driver_info.get(key) != current {
                continue;
            }
            let after = wanted.get(key).map(|value| json!(value));
            if after.as_ref() != current {
                edits.push((format!("driver_info/{key}"), after.clone()));
            }
            notes.extend(after.map(|value| (key.to_owned(), value)));
        }
        (edits, notes)
    }
}

impl Ironic<'_> {
    /// Makes the node osimg's own and sets its interfaces, instance_info and driver_info. `change`
    /// names what was done, also when an error ends it.
    ///
    /// # Errors
    /// When Ironic refuses.
    pub(crate) fn apply(
        &self,
        node: &Node,
        settings: &NodeSettings,
        change: &mut Change,
    ) -> Result<()> {
        // From here on no other consumer takes the node. A lessee may not set it, and has the node
        // by the lease.
        if node.instance_uuid.is_none() {
            self.edit(
                node,
                vec![("instance_uuid".into(), Some(json!(node.own_instance())))],
                Refusal::Accepted,
                change,
            )?;
        }
        let note = Note::read(node);
        let (boot, boot_note) = note.boot_interface(node, settings.boot_interface.as_ref());
        let (driver, driver_note) = note.driver_info(node, &settings.driver_info);
        let after = Note { driver_info: driver_note, boot_interface: boot_note };
        // The note first: without it no later run would know these values as osimg's.
        if after != note {
            let value = (after != Note::default()).then(|| json!(after));
            self.edit(node, vec![(format!("extra/{NOTE}"), value)], Refusal::Error, change)?;
        }
        let mut interfaces = Vec::new();
        if node.deploy_interface.as_deref() != Some(settings.deploy_interface) {
            interfaces
                .push(("deploy_interface".to_owned(), Some(json!(settings.deploy_interface))));
        }
        interfaces.extend(boot);
        self.edit(node, interfaces, Refusal::Error, change)?;
        let mut info: Vec<Edit> = Vec::new();
        for (key, value) in &settings.instance_info {
            if node.instance_info.get(*key) != Some(value) {
                info.push((format!("instance_info/{key}"), Some(value.clone())));
            }
        }
        let stale = OWNED.iter().filter(|key| {
            node.instance_info.contains_key(**key) && !settings.instance_info.contains_key(**key)
        });
        info.extend(stale.map(|key| (format!("instance_info/{key}"), None)));
        self.edit(node, info, Refusal::Error, change)?;
        // The conductor may have its own in ironic.conf; if not, validation reports it.
        self.edit(node, driver, Refusal::Accepted, change)
    }

    fn edit(
        &self,
        node: &Node,
        edits: Vec<Edit>,
        refusal: Refusal,
        change: &mut Change,
    ) -> Result<()> {
        if edits.is_empty() {
            return Ok(());
        }
        let operation = |(path, value): &Edit| match value {
            Some(value) => json!({ "op": "add", "path": format!("/{path}"), "value": value }),
            None => json!({ "op": "remove", "path": format!("/{path}") }),
        };
        let operations: Vec<Value> = edits.iter().map(operation).collect();
        let answer = self.while_locked(&Call::json(
            "PATCH",
            format!("/v1/nodes/{}", node.uuid),
            &json!(operations),
        ))?;
        if answer.status == 403 && refusal == Refusal::Accepted {
            change.refused.extend(edits.into_iter().map(|(path, _)| path));
            return Ok(());
        }
        self.about(&node.title(), "setting up", answer)?;
        for (path, value) in edits {
            if value.is_some() { change.set.push(path) } else { change.removed.push(path) }
        }
        Ok(())
    }
}

/// The consequence when the caller's roles do not allow an edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Accepted,
    Error,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(change: Value) -> Node {
        let mut body = json!({ "uuid": "1", "boot_interface": "ipxe" });
        body.as_object_mut()
            .expect("an object")
            .extend(change.as_object().expect("an object").clone());
        Node::from_json(&body).expect("a node")
    }

    #[test]
    fn a_boot_interface_of_an_earlier_attempt_gives_way_to_the_nodes_own() {
        let wanted = "http".to_owned();
        let before = node(json!({}));
        let (edit, note) = Note::read(&before).boot_interface(&before, Some(&wanted));
        assert_eq!(edit, Some(("boot_interface".into(), Some(json!("http")))));
        let extra = json!({ "osimg": { "boot_interface": note } });
        let after = node(json!({ "boot_interface": "http", "extra": extra }));
        let (edit, note) = Note::read(&after).boot_interface(&after, None);
        assert_eq!((edit, note), (Some(("boot_interface".into(), Some(json!("ipxe")))), None));
        // The operator changed it in the meantime.
        let changed = node(json!({ "boot_interface": "pxe", "extra": extra }));
        assert_eq!(Note::read(&changed).boot_interface(&changed, None), (None, None));
        assert_eq!(Note::read(&before).boot_interface(&before, None), (None, None));
    }

    #[test]
    fn driver_info_of_an_earlier_attempt_is_replaced_or_removed_and_an_operators_own_stays() {
        let wanted = BTreeMap::from([("deploy_kernel", "new".to_owned())]);
        let edits = |node: &Node, wanted| Note::read(node).driver_info(node, wanted).0;
        let noted = json!({ "driver_info": { "deploy_kernel": "old", "deploy_ramdisk": "old" },
            "extra": { "osimg": { "driver_info": { "deploy_kernel": "old",
                "deploy_ramdisk": "old" } } } });
        let ours = node(noted.clone());
        let set = ("driver_info/deploy_kernel".to_owned(), Some(json!("new")));
        assert_eq!(
            edits(&ours, &wanted),
            [set.clone(), ("driver_info/deploy_ramdisk".to_owned(), None)]
        );
        let theirs = node(json!({ "driver_info": noted["driver_info"] }));
        assert_eq!(edits(&theirs, &wanted), []);
        let none = node(json!({}));
        assert_eq!(edits(&none, &wanted), [set]);
        assert_eq!(
            Note::read(&none).driver_info(&none, &wanted).1,
            BTreeMap::from([("deploy_kernel".into(), json!("new"))])
        );
    }
}
