//! Explains why a call failed. No message repeats a password or a signature from an address.

use rustls::{AlertDescription, CertificateError, Error as Tls};
use std::fmt;
use std::io::ErrorKind;
use ureq::Error as Cause;

use super::transport::Halt;
use crate::error::{ExitCode, Failure};
use crate::process;

const AUTHORITY: &str = "pass the authority that signed its certificate (a PEM file): --ca-file \
                         or SSL_CERT_FILE; for a cloud, cacert in clouds.yaml";
const PLAIN: &str =
    "that port uses plain HTTP or belongs to another service: check the address and its port";
const BROKE: &str = "the connection broke: is the service running? if the port uses TLS, write \
    https:// in the \
     address";
const SILENT: &str = "are the service and the network up? a firewall may drop packets; \
                      OSIMG_HTTP_TIMEOUT=SECONDS allows a longer wait";
const NO_LISTENER: &str = "is the service running, and is the port correct?";
const NO_HOST: &str = "is the host name correct, and is the network up?";
const PROXY: &str = "check http_proxy, https_proxy and no_proxy";

/// How a failure affects the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A signal asked to stop.
    Stopped,
    /// The server is not trusted.
    Trust,
    /// No byte was sent.
    Unsent,
    /// It may be temporary.
    Temporary,
    /// It is permanent.
    Permanent,
}

/// A call that got no answer, or an incomplete one.
#[derive(Debug)]
pub(crate) struct Error {
    kind: Kind,
    why: String,
    hint: Option<&'static str>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Error {}

impl Error {
    fn new(kind: Kind, why: impl Into<String>, hint: Option<&'static str>) -> Self {
        Self { kind, why: why.into(), hint }
    }

    pub(super) fn stopped() -> Self {
        Self::new(Kind::Stopped, Halt::Signal.to_string(), None)
    }

    /// Whether no byte was sent, so that any call may be repeated.
    pub(super) fn is_unsent(&self) -> bool {
        self.kind == Kind::Unsent
    }

    /// Whether another attempt may succeed.
    #[must_use]
    pub(crate) fn is_temporary(&self) -> bool {
        matches!(self.kind, Kind::Temporary | Kind::Unsent)
    }

    /// Whether the server's certificate is the reason.
    #[must_use]
    pub(crate) fn is_trust_error(&self) -> bool {
        self.kind == Kind::Trust
    }

    /// A hint how to fix it, if there is one.
    #[must_use]
    pub(crate) fn hint(&self) -> Option<&'static str> {
        self.hint
    }

    /// The failure of `doing`, with `code` unless the reason is a signal or a certificate.
    #[must_use]
    pub(crate) fn failure(self, code: ExitCode, doing: impl Into<String>) -> anyhow::Error {
        let failure = match self.kind {
            Kind::Stopped => {
                return process::stopped(
                    process::stop_requested().unwrap_or(ExitCode::Interrupted),
                )
                .into();
            }
            Kind::Trust => Failure::new(ExitCode::Trust, doing),
            Kind::Unsent | Kind::Temporary | Kind::Permanent => Failure::new(code, doing),
        };
        match self.hint {
            Some(hint) => failure.hint(hint).because(self),
            None => failure.because(self),
        }
        .into()
    }
}

impl From<Cause> for Error {
    fn from(cause: Cause) -> Self {
        if let Some(halt) = halt(&cause) {
            let why = halt.to_string();
            return match halt {
                Halt::Signal => Self::stopped(),
                Halt::Silent(_) | Halt::Slow(_) => Self::new(Kind::Permanent, why, Some(SILENT)),
                Halt::Proxy(_) => Self::new(Kind::Permanent, why, Some(PROXY)),
            };
        }
        if let Some(error) = tls(&cause).and_then(from_tls) {
            return error;
        }
        let text = cause.to_string();
        let has = |words: &str| text.contains(words);
        match cause {
            Cause::HostNotFound => {
                Self::new(Kind::Permanent, "the host does not exist", Some(NO_HOST))
            }
            Cause::Io(_) if has("Temporary failure in name resolution") => Self::new(
                Kind::Unsent,
                "the host name cannot be resolved at the moment",
                Some(NO_HOST),
            ),
            Cause::Io(_) if has("lookup address") => {
                Self::new(Kind::Permanent, "the host does not exist", Some(NO_HOST))
            }
            Cause::Io(io) => match io.kind() {
                ErrorKind::ConnectionRefused => {
                    Self::new(Kind::Unsent, "the connection was refused", Some(NO_LISTENER))
                }
                ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
                | ErrorKind::NetworkDown => {
                    Self::new(Kind::Unsent, "the host is unreachable", Some(NO_HOST))
                }
                _ => Self::new(Kind::Temporary, io.to_string(), Some(BROKE)),
            },
            Cause::ConnectionFailed => {
                Self::new(Kind::Unsent, "the connection failed", Some(NO_LISTENER))
            }
            Cause::Protocol(_) | Cause::BodyStalled => {
                Self::new(Kind::Temporary, text, Some(BROKE))
            }
            Cause::Timeout(_) => {
                Self::new(Kind::Permanent, "the server did not answer in time", Some(SILENT))
            }
            Cause::TooManyRedirects => Self::new(Kind::Permanent, "it redirects in a loop", None),
            // These errors repeat the address.
            Cause::BadUri(_) => Self::new(
                Kind::Permanent,
                "the address, or one that it redirects to, is not a web address",
                None,
            ),
            Cause::RequireHttpsOnly(_) => {
                Self::new(Kind::Permanent, "it redirects from https to http", None)
            }
            _ => Self::new(Kind::Permanent, text, None),
        }
    }
}

/// The TLS library's error inside an error.
fn tls(cause: &Cause) -> Option<&Tls> {
    match cause {
        Cause::Rustls(error) => Some(error),
        Cause::Io(io) => {
            let inner = io.get_ref()?;
            inner.downcast_ref().or_else(|| tls(inner.downcast_ref::<Cause>()?))
        }
        _ => None,
    }
}

/// None for errors that say nothing about the server.
fn from_tls(error: &Tls) -> Option<Error> {
    use CertificateError as Certificate;
    Some(match error {
        Tls::InvalidMessage(_) => {
            Error::new(Kind::Permanent, "the server does not use TLS", Some(PLAIN))
        }
        Tls::InvalidCertificate(
            Certificate::Expired
            | Certificate::ExpiredContext { .. }
            | Certificate::NotValidYet
            | Certificate::NotValidYetContext { .. },
        ) => Error::new(
            Kind::Trust,
            "the server's certificate has expired, or this machine's clock is wrong",
            None,
        ),
        Tls::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        ) => Error::new(Kind::Trust, "the server's certificate is for another name", None),
        Tls::InvalidCertificate(reason) => Error::new(
            Kind::Trust,
            format!("the server's certificate is not trusted ({reason})"),
            Some(AUTHORITY),
        ),
        Tls::AlertReceived(
            AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion,
        )
        | Tls::PeerIncompatible(_) => {
            Error::new(Kind::Permanent, format!("the TLS handshake failed: {error}"), None)
        }
        _ => return None,
    })
}

/// The [`Halt`] inside an error, however deeply it is wrapped.
fn halt(cause: &Cause) -> Option<&Halt> {
    match cause {
        Cause::Other(other) => other.downcast_ref(),
        Cause::Io(io) => {
            let inner = io.get_ref()?;
            inner.downcast_ref().or_else(|| halt(inner.downcast_ref::<Cause>()?))
        }
        _ => None,
    }
}

/// An address for display: without its user, password, query and fragment.
#[must_use]
pub(crate) fn shown(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let cut = rest.find(['?', '#']).unwrap_or(rest.len());
    let place = rest.get(..cut).unwrap_or_default();
    let (host, path) = place.find('/').map_or((place, ""), |at| place.split_at(at));
    let host = host.rsplit('@').next().unwrap_or_default();
    let scheme = if scheme.is_empty() { String::new() } else { format!("{scheme}://") };
    let more = if cut < rest.len() { "?…" } else { "" };
    format!("{scheme}{host}{path}{more}").escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        for (url, seen) in [
            ("https://ann:secret@h:8443/a/b.tgz?signature=secret#x", "https://h:8443/a/b.tgz?…"),
            ("http://h/a@b", "http://h/a@b"),
            ("http://h", "http://h"),
            ("ann:secret@h/os", "h/os"),
            ("https://h/a\u{1b}[2J", "https://h/a\\u{1b}[2J"),
        ] {
            assert_eq!(shown(url), seen);
        }
    }

    #[test]
    fn a_signal_is_found_below_every_wrapper() {
        let wrapped = Cause::Io(std::io::Error::other(Cause::from(Halt::Signal)));
        assert_eq!(Error::from(wrapped).kind, Kind::Stopped);
        let read = Cause::Io(std::io::Error::other(Halt::Signal));
        assert_eq!(Error::from(read).kind, Kind::Stopped);
    }
}
