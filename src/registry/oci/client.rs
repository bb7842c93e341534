//! The calls of the OCI distribution specification 1.1 that publishing takes.
//!
//! On the HTTP client that all of osimg uses. The maintained crate, oci-client 0.18, can stream a
//! blob of known length, but it brings tokio and reqwest into a program that has neither (some 100
//! crates, twice the binary), knows no `DELETE` (so that nothing could be rolled back or pruned),
//! and leaves the logins of docker and podman to a further crate.

mod login;

use serde::Deserialize;
use std::cell::{Cell, RefCell};
use std::io::Read;

use super::credentials::Credentials;
use super::reference::Repository;
use crate::error::{ExitCode, Failure, Result};
use crate::http::{self, Answer, Call, Retry, Stop, Upload, is_loopback, is_temporary};
use crate::{percent, process};

/// One repository of a registry.
pub(super) struct Client {
    http: http::Client,
    /// Scheme and host, without a slash at the end.
    base: String,
    repository: Repository,
    credentials: Option<Credentials>,
    /// The `Authorization` header that the registry took last.
    authorization: RefCell<Option<String>>,
    /// Whether a signal ends what is under way; not while something is being undone.
    stop: Cell<Stop>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("base", &self.base)
            .field("repository", &self.repository)
            .finish_non_exhaustive()
    }
}

/// The registry's own message, as far as it can be shown.
pub(super) fn message(answer: &Answer) -> String {
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
    let text = match serde_json::from_slice::<Errors>(&answer.body) {
        Ok(Errors { errors }) => errors
            .iter()
            .map(|e| format!("{} ({})", e.message, e.code))
            .collect::<Vec<_>>()
            .join(", "),
        Err(_) => String::new(),
    };
    let shown: String = text.chars().filter(|c| !c.is_control()).take(300).collect();
    let status = answer.status_line();
    if shown.is_empty() { status } else { format!("{status}: {shown}") }
}

/// A blob to send.
pub(super) struct Blob<'a> {
    /// Its description, for messages.
    pub what: &'a str,
    /// `sha256:HEX`.
    pub digest: &'a str,
    /// Its size in bytes.
    pub size: u64,
}

impl Client {
    /// Finds out how the registry is spoken to, and logs in.
    pub(super) fn connect(
        http: http::Client,
        repository: Repository,
        credentials: Option<Credentials>,
    ) -> Result<Self> {
        let host =
            if repository.host == "docker.io" { "registry-1.docker.io" } else { &repository.host };
        let base = scheme(&http, host)?;
        let client = Self {
            http,
            base,
            repository,
            credentials,
            authorization: RefCell::default(),
            stop: Cell::new(Stop::Heed),
        };
        let answer = client.call(&Call::get("/v2/"), "asking")?;
        match answer.status {
            200 => Ok(client),
            404 => Err(Failure::new(
                ExitCode::Registry,
                format!("asking {}: no OCI registry answers there", client.base),
            )
            .into()),
            _ => Err(client.refused("asking", &answer)),
        }
    }

    /// From now on no signal stops a call: what was made is being removed.
    pub(super) fn ignore_signals(&self) {
        self.stop.set(Stop::Ignore);
    }

    /// From now on a signal stops a call again.
    pub(super) fn heed_signals(&self) {
        self.stop.set(Stop::Heed);
    }

    /// Whether it is spoken to without TLS.
    pub(super) fn is_plain(&self) -> bool {
        self.base.starts_with("http:")
    }

    /// The path of something of the repository.
    pub(super) fn path(&self, rest: &str) -> String {
        format!("/v2/{}/{rest}", self.repository.name)
    }

    /// The failure of a call that was answered with anything but what was hoped for.
    pub(super) fn refused(&self, doing: &str, answer: &Answer) -> anyhow::Error {
        let failure = Failure::new(
            ExitCode::Registry,
            format!("{doing} {}: the registry answers {}", self.repository, message(answer)),
        );
        let host = &self.repository.host;
        match answer.status {
            401 if self.credentials.is_none() => failure.hint(format!(
                "log in first: podman login {host}, docker login {host} or skopeo login {host}"
            )),
            401 => failure.hint(format!(
                "the login is wrong or has expired: log in again, podman login {host}"
            )),
            403 => failure.hint(
                "the login is right, but may not do this: ask for the right to push to this \
                 repository",
            ),
            405 => failure.hint(
                "the registry is set up to delete nothing (storage.delete.enabled of \
                 docker-registry)",
            ),
            413 => failure.hint(
                "a proxy before the registry limits uploads: raise its limit \
                 (client_max_body_size of nginx)",
            ),
            507 => failure.hint("the registry's disk is full, or its quota used up"),
            _ => failure,
        }
        .into()
    }

    /// One call with a small body. Calls that nothing is lost by repeating are repeated when the
    /// connection breaks.
    pub(super) fn call(&self, call: &Call, doing: &str) -> Result<Answer> {
        let doing = format!("{doing} {}", self.repository);
        let call = call.clone().stop(self.stop.get());
        let url = self.absolute(&call.path)?;
        let answer = self.send(&call, &url).map_err(|error| failed(error, &doing))?;
        if answer.status == 401 && self.log_in(&answer, &doing)? {
            return self.send(&call, &url).map_err(|error| failed(error, &doing));
        }
        Ok(answer)
    }

    /// Sends a blob from what `open` gives, in one piece of known length; it may be opened again
    /// after a broken connection. The registry compares what arrived with the digest, and keeps
    /// nothing that differs.
    pub(super) fn upload<R: Read>(
        &self,
        blob: &Blob<'_>,
        open: impl Fn() -> Result<R>,
    ) -> Result<()> {
        let doing = format!("sending {} to", blob.what);
        let whole = format!("{doing} {}", self.repository);
        let mut retry = Retry::new(self.stop.get());
        loop {
            process::check_stop()?;
            let begun = self.call(&Call::send("POST", self.path("blobs/uploads/"), []), &doing)?;
            if begun.status != 202 {
                return Err(self.refused(&doing, &begun));
            }
            let session = self.absolute(begun.header("location").unwrap_or_default())?;
            let digest = percent::encoded(blob.digest, percent::UNRESERVED);
            let url = format!(
                "{session}{}digest={digest}",
                if session.contains('?') { '&' } else { '?' }
            );
            let mut body = open().inspect_err(|_| self.abandon(&session))?;
            let headers = vec![("content-type", "application/octet-stream".to_owned())];
            let upload = Upload { path: String::new(), headers, size: blob.size, body: &mut body };
            let login = self.authorization.borrow().clone();
            let failure =
                match self.http.upload(upload, &url, &self.headers(login.as_deref(), &url)) {
                    Ok(answer) if answer.status == 201 => {
                        return match answer.header("docker-content-digest") {
                            Some(digest) if digest != blob.digest => Err(Failure::new(
                                ExitCode::Trust,
                                format!("{whole}: it arrived as {digest}, not as {}", blob.digest),
                            )
                            .into()),
                            _ => Ok(()),
                        };
                    }
                    Ok(answer) => {
                        let failure = self.refused(&doing, &answer);
                        if !answer.is(&[401, 404]) && !is_temporary(answer.status) {
                            self.abandon(&session);
                            return Err(failure);
                        }
                        if answer.status == 401 {
                            self.log_in(&answer, &doing)?;
                        }
                        failure
                    }
                    Err(error) => {
                        let passing = error.is_temporary();
                        let failure = failed(error, &whole);
                        if !passing {
                            self.abandon(&session);
                            return Err(failure);
                        }
                        failure
                    }
                };
            self.abandon(&session);
            if !retry.again(None).map_err(|error| failed(error, &whole))? {
                return Err(failure.context("giving up after several attempts"));
            }
        }
    }

    /// Cancels an upload that failed. A registry removes other unfinished uploads too, but only
    /// later.
    fn abandon(&self, session: &str) {
        let login = self.authorization.borrow().clone();
        let call = Call::delete("").stop(Stop::Ignore);
        let _ = self.http.open(&call, session, &self.headers(login.as_deref(), session));
    }

    fn send(&self, call: &Call, url: &str) -> Result<Answer, http::Error> {
        let login = self.authorization.borrow().clone();
        self.http.call(call, url, &self.headers(login.as_deref(), url))
    }

    /// A registry may send uploads elsewhere, with a signature in the URL: the login is not for
    /// there.
    fn headers<'a>(&self, login: Option<&'a str>, url: &str) -> Vec<(&'static str, &'a str)> {
        login
            .filter(|_| self.is_own(url))
            .map(|login| ("authorization", login))
            .into_iter()
            .collect()
    }

    fn is_own(&self, url: &str) -> bool {
        url.strip_prefix(&self.base).is_some_and(|rest| rest.starts_with('/'))
    }

    /// A path, or the place that a registry sent us to, as a URL that we go to.
    fn absolute(&self, location: &str) -> Result<String> {
        let refuse = |why: &str| {
            Failure::new(
                ExitCode::Registry,
                format!("sending to {}: the registry sends us {why}", self.repository),
            )
            .hint(
                "is it behind a proxy that does not forward its address? set X-Forwarded-Proto \
                 and Host there, or http.host in its configuration",
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
fn scheme(http: &http::Client, host: &str) -> Result<String> {
    let secure = format!("https://{host}");
    if !is_loopback(host) {
        return Ok(secure);
    }
    match http.open(&Call::get(""), &format!("{secure}/v2/"), &[]) {
        Ok(_) => Ok(secure),
        // It does speak TLS, and is not trusted; or a signal came.
        Err(error) if error.is_trust_error() || process::stop_requested().is_some() => {
            Err(failed(error, &format!("asking {host}")))
        }
        Err(_) => Ok(format!("http://{host}")),
    }
}

pub(super) fn failed(error: http::Error, doing: &str) -> anyhow::Error {
    error.failure(ExitCode::Registry, doing)
}
