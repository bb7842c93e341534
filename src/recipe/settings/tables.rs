//! The settings by their tables.

use super::customizations::Customizations;
use super::install::InstallSettings;
use super::repository::{Key, Repository};
use super::script::ScriptSettings;
use super::selinux::SelinuxChoice;
use crate::naming::ImageFormat;
use osimg_tar::{Format, Level};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// All settings; the default applies without a settings file.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Settings {
    /// The artifact.
    pub image: ImageSettings,
    /// Where packages come from and how they are installed.
    pub packages: PackageSettings,
    /// What the image has besides packages.
    pub customizations: Customizations,
    /// Programs that change the image.
    #[serde(rename = "script")]
    pub scripts: Vec<ScriptSettings>,
    /// Changes to the tree after the packages are installed.
    pub finish: FinishSettings,
    /// Data for a deployment besides the tarball.
    pub deploy: DeploySettings,
    /// Where the image is published.
    pub registry: RegistrySettings,
}

/// `[image]`
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ImageSettings {
    /// The image's name; `None` means the recipe's stem.
    pub name: Option<String>,
    /// The image's version.
    pub version: Option<String>,
    /// The formats to write; `tgz` by default.
    pub formats: Vec<ImageFormat>,
    /// The compression level.
    pub level: Level,
    /// Properties of the published image.
    pub properties: BTreeMap<String, String>,
    /// The latest file time in the tarball, in seconds since 1970.
    pub source_date_epoch: Option<u64>,
    /// The documents to write next to the tarballs.
    pub sbom: Vec<SbomKind>,
    /// Keys that sign the artifact: `minisign:FILE` and `openpgp:FILE`.
    pub sign: Vec<String>,
    /// Whether the build fails if the image is not fit for a node.
    pub strict: bool,
}

/// A document next to the tarballs that describes their contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SbomKind {
    /// A bill of materials in SPDX 2.3.
    Spdx,
    /// A bill of materials in CycloneDX 1.6.
    Cyclonedx,
    /// An in-toto statement with SLSA provenance.
    Provenance,
}

impl Default for ImageSettings {
    fn default() -> Self {
        Self {
            name: None,
            version: None,
            formats: vec![Format::Tgz.into()],
            level: Level::Default,
            properties: BTreeMap::new(),
            source_date_epoch: None,
            sbom: vec![SbomKind::Spdx, SbomKind::Cyclonedx, SbomKind::Provenance],
            sign: Vec::new(),
            strict: false,
        }
    }
}

/// Which package manager installation fills the image: `bootstrap` under `[packages]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bootstrap {
    /// The host's.
    #[default]
    Host,
    /// The image's own, in a root that the host's package manager creates first.
    Made,
    /// That of this directory with a complete system, for example an unpacked container image.
    Root(PathBuf),
}

/// `[packages]`
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct PackageSettings {
    /// Which package manager to use.
    pub manager: ManagerChoice,
    /// The value of `$releasever`.
    pub releasever: Option<String>,
    /// The architecture; `None` means the host's.
    pub arch: Option<String>,
    /// Whether to install weak dependencies; `None` means the package manager's default.
    pub install_weak_deps: Option<bool>,
    /// Whether to install documentation.
    pub docs: Option<bool>,
    /// The languages to install; `None` means all.
    pub languages: Option<Vec<String>>,
    /// Packages that must not be installed; names and globs.
    pub exclude: Vec<String>,
    /// Which package manager installation fills the image.
    pub bootstrap: Bootstrap,
    /// The packages of the bootstrap root; by default those that the release needs.
    pub bootstrap_packages: Vec<String>,
    /// The checks of every package.
    pub verify: Verify,
    /// Packages with scriptlets that may fail.
    pub allow_failed_scriptlets: Vec<String>,
    /// The directory of the image's package database.
    pub dbpath: Option<String>,
    /// Variables of the repositories' URLs.
    pub vars: BTreeMap<String, String>,
    /// The time limit for the packages, in seconds.
    #[serde(serialize_with = "seconds")]
    pub timeout: Option<Duration>,
    /// The repositories; empty means the host's own.
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
    /// The first one that is installed and works.
    #[default]
    Auto,
    /// dnf 4.
    Dnf4,
    /// dnf 5.
    Dnf5,
}

impl FromStr for ManagerChoice {
    type Err = &'static str;

    /// The error is a hint for the user.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "auto" => Ok(Self::Auto),
            // Since EL 8 and Fedora 22 the command `yum` is dnf.
            "dnf4" | "yum" => Ok(Self::Dnf4),
            "dnf5" => Ok(Self::Dnf5),
            "microdnf" => Err("microdnf does not support groups, locks or package files; install \
                               dnf 4: microdnf install python3-dnf"),
            _ => Err("use auto, dnf4 (or its other name, yum) or dnf5"),
        }
    }
}

/// The checks of every package before it is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verify {
    /// A signature by a declared key, and digests.
    #[default]
    Strict,
    /// Only digests.
    DigestOnly,
}

/// `[finish]`
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct FinishSettings {
    /// The handling of `/etc/machine-id`.
    pub machine_id: MachineId,
    /// Where SELinux labels come from.
    pub selinux: SelinuxChoice,
    /// The compression of an initramfs that is created during the build.
    pub initramfs: Initramfs,
}

/// The handling of `/etc/machine-id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MachineId {
    /// Empty: every machine generates an id at its first boot.
    #[default]
    Empty,
    /// `uninitialized`: in addition, systemd treats that boot as the first one.
    Uninitialized,
    /// Unchanged.
    Preserve,
}

/// The compression of an initramfs that is created during the build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Initramfs {
    /// Fast.
    #[default]
    Fast,
    /// The default of the packages.
    AsPackaged,
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
    /// The options of osimg's own kickstart template.
    pub install: InstallSettings,
}

/// `[registry]`
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct RegistrySettings {
    /// For example `dir:PATH`, `glance:CLOUD`, `oci:REFERENCE` or `oci-image:REFERENCE`.
    #[serde(serialize_with = "crate::secrets::serialize_optional_url")]
    pub url: Option<String>,
    /// Who may see the image.
    pub visibility: Option<Visibility>,
}

/// Who may see a published image, in Glance's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// The widest that the roles allow: Ironic must find the image.
    #[default]
    Auto,
    /// Everyone.
    Public,
    /// Everyone, but only its owner sees it in lists.
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
