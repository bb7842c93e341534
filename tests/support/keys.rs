//! Signing keys, made again for every run of the tests: nothing that could sign is kept anywhere.

use pgp::composed::{ArmorOptions, Deserializable, KeyType, SecretKeyParamsBuilder, SignedSecretKey};
use pgp::types::KeyDetails;
use std::sync::OnceLock;

/// A key that signs packages.
pub struct SigningKey {
    /// For `rpm`'s signing.
    pub signer: rpm::signature::pgp::Signer,
    /// The armored public key.
    pub public: String,
    /// Forty upper-case hexadecimal digits.
    pub fingerprint: String,
    /// The time that signatures carry: no earlier than the key.
    pub time: u32,
}

/// The key that the settings of the tests pin.
pub fn ours() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| SigningKey::make("osimg tests <tests@example.invalid>"))
}

/// A key as good as ours, which nobody pinned.
pub fn foreign() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| SigningKey::make("someone else <else@example.invalid>"))
}

impl SigningKey {
    /// 2048 bits, because a key of a minute need not last.
    fn make(owner: &str) -> Self {
        let secret = SecretKeyParamsBuilder::default()
            .key_type(KeyType::Rsa(2048))
            .can_certify(true)
            .can_sign(true)
            .primary_user_id(owner.to_owned())
            .build()
            .unwrap()
            .generate(rand::thread_rng())
            .unwrap();
        let armored = secret.to_armored_string(ArmorOptions::default()).unwrap();
        let (key, _) = SignedSecretKey::from_string(&armored).unwrap();
        let public = key.to_public_key();
        Self {
            signer: rpm::signature::pgp::Signer::from_asc(&armored).unwrap(),
            fingerprint: format!("{:X}", public.fingerprint()),
            public: public.to_armored_string(ArmorOptions::default()).unwrap(),
            time: key.details.users[0].signatures[0].created().unwrap().as_secs(),
        }
    }
}
