//! Trying again what a network may have spoilt: dnf itself gives up after three refusals within a second.

use std::fmt;
use std::time::Duration;

use super::Job;
use super::bounds::Passed;
use crate::error::{ExitCode, Result, exit_code};
use crate::recipe::RepositorySource;

/// How often a phase that uses the network is tried in all.
const ATTEMPTS: u32 = 4;
/// A server that asks for more than this is not waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// A busy server's wish, as its `Retry-After` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RetryAfter(pub Duration);

impl fmt::Display for RetryAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server asks to be left alone for {} s", self.0.as_secs())
    }
}

impl std::error::Error for RetryAfter {}

/// What may mend a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cure {
    /// Nothing that we can do.
    None,
    /// Metadata that were replaced while they were read: reading them again, once.
    Refresh,
    /// Time.
    Wait(Duration),
}

/// Runs `work` until it is done, or until nothing is left to hope for; `fetches` when it uses a network whatever the repositories are.
pub(super) fn persist<T>(job: &Job<'_>, fetches: bool, mut work: impl FnMut() -> Result<T>) -> Result<T> {
    let remote = fetches || job.settings.repositories.is_empty() || job.settings.repositories.iter().any(|r| is_remote(&r.source));
    let (mut attempt, mut refreshed) = (1, false);
    loop {
        let error = match work() {
            Ok(done) => return Ok(done),
            Err(error) if !remote || attempt >= ATTEMPTS => return Err(error),
            Err(error) => error,
        };
        match cure(&error, attempt) {
            Cure::Refresh if !refreshed => {
                job.report.note(&format!("{error:#}; the repository may have changed meanwhile: asking it anew"));
                refreshed = true;
            }
            Cure::Wait(pause) => {
                job.report.note(&format!("{error:#}; trying again in {} s ({attempt} of {ATTEMPTS})", pause.as_secs()));
                crate::process::pause(pause)?;
                attempt += 1;
            }
            Cure::Refresh | Cure::None => return Err(error),
        }
    }
}

/// What may mend the failure of that attempt.
fn cure(error: &anyhow::Error, attempt: u32) -> Cure {
    let said = format!("{error:#}");
    if exit_code(error) != ExitCode::Repository || error.chain().any(|cause| cause.is::<Passed>()) {
        return Cure::None;
    }
    let status = |codes: &[&str]| codes.iter().any(|code| said.contains(&format!("Status code: {code}")));
    // The server knows the client well and says no, or is not who it should be.
    if status(&["401", "403", "407"]) || said.contains("Curl error (60)") {
        return Cure::None;
    }
    if status(&["404", "410"]) {
        // Without an index there is no repository; with one, what it names may have been there when it was read.
        return if said.contains("repomd.xml") { Cure::None } else { Cure::Refresh };
    }
    match error.chain().find_map(|cause| cause.downcast_ref::<RetryAfter>()) {
        Some(RetryAfter(asked)) if *asked > LONGEST_PAUSE => Cure::None,
        Some(RetryAfter(asked)) => Cure::Wait((*asked).max(Duration::from_secs(1))),
        None => Cure::Wait(Duration::from_secs(1 << (attempt * 2 - 2))),
    }
}

/// Whether trying again may help: a folder does not come back by itself.
fn is_remote(source: &RepositorySource) -> bool {
    match source {
        RepositorySource::Baseurl(urls) => urls.iter().any(|url| !url.starts_with("file://")),
        RepositorySource::Metalink(_) | RepositorySource::Mirrorlist(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Failure;

    fn failure(text: &str) -> anyhow::Error {
        Failure::new(ExitCode::Repository, text).into()
    }

    #[test]
    fn a_busy_server_gets_the_time_it_asks_for_and_a_silent_one_more_each_time() {
        let busy = "Status code: 503 for http://x/a.rpm";
        assert_eq!(cure(&failure(busy), 1), Cure::Wait(Duration::from_secs(1)));
        assert_eq!(cure(&failure(busy), 3), Cure::Wait(Duration::from_secs(16)));
        let asks = |seconds| Failure::new(ExitCode::Repository, busy).because(RetryAfter(Duration::from_secs(seconds))).into();
        assert_eq!(cure(&asks(7), 1), Cure::Wait(Duration::from_secs(7)));
        assert_eq!(cure(&asks(3600), 1), Cure::None);
    }

    #[test]
    fn a_no_is_a_no_and_what_vanished_is_looked_for_once_more() {
        assert_eq!(cure(&failure("Status code: 403 for http://x/a.rpm"), 1), Cure::None);
        assert_eq!(cure(&failure("Status code: 404 for http://x/repodata/repomd.xml"), 1), Cure::None);
        assert_eq!(cure(&failure("Status code: 404 for http://x/repodata/1-primary.xml.gz"), 1), Cure::Refresh);
        assert_eq!(cure(&failure("Curl error (60): SSL peer certificate was not OK"), 1), Cure::None);
        assert_eq!(cure(&Failure::new(ExitCode::Trust, "no").into(), 1), Cure::None);
    }
}
