//! A call and its answer.

use std::io::Read;
use std::time::Duration;
use ureq::http::HeaderMap;

/// Whether a call may be made twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// A second one does no harm.
    Safe,
    /// Only if the first was never sent.
    Unsent,
}

/// Whether a signal ends a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// At once.
    Heed,
    /// It cleans up, and goes on.
    Ignore,
}

/// One call.
#[derive(Debug, Clone)]
pub struct Call {
    /// `GET`, `POST`, …
    pub method: &'static str,
    /// The path below the service's address, with its query.
    pub path: String,
    /// Headers in addition to those that every call has.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Whether it may be made twice.
    pub repeat: Repeat,
    /// Whether a signal ends it.
    pub stop: Stop,
}

impl Call {
    /// A call that only reads.
    #[must_use]
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: "GET", path: path.into(), headers: Vec::new(), body: Vec::new(), repeat: Repeat::Safe, stop: Stop::Heed }
    }

    /// A call that only asks for the headers.
    #[must_use]
    pub fn head(path: impl Into<String>) -> Self {
        Self { method: "HEAD", ..Self::get(path) }
    }

    /// A removal: done twice it is still done.
    #[must_use]
    pub fn delete(path: impl Into<String>) -> Self {
        Self { method: "DELETE", ..Self::get(path) }
    }

    /// A call with a body, which is made once.
    #[must_use]
    pub fn send(method: &'static str, path: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self { method, body: body.into(), repeat: Repeat::Unsent, ..Self::get(path) }
    }

    /// A call with a JSON body, which is made once.
    #[must_use]
    pub fn json(method: &'static str, path: impl Into<String>, body: &serde_json::Value) -> Self {
        Self::send(method, path, body.to_string()).header("content-type", "application/json")
    }

    /// Adds or replaces a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(n, _)| *n != name);
        self.headers.push((name, value.into()));
        self
    }

    /// Says that it may be made twice.
    #[must_use]
    pub fn repeatable(mut self) -> Self {
        self.repeat = Repeat::Safe;
        self
    }

    /// Says whether signals end it.
    #[must_use]
    pub fn stop(mut self, stop: Stop) -> Self {
        self.stop = stop;
        self
    }
}

/// A body of known length that is streamed, once.
pub struct Upload<'a> {
    /// The path below the service's address.
    pub path: String,
    /// Headers in addition to those that every call has.
    pub headers: Vec<(&'static str, String)>,
    /// Bytes that the reader gives.
    pub size: u64,
    /// The bytes.
    pub body: &'a mut dyn Read,
}

impl std::fmt::Debug for Upload<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").field("path", &self.path).field("size", &self.size).finish_non_exhaustive()
    }
}

/// An answer of any status.
#[derive(Debug, Default)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    pub(super) headers: HeaderMap,
    /// The body, where it was read.
    pub body: Vec<u8>,
}

impl Answer {
    /// An answer made of its parts.
    #[cfg(test)]
    #[must_use]
    pub fn new(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Self {
        let headers = headers.iter().filter_map(|(name, value)| Some((name.parse().ok()?, value.parse().ok()?))).collect();
        Self { status, headers, body: body.to_vec() }
    }

    /// Whether it is one of these statuses.
    #[must_use]
    pub fn is(&self, statuses: &[u16]) -> bool {
        statuses.contains(&self.status)
    }

    /// The status with its name: `404 Not Found`.
    #[must_use]
    pub fn status_line(&self) -> String {
        ureq::http::StatusCode::from_u16(self.status).map_or_else(|_| self.status.to_string(), |status| status.to_string())
    }

    /// The text of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The texts of a header that may be there more than once.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok())
    }

    /// The length that the server promises.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    /// The encoding of the body; nothing when it is sent as it is.
    #[must_use]
    pub fn encoding(&self) -> Option<&str> {
        self.header("content-encoding").filter(|coding| *coding != "identity")
    }

    /// How long the server asks its clients to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.header("retry-after")?.parse().ok().map(Duration::from_secs)
    }
}
