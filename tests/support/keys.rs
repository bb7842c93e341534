//! Signing keys. Every run of the tests makes new ones, and no secret key is stored.

use pgp::composed::{
    ArmorOptions, Deserializable, KeyType, SecretKeyParamsBuilder, SignedSecretKey,
};
use pgp::types::KeyDetails;
use std::sync::OnceLock;

/// A key that signs packages.
pub struct SigningKey {
    /// Used by `rpm` to sign.
    pub signer: rpm::signature::pgp::Signer,
    /// The armored public key.
    pub public: String,
    /// Forty upper-case hexadecimal digits.
    pub fingerprint: String,
    /// The time of the signatures, not earlier than the key.
    pub time: u32,
}

/// The key that the settings of the tests pin.
pub fn ours() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| SigningKey::make("osimg tests <tests@example.invalid>"))
}

/// A valid key that is not pinned.
pub fn foreign() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| SigningKey::make("someone else <else@example.invalid>"))
}

impl SigningKey {
    /// 2048 bits suffice for a key that is used for a minute.
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
