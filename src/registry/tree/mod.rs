//! A directory that a plain web server gives out: for each image a tree that Ironic and Anaconda
//! take what they need from, and that Anaconda's `inst.stage2` and osimg's own `tree` setting
//! understand.
//!
//! ```text
//! PATH/NAME-VERSION/.treeinfo                          what the tree is, with checksums
//!                   NAME-VERSION.tgz  .sha256 .sha512  the tarball; checksums as Ironic reads them
//!                   NAME-VERSION.tgz.ks.cfg            the kickstart template
//!                   NAME-VERSION.json                  the manifest
//!                   SHA256SUMS  SHA512SUMS             of all of them
//!                   images/pxeboot/vmlinuz  initrd.img
//!                   images/install.img                 the second stage; LiveOS/squashfs.img too
//! PATH/NAME-latest -> NAME-VERSION
//! ```
//!
//! Another architecture than that of the plain names has its own directory, `NAME-VERSION.ARCH`,
//! and link, `NAME-latest.ARCH`.
//!
//! The image's directory appears by one rename, and changes by one exchange of two directories: a
//! reader sees the old one or the new one.

mod entries;
mod layout;
mod outside;
mod owned;
mod publish;
mod stage;
mod store;

use super::{Entry, Registry, Removal};
use crate::error::Result;
use crate::report::Report;
use crate::set::{PublishedVersion, References, Set};

pub use store::WebTree;

use store::place_among;

impl Registry for WebTree {
    fn describe(&self) -> String {
        self.name()
    }

    fn publish(&self, set: &Set, report: &Report) -> Result<References> {
        publish::publish(self, set, report)
    }

    fn published_version(
        &self,
        name: &str,
        version: &str,
        arch: Option<&str>,
    ) -> Result<Option<PublishedVersion>> {
        let versions = self.stored_versions()?;
        let stem = place_among(&versions, name, version, arch).stem;
        let Some(stored) = versions.iter().find(|stored| stored.stem == stem) else {
            return Ok(None);
        };
        stored.check_image(self, name, version)?;
        Ok(Some(stored.published_version(self)))
    }

    fn list(&self) -> Result<Vec<Entry>> {
        entries::list(self)
    }

    fn remove(&self, entry: &Entry) -> Result<Removal> {
        entries::remove(self, entry)
    }
}
