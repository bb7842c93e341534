//! Files of packages against what is said of them: size, checksum, header and signature.

use anyhow::Context;
use rpm::signature::pgp::Verifier;
use sha2::digest::DynDigest;
use std::cell::Cell;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Once;

use super::answers::CHANGED;
use super::keys::{self, PinnedKey};
use super::lengths;
use crate::error::{ExitCode, Failure, Result};

/// Bytes that are read at a time.
const CHUNK: usize = 1 << 18;

/// Whether the file has that size and that `algorithm:hex` checksum; an algorithm that we do not know holds for no file.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn holds(file: &Path, checksum: &str, size: u64) -> Result<bool> {
    let reading = || format!("reading {}", file.display());
    let mut open = crate::files::open(file).with_context(reading)?;
    let (kind, hex) = checksum.split_once(':').unwrap_or((checksum, ""));
    let mut hash: Box<dyn DynDigest> = match kind {
        "sha224" => Box::new(sha2::Sha224::default()),
        "sha256" => Box::new(sha2::Sha256::default()),
        "sha384" => Box::new(sha2::Sha384::default()),
        "sha512" => Box::new(sha2::Sha512::default()),
        _ => return Ok(false),
    };
    if open.metadata().with_context(reading)?.len() != size {
        return Ok(false);
    }
    feed(&mut open, hash.as_mut()).with_context(reading)?;
    Ok(hex::encode(hash.finalize()).eq_ignore_ascii_case(hex))
}

/// The `sha256:` checksum of the file, and its size in bytes.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn of(file: &Path) -> Result<(String, u64)> {
    let reading = || format!("reading {}", file.display());
    let mut open = crate::files::open(file).with_context(reading)?;
    let mut hash: Box<dyn DynDigest> = Box::new(sha2::Sha256::default());
    let size = feed(&mut open, hash.as_mut()).with_context(reading)?;
    Ok((format!("sha256:{}", hex::encode(hash.finalize())), size))
}

/// Reads the file to its end; returns its size in bytes.
fn feed(file: &mut File, hash: &mut dyn DynDigest) -> std::io::Result<u64> {
    let mut buffer = vec![0; CHUNK];
    let mut size = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(size),
            read => {
                hash.update(buffer.get(..read).unwrap_or_default());
                size += read as u64;
            }
        }
    }
}

/// What the header of a package's file says.
#[derive(Debug)]
pub(super) struct Header {
    /// `name-epoch:version-release.arch`.
    pub nevra: String,
    /// Bytes when installed.
    pub installed: u64,
    /// When it was built, in seconds since 1970.
    pub built: i64,
    /// The fingerprint of the pinned key whose signature over the header holds, or the key id of one that is not pinned.
    pub signer: Option<Signer>,
}

/// Who signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Signer {
    /// A pinned key, by its fingerprint; the signature holds.
    Pinned(String),
    /// Somebody whose key is not pinned, by the key's id.
    Unknown(String),
}

impl Signer {
    /// The fingerprint or key id.
    pub fn name(&self) -> &str {
        match self {
            Self::Pinned(name) | Self::Unknown(name) => name,
        }
    }
}

/// Reads the header of a package's file and checks its signature by the pinned keys; the payload is not read.
///
/// # Errors
/// [`ExitCode::Trust`] when it is no package, or a signature in a pinned key's name does not hold.
pub(super) fn header(file: &Path, keys: &[PinnedKey]) -> Result<Header> {
    let reading = || format!("reading {}", file.display());
    let lengths_hold = lengths::hold(&mut crate::files::open(file).with_context(reading)?).with_context(reading)?;
    lengths_hold.then(|| quietly(|| read_header(file, keys))).flatten().unwrap_or_else(|| {
        let message = format!("checking the package {}: it is no package, or its header is damaged", file.display());
        Err(Failure::new(ExitCode::Trust, message).hint(CHANGED).into())
    })
}

/// The package in a file, `name-epoch:version-release.arch`, and the pinned key that signed it.
///
/// # Errors
/// As for every package of a lock: [`ExitCode::Trust`] when it is none, or a signature in a pinned key's name does not hold.
pub fn identify(file: &Path, keys: &[PinnedKey]) -> Result<(String, Option<String>)> {
    let header = header(file, keys)?;
    let signer = header.signer.and_then(|signer| match signer {
        Signer::Pinned(fingerprint) => Some(fingerprint),
        Signer::Unknown(_) => None,
    });
    Ok((header.nevra, signer))
}

thread_local! {
    /// Whether a panic of this thread is caught and told in words of our own.
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// The reader of packages believes some lengths and places in damaged headers, and panics; that is no reason to end as by a defect.
fn quietly<T>(work: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !CAUGHT.get() {
                hook(panic);
            }
        }));
    });
    CAUGHT.set(true);
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    CAUGHT.set(false);
    done.ok()
}

fn read_header(file: &Path, keys: &[PinnedKey]) -> Result<Header> {
    let trust = |why: String| Failure::new(ExitCode::Trust, format!("checking the package {}: {why}", file.display())).hint(CHANGED);
    let metadata = rpm::PackageMetadata::open(file).map_err(|error| trust("it is no package".into()).because(error))?;
    let nevra = metadata.get_nevra().map_err(|error| trust("its header has no name".into()).because(error))?;
    let epoch = if nevra.epoch().is_empty() { "0" } else { nevra.epoch() };
    let name = format!("{}-{epoch}:{}-{}.{}", nevra.name(), nevra.version(), nevra.release(), nevra.arch());
    let signatures = metadata.signatures().map_err(|error| trust("its signature cannot be read".into()).because(error))?;
    let id = signatures.iter().find_map(|s| s.key_id().or(s.fingerprint().and_then(|f| f.get(f.len().saturating_sub(16)..))));
    let signer = match id.map(|id| (id, keys::signer(keys, id))) {
        None => None,
        Some((id, None)) => Some(Signer::Unknown(id.to_ascii_uppercase())),
        Some((_, Some(key))) => {
            let holds = Verifier::from_asc(&key.armored).and_then(|verifier| metadata.verify_signature(verifier));
            holds.map_err(|error| trust(format!("its signature by {} does not hold", key.fingerprint)).because(error))?;
            Some(Signer::Pinned(key.fingerprint.clone()))
        }
    };
    Ok(Header {
        nevra: name,
        installed: metadata.get_installed_size().unwrap_or(0),
        built: metadata.get_build_time().ok().and_then(|seconds| i64::try_from(seconds).ok()).unwrap_or(0),
        signer,
    })
}
