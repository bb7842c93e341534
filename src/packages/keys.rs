//! Signing keys: read from the files that name them, chosen by their full fingerprint, and ready to
//! be imported by rpm.

use serde::Serialize;
use std::path::Path;

use crate::calendar;
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::http::{Call, Client, Redirects, Trust, shown};
use crate::openpgp::{self, Certificate, Ended, Key};

/// A key that packages may be signed by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PinnedKey {
    /// Where it came from, for messages.
    pub origin: String,
    /// The primary key's full fingerprint, in upper-case hex.
    pub fingerprint: String,
    /// The ids of the primary key and of the subkeys that are valid, in upper-case hex: signatures
    /// name them.
    pub key_ids: Vec<String>,
    /// Its first user id.
    pub user_id: String,
    /// The primary key's algorithm.
    #[serde(skip)]
    pub algorithm: String,
    /// Whether a build goes on when rpm cannot import it, because the host's repositories name it
    /// among others.
    #[serde(skip)]
    pub optional: bool,
    /// Subkeys that are not valid, each with the reason.
    #[serde(skip)]
    pub ended: Vec<(String, String)>,
    /// The armored key itself, without subkeys that are not valid.
    #[serde(skip)]
    pub armored: String,
}

impl PinnedKey {
    fn new(origin: &str, certificate: &Certificate) -> Self {
        let Certificate { primary, subkeys, user_id, .. } = certificate;
        let id = |key: &Key| openpgp::key_id(&key.fingerprint).to_ascii_uppercase();
        let valid = subkeys.iter().filter(|key| key.ended.is_none());
        Self {
            origin: origin.to_owned(),
            fingerprint: primary.fingerprint.clone(),
            key_ids: std::iter::once(primary).chain(valid).map(id).collect(),
            user_id: user_id.clone(),
            algorithm: primary.algorithm.to_owned(),
            optional: false,
            ended: subkeys.iter().filter_map(|key| Some((id(key), reason(key.ended?)))).collect(),
            armored: certificate.armored(),
        }
    }

    /// Whether this name of a key is the whole fingerprint, or the end of the key id of it or of a
    /// subkey.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        let name = name.to_ascii_uppercase();
        self.fingerprint == name || (name.len() >= 8 && self.key_ids.iter().any(|id| id.ends_with(&name)))
    }
}

/// Takes the key with the pinned `fingerprint` (hex, any case) out of `armored`, which can hold
/// several; `now` is in seconds since 1970.
///
/// # Errors
/// [`ExitCode::Trust`] when the text has no such key, or when the key is revoked or expired; the
/// message says which.
pub fn pin(origin: &str, armored: &str, fingerprint: &str, now: u64) -> Result<PinnedKey> {
    let trust = |text: String| Failure::new(ExitCode::Trust, format!("checking the key {origin}: {text}"));
    let all = Certificate::all(armored, now);
    if all.is_empty() {
        return Err(trust("it has no armored OpenPGP public key".into())
            .hint("name the file that the distribution publishes; export a key with gpg --armor --export")
            .into());
    }
    let Some(found) = all.iter().find(|found| found.primary.fingerprint.eq_ignore_ascii_case(fingerprint)) else {
        let found: Vec<&str> = all.iter().map(|found| found.primary.fingerprint.as_str()).collect();
        let message = format!("its fingerprint is {}, the settings pin {}", found.join(" or "), fingerprint.to_ascii_uppercase());
        return Err(trust(message).hint("compare both with what the distribution publishes before changing the settings").into());
    };
    if let Some(ended) = found.primary.ended {
        return Err(trust(format!("it {}", reason(ended))).hint("ask the distribution for its present key").into());
    }
    Ok(PinnedKey::new(origin, found))
}

/// All keys in `armored` that are valid, each of them optional, and of the others why they are not.
pub(super) fn valid(origin: &str, armored: &str, now: u64) -> (Vec<PinnedKey>, Vec<String>) {
    let (mut keys, mut others) = (Vec::new(), Vec::new());
    for found in Certificate::all(armored, now) {
        match found.primary.ended {
            None => keys.push(PinnedKey { optional: true, ..PinnedKey::new(origin, &found) }),
            Some(ended) => others.push(format!("the key {} of {origin} {}", found.primary.fingerprint, reason(ended))),
        }
    }
    (keys, others)
}

fn reason(ended: Ended) -> String {
    match ended {
        Ended::Revoked => "was revoked".to_owned(),
        Ended::Expired(end) => {
            let time = calendar::rfc3339(i64::try_from(end).unwrap_or(i64::MAX));
            format!("has expired on {}", time.get(..10).unwrap_or(&time))
        }
    }
}

/// The pinned key that made a signature with this key id.
#[must_use]
pub fn signer<'a>(keys: &'a [PinnedKey], key_id: &str) -> Option<&'a PinnedKey> {
    keys.iter().find(|key| key.key_ids.iter().any(|id| id.eq_ignore_ascii_case(key_id)))
}

/// Fetches an armored key from a server, or reads it from a `file` URL.
///
/// # Errors
/// [`ExitCode::Repository`] when the server does not give it.
pub fn fetch(url: &str) -> Result<String> {
    if let Some(path) = url.strip_prefix("file://") {
        return read_file(Path::new(path));
    }
    let doing = || format!("fetching the key {}", shown(url));
    let hint = "save it as a file and name that: [[packages.key]] file = \"…\"";
    let client = Client::new(&Trust::default(), Redirects::Follow)?;
    let answer = client.call(&Call::get(""), url, &[]).map_err(|error| error.failure(ExitCode::Repository, doing()))?;
    if answer.status != 200 {
        let failure = Failure::new(ExitCode::Repository, format!("{}: the server answers {}", doing(), answer.status_line()));
        return Err(failure.hint(hint).into());
    }
    String::from_utf8(answer.body).or_fail_hint(ExitCode::Trust, format!("{}: it is not armored (ASCII)", doing()), hint)
}

/// Reads a key file of the host.
///
/// # Errors
/// When it cannot be read or is not a text.
pub fn read_file(path: &Path) -> Result<String> {
    crate::files::read_text(path, crate::files::TEXT).or_fail_hint(
        ExitCode::Trust,
        format!("reading key {}", path.display()),
        "name the file of the repository's signing key in [[packages.key]]",
    )
}
