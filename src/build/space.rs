//! Room on disks: whether there is enough, and whether a full disk explains a failure.

use std::path::Path;

use crate::error::{ExitCode, Failure, Result};
use crate::packages::{FilledRoot, TransactionPlan};
use crate::report::bytes;
use crate::sandbox::Backing;
use crate::workdir::{Workdir, free_space, used_space};

/// Bytes below which a place counts as full: databases fail there with their own messages.
const AS_GOOD_AS_FULL: u64 = 1 << 20;
/// The same for files.
const AS_GOOD_AS_SPENT: u64 = 64;

/// Explains a failure by a full place, if one is full: the failed program only reported that it
/// could not work.
pub(super) fn blame_space(error: anyhow::Error, places: &[&Path]) -> anyhow::Error {
    if !matches!(
        crate::error::exit_code(&error),
        ExitCode::Transaction | ExitCode::Unexpected | ExitCode::Repository
    ) {
        return error;
    }
    for place in places {
        let what = match (free_space(place), crate::workdir::free_inodes(place)) {
            (Ok(free), _) if free < AS_GOOD_AS_FULL => format!("only {} are free", bytes(free)),
            (_, Ok(Some(inodes))) if inodes < AS_GOOD_AS_SPENT => {
                format!("only {inodes} more files can be made")
            }
            _ => continue,
        };
        return Failure::new(
            ExitCode::Space,
            format!("no space left: {what} in {}", place.display()),
        )
        .because(error)
        .hint("name a larger place: --workdir DIR, --cache DIR")
        .into();
    }
    error
}

/// About how large the tar will be, for the estimate: what a root in memory takes up, else what the
/// packages say and a tenth.
pub(super) fn expected_size(workdir: &Workdir, filled: &FilledRoot) -> u64 {
    let installed = filled.plans.iter().map(TransactionPlan::installed_size).sum::<u64>();
    match workdir.backing() {
        Backing::Memory => used_space(&workdir.root()).unwrap_or(installed),
        Backing::Disk => installed + installed / 10,
    }
}

/// Checks that this many bytes are free in the directory.
pub(super) fn room(directory: &Path, bytes_needed: u64) -> Result<()> {
    let free = free_space(directory)?;
    if free >= bytes_needed {
        return Ok(());
    }
    let what = format!(
        "the bootstrap root needs {}, and {} has {} free",
        bytes(bytes_needed),
        directory.display(),
        bytes(free)
    );
    Err(Failure::new(ExitCode::Space, what).hint("name a larger place: --workdir DIR").into())
}
