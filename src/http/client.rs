//! The client: calls, uploads, and streamed bodies.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;
use ureq::tls::TlsConfig;
use ureq::unversioned::transport::{Connector, RustlsConnector};
use ureq::{Agent, BodyReader, SendBody, http};

use super::call::{Answer, Call, Repeat, Stop, Upload};
use super::error::Error;
use super::proxy::Proxies;
use super::retry::{Retry, is_temporary};
use super::transport::{CONNECT, Connections, Halt, Names, Timeouts};
use super::trust::Trust;
use crate::error::{ExitCode, Failure, Result};
use crate::process;

/// How long a server may be silent. Proxies and OpenStack's own calls time out after a minute and
/// explain why; this limit is longer, so that their answer arrives.
const SILENCE: Duration = Duration::from_secs(90);
/// The environment variable that overrides it, in seconds.
const SILENCE_VARIABLE: &str = "OSIMG_HTTP_TIMEOUT";
/// A multiple of the limit: after the last byte of an upload a store may copy or hash for an hour.
const AFTER_UPLOAD: u32 = 40;
/// The maximum size of an answer that is read completely.
const LARGEST_ANSWER: u64 = 64 << 20;

/// How redirects are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Redirects {
    /// Up to five, and never from https to http, which would let attackers replace the bytes.
    Follow,
    /// Not followed: the redirect is the answer.
    Show,
}

/// Makes calls to servers, with one way to trust them.
#[derive(Clone)]
pub(crate) struct Client {
    tls: TlsConfig,
    redirects: Redirects,
    silence: Duration,
    proxies: Arc<Proxies>,
    /// One agent for calls that a signal ends, and one for calls that continue.
    agents: [Agent; 2],
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("redirects", &self.redirects)
            .field("silence", &self.silence)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client with the proxies of the environment.
    ///
    /// If the authorities cannot be read, or `OSIMG_HTTP_TIMEOUT` is not a number of seconds.
    pub(crate) fn new(trust: &Trust, redirects: Redirects) -> Result<Self> {
        let (tls, silence, proxies) =
            (trust.config()?, silence_limit()?, Arc::new(Proxies::from_environment()));
        let agents = [Stop::Heed, Stop::Ignore]
            .map(|stop| agent(&tls, redirects, stop, silence, silence, &proxies));
        Ok(Self { tls, redirects, silence, proxies, agents })
    }

    /// The same client with a different treatment of redirects.
    #[must_use]
    pub(crate) fn with(&self, redirects: Redirects) -> Self {
        let agents = [Stop::Heed, Stop::Ignore].map(|stop| {
            agent(&self.tls, redirects, stop, self.silence, self.silence, &self.proxies)
        });
        Self { redirects, agents, ..self.clone() }
    }

    /// Makes the call, repeats it if allowed and necessary, and reads the answer.
    ///
    /// # Errors
    /// If there is no answer. A refusal is an answer.
    pub(crate) fn call(
        &self,
        call: &Call,
        url: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer, Error> {
        let mut retry = Retry::new(call.stop);
        loop {
            let result =
                self.open(call, url, headers).and_then(|(answer, body)| read_whole(answer, body));
            let asked = match &result {
                Ok(answer) if is_temporary(answer.status) && call.repeat == Repeat::Safe => {
                    answer.retry_after()
                }
                Err(error)
                    if error.is_unsent()
                        || (error.is_temporary() && call.repeat == Repeat::Safe) =>
                {
                    None
                }
                _ => return result,
            };
            if !retry.again(asked)? {
                return result;
            }
        }
    }

    /// Makes the call once. The body of the answer is left to be read.
    ///
    /// # Errors
    /// If there is no answer.
    pub(crate) fn open(
        &self,
        call: &Call,
        url: &str,
        headers: &[(&str, &str)],
    ) -> Result<(Answer, Body), Error> {
        let [heeding, steady] = &self.agents;
        let agent = if call.stop == Stop::Heed { heeding } else { steady };
        let (mut bytes, size) = (call.body.as_slice(), call.body.len() as u64);
        let has_body = !bytes.is_empty() || matches!(call.method, "PUT" | "POST" | "PATCH");
        let body: Option<(&mut dyn Read, u64)> =
            if has_body { Some((&mut bytes, size)) } else { None };
        self.send(agent, call.method, url, &[headers, &borrowed(&call.headers)].concat(), body)
    }

    /// Streams a body once, over a separate connection, and reads the answer.
    ///
    /// # Errors
    /// If there is no answer, or the body cannot be read.
    pub(crate) fn upload(
        &self,
        upload: Upload<'_>,
        url: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer, Error> {
        let agent = agent(
            &self.tls,
            self.redirects,
            Stop::Heed,
            self.silence * AFTER_UPLOAD,
            self.silence,
            &self.proxies,
        );
        let headers = [headers, &borrowed(&upload.headers)].concat();
        let (answer, body) = self.send(
            &agent,
            "PUT",
            url,
            &headers,
            Some((&mut Interruptible(upload.body), upload.size)),
        )?;
        read_whole(answer, body)
    }

    fn send(
        &self,
        agent: &Agent,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: Option<(&mut dyn Read, u64)>,
    ) -> Result<(Answer, Body), Error> {
        let mut request = http::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let secure = url.starts_with("https://");
        let response = match body {
            Some((mut body, size)) => {
                let request = request
                    .header("content-length", size)
                    .body(SendBody::from_reader(&mut body))
                    .map_err(ureq::Error::Http)?;
                agent.run(agent.configure_request(request).https_only(secure).build())?
            }
            None => agent.run(
                agent
                    .configure_request(request.body(()).map_err(ureq::Error::Http)?)
                    .https_only(secure)
                    .build(),
            )?,
        };
        let (parts, body) = response.into_parts();
        let answer =
            Answer { status: parts.status.as_u16(), headers: parts.headers, body: Vec::new() };
        Ok((answer, Body(body.into_with_config().limit(u64::MAX).reader())))
    }
}

fn borrowed<'a>(headers: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    headers.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

fn read_whole(mut answer: Answer, body: Body) -> Result<Answer, Error> {
    body.0.take(LARGEST_ANSWER + 1).read_to_end(&mut answer.body).map_err(ureq::Error::from)?;
    if answer.body.len() as u64 > LARGEST_ANSWER {
        return Err(ureq::Error::BodyExceedsLimit(LARGEST_ANSWER).into());
    }
    Ok(answer)
}

/// The streamed body of an answer. Its errors are [`Error`]s.
pub(crate) struct Body(BodyReader<'static>);

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0
            .read(buffer)
            .map_err(|error| std::io::Error::other(Error::from(ureq::Error::from(error))))
    }
}

/// A reader that a signal ends.
struct Interruptible<'a>(&'a mut dyn Read);

impl Read for Interruptible<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match process::stop_requested() {
            Some(_) => Err(std::io::Error::other(Halt::Signal)),
            None => self.0.read(buffer),
        }
    }
}

fn agent(
    tls: &TlsConfig,
    redirects: Redirects,
    stop: Stop,
    answer: Duration,
    limit: Duration,
    proxies: &Arc<Proxies>,
) -> Agent {
    let names = Names { timeouts: Timeouts { stop, answer, limit }, proxies: Arc::clone(proxies) };
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(if redirects == Redirects::Follow { 5 } else { 0 })
        .max_redirects_will_error(redirects == Redirects::Follow)
        .user_agent(concat!("osimg/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls.clone())
        // `Connections` handles proxies.
        .proxy(None)
        .timeout_connect(Some(CONNECT.min(limit)))
        .output_buffer_size(1 << 18)
        .build();
    Agent::with_parts(
        config,
        ().chain(Connections(names.clone())).chain(RustlsConnector::default()),
        names,
    )
}

fn silence_limit() -> Result<Duration> {
    let Some(text) = std::env::var(SILENCE_VARIABLE).ok().filter(|text| !text.is_empty()) else {
        return Ok(SILENCE);
    };
    match text.parse::<u32>() {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds.into())),
        _ => {
            let failure = Failure::new(
                ExitCode::Usage,
                format!(
                    "reading {SILENCE_VARIABLE}: expected a whole number of seconds, at least 1"
                ),
            );
            Err(failure
                .hint("it limits how long a server may be silent; the default is 90 seconds")
                .into())
        }
    }
}
