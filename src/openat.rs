//! openat2(2), asked again where the kernel cannot tell: somewhere on the machine something was renamed or mounted meanwhile.

use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::OpenHow;
use std::os::fd::{AsFd, OwnedFd};

/// So often in a row a rename of others falls into the lookup only if they do nothing but rename; then we do not know.
const ATTEMPTS: usize = 10_000;

/// Opens `path` below `folder` as `how` says.
///
/// With `RESOLVE_IN_ROOT` and `RESOLVE_BENEATH` the kernel answers EAGAIN when it met `..` while any rename or mount happened, even
/// in another place: openat2(2), ERRORS.
///
/// # Errors
/// As the system call.
pub(crate) fn openat2(folder: impl AsFd, path: &(impl NixPath + ?Sized), how: OpenHow) -> nix::Result<OwnedFd> {
    for _ in 1..ATTEMPTS {
        #[expect(clippy::disallowed_methods, reason = "here it is asked again")]
        match nix::fcntl::openat2(folder.as_fd(), path, how) {
            Err(Errno::EAGAIN | Errno::EINTR) => std::thread::yield_now(),
            done => return done,
        }
    }
    Err(Errno::EAGAIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{OFlag, ResolveFlag};
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn renames_of_others_do_not_show() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("tree/a/b")).unwrap();
        std::fs::write(at("one"), "").unwrap();
        let folder = std::fs::File::open(at("tree")).unwrap();
        let done = AtomicBool::new(false);
        let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_IN_ROOT);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    std::fs::rename(at("one"), at("two")).unwrap();
                    std::fs::rename(at("two"), at("one")).unwrap();
                }
            });
            let failed = (0..20_000).find_map(|_| openat2(&folder, "a/../a/../a/b/../../a/b", how).err());
            done.store(true, Ordering::Relaxed);
            assert_eq!(failed, None);
        });
    }
}
