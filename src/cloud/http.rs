//! Calls over HTTP: repeated where that is safe, given up when a signal comes, and every failure in plain words.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, SendBody};

use super::answer::Answer;
use super::clouds::Tls;
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::process;

/// How often a call is tried that may be repeated, and the first pause; each pause is twice the one before.
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest that a service's own wish to wait is followed.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(30);
/// A service that says nothing for so long is down.
const SILENCE: Duration = Duration::from_secs(120);
/// After the last byte of an upload a store may still copy or hash.
const AFTER_UPLOAD: Duration = Duration::from_secs(3600);
/// No answer that is read whole is larger.
const LARGEST_ANSWER: u64 = 64 << 20;
/// Where distributions keep the authorities that the host trusts.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// Whether a call may be made twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// A second one does no harm.
    Safe,
    /// Only if the first was never sent.
    Unsent,
}

/// Whether a signal ends a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// At once.
    Heed,
    /// It cleans up, and goes on.
    Ignore,
}

/// One call.
#[derive(Debug, Clone)]
pub struct Call {
    /// `GET`, `POST`, …
    pub method: &'static str,
    /// The path below the service's endpoint, with its query.
    pub path: String,
    /// Headers beside those that every call has.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Whether it may be made twice.
    pub repeat: Repeat,
    /// Whether a signal ends it.
    pub stop: Stop,
}

impl Call {
    /// A call that only reads.
    #[must_use]
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: "GET", path: path.into(), headers: Vec::new(), body: Vec::new(), repeat: Repeat::Safe, stop: Stop::Heed }
    }

    /// A call with a JSON body, which is made once.
    #[must_use]
    pub fn json(method: &'static str, path: impl Into<String>, body: &serde_json::Value) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self { method, path: path.into(), headers, body: body.to_string().into_bytes(), repeat: Repeat::Unsent, stop: Stop::Heed }
    }

    /// A removal: done twice it is still done.
    #[must_use]
    pub fn delete(path: impl Into<String>) -> Self {
        Self { method: "DELETE", ..Self::get(path) }
    }

    /// Adds or replaces a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(n, _)| *n != name);
        self.headers.push((name, value.into()));
        self
    }

    /// Says that it may be made twice.
    #[must_use]
    pub fn repeatable(mut self) -> Self {
        self.repeat = Repeat::Safe;
        self
    }

    /// Says that signals do not end it.
    #[must_use]
    pub fn unstoppable(mut self) -> Self {
        self.stop = Stop::Ignore;
        self
    }
}

/// A body of known length that is streamed, once.
pub struct Upload<'a> {
    /// The path below the service's endpoint.
    pub path: String,
    /// Headers beside those that every call has.
    pub headers: Vec<(&'static str, String)>,
    /// Bytes that the reader gives.
    pub size: u64,
    /// The bytes.
    pub body: &'a mut dyn Read,
}

impl std::fmt::Debug for Upload<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").field("path", &self.path).field("size", &self.size).finish_non_exhaustive()
    }
}

/// Makes calls with one cloud's certificates.
#[derive(Debug)]
pub(super) struct Http {
    tls: TlsConfig,
    agent: Agent,
    /// Not used by calls that a signal ends, so that it still works afterwards.
    cleaner: Agent,
}

impl Http {
    pub(super) fn new(tls: &Tls) -> Result<Self> {
        let tls = tls_config(tls)?;
        Ok(Self { agent: agent(&tls, SILENCE), cleaner: agent(&tls, SILENCE), tls })
    }

    /// Makes the call, more than once where it may and has to be.
    pub(super) fn call(&self, call: &Call, url: &str, headers: &[(&str, &str)], service: &str, who: &str) -> Result<Answer> {
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
            let agent = if call.stop == Stop::Heed { &self.agent } else { &self.cleaner };
            let result = guarded(agent, call.stop, || {
                let mut request = ureq::http::Request::builder().method(call.method).uri(url);
                for (name, value) in headers.iter().copied().chain(call.headers.iter().map(|(n, v)| (*n, v.as_str()))) {
                    request = request.header(name, value);
                }
                receive(agent.run(request.body(call.body.as_slice()).map_err(ureq::Error::Http)?), service, who)
            });
            if call.stop == Stop::Heed {
                process::check_stop()?;
            }
            let wait = match &result {
                Ok(answer) if answer.is(&[429, 500, 502, 503, 504]) && call.repeat == Repeat::Safe => {
                    let asked = answer.header("retry-after").and_then(|s| s.parse().ok()).map(Duration::from_secs);
                    asked.map_or(pause, |asked| asked.clamp(pause, LONGEST_PAUSE))
                }
                Err(error) if call.repeat == Repeat::Safe && is_passing(error) => pause,
                Err(error) if was_never_sent(error) => pause,
                _ => return result.map_err(|error| told(error, url)),
            };
            if attempt >= ATTEMPTS {
                return result.map_err(|error| told(error, url));
            }
            rest(wait, call.stop)?;
            pause *= 2;
            attempt += 1;
        }
    }

    /// Streams a body, once, over a connection of its own.
    pub(super) fn upload(&self, upload: Upload<'_>, url: &str, headers: &[(&str, &str)], service: &str, who: &str) -> Result<Answer> {
        let agent = agent(&self.tls, AFTER_UPLOAD);
        let result = guarded(&agent, Stop::Heed, || {
            let mut request = ureq::http::Request::builder().method("PUT").uri(url).header("content-length", upload.size);
            for (name, value) in headers.iter().copied().chain(upload.headers.iter().map(|(n, v)| (*n, v.as_str()))) {
                request = request.header(name, value);
            }
            let mut body: &mut dyn Read = upload.body;
            let request = request.body(SendBody::from_reader(&mut body)).map_err(ureq::Error::Http)?;
            receive(agent.run(request), service, who)
        });
        process::check_stop()?;
        result.map_err(|error| told(error, url))
    }
}

/// Pauses, in steps short enough for a signal.
fn rest(wait: Duration, stop: Stop) -> Result<()> {
    let step = Duration::from_millis(50);
    let mut left = wait;
    while !left.is_zero() {
        if stop == Stop::Heed {
            process::check_stop()?;
        }
        let now = left.min(step);
        std::thread::sleep(now);
        left -= now;
    }
    Ok(())
}

/// Runs a call, and ends its connections when a signal comes meanwhile.
fn guarded<T>(agent: &Agent, stop: Stop, call: impl FnOnce() -> T) -> T {
    if stop == Stop::Ignore {
        return call();
    }
    std::thread::scope(|scope| {
        let (over, watched) = channel::<()>();
        scope.spawn(move || {
            while watched.recv_timeout(Duration::from_millis(50)) == Err(RecvTimeoutError::Timeout) {
                if process::stop_requested().is_some() {
                    agent.clone().shutdown();
                    return;
                }
            }
        });
        let result = call();
        drop(over);
        result
    })
}

fn receive(
    result: std::result::Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    service: &str,
    who: &str,
) -> std::result::Result<Answer, ureq::Error> {
    let mut response = result?;
    let body = response.body_mut().with_config().limit(LARGEST_ANSWER).read_to_vec()?;
    Ok(Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body,
        service: service.to_owned(),
        who: who.to_owned(),
    })
}

fn agent(tls: &TlsConfig, silence: Duration) -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("osimg/", env!("CARGO_PKG_VERSION")))
        .accept("application/json")
        .tls_config(tls.clone())
        .timeout_connect(Some(CONNECT))
        .timeout_per_write(Some(SILENCE))
        .timeout_recv_response(Some(silence))
        .timeout_recv_body(Some(SILENCE))
        .output_buffer_size(1 << 18)
        .build()
        .into()
}

fn tls_config(tls: &Tls) -> Result<TlsConfig> {
    let mut builder = TlsConfig::builder().disable_verification(tls.insecure);
    let named = std::env::var_os("SSL_CERT_FILE").filter(|v| !v.is_empty());
    let bundle = match (&tls.cacert, named) {
        (Some(path), _) => Some(path.clone()),
        (None, Some(path)) => Some(path.into()),
        (None, None) => BUNDLES.iter().map(Path::new).find(|path| path.is_file()).map(Path::to_owned),
    };
    if let Some(path) = bundle.filter(|_| !tls.insecure) {
        let found: Vec<Certificate<'static>> = pem(&path)?
            .into_iter()
            .filter_map(|item| if let PemItem::Certificate(certificate) = item { Some(certificate) } else { None })
            .collect();
        if found.is_empty() {
            return Err(Failure::new(ExitCode::Recipe, format!("reading {}: there is no certificate in it", path.display()))
                .hint("it takes PEM: lines between BEGIN CERTIFICATE and END CERTIFICATE")
                .into());
        }
        builder = builder.root_certs(RootCerts::Specific(Arc::new(found)));
    }
    if let Some((certificate, key)) = &tls.client {
        let chain: Vec<Certificate<'static>> = pem(certificate)?
            .into_iter()
            .filter_map(|item| if let PemItem::Certificate(certificate) = item { Some(certificate) } else { None })
            .collect();
        let key: PrivateKey<'static> = pem(key)?
            .into_iter()
            .find_map(|item| if let PemItem::PrivateKey(key) = item { Some(key) } else { None })
            .ok_or_else(|| Failure::new(ExitCode::Recipe, format!("reading {}: there is no private key in it", key.display())))?;
        builder = builder.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
    }
    Ok(builder.build())
}

fn pem(path: &Path) -> Result<Vec<PemItem<'static>>> {
    let text = crate::files::read(path, crate::files::TEXT).or_fail(ExitCode::Recipe, format!("reading {}", path.display()))?;
    parse_pem(&text).collect::<std::result::Result<_, _>>().or_fail(ExitCode::Recipe, format!("reading {}", path.display()))
}

/// Whether a failure may be gone a moment later.
fn is_passing(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Io(io) => !is_about_tls(&io.to_string()),
        ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed | ureq::Error::HostNotFound | ureq::Error::Protocol(_) => true,
        _ => false,
    }
}

/// Whether not a byte of the call was sent.
fn was_never_sent(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Io(io) => io.kind() == std::io::ErrorKind::ConnectionRefused,
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
        _ => false,
    }
}

fn is_about_tls(text: &str) -> bool {
    text.contains("certificate")
        || text.contains("InvalidContentType")
        || text.contains("corrupt message")
        || text.contains("HandshakeFailure")
}

/// A failed call in plain words.
fn told(error: ureq::Error, url: &str) -> anyhow::Error {
    let doing = format!("calling {}", place(url));
    let text = error.to_string();
    let failure = if text.contains("InvalidContentType") || text.contains("corrupt message") {
        return Failure::new(ExitCode::Registry, format!("{doing}: what answers there speaks no TLS"))
            .hint("that port speaks plain HTTP, or is another service's: look at the address and its port")
            .into();
    } else if text.contains("certificate") {
        Failure::new(ExitCode::Trust, format!("{doing}: its certificate is not trusted"))
            .hint("name the authority that signed it: cacert in clouds.yaml (or OS_CACERT)")
    } else {
        let hint = match &error {
            ureq::Error::HostNotFound => "is the name right, and is the network up?",
            ureq::Error::Timeout(_) => "is the network up, and the service? a firewall may swallow what is sent",
            ureq::Error::Io(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => {
                "nothing listens there: is the service up, and the port right?"
            }
            _ if url.starts_with("http://") => {
                "the connection broke: is the service up? if that port speaks TLS, write https:// in the address"
            }
            _ => "the connection broke: is the service up?",
        };
        Failure::new(ExitCode::Registry, doing).hint(hint)
    };
    failure.because(error).into()
}

/// The scheme, host and port of a URL, and its path without the query.
fn place(url: &str) -> &str {
    url.split('?').next().unwrap_or(url)
}
