//! An OCI registry: the set as an artifact that one tag names, and each piece as an artifact that
//! Ironic can take.
//!
//! All content is addressed by digest: blobs first, then a manifest for each piece, then the set's
//! manifest with the tag, which is the commit point. [`claims`] lets one publisher after another
//! compare and write tags. A publisher that fails takes its manifests
//! away again; the specification has no way to take a blob away that others may use, so those stay,
//! unnamed, until the registry's own garbage collection.

mod claims;
mod client;
mod connection;
mod credentials;
mod documents;
mod entries;
mod find;
mod image;
mod image_manifest;
mod index;
mod occupied;
mod reference;
mod referrers;
mod send;
mod undo;
mod versions;

use super::{Registry, Removal};
use crate::error::Result;
use crate::registry::Entry;
use crate::report::Report;
use crate::set::{PublishedVersion, References, Set};

pub use connection::{Access, Oci};
pub use find::{Deployable, find};
pub use image::ContainerImages;

impl Registry for Oci {
    fn describe(&self) -> String {
        let how = if self.client.is_plain() { "plain http" } else { "https" };
        format!("oci:{} ({how})", self.repository)
    }

    fn publish(&self, set: &Set, report: &Report) -> Result<References> {
        set.check()?;
        let set = &Set { tree: set.tree()?, ..set.clone() };
        self.compare(set)?;
        let mut undo = Vec::new();
        let references =
            self.send(set, report, &mut undo).map_err(|error| self.roll_back(undo, error))?;
        report.note(
            "what Ironic 39 does with oci:// references: it takes them by digest, as printed, the \
             tarball's with image_type=partition (osimg deploy sets that). Nodes fetch the \
             tarball themselves, without a login, by a URL that ends in a digest: osimg's \
             kickstart template appends the suffix; with another one Anaconda would mount it as a \
             disk",
        );
        if self.client.is_plain() {
            report.note(
                "this registry speaks plain http: the conductor needs \
                 [oci]permit_fallback_to_http_transport",
            );
        }
        Ok(references)
    }

    fn published_version(
        &self,
        name: &str,
        version: &str,
        arch: Option<&str>,
    ) -> Result<Option<PublishedVersion>> {
        Ok(versions::published(&self.sets_of(name, version, arch)?, self))
    }

    fn list(&self) -> Result<Vec<Entry>> {
        entries::list(self)
    }

    fn remove(&self, entry: &Entry) -> Result<Removal> {
        entries::remove(self, entry).map(Removal::from)
    }
}
