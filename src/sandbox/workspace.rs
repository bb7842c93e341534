//! Where the install root lives: on disk, or in memory when it fits, in a mount namespace that ends with osimg.

use anyhow::Context;
use nix::mount::{MntFlags, MsFlags};
use nix::sched::CloneFlags;
use serde::Serialize;
use std::path::Path;

use crate::error::Result;

/// What holds the install root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Backing {
    /// A folder of the workdir's file system.
    Disk,
    /// A tmpfs that only this process and its sandboxes see.
    Memory,
}

/// Gives this process a mount namespace of its own: what it mounts nobody else sees, and the kernel takes it down with us.
///
/// Must be called before any thread is started.
///
/// # Errors
/// When the kernel refuses, as it does without CAP_SYS_ADMIN.
pub fn enter_private_mounts() -> Result<()> {
    #[expect(clippy::disallowed_methods, reason = "this is the sandbox's workspace")]
    {
        nix::sched::unshare(CloneFlags::CLONE_NEWNS).context("leaving the host's mount namespace")?;
        // Slave, not private: what the host unmounts meanwhile must not be kept busy by us.
        nix::mount::mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)
            .context("separating mounts from the host's")
    }
}

/// Runs `work` while this thread, and what it starts, is on a host of another name.
///
/// # Errors
/// When the kernel refuses, and whatever `work` fails with.
pub fn under_host_name<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
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
    nix::mount::mount(Some("osimg"), path, Some("tmpfs"), MsFlags::empty(), Some(format!("mode=0755,size={bytes}").as_str()))
        .with_context(|| format!("mounting a tmpfs on {}", path.display()))
}

/// Takes such a tmpfs away with all it holds.
///
/// # Errors
/// When it is busy.
pub fn unmount_memory(path: &Path) -> Result<()> {
    #[expect(clippy::disallowed_methods, reason = "this is the sandbox's workspace")]
    nix::mount::umount2(path, MntFlags::UMOUNT_NOFOLLOW).with_context(|| format!("unmounting {}", path.display()))
}
