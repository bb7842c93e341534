//! Customizations that are files: what is put where, with which mode and owners.

use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::fmt;
use std::path::PathBuf;

/// A user or a group, by name or by number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum OwnerName {
    /// As the image's passwd or group has it.
    Name(String),
    /// As it is.
    Id(u32),
}

impl Default for OwnerName {
    fn default() -> Self {
        Self::Id(0)
    }
}

impl fmt::Display for OwnerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Id(id) => write!(f, "{id}"),
        }
    }
}

/// `[[customizations.directories]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Directory {
    /// The absolute path in the image.
    pub path: String,
    /// The permission bits.
    #[serde(serialize_with = "octal")]
    pub mode: Option<u32>,
    /// The owner.
    pub user: Option<OwnerName>,
    /// The owning group.
    pub group: Option<OwnerName>,
    /// Whether to create the directories above it.
    pub ensure_parents: bool,
    /// The file and line of the settings, for messages.
    #[serde(skip)]
    pub place: String,
}

/// `[[customizations.files]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct File {
    /// The absolute path in the image.
    pub path: String,
    /// The permission bits; without them 0644, or 0755 if the source is executable.
    #[serde(serialize_with = "octal")]
    pub mode: Option<u32>,
    /// The owner.
    pub user: OwnerName,
    /// The owning group.
    pub group: OwnerName,
    /// The content.
    pub data: Data,
    /// The file and line of the settings, for messages.
    #[serde(skip)]
    pub place: String,
}

/// Where a file's content comes from. Text is shown by its digest only: it may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// The settings.
    Text(String),
    /// A file of the build host.
    Source(PathBuf),
}

impl Serialize for Data {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.collect_str(&format_args!(
                "sha256:{}",
                hex::encode(Sha256::digest(text.as_bytes()))
            )),
            Self::Source(path) => path.serialize(serializer),
        }
    }
}

/// `[[customizations.tree]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tree {
    /// The directory on the build host.
    pub source: PathBuf,
    /// Where it goes in the image.
    pub path: String,
    /// The owner of what is copied.
    pub user: OwnerName,
    /// The owning group.
    pub group: OwnerName,
    /// Patterns of what is not copied.
    pub exclude: Vec<String>,
    /// Exceptions; the last that matches counts.
    #[serde(rename = "rule")]
    pub rules: Vec<TreeRule>,
    /// The file and line of the settings, for messages.
    #[serde(skip)]
    pub place: String,
}

/// `[[customizations.tree.rule]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TreeRule {
    /// A pattern of paths in the tree.
    pub path: String,
    /// The permission bits.
    #[serde(serialize_with = "octal")]
    pub mode: Option<u32>,
    /// The owner.
    pub user: Option<OwnerName>,
    /// The owning group.
    pub group: Option<OwnerName>,
}

/// `[customizations.cacerts]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct CaCertificates {
    /// Certificates in PEM.
    pub pem_certs: Vec<String>,
    /// Files of the build host with certificates in PEM.
    pub files: Vec<PathBuf>,
}

/// `[[customizations.repositories]]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ImageRepository {
    /// The id.
    pub id: String,
    /// The name.
    pub name: Option<String>,
    /// The file in `/etc/yum.repos.d`.
    pub filename: String,
    /// URLs.
    pub baseurls: Vec<String>,
    /// The URL of a list.
    pub mirrorlist: Option<String>,
    /// The URL of a metalink.
    pub metalink: Option<String>,
    /// URLs of keys, and keys themselves.
    pub gpgkeys: Vec<String>,
    /// Whether packages must be signed.
    pub gpgcheck: Option<bool>,
    /// Whether metadata must be signed.
    pub repo_gpgcheck: Option<bool>,
    /// Whether it is on.
    pub enabled: Option<bool>,
    /// From 1 to 99; the lowest wins.
    pub priority: Option<u32>,
    /// Whether the server's certificate is checked.
    pub ssl_verify: Option<bool>,
    /// Whether it may replace packages of modules.
    pub module_hotfixes: Option<bool>,
}

/// A mode as people write it.
fn octal<S: Serializer>(mode: &Option<u32>, serializer: S) -> Result<S::Ok, S::Error> {
    mode.map(|mode| format!("{mode:04o}")).serialize(serializer)
}
