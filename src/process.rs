//! Programs of the host, the last lines of their output, and the signals that stop osimg.

mod streams;

use anyhow::Context;
use std::ffi::OsStr;
use std::io::{Read, Seek};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::error::{ExitCode, Failure, Result};

pub use osimg_sandbox::{CommandLine, find_program, quote};
pub(crate) use streams::unwritten;
pub use streams::{Input, Output};

/// Runs a program of the host to its end. Its output is shown only if it fails.
///
/// # Errors
/// [`ExitCode::Host`] if the program is missing. If it fails, the error has the last lines of its
/// output. If a signal asks to stop, the program is ended too.
pub fn run(program: &str, arguments: &[&OsStr]) -> Result<()> {
    let path = find_program(program).ok_or_else(|| {
        Failure::new(ExitCode::Host, format!("{program} is not installed on this host"))
    })?;
    let mut output = tempfile::tempfile().with_context(|| format!("starting {program}"))?;
    #[expect(clippy::disallowed_methods, reason = "the only place that runs host programs")]
    let mut child = std::process::Command::new(path)
        .args(arguments)
        .env_clear()
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(output.try_clone()?)
        .spawn()
        .with_context(|| format!("starting {program}"))?;
    let status = wait(&mut child, program)?;
    check_stop()?;
    if status.success() {
        return Ok(());
    }
    output.rewind()?;
    let mut text = Vec::new();
    output.take(SHOWN_OUTPUT).read_to_end(&mut text)?;
    let tail = String::from_utf8_lossy(&text);
    Err(Failure::new(
        ExitCode::Space,
        format!("{program} ended with {status}: {}", tail.trim_end()),
    )
    .into())
}

/// Waits for the end of a program that osimg has started.
///
/// # Errors
/// If it cannot be waited for. If a signal asks to stop, the program is killed.
pub fn wait(child: &mut Child, program: &str) -> Result<ExitStatus> {
    let waiting = || format!("waiting for {program}");
    loop {
        if let Some(status) = child.try_wait().with_context(waiting)? {
            return Ok(status);
        }
        if let Err(stop) = check_stop() {
            // It may have ended in the meantime.
            let _ = child.kill();
            child.wait().with_context(waiting)?;
            return Err(stop);
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// How often a running program is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The maximum number of bytes of its output that are shown.
const SHOWN_OUTPUT: u64 = 4096;

/// The memory limit in bytes that the control groups (v1 or v2) of this process set; `None` if
/// there is no limit.
#[must_use]
pub(crate) fn memory_limit() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    smallest_limit(&groups, |path| std::fs::read_to_string(path).ok())
}

/// The smallest limit of the groups and their parents; cgroups(7) describes the lines.
fn smallest_limit(groups: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let mut limits = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { continue };
        let places: &[(&str, &str)] = match controllers {
            "" => &[("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/unified", "memory.max")],
            names if names.split(',').any(|name| name == "memory") => {
                &[("/sys/fs/cgroup/memory", "memory.limit_in_bytes")]
            }
            _ => continue,
        };
        for (mount, file) in places {
            for above in Path::new(group.trim_start_matches('/')).ancestors() {
                limits.extend(
                    read(&Path::new(mount).join(above).join(file))
                        .and_then(|text| text.trim().parse::<u64>().ok()),
                );
            }
        }
    }
    // cgroup v1 expresses "no limit" as a number near the largest.
    limits.into_iter().min().filter(|limit| *limit < 1 << 60)
}

/// The last lines that a program printed, within a fixed memory budget and without the secrets that
/// osimg knows.
#[derive(Debug, Clone)]
pub struct Tail(osimg_sandbox::Tail);

impl Tail {
    /// Keeps the last `limit` bytes, in whole lines.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(osimg_sandbox::Tail::new(limit))
    }

    /// Adds a line, with known secrets masked, and drops the oldest lines above the budget.
    pub fn push(&mut self, line: &str) {
        self.0.push(&crate::secrets::concealed(line));
    }

    /// The last `count` lines as one text.
    #[must_use]
    pub fn last(&self, count: usize) -> String {
        self.0.last(count)
    }

    /// Whether nothing was printed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The signals that stop a build, as flags that long loops check.
#[derive(Debug, Default)]
struct Flags {
    interrupt: Arc<AtomicBool>,
    terminate: Arc<AtomicBool>,
    hang_up: Arc<AtomicBool>,
}

static FLAGS: OnceLock<Flags> = OnceLock::new();

/// Who receives an interrupt from the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// osimg: it stops.
    Stop,
    /// The command that osimg runs there, such as an interactive shell. osimg continues.
    Command,
}

/// Turns SIGINT, SIGTERM and SIGHUP into a request to stop. A second SIGINT ends the process
/// immediately. A signal that is already ignored, as under `nohup`, stays ignored.
///
/// # Errors
/// If the handlers cannot be installed.
pub(crate) fn catch_signals(interrupt: Interrupt) -> Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::flag::{register, register_conditional_shutdown};
    let flags = FLAGS.get_or_init(Flags::default);
    let ignored =
        ignored_signals(&std::fs::read_to_string("/proc/self/status").unwrap_or_default());
    let signals =
        [(SIGINT, &flags.interrupt), (SIGTERM, &flags.terminate), (SIGHUP, &flags.hang_up)];
    for (signal, flag) in signals.into_iter().filter(|(signal, _)| ignored >> (signal - 1) & 1 == 0)
    {
        if signal == SIGINT && interrupt == Interrupt::Command {
            // A handler, not SIG_IGN, which the command would inherit.
            register(signal, Arc::default())?;
            continue;
        }
        // Order matters: the shutdown checks the flag before the same signal sets it.
        if signal == SIGINT {
            register_conditional_shutdown(signal, ExitCode::Interrupted as i32, Arc::clone(flag))?;
        }
        register(signal, Arc::clone(flag))?;
    }
    Ok(())
}

/// The signals that a process ignores, one bit each; see proc_pid_status(5).
fn ignored_signals(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// The exit code for a received signal, if any.
#[must_use]
pub(crate) fn stop_requested() -> Option<ExitCode> {
    let flags = FLAGS.get()?;
    if flags.interrupt.load(Ordering::Relaxed) {
        Some(ExitCode::Interrupted)
    } else if flags.terminate.load(Ordering::Relaxed) {
        Some(ExitCode::Terminated)
    } else if flags.hang_up.load(Ordering::Relaxed) {
        Some(ExitCode::HungUp)
    } else {
        None
    }
}

/// Fails if a signal asked to stop.
///
/// # Errors
/// The failure names the signal and carries its exit code.
pub(crate) fn check_stop() -> Result<()> {
    match stop_requested() {
        None => Ok(()),
        Some(code) => Err(stopped(code).into()),
    }
}

/// Waits, unless a signal asks to stop.
///
/// # Errors
/// If a signal asks to stop.
pub fn pause(time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    loop {
        check_stop()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
}

/// The failure for a request to stop.
#[must_use]
pub fn stopped(code: ExitCode) -> Failure {
    let signal = match code {
        ExitCode::Terminated => "SIGTERM",
        ExitCode::HungUp => "SIGHUP",
        _ => "SIGINT",
    };
    Failure::new(code, format!("stopped by {signal}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_limit_of_a_group_and_its_parents_applies() {
        let files = |path: &Path| match path.to_str()? {
            "/sys/fs/cgroup/a/b/memory.max" => Some("max\n".to_owned()),
            "/sys/fs/cgroup/a/memory.max" => Some("1000\n".to_owned()),
            "/sys/fs/cgroup/memory/c/memory.limit_in_bytes" => Some("500\n".to_owned()),
            "/sys/fs/cgroup/memory/memory.limit_in_bytes" => {
                Some("9223372036854771712\n".to_owned())
            }
            _ => None,
        };
        assert_eq!(smallest_limit("0::/a/b\n", files), Some(1000));
        assert_eq!(smallest_limit("3:cpu,memory:/c\n0::/a/b\n", files), Some(500));
        assert_eq!(smallest_limit("3:memory:/\n0::/\n", files), None);
        assert_eq!(smallest_limit("odd\n", files), None);
    }

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        let status = "Name:\tosimg\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n\
            SigCgt:\t0000000000000440\n";
        assert_eq!(ignored_signals(status), 1 << 12 | 1);
        assert_eq!(ignored_signals(""), 0);
    }
}
