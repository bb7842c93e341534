//! Mounts below a registry: nothing is removed through them.

use anyhow::Context;
use std::path::Path;

use crate::error::{ExitCode, Failure, Result};
use crate::openat::OpenDirectory;
use crate::sandbox::mounts_below;

/// Refuses a removal or replacement of the chosen paths while something is mounted there.
pub(in crate::registry) fn check_mounts(
    directory: &OpenDirectory,
    doing: impl Fn() -> String,
    is_chosen: impl Fn(&Path) -> bool,
) -> Result<()> {
    let own = directory.through().canonicalize().with_context(&doing)?;
    let mounts = mounts_below(&own).with_context(&doing)?;
    let is_chosen = |mount: &&std::path::PathBuf| mount.strip_prefix(&own).is_ok_and(&is_chosen);
    let Some(mount) = mounts.iter().find(is_chosen) else { return Ok(()) };
    Err(Failure::new(
        ExitCode::Registry,
        format!("{}: something is mounted on {}", doing(), mount.display()),
    )
    .hint(format!(
        "unmount it first: umount {}",
        crate::process::quote(&mount.display().to_string())
    ))
    .into())
}
