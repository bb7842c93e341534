//! Removing trees: by descriptors. No link is followed and no mount crossed, so that the host
//! can never be emptied.

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{Mode, SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::directories::{is, list, open_directory};
use crate::error::{Context, Error, ErrorKind, Result, invalid};
use crate::openat::{DIRECTORY, directory_at, fd_path};

/// Removes the directory `path` with all it holds.
///
/// A mount found below stops it before that mount's content is touched: a builder that removes
/// through a live bind mount empties the host.
///
/// # Errors
/// Names the file that could not be removed.
pub fn remove_tree(path: &Path) -> Result<()> {
    refuse_mount(path, path)?;
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path
        .file_name()
        .with_context(|| format!("removing {}: it does not name a directory", path.display()))?;
    let fd = match nix::fcntl::open(parent, DIRECTORY, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::ENOENT) => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("opening {}", parent.display())),
    };
    remove_at(&fd, Path::new(name))
        .with_context(|| format!("removing {}", path.display()))
        .map_err(|error| immutable(error, path))?;
    Ok(())
}

/// Removes the content of an open directory, the name `last` after all others; `shown` is its path
/// in messages.
///
/// # Errors
/// As [`remove_tree`].
pub fn remove_content(directory: &impl AsFd, last: &str, shown: &Path) -> Result<()> {
    let removing = || format!("removing {}", shown.display());
    let own = directory.as_fd().try_clone_to_owned().with_context(removing)?;
    // The path that it has now.
    refuse_mount(&fd_path(&own), shown)?;
    // A descriptor with its own position, so that nothing is missed.
    let listed =
        open_below(&own, Path::new(".")).and_then(|fd| Ok(list(fd)?)).with_context(removing)?;
    let others = listed.iter().filter(|name| *name != last);
    for name in others.map(Path::new).chain([Path::new(last)]) {
        remove_at(&own, name).with_context(removing).map_err(|error| immutable(error, shown))?;
    }
    Ok(())
}

fn refuse_mount(path: &Path, shown: &Path) -> Result<()> {
    let Some(mount) = mount_below(path)? else { return Ok(()) };
    Err(invalid(format!("removing {}: {} is still mounted", shown.display(), mount.display()))
        .with_hint(format!("unmount it first: umount {}", mount.display())))
}

/// Root is refused a removal only if a file or directory is marked as immutable or append-only.
/// Scriptlets lack the capability for that, so another user may have done it on purpose.
fn immutable(error: Error, path: &Path) -> Error {
    if !nix::unistd::geteuid().is_root() || error.errno() != Some(Errno::EPERM) {
        return error;
    }
    Error::new(
        ErrorKind::Host,
        format!("removing {}: a file in it is marked as immutable", path.display()),
    )
    .because(error)
    .with_hint(format!(
        "if no one wants it kept: chattr -R -ia {}",
        crate::command::quote(&path.display().to_string())
    ))
}

/// Removes `name` in the open directory `at`, whatever it is. True when something was there.
pub(super) fn remove_at(at: &OwnedFd, name: &Path) -> Result<bool> {
    match unlinkat(at, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) => return Ok(true),
        Err(Errno::ENOENT) => return Ok(false),
        Err(Errno::EISDIR) => {}
        Err(error) => return Err(error).with_context(|| format!("removing {}", name.display())),
    }
    let mut here = open_below(at, name)?;
    // One descriptor, however deep the tree: limits on open files are low, and packages may nest
    // directories as they like.
    let mut levels: Vec<Level> = vec![Level::open(&here, name.as_os_str().to_owned())?];
    while let Some(level) = levels.last_mut() {
        let Some(child) = level.names.pop() else {
            let Some(done) = levels.pop() else { break };
            let Some(above) = levels.last() else { break };
            here = above.climb(&here)?;
            unlinkat(&here, done.name.as_os_str(), UnlinkatFlags::RemoveDir)
                .with_context(|| format!("removing {}", done.name.display()))?;
            continue;
        };
        let stat = match fstatat(&here, child.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::ENOENT) => continue,
            Err(error) => {
                return Err(error).with_context(|| format!("looking at {}", child.display()));
            }
        };
        if is(stat.st_mode, SFlag::S_IFDIR) {
            here = open_below(&here, Path::new(&child))?;
            levels.push(Level::open(&here, child)?);
        } else {
            unlinkat(&here, child.as_os_str(), UnlinkatFlags::NoRemoveDir)
                .with_context(|| format!("removing {}", child.display()))?;
        }
    }
    unlinkat(at, name, UnlinkatFlags::RemoveDir)
        .with_context(|| format!("removing {}", name.display()))?;
    Ok(true)
}

/// A directory on the way down: its name, its inode, and the names that are left to remove in it.
struct Level {
    name: OsString,
    inode: (u64, u64),
    names: Vec<OsString>,
}

impl Level {
    fn open(directory: &OwnedFd, name: OsString) -> Result<Self> {
        let names =
            directory.try_clone().context("duplicating a descriptor").and_then(|fd| Ok(list(fd)?));
        Ok(Self {
            inode: inode(directory)?,
            names: names.with_context(|| format!("reading {}", name.display()))?,
            name,
        })
    }

    /// Opens this directory from the one below it. If that was moved in the meantime, nothing more
    /// is touched.
    fn climb(&self, below: &OwnedFd) -> Result<OwnedFd> {
        let above = directory_at(below, "..")
            .with_context(|| format!("opening {}", self.name.display()))?;
        if inode(&above)? != self.inode {
            return Err(invalid(format!(
                "{} was moved while it was being removed",
                self.name.display()
            )));
        }
        Ok(above)
    }
}

fn inode(directory: &OwnedFd) -> Result<(u64, u64)> {
    let stat = fstat(directory).context("looking at an open directory")?;
    Ok((stat.st_dev, stat.st_ino))
}

fn open_below(at: &impl AsFd, name: &Path) -> Result<OwnedFd> {
    open_directory(at, name).map_err(|error| match error {
        Errno::EXDEV => invalid(format!("{} is a mount: it is left alone", name.display())),
        other => Error::from(other).doing(format!("opening {}", name.display())),
    })
}

/// The first mount at or below `path` in this thread's namespace.
///
/// # Errors
/// When /proc/thread-self/mountinfo cannot be read.
pub fn mount_below(path: &Path) -> Result<Option<PathBuf>> {
    Ok(mounts_below(path)?.into_iter().next())
}

/// Every mount at or below `path` in this thread's namespace.
///
/// # Errors
/// As [`mount_below`].
pub fn mounts_below(path: &Path) -> Result<Vec<PathBuf>> {
    let Ok(path) = path.canonicalize() else { return Ok(Vec::new()) };
    let table = std::fs::read("/proc/thread-self/mountinfo")
        .context("reading /proc/thread-self/mountinfo")?;
    Ok(mount_points(&table).into_iter().filter(|mount| mount.starts_with(&path)).collect())
}

/// The mount points of a mountinfo table, unescaped; see proc(5).
fn mount_points(table: &[u8]) -> Vec<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let unescape = |field: &[u8]| {
        let mut out = Vec::with_capacity(field.len());
        let mut rest = field;
        while let Some((&byte, tail)) = rest.split_first() {
            let octal = (byte == b'\\')
                .then(|| tail.get(..3))
                .flatten()
                .and_then(|d| std::str::from_utf8(d).ok())
                .and_then(|d| u8::from_str_radix(d, 8).ok());
            match octal {
                Some(value) => {
                    out.push(value);
                    rest = &tail[3..];
                }
                None => {
                    out.push(byte);
                    rest = tail;
                }
            }
        }
        PathBuf::from(OsString::from_vec(out))
    };
    table
        .split(|b| *b == b'\n')
        .filter_map(|line| line.split(|b| *b == b' ').nth(4))
        .map(unescape)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_removed_and_their_targets_stay() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let victim = dir.path().join("victim");
        std::fs::create_dir(&victim).expect("victim");
        std::fs::write(victim.join("file"), "precious").expect("file");
        let tree = dir.path().join("tree");
        std::fs::create_dir_all(tree.join("a/b/c")).expect("tree");
        std::os::unix::fs::symlink(&victim, tree.join("a/link")).expect("link");
        remove_tree(&tree).expect("removed");
        assert!(!tree.exists());
        assert_eq!(std::fs::read_to_string(victim.join("file")).expect("victim"), "precious");
        remove_tree(&tree).expect("a missing tree is no error");
    }

    #[test]
    fn mount_points_with_spaces_are_unescaped() {
        let table = b"36 35 98:0 /mnt1 /mnt/with\\040space rw - ext3 /dev/root rw\n";
        assert_eq!(mount_points(table), [PathBuf::from("/mnt/with space")]);
    }
}
