//! A limit on how many processes and threads a build has at a time, so that a fork bomb does not
//! harm the host.
//!
//! RLIMIT_NPROC does not count for uid 0, and a cgroup would have to be cleaned up. Since
//! Linux 6.14 the kernel keeps a limit for each pid namespace; elsewhere, and where a container
//! does not let us set it, pid 1 counts.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use super::descendants::descendants;
use super::release::is_at_least;
use crate::error::{Context, Result};

/// The most processes and threads that a build has at a time; a whole system's scriptlets have some
/// twenty.
pub(super) const MAX_PROCESSES: u32 = 8192;

/// Since this kernel kernel.pid_max belongs to the pid namespace; before, the number is the host's.
const PER_NAMESPACE: (u32, u32) = (6, 14);

/// How often pid 1 counts: two processors make some hundred processes in this time.
const INTERVAL: Duration = Duration::from_millis(100);

/// How it is ensured that there are not more than [`MAX_PROCESSES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProcessLimit {
    /// The kernel: to start one more is an error there.
    Kernel,
    /// Pid 1 counts, last at this time, and ends the build.
    Counted(Instant),
}

impl ProcessLimit {
    /// Pid 1, or who stands in for it, counts.
    pub(super) fn counted() -> Self {
        Self::Counted(Instant::now())
    }

    /// Has the kernel keep the bound where it can. The host's /proc must still be there.
    pub(super) fn set() -> Result<Self> {
        let release = nix::sys::utsname::uname().context("asking for the kernel's release")?;
        if !is_at_least(&release.release().to_string_lossy(), PER_NAMESPACE) {
            return Ok(Self::Counted(Instant::now()));
        }
        // This file speaks of the writer's pid namespace.
        match std::fs::write("/proc/sys/kernel/pid_max", MAX_PROCESSES.to_string()) {
            Ok(()) => Ok(Self::Kernel),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied
                ) =>
            {
                Ok(Self::Counted(Instant::now()))
            }
            Err(error) => Err(error).context("bounding the number of processes"),
        }
    }

    /// How long pid 1 may sleep before it has to count; `None` when it need not.
    pub(super) fn rest(self) -> Option<Duration> {
        match self {
            Self::Kernel => None,
            Self::Counted(last) => Some(INTERVAL.saturating_sub(last.elapsed())),
        }
    }

    /// Counts when it is time to; whether there are too many.
    pub(super) fn is_passed(&mut self) -> bool {
        match self {
            Self::Counted(last) if last.elapsed() >= INTERVAL => {
                let passed = threads() > MAX_PROCESSES;
                *last = Instant::now();
                passed
            }
            Self::Counted(_) | Self::Kernel => false,
        }
    }
}

/// The threads of this process and of all that come from it.
fn threads() -> u32 {
    descendants().iter().fold(1, |count, process| count.saturating_add(process.threads))
}
