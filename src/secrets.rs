//! Masks passwords and tokens wherever they could appear in output.
//!
//! osimg's own values are built without secrets: [`url`] is the form in which an address is shown
//! and recorded. The output of other programs and servers may repeat a secret that they received.
//! Such text goes through [`concealed`], which knows the secrets that osimg has read
//! ([`conceal`]). Documents are never searched: a secret cannot change a key, a digest or a name
//! in them.

use std::borrow::Cow;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Replaces a secret.
const MASK: &str = "***";
/// Shorter values would match everywhere.
const SHORTEST: usize = 6;
/// URL parameters with harmless values: those of mirror lists.
const HARMLESS: [&str; 14] = [
    "repo",
    "arch",
    "basearch",
    "release",
    "releasever",
    "country",
    "protocol",
    "infra",
    "path",
    "version",
    "ip",
    "cc",
    "time",
    "mirrorlist",
];
/// The environment variables for proxies. They may contain a password.
const PROXIES: [&str; 8] = [
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "ALL_PROXY",
];

static SECRETS: OnceLock<Mutex<Vec<String>>> = OnceLock::new();

/// Registers a secret where it is read. From now on it is masked in the output of others.
pub(crate) fn conceal(secret: &str) {
    let secret = secret.trim();
    if secret.len() < SHORTEST {
        return;
    }
    let mut known =
        SECRETS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    // Its JSON form too: services answer in JSON.
    let quoted = serde_json::Value::from(secret).to_string();
    for form in [secret, quoted.trim_matches('"')] {
        if !known.iter().any(|other| other == form) {
            known.push(form.to_owned());
        }
    }
    // Longest first: one secret may contain another.
    known.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
}

/// Registers the passwords of the proxies in the environment. osimg uses these proxies and passes
/// them to package managers.
pub(crate) fn conceal_proxies() {
    for value in PROXIES.iter().filter_map(|name| std::env::var(name).ok()) {
        let rest = value.split_once("://").map_or(value.as_str(), |(_, rest)| rest);
        if let Some((user, _)) = rest.rsplit_once('@') {
            conceal(user.split_once(':').map_or(user, |(_, password)| password));
        }
    }
}

/// An address as it is shown and recorded: without user, password and the values of parameters
/// that may be secret.
#[must_use]
pub(crate) fn url(address: &str) -> String {
    urls(address).into_owned()
}

/// As [`url`], for a field of a document.
///
/// # Errors
/// When the serializer fails.
pub(crate) fn serialize_url<S: serde::Serializer>(
    address: &str,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&url(address))
}

/// As [`url`], for an address that may be missing.
///
/// # Errors
/// When the serializer fails.
pub(crate) fn serialize_optional_url<S: serde::Serializer>(
    address: &Option<String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match address {
        Some(address) => serializer.serialize_some(&url(address)),
        None => serializer.serialize_none(),
    }
}

/// As [`url`], for a list of addresses.
///
/// # Errors
/// When the serializer fails.
pub(crate) fn serialize_urls<S: serde::Serializer>(
    addresses: &[String],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(addresses.iter().map(|address| url(address)))
}

/// The message of a parser in plain words, and without the value that it found: `invalid type:
/// string "...", expected a sequence` becomes `expected a list, found a text`.
#[must_use]
pub(crate) fn parser_message(message: &str) -> String {
    let message = message.replace("unknown variant `", "unknown value `");
    let found = ["invalid type: ", "invalid value: "]
        .into_iter()
        .find_map(|head| message.find(head).map(|at| (at, head)));
    // The value may contain the words of the message.
    let (Some((at, head)), Some((_, expected))) = (found, message.rsplit_once(", expected "))
    else {
        return message;
    };
    let (before, value) = (&message[..at], &message[at + head.len()..]);
    let kind = value.split(['"', '`']).next().unwrap_or_default();
    let kind = plain_type(kind.split(", expected ").next().unwrap_or_default().trim());
    let expected = plain_type(expected);
    if head == "invalid value: " {
        return format!("{before}expected {expected}, found a different value");
    }
    format!("{before}expected {expected}, found {kind}")
}

/// The words of serde for a type, as a user knows it.
fn plain_type(words: &str) -> &str {
    match words {
        "a string" | "string" | "a borrowed string" => "a text",
        "i8" | "i16" | "i32" | "i64" | "isize" | "integer" => "a whole number",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "a boolean" => "true or false",
        "boolean" => "true or false without quotes",
        "floating point" => "a number with a fraction",
        "a sequence" | "sequence" => "a list",
        "a map" | "map" => "a table",
        words => words,
    }
}

/// Text of another program, of a server, or of an error that quotes one. Known secrets and secrets
/// in URLs are masked.
#[must_use]
pub(crate) fn concealed(text: &str) -> Cow<'_, str> {
    let mut text = urls(text);
    if let Some(known) = SECRETS.get() {
        for secret in known.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if text.contains(secret.as_str()) {
                text = Cow::Owned(text.replace(secret.as_str(), MASK));
            }
        }
    }
    text
}

/// Masks `user:password` in every URL, and the value of every parameter that is not known to be
/// harmless.
fn urls(text: &str) -> Cow<'_, str> {
    if !text.contains("://") {
        return Cow::Borrowed(text);
    }
    let ends = |c: char| {
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '"' | '\'' | '<' | '>' | '\\' | '`' | ')' | '|')
    };
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let (url, tail) = after.split_at(after.find(ends).unwrap_or(after.len()));
        out.push_str(&url_without_secrets(url));
        rest = tail;
    }
    out.push_str(rest);
    if out == text { Cow::Borrowed(text) } else { Cow::Owned(out) }
}

/// The part of a URL after `://`, with its secrets masked.
fn url_without_secrets(url: &str) -> String {
    let (place, query) =
        url.split_once('?').map_or((url, None), |(place, query)| (place, Some(query)));
    let (host, path) = place.split_at(place.find('/').unwrap_or(place.len()));
    let host = match host.rsplit_once('@') {
        // The mask has the same length, so that an underline below it still fits.
        Some((user, host)) => format!("{}@{host}", "*".repeat(user.chars().count())),
        None => host.to_owned(),
    };
    let Some(query) = query else { return host + path };
    let parameters: Vec<String> = query
        .split('&')
        .map(|parameter| match parameter.split_once('=') {
            Some((name, value)) if HARMLESS.contains(&name) || value.starts_with('$') => {
                format!("{name}={value}")
            }
            Some((name, _)) => format!("{name}={MASK}"),
            None => parameter.to_owned(),
        })
        .collect();
    format!("{host}{path}?{}", parameters.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_users_passwords_and_parameters_of_urls_are_masked() {
        for (text, shown) in [
            ("get https://ann:secret@host/a failed", "get https://**********@host/a failed"),
            (
                "\"https://host/x?token=abc&arch=x86_64\"",
                "\"https://host/x?token=***&arch=x86_64\"",
            ),
            (
                "https://mirrors.invalid/list?repo=baseos-$releasever&arch=$basearch",
                "https://mirrors.invalid/list?repo=baseos-$releasever&arch=$basearch",
            ),
            ("file:///srv/a@b", "file:///srv/a@b"),
            ("mail ann@host: no URL", "mail ann@host: no URL"),
        ] {
            assert_eq!(concealed(text), shown);
        }
    }

    #[test]
    fn a_known_secret_is_masked_in_plain_text_and_in_json() {
        conceal("correct \"horse\" battery\n");
        conceal("short");
        assert_eq!(concealed("got correct \"horse\" battery, in short"), "got ***, in short");
        assert_eq!(concealed(r#"{"a": "correct \"horse\" battery"}"#), r#"{"a": "***"}"#);
    }
}
