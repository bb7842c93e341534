//! The privileges of a build.

use crate::error::{ExitCode, Failure, Result};

/// Owners, devices and mounts are root's to give: the host's, or that of a user namespace
/// ([`crate::sandbox::become_root`]).
pub(super) fn require_root() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::new(
        ExitCode::Host,
        "building an image requires root, or a user namespace: files in it belong to many users",
    )
    .into())
}
