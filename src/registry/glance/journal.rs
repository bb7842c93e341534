//! What a publication has made so far, so that it can be unmade: removed in reverse order, and what resists is named.

use serde_json::json;

use super::draft::LINKS;
use super::images::Images;
use crate::cloud::Stop;
use crate::error::{ExitCode, Failure, Result, exit_code};

/// The images that a publication made, oldest first: id and name.
#[derive(Debug, Default)]
pub(super) struct Journal {
    made: Vec<(String, String)>,
}

impl Journal {
    /// Notes an image, before it is made.
    pub fn begin(&mut self, id: &str, name: &str) {
        self.made.push((id.to_owned(), name.to_owned()));
    }

    /// Whether it was made here.
    pub fn has(&self, id: &str) -> bool {
        self.made.iter().any(|(made, _)| made == id)
    }

    /// Forgets an image that is removed.
    pub fn forget(&mut self, id: &str) {
        self.made.retain(|(made, _)| made != id);
    }

    /// The ids, oldest first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.made.iter().map(|(id, _)| id.as_str())
    }

    /// Removes everything again, whatever signals come, and returns the error with what could not be removed.
    pub fn undo(self, images: Images<'_>, cloud: &str, error: anyhow::Error) -> anyhow::Error {
        let mut left = Vec::new();
        for (id, name) in self.made.iter().rev() {
            if self.is_used_by_others(images, id) {
                continue;
            }
            if remove(images, id).is_err() {
                left.push(format!("{id} ({})", name.escape_debug()));
            }
        }
        if left.is_empty() {
            return error;
        }
        let ids: Vec<&str> = left.iter().map(|text| text.split(' ').next().unwrap_or(text)).collect();
        Failure::new(
            exit_code(&error),
            format!("publishing failed, and what it had made could not all be removed: {} is left in Glance", left.join(", ")),
        )
        .hint(format!("remove it when the service answers again: openstack --os-cloud {cloud} image delete {}", ids.join(" ")))
        .because(error)
        .into()
    }

    /// Whether another publisher's image boots with this one meanwhile.
    fn is_used_by_others(&self, images: Images<'_>, id: &str) -> bool {
        LINKS.iter().any(|(_, link)| {
            images
                .list(&[(link, id)], "looking who uses an image", Stop::Ignore)
                .is_ok_and(|users| users.iter().any(|user| !self.has(&user.id)))
        })
    }
}

/// Removes an image for good, a protected one too.
pub(super) fn remove(images: Images<'_>, id: &str) -> Result<()> {
    let doing = format!("removing the image {id}");
    let answer = images.remove(id, Stop::Ignore)?;
    if answer.status == 403 {
        images.set(id, "protected", &json!(false), Stop::Ignore)?.expect(&[200, 404, 410], &doing)?;
        return images.remove(id, Stop::Ignore)?.expect(&[204, 404, 410], &doing).map(|_| ());
    }
    answer.expect(&[204, 404, 410], &doing).map(|_| ())
}

/// The failure of an image that somebody removed while it was being published.
pub(super) fn gone(doing: &str) -> anyhow::Error {
    Failure::new(ExitCode::Registry, format!("{doing}: it was removed meanwhile"))
        .hint("who else works in this project? publish again")
        .into()
}
