//! The calls of the OCI distribution specification 1.1 that publishing takes.
//!
//! Of our own, on the HTTP client that the other registries use. The maintained crate, oci-client 0.18, can stream a blob of known length,
//! but it brings tokio and reqwest into a program that has neither (some 100 crates, twice the binary), knows no `DELETE` (so that nothing
//! could be rolled back or pruned), and leaves the logins of docker and podman to a further crate.

mod login;

use serde::Deserialize;
use std::cell::{Cell, RefCell};
use std::io::Read;
use std::time::Duration;
use ureq::http::{self, HeaderMap, Method, StatusCode, header};
use ureq::{Agent, SendBody};

use super::credentials::Credentials;
use super::reference::Repository;
use crate::error::{ExitCode, Failure, Result};
use crate::process;
use crate::web;

/// The specification's advice for manifests; lists of tags are shorter.
const LONGEST_ANSWER: u64 = 4 << 20;
/// How often a call or an upload is begun.
const ATTEMPTS: u32 = 3;

/// One repository of a registry.
pub(super) struct Client {
    agent: Agent,
    /// Scheme and host, without a slash at the end.
    base: String,
    repository: Repository,
    credentials: Option<Credentials>,
    /// The `Authorization` header that the registry took last.
    authorization: RefCell<Option<String>>,
    /// Whether a signal ends what is under way; not while something is being undone.
    heeds_signals: Cell<bool>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("base", &self.base).field("repository", &self.repository).finish_non_exhaustive()
    }
}

/// A registry's answer, its body read.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The registry's own words, as far as they can be shown.
    pub fn said(&self) -> String {
        #[derive(Deserialize)]
        struct Errors {
            errors: Vec<One>,
        }
        #[derive(Deserialize)]
        struct One {
            #[serde(default)]
            code: String,
            #[serde(default)]
            message: String,
        }
        let text = match serde_json::from_slice::<Errors>(&self.body) {
            Ok(Errors { errors }) => errors.iter().map(|e| format!("{} ({})", e.message, e.code)).collect::<Vec<_>>().join(", "),
            Err(_) => String::new(),
        };
        let shown: String = text.chars().filter(|c| !c.is_control()).take(300).collect();
        if shown.is_empty() { self.status.to_string() } else { format!("{}: {shown}", self.status) }
    }
}

/// What is sent as a blob.
pub(super) struct Blob<'a> {
    /// What it is, for people.
    pub what: &'a str,
    /// `sha256:HEX`.
    pub digest: &'a str,
    /// Its size in bytes.
    pub size: u64,
}

impl Client {
    /// Finds out how the registry is spoken to, and logs in.
    pub fn connect(agent: Agent, repository: Repository, credentials: Option<Credentials>) -> Result<Self> {
        let host = if repository.host == "docker.io" { "registry-1.docker.io" } else { &repository.host };
        let base = scheme(&agent, host)?;
        let client = Self { agent, base, repository, credentials, authorization: RefCell::default(), heeds_signals: Cell::new(true) };
        let answer = client.call(&Method::GET, "/v2/", &[], &[], "asking")?;
        match answer.status {
            StatusCode::OK => Ok(client),
            StatusCode::NOT_FOUND => {
                Err(Failure::new(ExitCode::Registry, format!("asking {}: no OCI registry answers there", client.base)).into())
            }
            _ => Err(client.refused("asking", &answer)),
        }
    }

    /// From now on no signal stops a call: what was made is being removed.
    pub fn see_it_through(&self) {
        self.heeds_signals.set(false);
    }

    fn check_stop(&self) -> Result<()> {
        if self.heeds_signals.get() { process::check_stop() } else { Ok(()) }
    }

    fn pause(&self, attempt: u32) -> Result<()> {
        let time = Duration::from_millis(500 << (attempt - 1));
        if self.heeds_signals.get() {
            return web::pause(time);
        }
        std::thread::sleep(time);
        Ok(())
    }

    /// Whether it is spoken to without TLS.
    pub fn is_plain(&self) -> bool {
        self.base.starts_with("http:")
    }

    /// The path of something of the repository.
    pub fn path(&self, rest: &str) -> String {
        format!("/v2/{}/{rest}", self.repository.name)
    }

    /// The failure of a call that was answered with anything but what was hoped for.
    pub fn refused(&self, doing: &str, answer: &Answer) -> anyhow::Error {
        let failure = Failure::new(ExitCode::Registry, format!("{doing} {}: the registry answers {}", self.repository, answer.said()));
        let host = &self.repository.host;
        match answer.status.as_u16() {
            401 if self.credentials.is_none() => {
                failure.hint(format!("log in first: podman login {host}, docker login {host} or skopeo login {host}"))
            }
            401 => failure.hint(format!("the login is wrong or has expired: log in again, podman login {host}")),
            403 => failure.hint("the login is right, but may not do this: ask for the right to push to this repository"),
            405 => failure.hint("the registry is set up to delete nothing (storage.delete.enabled of docker-registry)"),
            413 => failure.hint("a proxy before the registry limits uploads: raise its limit (client_max_body_size of nginx)"),
            507 => failure.hint("the registry's disk is full, or its quota used up"),
            _ => failure,
        }
        .into()
    }

    /// One call with a small body. Calls that nothing is lost by repeating are repeated when the connection breaks.
    pub fn call(&self, method: &Method, path: &str, headers: &[(&str, &str)], body: &[u8], doing: &str) -> Result<Answer> {
        let url = self.absolute(path)?;
        let doing = format!("{doing} {}", self.repository);
        let repeatable = *method != Method::POST;
        let mut attempt = 1;
        loop {
            self.check_stop()?;
            let sent = self.send(method, &url, headers, &mut &*body, body.len() as u64);
            let trouble = match sent {
                Ok(answer) if answer.status == StatusCode::UNAUTHORIZED && self.log_in(&answer, &doing)? => {
                    let again = self.send(method, &url, headers, &mut &*body, body.len() as u64);
                    return again.map_err(|error| failed(&doing, &error));
                }
                Ok(answer) if repeatable && matches!(answer.status.as_u16(), 429 | 500 | 502..=504) && attempt < ATTEMPTS => None,
                Ok(answer) => return Ok(answer),
                Err(error) => Some(error),
            };
            if let Some(error) = trouble
                && !(repeatable && attempt < ATTEMPTS && is_passing(&error))
            {
                return Err(failed(&doing, &error));
            }
            self.pause(attempt)?;
            attempt += 1;
        }
    }

    /// Sends a blob from what `open` gives, in one piece of known length; it may be opened again after a broken connection. The registry
    /// compares what arrived with the digest, and keeps nothing that differs.
    pub fn upload<R: Read>(&self, blob: &Blob<'_>, open: impl Fn() -> Result<R>) -> Result<()> {
        let doing = format!("sending {} to", blob.what);
        let mut attempt = 1;
        loop {
            self.check_stop()?;
            let begun = self.call(&Method::POST, &self.path("blobs/uploads/"), &[], &[], &doing)?;
            if begun.status != StatusCode::ACCEPTED {
                return Err(self.refused(&doing, &begun));
            }
            let location = begun.header("location").unwrap_or_default();
            let session = self.absolute(location)?;
            let url = format!("{session}{}digest={}", if session.contains('?') { '&' } else { '?' }, blob.digest.replace(':', "%3A"));
            let mut reader = Stoppable(open().inspect_err(|_| self.abandon(&session))?);
            let headers = [("content-type", "application/octet-stream")];
            let failure = match self.send(&Method::PUT, &url, &headers, &mut reader, blob.size) {
                Ok(answer) if answer.status == StatusCode::CREATED => {
                    return match answer.header("docker-content-digest") {
                        Some(digest) if digest != blob.digest => Err(Failure::new(
                            ExitCode::Trust,
                            format!("{doing} {}: it arrived as {digest}, not as {}", self.repository, blob.digest),
                        )
                        .into()),
                        _ => Ok(()),
                    };
                }
                Ok(answer) => {
                    let failure = self.refused(&doing, &answer);
                    if !matches!(answer.status.as_u16(), 401 | 404 | 408 | 429 | 500 | 502..=504) {
                        self.abandon(&session);
                        return Err(failure);
                    }
                    if answer.status == StatusCode::UNAUTHORIZED {
                        self.log_in(&answer, &doing)?;
                    }
                    failure
                }
                Err(error) => {
                    let passing = is_passing(&error);
                    let failure = failed(&format!("{doing} {}", self.repository), &error);
                    if process::stop_requested().is_some() || !passing {
                        self.abandon(&session);
                        process::check_stop()?;
                        return Err(failure);
                    }
                    failure
                }
            };
            self.abandon(&session);
            if attempt == ATTEMPTS {
                return Err(failure.context(format!("giving up after {ATTEMPTS} attempts")));
            }
            self.pause(attempt)?;
            attempt += 1;
        }
    }

    /// Ends an upload that failed. A registry throws away those that nobody ends, only later.
    fn abandon(&self, session: &str) {
        let _ = self.send(&Method::DELETE, session, &[], &mut std::io::empty(), 0);
    }

    fn send(&self, method: &Method, url: &str, headers: &[(&str, &str)], body: &mut dyn Read, length: u64) -> Result<Answer, ureq::Error> {
        let mut request = http::Request::builder().method(method.clone()).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        // A registry may send uploads elsewhere, with a signature in the URL: the login is not for there.
        if let Some(authorization) = self.authorization.borrow().as_ref().filter(|_| self.is_own(url)) {
            request = request.header(header::AUTHORIZATION, authorization.as_str());
        }
        let answer = if matches!(*method, Method::PUT | Method::POST) {
            self.agent.run(request.header(header::CONTENT_LENGTH, length).body(SendBody::from_reader(body))?)?
        } else {
            self.agent.run(request.body(())?)?
        };
        let (parts, mut body) = answer.into_parts();
        let body = if *method == Method::HEAD { Vec::new() } else { body.with_config().limit(LONGEST_ANSWER).read_to_vec()? };
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    fn is_own(&self, url: &str) -> bool {
        url.strip_prefix(&self.base).is_some_and(|rest| rest.starts_with('/'))
    }

    /// A path, or the place that a registry sent us to, as a URL that we go to.
    fn absolute(&self, location: &str) -> Result<String> {
        let refuse = |why: &str| {
            Failure::new(ExitCode::Registry, format!("sending to {}: the registry sends us {why}", self.repository)).hint(
                "is it behind a proxy that does not tell it so? set X-Forwarded-Proto and Host there, or http.host in its configuration",
            )
        };
        if location.starts_with('/') && !location.starts_with("//") {
            return Ok(format!("{}{location}", self.base));
        }
        match location.split_once("://") {
            Some(("https", _)) => Ok(location.to_owned()),
            Some(("http", _)) if self.is_plain() => Ok(location.to_owned()),
            Some(("http", _)) => Err(refuse("from https to http").into()),
            _ => Err(refuse("nowhere").into()),
        }
    }
}

/// https; on this machine http when nothing there speaks TLS.
fn scheme(agent: &Agent, host: &str) -> Result<String> {
    let secure = format!("https://{host}");
    if !web::is_loopback(host) {
        return Ok(secure);
    }
    match agent.get(format!("{secure}/v2/")).call() {
        Ok(_) => Ok(secure),
        // It does speak TLS, and we do not trust it.
        Err(error) if error.to_string().contains("certificate") => Err(failed(&format!("asking {host}"), &error)),
        Err(_) => Ok(format!("http://{host}")),
    }
}

fn failed(doing: &str, error: &ureq::Error) -> anyhow::Error {
    let (why, hint) = web::explain(error);
    let failure = Failure::new(ExitCode::Registry, format!("{doing}: {why}"));
    match hint {
        Some(hint) => failure.hint(hint).into(),
        None => failure.into(),
    }
}

fn is_passing(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Io(io) => {
            !matches!(io.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::ConnectionRefused)
                && process::stop_requested().is_none()
        }
        ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed | ureq::Error::Protocol(_) => true,
        _ => false,
    }
}

/// Lets a signal end a stream.
struct Stoppable<R>(R);

impl<R: Read> Read for Stoppable<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if process::stop_requested().is_some() {
            // `Interrupted` would be tried again.
            return Err(std::io::Error::other("stopped by a signal"));
        }
        self.0.read(buffer)
    }
}
