//! A tarball on a server: how it answers Anaconda's questions, and its bytes as a stream.

use std::cell::Cell;
use std::io::{self, Read};

use crate::error::{ExitCode, Result};
use crate::http::{Body, Call, Client, Error, Redirects, Trust, shown};

/// The answers of a server about a tarball.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) url: String,
    /// The status of a HEAD, redirections not followed, as Anaconda asks.
    pub(super) head: u16,
    pub(super) length: Option<u64>,
    pub(super) encoding: Option<String>,
    /// The status of a GET, unless it is a success.
    pub(super) refused: Option<u16>,
}

/// Asks as Anaconda does, and begins to read; nothing to read when the server refuses.
pub(super) fn open(url: &str, trust: &Trust) -> Result<(Answer, Option<Body>)> {
    let failed =
        |error: Error| error.failure(ExitCode::Repository, format!("asking for {}", shown(url)));
    let client = Client::new(trust, Redirects::Show)?;
    let (strict, _) = client.open(&Call::head(""), url, &[]).map_err(failed)?;
    let mut answer = Answer {
        url: url.to_owned(),
        head: strict.status,
        length: strict.length(),
        encoding: strict.encoding().map(str::to_owned),
        refused: None,
    };
    let (response, body) =
        client.with(Redirects::Follow).open(&Call::get(""), url, &[]).map_err(failed)?;
    if !(200..300).contains(&response.status) {
        answer.refused = Some(response.status);
        return Ok((answer, None));
    }
    Ok((answer, Some(body)))
}

/// A body whose failure is kept: who reads it may take it for something else.
pub(super) struct Watched<'a> {
    pub(super) body: Body,
    pub(super) trouble: &'a Cell<Option<Error>>,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.body.read(buffer).map_err(|error| match error.downcast::<Error>() {
            Ok(error) => {
                self.trouble.set(Some(error));
                io::Error::other("the connection broke")
            }
            Err(error) => error,
        })
    }
}
