//! A file that was written, of any format.

use super::{ImageFormat, Packed};

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
}
