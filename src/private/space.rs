//! The free space of a cache's file system. Downloads leave some of it to others.

use std::path::Path;

/// The space that must stay free on the cache's file system, if it is large enough.
const FREE: u64 = 256 << 20;

/// The free space of a file system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Space {
    /// Bytes that are free.
    pub(crate) free: u64,
    /// The part of it that must stay free. It is smaller on a small or nearly full file system,
    /// where a build may still fit.
    pub(crate) reserve: u64,
}

impl Space {
    /// The space of the file system with this path.
    ///
    /// # Errors
    /// As statvfs(3).
    pub(crate) fn read(path: &Path) -> std::io::Result<Self> {
        let stat = nix::sys::statvfs::statvfs(path)?;
        let unit = stat.fragment_size() as u64;
        let (free, all) = (stat.blocks_available() as u64 * unit, stat.blocks() as u64 * unit);
        Ok(Self { free, reserve: FREE.min(all / 20).min(free / 2) })
    }
}
