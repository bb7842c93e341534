//! Directories by descriptor: opening one, its names, and the type in a mode.

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag};
use nix::sys::stat::SFlag;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use crate::openat::{DIRECTORY, openat2};

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
