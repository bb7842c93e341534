//! A web address that Anaconda, Ironic and osimg all accept: without credentials, query or
//! `..`.

use std::fmt;

use crate::percent;

/// An `http` or `https` URL without user, query or fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebUrl {
    text: String,
    /// Where the path starts in it; its length if there is no path.
    path: usize,
}

impl WebUrl {
    /// Parses a URL.
    ///
    /// # Errors
    /// Explains in one line what is wrong. The text is not repeated: it may contain a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err("it is not a URL".into());
        };
        let scheme = scheme.to_ascii_lowercase();
        if scheme != "http" && scheme != "https" {
            return Err(format!("its scheme is '{}', not http or https", scheme.escape_debug()));
        }
        if text.chars().any(|c| {
            c.is_control() || c.is_whitespace() || !c.is_ascii() || "\"<>\\^`{|}".contains(c)
        }) {
            return Err("it has characters that must be percent-encoded".into());
        }
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if host.contains('@') {
            return Err("it contains a user name, which would appear in logs and on nodes".into());
        }
        if host.is_empty() || host.starts_with(':') {
            return Err("it has no host".into());
        }
        if text.contains('?') {
            return Err("it has a query string, but Anaconda looks at the end of the URL".into());
        }
        if text.contains('#') {
            return Err("it has a fragment".into());
        }
        let lower = rest.to_ascii_lowercase().replace("%2e", ".");
        if lower.split('/').any(|part| part == ".." || part == ".") {
            return Err("its path contains '..' or '.'".into());
        }
        let text = format!("{scheme}://{rest}");
        Ok(Self { path: scheme.len() + 3 + host.len(), text })
    }

    /// The host with its port.
    #[must_use]
    pub fn host(&self) -> &str {
        self.text.get(..self.path).and_then(|t| t.split_once("://")).map_or("", |(_, host)| host)
    }

    /// The path with its leading slash, or nothing.
    #[must_use]
    pub fn path(&self) -> &str {
        self.text.get(self.path..).unwrap_or_default()
    }

    /// The last part of the path.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.path().rsplit('/').next().unwrap_or_default()
    }

    /// The URL as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The URL of a file below this one, which is treated as a directory. Characters that a URL
    /// cannot contain are percent-encoded.
    #[must_use]
    pub fn join(&self, relative: &str) -> Self {
        let mut text = self.text.trim_end_matches('/').to_owned();
        text.push('/');
        text.push_str(&percent::encoded(relative, b"/-_.~+:,=@!$&'()*;"));
        Self { text, path: self.path }
    }
}

impl fmt::Display for WebUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether a host, with or without port, is this machine. It does not need TLS.
#[must_use]
pub(crate) fn is_loopback(host: &str) -> bool {
    // Before it is a user.
    if host.contains('@') {
        return false;
    }
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost"
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split_and_joined() {
        let url = WebUrl::parse("HTTPS://mirror.example:8443/9/os/").expect("a url");
        assert_eq!((url.host(), url.path()), ("mirror.example:8443", "/9/os/"));
        assert_eq!(
            url.join("images/pxeboot/vmlinuz").as_str(),
            "https://mirror.example:8443/9/os/images/pxeboot/vmlinuz"
        );
        assert_eq!(url.join("a b#").as_str(), "https://mirror.example:8443/9/os/a%20b%23");
        let bare = WebUrl::parse("http://[::1]:80").expect("a url");
        assert_eq!(
            (bare.host(), bare.path(), bare.join("x").as_str()),
            ("[::1]:80", "", "http://[::1]:80/x")
        );
        assert_eq!(bare.join("x").file_name(), "x");
    }

    #[test]
    fn unsafe_urls_are_refused_and_not_repeated() {
        for wrong in [
            "",
            "mirror/os",
            "ftp://a/b",
            "file:///etc/passwd",
            "http://user:secret@a/b",
            "http://secret@a",
            "http:///x",
            "http://:80/",
            "http://a/b?secret=1",
            "http://a/#x",
            "http://a/../b",
            "http://a/%2e%2E/b",
            "http://a/b c",
            "http://a/\u{1b}[2J",
            "http://a/\u{fc}",
        ] {
            let why = WebUrl::parse(wrong).expect_err(wrong);
            assert!(!why.contains("secret") && !why.contains('\u{1b}'), "{wrong}: {why}");
        }
    }

    #[test]
    fn this_machine_is_recognized_by_name_and_address() {
        for here in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000"] {
            assert!(is_loopback(here), "{here}");
        }
        for elsewhere in ["localhost.example", "10.0.0.1", "127.0.0.1.example", "::", ""] {
            assert!(!is_loopback(elsewhere), "{elsewhere}");
        }
    }
}
