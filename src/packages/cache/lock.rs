//! The locks of a cache and of the views of its builds.

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use crate::error::Result;
use crate::private::{self, display_path};
use crate::process;
use crate::report::Report;
use crate::sandbox::remove_tree;

/// Locked by a process that adds to the cache or removes from it.
pub(super) const LOCK: &str = ".lock";

/// Locks a cache; `directory` is its descriptor's path, `path` the one for messages.
pub(in crate::packages) fn lock(
    directory: &Path,
    path: &Path,
    report: &Report,
) -> Result<Flock<File>> {
    lock_file(&directory.join(LOCK), Some((report, path)))
}

pub(super) fn lock_file(path: &Path, waiting: Option<(&Report, &Path)>) -> Result<Flock<File>> {
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let options = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(flags)
        .open(path);
    let mut file = options.with_context(|| format!("opening {}", display_path(path)))?;
    if !file.metadata().with_context(|| format!("examining {}", display_path(path)))?.is_file() {
        anyhow::bail!("opening {}: it is not a regular file", display_path(path));
    }
    let mut waiting = waiting;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((file, Errno::EWOULDBLOCK)) => file,
            Err((_, error)) => {
                return Err(error).with_context(|| format!("locking {}", display_path(path)));
            }
        };
        if let Some((report, path)) = waiting.take() {
            report.note(&format!(
                "waiting for another build that fills the package cache {}",
                display_path(path)
            ));
        }
        process::pause(Duration::from_millis(50))?;
    }
}

/// Removes the views of killed builds. Failures are ignored: they must not prevent a build.
pub(in crate::packages) fn sweep(views: &File) {
    let path = crate::openat::fd_path(views);
    for entry in fs::read_dir(&path).into_iter().flatten().filter_map(Result::ok) {
        let Ok(Some(view)) = private::directory(views, Path::new(&entry.file_name())) else {
            continue;
        };
        if let Ok(_unused) = Flock::lock(view, FlockArg::LockExclusiveNonblock) {
            let _ = remove_tree(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_a_link_or_a_fifo_is_refused_immediately() {
        let base = tempfile::tempdir().unwrap();
        let (victim, link, fifo) =
            (base.path().join("victim"), base.path().join("link"), base.path().join("fifo"));
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [&link, &fifo] {
            assert!(lock_file(path, None).is_err(), "{}", path.display());
        }
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    }
}
