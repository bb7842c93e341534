//! Free and used space of a file system, and available memory.

use anyhow::Context;
use std::path::Path;

use crate::error::Result;

/// Free bytes where `path` is.
///
/// # Errors
/// When the file system does not answer.
pub fn free_space(path: &Path) -> Result<u64> {
    let stat = nix::sys::statvfs::statvfs(path)
        .with_context(|| format!("asking for the free space of {}", path.display()))?;
    Ok(stat.blocks_available() as u64 * stat.fragment_size() as u64)
}

/// How many more files can be made where `path` is; `None` on a file system that sets no bound.
///
/// # Errors
/// When the file system does not answer.
pub(crate) fn free_inodes(path: &Path) -> Result<Option<u64>> {
    let stat = nix::sys::statvfs::statvfs(path)
        .with_context(|| format!("asking for the free inodes of {}", path.display()))?;
    Ok((stat.files() > 0).then(|| stat.files_available() as u64))
}

/// Used bytes of the file system that `path` is on.
///
/// # Errors
/// When the file system does not answer.
pub(crate) fn used_space(path: &Path) -> Result<u64> {
    let stat = nix::sys::statvfs::statvfs(path)
        .with_context(|| format!("asking for the used space of {}", path.display()))?;
    Ok((stat.blocks() as u64).saturating_sub(stat.blocks_free() as u64)
        * stat.fragment_size() as u64)
}

/// Bytes of memory that can be used without swapping, within this process's control group; 0 when
/// the kernel does not say.
#[must_use]
pub fn available_memory() -> u64 {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = meminfo.lines().find_map(|line| {
        line.strip_prefix("MemAvailable:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    (kib.unwrap_or(0) * 1024).min(crate::process::memory_limit().unwrap_or(u64::MAX))
}
