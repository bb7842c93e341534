//! The mount calls of the sandbox, which keep the restrictions of what they bind.

use nix::errno::Errno;
use nix::mount::MsFlags;
use std::os::fd::OwnedFd;
use std::path::Path;

use crate::error::{Context, Result};
use crate::openat::fd_path;
use crate::remove::mounts_below;

pub(crate) fn mount(
    source: Option<&str>,
    target: &Path,
    kind: Option<&str>,
    flags: MsFlags,
    data: Option<&str>,
) -> Result<(), Errno> {
    #[expect(clippy::disallowed_methods, reason = "this is the sandbox")]
    nix::mount::mount(source, target, kind, flags, data)
}

/// Mounts on an open directory: its name cannot be swapped in the meantime.
pub(super) fn mount_on(
    at: &OwnedFd,
    kind: Option<&str>,
    flags: MsFlags,
    data: Option<&str>,
) -> Result<(), Errno> {
    mount(kind, &fd_path(at), kind, flags, data)
}

pub(super) fn bind(source: &Path, target: &Path) -> Result<(), Errno> {
    bind_with(source, target, MsFlags::MS_BIND)
}

pub(super) fn rbind(source: &Path, target: &Path) -> Result<()> {
    bind_with(source, target, MsFlags::MS_BIND | MsFlags::MS_REC)
        .with_context(|| format!("binding {}", target.display()))
}

pub(super) fn rbind_on(source: &Path, at: &OwnedFd) -> Result<(), Errno> {
    bind_with(source, &fd_path(at), MsFlags::MS_BIND | MsFlags::MS_REC)
}

fn bind_with(source: &Path, target: &Path, flags: MsFlags) -> Result<(), Errno> {
    #[expect(clippy::disallowed_methods, reason = "this is the sandbox")]
    let bind = |flags| nix::mount::mount(Some(source), target, None::<&str>, flags, None::<&str>);
    match bind(flags) {
        // In a user namespace what the host mounted over other mounts cannot be bound without them:
        // it would show what they hide.
        Err(Errno::EINVAL) if !flags.contains(MsFlags::MS_REC) => bind(flags | MsFlags::MS_REC),
        other => other,
    }
}

/// Adds restrictions to a bind mount and keeps those that it has: a user namespace may not take
/// away what the host set.
pub(super) fn restrict(target: &Path, flags: MsFlags) -> Result<(), Errno> {
    use nix::sys::statvfs::{FsFlags, statvfs};
    let has = statvfs(target)?.flags();
    let mut flags = flags | MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
    for (found, flag) in [
        (FsFlags::ST_RDONLY, MsFlags::MS_RDONLY),
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
    ] {
        if has.contains(found) {
            flags |= flag;
        }
    }
    mount(None, target, None, flags, None)
}

/// Restricts a bind mount and every mount that came below it.
pub(super) fn restrict_all(target: &Path, flags: MsFlags) -> Result<()> {
    restrict(target, flags)?;
    for below in mounts_below(target)? {
        match restrict(&below, flags) {
            Ok(()) => {}
            // Another mount hides it: no path leads there.
            Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("restricting {}", below.display()));
            }
        }
    }
    Ok(())
}

pub(super) fn tmpfs(target: &Path, mode: u32, bytes: &str) -> Result<()> {
    mount(
        Some("tmpfs"),
        target,
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some(&format!("mode={mode:04o},size={bytes}")),
    )
    .with_context(|| format!("mounting a tmpfs on {}", target.display()))
}
