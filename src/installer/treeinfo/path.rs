//! Paths in an install tree: what anybody may have written, taken only when it stays in the tree.

use serde::Serialize;
use std::fmt;

/// A path below the tree's top that can be joined to a directory or a URL without leaving it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct TreePath(String);

impl TreePath {
    /// Takes a relative path of plain characters; nothing that a file system, a web server or a
    /// shell reads as more than a name.
    ///
    /// # Errors
    /// Names the reason.
    pub fn parse(text: &str) -> Result<Self, String> {
        let trick = if text.is_empty() {
            "it is empty"
        } else if text.contains("://") {
            "it is a URL"
        } else if text.starts_with('/') {
            "it is absolute"
        } else if text.contains("//") || text.ends_with('/') {
            "it has an empty component"
        } else if text.split('/').any(|part| part == "..") {
            "it leaves the tree"
        } else if text.split('/').any(|part| part == ".") {
            "it has a component '.'"
        } else if text.len() > 1024 {
            "it is longer than 1024 bytes"
        } else if !text.chars().all(|c| c.is_ascii_alphanumeric() || "._-+/~@,=".contains(c)) {
            // A percent sign is a way to write `..` to a web server; the others begin a query or
            // are cut off.
            "only letters, digits and ._-+/~@,= are allowed"
        } else {
            return Ok(Self(text.to_owned()));
        };
        Err(trick.to_owned())
    }

    /// The path as text, without a slash at its ends.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
