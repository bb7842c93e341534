//! Directories by descriptor: opening one, its names, and the type in a mode.

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag};
use nix::sys::stat::{SFlag, fstatat};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::openat::{DIRECTORY, OpenDirectory, kind, openat2};

/// Opens a directory below `at`; no link and no mount is crossed.
pub(super) fn open_directory(at: &impl AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new().flags(DIRECTORY | OFlag::O_NOFOLLOW).resolve(
        ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_NO_XDEV,
    );
    openat2(at.as_fd(), path, how)
}

/// The names in an open directory, sorted bytewise.
pub(super) fn list(directory: OwnedFd) -> Result<Vec<std::ffi::OsString>, Errno> {
    use std::os::unix::ffi::OsStrExt;
    let mut names = Vec::new();
    for entry in Dir::from_fd(directory)?.iter() {
        let name = std::ffi::OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Whether a mode is that of a file of this type.
pub(super) fn is(mode: u32, kind: SFlag) -> bool {
    mode & SFlag::S_IFMT.bits() == kind.bits()
}

impl OpenDirectory {
    /// The paths and types of what is below, a directory before its content. Links are not
    /// followed, mounts are not entered, and only the directories that `enter` accepts are read.
    ///
    /// # Errors
    /// If a directory cannot be read.
    pub fn walk(
        &self,
        mut enter: impl FnMut(&Path) -> bool,
    ) -> std::io::Result<Vec<(PathBuf, SFlag)>> {
        let mut found = Vec::new();
        let mut unread = vec![PathBuf::from(".")];
        while let Some(directory) = unread.pop() {
            let open = match open_directory(self, &directory) {
                Ok(open) => open,
                // It is a mount, or was replaced in the meantime.
                Err(Errno::EXDEV | Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => continue,
                Err(error) => return Err(error.into()),
            };
            for name in list(open.try_clone()?)? {
                let path = directory.strip_prefix(".").unwrap_or(&directory).join(&name);
                let Ok(stat) = fstatat(&open, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
                else {
                    continue;
                };
                if kind(&stat) == SFlag::S_IFDIR && enter(&path) {
                    unread.push(path.clone());
                }
                found.push((path, kind(&stat)));
            }
        }
        found.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(found)
    }
}
