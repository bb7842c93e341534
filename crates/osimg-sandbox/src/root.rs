//! The install root: a directory in which no path is ever opened by string from outside.
//!
//! Packages decide what is in the root, so any name in it may be a link to the host. Everything
//! here resolves names with openat2(2) inside the root's descriptor, and replaces files by rename,
//! never through them.

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::directories::{is, list, open_directory};
use crate::error::{Context, Error, ErrorKind, Result, invalid};
use crate::openat::{DIRECTORY, openat2};

mod changes;

/// An install root that is open.
#[derive(Debug)]
pub struct InstallRoot {
    fd: OwnedFd,
}

/// The type of a file, links not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A device, fifo or socket.
    Other,
}

/// What is at a path, with its mode and owners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// What it is.
    pub kind: Kind,
    /// The permission bits.
    pub mode: u32,
    /// The owner's id.
    pub uid: u32,
    /// The owning group's id.
    pub gid: u32,
}

impl InstallRoot {
    /// Opens the directory `path` as an install root.
    ///
    /// # Errors
    /// When it is not a directory or cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let fd = nix::fcntl::open(path, DIRECTORY, Mode::empty())
            .with_context(|| format!("opening install root {}", path.display()))?;
        Ok(Self { fd })
    }

    /// Opens `path` as if the root were `/`: links are followed, but never out of it. Only regular
    /// files are opened.
    ///
    /// # Errors
    /// As open(2); `ENOENT` for a link whose target the root does not have.
    pub fn open_file(&self, path: &Path) -> Result<File, Errno> {
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let fd = openat2(self.fd.as_fd(), relative(path), how)?;
        // A fifo or a device must not hang or trick a reader.
        if !is(fstat(&fd)?.st_mode, SFlag::S_IFREG) {
            Err(Errno::EINVAL)
        } else {
            Ok(File::from(fd))
        }
    }

    /// Reads a regular file of at most `limit` bytes; `None` when it does not exist.
    ///
    /// # Errors
    /// When it is not a regular file, larger than `limit`, or unreadable.
    pub fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
        let shown = || format!("reading {} in the image", path.display());
        let file = match self.open_file(path) {
            Ok(file) => file,
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
            // A socket, or a device that does not exist, cannot even be opened.
            Err(Errno::EINVAL | Errno::ENXIO) => {
                return Err(wrong(&shown(), "it is not a regular file"));
            }
            Err(error) => return Err(error).with_context(shown),
        };
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes).with_context(shown)?;
        if bytes.len() as u64 > limit {
            return Err(wrong(&shown(), &format!("it is larger than {limit} bytes")));
        }
        Ok(Some(bytes))
    }

    /// The type of the file at `path`, the last component not followed; `None` when there is none.
    ///
    /// # Errors
    /// When the path leads through something that is not a directory of the root.
    pub fn kind(&self, path: &Path) -> Result<Option<Kind>> {
        let Some((directory, name)) = self.parent(path)? else { return Ok(None) };
        match fstatat(&directory, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(kind_of(stat.st_mode))),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => {
                Err(error).with_context(|| format!("looking at {} in the image", path.display()))
            }
        }
    }

    /// The target of the link at `path`; `None` when there is none.
    ///
    /// # Errors
    /// As [`InstallRoot::kind`].
    pub fn read_link(&self, path: &Path) -> Result<Option<PathBuf>> {
        let Some((directory, name)) = self.parent(path)? else { return Ok(None) };
        Ok(readlinkat(&directory, name.as_os_str()).ok().map(PathBuf::from))
    }

    /// Whether `path` leads to a directory, links followed inside the root.
    ///
    /// # Errors
    /// When the path cannot be looked up.
    pub fn is_directory(&self, path: &Path) -> Result<bool> {
        let how = OpenHow::new()
            .flags(DIRECTORY)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        match openat2(self.fd.as_fd(), relative(path), how) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(false),
            Err(error) => Err(error)
                .with_context(|| format!("opening directory {} in the image", path.display())),
        }
    }

    /// What is at `path`, its mode and its owners, the last component not followed; `None` when
    /// nothing is there.
    ///
    /// # Errors
    /// As [`InstallRoot::kind`].
    pub fn status(&self, path: &Path) -> Result<Option<Status>> {
        let Some((directory, name)) = self.parent(path)? else { return Ok(None) };
        match fstatat(&directory, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Status {
                kind: kind_of(stat.st_mode),
                mode: stat.st_mode & 0o7777,
                uid: stat.st_uid,
                gid: stat.st_gid,
            })),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => {
                Err(error).with_context(|| format!("looking at {} in the image", path.display()))
            }
        }
    }

    /// The ids of `USER` or `USER:GROUP`, by the image's own passwd and group.
    ///
    /// # Errors
    /// When the image knows no such user or group.
    pub fn owner_ids(&self, owner: &str) -> Result<(u32, u32)> {
        let (user, group) = owner.split_once(':').unwrap_or((owner, owner));
        let (uid, own_gid) = self.lookup("etc/passwd", user)?;
        let gid = if owner.contains(':') { self.lookup("etc/group", group)?.0 } else { own_gid };
        Ok((uid, gid))
    }

    /// Device and inode of the file at `path`, the last component not followed; `None` when there
    /// is none.
    ///
    /// # Errors
    /// As [`InstallRoot::kind`].
    pub fn inode(&self, path: &Path) -> Result<Option<(u64, u64)>> {
        if relative(path) == Path::new(".") {
            let stat = fstat(&self.fd).context("looking at the install root")?;
            return Ok(Some((stat.st_dev, stat.st_ino)));
        }
        let Some((directory, name)) = self.parent(path)? else { return Ok(None) };
        match fstatat(&directory, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some((stat.st_dev, stat.st_ino))),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => {
                Err(error).with_context(|| format!("looking at {} in the image", path.display()))
            }
        }
    }

    /// The id (third field) of `name` in a passwd-like file, and the field after it as a number.
    fn lookup(&self, file: &str, name: &str) -> Result<(u32, u32)> {
        let text = self.read(Path::new(file), 16 << 20)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let found = text
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields.first() == Some(&name))
            .and_then(|fields| {
                let number =
                    |index: usize| fields.get(index).and_then(|field| field.parse::<u32>().ok());
                Some((number(2)?, number(3).unwrap_or(0)))
            });
        found.ok_or_else(|| {
            Error::new(ErrorKind::UnknownOwner, format!("the image's {file} has no '{name}'"))
        })
    }

    /// The names in the directory `path`, sorted; empty when there is no such plain directory.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn names(&self, path: &Path) -> Result<Vec<std::ffi::OsString>> {
        let directory = match open_directory(&self.fd, relative(path)) {
            Ok(fd) => fd,
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(Vec::new()),
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("reading directory {} in the image", path.display()));
            }
        };
        list(directory)
            .with_context(|| format!("reading directory {} in the image", path.display()))
    }

    /// The directory that holds `path`, followed inside the root as the image itself would, and the
    /// last name.
    fn parent(&self, path: &Path) -> Result<Option<(OwnedFd, PathBuf)>> {
        let path = relative(path);
        let Some(name) = path.file_name() else {
            return Err(invalid(format!("{} does not name a file", path.display())));
        };
        let above = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let how = OpenHow::new()
            .flags(DIRECTORY)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        match openat2(self.fd.as_fd(), above, how) {
            Ok(fd) => Ok(Some((fd, name.into()))),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(error) => Err(error)
                .with_context(|| format!("opening directory {} in the image", above.display())),
        }
    }
}

fn wrong(reading: &str, why: &str) -> Error {
    Error::new(ErrorKind::Root, format!("{reading}: {why}"))
        .with_hint("fix the package or the customization that this file is from")
}

fn kind_of(mode: u32) -> Kind {
    if is(mode, SFlag::S_IFREG) {
        Kind::File
    } else if is(mode, SFlag::S_IFDIR) {
        Kind::Directory
    } else if is(mode, SFlag::S_IFLNK) {
        Kind::Link
    } else {
        Kind::Other
    }
}

fn relative(path: &Path) -> &Path {
    let path = path.strip_prefix("/").unwrap_or(path);
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A root with every hostile shape that a package can give `etc/machine-id`, and the host file
    /// they aim at.
    fn hostile() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let victim = dir.path().join("victim");
        std::fs::write(&victim, "precious").expect("victim");
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("etc")).expect("etc");
        symlink(&victim, root.join("etc/absolute")).expect("absolute");
        symlink("../../victim", root.join("etc/relative")).expect("relative");
        symlink("/proc/self/root/etc/passwd", root.join("etc/magic")).expect("magic");
        symlink(dir.path(), root.join("linked")).expect("linked");
        (dir, victim)
    }

    #[test]
    fn writing_replaces_a_hostile_link_and_leaves_its_target_alone() {
        let (dir, victim) = hostile();
        let root = InstallRoot::open(&dir.path().join("root")).expect("root");
        for name in ["etc/absolute", "etc/relative", "etc/magic", "etc/plain"] {
            root.write(Path::new(name), b"", 0o444).expect(name);
            assert_eq!(root.kind(Path::new(name)).expect("kind"), Some(Kind::File), "{name}");
        }
        assert_eq!(std::fs::read_to_string(&victim).expect("victim"), "precious");
        assert!(root.write(Path::new("linked/victim"), b"", 0o444).is_err());
        assert_eq!(std::fs::read_to_string(&victim).expect("victim"), "precious");
    }

    #[test]
    fn reading_never_leaves_the_root_and_never_hangs_on_a_fifo() {
        let (dir, _victim) = hostile();
        let path = dir.path().join("root");
        nix::unistd::mkfifo(&path.join("etc/fifo"), Mode::S_IRWXU).expect("fifo");
        let root = InstallRoot::open(&path).expect("root");
        for name in ["etc/absolute", "etc/relative", "etc/missing"] {
            assert_eq!(root.read(Path::new(name), 100).expect(name), None, "{name}");
        }
        let error = root.read(Path::new("etc/fifo"), 100).expect_err("a FIFO");
        assert_eq!(error.to_string(), "reading etc/fifo in the image: it is not a regular file");
        assert!(error.kind() == ErrorKind::Root && error.hint().is_some());
    }

    #[test]
    fn a_directory_that_is_a_link_is_refused_by_name() {
        let (dir, _victim) = hostile();
        let root = InstallRoot::open(&dir.path().join("root")).expect("root");
        let error = root.directory(Path::new("linked/x"), 0o755).expect_err("a link");
        assert!(error.to_string().contains("linked/x"), "{error}");
        root.directory(Path::new("/var/cache/deep"), 0o755).expect("created");
        assert_eq!(root.kind(Path::new("var/cache/deep")).expect("kind"), Some(Kind::Directory));
    }

    #[test]
    fn a_file_larger_than_its_limit_is_an_error() {
        let (dir, _victim) = hostile();
        let root = InstallRoot::open(&dir.path().join("root")).expect("root");
        root.write(Path::new("etc/big"), &[b'x'; 64], 0o644).expect("write");
        assert!(root.read(Path::new("etc/big"), 10).is_err());
        assert_eq!(root.read(Path::new("etc/big"), 64).expect("read").map(|b| b.len()), Some(64));
    }
}
