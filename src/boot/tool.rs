//! Programs of the host that work on mounted disks: mkfs, mount, tar. The sandbox's nine
//! capabilities are not enough for them.

use anyhow::Context;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::Read;
use std::os::fd::AsFd;
use std::process::Stdio;

use crate::error::{ExitCode, Failure, Result};
use crate::process::{self, CommandLine, find_program};
use crate::report::Report;

/// The maximum size of the kept output.
const OUTPUT_LIMIT: usize = 256 << 10;

/// The result of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ToolResult {
    /// Its exit status; `None` if a signal result it.
    pub status: Option<i32>,
    /// Its lines on stderr.
    pub lines: Vec<String>,
}

/// Runs a tool to its end. It ends if osimg ends or is asked to stop.
///
/// # Errors
/// If it is missing ([`ExitCode::Host`], with `package` in the hint), or a signal asked to stop.
/// A failure of the tool is not an error here.
pub(super) fn run(argv: &[&str], package: &str, report: &Report) -> Result<ToolResult> {
    let name = argv.first().copied().unwrap_or_default();
    let missing = || {
        Failure::new(ExitCode::Host, format!("starting {name}: it is not installed"))
            .hint(format!("install it: apt-get install {package}   (or: dnf install {package})"))
    };
    let program = find_program(name).ok_or_else(missing)?;
    let line = CommandLine::new(argv.iter().copied());
    report.command(&line.quoted());
    #[expect(
        clippy::disallowed_methods,
        reason = "the only place in boot that runs programs outside of the sandbox"
    )]
    let mut child = std::process::Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .arg(program)
        .args(argv.iter().skip(1))
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {name}"))?;
    let output = child.stderr.take().context("reading the output of a tool").and_then(listen);
    if output.is_err() {
        // Report the reason of the failure, not that the tool was killed.
        let _ = child.kill();
    }
    let status = process::wait(&mut child, name)?;
    let lines: Vec<String> = String::from_utf8_lossy(&output?).lines().map(str::to_owned).collect();
    for line in &lines {
        report.output(line);
    }
    Ok(ToolResult { status: status.code(), lines })
}

/// Runs a tool that must succeed.
///
/// # Errors
/// As [`run`], and [`ExitCode::Host`] with its last lines if it fails.
pub(super) fn run_or_fail(argv: &[&str], package: &str, report: &Report) -> Result<()> {
    let result = run(argv, package, report)?;
    if result.status == Some(0) {
        return Ok(());
    }
    let line = CommandLine::new(argv.iter().copied()).quoted();
    let words =
        result.lines.get(result.lines.len().saturating_sub(5)..).unwrap_or_default().join("; ");
    Err(Failure::new(ExitCode::Host, format!("running `{line}`: {words}")).into())
}

/// Everything until the end of the pipe, within the limit; a request to stop ends the wait.
fn listen(mut pipe: std::process::ChildStderr) -> Result<Vec<u8>> {
    let mut output = Vec::new();
    let mut buffer = [0u8; 8192];
    loop {
        process::check_stop()?;
        let ready =
            poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], PollTimeout::from(500u16));
        match ready {
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error).context("reading the output of a tool"),
        }
        match pipe.read(&mut buffer).context("reading the output of a tool")? {
            0 => return Ok(output),
            count => {
                let room = OUTPUT_LIMIT.saturating_sub(output.len()).min(count);
                output.extend_from_slice(buffer.get(..room).unwrap_or_default());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_tool_is_reported_with_its_status_and_output() {
        let result = run(&["ls", "/nonexistent"], "coreutils", &Report::silent()).expect("ls runs");
        assert_eq!(result.status, Some(2));
        assert!(
            result.lines.iter().any(|line| line.contains("No such file")),
            "{:?}",
            result.lines
        );
    }

    #[test]
    fn a_missing_tool_has_the_exit_code_for_the_host() {
        let error = run(&["no-such-tool"], "nothing", &Report::silent()).expect_err("missing");
        assert_eq!(crate::error::exit_code(&error), ExitCode::Host);
    }
}
