//! A tarball on a server: how it answers Anaconda's questions, and its bytes as a stream.

use std::io::Read;
use std::time::Duration;
use ureq::Agent;

use crate::error::{ExitCode, Result, ResultExt};

/// How long a server may take to answer at all.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a server says of a tarball.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) url: String,
    /// The status of a HEAD, redirections not followed, as Anaconda asks.
    pub(super) head: u16,
    pub(super) length: Option<u64>,
    pub(super) encoding: Option<String>,
    /// The status of a GET, when it is no success.
    pub(super) refused: Option<u16>,
}

/// Whether a tarball's name is an address.
#[must_use]
pub fn is_address(name: &str) -> bool {
    name.starts_with("http://") || name.starts_with("https://")
}

/// Asks as Anaconda does, and begins to read; nothing to read when the server refuses.
pub(super) fn open(url: &str) -> Result<(Answer, Option<impl Read + 'static>)> {
    let asking = || format!("asking for {url}");
    let strict = agent(0).head(url).call().or_fail(ExitCode::Repository, asking())?;
    let header = |name: &str| strict.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut answer = Answer {
        url: url.to_owned(),
        head: strict.status().as_u16(),
        length: header("content-length").and_then(|length| length.parse().ok()),
        encoding: header("content-encoding").filter(|encoding| encoding != "identity"),
        refused: None,
    };
    let response = agent(5).get(url).call().or_fail(ExitCode::Repository, asking())?;
    if !response.status().is_success() {
        answer.refused = Some(response.status().as_u16());
        return Ok((answer, None));
    }
    Ok((answer, Some(response.into_body().into_reader())))
}

fn agent(redirections: u32) -> Agent {
    Agent::config_builder()
        .max_redirects(redirections)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .user_agent(concat!("osimg/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}
