//! A file that was written, of any format.

use sha2::{Digest, Sha256, Sha512};
use std::fs::File;
use std::io::Seek;

use super::{ImageFormat, Packed};
use crate::error::Result;
use crate::files;

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Written {
    /// Its format.
    pub format: ImageFormat,
    /// The compressor's own level; 0 of a format without numbered levels.
    pub level: u32,
    /// The most bytes that are compressed at once, independently of the others.
    pub block: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256 in lower-case hexadecimal.
    pub sha256: String,
    /// Its SHA-512 in lower-case hexadecimal.
    pub sha512: String,
}

impl Written {
    pub(super) fn tarball(packed: Packed) -> Self {
        let Packed { format, level, block, bytes, sha256, sha512 } = packed;
        Self { format: format.into(), level, block, bytes, sha256, sha512 }
    }

    /// A file that a program or several parts have filled, by its content.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn measured(
        file: &File,
        format: ImageFormat,
        (level, block): (u32, u64),
    ) -> Result<Self> {
        let (mut sha256, mut sha512) = (Sha256::new(), Sha512::new());
        let bytes = read(file, |part| {
            sha256.update(part);
            sha512.update(part);
        })?;
        let (sha256, sha512) = (hex::encode(sha256.finalize()), hex::encode(sha512.finalize()));
        Ok(Self { format, level, block, bytes, sha256, sha512 })
    }
}

/// The SHA-256 of a file.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn file_sha256(file: &File) -> Result<[u8; 32]> {
    let mut sum = Sha256::new();
    read(file, |part| sum.update(part))?;
    Ok(sum.finalize().into())
}

/// Reads the file from its beginning; returns its size.
fn read(mut file: &File, mut each: impl FnMut(&[u8])) -> Result<u64> {
    let failed = |error| anyhow::Error::from(error).context("reading the image");
    file.rewind().map_err(failed)?;
    files::read_chunks(&mut file, failed, |part| {
        each(part);
        Ok(())
    })
}
