//! The file of an archive.

use crate::archive::ImageFormat;

/// The tarball as a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its format, whatever its name is.
    pub format: ImageFormat,
    /// Its size.
    pub bytes: u64,
    /// The archive's size before compression.
    pub tar_bytes: u64,
    /// Its SHA-256, when digests were asked for.
    pub sha256: Option<[u8; 32]>,
}
