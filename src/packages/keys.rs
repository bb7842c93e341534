//! Signing keys: read, compared with the full fingerprint that the settings pin, and ready to be imported.

use pgp::composed::{Deserializable, SignedPublicKey};
use pgp::types::KeyDetails;
use serde::Serialize;
use std::time::{Duration, SystemTime};

use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::http::{Call, Client, Redirects, Trust, shown};

/// A key whose fingerprint is what the settings say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PinnedKey {
    /// Where it came from, for messages.
    pub origin: String,
    /// The primary key's full fingerprint, in upper-case hex.
    pub fingerprint: String,
    /// The key ids (the last 16 digits) of the primary key and its subkeys: what signatures name.
    pub key_ids: Vec<String>,
    /// Its first user id.
    pub user_id: String,
    /// The armored key itself.
    #[serde(skip)]
    pub armored: String,
}

/// Reads the one key in `armored` and compares it with the pinned `fingerprint` (hex, any case).
///
/// # Errors
/// [`ExitCode::Trust`] when the text is no armored public key, holds more than one, is revoked or expired, or has another
/// fingerprint; the message says which.
pub fn pin(origin: &str, armored: &str, fingerprint: &str, now: SystemTime) -> Result<PinnedKey> {
    let trust = |text: String| Failure::new(ExitCode::Trust, format!("checking the key {origin}: {text}"));
    let parsed = SignedPublicKey::from_armor_many(armored.as_bytes())
        .and_then(|(keys, _)| keys.collect::<Result<Vec<_>, _>>())
        .map_err(|error| trust("it is no armored OpenPGP public key".into()).because(error))?;
    // The parser stops at the end of the first block; rpm and a person would see the next one too.
    let blocks = armored.matches("-----BEGIN PGP ").count();
    let ([key], 1) = (parsed.as_slice(), blocks) else {
        return Err(trust(format!("it holds {} keys; a pinned file must hold one", parsed.len().max(blocks)))
            .hint("split the file, and pin each key with a fingerprint of its own")
            .into());
    };
    let found = format!("{:X}", key.fingerprint());
    if !found.eq_ignore_ascii_case(fingerprint) {
        return Err(trust(format!("its fingerprint is {found}, the settings pin {}", fingerprint.to_ascii_uppercase()))
            .hint("compare both with what the distribution publishes before changing the settings")
            .into());
    }
    if !key.details.revocation_signatures.is_empty() {
        return Err(trust("it is revoked".into()).hint("ask the distribution for its present key").into());
    }
    if let Some(end) = expiry(key)
        && end < now
    {
        return Err(trust("it has expired".into()).hint("ask the distribution for its present key").into());
    }
    let mut key_ids = vec![id_of(&found)];
    key_ids.extend(key.public_subkeys.iter().map(|subkey| id_of(&format!("{:X}", subkey.fingerprint()))));
    let user_id = key.details.users.first().map_or_else(String::new, |user| String::from_utf8_lossy(user.id.id()).into_owned());
    Ok(PinnedKey { origin: origin.to_owned(), fingerprint: found, key_ids, user_id, armored: armored.to_owned() })
}

/// When the key ends: its creation plus the lifetime that its newest self-signature gives it.
fn expiry(key: &SignedPublicKey) -> Option<SystemTime> {
    let lifetime = key
        .details
        .users
        .iter()
        .flat_map(|user| &user.signatures)
        .chain(&key.details.direct_signatures)
        .max_by_key(|signature| signature.created().map_or(0, |t| t.as_secs()))?
        .key_expiration_time()?;
    let seconds = u64::from(lifetime.as_secs());
    (seconds > 0).then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(key.created_at().as_secs()) + seconds))
}

/// The fingerprint of the pinned key that made a signature with this key id.
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
        return read_file(std::path::Path::new(path));
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

fn id_of(fingerprint: &str) -> String {
    fingerprint.get(fingerprint.len().saturating_sub(16)..).unwrap_or(fingerprint).to_owned()
}

/// Reads a key file of the host.
///
/// # Errors
/// When it cannot be read or is no text.
pub fn read_file(path: &std::path::Path) -> Result<String> {
    crate::files::read_text(path, crate::files::TEXT).or_fail_hint(
        ExitCode::Trust,
        format!("reading key {}", path.display()),
        "name the file of the repository's signing key in [[packages.key]]",
    )
}
