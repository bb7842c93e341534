//! A lock file that a build follows.

use std::path::PathBuf;

use crate::recipe::Lock;

/// A lock file that a build follows.
#[derive(Debug, Clone)]
pub(crate) struct LockFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its content.
    pub lock: Lock,
    /// The digest of its bytes, in hex.
    pub sha256: String,
}

impl LockFile {
    /// Its entry in the manifest.
    #[must_use]
    pub(crate) fn for_manifest(&self) -> crate::set::manifest::Locked {
        let name = self
            .path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        crate::set::manifest::Locked { name, sha256: self.sha256.clone() }
    }
}
