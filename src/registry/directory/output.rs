//! An output file or directory outside a registry: it appears complete or not at all.

use anyhow::Context;
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::pending::Pending;
use super::store::{Directory, sync};
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::files;
use crate::openat::{OpenDirectory, fd_path};
use crate::private;
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
    )
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

/// A directory that is being filled. No other user can access it until it has its name.
#[derive(Debug)]
pub(crate) struct OutputDirectory {
    parent: OpenDirectory,
    hidden: String,
    open: File,
    placed: bool,
}

impl OutputDirectory {
    /// Creates a directory in `parent`, with a hidden name.
    ///
    /// # Errors
    /// If it cannot be created.
    pub(crate) fn create(parent: &Directory) -> Result<Self> {
        let doing = || format!("making a directory in {}", parent.path().display());
        let parent = parent.open.clone();
        let made = tempfile::Builder::new()
            .prefix(".osimg-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(parent.through())
            .or_fail(ExitCode::Space, doing())?
            .keep();
        let hidden = made.file_name().and_then(|name| name.to_str()).with_context(doing)?;
        match private::own_directory(&made).with_context(doing)? {
            Some(open) if fd_path(&open).read_dir().with_context(doing)?.next().is_none() => {
                Ok(Self { hidden: hidden.to_owned(), parent, open, placed: false })
            }
            _ => {
                let what = format!("{}: another user replaced it", doing());
                Err(Failure::new(ExitCode::Host, what)
                    .hint("write to a directory that belongs to you")
                    .into())
            }
        }
    }

    /// The path through its descriptor.
    pub(crate) fn path(&self) -> PathBuf {
        fd_path(&self.open)
    }

    /// Gives the complete directory the name of `path`.
    ///
    /// # Errors
    /// If something with that name exists, or the name cannot be given.
    pub(crate) fn place(mut self, path: &Path) -> Result<()> {
        let public = Permissions::from_mode(0o755);
        self.open.set_permissions(public).or_fail(ExitCode::Space, writing(path))?;
        self.parent.rename(&self.hidden, name_of(path)?).or_fail(ExitCode::Space, writing(path))?;
        self.placed = true;
        sync(&self.parent)
    }
}

impl Drop for OutputDirectory {
    #[expect(
        clippy::disallowed_methods,
        reason = "the directory is private, so no other user can mount in it"
    )]
    fn drop(&mut self) {
        if self.placed {
            return;
        }
        // Through the descriptor: the hidden name may be something else by now.
        for entry in self.path().read_dir().into_iter().flatten().flatten() {
            let _ = match entry.file_type() {
                Ok(kind) if kind.is_dir() => std::fs::remove_dir_all(entry.path()),
                _ => std::fs::remove_file(entry.path()),
            };
        }
        let _ = self.parent.remove_directory(&self.hidden);
    }
}
