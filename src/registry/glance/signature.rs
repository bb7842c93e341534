//! Signatures that Glance checks while it stores an image: RSA-PSS over SHA-256.
//!
//! <https://docs.openstack.org/glance/latest/user/signature.html>; Glance ignores them silently
//! unless all four properties are there.

use base64::{Engine, engine::general_purpose::STANDARD};
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs8::DecodePrivateKey;
use rsa::rand_core::OsRng;
use rsa::traits::PublicKeyParts;
use rsa::{Pss, RsaPrivateKey};
use sha2_of_rsa::Sha256;
use std::collections::BTreeMap;

use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::registry::options::SignatureKey;
use crate::set::Piece;

/// Bytes of a SHA-256 digest.
const DIGEST: usize = 32;

/// Signs a piece, and adds the four properties.
pub(super) fn add(
    properties: &mut BTreeMap<String, String>,
    key: &SignatureKey,
    piece: &Piece,
) -> Result<()> {
    let doing = || format!("signing with {}", key.key.display());
    let text =
        crate::files::read_text(&key.key, crate::files::TEXT).or_fail(ExitCode::Recipe, doing())?;
    let private = RsaPrivateKey::from_pkcs8_pem(&text)
        .or_else(|_| RsaPrivateKey::from_pkcs1_pem(&text))
        .map_err(|_| {
            Failure::new(
                ExitCode::Trust,
                format!("{}: it is not an RSA private key in PEM without a password", doing()),
            )
            .hint("openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out key.pem")
        })?;
    let digest = hex::decode(&piece.sha256).or_fail(ExitCode::Unexpected, doing())?;
    // Glance's verifier asks for the longest salt that fits.
    let salt = private.size().saturating_sub(DIGEST + 2);
    let signature = private
        .sign_with_rng(&mut OsRng, Pss::new_with_salt::<Sha256>(salt), &digest)
        .or_fail(ExitCode::Trust, doing())?;
    for (name, value) in [
        ("img_signature", STANDARD.encode(&signature)),
        ("img_signature_hash_method", "SHA-256".to_owned()),
        ("img_signature_key_type", "RSA-PSS".to_owned()),
        ("img_signature_certificate_uuid", key.certificate.clone()),
    ] {
        properties.insert(name.to_owned(), value);
    }
    Ok(())
}
