//! Retries after network failures. dnf itself gives up after three failures within a second.

use std::fmt;
use std::time::Duration;

use super::Job;
use super::download_limits::LimitExceeded;
use super::events::ErrorKind;
use crate::error::{Failure, Result};
use crate::recipe::RepositorySource;

/// The total number of attempts of a phase that uses the network.
const ATTEMPTS: u32 = 4;
/// The longest wait that a server can request; otherwise the phase fails.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The pause that a busy server requests with `Retry-After`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RetryAfter(pub Duration);

impl fmt::Display for RetryAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server asks clients to wait {} s", self.0.as_secs())
    }
}

impl std::error::Error for RetryAfter {}

/// A failure, with its kind if a driver reported one.
#[derive(Debug)]
pub(super) struct PhaseError {
    /// The failure for the user.
    pub error: anyhow::Error,
    /// Its kind.
    pub kind: Option<ErrorKind>,
}

impl From<anyhow::Error> for PhaseError {
    fn from(error: anyhow::Error) -> Self {
        Self { error, kind: None }
    }
}

impl From<Failure> for PhaseError {
    fn from(failure: Failure) -> Self {
        Self { error: failure.into(), kind: None }
    }
}

impl From<PhaseError> for anyhow::Error {
    fn from(error: PhaseError) -> Self {
        error.error
    }
}

/// What may help after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Remedy {
    /// Nothing.
    None,
    /// Reading the metadata again, once: the repository may have changed in the meantime.
    Refresh,
    /// A pause.
    Wait(Duration),
}

/// Runs `work` until it succeeds, or until another attempt cannot help. `fetches`: it uses a
/// network even if all repositories are local.
pub(super) fn with_retries<T>(
    job: &Job<'_>,
    fetches: bool,
    mut work: impl FnMut() -> Result<T, PhaseError>,
) -> Result<T, PhaseError> {
    let remote = fetches
        || job.settings.repositories.is_empty()
        || job.settings.repositories.iter().any(|r| is_remote(&r.source));
    let (mut attempt, mut refreshed) = (1, false);
    loop {
        let failed = match work() {
            Ok(done) => return Ok(done),
            Err(failed) if !remote || attempt >= ATTEMPTS => return Err(failed),
            Err(failed) => failed,
        };
        let error = &failed.error;
        match remedy(&failed, attempt) {
            Remedy::Refresh if !refreshed => {
                job.report.note(&format!(
                    "{error:#}; the repository may have changed in the meantime: reading it again"
                ));
                refreshed = true;
            }
            Remedy::Wait(pause) => {
                job.report.note(&format!(
                    "{error:#}; trying again in {} s ({attempt} of {ATTEMPTS})",
                    pause.as_secs()
                ));
                crate::process::pause(pause)?;
                attempt += 1;
            }
            Remedy::Refresh | Remedy::None => return Err(failed),
        }
    }
}

/// What may help after the failure of this attempt.
fn remedy(error: &PhaseError, attempt: u32) -> Remedy {
    if error.error.chain().any(|cause| cause.is::<LimitExceeded>()) {
        return Remedy::None;
    }
    match error.kind {
        Some(ErrorKind::Gone | ErrorKind::Checksum | ErrorKind::Metadata) => Remedy::Refresh,
        Some(ErrorKind::Network) => {
            match error.error.chain().find_map(|cause| cause.downcast_ref::<RetryAfter>()) {
                Some(RetryAfter(asked)) if *asked > LONGEST_PAUSE => Remedy::None,
                Some(RetryAfter(asked)) => Remedy::Wait((*asked).max(Duration::from_secs(1))),
                None => Remedy::Wait(Duration::from_secs(1 << (attempt * 2 - 2))),
            }
        }
        _ => Remedy::None,
    }
}

/// Whether another attempt may help: a missing local directory stays missing.
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

    fn error(kind: ErrorKind, asks: Option<u64>) -> PhaseError {
        let failure = Failure::new(ExitCode::Repository, "a.rpm");
        let failure = match asks {
            Some(seconds) => failure.because(RetryAfter(Duration::from_secs(seconds))),
            None => failure,
        };
        PhaseError { error: failure.into(), kind: Some(kind) }
    }

    #[test]
    fn a_busy_server_gets_the_requested_pause_and_a_silent_one_growing_pauses() {
        let busy = |asks| error(ErrorKind::Network, asks);
        assert_eq!(remedy(&busy(None), 1), Remedy::Wait(Duration::from_secs(1)));
        assert_eq!(remedy(&busy(None), 3), Remedy::Wait(Duration::from_secs(16)));
        assert_eq!(remedy(&busy(Some(7)), 1), Remedy::Wait(Duration::from_secs(7)));
        assert_eq!(remedy(&busy(Some(3600)), 1), Remedy::None);
    }

    #[test]
    fn a_refusal_is_final_and_a_missing_file_gets_one_more_attempt() {
        for kind in [
            ErrorKind::Refused,
            ErrorKind::NoRepository,
            ErrorKind::Certificate,
            ErrorKind::UnsignedMetadata,
        ] {
            assert_eq!(remedy(&error(kind, None), 1), Remedy::None, "{kind:?}");
        }
        for kind in [ErrorKind::Gone, ErrorKind::Checksum, ErrorKind::Metadata] {
            assert_eq!(remedy(&error(kind, None), 1), Remedy::Refresh, "{kind:?}");
        }
        assert_eq!(remedy(&anyhow::anyhow!("no").into(), 1), Remedy::None);
    }
}
