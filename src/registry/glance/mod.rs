//! Glance, version 2, with Keystone or without.
//!
//! [`publish`] sends a set, [`draft`] describes its images, [`send`] creates one image, [`journal`]
//! removes the images of a failed attempt, [`visibility`] chooses who sees them, [`entries`] lists
//! the published images.

mod draft;
mod entries;
mod images;
mod journal;
mod publish;
mod send;
mod signature;
mod visibility;

use crate::cloud::{Auth, Cloud, Session};
use crate::error::Result;
use crate::registry::{Entry, PublishOptions, Registry, Removal};
use crate::report::Report;
use crate::set::{PublishedVersion, References, Set};
use images::Images;

/// The images of a cloud.
#[derive(Debug)]
pub struct Glance {
    session: Session,
    publishing: PublishOptions,
}

impl Glance {
    /// Logs in to a cloud; without a name to the one that `OS_CLOUD` or the other `OS_*` variables
    /// say.
    ///
    /// # Errors
    /// When the cloud is not known, or Keystone cannot be reached or refuses.
    pub fn open(cloud: Option<&str>, publishing: &PublishOptions, report: &Report) -> Result<Self> {
        Self::log_in(Cloud::load(cloud)?, publishing, report)
    }

    /// Logs in to a cloud that is known.
    ///
    /// # Errors
    /// When Keystone cannot be reached or refuses.
    pub fn log_in(cloud: Cloud, publishing: &PublishOptions, report: &Report) -> Result<Self> {
        let session = Session::open(cloud, report)?;
        // If it is not in the catalogue, this is reported before anything is hashed.
        session.endpoint("image")?;
        Ok(Self { session, publishing: publishing.clone() })
    }

    /// The address, as `--registry` takes it.
    fn address(&self) -> String {
        match self.session.cloud().name.as_str() {
            "environment" => "glance:".to_owned(),
            name => format!("glance:{name}"),
        }
    }

    fn images(&self) -> Images<'_> {
        Images { session: &self.session }
    }

    /// Our project; none without Keystone.
    fn project(&self) -> Option<String> {
        self.session.project().map(|project| project.id)
    }

    /// Whether an image belongs to our project. Without Keystone there are no projects, and every
    /// image does.
    fn owns(&self, image: &images::Image) -> bool {
        let project = self.project();
        !self.session.cloud().auth.has_keystone() || (project.is_some() && image.owner == project)
    }
}

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
