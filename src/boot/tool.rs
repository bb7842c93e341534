//! Programs of the host that must work on mounted disks, where the sandbox's nine capabilities do
//! not do: mkfs, mount, tar.

use anyhow::Context;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::Read;
use std::os::fd::AsFd;
use std::process::Stdio;

use crate::error::{ExitCode, Failure, Result};
use crate::process::{self, CommandLine, find_program};
use crate::report::Report;

/// The most that is kept of what a tool says.
const SAID_LIMIT: usize = 256 << 10;

/// How a tool ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    /// Its exit status; `None` when a signal ended it.
    pub status: Option<i32>,
    /// Its lines on stderr.
    pub said: Vec<String>,
}

/// Runs a tool to its end; the kernel ends it with us, and a stop request does too.
///
/// # Errors
/// When it is missing ([`ExitCode::Host`], with `package` in the hint), or a signal asked us to
/// stop. A tool that fails is no error here.
pub(super) fn run(argv: &[&str], package: &str, report: &Report) -> Result<Ended> {
    let name = argv.first().copied().unwrap_or_default();
    let missing = || {
        Failure::new(ExitCode::Host, format!("starting {name}: it is not installed"))
            .hint(format!("install it: apt-get install {package}   (or: dnf install {package})"))
    };
    let program = find_program(name).ok_or_else(missing)?;
    let line = CommandLine::new(argv.iter().copied());
    report.command(&line.quoted());
    #[expect(clippy::disallowed_methods, reason = "the one place of boot that runs programs outside of the sandbox")]
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
    let said = child.stderr.take().context("reading what a tool says").and_then(listen);
    if said.is_err() {
        // It is the reason for the failure that is told, not how the tool took it.
        let _ = child.kill();
    }
    let status = child.wait().with_context(|| format!("waiting for {name}"))?;
    let said: Vec<String> = String::from_utf8_lossy(&said?).lines().map(str::to_owned).collect();
    for line in &said {
        report.output(line);
    }
    Ok(Ended { status: status.code(), said })
}

/// Runs a tool that has to succeed.
///
/// # Errors
/// As [`run`], and [`ExitCode::Host`] with its last words when it fails.
pub(super) fn must(argv: &[&str], package: &str, report: &Report) -> Result<()> {
    let ended = run(argv, package, report)?;
    if ended.status == Some(0) {
        return Ok(());
    }
    let line = CommandLine::new(argv.iter().copied()).quoted();
    let words = ended.said.get(ended.said.len().saturating_sub(5)..).unwrap_or_default().join("; ");
    Err(Failure::new(ExitCode::Host, format!("running `{line}`: {words}")).into())
}

/// Everything up to the end of the pipe, within [`SAID_LIMIT`]; a stop request ends the wait.
fn listen(mut pipe: std::process::ChildStderr) -> Result<Vec<u8>> {
    let mut said = Vec::new();
    let mut buffer = [0u8; 8192];
    loop {
        process::check_stop()?;
        let ready = poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], PollTimeout::from(500u16));
        match ready {
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error).context("listening to a tool"),
        }
        match pipe.read(&mut buffer).context("listening to a tool")? {
            0 => return Ok(said),
            count => {
                let room = SAID_LIMIT.saturating_sub(said.len()).min(count);
                said.extend_from_slice(buffer.get(..room).unwrap_or_default());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_tool_is_reported_with_its_status_and_words() {
        let ended = run(&["ls", "/nonexistent"], "coreutils", &Report::silent()).expect("ls runs");
        assert_eq!(ended.status, Some(2));
        assert!(ended.said.iter().any(|line| line.contains("No such file")), "{:?}", ended.said);
    }

    #[test]
    fn a_missing_tool_is_the_hosts_lack() {
        let error = run(&["no-such-tool"], "nothing", &Report::silent()).expect_err("missing");
        assert_eq!(crate::error::exit_code(&error), ExitCode::Host);
    }
}
