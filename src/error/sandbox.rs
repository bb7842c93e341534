//! The exit codes and hints of failures of the sandbox.

use osimg_sandbox::{Error, ErrorKind as K};

use super::code::ExitCode;

/// The exit code of a failure; `None` where only the system's error decides.
pub(super) fn exit_code(error: &Error) -> Option<ExitCode> {
    Some(match error.kind() {
        K::System => return None,
        K::Usage => ExitCode::Usage,
        K::Host | K::Sandbox | K::NotStarted => ExitCode::Host,
        K::Root | K::ProcessLimit | K::TracingLost => ExitCode::Transaction,
        K::UnknownOwner => ExitCode::Recipe,
        K::TimedOut => ExitCode::TimedOut,
        _ => ExitCode::Unexpected,
    })
}

/// How to fix a failure, by osimg's own options where the library knows none.
pub(super) fn hint(error: &Error) -> Option<String> {
    let own = match error.kind() {
        K::Sandbox => Some("run `osimg doctor` to see what this host allows"),
        K::TimedOut => {
            Some("raise it with --timeout or --idle-timeout, or timeout in the settings")
        }
        K::UnknownOwner => Some("a package of the recipe must bring it"),
        K::TracingLost => {
            Some("with subordinate ids nothing needs to be traced: see `osimg doctor`")
        }
        _ => None,
    };
    error.hint().or(own).map(str::to_owned)
}
