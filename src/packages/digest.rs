//! Package files: a check of their size and checksum, and the contents of their headers.

use anyhow::Context;
use sha2::digest::DynDigest;
use std::fs::File;
use std::path::Path;

use super::hints::CHANGED;
use crate::error::{ExitCode, Failure, Result};
use crate::openpgp::Signature;
use crate::private::display_path;
use crate::rpmheader::{self, PackageHeaders, tag};

/// Whether the file has this size and this `algorithm:hex` checksum; false for an unknown
/// algorithm.
///
/// # Errors
/// If the file cannot be read.
pub(super) fn matches(file: &Path, checksum: &str, size: u64) -> Result<bool> {
    let reading = || format!("reading {}", display_path(file));
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
/// If the file cannot be read.
pub(super) fn sha256(file: &Path) -> Result<(String, u64)> {
    let reading = || format!("reading {}", display_path(file));
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

/// The contents of a package file's headers.
#[derive(Debug)]
pub(super) struct Header {
    /// `name-epoch:version-release.arch`.
    pub nevra: String,
    /// Installed size in bytes.
    pub installed: u64,
    /// Build time in seconds since 1970.
    pub built: i64,
    /// Its signatures, valid or not.
    pub signatures: Vec<Signature>,
}

/// Reads the headers of a package file, but not its payload.
///
/// # Errors
/// [`ExitCode::Trust`] if it is not a package.
pub(super) fn header(file: &Path) -> Result<Header> {
    let mut open =
        crate::files::open(file).with_context(|| format!("reading {}", display_path(file)))?;
    PackageHeaders::read(&mut open).and_then(|headers| read(&headers)).map_err(|error| {
        let name = file.file_name().unwrap_or_default().display();
        let message =
            format!("checking the package {name}: it is not a package, or its header is damaged");
        Failure::new(ExitCode::Trust, message).because(error).hint(CHANGED).into()
    })
}

fn read(headers: &PackageHeaders) -> Result<Header> {
    let (main, signatures) =
        (rpmheader::Header::parse(&headers.main)?, rpmheader::Header::parse(&headers.signatures)?);
    Ok(Header {
        nevra: main.nevra()?,
        installed: main.size()?,
        built: main
            .number(tag::BUILD_TIME)?
            .and_then(|seconds| i64::try_from(seconds).ok())
            .unwrap_or(0),
        signatures: rpmheader::signatures(&signatures),
    })
}

/// The `name-epoch:version-release.arch` of a package file, and the ids of the keys in its
/// signatures.
///
/// # Errors
/// [`ExitCode::Trust`] if it is not a package.
pub fn identify(file: &Path) -> Result<(String, Vec<String>)> {
    let header = header(file)?;
    Ok((header.nevra, header.signatures.into_iter().map(|signature| signature.key_id).collect()))
}
