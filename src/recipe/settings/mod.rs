//! The settings of a recipe: what stands in the `.toml` beside it, checked and with its paths made
//! absolute.

mod check;
mod fields;
mod install;
mod raw;
mod repository;
mod selinux;
mod values;

pub use install::{Disks, InstallSettings, Layout, SelinuxMode};
pub use osimg_tar::{Format, Level};
pub use repository::{Key, KeySource, Repository, RepositorySource};
pub use selinux::SelinuxChoice;
pub use values::{
    DurationError, checked_dbpath, checked_fingerprint, checked_image_word, checked_repository_id, checked_url, parse_duration,
};

use super::diagnostic::SyntaxErrors;
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// All the settings; the default is what holds without a settings file.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Settings {
    /// The artifact.
    pub image: ImageSettings,
    /// Where packages come from and how they are installed.
    pub packages: PackageSettings,
    /// What is done to the tree after the packages.
    pub finish: FinishSettings,
    /// What a deployment needs beside the tarball.
    pub deploy: DeploySettings,
    /// Where the image is published.
    pub registry: RegistrySettings,
}

impl Settings {
    /// Parses the text of a settings file; `file` is its name in messages, and relative paths begin
    /// at `directory`.
    ///
    /// # Errors
    /// Returns what is wrong with the text, each with its line and column.
    pub fn parse(text: &str, file: &str, directory: &Path) -> Result<Self, SyntaxErrors> {
        check::settings(text, file, directory)
    }
}

/// `[image]`
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ImageSettings {
    /// The image's name; the recipe's stem when it is not set.
    pub name: Option<String>,
    /// The image's version.
    pub version: Option<String>,
    /// The formats of the tarballs to write; `tgz` when none is named.
    pub formats: Vec<Format>,
    /// How hard to compress.
    pub level: Level,
    /// Properties of the published image.
    pub properties: BTreeMap<String, String>,
    /// The latest time that a file in the tarball may carry, in seconds since 1970.
    pub source_date_epoch: Option<u64>,
    /// The documents that are written beside the tarballs.
    pub sbom: Vec<SbomKind>,
    /// Keys that sign the artifact: `minisign:FILE` and `openpgp:FILE`.
    pub sign: Vec<String>,
    /// Whether an image that is not fit for a node fails the build.
    pub strict: bool,
}

/// A document beside the tarballs that says what is in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SbomKind {
    /// A bill of materials in SPDX 2.3.
    Spdx,
    /// A bill of materials in CycloneDX 1.6.
    Cyclonedx,
    /// An in-toto statement with SLSA's provenance.
    Provenance,
}

impl Default for ImageSettings {
    fn default() -> Self {
        Self {
            name: None,
            version: None,
            formats: vec![Format::Tgz],
            level: Level::Default,
            properties: BTreeMap::new(),
            source_date_epoch: None,
            sbom: vec![SbomKind::Spdx, SbomKind::Cyclonedx, SbomKind::Provenance],
            sign: Vec::new(),
            strict: false,
        }
    }
}

/// Whose package manager fills the image: `bootstrap` under `[packages]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bootstrap {
    /// The host's.
    #[default]
    Host,
    /// The image's own, in a root that the host's package manager makes first.
    Made,
    /// That of this directory, which holds a whole system: an unpacked container image, say.
    Root(PathBuf),
}

/// `[packages]`
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct PackageSettings {
    /// Which package manager to use.
    pub manager: ManagerChoice,
    /// What `$releasever` stands for.
    pub releasever: Option<String>,
    /// The architecture, when it is not the host's.
    pub arch: Option<String>,
    /// Whether to install what packages recommend; the package manager's own default when it is not
    /// set.
    pub install_weak_deps: Option<bool>,
    /// Whether to install documentation.
    pub docs: Option<bool>,
    /// The languages to install; all of them when it is not set.
    pub languages: Option<Vec<String>>,
    /// Packages that must not come in; names and globs.
    pub exclude: Vec<String>,
    /// Whose package manager fills the image.
    pub bootstrap: Bootstrap,
    /// What the bootstrap root is made of; empty for what the release needs.
    pub bootstrap_packages: Vec<String>,
    /// What every package is checked for.
    pub verify: Verify,
    /// Packages whose scriptlets may fail.
    pub allow_failed_scriptlets: Vec<String>,
    /// Where the image keeps its package database.
    pub dbpath: Option<String>,
    /// Variables of the repositories' URLs.
    pub vars: BTreeMap<String, String>,
    /// How long the packages may take, in seconds.
    #[serde(serialize_with = "seconds")]
    pub timeout: Option<Duration>,
    /// The repositories; the host's own when there is none.
    pub repositories: Vec<Repository>,
    /// The keys that packages may be signed with.
    pub keys: Vec<Key>,
}

fn seconds<S: Serializer>(timeout: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    timeout.map(|timeout| timeout.as_secs()).serialize(serializer)
}

/// Which package manager to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ManagerChoice {
    /// The first that can do the work.
    #[default]
    Auto,
    /// dnf 4.
    Dnf4,
    /// dnf 5.
    Dnf5,
}

impl FromStr for ManagerChoice {
    type Err = &'static str;

    /// The error is a hint.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "auto" => Ok(Self::Auto),
            // Since EL 8 and Fedora 22 the command `yum` is dnf.
            "dnf4" | "yum" => Ok(Self::Dnf4),
            "dnf5" => Ok(Self::Dnf5),
            "microdnf" => Err("microdnf knows no groups, locks or package files; install dnf 4: microdnf install python3-dnf"),
            _ => Err("use auto, dnf4 (or its other name, yum) or dnf5"),
        }
    }
}

/// What every package is checked for before it is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verify {
    /// A signature by a declared key, and digests.
    #[default]
    Strict,
    /// Digests alone.
    DigestOnly,
}

/// `[finish]`
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct FinishSettings {
    /// What becomes of `/etc/machine-id`.
    pub machine_id: MachineId,
    /// Authorities that the image trusts: PEM files.
    pub certificates: Vec<PathBuf>,
    /// The image's host name.
    pub hostname: Option<String>,
    /// Files to put into the image.
    pub files: Vec<FinishFile>,
    /// Where SELinux labels come from.
    pub selinux: SelinuxChoice,
    /// How an initramfs that is made during the build is compressed.
    pub initramfs: Initramfs,
}

/// What becomes of `/etc/machine-id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MachineId {
    /// It is emptied: every machine makes its own at its first boot.
    #[default]
    Empty,
    /// It says `uninitialized`: so too, and systemd treats that boot as the first.
    Uninitialized,
    /// It stays.
    Preserve,
}

/// How an initramfs that is made during the build is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Initramfs {
    /// Quickly.
    #[default]
    Fast,
    /// As the packages say.
    AsPackaged,
}

/// A file to put into the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FinishFile {
    /// The file on the build host.
    pub source: PathBuf,
    /// The absolute path in the image.
    pub path: String,
    /// The permission bits; the source's when it is not set.
    pub mode: Option<u32>,
    /// `USER` or `USER:GROUP` of the image; root when it is not set.
    pub owner: Option<String>,
}

/// `[deploy]`: paths, URLs or image references.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct DeploySettings {
    /// The installer's kernel.
    #[serde(serialize_with = "crate::secrets::serialize_optional_url")]
    pub kernel: Option<String>,
    /// The installer's initramfs.
    #[serde(serialize_with = "crate::secrets::serialize_optional_url")]
    pub ramdisk: Option<String>,
    /// The installer's second stage.
    #[serde(serialize_with = "crate::secrets::serialize_optional_url")]
    pub stage2: Option<String>,
    /// The URL of an install tree that has all three.
    #[serde(serialize_with = "crate::secrets::serialize_optional_url")]
    pub tree: Option<String>,
    /// The kickstart template; osimg's own when it is not set.
    #[serde(serialize_with = "crate::secrets::serialize_optional_url")]
    pub kickstart: Option<String>,
    /// How osimg's own kickstart template installs.
    pub install: InstallSettings,
}

/// `[registry]`
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct RegistrySettings {
    /// Such as `dir:PATH`, `glance:CLOUD` or `oci:REFERENCE`.
    #[serde(serialize_with = "crate::secrets::serialize_optional_url")]
    pub url: Option<String>,
    /// Who may see the image.
    pub visibility: Option<Visibility>,
}

/// Who may see a published image, in Glance's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// The widest that the roles allow: Ironic must find the image.
    #[default]
    Auto,
    /// Everyone.
    Public,
    /// Everyone, although it is in no list but the owner's.
    Community,
    /// Its project, and the projects that it is shared with.
    Shared,
    /// Its project.
    Private,
}

impl Visibility {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Public => "public",
            Self::Community => "community",
            Self::Shared => "shared",
            Self::Private => "private",
        }
    }
}
