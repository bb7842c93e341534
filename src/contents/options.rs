//! The options of reading.

use crate::error::Result;

/// What is computed in addition to the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digests {
    /// Nothing.
    None,
    /// The SHA-256 of every file's content, and of the tarball itself.
    Sha256,
}

/// How a tarball or tree is read.
pub struct Options<'a> {
    /// Whether contents are digested.
    pub digests: Digests,
    /// Called for every member with the number of bytes of the tarball (as it is stored) were read.
    pub progress: &'a dyn Fn(u64),
    /// Called often; an error ends the reading.
    pub check: &'a dyn Fn() -> Result<()>,
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("digests", &self.digests).finish_non_exhaustive()
    }
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { digests: Digests::Sha256, progress: &|_| {}, check: &|| Ok(()) }
    }
}
