//! A workdir's own directory: made, locked, marked and removed through its descriptor.

use anyhow::Context;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::stat::{Mode, fstat};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::{ExitCode, Failure, Result};
use crate::files;
use crate::openat::{OpenDirectory, directory_at};
use crate::private;
use crate::sandbox::{end_processes_in, remove_content};

/// How the names of workdirs begin.
pub(super) const PREFIX: &str = "osimg-";
/// The file by which osimg knows a directory that it made itself: it holds the directory's inode,
/// so that a copy is not taken for one. It is written when the lock is held, and removed last.
pub(super) const MARK: &str = ".osimg-workdir";
/// A workdir's own directory, open and locked: the kernel releases the lock when this process ends,
/// however it ends.
#[derive(Debug)]
pub(super) struct OwnDirectory {
    base: OpenDirectory,
    name: String,
    /// Its path, as the user finds it.
    pub(super) path: PathBuf,
    /// The open directory itself.
    pub(super) lock: Flock<File>,
}

impl OwnDirectory {
    /// Makes a new one.
    pub(super) fn make(base: OpenDirectory) -> Result<Self> {
        let making = || format!("making a workdir below {}", base.path().display());
        // Programs in the image may be setuid, and run by any user who can reach them.
        let private = std::fs::Permissions::from_mode(0o700);
        let made = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(private)
            .tempdir_in(base.through())
            .with_context(making)?
            .keep();
        let name = made.file_name().and_then(|name| name.to_str()).with_context(making)?.to_owned();
        let own = Self::open(&base, &name)?
            .with_context(|| format!("locking {name} in {}", base.path().display()))?;
        let listed = own
            .directory()
            .and_then(|fd| nix::dir::Dir::from_fd(fd).map_err(Into::into))
            .with_context(making)?;
        if listed.into_iter().count() != 2 {
            return Err(swapped(&own.path).into());
        }
        let mut mark = own.create(MARK).with_context(making)?;
        write!(mark, "{}", fstat(&*own.lock).with_context(making)?.st_ino).with_context(making)?;
        Ok(own)
    }

    /// Opens and locks a directory of this user's below `base`; `None` when a build uses it.
    pub(super) fn open(base: &OpenDirectory, name: &str) -> Result<Option<Self>> {
        let path = base.path().join(name);
        let opening = || format!("opening {}", path.display());
        let directory = base.open_directory(name).with_context(opening)?;
        if directory.metadata().with_context(opening)?.uid() != nix::unistd::geteuid().as_raw() {
            return Err(swapped(&path).into());
        }
        match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Self { base: base.clone(), name: name.to_owned(), path, lock })),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, error)) => Err(error).with_context(|| format!("locking {}", path.display())),
        }
    }

    /// Its path, where it cannot be mounted elsewhere: then no other user may be able to replace
    /// it.
    pub(super) fn unpinned(&self) -> Result<PathBuf> {
        let above = self
            .base
            .through()
            .metadata()
            .with_context(|| format!("examining {}", self.base.path().display()))?;
        let doing = || format!("making a workdir below {}", self.base.path().display());
        match private::check_above(&above, self.base.path(), doing) {
            Ok(()) => Ok(self.path.clone()),
            Err(refused) => {
                self.remove()?;
                Err(refused)
            }
        }
    }

    fn directory(&self) -> Result<std::os::fd::OwnedFd> {
        Ok(directory_at(&*self.lock, ".")?)
    }

    fn create(&self, name: &str) -> Result<File> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        Ok(File::from(nix::fcntl::openat(
            &*self.lock,
            name,
            flags,
            Mode::from_bits_truncate(0o600),
        )?))
    }

    /// Removes it. Its mark goes last, so that a removal that fails or is cut off can be taken up
    /// again. If its name is another directory by now, that one stays.
    pub(super) fn remove(&self) -> Result<()> {
        // A build without namespaces that was killed may have left some.
        end_processes_in(&self.path.join("root"));
        remove_content(&*self.lock, MARK, &self.path)?;
        let own =
            fstat(&*self.lock).with_context(|| format!("removing {}", self.path.display()))?;
        let named = self
            .base
            .stat(&self.name)
            .with_context(|| format!("removing {}", self.path.display()))?;
        match named {
            Some(named) if (named.st_dev, named.st_ino) == (own.st_dev, own.st_ino) => self
                .base
                .remove_directory(&self.name)
                .with_context(|| format!("removing {}", self.path.display())),
            _ => Err(swapped(&self.path).into()),
        }
    }
}

pub(super) fn swapped(path: &Path) -> Failure {
    Failure::new(
        ExitCode::Host,
        format!("{} was moved or replaced while osimg used it", path.display()),
    )
    .hint("another user can write where it was: name a directory of your own with --workdir DIR")
}

/// Whether the path is a workdir that osimg made for this user; links are not followed.
pub(crate) fn is_own(path: &Path) -> bool {
    let Ok(directory) = directory_at(nix::fcntl::AT_FDCWD, path) else { return false };
    fstat(&directory).is_ok_and(|found| found.st_uid == nix::unistd::geteuid().as_raw())
        && is_marked(&directory)
}

/// Whether an open directory of this user's bears the mark that osimg gave to this very directory.
pub(super) fn is_marked(directory: &impl AsFd) -> bool {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let Ok(mark) = nix::fcntl::openat(directory, MARK, flags, Mode::empty()) else { return false };
    let (Ok(own), Ok(status)) = (fstat(directory), fstat(&mark)) else { return false };
    let text = files::read_open(File::from(mark), 64).unwrap_or_default();
    status.st_uid == own.st_uid && text == own.st_ino.to_string().as_bytes()
}
