//! Where the install root lives: on disk, or in memory when it fits, in a mount namespace that ends
//! with osimg.

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags};
use nix::sched::CloneFlags;
use nix::sys::stat::Mode;
use serde::Serialize;
use std::cell::Cell;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};
use crate::mounts::calls::mount;
use crate::openat::{directory_at, fd_path};

/// What holds the install root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Backing {
    /// A directory of the workdir's file system.
    Disk,
    /// A tmpfs that only this process and its sandboxes see.
    Memory,
}

/// Gives this process its own mount namespace: no other process sees what it mounts, and the kernel
/// removes it with us.
///
/// Must be called before any thread is started.
///
/// # Errors
/// When the kernel refuses, as it does without CAP_SYS_ADMIN.
pub fn enter_private_mounts() -> Result<()> {
    #[expect(clippy::disallowed_methods, reason = "this is the sandbox's workspace")]
    {
        nix::sched::unshare(CloneFlags::CLONE_NEWNS)
            .context("leaving the host's mount namespace")?;
        // Slave, not private: what the host unmounts in the meantime must not be kept busy by us.
        mount(None, Path::new("/"), None, MsFlags::MS_REC | MsFlags::MS_SLAVE, None)
            .context("separating mounts from the host's")?;
    }
    PRIVATE.set(true);
    Ok(())
}

thread_local! {
    /// Whether this thread has entered its own mount namespace: such a namespace is a thread's.
    static PRIVATE: Cell<bool> = const { Cell::new(false) };
    /// Whether something is mounted on [`PIN`] in it.
    static PINNED: Cell<bool> = const { Cell::new(false) };
}
/// An empty directory of root's, on which every build mounts its workdir in its own namespace.
const PIN: &str = "/run/osimg";

/// Mounts an open directory on a path at which no other user can put anything else in its place,
/// for this thread and its sandboxes. `None` where that is not possible: without a private mount
/// namespace, without root and without [`PIN`], and for the second one of a thread.
#[must_use]
pub fn pin(directory: &impl AsFd) -> Option<PathBuf> {
    if !PRIVATE.get() || PINNED.get() {
        return None;
    }
    match nix::unistd::mkdir(PIN, Mode::from_bits_truncate(0o755)) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(_) => return None,
    }
    let place = directory_at(nix::fcntl::AT_FDCWD, PIN).ok()?;
    let (source, target) = (fd_path(directory), fd_path(&place));
    #[expect(clippy::disallowed_methods, reason = "this is the sandbox's workspace")]
    let mounted =
        nix::mount::mount(Some(&source), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>);
    PINNED.set(mounted.is_ok());
    mounted.is_ok().then(|| PathBuf::from(PIN))
}

/// Removes that mount.
///
/// # Errors
/// When it is busy.
pub fn unpin() -> Result<()> {
    #[expect(clippy::disallowed_methods, reason = "this is the sandbox's workspace")]
    nix::mount::umount2(PIN, MntFlags::UMOUNT_NOFOLLOW)
        .with_context(|| format!("unmounting {PIN}"))?;
    PINNED.set(false);
    Ok(())
}

/// Runs `work` while this thread, and what it starts, is on a host of another name.
///
/// # Errors
/// When the kernel refuses, and whatever `work` fails with.
pub fn with_hostname<T, E: From<Error>>(
    name: &str,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let own = nix::unistd::gethostname().context("asking for the host's name")?;
    #[expect(clippy::disallowed_methods, reason = "this is the sandbox's workspace")]
    nix::sched::unshare(CloneFlags::CLONE_NEWUTS).context("leaving the host's name")?;
    nix::unistd::sethostname(name).context("setting another host name")?;
    let done = work()?;
    // The way back into the host's own namespace is not open to a user; its name is.
    nix::unistd::sethostname(own).context("setting the host's name again")?;
    Ok(done)
}

/// Mounts a tmpfs of at most `bytes` on `path`.
///
/// # Errors
/// When the kernel refuses.
pub fn mount_memory(path: &Path, bytes: u64) -> Result<()> {
    #[expect(clippy::disallowed_methods, reason = "this is the sandbox's workspace")]
    nix::mount::mount(
        Some("osimg"),
        path,
        Some("tmpfs"),
        MsFlags::empty(),
        Some(format!("mode=0755,size={bytes}").as_str()),
    )
    .with_context(|| format!("mounting a tmpfs on {}", path.display()))
}

/// Removes such a tmpfs with all its content.
///
/// # Errors
/// When it is busy.
pub fn unmount_memory(path: &Path) -> Result<()> {
    #[expect(clippy::disallowed_methods, reason = "this is the sandbox's workspace")]
    nix::mount::umount2(path, MntFlags::UMOUNT_NOFOLLOW)
        .with_context(|| format!("unmounting {}", path.display()))
}
