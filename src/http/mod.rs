//! All network access: one way to trust servers, one limit on silence, one rule for repeating, one
//! for signals, one for messages.
//!
//! [`client`] makes calls, [`mod@download`] fetches whole files, [`transport`] is the connection
//! itself: it ends when a signal comes and when a server falls silent, whatever the connection is
//! waiting for. [`trust`] finds the authorities, [`proxy`] the way out, [`error`] explains what
//! went wrong, and [`retry`] says when a call is repeated. Nothing outside of this module uses
//! `ureq`.

mod call;
mod client;
mod download;
mod error;
mod proxy;
mod retry;
mod transport;
mod trust;
mod url;

pub use call::{Answer, Call, Stop, Upload};
pub use client::{Body, Client, Redirects};
pub use download::{download, text};
pub use error::{Error, shown};
pub use retry::Retry;
pub use trust::Trust;
pub use url::{WebUrl, is_loopback};
