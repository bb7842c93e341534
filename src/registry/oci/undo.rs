//! What a failed publication undoes.

use super::connection::Oci;
use crate::error::{self, Failure};

/// Something to be undone when a later step fails.
pub(super) enum Undo {
    /// A new manifest: its digest, and its description for messages.
    Remove { digest: String, name: String },
    /// A tag that named another manifest before.
    Restore { tag: String, before: Vec<u8> },
}

impl Oci {
    /// Removes what was made; what cannot be removed is reported with the error that made it
    /// necessary.
    pub(super) fn roll_back(&self, undo: Vec<Undo>, error: anyhow::Error) -> anyhow::Error {
        self.client.ignore_signals();
        let mut left = Vec::new();
        for step in undo.into_iter().rev() {
            match step {
                Undo::Restore { tag, before } => {
                    if self.put_manifest(&tag, &before).is_err() {
                        left.push(format!("the tag {tag} in a state that is not known"));
                    }
                }
                Undo::Remove { digest, name } => match self.delete_manifest(&digest) {
                    Ok(answer) if answer.is(&[202, 404]) => {}
                    _ => left.push(format!("{name} ({digest})")),
                },
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
