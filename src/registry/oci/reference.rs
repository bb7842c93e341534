//! `HOST[:PORT]/NAME[:TAG]`, as the distribution specification spells it; digests belong to what is
//! fetched, not to where is published.

use std::fmt;

use crate::set::stem;

/// A repository of an OCI registry, with a tag or without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Repository {
    /// The host, with its port.
    pub host: String,
    /// The repository's name, such as `os/baremetal`.
    pub name: String,
    /// The tag, when one is given.
    pub tag: Option<String>,
}

impl Repository {
    /// Parses the part of an address after `oci:`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.contains("://") {
            return Err("write HOST/NAME without a scheme: it is asked by https, on this machine \
                        by http"
                .into());
        }
        if text.contains('@') {
            return Err("it has an '@': a digest is what publishing returns, and a password does \
                        not belong here"
                .into());
        }
        let Some((host, rest)) = text.split_once('/') else {
            return Err("write HOST/NAME, such as registry.example/os/baremetal".into());
        };
        let (bare, port) = match host.rsplit_once(':') {
            Some((bare, port)) if !port.contains(']') => (bare, Some(port)),
            _ => (host, None),
        };
        let bare_ok = !bare.is_empty()
            && bare.chars().all(|c| c.is_ascii_alphanumeric() || ".-_[]:".contains(c));
        if !bare_ok || port.is_some_and(|port| port.parse::<u16>().is_err()) {
            return Err("it does not begin with a host".into());
        }
        // Docker's shorthand `ubuntu/x` has no host; taking the first part for one would send a
        // password there.
        if port.is_none() && !bare.contains('.') && bare != "localhost" && !bare.starts_with('[') {
            return Err(format!(
                "'{bare}' is not a full host name: write HOST/NAME with the registry's whole \
                 name, or with its port"
            ));
        }
        let (name, tag) = match rest.split_once(':') {
            Some((name, tag)) => (name, Some(tag)),
            None => (rest, None),
        };
        if name.is_empty() || name.len() > 255 || !name.split('/').all(is_component) {
            return Err("a repository's name is made of small letters, digits and . _ - between \
                        slashes"
                .into());
        }
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err("a tag has up to 128 letters, digits and . _ -, and does not begin with \
                        a dot or dash"
                .into());
        }
        Ok(Self { host: host.to_owned(), name: name.to_owned(), tag: tag.map(str::to_owned) })
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.name)?;
        self.tag.as_ref().map_or(Ok(()), |tag| write!(f, ":{tag}"))
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(part: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separators = part.split(plain).filter(|separator| !separator.is_empty());
    part.starts_with(plain)
        && part.ends_with(plain)
        && separators
            .into_iter()
            .all(|s| matches!(s, "." | "_" | "__") || s.chars().all(|c| c == '-'))
}

/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`
fn is_tag(text: &str) -> bool {
    text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// The nearest tag to a name: what a tag cannot hold becomes `_`.
pub(super) fn as_tag(text: &str) -> String {
    let mut tag: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' })
        .take(128)
        .collect();
    if !is_tag(&tag) {
        tag.insert(0, '_');
        tag.truncate(128);
    }
    tag
}

/// The tag that every set of that name, version and suffix has.
pub(super) fn usual_tag(name: &str, version: &str, extension: &str) -> String {
    as_tag(&format!("{}{extension}", stem(name, version)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_as_they_are_written() {
        for text in [
            "127.0.0.1:5000/os",
            "registry.example/os/bare-metal:10",
            "localhost/a",
            "[::1]:5000/a/b__c:T_1.x",
            "r.example/a.b_c--d",
        ] {
            assert_eq!(Repository::parse(text).expect(text).to_string(), text);
        }
        let repository = Repository::parse("r.example:443/os/x:1").expect("a reference");
        assert_eq!(
            (repository.host.as_str(), repository.name.as_str(), repository.tag.as_deref()),
            ("r.example:443", "os/x", Some("1"))
        );
    }

    #[test]
    fn what_could_be_meant_otherwise_is_refused() {
        for wrong in [
            "",
            "a",
            "ubuntu/x",
            "r.example/",
            "r.example/A",
            "r.example/a//b",
            "r.example/../b",
            "r.example/a:",
            "r.example/a:.x",
            "r.example/a@sha256:00",
            "user:secret@r.example/a",
            "https://r.example/a",
            "r.example:x/a",
            "r.example/a___b",
            "r.example/-a",
            "r.example/a:b:c",
            "r ex/a",
            "/a",
        ] {
            let why = Repository::parse(wrong).expect_err(wrong);
            assert!(!why.contains("secret"), "{why}");
        }
    }

    #[test]
    fn any_name_becomes_a_tag() {
        for (name, tag) in [
            ("os-20261122.tgz", "os-20261122.tgz"),
            ("b\u{fc}ro+1", "b_ro_1"),
            (".x", "_.x"),
            ("", "_"),
        ] {
            assert_eq!(as_tag(name), tag);
        }
        assert!(is_tag(&as_tag(&"-".repeat(300))));
    }
}
