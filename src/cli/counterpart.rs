//! The other process of `build --verify-reproducible`: the same command line by another user, as
//! far as there can be one.

use anyhow::Context;
use nix::sys::signal::Signal;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::error::{ExitCode, Failure, Result};
use crate::process;
use crate::report::Report;
use crate::sandbox::leave_privileges;

/// Between two looks at the child and at what signals ask for.
const PAUSE: Duration = Duration::from_millis(50);
/// Whom the child's environment belongs to.
const ENVIRONMENT: [(&str, &str); 5] =
    [("USER", "another"), ("LOGNAME", "another"), ("SUDO_USER", "another"), ("TZ", "Pacific/Kiritimati"), ("LC_ALL", "tr_TR.UTF-8")];

/// Builds into `directory` by a process of its own: a process enters a user namespace as a whole,
/// before its first thread.
///
/// # Errors
/// With the exit code of the other process, which said itself what is wrong.
pub(super) fn run(directory: &Path, report: &Report) -> Result<()> {
    report.note("building once to compare with: another user, clock, host name and umask, other threads, another kind of workdir");
    let directory = directory.as_os_str().to_owned();
    let words = std::env::args_os()
        .skip(1)
        .flat_map(|word| if word == "--verify-reproducible" { vec!["--counterpart".into(), directory.clone()] } else { vec![word] });
    #[expect(clippy::disallowed_methods, reason = "osimg itself, with the caller's own words")]
    let mut child = Command::new("/proc/self/exe")
        .args(words)
        .envs(ENVIRONMENT)
        .stdin(Stdio::null())
        // Its result is the file; the caller's is told by the other build.
        .stdout(Stdio::null())
        .spawn()
        .context("starting the build to compare with")?;
    let code = wait(&mut child)?;
    if code == Some(0) {
        return Ok(());
    }
    let code = code.and_then(ExitCode::of_number).unwrap_or(ExitCode::Unexpected);
    Err(Failure::new(code, "building once to compare with: it failed as said above").into())
}

/// Waits for the child, which gets SIGTERM when we are to stop; `None` when a signal ended it.
fn wait(child: &mut Child) -> Result<Option<i32>> {
    let mut told = false;
    loop {
        if let Some(status) = child.try_wait().context("waiting for the build to compare with")? {
            process::check_stop()?;
            return Ok(status.code());
        }
        if process::stop_requested().is_some() && !told {
            told = true;
            let pid = i32::try_from(child.id()).context("reading a process id")?;
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM).context("stopping the build to compare with")?;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Makes this process the other user's: it keeps no privilege over the host. Ends with the process
/// that compares.
///
/// # Errors
/// When the kernel began and did not end it.
pub(super) fn become_another(report: &Report) -> Result<()> {
    if !leave_privileges()? {
        report.note("the build to compare with is the same user's: the kernel makes no user namespace here");
    }
    // After the namespace: a change of ids takes it back.
    nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).context("binding the build to compare with to its caller")
}
