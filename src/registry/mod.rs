//! Step 6: registries keep what builds make.
//!
//! [`Registry`] is the contract; what it promises is tested over every backend by one suite,
//! `tests/openstack/contract.rs`. To add a registry: one file with its type, one arm in [`Address`]
//! and in [`open`], and a row of the contract test.

mod address;
mod directory;
mod entry;
mod glance;
pub mod oci;
mod options;
mod removal;
mod tree;

use crate::error::Result;
use crate::process;
use crate::report::Report;
use crate::set::{PublishedVersion, References, Set};

pub use address::Address;
pub(crate) use directory::{Directory, Image, Names, Numbering, Staged, Standing, record};
pub(crate) use directory::{OutputDirectory, check_output, write_output};
pub use entry::{Entry, State};
pub use glance::Glance;
pub use oci::Oci;
pub use options::{Existing, PublishOptions};
pub(crate) use options::{Older, SignatureKey};
pub(crate) use removal::{Owners, Removal, failure as kept_failure};
pub use tree::WebTree;

/// A place that keeps images.
///
/// Every backend promises:
/// - *whole or not at all*: when [`Registry::publish`] fails, or is stopped by a signal, nothing
///   that it made is left; what could not be removed is named in the error.
/// - *idempotent*: a set that is there already, by the SHA-512 of its pieces and its properties, is
///   not sent again; the references are the same as the first time.
/// - *verified*: every piece sent is compared with the digest that the other side computed, or that
///   is read back.
/// - *no secrets*: neither [`Registry::describe`] nor any error or reference has a password or
///   token in it.
pub trait Registry: std::fmt::Debug {
    /// A short description of the registry, such as `glance:CLOUD (https://…, project NAME)`.
    fn describe(&self) -> String;

    /// Publishes the set and returns how its pieces are named there.
    ///
    /// # Errors
    /// When the registry cannot be reached or refuses; nothing of the set is left there then.
    fn publish(&self, set: &Set, report: &Report) -> Result<References>;

    /// The files of an existing version, to compare them with new ones; `None` if the version does
    /// not exist.
    ///
    /// # Errors
    /// When the registry cannot be reached or refuses.
    fn published_version(
        &self,
        name: &str,
        version: &str,
        arch: Option<&str>,
    ) -> Result<Option<PublishedVersion>>;

    /// The images, the newest of each name first.
    ///
    /// # Errors
    /// When the registry cannot be reached or refuses.
    fn list(&self) -> Result<Vec<Entry>>;

    /// Removes one entry, and those of its boot pieces that no other entry uses. A boot piece that
    /// cannot be removed is in the outcome.
    ///
    /// # Errors
    /// When the entry itself cannot be removed.
    fn remove(&self, entry: &Entry) -> Result<Removal>;

    /// The entries that a removal of all but the newest `keep` of each name (only of `name`, when
    /// it is given) takes, with those that a killed publisher left unfinished.
    ///
    /// # Errors
    /// As [`Registry::list`].
    fn surplus(&self, name: Option<&str>, keep: usize, owners: Owners) -> Result<Vec<Entry>> {
        Ok(removal::surplus(self.list()?, name, keep, owners))
    }

    /// Removes these entries. One that has to stay does not keep the others.
    ///
    /// # Errors
    /// Only when a signal asks to stop.
    fn remove_all(&self, entries: &[Entry]) -> Result<Removal> {
        let mut removal = Removal::default();
        for entry in entries {
            process::check_stop()?;
            removal.add(entry, self.remove(entry))?;
        }
        Ok(removal)
    }

    /// Removes the own surplus: see [`Registry::surplus`].
    ///
    /// # Errors
    /// As [`Registry::list`].
    fn prune(&self, name: Option<&str>, keep: usize) -> Result<Removal> {
        self.remove_all(&self.surplus(name, keep, Owners::Own)?)
    }
}

/// Opens the registry at an address.
///
/// # Errors
/// When it cannot be reached, or refuses.
pub fn open(
    address: &Address,
    publishing: &PublishOptions,
    report: &Report,
) -> Result<Box<dyn Registry>> {
    if matches!(address, Address::Directory(_) | Address::Tree(..)) {
        publishing.check_without_lists(address)?;
    }
    match address {
        Address::Directory(path) => {
            Ok(Box::new(Directory::open(path)?.with_existing(publishing.existing)))
        }
        Address::Glance(cloud) => Ok(Box::new(Glance::open(cloud.as_deref(), publishing, report)?)),
        Address::Tree(path, url) => {
            Ok(Box::new(WebTree::open(path, url.as_deref())?.with_existing(publishing.existing)))
        }
        Address::Oci(reference) => {
            let oci = Oci::open(reference, &oci::Access::from_environment(publishing.ca.clone()))?;
            Ok(Box::new(oci.with_existing(publishing.existing)))
        }
    }
}
