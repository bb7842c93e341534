//! The images that a publication has made so far, so that they can be removed in reverse order, and
//! what resists is named.

use serde_json::json;

use super::draft::ROLE;
use super::images::{Draft, Images};
use crate::error::{ExitCode, Failure, Result, exit_code};
use crate::http::Stop;
use crate::set::Role;

/// The images that a publication made, oldest first.
#[derive(Debug, Default)]
pub(super) struct Journal {
    made: Vec<Made>,
}

#[derive(Debug)]
struct Made {
    id: String,
    name: String,
    role: Option<Role>,
}

/// Whether everything was removed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    Something,
}

impl Journal {
    /// Notes an image, before it is made.
    pub(super) fn begin(&mut self, id: &str, draft: &Draft) {
        let role = draft.properties.get(ROLE).and_then(|word| Role::from_word(word));
        self.made.push(Made { id: id.to_owned(), name: draft.name.clone(), role });
    }

    /// Forgets an image that is removed.
    pub(super) fn forget(&mut self, id: &str) {
        self.made.retain(|made| made.id != id);
    }

    /// The ids, oldest first.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.made.iter().map(|made| made.id.as_str())
    }

    /// Removes everything again, even if a signal arrives, and returns the error with the images
    /// that could not be removed.
    pub(super) fn undo(
        self,
        images: Images<'_>,
        cloud: &str,
        error: anyhow::Error,
    ) -> (anyhow::Error, Left) {
        let mut left = Vec::new();
        let mut answers = true;
        for made in self.made.iter().rev() {
            // One that does not answer is not asked again for each image: that would take minutes.
            let removed = answers
                && self
                    .removed(images, made)
                    .inspect_err(|error| answers = !is_silence(error))
                    .is_ok();
            if !removed {
                left.push(made);
            }
        }
        if left.is_empty() {
            return (error, Left::Nothing);
        }
        let shown: Vec<String> =
            left.iter().map(|made| format!("{} ({})", made.id, made.name.escape_debug())).collect();
        let ids: Vec<&str> = left.iter().map(|made| made.id.as_str()).collect();
        let failure = Failure::new(
            exit_code(&error),
            format!(
                "publishing failed, and not all new images could be removed: {} is left in Glance",
                shown.join(", ")
            ),
        )
        .hint(format!(
            "remove it when the service answers again: openstack --os-cloud {cloud} image delete \
             {}",
            ids.join(" ")
        ))
        .because(error);
        (failure.into(), Left::Something)
    }

    /// Removes an image, unless another publisher's boots with it in the meantime.
    fn removed(&self, images: Images<'_>, made: &Made) -> Result<()> {
        if made.role.is_some_and(|role| role != Role::Tarball) {
            let users =
                images.users(&made.id, "looking for the users of an image", Stop::Ignore)?;
            if users.iter().any(|user| self.ids().all(|id| id != user.id)) {
                return Ok(());
            }
        }
        remove(images, &made.id)
    }
}

/// Whether no server answered.
fn is_silence(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<crate::http::Error>())
}

/// Removes an image for good, a protected one too.
pub(super) fn remove(images: Images<'_>, id: &str) -> Result<()> {
    let doing = format!("removing the image {id}");
    let answer = images.remove(id, Stop::Ignore)?;
    if answer.status == 403 {
        images
            .set(id, "protected", &json!(false), Stop::Ignore)?
            .expect(&[200, 404, 410], &doing)?;
        return images.remove(id, Stop::Ignore)?.expect(&[204, 404, 410], &doing).map(|_| ());
    }
    answer.expect(&[204, 404, 410], &doing).map(|_| ())
}

/// The failure of an image that someone removed while it was being published.
pub(super) fn gone(doing: &str) -> anyhow::Error {
    Failure::new(ExitCode::Registry, format!("{doing}: it was removed in the meantime"))
        .hint("does another user work in this project? publish again")
        .into()
}
