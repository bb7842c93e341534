//! The library's error: what was being done, what kind of failure it is, and how to fix it.

use std::error::Error as StdError;

/// The result of everything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure an error is, for callers that choose an exit status or a hint by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The system refused something; the error's sources hold the [`std::io::Error`] or
    /// [`nix::errno::Errno`].
    System,
    /// The caller asked for something that makes no sense.
    Usage,
    /// This machine lacks something: a privilege, a kernel feature, a program.
    Host,
    /// The sandbox could not be made on this machine.
    Sandbox,
    /// The command could not be started; [`NotStarted`](crate::NotStarted) is among the sources.
    NotStarted,
    /// The install root holds something that it must not.
    Root,
    /// A user or group is not in the install root's passwd or group file.
    UnknownOwner,
    /// The command started more processes than it may.
    ProcessLimit,
    /// The processes of a build with a single id could not be traced to the end.
    TracingLost,
    /// A time limit passed.
    TimedOut,
    /// The sandbox ended before its command did.
    Killed,
    /// Anything else, such as a tree that changed while it was being removed.
    Other,
}

/// A failure: its display is what was being done, its source is why that failed. The alternate form
/// (`{:#}`) has the sources too.
#[derive(Debug, thiserror::Error)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A failure; `message` is a lower-case fragment without a final period.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, source: None }
    }

    /// Adds how to fix it.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds why it failed.
    pub(crate) fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Its kind; an error that says what was being done has the kind of its source.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// How to fix it, if this error or one of its sources knows.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.chain().find_map(|cause| cause.downcast_ref::<Self>()?.hint.as_deref())
    }

    /// The error and its sources, from the outermost.
    pub(crate) fn chain(&self) -> impl Iterator<Item = &(dyn StdError + 'static)> {
        let mut next: Option<&(dyn StdError + 'static)> = Some(self);
        std::iter::from_fn(move || {
            let error = next?;
            next = error.source();
            Some(error)
        })
    }

    /// The number of the system's error that began it, if one did.
    #[must_use]
    pub fn errno(&self) -> Option<nix::errno::Errno> {
        self.chain().find_map(|cause| {
            let io = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
            cause.downcast_ref().copied().or_else(|| io.map(nix::errno::Errno::from_raw))
        })
    }

    /// The same failure, with what was being done.
    pub(crate) fn doing(self, message: impl Into<String>) -> Self {
        Self::new(self.kind, message).because(self)
    }

    /// The whole chain in one line.
    pub(crate) fn describe(&self) -> String {
        let mut parts: Vec<String> = self.chain().map(ToString::to_string).collect();
        // One that only wraps its source repeats it.
        parts.dedup();
        parts.join(": ")
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if f.alternate() { f.write_str(&self.describe()) } else { f.write_str(&self.message) }
    }
}

impl From<nix::errno::Errno> for Error {
    fn from(error: nix::errno::Errno) -> Self {
        Self::new(ErrorKind::System, error.to_string()).because(error)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::new(ErrorKind::System, error.to_string()).because(error)
    }
}

/// A failure of no special kind.
pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Other, message)
}

/// Says what was being done when something failed.
pub(crate) trait Context<T> {
    /// With a fixed text.
    fn context(self, doing: impl Into<String>) -> Result<T>;
    /// With a text that is made only for a failure.
    fn with_context<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: StdError + Send + Sync + 'static> Context<T> for std::result::Result<T, E> {
    fn context(self, doing: impl Into<String>) -> Result<T> {
        self.with_context(|| doing)
    }

    fn with_context<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| {
            let kind = (&error as &(dyn StdError + 'static))
                .downcast_ref()
                .map_or(ErrorKind::System, Error::kind);
            Error::new(kind, doing()).because(error)
        })
    }
}

impl<T> Context<T> for Option<T> {
    fn context(self, doing: impl Into<String>) -> Result<T> {
        self.with_context(|| doing)
    }

    fn with_context<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T> {
        self.ok_or_else(|| invalid(doing()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;

    #[test]
    fn a_context_keeps_the_kind_and_the_number() {
        let inner: Result<()> = Err(Errno::EPERM).context("mounting proc");
        assert_eq!(inner.as_ref().unwrap_err().kind(), ErrorKind::System);
        let outer = inner.context("making the sandbox").unwrap_err();
        assert_eq!(outer.errno(), Some(Errno::EPERM));
        assert_eq!(
            outer.describe(),
            "making the sandbox: mounting proc: EPERM: Operation not permitted"
        );
        let host: Result<()> = Err(Error::new(ErrorKind::Host, "no newuidmap"));
        assert_eq!(host.context("mapping ids").unwrap_err().kind(), ErrorKind::Host);
    }
}
