//! The install root's /proc, /sys, /dev and /run while nothing is mounted on them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

use crate::error::Result;
use crate::plan::API_FILE_SYSTEMS;
use crate::root::InstallRoot;

/// The links that every /dev has.
const LINKS: [(&str, &str); 4] =
    [("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2")];

/// What was in these directories before the run.
pub(super) struct ApiDirectories {
    before: Vec<(&'static str, BTreeSet<OsString>)>,
}

impl ApiDirectories {
    /// Makes them, and what cannot be answered call by call.
    pub(super) fn prepare(root: &InstallRoot) -> Result<Self> {
        let mut before = Vec::new();
        for (name, mode) in API_FILE_SYSTEMS {
            root.directory(Path::new(name), mode)?;
            before.push((name, root.names(Path::new(name))?.into_iter().collect()));
        }
        for (name, points_to) in LINKS {
            root.link(&Path::new("dev").join(name), Path::new(points_to))?;
        }
        root.directory(Path::new("dev/shm"), 0o1777)?;
        Ok(Self { before })
    }

    /// Removes what the run left in them: in a sandbox with mounts it would be gone too.
    pub(super) fn clear(&self, root: &InstallRoot) -> Result<()> {
        for (name, before) in &self.before {
            for found in root.names(Path::new(name))?.iter().filter(|found| !before.contains(*found)) {
                root.remove(&Path::new(name).join(found))?;
            }
        }
        Ok(())
    }
}
