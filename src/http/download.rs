//! Downloads of complete files.

use std::io::Read;

use super::call::{Answer, Call, Stop};
use super::client::{Body, Client};
use super::error::Error;
use super::retry::{Retry, is_temporary};
use super::url::WebUrl;
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::process;

/// Reads a small file; `None` if the server reports that it does not exist.
///
/// # Errors
/// If it cannot be fetched completely, or is longer than `limit` bytes.
pub(crate) fn text(client: &Client, url: &WebUrl, limit: u64) -> Result<Option<String>> {
    let mut bytes = Vec::new();
    let take = |part: &[u8], begins| {
        if begins {
            bytes.clear();
        }
        bytes.extend_from_slice(part);
        Ok(())
    };
    if download(client, url, limit, |_, _| {}, take)?.is_none() {
        return Ok(None);
    }
    String::from_utf8(bytes)
        .map(Some)
        .or_fail(ExitCode::Repository, format!("reading {url}: it is not UTF-8"))
}

/// Downloads `url` and returns the number of bytes; `None` if the server reports that it does not
/// exist. Broken connections and temporary server errors are retried. `progress` receives the bytes
/// so far and the total, if known. `take` receives the bytes, and whether they are the first of an
/// attempt.
///
/// # Errors
/// If it cannot be fetched completely, or is longer than `limit` bytes, and the first error of
/// `take`.
pub(crate) fn download(
    client: &Client,
    url: &WebUrl,
    limit: u64,
    mut progress: impl FnMut(u64, u64),
    mut take: impl FnMut(&[u8], bool) -> std::io::Result<()>,
) -> Result<Option<u64>> {
    let doing = format!("fetching {url}");
    let call = Call::get("").header("accept-encoding", "identity");
    let mut retry = Retry::new(Stop::Heed);
    loop {
        process::check_stop()?;
        let (failure, asked) = match client.open(&call, url.as_str(), &[]) {
            Ok((answer, _)) if answer.is(&[404, 410]) => return Ok(None),
            Ok((answer, _)) if answer.status != 200 => {
                let failure = Failure::new(
                    ExitCode::Repository,
                    format!("{doing}: the server answers {}", answer.status_line()),
                );
                if !is_temporary(answer.status) {
                    return Err(failure.into());
                }
                (failure.into(), answer.retry_after())
            }
            Ok((answer, body)) => {
                match receive(&answer, body, limit, &doing, &mut progress, &mut take)? {
                    Ok(bytes) => return Ok(Some(bytes)),
                    Err(failure) => (failure, None),
                }
            }
            Err(error) if error.is_temporary() => {
                (error.failure(ExitCode::Repository, doing.clone()), None)
            }
            Err(error) => return Err(error.failure(ExitCode::Repository, doing)),
        };
        if !retry
            .again(asked)
            .map_err(|error| error.failure(ExitCode::Repository, doing.clone()))?
        {
            return Err(failure.context("giving up after several attempts"));
        }
    }
}

/// Receives a body. The inner error is worth another attempt.
fn receive(
    answer: &Answer,
    mut body: Body,
    limit: u64,
    doing: &str,
    progress: &mut impl FnMut(u64, u64),
    take: &mut impl FnMut(&[u8], bool) -> std::io::Result<()>,
) -> Result<Result<u64>> {
    let too_long = || {
        Failure::new(
            ExitCode::Repository,
            format!("{doing}: it is longer than {limit} bytes, the limit for this kind of file"),
        )
    };
    if let Some(coding) = answer.encoding() {
        return Err(Failure::new(
            ExitCode::Repository,
            format!("{doing}: the server sends it with Content-Encoding {coding:?}"),
        )
        .hint("Anaconda would not decode it: turn compression off for this directory")
        .into());
    }
    let promised = answer.length();
    if promised.is_some_and(|length| length > limit) {
        return Err(too_long().into());
    }
    let mut window = vec![0; 1 << 18];
    let mut done = 0_u64;
    take(&[], true).or_fail(ExitCode::Space, doing.to_owned())?;
    loop {
        let count = match body.read(&mut window) {
            Ok(count) => count,
            Err(error) => {
                let doing = format!("{doing}: the connection broke after {done} bytes");
                return match error.downcast::<Error>() {
                    Ok(error) if error.is_temporary() => {
                        Ok(Err(error.failure(ExitCode::Repository, doing)))
                    }
                    Ok(error) => Err(error.failure(ExitCode::Repository, doing)),
                    Err(error) => Err(error).or_fail(ExitCode::Repository, doing),
                };
            }
        };
        let Some(part) = window.get(..count).filter(|part| !part.is_empty()) else { break };
        done += count as u64;
        if done > limit {
            return Err(too_long().into());
        }
        take(part, false).or_fail(ExitCode::Space, doing.to_owned())?;
        progress(done, promised.unwrap_or(0));
    }
    match promised {
        Some(length) if length != done => {
            let failure = Failure::new(
                ExitCode::Repository,
                format!("{doing}: the connection ended after {done} of {length} bytes"),
            );
            Ok(Err(failure.into()))
        }
        _ => Ok(Ok(done)),
    }
}
