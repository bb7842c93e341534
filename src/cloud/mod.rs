//! Access to an OpenStack cloud: finding it, logging in, and calls with clear error messages.
//!
//! [`clouds`] finds the cloud as openstacksdk does, [`keystone`] logs in and makes calls,
//! [`answer`] turns a service's answers into messages for the user. Secrets are
//! [`secret::Secret`]s: they appear in nothing that is shown.

mod answer;
mod clouds;
mod environment;
mod keystone;
mod projects;
mod secret;

pub(crate) use answer::Answer;
pub(crate) use clouds::Auth;
pub use clouds::Cloud;
pub(crate) use keystone::Session;
pub(crate) use projects::{ProjectLookup, escaped};
