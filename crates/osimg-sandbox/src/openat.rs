//! Access to names in an open directory: openat2(2) with retries, and [`OpenDirectory`].

use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// So many interrupted lookups in a row happen only if another process does nothing but rename.
const ATTEMPTS: usize = 10_000;

/// Opens `path` below `directory` with the options `how`.
///
/// With `RESOLVE_IN_ROOT` and `RESOLVE_BENEATH` the kernel returns EAGAIN if it encountered `..`
/// during any rename or mount, even an unrelated one: openat2(2), ERRORS.
///
/// # Errors
/// As the system call.
pub fn openat2(
    directory: impl AsFd,
    path: &(impl NixPath + ?Sized),
    how: OpenHow,
) -> nix::Result<OwnedFd> {
    for _ in 1..ATTEMPTS {
        #[expect(clippy::disallowed_methods, reason = "the only place, with retries")]
        match nix::fcntl::openat2(directory.as_fd(), path, how) {
            Err(Errno::EAGAIN | Errno::EINTR) => std::thread::yield_now(),
            done => return done,
        }
    }
    Err(Errno::EAGAIN)
}

/// The directory of this process's descriptors.
pub const DESCRIPTORS: &str = "/proc/self/fd";

/// The path of an open file through its descriptor, for calls that need a path. It is valid in this
/// process only, and while the file is open. The kernel resolves no name on the way, so no other
/// process can redirect it.
///
/// ```
/// let file = std::fs::File::open("/etc")?;
/// let path = osimg_sandbox::openat::fd_path(&file);
/// assert_eq!(path.canonicalize()?, std::path::Path::new("/etc"));
/// # Ok::<_, std::io::Error>(())
/// ```
pub fn fd_path(file: &impl AsFd) -> PathBuf {
    Path::new(DESCRIPTORS).join(file.as_fd().as_raw_fd().to_string())
}

/// Opens the directory `path` for reading. If the last component is a symbolic link, the call
/// fails. A relative path begins at `at`.
///
/// # Errors
/// As openat(2); `ENOTDIR` for a link.
pub fn directory_at(at: impl AsFd, path: &(impl NixPath + ?Sized)) -> nix::Result<OwnedFd> {
    openat(at, path, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty())
}

/// The flags of a directory that is read.
pub(crate) const DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// An open directory. Every name in it is accessed through its descriptor. Another process that
/// moves the directory, or replaces it by a link, cannot redirect us. A name is a single path
/// component. A link with that name is never followed.
#[derive(Debug, Clone)]
pub struct OpenDirectory {
    path: PathBuf,
    fd: Arc<OwnedFd>,
}

impl OpenDirectory {
    /// Opens a directory; links that lead to it are followed.
    ///
    /// # Errors
    /// If it is not a directory or cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let path = path.canonicalize()?;
        let fd = nix::fcntl::open(&path, DIRECTORY, Mode::empty())?;
        Ok(Self { path, fd: Arc::new(fd) })
    }

    /// The path that was opened, with links resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the descriptor in /proc, for calls that need a path.
    pub fn through(&self) -> PathBuf {
        fd_path(&self.fd)
    }

    /// Its names, sorted.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn names(&self) -> Result<Vec<OsString>> {
        let mut directory = nix::dir::Dir::openat(&*self.fd, ".", DIRECTORY, Mode::empty())?;
        let mut names = Vec::new();
        for entry in directory.iter() {
            let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// The status of a name; `None` if the name does not exist.
    ///
    /// # Errors
    /// If the name is not a single component (`InvalidInput`), or the system call fails.
    pub fn stat(&self, name: &str) -> Result<Option<FileStat>> {
        match fstatat(&*self.fd, single(name)?, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the name is a regular file.
    pub fn has_file(&self, name: &str) -> bool {
        matches!(self.stat(name), Ok(Some(stat)) if kind(&stat) == SFlag::S_IFREG)
    }

    /// Whether the name is a symbolic link.
    pub fn has_link(&self, name: &str) -> bool {
        matches!(self.stat(name), Ok(Some(stat)) if kind(&stat) == SFlag::S_IFLNK)
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// If it is not a regular file, is a link, or cannot be opened.
    pub fn open_file(&self, name: &str) -> Result<File> {
        self.regular(name, OFlag::O_RDONLY, Mode::empty())
    }

    /// Opens a directory.
    ///
    /// # Errors
    /// If it is not a directory, is a link (`NotADirectory`), or cannot be opened.
    pub fn open_directory(&self, name: &str) -> Result<File> {
        Ok(File::from(directory_at(&*self.fd, single(name)?)?))
    }

    /// Opens a directory in this one for access to its names.
    ///
    /// # Errors
    /// As [`Self::open_directory`].
    pub fn subdirectory(&self, name: &str) -> Result<Self> {
        let fd = directory_at(&*self.fd, single(name)?)?;
        Ok(Self { path: self.path.join(name), fd: Arc::new(fd) })
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// If it is not empty, is not a directory, or cannot be removed.
    pub fn remove_directory(&self, name: &str) -> Result<()> {
        Ok(unlinkat(&*self.fd, single(name)?, UnlinkatFlags::RemoveDir)?)
    }

    /// Opens a file for a lock, and creates it if it is missing. It must not have a second hard
    /// link: that could be a file of another user.
    ///
    /// # Errors
    /// If it is not a regular file, is a link, has a second hard link, or cannot be opened.
    pub fn open_lock(&self, name: &str) -> Result<File> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT;
        let file = self.regular(name, flags, Mode::from_bits_truncate(0o644))?;
        if fstat(&file)?.st_nlink > 1 {
            return Err(Error::new(ErrorKind::InvalidInput, "it has a second hard link"));
        }
        Ok(file)
    }

    fn regular(&self, name: &str, flags: OFlag, mode: Mode) -> Result<File> {
        let always = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let fd = match openat(&*self.fd, single(name)?, flags | always, mode) {
            Ok(fd) => fd,
            Err(Errno::ELOOP) => return Err(Error::new(ErrorKind::InvalidInput, "it is a link")),
            Err(error) => return Err(error.into()),
        };
        if kind(&fstat(&fd)?) != SFlag::S_IFREG {
            return Err(Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
        }
        Ok(File::from(fd))
    }

    /// Creates a new file.
    ///
    /// # Errors
    /// If the name exists already, or the file cannot be created.
    pub fn create_new(&self, name: &str) -> Result<File> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(0o644);
        Ok(File::from(openat(&*self.fd, single(name)?, flags, mode)?))
    }

    /// Creates a file without a name; `None` if the file system does not support that.
    ///
    /// # Errors
    /// If the file cannot be created for another reason.
    pub fn create_nameless(&self) -> Result<Option<File>> {
        let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
        match openat(&*self.fd, ".", flags, Mode::from_bits_truncate(0o644)) {
            Ok(fd) => Ok(Some(File::from(fd))),
            Err(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::ENOENT | Errno::EINVAL) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives an unnamed file a name.
    ///
    /// # Errors
    /// If the name exists already, or the directory is on another file system.
    pub fn name_file(&self, file: &File, name: &str) -> Result<()> {
        Ok(linkat(AT_FDCWD, &fd_path(file), &*self.fd, single(name)?, AtFlags::AT_SYMLINK_FOLLOW)?)
    }

    /// Creates a symbolic link.
    ///
    /// # Errors
    /// If the name exists already, or the link cannot be created.
    pub fn symlink(&self, points_to: &str, name: &str) -> Result<()> {
        Ok(symlinkat(points_to, &*self.fd, single(name)?)?)
    }

    /// Renames within the directory, and replaces an existing file of the new name.
    ///
    /// # Errors
    /// If `from` does not exist, `to` is a directory, or the names cannot be changed.
    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        Ok(renameat(&*self.fd, single(from)?, &*self.fd, single(to)?)?)
    }

    /// Removes a name that is not a directory; returns false if it did not exist.
    ///
    /// # Errors
    /// If it is a directory or cannot be removed.
    pub fn remove(&self, name: &str) -> Result<bool> {
        match unlinkat(&*self.fd, single(name)?, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes its entries durable (fsync).
    ///
    /// # Errors
    /// If the file system reports an input/output error.
    pub fn sync(&self) -> Result<()> {
        Ok(nix::unistd::fsync(&*self.fd)?)
    }
}

impl AsFd for OpenDirectory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether the text is a single path component, so that it cannot leave a directory.
pub fn is_single(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
}

fn single(name: &str) -> Result<&str> {
    let refused =
        || Error::new(ErrorKind::InvalidInput, format!("{name:?} is not a plain file name"));
    if is_single(name) { Ok(name) } else { Err(refused()) }
}

pub(crate) fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::ResolveFlag;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_lookup_succeeds_during_renames_of_other_processes() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("tree/a/b")).unwrap();
        std::fs::write(at("one"), "").unwrap();
        let directory = std::fs::File::open(at("tree")).unwrap();
        let done = AtomicBool::new(false);
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    std::fs::rename(at("one"), at("two")).unwrap();
                    std::fs::rename(at("two"), at("one")).unwrap();
                }
            });
            let failed =
                (0..20_000).find_map(|_| openat2(&directory, "a/../a/../a/b/../../a/b", how).err());
            done.store(true, Ordering::Relaxed);
            assert_eq!(failed, None);
        });
    }

    #[test]
    fn replacing_an_open_directory_by_a_link_redirects_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["own", "victim"] {
            std::fs::create_dir(at(name)).unwrap();
            std::fs::write(at(name).join("file"), name).unwrap();
        }
        let own = OpenDirectory::open(&at("own")).unwrap();
        std::fs::rename(at("own"), at("moved")).unwrap();
        std::os::unix::fs::symlink(at("victim"), at("own")).unwrap();
        own.create_new("new").unwrap();
        own.symlink("file", "link").unwrap();
        assert!(own.remove("file").unwrap());
        assert_eq!(std::fs::read_to_string(at("victim/file")).unwrap(), "victim");
        assert_eq!(own.names().unwrap(), ["link", "new"]);
        assert_eq!(std::fs::read_dir(at("victim")).unwrap().count(), 1);
    }

    #[test]
    fn names_cannot_leave_the_directory_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("own")).unwrap();
        let victim = dir.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        let own = OpenDirectory::open(&dir.path().join("own")).unwrap();
        for name in ["../victim", victim.to_str().unwrap(), "..", ".", "", "a/b"] {
            assert!(own.remove(name).is_err(), "{name}");
            assert!(own.open_lock(name).is_err(), "{name}");
            assert!(own.rename(name, "x").is_err(), "{name}");
        }
        std::os::unix::fs::symlink(&victim, dir.path().join("own/link")).unwrap();
        std::fs::hard_link(&victim, dir.path().join("own/hard")).unwrap();
        assert_eq!(own.open_lock("link").unwrap_err().to_string(), "it is a link");
        assert!(own.open_file("link").is_err());
        assert_eq!(own.open_lock("hard").unwrap_err().to_string(), "it has a second hard link");
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    }
}
