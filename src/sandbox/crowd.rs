//! A bound on how many processes and threads a build has at a time; a fork bomb ends there, and the
//! host is none the poorer.
//!
//! A limit on processes does not count for uid 0, and a cgroup would have to be cleaned up. Since
//! Linux 6.14 the kernel keeps a bound for each pid namespace; elsewhere, and where a container
//! does not let us set it, pid 1 counts.

use anyhow::Context;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::Result;

/// The most processes and threads that a build has at a time; a whole system's scriptlets have some
/// twenty.
pub(super) const PROCESSES: u32 = 8192;

/// How often pid 1 counts: two processors make some hundred processes in this time.
const INTERVAL: Duration = Duration::from_millis(100);

/// Who sees to it that there are not more than [`PROCESSES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    /// The kernel: to start one more is an error there.
    Kernel,
    /// Pid 1 counts, last at this time, and ends the build.
    Counted(Instant),
}

impl Bound {
    /// Has the kernel keep the bound where it can. The host's /proc must still be there.
    pub(super) fn set() -> Result<Self> {
        let release = nix::sys::utsname::uname().context("asking for the kernel's release")?;
        // Before, the number is the host's.
        if !per_namespace(&release.release().to_string_lossy()) {
            return Ok(Self::Counted(Instant::now()));
        }
        // This file speaks of the writer's pid namespace.
        match std::fs::write("/proc/sys/kernel/pid_max", PROCESSES.to_string()) {
            Ok(()) => Ok(Self::Kernel),
            Err(error) if matches!(error.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied) => {
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
                let passed = threads(Path::new("/proc")) > PROCESSES;
                *last = Instant::now();
                passed
            }
            Self::Counted(_) | Self::Kernel => false,
        }
    }
}

/// Whether kernel.pid_max belongs to the pid namespace, as it does since Linux 6.14.
fn per_namespace(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    matches!((numbers.next(), numbers.next()), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (6, 14))
}

/// The threads of all processes of this pid namespace; one above the bound when there are more.
fn threads(proc: &Path) -> u32 {
    let Ok(entries) = std::fs::read_dir(proc) else { return 0 };
    let mut count: u32 = 0;
    for entry in entries.flatten().filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit)) {
        // One that ended in the meantime is none.
        count = count.saturating_add(std::fs::read_to_string(entry.path().join("stat")).map_or(0, |stat| threads_of(&stat)));
        if count > PROCESSES {
            break;
        }
    }
    count
}

/// The number of threads in a process's /proc/PID/stat, the field 20 of proc_pid_stat(5): the
/// eighteenth behind the name, which may hold anything.
fn threads_of(stat: &str) -> u32 {
    let field = stat.rsplit_once(')').and_then(|(_, behind)| behind.split_ascii_whitespace().nth(17));
    field.and_then(|field| field.parse().ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::{per_namespace, threads, threads_of};
    use std::path::Path;

    #[test]
    fn the_host_s_number_of_processes_is_never_touched() {
        for (release, ours) in [
            ("6.14.0", true),
            ("6.18.44-fc-v657", true),
            ("7.0-rc1", true),
            ("6.13.9", false),
            ("6.1.0-25-amd64", false),
            ("5.14.0-503.el9", false),
            ("odd", false),
        ] {
            assert_eq!(per_namespace(release), ours, "{release}");
        }
    }

    #[test]
    fn threads_are_counted_whatever_a_process_is_called() {
        let others = threads_of(&std::fs::read_to_string("/proc/self/stat").unwrap());
        let (stop, wait) = std::sync::mpsc::channel::<()>();
        let wait = std::sync::Mutex::new(wait);
        std::thread::scope(|scope| {
            for _ in 0..5 {
                scope.spawn(|| drop(wait.lock().map(|wait| wait.recv())));
            }
            assert!(threads_of(&std::fs::read_to_string("/proc/self/stat").unwrap()) >= others.min(1) + 5);
            assert!(threads(Path::new("/proc")) >= 6);
            drop(stop);
        });
        assert_eq!(threads_of("7 (a) S (b) ) S 1 7 7 0 -1 4194560 90 0 0 0 0 0 0 0 20 0 42 0 99"), 42);
    }
}
