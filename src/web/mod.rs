//! The web as a client sees it: one way to trust servers, and downloads that end whole or not at all.

mod url;

use anyhow::anyhow;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::Duration;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, http};

use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::process;

pub use url::{WebUrl, is_loopback};

/// How long a server may say nothing.
const SILENCE: Duration = Duration::from_secs(60);
/// How often a download is begun.
const ATTEMPTS: u32 = 4;
/// Where distributions keep the authorities that the host trusts.
const BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/ca-bundle.pem"];

/// How an agent follows redirects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redirects {
    /// Up to five.
    Follow,
    /// Not at all: the redirect is the answer.
    Show,
}

/// A client that trusts `ca` (a PEM file) alone; without one what `SSL_CERT_FILE` names, else what the host trusts.
///
/// # Errors
/// When the authorities cannot be read.
pub fn agent(ca: Option<&Path>, redirects: Redirects) -> Result<Agent> {
    let named = ca.map(Path::to_owned).or_else(|| std::env::var_os("SSL_CERT_FILE").filter(|v| !v.is_empty()).map(Into::into));
    let roots = match named {
        Some(path) => authorities(&path)?,
        None => match BUNDLES.iter().map(Path::new).find(|path| path.is_file()) {
            Some(path) => authorities(path)?,
            None => RootCerts::WebPki,
        },
    };
    let config = Agent::config_builder()
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .user_agent(concat!("osimg/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .max_redirects(if redirects == Redirects::Follow { 5 } else { 0 })
        .max_redirects_will_error(redirects == Redirects::Follow)
        .timeout_connect(Some(Duration::from_secs(20)))
        .timeout_per_read(Some(SILENCE))
        .timeout_per_write(Some(SILENCE))
        .build();
    Ok(config.new_agent())
}

fn authorities(path: &Path) -> Result<RootCerts> {
    let doing = || format!("reading the authorities {}", path.display());
    let pem = crate::files::read(path, crate::files::TEXT).or_fail(ExitCode::Host, doing())?;
    let mut certificates: Vec<Certificate<'static>> = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.or_fail(ExitCode::Host, doing())? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(Failure::new(ExitCode::Host, format!("{}: there is no certificate in it", doing())).hint("it must be PEM").into());
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

/// The cause of a failed request in a person's words, with a hint where there is one.
#[must_use]
pub fn explain(error: &ureq::Error) -> (String, Option<&'static str>) {
    let text = error.to_string();
    if text.contains("UnknownIssuer") || text.contains("CaUsedAsEndEntity") {
        return (
            "the server's certificate is signed by nobody we trust".into(),
            Some("name its authority (a PEM file) with --ca-file, or in SSL_CERT_FILE"),
        );
    }
    if text.contains("InvalidContentType") || text.contains("corrupt message") {
        return ("it does not speak TLS".into(), Some("write http:// if it is meant to be plain"));
    }
    if text.contains("lookup address") {
        return ("there is no such host".into(), None);
    }
    if text.contains("Expired") {
        return ("the server's certificate has expired, or this machine's clock is wrong".into(), None);
    }
    if text.contains("NotValidForName") {
        return ("the server's certificate is for another name".into(), None);
    }
    match error {
        ureq::Error::HostNotFound => ("there is no such host".into(), None),
        ureq::Error::TooManyRedirects => ("it redirects in a circle".into(), None),
        ureq::Error::BadUri(_) => ("it redirects to what is no web address".into(), None),
        ureq::Error::RequireHttpsOnly(_) => ("it redirects from https to http".into(), None),
        ureq::Error::Io(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => ("nothing listens there".into(), None),
        _ => (text, None),
    }
}

/// A failure to ask for `url`.
#[must_use]
pub fn failed(doing: &str, error: &ureq::Error) -> anyhow::Error {
    let (why, hint) = explain(error);
    let failure = Failure::new(ExitCode::Repository, format!("{doing}: {why}"));
    match hint {
        Some(hint) => failure.hint(hint).into(),
        None => failure.into(),
    }
}

/// Waits, and looks for a signal meanwhile.
///
/// # Errors
/// When a signal asks to stop.
pub fn pause(time: Duration) -> Result<()> {
    let end = std::time::Instant::now() + time;
    loop {
        process::check_stop()?;
        let left = end.saturating_duration_since(std::time::Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(100)));
    }
}

/// What one attempt came to.
enum Attempt {
    Done(u64),
    /// Worth another.
    Again(anyhow::Error),
}

/// Reads a small file; nothing when the server says that it has none.
///
/// # Errors
/// When it cannot be had, or is longer than `limit` bytes.
pub fn text(agent: &Agent, url: &WebUrl, limit: u64) -> Result<Option<String>> {
    let mut bytes = Vec::new();
    let found = fetch(
        agent,
        url,
        limit,
        |_, _| {},
        |part, begins| {
            if begins {
                bytes.clear();
            }
            bytes.extend_from_slice(part);
            Ok(())
        },
    )?;
    if found.is_none() {
        return Ok(None);
    }
    String::from_utf8(bytes).map(Some).or_fail(ExitCode::Repository, format!("reading {url}: it is not UTF-8"))
}

/// Writes what is at `url` to the file from its beginning, and returns the number of bytes; nothing when the server says that it has none.
/// Broken connections and passing troubles of the server are tried again. `progress` is told the bytes so far and the whole, if known.
///
/// # Errors
/// When it cannot be had whole, or is longer than `limit` bytes.
pub fn download(agent: &Agent, url: &WebUrl, limit: u64, file: &mut File, progress: impl FnMut(u64, u64)) -> Result<Option<u64>> {
    fetch(agent, url, limit, progress, |part, begins| {
        if begins {
            file.set_len(0)?;
            file.rewind()?;
        }
        file.write_all(part)
    })
}

fn fetch(
    agent: &Agent,
    url: &WebUrl,
    limit: u64,
    mut progress: impl FnMut(u64, u64),
    mut take: impl FnMut(&[u8], bool) -> std::io::Result<()>,
) -> Result<Option<u64>> {
    let doing = format!("fetching {url}");
    let mut attempt = 1;
    loop {
        process::check_stop()?;
        // A redirect from https to http would let anybody on the way choose the bytes.
        let request = agent.get(url.as_str()).config().https_only(url.is_https()).build();
        let outcome = match request.header("accept-encoding", "identity").call() {
            Ok(answer) if matches!(answer.status().as_u16(), 404 | 410) => return Ok(None),
            Ok(answer) => receive(answer, limit, &doing, &mut progress, &mut take)?,
            Err(error) => {
                let failure = failed(&doing, &error);
                if !passing(&error) {
                    return Err(failure);
                }
                Attempt::Again(failure)
            }
        };
        match outcome {
            Attempt::Done(bytes) => return Ok(Some(bytes)),
            Attempt::Again(failure) if attempt == ATTEMPTS => {
                return Err(failure.context(format!("giving up after {ATTEMPTS} attempts")));
            }
            Attempt::Again(_) => pause(Duration::from_millis(500 << (attempt - 1)))?,
        }
        attempt += 1;
    }
}

/// Whether another attempt may end better.
fn passing(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Io(io) => !matches!(io.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::ConnectionRefused),
        ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed => true,
        _ => false,
    }
}

fn receive(
    answer: http::Response<Body>,
    limit: u64,
    doing: &str,
    progress: &mut impl FnMut(u64, u64),
    take: &mut impl FnMut(&[u8], bool) -> std::io::Result<()>,
) -> Result<Attempt> {
    let status = answer.status();
    if status != http::StatusCode::OK {
        let failure = Failure::new(ExitCode::Repository, format!("{doing}: the server answers {status}"));
        return match status.as_u16() {
            408 | 425 | 429 | 500 | 502..=504 => Ok(Attempt::Again(failure.into())),
            _ => Err(failure.into()),
        };
    }
    let too_long = || Failure::new(ExitCode::Repository, format!("{doing}: it is longer than {limit} bytes, which nothing of its kind is"));
    if let Some(coding) = answer.headers().get(http::header::CONTENT_ENCODING)
        && coding != "identity"
    {
        return Err(Failure::new(ExitCode::Repository, format!("{doing}: the server sends it with Content-Encoding {coding:?}"))
            .hint("Anaconda would take it as it comes: turn compression off for this folder")
            .into());
    }
    let promised = answer.body().content_length();
    if promised.is_some_and(|length| length > limit) {
        return Err(too_long().into());
    }
    let mut reader = answer.into_body().into_with_config().limit(u64::MAX).reader();
    let mut window = vec![0; 1 << 18];
    let mut done = 0_u64;
    take(&[], true).or_fail(ExitCode::Space, doing.to_owned())?;
    loop {
        process::check_stop()?;
        let count = match reader.read(&mut window) {
            Ok(count) => count,
            Err(error) => {
                let failure = Failure::new(ExitCode::Repository, format!("{doing}: the connection broke after {done} bytes"));
                return Ok(Attempt::Again(failure.because(anyhow!(error)).into()));
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
            let failure = Failure::new(ExitCode::Repository, format!("{doing}: the connection ended after {done} of {length} bytes"));
            Ok(Attempt::Again(failure.into()))
        }
        _ => Ok(Attempt::Done(done)),
    }
}
