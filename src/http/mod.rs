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

pub use call::{Answer, Call, Stop, Upload};
pub use client::{Body, Client, Redirects};
pub use download::{download, text};
pub use error::{Error, shown};
pub use retry::Retry;
pub use trust::Trust;
pub use url::{WebUrl, is_loopback};
