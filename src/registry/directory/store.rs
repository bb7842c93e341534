//! An open directory of artifacts, and the locks of its names.

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::io::{ErrorKind, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::pending::hidden_name;
use crate::error::{self, ExitCode, Failure, Result, ResultExt};
use crate::files;
use crate::openat::OpenDirectory;
use crate::process;
use crate::registry::options::Existing;

/// How long another publication of the same image is waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// A directory of artifacts, which stays the same one for as long as it is open.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    pub(super) open: OpenDirectory,
    pub(super) existing: Existing,
}

/// The lock of an artifact's name; its file is removed with it.
#[derive(Debug)]
pub(in crate::registry) struct Lock {
    directory: OpenDirectory,
    name: String,
    _held: Flock<File>,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // It is still locked here: another process that opens the name from now on gets a new file,
        // and one that has the old file looks again.
        let _ = self.directory.remove(&self.name);
    }
}

fn opening(path: &Path) -> String {
    format!("opening the output directory {}", path.display())
}

/// Refuses an output directory that does not exist or is not a directory.
fn check_place(path: &Path) -> Result<()> {
    let hint = if path.symlink_metadata().is_ok() {
        "use the name of a directory".to_owned()
    } else {
        format!("make it: mkdir -p {}", path.display())
    };
    files::check_directory(path).or_fail_hint(ExitCode::Space, opening(path), hint)
}

/// Makes or replaces a link in the directory.
pub(in crate::registry) fn link(
    directory: &OpenDirectory,
    name: &str,
    points_to: &str,
) -> Result<()> {
    let hidden = hidden_name(name);
    directory
        .remove(&hidden)
        .and_then(|_| directory.symlink(points_to, &hidden))
        .and_then(|()| directory.rename(&hidden, name))
        .with_context(|| format!("linking {name} in {}", directory.path().display()))
}

/// Removes a file that may be gone already.
pub(in crate::registry) fn unlink(open: &OpenDirectory, name: &str) -> Result<()> {
    open.remove(name)
        .map(drop)
        .with_context(|| format!("removing {}", open.path().join(name).display()))
}

pub(in crate::registry) fn sync(directory: &OpenDirectory) -> Result<()> {
    directory.sync().with_context(|| format!("writing {}", directory.path().display()))
}

impl Directory {
    /// Opens the directory; its last component is made when it is missing.
    ///
    /// # Errors
    /// When the directory above is missing, or it is not a directory.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        match std::fs::create_dir(path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => check_place(path)?,
            Err(error) => {
                return Err(error).or_fail_hint(
                    ExitCode::Space,
                    opening(path),
                    format!("make it: mkdir -p {}", path.display()),
                );
            }
        }
        let open = OpenDirectory::open(path).with_context(|| opening(path))?;
        Ok(Self { open, existing: Existing::Keep })
    }

    /// The same, with another rule for versions that exist with other bytes.
    #[must_use]
    pub(crate) fn with_existing(self, existing: Existing) -> Self {
        Self { existing, ..self }
    }

    /// The directory of a file to be written, which must be there.
    ///
    /// # Errors
    /// When the directory does not exist.
    pub(crate) fn holding(file: &Path) -> Result<Self> {
        let place = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        check_place(place)?;
        Self::open(place)
    }

    /// Where it is, links resolved.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        self.open.path()
    }

    /// The open directory itself.
    pub(in crate::registry) fn handle(&self) -> &OpenDirectory {
        &self.open
    }

    /// The owner of a file here, if that is another user who is separated from this one: in a
    /// directory with the sticky bit, such as /tmp, each user has only the own files.
    pub(in crate::registry) fn other_owner(&self, owner: u32) -> Result<Option<u32>> {
        let found = nix::sys::stat::fstat(&self.open)
            .with_context(|| format!("examining {}", self.path().display()))?;
        let is_sticky = found.st_mode & nix::libc::S_ISVTX != 0;
        let is_other = owner != nix::unistd::geteuid().as_raw();
        Ok((is_sticky && is_other).then_some(owner))
    }

    /// The lock of a name that is held for short times; waits for it.
    pub(in crate::registry) fn wait_for(&self, name: &str) -> Result<Lock> {
        let began = Instant::now();
        loop {
            match self.lock(name) {
                Err(error)
                    if error::exit_code(&error) == ExitCode::Locked
                        && began.elapsed() < LONGEST_WAIT =>
                {
                    process::pause(Duration::from_millis(50))?;
                }
                result => return result,
            }
        }
    }

    pub(in crate::registry) fn lock(&self, stem: &str) -> Result<Lock> {
        let name = format!(".{stem}.lock");
        let path = self.path().join(&name);
        loop {
            let file = self.open.open_lock(&name).or_fail_hint(
                ExitCode::Space,
                format!("opening the lock file {}", path.display()),
                "if no osimg runs here, remove it; it must be a regular file",
            )?;
            let holder = files::read_open(&file, 64).unwrap_or_default();
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(mut held) => {
                    // The one before us may have removed the name between our open and our lock.
                    let own =
                        held.metadata().with_context(|| format!("reading {}", path.display()))?;
                    let named = self
                        .open
                        .stat(&name)
                        .with_context(|| format!("reading {}", path.display()))?;
                    if named
                        .is_none_or(|named| (named.st_dev, named.st_ino) != (own.dev(), own.ino()))
                    {
                        continue;
                    }
                    held.set_len(0)
                        .and_then(|()| held.rewind())
                        .and_then(|()| write!(held, "{}", std::process::id()))
                        .with_context(|| format!("writing {}", path.display()))?;
                    return Ok(Lock { directory: self.open.clone(), name, _held: held });
                }
                Err((_, Errno::EWOULDBLOCK)) => {
                    let who = match String::from_utf8(holder)
                        .ok()
                        .and_then(|text| text.trim().parse::<u32>().ok())
                    {
                        None => "another build".to_owned(),
                        Some(process) => format!("another build (process {process})"),
                    };
                    return Err(Failure::new(
                        ExitCode::Locked,
                        format!("{who} is making {}/{stem}", self.path().display()),
                    )
                    .hint("wait for it, or give this image another name or version")
                    .into());
                }
                Err((_, error)) => {
                    return Err(error).with_context(|| format!("locking {}", path.display()));
                }
            }
        }
    }
}
