//! Glance, version 2, with Keystone or without.
//!
//! [`publish`] sends a set, [`draft`] describes its images, [`send`] creates one image, [`journal`]
//! removes the images of a failed attempt, [`visibility`] chooses who sees them, [`entries`] lists
//! the published images.

mod connection;
mod draft;
mod entries;
mod images;
mod journal;
mod publish;
mod send;
mod signature;
mod visibility;

use crate::cloud::Auth;
use crate::error::Result;
use crate::registry::{Entry, Registry, Removal};
use crate::report::Report;
use crate::set::{PublishedVersion, References, Set};
pub use connection::Glance;

impl Registry for Glance {
    fn describe(&self) -> String {
        let cloud = self.session.cloud();
        let who = match cloud.auth {
            Auth::None => "without Keystone".to_owned(),
            Auth::Basic { .. } | Auth::Keystone { .. } => self.session.who(),
        };
        format!(
            "{} at {}, {who}",
            self.address(),
            self.session.endpoint("image").unwrap_or_default()
        )
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
        entries::published_version(self, name, version, arch)
    }

    fn list(&self) -> Result<Vec<Entry>> {
        entries::list(self)
    }

    fn remove(&self, entry: &Entry) -> Result<Removal> {
        entries::remove(self, entry)
    }
}
