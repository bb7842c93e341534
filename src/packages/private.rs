//! Directories in which only their owner can write, opened once and used through the descriptor.

use anyhow::Context;
use std::fs::{DirBuilder, File, Metadata, Permissions};
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::{ExitCode, Failure, Result};

/// What makes a directory known as a package cache.
const MARK: &str = super::cache::VIEWS;
/// What the maker of a file system leaves in its top directory.
const LOST: &str = "lost+found";

/// Opens the directory, after making it if it is missing. Only its owner can write there afterwards.
pub(super) fn make(path: &Path) -> Result<File> {
    let making = || format!("making the package cache {}", path.display());
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).with_context(making)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error).with_context(making),
        _ => open(path),
    }
}

/// Opens an existing directory, and takes the rights of others away.
///
/// A directory with other files than a cache's keeps its mode: it may be a system directory that was named by mistake.
pub(super) fn open(path: &Path) -> Result<File> {
    links(path)?;
    let directory = File::open(path).with_context(|| format!("opening the package cache {}", path.display()))?;
    let meta = directory.metadata().with_context(|| format!("looking at the package cache {}", path.display()))?;
    check_owner(path, &meta)?;
    let names = std::fs::read_dir(through(&directory))
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<Result<Vec<_>, _>>())
        .with_context(|| format!("reading the package cache {}", path.display()))?;
    let empty = names.iter().all(|name| name == LOST);
    let mode = meta.permissions().mode();
    if mode & 0o022 != 0 && !empty {
        let message = format!("using the package cache {}: other users can write there (mode {:04o})", path.display(), mode & 0o7777);
        return Err(Failure::new(ExitCode::Host, message)
            .hint(format!(
                "remove it, and osimg makes a new one; if no one else wrote there: chmod -R go-w {}",
                crate::process::quote(&path.display().to_string())
            ))
            .into());
    }
    if mode & 0o077 != 0 && (empty || names.iter().any(|name| name == MARK)) {
        let private = Permissions::from_mode(0o700);
        directory.set_permissions(private).with_context(|| format!("closing the package cache {} to others", path.display()))?;
    }
    Ok(directory)
}

/// A path of this process to an open directory.
pub(super) fn through(directory: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()))
}

fn check_owner(path: &Path, meta: &Metadata) -> Result<()> {
    if !meta.is_dir() {
        let message = format!("using the package cache {}: it is not a directory", path.display());
        return Err(Failure::new(ExitCode::Usage, message).hint("name a directory: --cache DIR").into());
    }
    if meta.uid() == nix::unistd::geteuid().as_raw() {
        return Ok(());
    }
    let message = format!("using the package cache {}: it belongs to another user (id {})", path.display(), meta.uid());
    Err(Failure::new(ExitCode::Host, message).hint("name a directory of your own: --cache DIR").into())
}

/// Refuses a path with a symbolic link of another user, who could lead us to any directory of ours.
fn links(path: &Path) -> Result<()> {
    let own = nix::unistd::geteuid().as_raw();
    for part in path.ancestors().filter(|part| !part.as_os_str().is_empty()) {
        let meta = part.symlink_metadata().with_context(|| format!("looking at {}", part.display()))?;
        if meta.is_symlink() && meta.uid() != own && meta.uid() != 0 {
            let message = format!("using the package cache {}: {} is a link of another user", path.display(), part.display());
            return Err(Failure::new(ExitCode::Host, message).hint("name a directory of your own: --cache DIR").into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::exit_code;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o7777
    }

    fn set(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_new_cache_and_an_open_one_of_earlier_builds_are_closed_to_others() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a/b");
        make(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        set(&path, 0o777);
        make(&path).unwrap();
        assert_eq!(mode(&path), 0o700, "an empty one holds nothing of others");
        std::fs::create_dir(path.join(MARK)).unwrap();
        set(&path, 0o755);
        make(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
    }

    #[test]
    fn what_others_may_have_filled_is_refused_and_other_directories_keep_their_mode() {
        let base = tempfile::tempdir().unwrap();
        std::fs::create_dir(base.path().join(MARK)).unwrap();
        for writable in [0o770, 0o707, 0o1777] {
            set(base.path(), writable);
            let error = make(base.path()).unwrap_err();
            assert_eq!(exit_code(&error), ExitCode::Host);
            assert!(error.to_string().contains("other users can write there"), "{error}");
            assert_eq!(mode(base.path()), writable);
        }
        std::fs::remove_dir(base.path().join(MARK)).unwrap();
        std::fs::write(base.path().join("file"), "").unwrap();
        set(base.path(), 0o755);
        make(base.path()).unwrap();
        assert_eq!(mode(base.path()), 0o755);
        let error = make(&base.path().join("file")).unwrap_err();
        assert!(error.to_string().contains("not a directory"), "{error}");
    }
}
