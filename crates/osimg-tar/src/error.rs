//! Why packing or reading failed.

use crate::shown::shown;
use nix::errno::Errno;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// The result of everything in this library that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure: what was being done, and the reason.
#[derive(Debug)]
pub struct Error {
    /// The innermost first.
    actions: Vec<String>,
    reason: Box<Reason>,
}

/// The reason of a failure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The system call failed.
    #[error("{0}")]
    Io(#[source] io::Error),
    /// The caller asked to stop.
    #[error("it was interrupted")]
    Stopped,
    /// The archive is cut off, was altered, or has an unknown form.
    #[error(transparent)]
    Damaged(Damaged),
    /// The file is compressed with zstd, which Anaconda does not unpack.
    #[error("it is compressed with zstd")]
    Zstd,
    /// It is another kind of file.
    #[error("it is not a tar archive (it looks like {0})")]
    NotTar(&'static str),
    /// There is no output to write to.
    #[error("no output is given")]
    NoOutput,
    /// A file or device is mounted inside the tree.
    #[error("something is mounted there")]
    MountPoint,
    /// A file was replaced, removed or written to while it was read.
    #[error("it changed in the meantime")]
    Changed,
    /// The kernel is older than Linux 5.6, or a container runtime blocks the call.
    #[error("the kernel has no openat2")]
    NoOpenat2,
    /// A file of the tree may not be opened.
    #[error("Permission denied")]
    Denied,
    /// A type of file that no Linux has.
    #[error("its type {0:o} is unknown")]
    FileType(u32),
    /// An ACL in a form that no Linux has.
    #[error("the kernel's form of it is unknown")]
    Acl,
    /// A file capability that is valid only in one user namespace.
    #[error("it is only for the user namespace whose root is uid {0}")]
    Capability(u32),
    /// A number does not fit the field of the header.
    #[error("{0} does not fit its field")]
    Field(u64),
    /// A file's content is longer than the caller allows.
    #[error("a content of {size} bytes is longer than {limit} bytes")]
    TooLong {
        /// The length in bytes.
        size: u64,
        /// The longest allowed.
        limit: u64,
    },
    /// A compressor failed, or has no such setting.
    #[error("{0}")]
    Compressor(String),
    /// The name does not end in the suffix of a format.
    #[error("cannot tell the archive format from the name `{}`{}", .name.display(), .why)]
    Name {
        /// The name.
        name: PathBuf,
        /// A known form that comes close.
        why: NameProblem,
    },
    /// The text is neither a number nor a word for a compression level.
    #[error("`{0}` is not a compression level")]
    LevelText(String),
    /// The format has no such compression level.
    #[error("{format} has no compression level {level}")]
    Level {
        /// The level asked for.
        level: u32,
        /// The format's name.
        format: &'static str,
        /// The levels of the format.
        range: std::ops::RangeInclusive<u32>,
    },
    /// One job needs more memory than the caller allows.
    #[error(
        "one job needs {} MiB of memory, and {} MiB are allowed",
        needed.div_ceil(1 << 20), allowed >> 20
    )]
    Memory {
        /// Bytes that one job needs.
        needed: u64,
        /// Bytes allowed.
        allowed: u64,
    },
    /// One job needs more memory than the control group of this process has.
    #[error(
        "one job needs {} MiB of memory, and this control group has {} MiB",
        needed.div_ceil(1 << 20), allowed >> 20
    )]
    GroupMemory {
        /// Bytes that one job needs.
        needed: u64,
        /// Bytes of the control group.
        allowed: u64,
    },
}

/// What is known of a name without a suffix of a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameProblem {
    /// Nothing.
    Unknown,
    /// It ends in a suffix of zstd.
    Zstd,
    /// It ends in a known suffix, but in capital letters.
    Capitals,
}

impl fmt::Display for NameProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "",
            Self::Zstd => ": Anaconda does not unpack zstd",
            Self::Capitals => ": Anaconda knows suffixes only in lower case",
        })
    }
}

/// An archive is cut off, was altered, or has an unknown form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("reading the archive at byte {offset}: {why}")]
pub struct Damaged {
    /// The place in the archive, in bytes before compression.
    pub offset: u64,
    /// What is wrong.
    pub why: String,
}

impl Error {
    pub(crate) fn new(reason: Reason) -> Self {
        Self { actions: Vec::new(), reason: Box::new(reason) }
    }

    /// The failure of an action on a path of the tree.
    pub(crate) fn at(action: &str, path: &[u8], reason: Reason) -> Self {
        Self::new(reason).context(format!("{action} {}", shown(path)))
    }

    /// The reason.
    #[must_use]
    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// What is wrong with the archive, if it is damaged.
    #[must_use]
    pub fn damage(&self) -> Option<&Damaged> {
        match self.reason() {
            Reason::Damaged(damaged) => Some(damaged),
            _ => None,
        }
    }

    /// Adds what was being done.
    #[must_use]
    pub fn context(mut self, action: impl Into<String>) -> Self {
        self.actions.push(action.into());
        self
    }

    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self.reason(), Reason::Stopped)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let actions: Vec<&str> = self.actions.iter().rev().map(String::as_str).collect();
        let actions = actions.join(": ");
        match self.reason() {
            // The system's error is the source.
            Reason::Io(_) if !actions.is_empty() => f.write_str(&actions),
            reason if actions.is_empty() => reason.fmt(f),
            reason => write!(f, "{actions}: {reason}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.reason() {
            Reason::Io(_) if self.actions.is_empty() => None,
            Reason::Io(error) => Some(error),
            reason => reason.source(),
        }
    }
}

impl From<Reason> for Error {
    fn from(reason: Reason) -> Self {
        Self::new(reason)
    }
}

impl From<Damaged> for Error {
    fn from(damaged: Damaged) -> Self {
        Self::new(Reason::Damaged(damaged))
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::new(Reason::Io(error))
    }
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        io::Error::from(errno).into()
    }
}

impl From<std::num::TryFromIntError> for Error {
    fn from(error: std::num::TryFromIntError) -> Self {
        io::Error::other(error).into()
    }
}

/// Adds to a failure what was being done.
pub(crate) trait Context<T> {
    fn context(self, action: &str) -> Result<T>;
    fn with_context(self, action: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for Result<T, E> {
    fn context(self, action: &str) -> Result<T> {
        self.map_err(|error| error.into().context(action))
    }

    fn with_context(self, action: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| error.into().context(action()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn actions_come_before_the_reason_and_the_systems_error_is_the_source() {
        let changed = Error::at("packing", b"a\n", Reason::Changed).context("packing the tree t");
        assert_eq!(
            changed.to_string(),
            "packing the tree t: packing /a\\n: it changed in the meantime"
        );
        assert!(changed.source().is_none());
        let denied: Error = Result::<(), _>::Err(Errno::EACCES).context("reading it").unwrap_err();
        assert_eq!(denied.to_string(), "reading it");
        assert_eq!(
            denied.source().map(ToString::to_string),
            Some("Permission denied (os error 13)".into())
        );
        assert_eq!(Error::from(Errno::EIO).to_string(), "Input/output error (os error 5)");
    }
}
