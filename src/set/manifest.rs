//! The manifest of a set: what the tarballs are and what went into them.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::archive::ImageFormat;

/// The manifest's format version; raised whenever a field changes its meaning.
pub(crate) const MANIFEST_VERSION: u32 = 1;

/// The manifest of an artifact: `NAME-VERSION.json` next to the tarballs.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Manifest {
    /// [`MANIFEST_VERSION`].
    pub manifest_version: u32,
    /// The image's name.
    pub name: String,
    /// The image's version.
    pub version: String,
    /// The image's architecture, as rpm names it.
    pub arch: String,
    /// Seconds since 1970 that the image's files are dated by.
    pub source_date_epoch: i64,
    /// The tools that made it.
    pub builder: Builder,
    /// The recipe.
    pub recipe: Input,
    /// The lock that it was built by, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<Locked>,
    /// The settings, as they were understood.
    pub settings: serde_json::Value,
    /// `ID`, `VERSION_ID` and the rest of the image's os-release.
    pub os_release: BTreeMap<String, String>,
    /// Kernel versions in the image.
    pub kernels: Vec<String>,
    /// The tarballs.
    pub tarballs: Vec<Tarball>,
    /// How they were written: a promise that the same tree gives the same bytes.
    pub archive: Archive,
    /// The repositories as they were.
    pub repositories: Vec<crate::packages::RepositoryState>,
    /// The keys that were imported.
    pub keys: Vec<crate::packages::PinnedKey>,
    /// The packages.
    pub packages: Vec<Package>,
    /// The scripts that changed the image.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scripts: Vec<crate::customise::scripts::ScriptRecord>,
    /// The paths that finishing removed.
    pub removed: Vec<String>,
    /// Problems that a node would have.
    pub findings: Vec<crate::verify::Finding>,
    /// The warnings of the build.
    pub warnings: Vec<String>,
    /// When it was built and how long each step took; the one part that differs between two equal
    /// builds.
    pub build: Build,
}

/// The tools behind an artifact.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Builder {
    /// osimg's version.
    pub osimg: String,
    /// The package manager's name and version.
    pub package_manager: String,
}

/// A file that went in.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Input {
    /// Its name, without directories.
    pub name: String,
    /// Its text, without passwords in addresses.
    pub text: String,
    /// The digest of its bytes, in hex.
    pub sha256: String,
}

/// A lock file.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Locked {
    /// Its name, without directories.
    pub name: String,
    /// The digest of its bytes, in hex.
    pub sha256: String,
}

/// One tarball.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct Tarball {
    /// Its file name, without directories.
    pub file: String,
    /// Its format.
    pub format: ImageFormat,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its digest, in hex.
    pub sha256: String,
    /// Its digest, in hex.
    pub sha512: String,
}

/// How the tarballs were written.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Archive {
    /// [`crate::archive::VERSION`]: tools with the same number make the same bytes of the same
    /// tree, labels, epoch, level and blocks.
    pub version: u32,
    /// Members.
    pub entries: u64,
    /// Bytes of the uncompressed tar.
    pub bytes: u64,
    /// SHA-256 of the uncompressed tar, in hex: all tarballs of a set have the same.
    pub sha256: String,
    /// The compression level asked for.
    pub level: crate::archive::Level,
    /// How each tarball was compressed, in their order.
    pub compression: Vec<Compression>,
    /// Members with an SELinux label.
    pub labels: u64,
    /// Where the labels come from.
    pub selinux: String,
}

/// How a tarball was compressed.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Compression {
    /// Its format.
    pub format: ImageFormat,
    /// The compressor's own level; 0 of a format without numbered levels.
    pub level: u32,
    /// Bytes of the tar that were compressed at a time, independently of the others: why the number
    /// of threads does not show.
    pub block: u64,
}

/// A package of the image.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Package {
    /// `name-epoch:version-release.arch`.
    pub nevra: String,
    /// `algorithm:hex` of its file, from the repository's metadata.
    pub checksum: Option<String>,
    /// The repository it came from.
    pub repository: Option<String>,
    /// Its place below the repository's base.
    pub location: Option<String>,
    /// Fingerprint of the pinned key that signed it, else the key id that its signature names.
    pub signer: Option<String>,
    /// Bytes when installed.
    pub size: u64,
    /// Why it is there: asked for, a group's, or a dependency.
    pub reason: Option<String>,
    /// Its licence.
    pub license: String,
    /// The source package it was built from.
    pub source: String,
    /// Its vendor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// Its home page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Its one-line description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
}

/// The circumstances of a build.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Build {
    /// Start, in seconds since 1970.
    pub started: u64,
    /// Seconds of each step.
    pub steps: Vec<crate::report::Timing>,
    /// Where the install root was.
    pub workdir: crate::sandbox::Backing,
    /// How the packages were contained.
    pub isolation: crate::sandbox::Isolation,
}
