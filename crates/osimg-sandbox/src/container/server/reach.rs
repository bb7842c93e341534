//! Finds the places of a run, and opens them.

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, readlinkat};
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use std::os::fd::{AsRawFd, OwnedFd};

use super::Server;
use super::caller::Caller;
use super::located::Located;
use crate::container::places::{Place, SHOWN_OF_OTHERS, is_magic};
use crate::descendants::descendants;
use crate::kernel_files::{PROC_COMMAND_LINE, PROC_HIDDEN, is_hidden_sys};
use crate::openat::{fd_path, openat2};

impl Server {
    /// Where a place is for us; `None` when the kernel may answer by itself.
    pub(super) fn locate(&self, caller: &Caller, place: Place) -> nix::Result<Option<Located>> {
        Ok(Some(match place {
            Place::Device(name) => {
                let node =
                    self.nodes.iter().find(|(node, _)| *node == name).ok_or(Errno::ENOENT)?;
                Located::Node(node.1.try_clone().map_err(|_| Errno::EMFILE)?)
            }
            Place::Own(rest) => Located::Process(caller.process, rest),
            Place::OwnThread(rest) => {
                Located::Process(caller.process, format!("task/{}/{rest}", caller.thread))
            }
            Place::Other(pid, rest) if pid == caller.process.as_raw() => {
                Located::Process(caller.process, rest)
            }
            Place::Other(pid, rest) => {
                if !SHOWN_OF_OTHERS.contains(&rest.as_str())
                    || !descendants().iter().any(|process| process.pid == pid)
                {
                    return Err(Errno::ENOENT);
                }
                Located::Process(Pid::from_raw(pid), rest)
            }
            Place::Kernel(rest) if PROC_HIDDEN.contains(&rest.as_str()) => {
                return self.locate(caller, Place::Device("null"));
            }
            Place::Kernel(rest) if rest == PROC_COMMAND_LINE => {
                Located::CommandLine(self.command_line.try_clone().map_err(|_| Errno::EMFILE)?)
            }
            // The container's network is not the run's.
            Place::Kernel(rest) if rest.split('/').next() == Some("net") => {
                return Err(Errno::ENOENT);
            }
            Place::Kernel(rest) => Located::Proc(rest),
            Place::Sys(rest) if is_hidden_sys(&rest) => return Err(Errno::ENOENT),
            Place::Sys(rest) if self.sys.is_some() => Located::Sys(rest),
            Place::Sys(_) | Place::RpmConfiguration(_) => return Ok(None),
        }))
    }

    /// Opens a place without a right to read or write.
    pub(super) fn reach(&self, file: &Located, follow: bool) -> nix::Result<OwnedFd> {
        let last = if follow { OFlag::empty() } else { OFlag::O_NOFOLLOW };
        self.open_at(file, OFlag::O_PATH | last)
    }

    /// Opens a place; no link leads out of it but those by magic that the place itself is.
    pub(super) fn open_at(&self, file: &Located, flags: OFlag) -> nix::Result<OwnedFd> {
        let below = |directory: &OwnedFd, rest: &str, resolve| {
            let rest = if rest.is_empty() { "." } else { rest };
            openat2(
                directory,
                rest,
                OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve),
            )
        };
        let beneath = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        match file {
            Located::Node(node) | Located::CommandLine(node) if flags.contains(OFlag::O_PATH) => {
                node.try_clone().map_err(|_| Errno::EMFILE)
            }
            Located::Node(node) | Located::CommandLine(node) => {
                open(&fd_path(node), flags | OFlag::O_CLOEXEC, Mode::empty())
            }
            Located::Process(pid, rest) if is_magic(rest) => openat(
                &self.proc,
                format!("{pid}/{rest}").as_str(),
                flags | OFlag::O_CLOEXEC,
                Mode::empty(),
            ),
            Located::Process(pid, rest) => below(
                &self.proc,
                &format!("{pid}/{rest}"),
                beneath | ResolveFlag::RESOLVE_NO_SYMLINKS,
            ),
            Located::Proc(rest) => below(&self.proc, rest, beneath),
            Located::Sys(rest) => self
                .open_sys(self.sys.as_ref().ok_or(Errno::ENOENT)?, |sys| below(sys, rest, beneath)),
            Located::Configuration(path) => open(path, flags | OFlag::O_CLOEXEC, Mode::empty()),
        }
    }

    /// Opens a file of sysfs, unless a link in its path leads to one that is hidden.
    fn open_sys(
        &self,
        sys: &OwnedFd,
        open: impl FnOnce(&OwnedFd) -> nix::Result<OwnedFd>,
    ) -> nix::Result<OwnedFd> {
        let path = |file: &OwnedFd| {
            readlinkat(&self.proc, format!("self/fd/{}", file.as_raw_fd()).as_str())
                .map(|path| path.to_string_lossy().into_owned())
        };
        let opened = open(sys)?;
        let (top, found) = (path(sys)?, path(&opened)?);
        match found.strip_prefix(&top) {
            Some(rest) if !is_hidden_sys(rest) => Ok(opened),
            _ => Err(Errno::ENOENT),
        }
    }
}
