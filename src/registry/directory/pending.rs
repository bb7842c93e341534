//! A file that is written whole before it has its name.

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use crate::error::Result;

/// A file of an artifact that has no name yet, or a hidden one.
#[derive(Debug)]
pub(super) struct Pending {
    /// Its open file.
    pub file: File,
    /// The hidden name, when it has one.
    hidden: Option<PathBuf>,
    /// Where it appears.
    pub target: PathBuf,
}

impl Pending {
    pub(super) fn create(folder: &Path, name: &str) -> Result<Self> {
        let target = folder.join(name);
        let doing = || format!("making a file in {}", folder.display());
        let mode = Mode::from_bits_truncate(0o644);
        match openat(AT_FDCWD, folder, OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC, mode) {
            Ok(fd) => Ok(Self { file: File::from(fd), hidden: None, target }),
            Err(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::ENOENT | Errno::EINVAL) => {
                let hidden = hidden_name(folder, name);
                // Left over by a killed build; the lock says that nobody writes it now.
                let _ = std::fs::remove_file(&hidden);
                let file = File::options().read(true).write(true).create_new(true).open(&hidden).with_context(doing)?;
                Ok(Self { file, hidden: Some(hidden), target })
            }
            Err(error) => Err(error).with_context(doing),
        }
    }

    /// Writes a small file whole.
    pub(super) fn with_content(folder: &Path, name: &str, content: &[u8]) -> Result<Self> {
        let mut pending = Self::create(folder, name)?;
        pending.file.write_all(content).with_context(|| format!("writing {}", pending.target.display()))?;
        Ok(pending)
    }

    /// Makes its bytes durable and gives it a hidden name, ready for a rename.
    pub(super) fn settle(&mut self) -> Result<()> {
        self.file.sync_all().with_context(|| format!("writing {}", self.target.display()))?;
        if self.hidden.is_none() {
            let folder = self.target.parent().unwrap_or(Path::new("."));
            let name = self.target.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let hidden = hidden_name(folder, &name);
            let _ = std::fs::remove_file(&hidden);
            let own = PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
            nix::unistd::linkat(AT_FDCWD, &own, AT_FDCWD, &hidden, AtFlags::AT_SYMLINK_FOLLOW)
                .with_context(|| format!("naming {}", self.target.display()))?;
            self.hidden = Some(hidden);
        }
        Ok(())
    }

    /// Puts it in its place.
    pub(super) fn appear(&mut self) -> Result<()> {
        let hidden = self.hidden.take().context("a file must be settled before it appears")?;
        std::fs::rename(&hidden, &self.target).with_context(|| format!("putting {} in its place", self.target.display()))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(hidden) = &self.hidden {
            let _ = std::fs::remove_file(hidden);
        }
    }
}

pub(super) fn hidden_name(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!(".{name}.part"))
}
