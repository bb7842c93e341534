//! How a run ended, from the messages of its stages.

use super::command::Tail;
use super::owned_file::OwnedFile;
use super::process_limit::MAX_PROCESSES;
use super::status::Status;
use crate::error::{Context, Error, ErrorKind, Result};

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The command's exit status, when it exited.
    pub code: Option<i32>,
    /// The signal that ended it, when one did.
    pub signal: Option<i32>,
    /// Names of processes that it left behind; the sandbox ended them.
    pub strays: Vec<String>,
    /// The files of the install root that do not belong to root, with the last owners that the run
    /// gave them; `None` when it was not traced.
    pub owners: Option<Vec<OwnedFile>>,
}

/// Why the command could not be started; among the sources of such an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct NotStarted {
    /// The exit status that a shell has for this: 127 when there is no such program, else 126.
    pub code: u8,
    cause: String,
}

impl Outcome {
    /// Whether the command exited with 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// `exit status 1` or `signal 9`, for messages.
    #[must_use]
    pub fn describe(&self) -> String {
        match (self.code, self.signal) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "no exit status".into(),
        }
    }

    /// Reads all that the stages reported.
    pub(crate) fn from_reports(reports: &[u8], last_words: &Tail) -> Result<Self> {
        let (mut outcome, mut traced) = (None, None);
        for line in reports.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line).context("reading a report of the sandbox")? {
                Status::Started => {}
                Status::Exited { code, signal, strays } => {
                    outcome = Some(Self { code, signal, strays, owners: None })
                }
                Status::TooManyProcesses => {
                    return Err(Error::new(
                        ErrorKind::ProcessLimit,
                        format!(
                            "more than {MAX_PROCESSES} processes and threads ran in the sandbox \
                             at a time: everything in it was ended"
                        ),
                    )
                    .with_hint("a program in it starts others without end; -v shows what ran"));
                }
                Status::Owners(owners) => traced = Some(owners),
                Status::Lost(why) => {
                    return Err(Error::new(
                        ErrorKind::TracingLost,
                        format!("tracing the processes that own the image's files: {why}"),
                    ));
                }
                Status::NotStarted { program, code, cause } => {
                    return Err(Error::new(
                        ErrorKind::NotStarted,
                        format!("starting {program} in the sandbox"),
                    )
                    .because(NotStarted { code, cause }));
                }
                Status::Failed { doing, cause } => {
                    return Err(Error::new(
                        ErrorKind::Sandbox,
                        format!("making the sandbox: {doing}: {cause}"),
                    ));
                }
            }
        }
        outcome.map(|outcome| Self { owners: traced, ..outcome }).ok_or_else(|| {
            let said = last_words.last(5);
            let tail = if said.trim().is_empty() { String::new() } else { format!(": {said}") };
            Error::new(ErrorKind::Killed, format!("the sandbox ended before its command did{tail}"))
                .with_hint(
                    "something killed it: look for the kernel's out-of-memory killer, or try again",
                )
        })
    }
}
