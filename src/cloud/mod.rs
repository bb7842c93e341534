//! The way to an OpenStack cloud: which one, who we are there, and calls that say clearly what went wrong.
//!
//! [`clouds`] finds the cloud as openstacksdk does, [`keystone`] logs in and makes calls, [`answer`] turns
//! what a service says into what the user reads. Secrets are [`Secret`]s: they appear in nothing that is shown.

mod answer;
mod clouds;
mod environment;
mod keystone;
mod projects;
mod secret;

pub use answer::Answer;
pub use clouds::{Auth, Cloud, Identity, Named, Scope};
pub use keystone::{Project, Session};
pub use projects::{ProjectLookup, escaped};
pub use secret::Secret;
