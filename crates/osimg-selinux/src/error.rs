//! What is wrong in a file of contexts.

use std::path::PathBuf;

/// A line of a policy that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}: {problem}", file.display())]
pub struct Error {
    /// The name of the text, as given in [`Source::name`](crate::Source::name).
    pub file: PathBuf,
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: String,
}
