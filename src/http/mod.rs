//! All network access. There is one way to trust servers, one limit on silence, one rule for
//! retries, one for signals, and one for messages.
//!
//! [`client`] makes calls, [`mod@download`] fetches complete files, [`transport`] is the connection
//! itself: it ends if a signal arrives or a server is silent, whatever it is waiting for. [`trust`]
//! finds the authorities, [`proxy`] the proxies, [`error`] explains failures, and [`retry`] decides
//! whether to repeat a call. No other module uses `ureq`.

mod call;
mod client;
mod download;
mod error;
mod proxy;
mod retry;
mod transport;
mod trust;
mod url;

pub(crate) use call::{Answer, Call, Stop, Upload};
pub(crate) use client::{Body, Client, Redirects};
pub(crate) use download::{download, text};
pub(crate) use error::{Error, shown};
pub(crate) use retry::{Retry, is_temporary};
pub(crate) use trust::Trust;
pub(crate) use url::{WebUrl, is_loopback};
