//! The exit codes.

/// The exit codes of the `osimg` program; they are part of its interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Success.
    Done = 0,
    /// A failure without a more specific code.
    Unexpected = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The recipe or its settings are wrong.
    Recipe = 3,
    /// The host lacks a program, a privilege or a kernel feature.
    Host = 4,
    /// A repository or the network failed.
    Repository = 5,
    /// A signature, key or checksum does not match.
    Trust = 6,
    /// The transaction failed: a dependency, a scriptlet, or the check of the result.
    Transaction = 7,
    /// No space left, or another input/output failure.
    Space = 8,
    /// A registry or Ironic failed.
    Registry = 9,
    /// `verify`, `diff` or `doctor` has findings.
    Findings = 10,
    /// Another build holds the lock.
    Locked = 11,
    /// A time limit was reached.
    TimedOut = 124,
    /// Interrupted by SIGHUP.
    HungUp = 129,
    /// Interrupted by SIGINT.
    Interrupted = 130,
    /// Ended by SIGTERM.
    Terminated = 143,
}

impl ExitCode {
    /// The code with this number, for the exit status of another osimg process.
    #[must_use]
    pub(crate) fn from_number(number: i32) -> Option<Self> {
        use ExitCode::{
            Done, Findings, Host, HungUp, Interrupted, Locked, Recipe, Registry, Repository, Space,
            Terminated, TimedOut, Transaction, Trust, Unexpected, Usage,
        };
        [
            Done,
            Unexpected,
            Usage,
            Recipe,
            Host,
            Repository,
            Trust,
            Transaction,
            Space,
            Registry,
            Findings,
            Locked,
            TimedOut,
            HungUp,
            Interrupted,
            Terminated,
        ]
        .into_iter()
        .find(|code| *code as i32 == number)
    }
}
