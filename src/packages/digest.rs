//! Files of packages: whether they have the promised size and checksum, and what their headers
//! contain.

use anyhow::Context;
use sha2::digest::DynDigest;
use std::fs::File;
use std::path::Path;

use super::hints::CHANGED;
use crate::error::{ExitCode, Failure, Result};
use crate::openpgp::Signature;
use crate::private::shown;
use crate::rpmheader::{self, PackageHeaders, tag};

/// Whether the file has that size and that `algorithm:hex` checksum; an algorithm that we do not
/// know holds for no file.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn holds(file: &Path, checksum: &str, size: u64) -> Result<bool> {
    let reading = || format!("reading {}", shown(file));
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
    let reading = || format!("reading {}", shown(file));
    let mut open = crate::files::open(file).with_context(reading)?;
    let mut hash: Box<dyn DynDigest> = Box::new(sha2::Sha256::default());
    let size = feed(&mut open, hash.as_mut()).with_context(reading)?;
    Ok((format!("sha256:{}", hex::encode(hash.finalize())), size))
}

/// Reads the file to its end; returns its size in bytes.
fn feed(file: &mut File, hash: &mut dyn DynDigest) -> Result<u64> {
    crate::files::read_chunks(file, Into::into, |bytes| {
        hash.update(bytes);
        Ok(())
    })
}

/// What the headers of a package's file contain.
#[derive(Debug)]
pub(super) struct Header {
    /// `name-epoch:version-release.arch`.
    pub nevra: String,
    /// Bytes when installed.
    pub installed: u64,
    /// When it was built, in seconds since 1970.
    pub built: i64,
    /// Its signatures, whether they hold or not.
    pub signatures: Vec<Signature>,
}

/// Reads the headers of a package's file; the payload is not read.
///
/// # Errors
/// [`ExitCode::Trust`] when it is not a package.
pub(super) fn header(file: &Path) -> Result<Header> {
    let mut open = crate::files::open(file).with_context(|| format!("reading {}", shown(file)))?;
    PackageHeaders::read(&mut open).and_then(|headers| read(&headers)).map_err(|error| {
        let name = file.file_name().unwrap_or_default().display();
        let message = format!("checking the package {name}: it is not a package, or its header is damaged");
        Failure::new(ExitCode::Trust, message).because(error).hint(CHANGED).into()
    })
}

fn read(headers: &PackageHeaders) -> Result<Header> {
    let (main, signatures) = (rpmheader::Header::parse(&headers.main)?, rpmheader::Header::parse(&headers.signatures)?);
    Ok(Header {
        nevra: main.nevra()?,
        installed: main.size()?,
        built: main.number(tag::BUILD_TIME)?.and_then(|seconds| i64::try_from(seconds).ok()).unwrap_or(0),
        signatures: rpmheader::signatures(&signatures),
    })
}

/// The package in a file, `name-epoch:version-release.arch`, and the ids of the keys that its
/// signatures name.
///
/// # Errors
/// [`ExitCode::Trust`] when it is not a package.
pub fn identify(file: &Path) -> Result<(String, Vec<String>)> {
    let header = header(file)?;
    Ok((header.nevra, header.signatures.into_iter().map(|signature| signature.key_id).collect()))
}
