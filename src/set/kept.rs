//! An image that had to stay.

use serde::{Deserialize, Serialize};

use crate::error::Failure;

/// An image that was to be removed or hidden, and was not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its id in the registry.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The cause.
    pub reason: String,
    /// The fix, where there is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

impl Kept {
    /// An image that stays because of an error.
    #[must_use]
    pub fn new(id: &str, name: &str, error: &anyhow::Error) -> Self {
        let hints = error.chain().filter_map(|cause| cause.downcast_ref::<Failure>());
        let hints = hints.flat_map(|failure| failure.hints().iter().cloned()).collect();
        Self { id: id.to_owned(), name: name.to_owned(), reason: format!("{error:#}"), hints }
    }
}
