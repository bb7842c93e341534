//! Answers to the calls of processes that have no /proc, /sys and /dev of their own.
//!
//! A process gets a descriptor only of a device node, of a regular file below /proc or /sys, or of
//! what it has open already: never of a directory outside of its root, from which it could walk to
//! the rest of the container. What it is shown of other processes is what `ps` shows.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, OpenHow, ResolveFlag, fcntl, open, openat, readlinkat};
use nix::libc;
use nix::sys::stat::{Mode, SFlag, fstat, major, minor};
use nix::unistd::{AccessFlags, Pid};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::calls::{Flags, Links, Request};
use super::changes::{change, is_change, refused};
use super::places::{ENOUGH, Place, is_magic, is_own_file, may_be_one, place};
use crate::descendants::thread_group;
use crate::directories::is;
use crate::error::{Context, Result, invalid};
use crate::kernel_files::{COMMAND_LINE, NODES};
use crate::notify::{Answer, Call, bytes_of, statfs, statx};
use crate::openat::{fd_path, openat2};
use crate::process_memory::{read, start, text, write};
use caller::Caller;
use located::Located;
use signals::signal;

mod caller;
mod located;
mod reach;
mod signals;

/// What a run without namespaces may see.
#[derive(Debug)]
pub(super) struct Server {
    proc: OwnedFd,
    sys: Option<OwnedFd>,
    nodes: Vec<(&'static str, OwnedFd)>,
    /// A file in memory, with a command line that is the same everywhere.
    command_line: OwnedFd,
    /// The root of this process, which the package manager has too until it changes its own.
    root: OsString,
    /// The process that may change its root.
    manager: Option<Pid>,
    /// The directory with rpm's configuration for processes outside of the install root.
    rpm: PathBuf,
    /// Whether the image's /etc/mtab is a link to /proc.
    install_root: PathBuf,
}

impl Server {
    /// A server for the processes of a run in this install root.
    pub(super) fn new(install_root: &Path, rpm: PathBuf, manager: Option<Pid>) -> Result<Self> {
        let path = OFlag::O_PATH | OFlag::O_CLOEXEC;
        let directory = |name: &str| open(name, path | OFlag::O_DIRECTORY, Mode::empty());
        let proc = directory("/proc").context("opening /proc")?;
        let root = readlinkat(&proc, "self/root").context("reading the root of this process")?;
        let mut nodes = Vec::new();
        for (name, dev_major, dev_minor) in NODES {
            let source = Path::new("/dev").join(name);
            // Some containers have no terminal.
            let Ok(node) = open(&source, path | OFlag::O_NOFOLLOW, Mode::empty()) else { continue };
            let device =
                fstat(&node).with_context(|| format!("examining {}", source.display()))?.st_rdev;
            if (major(device), minor(device)) != (dev_major, dev_minor) {
                return Err(invalid(format!(
                    "{} is not the device {dev_major}:{dev_minor}",
                    source.display()
                )));
            }
            nodes.push((name, node));
        }
        Ok(Self {
            proc,
            sys: directory("/sys").ok(),
            nodes,
            command_line: command_line()?,
            root,
            manager,
            rpm,
            install_root: install_root.to_owned(),
        })
    }

    /// The answer to a call; `is_waiting` tells whether its process is still the one that made it.
    pub(super) fn answer(&self, call: &Call, is_waiting: impl Fn() -> bool) -> Answer {
        let Some(request) = Request::from_number(call.number) else { return Answer::Continue };
        let thread = Pid::from_raw(call.thread);
        let argument = |index: usize| call.arguments.get(index).copied().unwrap_or(0);
        match request {
            Request::ChangeRoot => return self.change_root(thread),
            Request::Signal => return signal(thread, argument(0).cast_signed() as i32),
            _ => {}
        }
        let Some(address) = request.path().map(argument).filter(|address| *address != 0) else {
            return Answer::Continue;
        };
        // Most calls name other files: as little as possible is done for them.
        if !start(thread, address, ENOUGH).is_some_and(|start| may_be_one(&start)) {
            return Answer::Continue;
        }
        let Some(path) = text(thread, address).and_then(|path| path.into_string().ok()) else {
            return Answer::Continue;
        };
        let Some(place) = place(&path) else { return Answer::Continue };
        let Some(caller) = self.caller(thread) else { return Answer::Continue };
        if !is_waiting() {
            return Answer::Continue;
        }
        match self.served(&caller, request, place, &argument) {
            Ok(answer) => answer,
            Err(error) => Answer::Error(error),
        }
    }

    fn caller(&self, thread: Pid) -> Option<Caller> {
        let root = readlinkat(&self.proc, format!("{thread}/root").as_str()).ok()?;
        Some(Caller { thread, process: thread_group(thread)?, root })
    }

    /// Only the package manager enters the install root, and leaves it again.
    fn change_root(&self, thread: Pid) -> Answer {
        let allowed = self.manager.is_some() && thread_group(thread) == self.manager;
        if allowed { Answer::Continue } else { Answer::Error(Errno::EPERM) }
    }

    fn served(
        &self,
        caller: &Caller,
        request: Request,
        place: Place,
        argument: &dyn Fn(usize) -> u64,
    ) -> nix::Result<Answer> {
        let outside = caller.root == self.root;
        let file = match (outside, place) {
            (true, Place::RpmConfiguration(name)) => Located::Configuration(self.rpm.join(name)),
            (true, _) | (false, Place::RpmConfiguration(_)) => return Ok(Answer::Continue),
            (false, Place::Own(rest))
                if rest == "mounts"
                    && argument_is_mtab(request, argument, caller)
                    && !self.has_mtab() =>
            {
                return Ok(Answer::Continue);
            }
            (false, place) => match self.locate(caller, place)? {
                Some(located) => located,
                None => return Ok(Answer::Continue),
            },
        };
        if is_change(request) {
            return match &file {
                Located::Process(pid, rest)
                    if *pid == caller.process && rest.starts_with("fd/") && is_own_file(rest) =>
                {
                    change(&fd_path(&self.reach(&file, true)?), request, caller.thread, argument)
                }
                _ => Ok(refused(request)),
            };
        }
        match request {
            Request::Open { flags, .. } => self.open(caller, &file, flags, argument),
            Request::Stat { to, links, .. } => {
                let follow = match links {
                    Links::Followed => true,
                    Links::Kept => false,
                    Links::Flags(index) => argument(index) as i32 & libc::AT_SYMLINK_NOFOLLOW == 0,
                };
                let found = fstat(self.reach(&file, follow)?)?;
                put(caller, argument(to), bytes_of(&found), 0)
            }
            Request::Statx => {
                let follow = argument(2) as i32 & libc::AT_SYMLINK_NOFOLLOW == 0;
                let found = statx(&self.reach(&file, follow)?, argument(3) as u32)?;
                put(caller, argument(4), bytes_of(&found), 0)
            }
            Request::StatFs => {
                let found = statfs(&self.reach(&file, true)?)?;
                put(caller, argument(1), bytes_of(&found), 0)
            }
            Request::Access { mode, .. } => {
                let mode = AccessFlags::from_bits_truncate(argument(mode) as i32);
                if mode.contains(AccessFlags::W_OK) && file.is_read_only() {
                    return Err(Errno::EROFS);
                }
                nix::unistd::access(&fd_path(&self.reach(&file, true)?), mode)
                    .map(|()| Answer::Value(0))
            }
            Request::ReadLink { to, size, .. } => {
                self.read_link(caller, &file, argument(to), argument(size))
            }
            Request::Link => self.link(caller, &file, argument),
            _ => Ok(Answer::Continue),
        }
    }

    /// Opens a place for a process.
    fn open(
        &self,
        caller: &Caller,
        file: &Located,
        flags: Flags,
        argument: &dyn Fn(usize) -> u64,
    ) -> nix::Result<Answer> {
        let wanted = match flags {
            Flags::Argument(index) => argument(index) as i32,
            Flags::How(index) => {
                // `flags` is the first field of `struct open_how`.
                let bytes = read(caller.thread, argument(index), 8).ok_or(Errno::EFAULT)?;
                u64::from_ne_bytes(bytes.try_into().map_err(|_| Errno::EFAULT)?) as i32
            }
        };
        let wanted = OFlag::from_bits_truncate(wanted);
        let writes = wanted.intersects(OFlag::O_WRONLY | OFlag::O_RDWR | OFlag::O_TRUNC);
        if writes && file.is_read_only() {
            return Err(Errno::EROFS);
        }
        if let Located::Process(pid, rest) = file
            && is_magic(rest)
            && !(is_own_file(rest) && *pid == caller.process)
        {
            return Err(Errno::EACCES);
        }
        // What is there already is opened, and nobody waits for another end of it.
        let unused = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        let opened = self.open_at(file, (wanted - unused) | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)?;
        // From an open directory the rest of the container could be reached; one of the caller's
        // own it has already.
        let own = matches!(file, Located::Process(_, rest) if rest.starts_with("fd/"));
        if !own && is(fstat(&opened)?.st_mode, SFlag::S_IFDIR) {
            return Ok(Answer::Continue);
        }
        if !wanted.intersects(OFlag::O_NONBLOCK | OFlag::O_PATH) {
            let has = OFlag::from_bits_truncate(fcntl(&opened, FcntlArg::F_GETFL)?);
            fcntl(&opened, FcntlArg::F_SETFL(has - OFlag::O_NONBLOCK))?;
        }
        Ok(Answer::Descriptor { file: opened, close_on_exec: wanted.contains(OFlag::O_CLOEXEC) })
    }

    /// Where a link leads, as the process sees it.
    fn read_link(
        &self,
        caller: &Caller,
        file: &Located,
        to: u64,
        size: u64,
    ) -> nix::Result<Answer> {
        let target = match file {
            Located::Process(pid, rest) if rest.is_empty() && *pid == caller.process => {
                OsString::from(pid.to_string())
            }
            Located::Process(pid, rest) if is_magic(rest) => {
                if *pid != caller.process {
                    return Err(Errno::EACCES);
                }
                inside(&readlinkat(&self.proc, format!("{pid}/{rest}").as_str())?, &caller.root)
            }
            // A node is no link.
            Located::Node(_) | Located::CommandLine(_) => return Err(Errno::EINVAL),
            // The kernel reports an empty path of something that is not a link otherwise.
            other => readlinkat(&self.reach(other, false)?, "")
                .map_err(|error| if error == Errno::ENOENT { Errno::EINVAL } else { error })?,
        };
        let size = usize::try_from(size).unwrap_or(0).min(target.len());
        put(caller, to, target.as_bytes().get(..size).unwrap_or_default(), size as i64)
    }

    /// Gives a name to a file that the process has open, as is done with files that have none yet.
    fn link(
        &self,
        caller: &Caller,
        file: &Located,
        argument: &dyn Fn(usize) -> u64,
    ) -> nix::Result<Answer> {
        let Located::Process(pid, rest) = file else { return Err(Errno::EXDEV) };
        if *pid != caller.process
            || !rest.starts_with("fd/")
            || !is_own_file(rest)
            || argument(4) as i32 & libc::AT_SYMLINK_FOLLOW == 0
        {
            return Err(Errno::EXDEV);
        }
        let name = PathBuf::from(text(caller.thread, argument(3)).ok_or(Errno::EFAULT)?);
        let base = match (name.is_absolute(), argument(2) as i32) {
            (true, _) => "root".to_owned(),
            (false, libc::AT_FDCWD) => "cwd".to_owned(),
            (false, descriptor) => format!("fd/{descriptor}"),
        };
        let directory = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let base = openat(
            &self.proc,
            format!("{}/{base}", caller.thread).as_str(),
            directory,
            Mode::empty(),
        )?;
        let relative = name.strip_prefix("/").unwrap_or(&name);
        let last = relative.file_name().ok_or(Errno::EEXIST)?;
        let above =
            relative.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // An absolute path begins at the process's root, and its links end there.
        let resolve = if name.is_absolute() {
            ResolveFlag::RESOLVE_IN_ROOT
        } else {
            ResolveFlag::RESOLVE_BENEATH
        };
        let above = openat2(
            &base,
            above,
            OpenHow::new().flags(directory).resolve(resolve | ResolveFlag::RESOLVE_NO_MAGICLINKS),
        )?;
        let source = format!("{pid}/{rest}");
        nix::unistd::linkat(
            &self.proc,
            source.as_str(),
            &above,
            last,
            nix::fcntl::AtFlags::AT_SYMLINK_FOLLOW,
        )?;
        Ok(Answer::Value(0))
    }

    fn has_mtab(&self) -> bool {
        self.install_root.join("etc/mtab").is_symlink()
    }
}

/// Whether the path of a call is /etc/mtab, which only some images have.
fn argument_is_mtab(request: Request, argument: &dyn Fn(usize) -> u64, caller: &Caller) -> bool {
    let address = request.path().map(argument);
    address
        .and_then(|address| text(caller.thread, address))
        .is_some_and(|path| path.as_bytes().ends_with(b"mtab"))
}

fn command_line() -> Result<OwnedFd> {
    let file = nix::sys::memfd::memfd_create(c"cmdline", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)
        .context("making a command line")?;
    nix::unistd::write(&file, COMMAND_LINE.as_bytes()).context("making a command line")?;
    nix::sys::stat::fchmod(&file, Mode::from_bits_truncate(0o444))
        .context("making a command line")?;
    Ok(file)
}

/// A path without that of the process's root in front.
fn inside(path: &OsString, root: &OsString) -> OsString {
    match path.as_bytes().strip_prefix(root.as_bytes()) {
        Some(b"") => "/".into(),
        Some(rest) if rest.starts_with(b"/") && root.as_bytes() != b"/" => {
            OsString::from_vec(rest.to_vec())
        }
        _ => path.clone(),
    }
}

/// Writes a result into the process.
fn put(caller: &Caller, address: u64, bytes: &[u8], value: i64) -> nix::Result<Answer> {
    if write(caller.thread, address, bytes) { Ok(Answer::Value(value)) } else { Err(Errno::EFAULT) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_shown_as_seen_from_the_root_of_its_process() {
        for (path, root, seen) in [
            ("/w/root/usr/bin/x", "/w/root", "/usr/bin/x"),
            ("/w/root", "/w/root", "/"),
            ("/w/rootless", "/w/root", "/w/rootless"),
            ("pipe:[7]", "/w/root", "pipe:[7]"),
            ("/usr/bin/x", "/", "/usr/bin/x"),
        ] {
            assert_eq!(inside(&path.into(), &root.into()), OsString::from(seen));
        }
    }
}
