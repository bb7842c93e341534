//! The traced processes as seen from outside of the sandbox: their paths, descriptors and memory.

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, readlinkat};
use nix::libc;
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::super::process_memory::text;
use super::call::Call;
use crate::error::{Context, Result};
use crate::openat::openat2;

/// The host's /proc, in which the processes of the sandbox have the numbers by which we trace
/// them.
///
/// Pid 1 takes us along when it changes the root, and the /proc that is there then knows other
/// numbers.
pub(crate) struct Tracees(OwnedFd);

impl Tracees {
    /// Before the root changes.
    pub(crate) fn open() -> Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self(open("/proc", flags, Mode::empty()).context("opening /proc")?))
    }

    /// The place of the ids among the arguments of a chown call, and the file.
    pub(super) fn target(&self, pid: Pid, call: &Call) -> (usize, nix::Result<OwnedFd>) {
        let descriptor = |index| (call.argument(index) & u64::from(u32::MAX)) as u32 as i32;
        let path = |index| text(pid, call.argument(index));
        match call.number() {
            libc::SYS_fchown => (1, self.of_descriptor(pid, descriptor(0))),
            libc::SYS_fchownat => {
                let flags = call.argument(4) as i32;
                let file = match path(1) {
                    Some(path) if !path.is_empty() => self.of_path(
                        pid,
                        descriptor(0),
                        &path,
                        flags & libc::AT_SYMLINK_NOFOLLOW == 0,
                    ),
                    // No path at all is as good as an empty one, to newer kernels.
                    _ if flags & libc::AT_EMPTY_PATH != 0 => self.of_descriptor(pid, descriptor(0)),
                    _ => Err(Errno::ENOENT),
                };
                (2, file)
            }
            #[cfg(target_arch = "x86_64")]
            number => {
                let path = path(0).ok_or(Errno::EFAULT);
                (
                    1,
                    path.and_then(|path| {
                        self.of_path(pid, libc::AT_FDCWD, &path, number == libc::SYS_chown)
                    }),
                )
            }
            #[cfg(not(target_arch = "x86_64"))]
            _ => (1, Err(Errno::ENOSYS)),
        }
    }

    /// What a file is called now, from the sandbox's root.
    pub(super) fn name(&self, file: &OwnedFd) -> nix::Result<OsString> {
        readlinkat(&self.0, format!("self/fd/{}", file.as_raw_fd()).as_str())
    }

    /// A process's directory or file of this number, or its working directory.
    fn of_descriptor(&self, pid: Pid, descriptor: i32) -> nix::Result<OwnedFd> {
        openat(
            &self.0,
            link(pid, descriptor).as_str(),
            OFlag::O_PATH | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
    }

    /// What a process means by a path; links are followed below its own root.
    fn of_path(
        &self,
        pid: Pid,
        directory: i32,
        path: &OsStr,
        follow: bool,
    ) -> nix::Result<OwnedFd> {
        // Its own descriptors by name.
        for prefix in ["/proc/self/fd/", "/proc/thread-self/fd/", "/dev/fd/"] {
            if let Some(number) = path
                .as_bytes()
                .strip_prefix(prefix.as_bytes())
                .and_then(|rest| str::from_utf8(rest).ok()?.parse().ok())
            {
                return self.of_descriptor(pid, number);
            }
        }
        let root_link = format!("{pid}/root");
        let mut inside = PathBuf::new();
        if !path.as_bytes().starts_with(b"/") {
            // Both as they are called from the sandbox's root.
            let (directory, root) = (
                readlinkat(&self.0, link(pid, directory).as_str())?,
                readlinkat(&self.0, root_link.as_str())?,
            );
            inside.push(Path::new(&directory).strip_prefix(&root).map_err(|_| Errno::ENOENT)?);
        }
        inside.push(Path::new(path).strip_prefix("/").unwrap_or(Path::new(path)));
        if inside.as_os_str().is_empty() {
            inside.push(".");
        }
        let root =
            openat(&self.0, root_link.as_str(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
        let nofollow = if follow { OFlag::empty() } else { OFlag::O_NOFOLLOW };
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC | nofollow)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT);
        openat2(&root, inside.as_path(), how)
    }
}

fn link(pid: Pid, descriptor: i32) -> String {
    match descriptor {
        libc::AT_FDCWD => format!("{pid}/cwd"),
        number => format!("{pid}/fd/{number}"),
    }
}
