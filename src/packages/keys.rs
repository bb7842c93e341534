//! Signing keys: read from files, selected by their full fingerprint, and prepared for rpm's
//! import.

use serde::Serialize;
use std::path::Path;

use crate::calendar;
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::http::{Call, Client, Redirects, Trust, shown};
use crate::openpgp::{self, Certificate, Invalid, Key};

/// A key that may sign packages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PinnedKey {
    /// Its origin, for messages.
    pub origin: String,
    /// The primary key's full fingerprint, in upper-case hex.
    pub fingerprint: String,
    /// The ids of the primary key and of the valid subkeys, in upper-case hex; signatures contain
    /// them.
    pub key_ids: Vec<String>,
    /// Its first user id.
    pub user_id: String,
    /// The primary key's algorithm.
    #[serde(skip)]
    pub algorithm: String,
    /// Whether a build continues if rpm cannot import it, because it is one of several keys of the
    /// host's repositories.
    #[serde(skip)]
    pub optional: bool,
    /// Invalid subkeys, each with the reason.
    #[serde(skip)]
    pub invalid: Vec<(String, String)>,
    /// The armored key, without invalid subkeys.
    #[serde(skip)]
    pub armored: String,
}

impl PinnedKey {
    fn new(origin: &str, certificate: &Certificate) -> Self {
        let Certificate { primary, subkeys, user_id, .. } = certificate;
        let id = |key: &Key| openpgp::key_id(&key.fingerprint).to_ascii_uppercase();
        let valid = subkeys.iter().filter(|key| key.invalid.is_none());
        Self {
            origin: origin.to_owned(),
            fingerprint: primary.fingerprint.clone(),
            key_ids: std::iter::once(primary).chain(valid).map(id).collect(),
            user_id: user_id.clone(),
            algorithm: primary.algorithm.to_owned(),
            optional: false,
            invalid: subkeys
                .iter()
                .filter_map(|key| Some((id(key), reason(key.invalid?))))
                .collect(),
            armored: certificate.armored(),
        }
    }

    /// Whether `name` is the full fingerprint, or the end of the key id of the key or of a subkey.
    #[must_use]
    pub(crate) fn has_id(&self, name: &str) -> bool {
        let name = name.to_ascii_uppercase();
        self.fingerprint == name
            || (name.len() >= 8 && self.key_ids.iter().any(|id| id.ends_with(&name)))
    }
}

/// Selects the key with the pinned `fingerprint` (hex, any case) from `armored`, which may contain
/// several; `now` is in seconds since 1970.
///
/// # Errors
/// [`ExitCode::Trust`] if the text has no such key, or if the key is revoked or expired.
pub fn pin(origin: &str, armored: &str, fingerprint: &str, now: u64) -> Result<PinnedKey> {
    let trust =
        |text: String| Failure::new(ExitCode::Trust, format!("checking the key {origin}: {text}"));
    let all = Certificate::parse_all(armored, now);
    if all.is_empty() {
        return Err(trust("it has no armored OpenPGP public key".into())
            .hint(
                "use the file that the distribution publishes; gpg --armor --export exports a key",
            )
            .into());
    }
    let Some(found) =
        all.iter().find(|found| found.primary.fingerprint.eq_ignore_ascii_case(fingerprint))
    else {
        let found: Vec<&str> = all.iter().map(|found| found.primary.fingerprint.as_str()).collect();
        let message = format!(
            "its fingerprint is {}, the settings pin {}",
            found.join(" or "),
            fingerprint.to_ascii_uppercase()
        );
        return Err(trust(message)
            .hint("compare both with what the distribution publishes before changing the settings")
            .into());
    };
    if let Some(invalid) = found.primary.invalid {
        return Err(trust(format!("it {}", reason(invalid)))
            .hint("use the distribution's current key")
            .into());
    }
    Ok(PinnedKey::new(origin, found))
}

/// All valid keys in `armored`, each of them optional, and why the others are not valid.
pub(super) fn valid(origin: &str, armored: &str, now: u64) -> (Vec<PinnedKey>, Vec<String>) {
    let (mut keys, mut others) = (Vec::new(), Vec::new());
    for found in Certificate::parse_all(armored, now) {
        match found.primary.invalid {
            None => keys.push(PinnedKey { optional: true, ..PinnedKey::new(origin, &found) }),
            Some(invalid) => others.push(format!(
                "the key {} of {origin} {}",
                found.primary.fingerprint,
                reason(invalid)
            )),
        }
    }
    (keys, others)
}

fn reason(invalid: Invalid) -> String {
    match invalid {
        Invalid::Revoked => "was revoked".to_owned(),
        Invalid::Expired(end) => {
            let time = calendar::rfc3339(i64::try_from(end).unwrap_or(i64::MAX));
            format!("expired on {}", time.get(..10).unwrap_or(&time))
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
/// [`ExitCode::Repository`] if the server does not provide it.
pub fn fetch(url: &str) -> Result<String> {
    if let Some(path) = url.strip_prefix("file://") {
        return read_file(Path::new(path));
    }
    let doing = || format!("fetching the key {}", shown(url));
    let hint = "save it as a file and use that: [[packages.key]] file = \"…\"";
    let client = Client::new(&Trust::default(), Redirects::Follow)?;
    let answer = client
        .call(&Call::get(""), url, &[])
        .map_err(|error| error.failure(ExitCode::Repository, doing()))?;
    if answer.status != 200 {
        let failure = Failure::new(
            ExitCode::Repository,
            format!("{}: the server answers {}", doing(), answer.status_line()),
        );
        return Err(failure.hint(hint).into());
    }
    String::from_utf8(answer.body).or_fail_hint(
        ExitCode::Trust,
        format!("{}: it is not armored (ASCII)", doing()),
        hint,
    )
}

/// Reads a key file of the host.
///
/// # Errors
/// If it cannot be read or is not text.
pub(crate) fn read_file(path: &Path) -> Result<String> {
    crate::files::read_text(path, crate::files::TEXT).or_fail_hint(
        ExitCode::Recipe,
        format!("reading key {}", path.display()),
        "set file under [[packages.key]] to the repository's signing key",
    )
}
