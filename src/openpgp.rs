//! OpenPGP packets, as far as they can be read without cryptography: the keys that made the
//! signatures of a package, the keys in a file, and how long they are valid. rpm decides whether a
//! signature is valid.
//!
//! The format is RFC 9580. The input is not trusted: all lengths are checked, and unreadable parts
//! are skipped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::Digest as _;

/// Tags of packets.
const SIGNATURE: u8 = 2;
const PUBLIC_KEY: u8 = 6;
const USER_ID: u8 = 13;
const PUBLIC_SUBKEY: u8 = 14;
/// Types of signatures.
const CERTIFICATIONS: std::ops::RangeInclusive<u8> = 0x10..=0x13;
const SUBKEY_BINDING: u8 = 0x18;
const DIRECT_KEY: u8 = 0x1F;
const KEY_REVOCATION: u8 = 0x20;
const SUBKEY_REVOCATION: u8 = 0x28;

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";

/// A packet: its tag, its body, and the bytes of both.
#[derive(Debug, Clone, Copy)]
struct Packet<'a> {
    tag: u8,
    body: &'a [u8],
    whole: &'a [u8],
}

/// The packets in `bytes`, up to the first damaged one.
fn packets(mut bytes: &[u8]) -> Vec<Packet<'_>> {
    let mut found = Vec::new();
    while let Some((packet, rest)) = packet(bytes) {
        found.push(packet);
        bytes = rest;
    }
    found
}

/// The first packet, and the bytes that follow it.
fn packet(bytes: &[u8]) -> Option<(Packet<'_>, &[u8])> {
    let first = *bytes.first()?;
    let (tag, (length, header)) = match first {
        0xC0.. => (first & 0x3F, length(bytes.get(1..)?)?),
        0x80.. => {
            let size = match first & 3 {
                0 => 1,
                1 => 2,
                2 => 4,
                _ => return None,
            };
            ((first >> 2) & 0xF, (number(bytes.get(1..1 + size)?), size))
        }
        _ => return None,
    };
    let begin = 1 + header;
    let end = begin.checked_add(length)?;
    Some((
        Packet { tag, body: bytes.get(begin..end)?, whole: bytes.get(..end)? },
        bytes.get(end..)?,
    ))
}

/// A length of one, two or five bytes, and the number of those bytes. Keys and signatures have no
/// partial lengths.
fn length(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes.first()? {
        short @ 0..192 => Some((usize::from(short), 1)),
        first @ 192..224 => {
            Some(((usize::from(first) - 192) * 256 + usize::from(*bytes.get(1)?) + 192, 2))
        }
        255 => Some((number(bytes.get(1..5)?), 5)),
        _ => None,
    }
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

/// The contents of a signature packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signature {
    /// The key id of its issuer: 16 lower-case digits.
    pub key_id: String,
    /// The algorithm of the key, such as `RSA`.
    pub algorithm: &'static str,
    /// The digest algorithm, such as `SHA256`.
    pub digest: &'static str,
}

/// The signatures in the packets, without those that do not name their issuer.
pub(crate) fn signatures(bytes: &[u8]) -> Vec<Signature> {
    let made = |packet: &Packet<'_>| {
        let parts = Parts::read(packet.body)?;
        Some(Signature {
            key_id: parts.issuer?,
            algorithm: algorithm(parts.algorithm),
            digest: digest(parts.digest),
        })
    };
    packets(bytes).iter().filter(|packet| packet.tag == SIGNATURE).filter_map(made).collect()
}

/// The fields of a signature.
#[derive(Debug, Default)]
struct Parts {
    kind: u8,
    algorithm: u8,
    digest: u8,
    issuer: Option<String>,
    created: u64,
    /// Lifetime of the key in seconds from its creation; 0 or `None` if it never expires.
    lifetime: Option<u64>,
}

impl Parts {
    fn read(body: &[u8]) -> Option<Self> {
        let version = *body.first()?;
        if matches!(version, 2 | 3) {
            return Some(Self {
                kind: *body.get(2)?,
                created: number(body.get(3..7)?) as u64,
                issuer: Some(hex::encode(body.get(7..15)?)),
                algorithm: *body.get(15)?,
                digest: *body.get(16)?,
                lifetime: None,
            });
        }
        let wide: usize = match version {
            4 | 5 => 2,
            6 => 4,
            _ => return None,
        };
        let mut parts = Self {
            kind: *body.get(1)?,
            algorithm: *body.get(2)?,
            digest: *body.get(3)?,
            ..Self::default()
        };
        let hashed_end = (4 + wide).checked_add(number(body.get(4..4 + wide)?))?;
        parts.take(body.get(4 + wide..hashed_end)?, true)?;
        let unhashed = hashed_end + wide;
        parts.take(
            body.get(unhashed..unhashed.checked_add(number(body.get(hashed_end..unhashed)?))?)?,
            false,
        )?;
        Some(parts)
    }

    /// Reads subpackets. From unhashed ones only the issuer is used.
    fn take(&mut self, mut bytes: &[u8], hashed: bool) -> Option<()> {
        while !bytes.is_empty() {
            let (size, header) = length(bytes)?;
            let body = bytes.get(header..header.checked_add(size)?)?;
            bytes = bytes.get(header + size..)?;
            let (kind, value) = body.split_first()?;
            match (kind & 0x7F, hashed) {
                (2, true) => self.created = number(value.get(..4)?) as u64,
                (9, true) => self.lifetime = Some(number(value.get(..4)?) as u64),
                (16, _) => self.issuer = Some(hex::encode(value.get(..8)?)),
                (33, _) => self.issuer = Some(key_id(&hex::encode(value.get(1..)?))),
                _ => {}
            }
        }
        Some(())
    }
}

/// The key id for a fingerprint: its last digits for a version 4 key, its first for later
/// versions.
pub(crate) fn key_id(fingerprint: &str) -> String {
    let at = if fingerprint.len() == 64 { 0 } else { fingerprint.len().saturating_sub(16) };
    fingerprint.get(at..at + 16).unwrap_or(fingerprint).to_ascii_lowercase()
}

/// Why a key or subkey is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Invalid {
    /// Its owner revoked it.
    Revoked,
    /// It expired, in seconds since 1970.
    Expired(u64),
}

/// A key or subkey of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    /// The fingerprint in upper-case digits.
    pub fingerprint: String,
    /// Its algorithm, such as `RSA`.
    pub algorithm: &'static str,
    /// Why it is not valid, if so.
    pub invalid: Option<Invalid>,
}

/// A primary key with its subkeys: commonly called a key.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    /// The primary key.
    pub primary: Key,
    /// Its subkeys.
    pub subkeys: Vec<Key>,
    /// Its first user id.
    pub user_id: String,
    /// Its packets without those of invalid subkeys.
    packets: Vec<u8>,
}

impl Certificate {
    /// All certificates in the armored blocks of a text; `now` in seconds since 1970.
    pub(crate) fn parse_all(text: &str, now: u64) -> Vec<Self> {
        let mut found = Vec::new();
        for bytes in blocks(text) {
            let packets = packets(&bytes);
            let begins: Vec<usize> = (0..packets.len())
                .filter(|at| packets.get(*at).is_some_and(|p| p.tag == PUBLIC_KEY))
                .collect();
            for (number, begin) in begins.iter().enumerate() {
                let end = begins.get(number + 1).copied().unwrap_or(packets.len());
                found.extend(Self::read(packets.get(*begin..end).unwrap_or_default(), now));
            }
        }
        found
    }

    /// Reads the packets of one certificate.
    fn read(packets: &[Packet<'_>], now: u64) -> Option<Self> {
        let is_key = |packet: &Packet<'_>| packet.tag == PUBLIC_SUBKEY;
        let first_subkey = packets.iter().position(is_key).unwrap_or(packets.len());
        let (primary, mut rest) = packets.split_at(first_subkey);
        let owner = key_id(&fingerprint(primary.first()?.body)?);
        let key = key(
            primary,
            &owner,
            KEY_REVOCATION,
            |kind| CERTIFICATIONS.contains(&kind) || kind == DIRECT_KEY,
            now,
        )?;
        let mut kept: Vec<u8> = primary.iter().flat_map(|packet| packet.whole).copied().collect();
        let mut subkeys = Vec::new();
        while !rest.is_empty() {
            let end = rest.iter().skip(1).position(is_key).map_or(rest.len(), |at| at + 1);
            let (one, others) = rest.split_at(end);
            rest = others;
            let subkey =
                self::key(one, &owner, SUBKEY_REVOCATION, |kind| kind == SUBKEY_BINDING, now);
            if subkey.as_ref().is_none_or(|subkey| subkey.invalid.is_none()) {
                kept.extend(one.iter().flat_map(|packet| packet.whole));
            }
            subkeys.extend(subkey);
        }
        let user_id = primary
            .iter()
            .find(|packet| packet.tag == USER_ID)
            .map(|packet| String::from_utf8_lossy(packet.body).into_owned());
        Some(Self { primary: key, subkeys, user_id: user_id.unwrap_or_default(), packets: kept })
    }

    /// The certificate as an armored block without invalid subkeys, for an import by rpm.
    pub(crate) fn armored(&self) -> String {
        let base64 = STANDARD.encode(&self.packets);
        let mut text = format!("{BEGIN}\n\n");
        for line in base64.as_bytes().chunks(64) {
            text.push_str(&String::from_utf8_lossy(line));
            text.push('\n');
        }
        text + "=" + &STANDARD.encode(crc24(&self.packets)) + "\n" + END + "\n"
    }
}

/// A key from its packet and the signatures that follow it. Only signatures by its owner count.
fn key(
    packets: &[Packet<'_>],
    owner: &str,
    revocation: u8,
    binds: impl Fn(u8) -> bool,
    now: u64,
) -> Option<Key> {
    let (first, rest) = packets.split_first()?;
    let created = number(first.body.get(1..5)?) as u64;
    let signatures = rest.iter().filter(|packet| packet.tag == SIGNATURE);
    let parts: Vec<Parts> = signatures
        .filter_map(|packet| Parts::read(packet.body))
        .filter(|parts| parts.issuer.as_deref().is_none_or(|issuer| issuer == owner))
        .collect();
    let newest = parts.iter().filter(|parts| binds(parts.kind)).max_by_key(|parts| parts.created);
    let end = newest
        .and_then(|parts| parts.lifetime)
        .filter(|seconds| *seconds > 0)
        .map(|seconds| created + seconds);
    let invalid = if parts.iter().any(|parts| parts.kind == revocation) {
        Some(Invalid::Revoked)
    } else {
        end.filter(|end| *end <= now).map(Invalid::Expired)
    };
    Some(Key {
        fingerprint: fingerprint(first.body)?,
        algorithm: algorithm(*first.body.get(5)?),
        invalid,
    })
}

/// The fingerprint of a key's packet, in upper-case digits.
fn fingerprint(body: &[u8]) -> Option<String> {
    let length = u32::try_from(body.len()).ok()?.to_be_bytes();
    Some(match *body.first()? {
        4 => hex::encode_upper(
            sha1::Sha1::new()
                .chain_update([0x99])
                .chain_update(&length[2..])
                .chain_update(body)
                .finalize(),
        ),
        version @ (5 | 6) => {
            let begin = [if version == 5 { 0x9A } else { 0x9B }];
            hex::encode_upper(<sha2::Sha256 as sha2::Digest>::digest(
                [&begin[..], &length, body].concat(),
            ))
        }
        _ => return None,
    })
}

/// The bytes of the armored public keys in a text.
fn blocks(text: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while lines.any(|line| line == BEGIN) {
        let body: Vec<&str> = lines.by_ref().take_while(|line| *line != END).collect();
        let headers = body.iter().position(|line| line.is_empty()).map_or(0, |at| at + 1);
        let data: String =
            body.iter().skip(headers).take_while(|line| !line.starts_with('=')).copied().collect();
        found.extend(STANDARD.decode(data));
    }
    found
}

/// The checksum of an armored block (RFC 9580, 6.1.1); rpm before 4.20 requires it.
fn crc24(bytes: &[u8]) -> [u8; 3] {
    let mut sum: u32 = 0x00B7_04CE;
    for byte in bytes {
        sum ^= u32::from(*byte) << 16;
        for _ in 0..8 {
            sum = (sum << 1) ^ if sum & 0x0080_0000 == 0 { 0 } else { 0x0186_4CFB };
        }
    }
    let [_, a, b, c] = sum.to_be_bytes();
    [a, b, c]
}

fn algorithm(number: u8) -> &'static str {
    match number {
        1..=3 => "RSA",
        17 => "DSA",
        19 => "ECDSA",
        22 => "EdDSA",
        27 => "Ed25519",
        28 => "Ed448",
        30 => "ML-DSA-65+Ed25519",
        31 => "ML-DSA-87+Ed448",
        32..=34 => "SLH-DSA",
        _ => "an unknown algorithm",
    }
}

fn digest(number: u8) -> &'static str {
    match number {
        1 => "MD5",
        2 => "SHA1",
        3 => "RIPEMD160",
        8 => "SHA256",
        9 => "SHA384",
        10 => "SHA512",
        11 => "SHA224",
        12 => "SHA3-256",
        14 => "SHA3-512",
        _ => "an unknown digest",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgp::composed::{ArmorOptions, KeyType, SecretKeyParamsBuilder};
    use pgp::types::KeyDetails;

    #[test]
    fn another_reader_agrees_on_the_keys_and_can_read_what_is_written() {
        let made = |name: &str| {
            let mut params = SecretKeyParamsBuilder::default();
            params.key_type(KeyType::Ed25519Legacy).can_sign(true).primary_user_id(name.to_owned());
            params.build().unwrap().generate(rand::thread_rng()).unwrap().to_public_key()
        };
        let keys = ["a <a@x.invalid>", "b <b@x.invalid>"].map(made);
        let text: String = keys
            .iter()
            .map(|key| key.to_armored_string(ArmorOptions::default()).unwrap() + "\nnotes\n")
            .collect();
        let found = Certificate::parse_all(&text, u64::MAX);
        assert_eq!(found.len(), 2);
        for (key, found) in keys.iter().zip(&found) {
            let fingerprint = format!("{:X}", key.fingerprint());
            assert_eq!(
                found.primary,
                Key { fingerprint: fingerprint.clone(), algorithm: "EdDSA", invalid: None }
            );
            assert_eq!(key_id(&fingerprint), fingerprint[24..].to_lowercase());
            assert_eq!(found.user_id.as_bytes(), key.details.users[0].id.id());
            let (again, _) =
                <pgp::composed::SignedPublicKey as pgp::composed::Deserializable>::from_string(
                    &found.armored(),
                )
                .unwrap();
            assert_eq!(again, *key);
        }
    }

    #[test]
    fn the_id_of_a_version_6_key_is_the_start_of_its_fingerprint() {
        let fingerprint = "0123456789ABCDEF".to_owned() + &"F".repeat(48);
        assert_eq!(key_id(&fingerprint), "0123456789abcdef");
        // A version 6 signature with the subpackets of its time and its issuer.
        let mut body = vec![6, 0, 27, 8, 0, 0, 0, 41, 5, 2, 0, 0, 0, 9, 34, 33, 6];
        body.extend(hex::decode(&fingerprint).unwrap());
        body.extend([0, 0, 0, 0]);
        let packet = [&[0xC2, u8::try_from(body.len()).unwrap()][..], &body].concat();
        let found = signatures(&packet);
        assert_eq!(
            found,
            [Signature {
                key_id: "0123456789abcdef".into(),
                algorithm: "Ed25519",
                digest: "SHA256"
            }]
        );
        assert!((0..packet.len()).all(|end| signatures(&packet[..end]).is_empty()));
    }

    #[test]
    fn lengths_beyond_the_end_of_a_packet_are_refused() {
        for bytes in [
            &[0xC2, 255, 255, 255, 255, 255, 4][..],
            &[0x9A, 255, 255, 255, 255],
            &[0xC2, 224, 1],
            &[0x9B, 1],
            &[0xC2],
            &[],
        ] {
            assert!(packets(bytes).is_empty(), "{bytes:?}");
        }
        // Subpackets that are longer than their signature.
        assert!(Parts::read(&[4, 0, 1, 8, 255, 255, 9]).is_none());
        assert!(Parts::read(&[4, 0, 1, 8, 0, 2, 200, 200, 0, 0]).is_none());
    }
}
