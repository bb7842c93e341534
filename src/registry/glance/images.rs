//! Glance's API, version 2, as far as it is needed: one function a call.
//! <https://docs.openstack.org/api-ref/image/v2/>

use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Read;

use crate::cloud::{Answer, Session, escaped};
use crate::error::Result;
use crate::http::{Call, Stop, Upload};
use crate::set::Role;

const SERVICE: &str = "image";
/// The property of the OS image that names another one; Ironic reads these.
pub(super) const LINKS: [(Role, &str); 4] = [
    (Role::Kernel, "kernel_id"),
    (Role::Ramdisk, "ramdisk_id"),
    (Role::Stage2, "stage2_id"),
    (Role::Kickstart, "ks_template"),
];

/// How many images a page of a list has.
const PAGE: usize = 200;

/// An image as Glance shows it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Image {
    pub id: String,
    pub name: Option<String>,
    pub status: String,
    pub size: Option<u64>,
    pub os_hash_algo: Option<String>,
    pub os_hash_value: Option<String>,
    pub visibility: String,
    pub owner: Option<String>,
    #[serde(default)]
    pub os_hidden: bool,
    #[serde(default)]
    pub protected: bool,
    pub container_format: Option<String>,
    pub disk_format: Option<String>,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: String,
    #[serde(flatten)]
    more: BTreeMap<String, Value>,
}

impl Image {
    /// A property.
    pub(super) fn property(&self, name: &str) -> Option<&str> {
        self.more.get(name)?.as_str()
    }

    /// Its name and id, for messages.
    pub(super) fn shown(&self) -> String {
        format!("{} ({})", self.id, self.name.as_deref().unwrap_or("without a name").escape_debug())
    }
}

/// An image to be made.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub name: String,
    pub container: &'static str,
    pub disk: &'static str,
    pub visibility: &'static str,
    pub hidden: bool,
    pub tags: Vec<String>,
    pub properties: BTreeMap<String, String>,
}

/// The images of a cloud.
#[derive(Debug, Clone, Copy)]
pub(super) struct Images<'a> {
    pub session: &'a Session,
}

impl Images<'_> {
    /// Creates an image with that id, without data. The caller judges the answer.
    pub(super) fn create(self, id: &str, draft: &Draft) -> Result<Answer> {
        let mut body = json!({
            "id": id,
            "name": draft.name,
            "container_format": draft.container,
            "disk_format": draft.disk,
            "visibility": draft.visibility,
            "os_hidden": draft.hidden,
            "tags": draft.tags,
        });
        if let Some(body) = body.as_object_mut() {
            body.extend(
                draft
                    .properties
                    .iter()
                    .map(|(name, value)| (name.clone(), Value::String(value.clone()))),
            );
        }
        // The id is chosen here: if a second creation is refused, the first one succeeded.
        self.session.call(SERVICE, &Call::json("POST", "/v2/images", &body).repeatable())
    }

    /// The image, if it is there.
    pub(super) fn find(self, id: &str, doing: &str, stop: Stop) -> Result<Option<Image>> {
        let call = Call { stop, ..Call::get(format!("/v2/images/{}", escaped(id))) };
        let answer = self.session.call(SERVICE, &call)?;
        if answer.is(&[404, 410]) {
            return Ok(None);
        }
        let answer = answer.expect(&[200], doing)?;
        image(answer.json(doing)?, doing).map(Some)
    }

    /// Every image that fits, hidden or not.
    pub(super) fn list(
        self,
        filters: &[(&str, &str)],
        doing: &str,
        stop: Stop,
    ) -> Result<Vec<Image>> {
        let mut found = Vec::new();
        for hidden in ["false", "true"] {
            let query: String = filters
                .iter()
                .map(|(name, value)| format!("&{}={}", escaped(name), escaped(value)))
                .collect();
            let mut path = format!("/v2/images?limit={PAGE}&os_hidden={hidden}{query}");
            loop {
                let body = self
                    .session
                    .call(SERVICE, &Call { stop, ..Call::get(path) })?
                    .expect(&[200], doing)?
                    .json(doing)?;
                for item in body.get("images").and_then(Value::as_array).into_iter().flatten() {
                    found.push(image(item.clone(), doing)?);
                }
                match body
                    .get("next")
                    .and_then(Value::as_str)
                    .filter(|next| next.starts_with("/v2/"))
                {
                    Some(next) => path = next.to_owned(),
                    None => break,
                }
            }
        }
        Ok(found)
    }

    /// Every visible image, of any visibility and owner, that names this one as a boot piece or
    /// template.
    pub(super) fn users(self, id: &str, doing: &str, stop: Stop) -> Result<Vec<Image>> {
        let address = format!("glance://{id}");
        let mut found = Vec::new();
        for (role, link) in LINKS {
            let forms: &[&str] = if role == Role::Kickstart { &[id, &address] } else { &[id] };
            for form in forms {
                // A list without a visibility leaves out other projects' community images, and
                // those shared but not accepted.
                for more in [("member_status", "all"), ("visibility", "community")] {
                    found.extend(self.list(&[(link, form), more], doing, stop)?);
                }
            }
        }
        Ok(found)
    }

    /// Sends an image's data, once.
    pub(super) fn upload(self, id: &str, size: u64, body: &mut dyn Read) -> Result<Answer> {
        let headers = vec![
            ("content-type", "application/octet-stream".to_owned()),
            ("x-openstack-image-size", size.to_string()),
        ];
        self.session.upload(
            SERVICE,
            Upload { path: format!("/v2/images/{}/file", escaped(id)), headers, size, body },
        )
    }

    /// Has Glance fetch an image's data from an address.
    pub(super) fn import(self, id: &str, url: &str) -> Result<Answer> {
        let body = json!({ "method": { "name": "web-download", "uri": url } });
        self.session
            .call(SERVICE, &Call::json("POST", format!("/v2/images/{}/import", escaped(id)), &body))
    }

    /// Sets one attribute or property.
    pub(super) fn set(self, id: &str, name: &str, value: &Value, stop: Stop) -> Result<Answer> {
        let operation =
            |op: &str| json!([{ "op": op, "path": format!("/{name}"), "value": value }]);
        let call = Call {
            stop,
            ..Call::json("PATCH", format!("/v2/images/{}", escaped(id)), &operation("replace"))
        };
        self.session.call(
            SERVICE,
            &call
                .header("content-type", "application/openstack-images-v2.1-json-patch")
                .repeatable(),
        )
    }

    /// Shares an image with a project; it is not an error if it already is.
    pub(super) fn share(self, id: &str, project: &str, doing: &str) -> Result<()> {
        let call = Call::json(
            "POST",
            format!("/v2/images/{}/members", escaped(id)),
            &json!({ "member": project }),
        );
        self.session.call(SERVICE, &call.repeatable())?.expect(&[200, 409], doing).map(|_| ())
    }

    /// Removes an image; it is not an error if it is already gone.
    pub(super) fn remove(self, id: &str, stop: Stop) -> Result<Answer> {
        self.session
            .call(SERVICE, &Call { stop, ..Call::delete(format!("/v2/images/{}", escaped(id))) })
    }
}

fn image(value: Value, doing: &str) -> Result<Image> {
    use crate::error::{ExitCode, ResultExt};
    serde_json::from_value(value)
        .or_fail(ExitCode::Registry, format!("{doing}: Glance did not answer with an image"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_what_is_no_attribute() {
        let text = r#"{"id": "1", "status": "active", "visibility": "public", "kernel_id": "k",
            "virtual_size": null, "os_hidden": true}"#;
        let image: Image = serde_json::from_str(text).expect("an image");
        assert_eq!(
            (image.property("kernel_id"), image.property("id"), image.os_hidden),
            (Some("k"), None, true)
        );
    }
}
