//! What an image is and what is in it: read from a tarball, a tree, or in an instant from the
//! manifest of a build.
//!
//! [`Image`] is the answer; [`facts`] takes it from the contents, [`recorded`] from a manifest,
//! [`text()`] tells it to a person and [`html()`] makes a page of it.

mod accounts;
mod capability;
mod facts;
mod html;
mod kinds;
mod recorded;
mod services;
mod text;

use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use crate::archive::FromTree;
use crate::contents::{Contents, Digests, Kind, Options};
use crate::error::{ExitCode, Failure, Result, ResultExt};

pub use accounts::User;
pub use capability::capability_text;
pub use html::{Finding, html};
pub use kinds::ContentKind;
pub use services::Service;
pub use text::{TextOptions, text};

/// What an image was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OriginKind {
    /// A tarball.
    Tarball,
    /// A tree of files.
    Tree,
    /// The manifest that a build wrote; it says nothing of single files.
    Manifest,
}

/// Where the answer comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// The path as it was given.
    pub path: String,
    /// What it is.
    pub kind: OriginKind,
    /// How the tarball is compressed.
    pub format: Option<String>,
    /// The tarball's size.
    pub bytes: Option<u64>,
    /// The archive's size before compression.
    pub tar_bytes: Option<u64>,
    /// The tarball's digest, in hex.
    pub sha256: Option<String>,
    /// Whether a manifest that belongs to it was found beside it.
    pub manifest: bool,
}

/// A package of the image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Package {
    /// `name-epoch:version-release.arch`.
    pub nevra: String,
    /// Name.
    pub name: String,
    /// `[epoch:]version-release`.
    pub evr: String,
    /// Architecture.
    pub arch: String,
    /// Bytes that its files take in the image, what it shares with others counted once; from a
    /// manifest what it says of itself.
    pub size: u64,
    /// Bytes that it says its files take.
    pub declared_size: u64,
    /// Files of it in the image; 0 when that is not known.
    pub files: usize,
    /// Its licence.
    pub license: String,
    /// One line about it.
    pub summary: Option<String>,
    /// Who distributes it.
    pub vendor: Option<String>,
    /// Its home page.
    pub url: Option<String>,
    /// The source package it was built from.
    pub source: Option<String>,
    /// The repository that it came from.
    pub repository: Option<String>,
    /// The key that signed it.
    pub signer: Option<String>,
    /// Why it is there.
    pub reason: Option<String>,
    /// What changed, the newest first.
    #[serde(skip)]
    pub changelog: Vec<Change>,
}

/// An entry of a package's changelog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Seconds since 1970.
    pub time: u64,
    /// Who, and which version.
    pub author: String,
    /// What.
    pub text: String,
}

/// A file of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path inside the image, without a slash at the beginning; empty for the root.
    pub path: Vec<u8>,
    /// What it is; a hard link is a file of its own here, as it is once unpacked.
    pub kind: Kind,
    /// The permissions, without the type.
    pub mode: u32,
    /// The owner's number.
    pub uid: u64,
    /// The group's number.
    pub gid: u64,
    /// Bytes of its content.
    pub size: u64,
    /// Whether it is another name of a file that is counted already.
    pub is_hard_link: bool,
    /// Where a symbolic link points.
    pub link: Vec<u8>,
    /// Major and minor number of a device.
    pub device: Option<(u64, u64)>,
    /// The SELinux label.
    pub label: Option<Vec<u8>>,
    /// Access and default ACL as text.
    pub acl: (Option<Vec<u8>>, Option<Vec<u8>>),
    /// Its capabilities, as the kernel stores them.
    pub capability: Option<Vec<u8>>,
    /// Its other extended attributes.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// SHA-256 of its content, of a regular file.
    pub sha256: Option<[u8; 32]>,
    /// The package that owns it, by its place in [`Image::packages`].
    pub package: Option<usize>,
    /// What it is for.
    pub content: ContentKind,
}

impl File {
    /// The path as a person is told it: absolute, without control characters.
    #[must_use]
    pub fn shown(&self) -> String {
        shown(&self.path)
    }
}

/// A path as a person is told it: absolute, without control characters.
#[must_use]
pub fn shown(path: &[u8]) -> String {
    format!("/{}", crate::text::bytes(path))
}

/// Sums over the files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Members.
    pub members: u64,
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Further names of files.
    pub hard_links: u64,
    /// Devices and named pipes.
    pub special: u64,
    /// Bytes of all contents, holes included.
    pub bytes: u64,
    /// Members with an SELinux label.
    pub labels: u64,
}

/// A size with its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Of what.
    pub name: String,
    /// Bytes.
    pub bytes: u64,
    /// Files.
    pub files: u64,
}

/// A file with power beyond its user's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Privileged {
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
pub struct Key {
    /// `rpm` (in the rpmdb), `rpm file`, `ssh login`, `ssh host`, `authority`.
    pub kind: String,
    /// Which one.
    pub name: String,
}

/// The image's SELinux policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// `SELINUXTYPE`
    pub name: String,
    /// `SELINUX`: enforcing, permissive or disabled.
    pub mode: String,
}

/// How the image was built, by its manifest.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Built {
    /// osimg's version.
    pub osimg: String,
    /// The package manager.
    pub package_manager: String,
    /// Start, in seconds since 1970.
    pub started: u64,
    /// The steps with their seconds.
    pub steps: Vec<(String, f64)>,
    /// The recipe's name and text.
    pub recipe: (String, String),
    /// What the person was warned of.
    pub warnings: Vec<String>,
}

/// Names by number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Of users.
    pub users: BTreeMap<u64, String>,
    /// Of groups.
    pub groups: BTreeMap<u64, String>,
}

impl Names {
    /// `USER:GROUP`, numbers where there is no name.
    #[must_use]
    pub fn owner(&self, uid: u64, gid: u64) -> String {
        let named = |names: &BTreeMap<u64, String>, id: u64| {
            names.get(&id).map_or_else(|| id.to_string(), |name| crate::text::line(name).into_owned())
        };
        format!("{}:{}", named(&self.users, uid), named(&self.groups, gid))
    }
}

/// What is known of an image.
#[derive(Debug, Clone, Serialize)]
pub struct Image {
    /// Where it was read from.
    pub origin: Origin,
    /// Its name, by its manifest.
    pub name: Option<String>,
    /// Its version, by its manifest.
    pub version: Option<String>,
    /// Its architecture.
    pub arch: Option<String>,
    /// Its os-release.
    pub os_release: BTreeMap<String, String>,
    /// Versions of its kernels.
    pub kernels: Vec<String>,
    /// Its SELinux policy.
    pub policy: Option<Policy>,
    /// What its /etc/machine-id is: `empty`, `uninitialized`, `set` or `absent`.
    pub machine_id: Option<String>,
    /// The directory of its rpmdb, or why there are no packages.
    pub rpmdb: String,
    /// Sums over its files.
    pub totals: Totals,
    /// Its packages, by name.
    pub packages: Vec<Package>,
    /// Bytes of each directory with everything below it, the largest first; two levels.
    pub folders: Vec<Share>,
    /// Bytes by what the files are for, the largest first.
    pub kinds: Vec<Share>,
    /// What no package owns, the largest first.
    pub unowned: Vec<Share>,
    /// Files with setuid, setgid or capabilities.
    pub privileged: Vec<Privileged>,
    /// Its users.
    pub users: Vec<User>,
    /// The units that are started.
    pub services: Vec<Service>,
    /// The keys that it trusts or holds.
    pub keys: Vec<Key>,
    /// How it was built.
    pub built: Option<Built>,
    /// Names of its users and groups by their numbers.
    #[serde(skip)]
    pub names: Names,
    /// All its files, by path; none from a manifest.
    #[serde(skip)]
    pub files: Vec<File>,
}

impl Image {
    /// Whether single files are known.
    #[must_use]
    pub fn has_files(&self) -> bool {
        self.origin.kind != OriginKind::Manifest
    }

    /// What a person calls it.
    #[must_use]
    pub fn title(&self) -> String {
        match (&self.name, &self.version) {
            (Some(name), Some(version)) => format!("{name}-{version}"),
            _ => {
                let path = self.origin.path.trim_end_matches('/');
                path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("/").to_owned()
            }
        }
    }
}

/// How an image is read.
pub struct Reading<'a> {
    /// Told how many bytes of a tarball were read, and of how many.
    pub progress: &'a dyn Fn(u64, u64),
    /// Asked often; an error ends the reading.
    pub check: &'a dyn Fn() -> Result<()>,
}

impl std::fmt::Debug for Reading<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").finish_non_exhaustive()
    }
}

/// Reads the tarball, tree or manifest at `path`.
///
/// # Errors
/// When it is none of these, or cannot be read whole.
pub fn open(path: &Path, reading: &Reading<'_>) -> Result<(Image, Option<Contents>)> {
    let opening = || format!("opening {}", path.display());
    let metadata =
        std::fs::metadata(path).or_fail_hint(ExitCode::Space, opening(), "name a tarball, a tree or a build's manifest (.json)")?;
    let total = metadata.len();
    let progress = |done| (reading.progress)(done, total);
    let options = Options { digests: Digests::Sha256, progress: &progress, check: reading.check };
    if metadata.is_dir() {
        let contents = Contents::of_tree(path, &FromTree, &options)?;
        return Ok((facts::image(path, OriginKind::Tree, &contents), Some(contents)));
    }
    if !metadata.is_file() {
        return Err(Failure::new(ExitCode::Usage, format!("{}: it is neither a file nor a directory", opening()))
            .hint("name a tarball, a tree or a build's manifest (.json)")
            .into());
    }
    if begins_like_json(path).or_fail(ExitCode::Space, opening())? {
        let manifest = recorded::load(path)?;
        return Ok((manifest.image(path), None));
    }
    let contents = Contents::of_tarball(path, &options)?;
    let mut image = facts::image(path, OriginKind::Tarball, &contents);
    if let Some(manifest) = recorded::beside(path, image.origin.sha256.as_deref()) {
        manifest.complete(&mut image);
    }
    Ok((image, Some(contents)))
}

/// No compressed file and no tar of ours begins with a brace; a tar whose first name does has no
/// JSON after it, but a name so odd is no image's.
fn begins_like_json(path: &Path) -> std::io::Result<bool> {
    let mut first = [0; 64];
    let count = crate::files::open(path)?.read(&mut first)?;
    let text = first.get(..count).unwrap_or_default();
    Ok(text.trim_ascii_start().first() == Some(&b'{') && !text.contains(&0))
}
