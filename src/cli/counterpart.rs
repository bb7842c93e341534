//! The other process of `build --verify-reproducible`: the same command line, by another user if
//! that is possible.

use anyhow::Context;
use nix::sys::signal::Signal;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::error::{ExitCode, Failure, Result};
use crate::process;
use crate::report::Report;
use crate::sandbox::drop_host_privileges;

/// The pause between two checks of the child and of signals.
const PAUSE: Duration = Duration::from_millis(50);
/// The user in the child's environment.
const ENVIRONMENT: [(&str, &str); 5] = [
    ("USER", "another"),
    ("LOGNAME", "another"),
    ("SUDO_USER", "another"),
    ("TZ", "Pacific/Kiritimati"),
    ("LC_ALL", "tr_TR.UTF-8"),
];

/// Builds into `directory` in a separate process: a process enters a user namespace as a whole,
/// before its first thread.
///
/// # Errors
/// With the exit code of the other process, which has reported its error.
pub(super) fn run(directory: &Path, report: &Report) -> Result<()> {
    report.note(
        "building once for the comparison: another user, clock, host name and umask, other \
         threads, another kind of workdir",
    );
    let directory = directory.as_os_str().to_owned();
    let words = std::env::args_os().skip(1).flat_map(|word| {
        if word == "--verify-reproducible" {
            vec!["--counterpart".into(), directory.clone()]
        } else {
            vec![word]
        }
    });
    #[expect(clippy::disallowed_methods, reason = "osimg itself, with the caller's own arguments")]
    let mut child = Command::new("/proc/self/exe")
        .args(words)
        .envs(ENVIRONMENT)
        .stdin(Stdio::null())
        // Its result is the file; the second build reports the caller's.
        .stdout(Stdio::null())
        .spawn()
        .context("starting the build for comparison")?;
    let code = wait(&mut child)?;
    if code == Some(0) {
        return Ok(());
    }
    let code = code.and_then(ExitCode::from_number).unwrap_or(ExitCode::Unexpected);
    Err(Failure::new(code, "building once for the comparison: it failed as reported above").into())
}

/// Waits for the child, and sends it SIGTERM on a request to stop; `None` if a signal ended it.
fn wait(child: &mut Child) -> Result<Option<i32>> {
    let mut passed_on = false;
    loop {
        if let Some(status) = child.try_wait().context("waiting for the build for comparison")? {
            process::check_stop()?;
            return Ok(status.code());
        }
        if process::stop_requested().is_some() && !passed_on {
            passed_on = true;
            let pid = i32::try_from(child.id()).context("reading a process id")?;
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM)
                .context("stopping the build for comparison")?;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Makes this process another user's, without privileges over the host. It ends with the process
/// that compares.
///
/// # Errors
/// When the kernel fails in the middle.
pub(super) fn become_another(report: &Report) -> Result<()> {
    if !drop_host_privileges()? {
        report.note(
            "the build for comparison runs as the same user: user namespaces are not available \
             here",
        );
    }
    // After entering the namespace, because a change of ids resets it.
    nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)
        .context("binding the build for comparison to its caller")
}
