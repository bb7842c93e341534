//! Changes to an install root: files are replaced by rename, never written through their names.

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, renameat};
use nix::sys::stat::{Mode, fchmod, mkdirat};
use nix::unistd::{UnlinkatFlags, fchown, symlinkat, unlinkat};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::{InstallRoot, relative};
use crate::directories::open_directory;
use crate::error::{Context, Error, ErrorKind, Result, invalid};
use crate::openat::openat2;
use crate::user_namespace::Ids;

impl InstallRoot {
    /// Opens the directory `path`, creating what is missing with `mode`; a link anywhere on the way
    /// is refused.
    ///
    /// # Errors
    /// Names the path when something other than a directory is there, as a hostile package would
    /// leave it.
    pub fn directory(&self, path: &Path, mode: u32) -> Result<OwnedFd> {
        let mut at = self.fd.try_clone().context("duplicating a descriptor")?;
        for part in relative(path).components() {
            let name = part.as_os_str();
            if name == "." {
                continue;
            }
            at = match open_directory(&at, Path::new(name)) {
                Ok(fd) => fd,
                Err(Errno::ENOENT) => {
                    mkdirat(&at, name, Mode::from_bits_truncate(mode))
                        .with_context(|| format!("creating {} in the image", path.display()))?;
                    let fd = open_directory(&at, Path::new(name))
                        .with_context(|| format!("opening {} in the image", path.display()))?;
                    // mkdir is subject to the umask.
                    fchmod(&fd, Mode::from_bits_truncate(mode)).with_context(|| {
                        format!("setting the mode of {} in the image", path.display())
                    })?;
                    fd
                }
                Err(error) => {
                    return Err(Error::new(
                        ErrorKind::Root,
                        format!(
                            "{} in the image is not a plain directory: a package put something \
                             else in its place",
                            path.display()
                        ),
                    )
                    .because(error));
                }
            };
        }
        Ok(at)
    }

    /// What a new name at `path` needs: its directory, the name, and a name for the time until it
    /// replaces that one.
    fn replacing(&self, path: &Path) -> Result<(OwnedFd, PathBuf, String)> {
        let Some((directory, name)) = self.parent(path)? else {
            return Err(Error::new(
                ErrorKind::Root,
                format!("the image has no directory for {}", path.display()),
            ));
        };
        Ok((directory, name, format!(".osimg-{}", std::process::id())))
    }

    /// Puts a new regular file at `path` instead of whatever name is there; a link there is
    /// replaced, not followed.
    ///
    /// # Errors
    /// When the directory is missing or is not a plain directory, or on input/output errors.
    pub fn write(&self, path: &Path, content: &[u8], mode: u32) -> Result<()> {
        let shown = || format!("writing {} in the image", path.display());
        let (directory, name, temporary) = self.replacing(path)?;
        let how = OpenHow::new()
            .flags(OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC)
            .mode(Mode::from_bits_truncate(mode))
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        let fd = openat2(directory.as_fd(), temporary.as_str(), how).with_context(shown)?;
        let mut file = File::from(fd);
        let written = file
            .write_all(content)
            .map_err(Error::from)
            .and_then(|()| Ok(fchmod(&file, Mode::from_bits_truncate(mode))?))
            .and_then(|()| Ok(fchown(&file, Some(0.into()), Some(0.into()))?))
            .and_then(|()| {
                Ok(renameat(&directory, temporary.as_str(), &directory, name.as_os_str())?)
            });
        if let Err(error) = written {
            // The first error is the one to report; the temporary goes with the root anyway.
            let _ = unlinkat(&directory, temporary.as_str(), UnlinkatFlags::NoRemoveDir);
            return Err(error).with_context(shown);
        }
        Ok(())
    }

    /// Gives `path` to `USER` or `USER:GROUP`, by the image's own passwd and group; the name
    /// itself, if it is a link.
    ///
    /// # Errors
    /// When the image knows no such user or group.
    pub fn give(&self, path: &Path, owner: &str) -> Result<()> {
        let (uid, gid) = self.owner_ids(owner)?;
        if Ids::current()? == Ids::Single {
            // Every file is ours; the archiver gets the owner separately.
            return Ok(());
        }
        let Some((directory, name)) = self.parent(path)? else {
            return Err(invalid(format!("the image has no directory for {}", path.display())));
        };
        let (uid, gid) = (nix::unistd::Uid::from_raw(uid), nix::unistd::Gid::from_raw(gid));
        nix::unistd::fchownat(
            &directory,
            name.as_os_str(),
            Some(uid),
            Some(gid),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        )
        .with_context(|| format!("chown {} in the image to {owner}", path.display()))
    }

    /// Gives `path` to these ids; the name itself, if it is a link.
    ///
    /// # Errors
    /// When there is no such path.
    pub fn give_ids(&self, path: &Path, uid: u32, gid: u32) -> Result<()> {
        if Ids::current()? == Ids::Single {
            // Every file is ours; the archiver is told whose it will be.
            return Ok(());
        }
        let shown = || format!("giving {} in the image to {uid}:{gid}", path.display());
        let (directory, name) = self.parent(path)?.ok_or(Errno::ENOENT).with_context(shown)?;
        let (uid, gid) = (nix::unistd::Uid::from_raw(uid), nix::unistd::Gid::from_raw(gid));
        nix::unistd::fchownat(
            &directory,
            name.as_os_str(),
            Some(uid),
            Some(gid),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        )
        .with_context(shown)
    }

    /// Sets the permission bits of a file or directory; a link is refused.
    ///
    /// # Errors
    /// When there is neither a file nor a directory.
    pub fn set_mode(&self, path: &Path, mode: u32) -> Result<()> {
        let shown = || format!("setting the mode of {} in the image", path.display());
        let (directory, name) = self.parent(path)?.ok_or(Errno::ENOENT).with_context(shown)?;
        let flags = OFlag::O_RDONLY
            | OFlag::O_NOFOLLOW
            | OFlag::O_NONBLOCK
            | OFlag::O_NOCTTY
            | OFlag::O_CLOEXEC;
        let how = OpenHow::new()
            .flags(flags)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        let fd = openat2(directory.as_fd(), name.as_path(), how).with_context(shown)?;
        fchmod(&fd, Mode::from_bits_truncate(mode)).with_context(shown)
    }

    /// Makes one new directory.
    ///
    /// # Errors
    /// When something is there already, or there is no directory above it.
    pub fn make_directory(&self, path: &Path, mode: u32) -> Result<()> {
        let shown = || format!("creating {} in the image", path.display());
        let (directory, name) = self.parent(path)?.ok_or(Errno::ENOENT).with_context(shown)?;
        mkdirat(&directory, name.as_os_str(), Mode::S_IRWXU).with_context(shown)?;
        let fd = open_directory(&directory, &name).with_context(shown)?;
        // mkdir is subject to the umask.
        fchmod(&fd, Mode::from_bits_truncate(mode)).with_context(shown)
    }

    /// Puts a symbolic link at `path`, instead of whatever name is there.
    ///
    /// # Errors
    /// As [`InstallRoot::write`].
    pub fn link(&self, path: &Path, points_to: &Path) -> Result<()> {
        let shown = || format!("linking {} in the image", path.display());
        let (directory, name, temporary) = self.replacing(path)?;
        symlinkat(points_to, &directory, temporary.as_str()).with_context(shown)?;
        renameat(&directory, temporary.as_str(), &directory, name.as_os_str()).with_context(shown)
    }

    /// Removes the file at `path`, a directory with all it holds; mounts are never crossed. True
    /// when something was there.
    ///
    /// # Errors
    /// When something below cannot be removed, or a mount is in the way.
    pub fn remove(&self, path: &Path) -> Result<bool> {
        let Some((directory, name)) = self.parent(path)? else { return Ok(false) };
        crate::remove::remove_at(&directory, &name)
            .with_context(|| format!("removing {} in the image", path.display()))
    }
}
