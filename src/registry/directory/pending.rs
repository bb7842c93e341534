//! A file that is written whole before it has its name.

use anyhow::Context;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use crate::error::{ExitCode, Result, ResultExt};
use crate::files;
use crate::openat::OpenDirectory;

/// A file of an artifact that has no name yet, or a hidden one.
#[derive(Debug)]
pub(super) struct Pending {
    /// Its open file.
    pub file: File,
    /// The directory it appears in.
    directory: OpenDirectory,
    /// The hidden name, when it has one.
    hidden: Option<String>,
    /// The name it gets.
    pub name: String,
}

impl Pending {
    pub(super) fn create(directory: &OpenDirectory, name: &str) -> Result<Self> {
        let doing = || format!("making a file in {}", directory.path().display());
        let (file, hidden) = match directory.create_nameless().with_context(doing)? {
            Some(file) => (file, None),
            None => {
                let hidden = hidden_name(name);
                // Left by a killed build; no other build writes it now: this one holds the lock.
                directory.remove(&hidden).with_context(doing)?;
                (directory.create_new(&hidden).with_context(doing)?, Some(hidden))
            }
        };
        Ok(Self { file, directory: directory.clone(), hidden, name: name.to_owned() })
    }

    /// Writes a small file whole.
    pub(super) fn with_content(
        directory: &OpenDirectory,
        name: &str,
        content: &[u8],
    ) -> Result<Self> {
        let mut pending = Self::create(directory, name)?;
        pending
            .file
            .write_all(content)
            .with_context(|| format!("writing {}", pending.target().display()))?;
        Ok(pending)
    }

    /// Where it appears.
    pub(super) fn target(&self) -> PathBuf {
        self.directory.path().join(&self.name)
    }

    /// Makes its bytes durable and gives it a hidden name, ready for a rename.
    pub(super) fn settle(&mut self) -> Result<()> {
        let doing = || format!("writing {}", self.directory.path().join(&self.name).display());
        self.file.sync_all().with_context(doing)?;
        if self.hidden.is_none() {
            let hidden = hidden_name(&self.name);
            self.directory.remove(&hidden).with_context(doing)?;
            self.directory.name_file(&self.file, &hidden).with_context(doing)?;
            self.hidden = Some(hidden);
        }
        Ok(())
    }

    /// Puts it in its place.
    pub(super) fn appear(&mut self) -> Result<()> {
        check_replaced(&self.directory, &self.name)?;
        let hidden = self.hidden.take().context("a file must be settled before it appears")?;
        self.directory
            .rename(&hidden, &self.name)
            .with_context(|| format!("putting {} in its place", self.target().display()))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(hidden) = &self.hidden {
            let _ = self.directory.remove(hidden);
        }
    }
}

/// Refuses to replace anything but a regular file or a link: the users of a FIFO, a socket or a
/// device would lose it.
pub(super) fn check_replaced(directory: &OpenDirectory, name: &str) -> Result<()> {
    let writing = || format!("writing {}", directory.path().join(name).display());
    match directory.through().join(name).symlink_metadata() {
        Ok(found) if found.is_symlink() => Ok(()),
        Ok(found) => files::check_kind(found.file_type()).or_fail_hint(
            ExitCode::Usage,
            writing(),
            "use the name of a new file",
        ),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(writing),
    }
}

pub(super) fn hidden_name(name: &str) -> String {
    format!(".{name}.part")
}
