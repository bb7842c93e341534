//! Detached signatures: by minisign (small keys, a small tool) and OpenPGP (which users of
//! distributions have).

use anyhow::{Context, anyhow};
use ct_codecs::{Base64, Decoder};
use pgp::composed::{ArmorOptions, Deserializable, DetachedSignature, SignedSecretKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::types::{KeyDetails, Password};
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::document::Document;
use crate::error::{ExitCode, Failure, Result, ResultExt};

/// The environment variable for the passphrase of signing keys.
const PASSPHRASE: &str = "OSIMG_SIGN_PASSPHRASE";
/// The size limit of a key file; real ones have a few KiB.
const LARGEST_KEY: u64 = 1 << 20;

/// The signature scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// `FILE.minisig`
    Minisign,
    /// `FILE.asc`
    OpenPgp,
}

impl Scheme {
    const fn suffix(self) -> &'static str {
        match self {
            Self::Minisign => "minisig",
            Self::OpenPgp => "asc",
        }
    }
}

/// A signing key as given by the user: `minisign:FILE` or `openpgp:FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignKey {
    /// The scheme.
    pub scheme: Scheme,
    /// The file with the secret key.
    pub file: PathBuf,
}

impl FromStr for SignKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, file) = match text.split_once(':') {
            Some(("minisign", file)) => (Scheme::Minisign, file),
            Some(("openpgp", file)) => (Scheme::OpenPgp, file),
            _ => {
                return Err(format!(
                    "'{text}' is not a signing key: write minisign:FILE or openpgp:FILE"
                ));
            }
        };
        if file.is_empty() {
            return Err(format!("'{text}' has no file: write minisign:FILE or openpgp:FILE"));
        }
        Ok(Self { scheme, file: file.into() })
    }
}

/// The passphrase of a locked key; it is never printed.
#[derive(Clone, Default)]
pub(crate) struct Passphrase(Option<String>);

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Passphrase(***)" } else { "Passphrase(none)" })
    }
}

impl Passphrase {
    /// The first line of `file`, or else the variable `OSIMG_SIGN_PASSPHRASE`, or else none.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn find(file: Option<&Path>) -> Result<Self> {
        let passphrase = match file {
            None => std::env::var(PASSPHRASE).ok(),
            Some(file) => {
                let text = read_small(file).or_fail(
                    ExitCode::Recipe,
                    format!("reading the passphrase in {}", file.display()),
                )?;
                Some(text.lines().next().unwrap_or_default().to_owned())
            }
        };
        passphrase.as_deref().into_iter().for_each(crate::secrets::conceal);
        Ok(Self(passphrase))
    }
}

/// An opened signing key.
pub(crate) struct Signer {
    file: PathBuf,
    key: Secret,
}

enum Secret {
    Minisign(Box<minisign::SecretKey>),
    OpenPgp(Box<SignedSecretKey>, Password),
}

/// Prints only the file name; derived implementations of the libraries would print the secret.
impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Signer {
    /// Reads the key, and unlocks it with the passphrase if necessary.
    ///
    /// # Errors
    /// [`ExitCode::Trust`] if it is not such a key, or if the passphrase is missing or wrong.
    pub(crate) fn open(key: &SignKey, passphrase: &Passphrase) -> Result<Self> {
        let opening = || format!("opening the signing key {}", key.file.display());
        let text = read_small(&key.file).or_fail(ExitCode::Recipe, opening())?;
        let secret = match key.scheme {
            Scheme::Minisign => open_minisign(&text, passphrase),
            Scheme::OpenPgp => open_pgp(&text, passphrase),
        };
        match secret {
            Ok(key_) => Ok(Self { file: key.file.clone(), key: key_ }),
            Err(error) => Err(Failure::new(ExitCode::Trust, opening())
                .because(error)
                .hint(format!(
                    "the passphrase is read from --sign-passphrase-file FILE or from the variable \
                     {PASSPHRASE}"
                ))
                .into()),
        }
    }

    /// Signs the contents of `data`, for the file `name`.
    ///
    /// # Errors
    /// If it cannot be read or the key cannot sign.
    pub(super) fn sign(&self, name: &str, epoch: i64, data: impl Read) -> Result<Document> {
        let signing = || format!("signing {name} with {}", self.file.display());
        let (scheme, text) = match &self.key {
            Secret::Minisign(key) => {
                // The name is part of the signed text, so that one image cannot be passed off as
                // another.
                let trusted = format!("timestamp:{epoch}\tfile:{name}\thashed");
                let signature =
                    minisign::sign(None, key, data, Some(&trusted), Some("signature from osimg"));
                (
                    Scheme::Minisign,
                    signature
                        .map_err(|error| anyhow!("{error}"))
                        .with_context(signing)?
                        .into_string(),
                )
            }
            Secret::OpenPgp(key, password) => {
                (Scheme::OpenPgp, sign_pgp(key, password, data).with_context(signing)?)
            }
        };
        Ok(Document {
            suffix: scheme.suffix().to_owned(),
            of: Some(name.to_owned()),
            content: text.into_bytes(),
        })
    }
}

fn open_minisign(text: &str, passphrase: &Passphrase) -> Result<Secret> {
    let encoded =
        text.lines().nth(1).context("it is not a minisign key: its second line is missing")?;
    let bytes = Base64::decode_to_vec(encoded.trim(), None)
        .map_err(|_| anyhow!("it is not a minisign key: its second line is not base64"))?;
    anyhow::ensure!(bytes.starts_with(b"Ed"), "it is not a secret key of minisign");
    let key = minisign::SecretKey::from_bytes(&bytes).map_err(|error| anyhow!("{error}"))?;
    if !key.is_encrypted() {
        return Ok(Secret::Minisign(Box::new(key)));
    }
    // Without a passphrase the library would prompt at the terminal during the build.
    let Some(passphrase) = &passphrase.0 else {
        anyhow::bail!("it is locked, but no passphrase was given")
    };
    let locked = minisign::SecretKeyBox::from_string(text).map_err(|error| anyhow!("{error}"))?;
    let key =
        locked.into_secret_key(Some(passphrase.clone())).map_err(|error| anyhow!("{error}"))?;
    Ok(Secret::Minisign(Box::new(key)))
}

fn open_pgp(text: &str, passphrase: &Passphrase) -> Result<Secret> {
    let (key, _) =
        SignedSecretKey::from_string(text).context("reading an armored OpenPGP secret key")?;
    let password = passphrase.0.as_deref().map_or_else(Password::empty, Password::from);
    // The test shows before the build whether the key can be unlocked.
    sign_pgp(&key, &password, &b""[..]).context("trying the key")?;
    Ok(Secret::OpenPgp(Box::new(key), password))
}

/// Signs with the newest signing subkey, like gpg, or else with the primary key.
fn sign_pgp(key: &SignedSecretKey, password: &Password, data: impl Read) -> Result<String> {
    let subkey = key
        .secret_subkeys
        .iter()
        .filter(|subkey| subkey.signatures.iter().any(|signature| signature.key_flags().sign()))
        .max_by_key(|subkey| subkey.key.created_at());
    let random = rand::thread_rng();
    let signature = match subkey {
        Some(subkey) => DetachedSignature::sign_binary_data(
            random,
            &subkey.key,
            password,
            HashAlgorithm::Sha512,
            data,
        )?,
        None => DetachedSignature::sign_binary_data(
            random,
            &key.primary_key,
            password,
            HashAlgorithm::Sha512,
            data,
        )?,
    };
    Ok(signature.to_armored_string(ArmorOptions::default())?)
}

fn read_small(file: &Path) -> Result<String> {
    Ok(crate::files::read_text(file, LARGEST_KEY)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_given_by_its_scheme_and_file() {
        assert_eq!(
            "minisign:/k".parse(),
            Ok(SignKey { scheme: Scheme::Minisign, file: "/k".into() })
        );
        assert_eq!(
            "openpgp:a:b".parse(),
            Ok(SignKey { scheme: Scheme::OpenPgp, file: "a:b".into() })
        );
        for text in ["", "minisign:", "gpg:/k", "/k"] {
            assert!(text.parse::<SignKey>().is_err(), "{text}");
        }
    }

    #[test]
    fn keys_and_passphrases_are_printed_without_secrets() {
        let pair = minisign::KeyPair::generate_unencrypted_keypair().expect("a key");
        let signer = Signer { file: "/k".into(), key: Secret::Minisign(Box::new(pair.sk)) };
        assert_eq!(format!("{signer:?}"), "Signer { file: \"/k\", .. }");
        assert_eq!(format!("{:?}", Passphrase(Some("hush".into()))), "Passphrase(***)");
    }
}
