//! An output file outside a registry: it appears complete or not at all.

use std::path::Path;

use super::pending::Pending;
use super::store::{Directory, sync};
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::files;
use crate::naming;
use crate::process;

/// Fails if a file cannot be written at `path` because something else is there.
///
/// # Errors
/// Names what is there.
pub(crate) fn check_output(path: &Path) -> Result<()> {
    check(&Directory::holding(path)?, path, name_of(path)?)
}

/// Writes a file, which appears complete or not at all.
///
/// # Errors
/// If the name exists and is not a file, and on any failure to write.
pub(crate) fn write_output(path: &Path, content: &[u8]) -> Result<()> {
    let (directory, name) = (Directory::holding(path)?, name_of(path)?);
    check(&directory, path, name)?;
    let _lock = directory.wait_for(name)?;
    let mut pending = Pending::with_content(&directory.open, name, content)?;
    pending.settle()?;
    process::check_stop()?;
    pending.appear()?;
    sync(&directory.open)
}

fn check(directory: &Directory, path: &Path, name: &str) -> Result<()> {
    let Ok(found) = directory.open.through().join(name).symlink_metadata() else { return Ok(()) };
    files::check_kind(found.file_type()).or_fail_hint(
        ExitCode::Usage,
        writing(path),
        "use the name of a new file",
    )?;
    if naming::suffixes().any(|suffix| name.ends_with(&suffix)) {
        let message = format!("{}: a file of an image exists with this name", writing(path));
        return Err(Failure::new(ExitCode::Registry, message).hint("use another name").into());
    }
    Ok(())
}

fn name_of(path: &Path) -> Result<&str> {
    path.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
        Failure::new(ExitCode::Usage, format!("{}: the name is not UTF-8 text", writing(path)))
            .hint("use another name")
            .into()
    })
}

fn writing(path: &Path) -> String {
    format!("writing {}", path.display())
}
