//! What a failed publication undoes.

use super::connection::Oci;
use super::entries;
use crate::error::{self, Failure};

/// A claim on the repository's tags. Older claims have smaller tags.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    pub tag: String,
    pub digest: String,
}

/// Something to be undone when a later step fails.
pub(super) enum Undo {
    /// A new manifest: its digest, and its description for messages.
    Remove { digest: String, name: String },
    /// A tag that named another manifest before.
    Restore { tag: String, before: Vec<u8> },
    /// The claim on the repository's tags.
    Release(Claim),
}

impl Oci {
    /// Removes what was made and no published set uses; what cannot be removed is reported with the
    /// error that made it necessary.
    pub(super) fn roll_back(&self, undo: Vec<Undo>, error: anyhow::Error) -> anyhow::Error {
        self.client.ignore_signals();
        let mut left = Vec::new();
        let made: Vec<&str> = undo
            .iter()
            .filter_map(|step| match step {
                Undo::Remove { digest, .. } => Some(digest.as_str()),
                Undo::Restore { .. } | Undo::Release(_) => None,
            })
            .collect();
        // Another publisher may have used a piece in the meantime.
        let used = if made.is_empty() { Ok(Vec::new()) } else { entries::used(self, &made) };
        for step in undo.into_iter().rev() {
            match step {
                Undo::Restore { tag, before } => {
                    if self.put_manifest(&tag, &before).is_err() {
                        left.push(format!("the tag {tag} in a state that is not known"));
                    }
                }
                Undo::Remove { digest, name } => match &used {
                    Ok(used) if used.contains(&digest) => {}
                    Ok(_) if self.delete_manifest(&digest).is_ok_and(|a| a.is(&[202, 404])) => {}
                    _ => left.push(format!("{name} ({digest})")),
                },
                Undo::Release(claim) => {
                    let released = self.release(&claim);
                    if released.is_err() || self.manifest(&claim.tag).is_ok_and(|m| m.is_some()) {
                        left.push(format!("the tag {}", claim.tag));
                    }
                }
            }
        }
        if left.is_empty() {
            return error;
        }
        Failure::new(
            error::exit_code(&error),
            format!(
                "publishing to {}: it failed, and what is left there could not be removed: {}",
                self.repository,
                left.join(", ")
            ),
        )
        .hint(
            "remove it there by hand, or let the registry delete: storage.delete.enabled of \
             docker-registry",
        )
        .because(error)
        .into()
    }
}
