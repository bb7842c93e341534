//! A place in a `.treeinfo`, and what is wrong there.

/// A line and a column, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

/// The reason why a text is not a `.treeinfo`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", place.map_or(String::new(), |p| format!("{}:{}: ", p.line, p.column)))]
pub struct TreeInfoError {
    /// Its place; `None` when something is missing.
    pub place: Option<Place>,
    /// The problem.
    pub message: String,
}

impl TreeInfoError {
    pub(super) fn new(place: Place, message: impl Into<String>) -> Self {
        Self { place: Some(place), message: message.into() }
    }

    pub(super) fn missing(message: impl Into<String>) -> Self {
        Self { place: None, message: message.into() }
    }
}
