//! The process that makes a call.

use nix::unistd::Pid;
use std::ffi::OsString;

/// A process that makes a call.
pub(super) struct Caller {
    pub(super) thread: Pid,
    pub(super) process: Pid,
    pub(super) root: OsString,
}
