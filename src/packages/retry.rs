//! Trying again after failures of a network: dnf itself gives up after three refusals within a
//! second.

use std::fmt;
use std::time::Duration;

use super::Job;
use super::bounds::Passed;
use super::events::ErrorKind;
use crate::error::{Failure, Result};
use crate::recipe::RepositorySource;

/// How often a phase that uses the network is tried in all.
const ATTEMPTS: u32 = 4;
/// A server that asks for more time than this is not waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The pause that a busy server asks for in its `Retry-After`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RetryAfter(pub Duration);

impl fmt::Display for RetryAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server asks to be left alone for {} s", self.0.as_secs())
    }
}

impl std::error::Error for RetryAfter {}

/// A failure, with its kind if a driver reported one.
#[derive(Debug)]
pub(super) struct Setback {
    /// The failure as the user reads it.
    pub error: anyhow::Error,
    /// Its kind.
    pub kind: Option<ErrorKind>,
}

impl From<anyhow::Error> for Setback {
    fn from(error: anyhow::Error) -> Self {
        Self { error, kind: None }
    }
}

impl From<Failure> for Setback {
    fn from(failure: Failure) -> Self {
        Self { error: failure.into(), kind: None }
    }
}

impl From<Setback> for anyhow::Error {
    fn from(setback: Setback) -> Self {
        setback.error
    }
}

/// What may help after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Remedy {
    /// Nothing that we can do.
    None,
    /// Reading the metadata again, once: the repository may have been changed while they were read.
    Refresh,
    /// Time.
    Wait(Duration),
}

/// Runs `work` until it succeeds, or until trying again cannot help. `fetches`: it uses a network
/// even if all repositories are local.
pub(super) fn persist<T>(job: &Job<'_>, fetches: bool, mut work: impl FnMut() -> Result<T, Setback>) -> Result<T, Setback> {
    let remote = fetches || job.settings.repositories.is_empty() || job.settings.repositories.iter().any(|r| is_remote(&r.source));
    let (mut attempt, mut refreshed) = (1, false);
    loop {
        let setback = match work() {
            Ok(done) => return Ok(done),
            Err(setback) if !remote || attempt >= ATTEMPTS => return Err(setback),
            Err(setback) => setback,
        };
        let error = &setback.error;
        match remedy(&setback, attempt) {
            Remedy::Refresh if !refreshed => {
                job.report.note(&format!("{error:#}; the repository may have changed in the meantime: reading it again"));
                refreshed = true;
            }
            Remedy::Wait(pause) => {
                job.report.note(&format!("{error:#}; trying again in {} s ({attempt} of {ATTEMPTS})", pause.as_secs()));
                crate::process::pause(pause)?;
                attempt += 1;
            }
            Remedy::Refresh | Remedy::None => return Err(setback),
        }
    }
}

/// What may help after the failure of that attempt.
fn remedy(setback: &Setback, attempt: u32) -> Remedy {
    if setback.error.chain().any(|cause| cause.is::<Passed>()) {
        return Remedy::None;
    }
    match setback.kind {
        Some(ErrorKind::Gone | ErrorKind::Checksum | ErrorKind::Metadata) => Remedy::Refresh,
        Some(ErrorKind::Network) => match setback.error.chain().find_map(|cause| cause.downcast_ref::<RetryAfter>()) {
            Some(RetryAfter(asked)) if *asked > LONGEST_PAUSE => Remedy::None,
            Some(RetryAfter(asked)) => Remedy::Wait((*asked).max(Duration::from_secs(1))),
            None => Remedy::Wait(Duration::from_secs(1 << (attempt * 2 - 2))),
        },
        _ => Remedy::None,
    }
}

/// Whether trying again may help: a directory does not come back by itself.
fn is_remote(source: &RepositorySource) -> bool {
    match source {
        RepositorySource::Baseurl(urls) => urls.iter().any(|url| !url.starts_with("file://")),
        RepositorySource::Metalink(_) | RepositorySource::Mirrorlist(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ExitCode;

    fn setback(kind: ErrorKind, asks: Option<u64>) -> Setback {
        let failure = Failure::new(ExitCode::Repository, "a.rpm");
        let failure = match asks {
            Some(seconds) => failure.because(RetryAfter(Duration::from_secs(seconds))),
            None => failure,
        };
        Setback { error: failure.into(), kind: Some(kind) }
    }

    #[test]
    fn a_busy_server_gets_the_time_it_asks_for_and_a_silent_one_more_each_time() {
        let busy = |asks| setback(ErrorKind::Network, asks);
        assert_eq!(remedy(&busy(None), 1), Remedy::Wait(Duration::from_secs(1)));
        assert_eq!(remedy(&busy(None), 3), Remedy::Wait(Duration::from_secs(16)));
        assert_eq!(remedy(&busy(Some(7)), 1), Remedy::Wait(Duration::from_secs(7)));
        assert_eq!(remedy(&busy(Some(3600)), 1), Remedy::None);
    }

    #[test]
    fn a_refusal_is_final_and_what_vanished_is_looked_for_once_more() {
        for kind in [ErrorKind::Refused, ErrorKind::NoRepository, ErrorKind::Certificate, ErrorKind::UnsignedMetadata] {
            assert_eq!(remedy(&setback(kind, None), 1), Remedy::None, "{kind:?}");
        }
        for kind in [ErrorKind::Gone, ErrorKind::Checksum, ErrorKind::Metadata] {
            assert_eq!(remedy(&setback(kind, None), 1), Remedy::Refresh, "{kind:?}");
        }
        assert_eq!(remedy(&anyhow::anyhow!("no").into(), 1), Remedy::None);
    }
}
