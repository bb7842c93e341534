//! The options of a publication; every registry follows those that it supports.

use std::path::PathBuf;

use super::Address;
use crate::error::{ExitCode, Failure, Result};
use crate::recipe::Visibility;

/// How the older versions of an image are handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Older {
    /// They stay as they are.
    #[default]
    Keep,
    /// They stay, and are left out of lists.
    Hide,
    /// All but this number, including the new one, are removed.
    Remove(usize),
}

/// How other bytes under the same name, version and architecture are handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// They stay, and nothing is published.
    #[default]
    Keep,
    /// They are replaced, with all files of that version.
    Replace,
}

/// A key that images are signed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureKey {
    /// An RSA private key: PEM of PKCS #8.
    pub key: PathBuf,
    /// The id of its certificate in the key manager (Barbican) that Glance asks.
    pub certificate: String,
}

/// How a set is published.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PublishOptions {
    /// Who may see it.
    pub visibility: Visibility,
    /// Projects, by id or name, that may see it, besides its own.
    pub share_with: Vec<String>,
    /// Whether it is left out of lists.
    pub hidden: bool,
    /// Whether it is protected from removal.
    pub protected: bool,
    /// Tags.
    pub tags: Vec<String>,
    /// How older versions are handled.
    pub older: Older,
    /// How other bytes of the same version are handled.
    pub existing: Existing,
    /// Where the registry itself can fetch the tarball, instead of it being sent from here.
    pub import_from: Option<String>,
    /// The key to sign with.
    pub signature: Option<SignatureKey>,
    /// The authorities for an OCI registry's certificate, a PEM file; a cloud has its own setting.
    pub ca: Option<PathBuf>,
}

impl PublishOptions {
    /// Refuses the options that only Glance supports.
    pub(super) fn check_supported(&self, address: &Address) -> Result<()> {
        if matches!(address, Address::Glance(_)) {
            return Ok(());
        }
        let given = [
            ("--older", self.older != Older::Keep),
            ("--hidden", self.hidden),
            ("--protected", self.protected),
            ("--share-with", !self.share_with.is_empty()),
            ("--tag", !self.tags.is_empty()),
            ("--import-from", self.import_from.is_some()),
            ("--sign-key", self.signature.is_some()),
        ];
        let Some((option, _)) = given.into_iter().find(|(_, given)| *given) else { return Ok(()) };
        let failure = Failure::new(
            ExitCode::Usage,
            format!("publishing to {address}: {option} has no effect there"),
        );
        Err(failure
            .hint(match option {
                "--older" => "leave it out; osimg images --prune removes older versions",
                "--tag" => {
                    "leave it out; it sets tags of Glance (for a tag in an OCI registry: \
                            oci:HOST/NAME:TAG)"
                }
                _ => "leave it out; only Glance supports it",
            })
            .into())
    }
}
