//! What was written.

use super::format::Format;
use serde::{Serialize, Serializer};
use std::path::PathBuf;

/// A tarball that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Packed {
    /// Its compression.
    pub format: Format,
    /// The compressor's own level.
    pub level: u32,
    /// The most bytes of the archive that are compressed at once, independently of the others.
    pub block: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256 in lower-case hexadecimal.
    pub sha256: String,
    /// Its SHA-512 in lower-case hexadecimal.
    pub sha512: String,
}

/// The result of packing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Members of the archive.
    pub entries: u64,
    /// Bytes of the archive before compression.
    pub bytes: u64,
    /// SHA-256 of the archive before compression, in lower-case hexadecimal: the same for every
    /// format of one tree.
    pub sha256: String,
    /// The tarballs, in the order of the outputs.
    pub outputs: Vec<Packed>,
    /// Members that carry an SELinux label.
    pub labels: u64,
    /// Members without a label although labels were asked for.
    pub unlabelled: u64,
    /// The first of them, absolute inside the image.
    #[serde(serialize_with = "lossy")]
    pub unlabelled_paths: Vec<PathBuf>,
    /// Sockets, which an archive cannot hold, absolute inside the image.
    #[serde(serialize_with = "lossy")]
    pub sockets: Vec<PathBuf>,
    /// Warnings for the user.
    pub warnings: Vec<String>,
}

/// Paths are bytes, and JSON is text: bytes that are not UTF-8 become replacement characters.
fn lossy<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| path.to_string_lossy()))
}
