//! Signatures that Glance checks while it stores an image: RSA-PSS over SHA-256.
//!
//! <https://docs.openstack.org/glance/latest/user/signature.html>; Glance ignores them silently unless all four properties are there.

use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs8::DecodePrivateKey;
use rsa::rand_core::OsRng;
use rsa::traits::PublicKeyParts;
use rsa::{Pss, RsaPrivateKey};
use sha2_of_rsa::Sha256;
use std::collections::BTreeMap;

use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::registry::piece::Piece;
use crate::registry::wishes::SignatureKey;

/// Bytes of a SHA-256 digest.
const DIGEST: usize = 32;

/// Signs a piece, and adds the four properties.
pub(super) fn add(properties: &mut BTreeMap<String, String>, key: &SignatureKey, piece: &Piece) -> Result<()> {
    let doing = || format!("signing with {}", key.key.display());
    let text = std::fs::read_to_string(&key.key).or_fail(ExitCode::Trust, doing())?;
    let private = RsaPrivateKey::from_pkcs8_pem(&text).or_else(|_| RsaPrivateKey::from_pkcs1_pem(&text)).map_err(|_| {
        Failure::new(ExitCode::Trust, format!("{}: it is no RSA private key in PEM without a password", doing()))
            .hint("openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out key.pem")
    })?;
    let digest = unhex(&piece.sha256);
    // Glance's verifier asks for the longest salt that fits.
    let salt = private.size().saturating_sub(DIGEST + 2);
    let signature = private.sign_with_rng(&mut OsRng, Pss::new_with_salt::<Sha256>(salt), &digest).or_fail(ExitCode::Trust, doing())?;
    for (name, value) in [
        ("img_signature", base64(&signature)),
        ("img_signature_hash_method", "SHA-256".to_owned()),
        ("img_signature_key_type", "RSA-PSS".to_owned()),
        ("img_signature_certificate_uuid", key.certificate.clone()),
    ] {
        properties.insert(name.to_owned(), value);
    }
    Ok(())
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).filter_map(|d| u8::try_from(d).ok()).collect();
    digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect()
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let number = group.iter().fold(0_u32, |n, byte| n << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = DIGITS.get((number >> (18 - 6 * place) & 63) as usize).copied().unwrap_or(b'=');
            text.push(if place <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        // RFC 4648, section 10
        for (plain, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE=")] {
            assert_eq!(base64(plain.as_bytes()), text);
        }
        assert_eq!(base64(&[0xFB, 0xFF]), "+/8=");
        assert_eq!(unhex("00ff7a"), [0, 255, 0x7A]);
    }
}
