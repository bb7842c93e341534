//! The connection to Glance in a cloud.

use super::images::{self, Images};
use crate::cloud::{Cloud, Session};
use crate::error::Result;
use crate::registry::options::PublishOptions;
use crate::report::Report;

/// The images of a cloud.
#[derive(Debug)]
pub struct Glance {
    pub(super) session: Session,
    pub(super) publishing: PublishOptions,
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
    pub(super) fn address(&self) -> String {
        match self.session.cloud().name.as_str() {
            "environment" => "glance:".to_owned(),
            name => format!("glance:{name}"),
        }
    }

    pub(super) fn images(&self) -> Images<'_> {
        Images { session: &self.session }
    }

    /// Our project; none without Keystone.
    pub(super) fn project(&self) -> Option<String> {
        self.session.project().map(|project| project.id)
    }

    /// Whether an image belongs to our project. Without Keystone there are no projects, and every
    /// image does.
    pub(super) fn owns(&self, image: &images::Image) -> bool {
        let project = self.project();
        !self.session.cloud().auth.has_keystone() || (project.is_some() && image.owner == project)
    }
}
