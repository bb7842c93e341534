//! The contents of a lock.

use serde::{Deserialize, Serialize};

/// The version of the lock format that is read and written.
pub(crate) const LOCK_VERSION: u32 = 1;

/// The repository of a package file that the recipe names by a path or an address.
pub(crate) const GIVEN: &str = "@commandline";

/// The state of a repository when the lock was created. It is informational and never compared:
/// only the packages count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedRepository {
    /// Its id.
    pub id: String,
    /// The revision in its metadata.
    pub revision: String,
    /// `sha256:` and the digest of its repomd.xml.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repomd: Option<String>,
}

/// One transaction.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedTransaction {
    /// The NEVRAs of packages to remove.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// The requested groups.
    #[serde(default, rename = "group", skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<LockedGroup>,
    /// The specs of the install statements.
    #[serde(default, rename = "spec", skip_serializing_if = "Vec::is_empty")]
    pub specs: Vec<LockedSpec>,
    /// The packages to install, by NEVRA.
    #[serde(default, rename = "package", skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<LockedPackage>,
}

/// A group or environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedGroup {
    /// Its name in the recipe.
    pub name: String,
    /// Its id in the repositories' comps.
    pub id: String,
    /// `group` or `environment`.
    pub kind: String,
    /// The names of its mandatory packages.
    pub mandatory: Vec<String>,
}

/// A name, glob or file in an install statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedSpec {
    /// Its text in the recipe.
    pub text: String,
    /// The NEVRAs, any of which satisfies it.
    pub packages: Vec<String>,
}

/// A package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedPackage {
    /// `name-epoch:version-release.arch`.
    pub nevra: String,
    /// Id of its repository.
    pub repository: String,
    /// Its path below the repository's base, or its full address; for a local file of the recipe,
    /// only the name.
    pub location: String,
    /// `algorithm:hex` of its file.
    pub checksum: String,
    /// Size of its file in bytes.
    pub size: u64,
    /// The full fingerprint of the pinned key that signed it, or the key id if no key is pinned;
    /// `None` if it is not signed, or signatures were not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// The reason for its installation.
    pub reason: String,
}

impl LockedPackage {
    /// The file's own name.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.location.rsplit('/').next().unwrap_or(&self.location)
    }
}

/// The exact packages of a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// [`LOCK_VERSION`].
    pub version: u32,
    /// `sha256:` and the digest of the recipe's statements, without comments.
    pub recipe: String,
    /// The image's architecture, by rpm's name.
    pub arch: String,
    /// The value of `$releasever`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub releasever: Option<String>,
    /// Whether weak dependencies were included; `None` is the package manager's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install_weak_deps: Option<bool>,
    /// The packages that the settings excluded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Fingerprints of the pinned keys.
    #[serde(default)]
    pub keys: Vec<String>,
    /// The state of the repositories.
    #[serde(default, rename = "repository")]
    pub repositories: Vec<LockedRepository>,
    /// The transactions of the recipe, in order.
    #[serde(default, rename = "transaction")]
    pub transactions: Vec<LockedTransaction>,
}
