//! The way to an OpenStack cloud: which one, who we are there, and calls that say clearly what went
//! wrong.
//!
//! [`clouds`] finds the cloud as openstacksdk does, [`keystone`] logs in and makes calls,
//! [`answer`] turns what a service says into what the user reads. Secrets are [`secret::Secret`]s:
//! they appear in nothing that is shown.

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
