//! The options of a verification.

use std::collections::BTreeSet;
use std::fmt;

use super::consumer::Consumer;
use crate::contents::Digests;
use crate::error::Result;
use crate::http::Trust;

/// How an image is verified.
pub struct Options<'a> {
    /// The consumers of the image; when there are none, the installer that the image's os-release
    /// asks for.
    pub consumers: Vec<Consumer>,
    /// Names of checks whose findings do not count.
    pub allow: BTreeSet<String>,
    /// Paths that the image's settings removed: packaged files below them are not missing.
    pub removed: Vec<String>,
    /// Bytes of the smallest disk that it is to be installed to.
    pub smallest_disk: u64,
    /// Whether contents are compared with the digests in the rpmdb.
    pub digests: Digests,
    /// How the certificate of a server is checked.
    pub trust: Trust,
    /// Told how many bytes of the tarball were read, and of how many (0 when nobody knows).
    pub progress: &'a dyn Fn(u64, u64),
    /// Asked often; an error ends the work.
    pub check: &'a dyn Fn() -> Result<()>,
}

/// A root file system that the smallest bare metal has room for.
const SMALLEST_DISK: u64 = 10 << 30;

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            consumers: Vec::new(),
            allow: BTreeSet::new(),
            removed: Vec::new(),
            smallest_disk: SMALLEST_DISK,
            digests: Digests::Sha256,
            trust: Trust::default(),
            progress: &|_, _| {},
            check: &|| Ok(()),
        }
    }
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("consumers", &self.consumers)
            .field("allow", &self.allow)
            .finish_non_exhaustive()
    }
}
