//! The proxies in the environment, and the hosts that are reached without one.

use base64::Engine;
use std::fmt;
use std::net::IpAddr;
use ureq::http::Uri;

use crate::percent::decoded;

/// A proxy that uses plain HTTP.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Proxy {
    pub host: String,
    pub port: u16,
    /// The `Proxy-Authorization` header, if the address has a user name.
    pub authorization: Option<String>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The proxies of the environment. An invalid address is an error only if it is needed.
#[derive(Debug, Default)]
pub(super) struct Proxies {
    http: Option<Result<Proxy, String>>,
    https: Option<Result<Proxy, String>>,
    direct: Vec<String>,
}

impl Proxies {
    pub(super) fn from_environment() -> Self {
        Self::read(|name| std::env::var(name).ok())
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        // In curl's order: lower-case names first. Like curl, it ignores HTTP_PROXY, which a web
        // server sets to a header of a request.
        let either = |name: &str| {
            [name.to_owned(), name.to_ascii_uppercase()]
                .iter()
                .filter(|name| *name != "HTTP_PROXY")
                .find_map(|n| variable(n).filter(|v| !v.is_empty()))
        };
        let find =
            |names: [&str; 2]| names.into_iter().find_map(|name| Some(parse(name, &either(name)?)));
        Self {
            http: find(["http_proxy", "all_proxy"]),
            https: find(["https_proxy", "all_proxy"]),
            direct: either("no_proxy")
                .unwrap_or_default()
                .split([',', ' '])
                .map(|e| e.trim().to_ascii_lowercase())
                .collect(),
        }
    }

    /// The proxy for an address; `None` if it is reached directly.
    pub(super) fn to(&self, uri: &Uri) -> Result<Option<&Proxy>, String> {
        let secure = uri.scheme_str() == Some("https");
        let Some(found) = (if secure { &self.https } else { &self.http }) else { return Ok(None) };
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        if self
            .direct
            .iter()
            .any(|entry| matches(entry, bare(uri.host().unwrap_or_default()), port))
        {
            return Ok(None);
        }
        found.as_ref().map(Some).map_err(Clone::clone)
    }
}

/// A host without the brackets of an IPv6 address.
pub(super) fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Parses `http://USER:PASSWORD@HOST:PORT/`; only the host is required. The error message repeats
/// no part of it.
fn parse(name: &str, text: &str) -> Result<Proxy, String> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(format!("the proxy in {name} must use plain HTTP: http://HOST:PORT"));
    }
    let wrong = || format!("the proxy in {name} is not an address such as http://HOST:PORT");
    let place = rest.split('/').next().unwrap_or_default();
    let (login, place) =
        place.rsplit_once('@').map_or((None, place), |(login, place)| (Some(login), place));
    let authority: ureq::http::uri::Authority = place.parse().map_err(|_| wrong())?;
    let authorization = login.map(|login| {
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let pair = [&*decoded(user), b":", &*decoded(password)].concat();
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
    });
    Ok(Proxy {
        host: bare(authority.host()).to_owned(),
        port: authority.port_u16().unwrap_or(80),
        authorization,
    })
}

/// Whether an entry of `no_proxy` matches this host. It can be the host's name, a parent domain, an
/// address or a network, with or without a port.
fn matches(entry: &str, host: &str, port: u16) -> bool {
    let host = host.to_ascii_lowercase();
    if let Ok(address) = host.parse::<IpAddr>() {
        let (network, length) = entry
            .split_once('/')
            .map_or((entry, None), |(network, length)| (network, length.parse::<u32>().ok()));
        if let Ok(network) = bare(network).parse::<IpAddr>() {
            return in_network(address, network, length);
        }
    }
    let (name, wanted) = match entry.rsplit_once(':') {
        Some((name, digits)) if digits.parse::<u16>().is_ok() && !name.ends_with(':') => {
            (bare(name), digits.parse().ok())
        }
        _ => (entry, None),
    };
    let name = name.trim_start_matches('*').trim_start_matches('.');
    let is_host = entry == "*"
        || (!name.is_empty()
            && host.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')));
    is_host && wanted.is_none_or(|wanted: u16| wanted == port)
}

fn in_network(address: IpAddr, network: IpAddr, length: Option<u32>) -> bool {
    let (a, b, size) = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        _ => return false,
    };
    let host_bits = size - length.unwrap_or(size).min(size);
    (a ^ b).checked_shr(host_bits).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy_for(variables: &[(&str, &str)], url: &str) -> Result<Option<(String, u16)>, String> {
        let proxies = Proxies::read(|name| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        });
        let found = proxies.to(&url.parse().expect("a URL"))?;
        Ok(found.map(|proxy| (proxy.host.clone(), proxy.port)))
    }

    #[test]
    fn each_scheme_has_its_proxy_and_no_proxy_lists_exceptions() {
        let plain = ("http_proxy", "http://plain:3128");
        let secure = ("HTTPS_PROXY", "secure:8080");
        let proxy = |host: &str, port| Ok(Some((host.to_owned(), port)));
        assert_eq!(proxy_for(&[plain, secure], "http://a/"), proxy("plain", 3128));
        assert_eq!(proxy_for(&[plain, secure], "https://a/"), proxy("secure", 8080));
        assert_eq!(proxy_for(&[plain], "https://a/"), Ok(None));
        assert_eq!(proxy_for(&[("all_proxy", "http://u:p@any/")], "https://a/"), proxy("any", 80));
        for (exceptions, url) in [
            ("*", "http://a/"),
            ("b,A.example", "http://a.example/"),
            (".example", "http://a.example/"),
            ("example", "http://a.example:8080/"),
            ("a.example:8080", "http://a.example:8080/"),
            ("10.0.0.0/8", "http://10.2.3.4/"),
            ("::1", "http://[::1]:5000/"),
            ("127.0.0.1", "http://127.0.0.1:9/"),
        ] {
            assert_eq!(
                proxy_for(&[plain, ("no_proxy", exceptions)], url),
                Ok(None),
                "{exceptions}"
            );
        }
        for (exceptions, url) in [
            ("", "http://a/"),
            ("ample", "http://a.example/"),
            ("a.example:81", "http://a.example/"),
            ("10.0.0.0/8", "http://11.2.3.4/"),
            ("10.0.0.1", "http://10.0.0.10/"),
        ] {
            assert_eq!(
                proxy_for(&[plain, ("NO_PROXY", exceptions)], url),
                proxy("plain", 3128),
                "{exceptions}"
            );
        }
    }

    #[test]
    fn credentials_are_decoded_and_never_appear_in_messages() {
        let proxy = parse("http_proxy", "http://ann:s%40e@host:1/").expect("a proxy");
        assert_eq!(proxy.authorization.as_deref(), Some("Basic YW5uOnNAZQ=="));
        assert_eq!(format!("{proxy:?}"), "host:1");
        for wrong in ["socks5://ann:secret@host", "http://ann:secret@ho st", "http://ann:secret@"] {
            let message = proxy_for(&[("http_proxy", wrong)], "http://a/").expect_err(wrong);
            assert!(!message.contains("secret") && message.contains("http_proxy"), "{message}");
        }
    }
}
