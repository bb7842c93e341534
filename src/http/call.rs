//! An HTTP call and its answer.

use std::io::Read;
use std::time::Duration;
use ureq::http::HeaderMap;

/// Whether a call may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// A repetition does no harm.
    Safe,
    /// Only if the first attempt was never sent.
    Unsent,
}

/// How a call reacts to a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The call ends immediately.
    Heed,
    /// The call continues, because it cleans up.
    Ignore,
}

/// One call.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// `GET`, `POST`, …
    pub method: &'static str,
    /// The path below the service's address, with its query.
    pub path: String,
    /// Headers besides those that every call has.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Whether it may be repeated.
    pub repeat: Repeat,
    /// How it reacts to a signal.
    pub stop: Stop,
}

impl Call {
    /// A call that only reads.
    #[must_use]
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self {
            method: "GET",
            path: path.into(),
            headers: Vec::new(),
            body: Vec::new(),
            repeat: Repeat::Safe,
            stop: Stop::Heed,
        }
    }

    /// A call that requests only the headers.
    #[must_use]
    pub(crate) fn head(path: impl Into<String>) -> Self {
        Self { method: "HEAD", ..Self::get(path) }
    }

    /// A removal; repeating it does no harm.
    #[must_use]
    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self { method: "DELETE", ..Self::get(path) }
    }

    /// A call with a body, which is never repeated.
    #[must_use]
    pub(crate) fn send(
        method: &'static str,
        path: impl Into<String>,
        body: impl Into<Vec<u8>>,
    ) -> Self {
        Self { method, body: body.into(), repeat: Repeat::Unsent, ..Self::get(path) }
    }

    /// A call with a JSON body, which is never repeated.
    #[must_use]
    pub(crate) fn json(
        method: &'static str,
        path: impl Into<String>,
        body: &serde_json::Value,
    ) -> Self {
        Self::send(method, path, body.to_string()).header("content-type", "application/json")
    }

    /// Adds or replaces a header.
    #[must_use]
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(n, _)| *n != name);
        self.headers.push((name, value.into()));
        self
    }

    /// Allows the call to be repeated.
    #[must_use]
    pub(crate) fn repeatable(mut self) -> Self {
        self.repeat = Repeat::Safe;
        self
    }

    /// Sets how the call reacts to a signal.
    #[must_use]
    pub(crate) fn stop(mut self, stop: Stop) -> Self {
        self.stop = stop;
        self
    }
}

/// A streamed body of known length; it can be sent only once.
pub(crate) struct Upload<'a> {
    /// The path below the service's address.
    pub path: String,
    /// Headers besides those that every call has.
    pub headers: Vec<(&'static str, String)>,
    /// The number of bytes that the reader provides.
    pub size: u64,
    /// The source of the bytes.
    pub body: &'a mut dyn Read,
}

impl std::fmt::Debug for Upload<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload")
            .field("path", &self.path)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// An answer with any status.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub status: u16,
    pub(super) headers: HeaderMap,
    /// The body, if it was read.
    pub body: Vec<u8>,
}

impl Answer {
    /// An answer from its parts.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn new(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Self {
        let headers = headers
            .iter()
            .filter_map(|(name, value)| Some((name.parse().ok()?, value.parse().ok()?)))
            .collect();
        Self { status, headers, body: body.to_vec() }
    }

    /// Whether it has one of these statuses.
    #[must_use]
    pub(crate) fn is(&self, statuses: &[u16]) -> bool {
        statuses.contains(&self.status)
    }

    /// The status with its name: `404 Not Found`.
    #[must_use]
    pub(crate) fn status_line(&self) -> String {
        ureq::http::StatusCode::from_u16(self.status)
            .map_or_else(|_| self.status.to_string(), |status| status.to_string())
    }

    /// The value of a header.
    #[must_use]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// All values of a header that may occur more than once.
    pub(crate) fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok())
    }

    /// The length that the server announces.
    #[must_use]
    pub(crate) fn length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    /// The encoding of the body; `None` if it is not encoded.
    #[must_use]
    pub(crate) fn encoding(&self) -> Option<&str> {
        self.header("content-encoding").filter(|coding| *coding != "identity")
    }

    /// How long the server asks its clients to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.header("retry-after")?.parse().ok().map(Duration::from_secs)
    }
}
