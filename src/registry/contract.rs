//! The contract of all registries.

use super::entry::Entry;
use super::removal::{self, Owners, Removal};
use crate::error::Result;
use crate::process;
use crate::report::Report;
use crate::set::{PublishedVersion, References, Set};

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
