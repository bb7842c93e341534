//! What is known of an image.

use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use super::accounts::User;
use super::kinds::ContentKind;
use super::services::Service;
use crate::contents::{Kind, Traits};

/// The kind of source of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OriginKind {
    /// A tarball.
    Tarball,
    /// A tree of files.
    Tree,
    /// The manifest of a build; it does not list files.
    Manifest,
}

/// The source of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Origin {
    /// The path as given.
    pub path: String,
    /// Its kind.
    pub kind: OriginKind,
    /// How the tarball is compressed.
    pub format: Option<String>,
    /// The tarball's size.
    pub bytes: Option<u64>,
    /// The archive's size before compression.
    pub tar_bytes: Option<u64>,
    /// The tarball's digest, in hex.
    pub sha256: Option<String>,
    /// Whether a matching manifest was found next to it.
    pub manifest: bool,
}

/// A package of the image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Package {
    /// `name-epoch:version-release.arch`.
    pub nevra: String,
    /// Name.
    pub name: String,
    /// `[epoch:]version-release`.
    pub evr: String,
    /// Architecture.
    pub arch: String,
    /// Total size of its files in the image, with shared files counted once; from a manifest, the
    /// package's own size.
    pub size: u64,
    /// The size of its files according to the package.
    pub declared_size: u64,
    /// The number of its files in the image; 0 if unknown.
    pub files: usize,
    /// Its licence.
    pub license: String,
    /// Its summary.
    pub summary: Option<String>,
    /// Its vendor.
    pub vendor: Option<String>,
    /// Its home page.
    pub url: Option<String>,
    /// The source package it was built from.
    pub source: Option<String>,
    /// The repository that it was installed from.
    pub repository: Option<String>,
    /// The key that signed it.
    pub signer: Option<String>,
    /// The reason for its installation.
    pub reason: Option<String>,
    /// Its changelog, the newest entry first.
    #[serde(skip)]
    pub changelog: Vec<Change>,
}

/// An entry of a package's changelog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Change {
    /// Seconds since 1970.
    pub time: u64,
    /// The author and the version.
    pub author: String,
    /// The text.
    pub text: String,
}

/// A file of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    /// Its path inside the image, without a slash at the beginning; empty for the root.
    pub path: Box<[u8]>,
    /// Its type. A hard link is a separate file here, as it is after unpacking.
    pub kind: Kind,
    /// Bytes of its content.
    pub size: u64,
    /// Whether it is a hard link to a file that is counted already.
    pub is_hard_link: bool,
    /// Where a symbolic link points.
    pub link: Box<[u8]>,
    /// Major and minor number of a device.
    pub device: Option<(u64, u64)>,
    /// Mode, owner, label and attributes, shared with other files.
    pub traits: Arc<Traits>,
    /// SHA-256 of its content, of a regular file.
    pub sha256: Option<[u8; 32]>,
    /// The package that owns it, as an index into [`Image::packages`].
    pub package: Option<usize>,
    /// Its purpose.
    pub content: ContentKind,
}

impl Deref for File {
    type Target = Traits;

    fn deref(&self) -> &Traits {
        &self.traits
    }
}

impl File {
    /// The path for display: absolute, without control characters.
    #[must_use]
    pub(crate) fn shown(&self) -> String {
        shown(&self.path)
    }
}

/// A path for display: absolute, without control characters.
#[must_use]
pub(crate) fn shown(path: &[u8]) -> String {
    format!("/{}", crate::text::bytes(path))
}

/// Totals over all files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Totals {
    /// Members.
    pub members: u64,
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Hard links.
    pub hard_links: u64,
    /// Devices and named pipes.
    pub special: u64,
    /// Total size of all contents, including holes.
    pub bytes: u64,
    /// Members with an SELinux label.
    pub labels: u64,
}

/// A size with its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Share {
    /// The name.
    pub name: String,
    /// Bytes.
    pub bytes: u64,
    /// Files.
    pub files: u64,
}

/// A file with privileges beyond its user's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Privileged {
    /// Its path.
    pub path: String,
    /// The permissions in octal.
    pub mode: String,
    /// `USER:GROUP`
    pub owner: String,
    /// `setuid`, `setgid`, or the capabilities as getcap(8) prints them.
    pub powers: Vec<String>,
    /// The package that owns it.
    pub package: Option<String>,
}

/// A key or authority that the image trusts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Key {
    /// `rpm` (in the rpmdb), `rpm file`, `ssh login`, `ssh host`, `authority`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// The image's SELinux policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Policy {
    /// `SELINUXTYPE`
    pub name: String,
    /// `SELINUX`: enforcing, permissive or disabled.
    pub mode: String,
}

/// How the image was built, from its manifest.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Built {
    /// osimg's version.
    pub osimg: String,
    /// The package manager.
    pub package_manager: String,
    /// Start time, in seconds since 1970.
    pub started: u64,
    /// The steps with their duration in seconds.
    pub steps: Vec<(String, f64)>,
    /// The recipe's name and text.
    pub recipe: (String, String),
    /// The warnings of the build.
    pub warnings: Vec<String>,
}

/// Names by number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// Names of users.
    pub users: BTreeMap<u64, String>,
    /// Names of groups.
    pub groups: BTreeMap<u64, String>,
}

impl Names {
    /// `USER:GROUP`, with numbers for unknown names.
    #[must_use]
    pub(crate) fn owner(&self, uid: u64, gid: u64) -> String {
        let named = |names: &BTreeMap<u64, String>, id: u64| {
            names
                .get(&id)
                .map_or_else(|| id.to_string(), |name| crate::text::line(name).into_owned())
        };
        format!("{}:{}", named(&self.users, uid), named(&self.groups, gid))
    }
}

/// The facts about an image.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Image {
    /// Its source.
    pub origin: Origin,
    /// Its name, from the manifest.
    pub name: Option<String>,
    /// Its version, from the manifest.
    pub version: Option<String>,
    /// Its architecture.
    pub arch: Option<String>,
    /// Its os-release.
    pub os_release: BTreeMap<String, String>,
    /// Versions of its kernels.
    pub kernels: Vec<String>,
    /// Its SELinux policy.
    pub policy: Option<Policy>,
    /// The state of /etc/machine-id: `empty`, `uninitialized`, `set` or `absent`.
    pub machine_id: Option<String>,
    /// The directory of its rpmdb, or why there are no packages.
    pub rpmdb: String,
    /// Totals over its files.
    pub totals: Totals,
    /// Its packages, by name.
    pub packages: Vec<Package>,
    /// The size of each directory with everything below it, the largest first; two levels.
    pub directories: Vec<Share>,
    /// The size per purpose of the files, the largest first.
    pub kinds: Vec<Share>,
    /// Files without a package, the largest first.
    pub unowned: Vec<Share>,
    /// Files with setuid, setgid or capabilities.
    pub privileged: Vec<Privileged>,
    /// Its users.
    pub users: Vec<User>,
    /// The units that are started at boot.
    pub services: Vec<Service>,
    /// The keys that it trusts or contains.
    pub keys: Vec<Key>,
    /// How it was built.
    pub built: Option<Built>,
    /// The names of its users and groups, by number.
    #[serde(skip)]
    pub names: Names,
    /// All its files, by path; empty from a manifest.
    #[serde(skip)]
    pub files: Vec<File>,
}

impl Image {
    /// Whether its files are known.
    #[must_use]
    pub(crate) fn has_files(&self) -> bool {
        self.origin.kind != OriginKind::Manifest
    }

    /// Its title for display.
    #[must_use]
    pub(crate) fn title(&self) -> String {
        match (&self.name, &self.version) {
            (Some(name), Some(version)) => format!("{name}-{version}"),
            _ => {
                let path = self.origin.path.trim_end_matches('/');
                path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("/").to_owned()
            }
        }
    }
}
