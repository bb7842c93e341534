//! Where the places of a run are for this process.

use nix::unistd::Pid;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// A place as this process reaches it.
pub(super) enum Located {
    Node(OwnedFd),
    Process(Pid, String),
    Proc(String),
    Sys(String),
    Configuration(PathBuf),
    CommandLine(OwnedFd),
}

impl Located {
    /// Whether it may only be read: what is not of the process itself, and no device, is the
    /// container's.
    pub(super) fn is_read_only(&self) -> bool {
        !matches!(self, Self::Node(_) | Self::Process(..))
    }
}
