//! The lock of a recipe: the exact packages, as TOML. Each changed package is one changed block.
//!
//! A location is relative to its repository; otherwise every lock would contain a different mirror.
//! Packages of an imported list keep their full address if their repository's address is unknown.

mod check;
pub mod foreign;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

use super::{PackageSettings, Script};
use crate::error::{ExitCode, Failure, Result, ResultExt};

/// The version of the lock format that is read and written.
pub const LOCK_VERSION: u32 = 1;

/// The repository of a package file that the recipe names by a path or an address.
pub const GIVEN: &str = "@commandline";

/// The first lines of a lock.
const HEAD: &str =
    "# Written by `osimg lock`. `osimg build --locked` installs these packages and no others.\n";

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

impl Lock {
    /// The path of a recipe's lock, next to the recipe.
    #[must_use]
    pub fn path_for(recipe: &Path) -> PathBuf {
        recipe.with_extension("lock")
    }

    /// Parses the text of a lock file; `file` is its name in messages.
    ///
    /// # Errors
    /// [`ExitCode::Recipe`], with line and column if it is not a lock, and with the package if its
    /// contents are not allowed.
    pub fn parse(text: &str, file: &str) -> Result<Self> {
        let lock: Self = toml::from_str(text).map_err(|error| {
            let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            let message = error.message().lines().next().unwrap_or_default();
            let message = crate::secrets::without_value(message);
            Failure::new(ExitCode::Recipe, format!("{file}:{line}:{column}: {message}"))
                .hint("create the lock again: osimg lock RECIPE")
        })?;
        check::lock(&lock).map_err(|why| {
            Failure::new(ExitCode::Recipe, format!("{file}: {why}"))
                .hint("create the lock again: osimg lock RECIPE")
        })?;
        Ok(lock)
    }

    /// Reads and parses a lock file; also returns the digest of its bytes, in hex.
    ///
    /// # Errors
    /// As [`Lock::parse`], and if the file cannot be read.
    pub fn load(path: &Path) -> Result<(Self, String)> {
        let text = crate::files::read_text(path, crate::files::TEXT).or_fail_hint(
            ExitCode::Recipe,
            format!("reading lock {}", path.display()),
            "create it first: osimg lock RECIPE",
        )?;
        Ok((
            Self::parse(&text, &path.display().to_string())?,
            hex::encode(Sha256::digest(text.as_bytes())),
        ))
    }

    /// The text of the lock file: sorted, and identical for identical packages.
    ///
    /// # Errors
    /// Never for a lock that osimg created.
    pub fn print(&self) -> Result<String> {
        let mut sorted = self.clone();
        sorted.exclude.sort();
        sorted.keys.sort();
        sorted.repositories.sort_by(|a, b| a.id.cmp(&b.id));
        for transaction in &mut sorted.transactions {
            transaction.remove.sort();
            transaction.packages.sort_by(|a, b| a.nevra.cmp(&b.nevra));
            transaction.groups.iter_mut().for_each(|group| group.mandatory.sort());
            transaction.specs.iter_mut().for_each(|spec| spec.packages.sort());
        }
        let body =
            toml::to_string_pretty(&sorted).or_fail(ExitCode::Unexpected, "writing the lock")?;
        Ok(format!("{HEAD}{body}"))
    }

    /// All packages that the transactions install.
    pub fn packages(&self) -> impl Iterator<Item = &LockedPackage> {
        self.transactions.iter().flat_map(|transaction| &transaction.packages)
    }

    /// Compares the lock with a recipe and its settings.
    ///
    /// # Errors
    /// [`ExitCode::Recipe`] with all changes since the lock was created.
    pub fn belongs_to(
        &self,
        script: &Script,
        settings: &PackageSettings,
        file: &Path,
    ) -> Result<()> {
        let mut changed = Vec::new();
        if self.recipe != digest(script) {
            changed.push("the recipe's statements".to_owned());
        }
        if self.arch != arch(settings) {
            changed.push(format!("the architecture: {} then, {} now", self.arch, arch(settings)));
        }
        if self.releasever != settings.releasever {
            let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
            changed.push(format!(
                "releasever: {} then, {} now",
                text(&self.releasever),
                text(&settings.releasever)
            ));
        }
        if self.install_weak_deps != settings.install_weak_deps {
            let text = |value: Option<bool>| {
                value.map_or_else(|| "not set".to_owned(), |value| value.to_string())
            };
            changed.push(format!(
                "install_weak_deps: {} then, {} now",
                text(self.install_weak_deps),
                text(settings.install_weak_deps)
            ));
        }
        let mut exclude = settings.exclude.clone();
        exclude.sort();
        if self.exclude != exclude {
            changed.push("exclude under [packages]".to_owned());
        }
        let known = |id: &str| {
            settings.repositories.is_empty() || settings.repositories.iter().any(|r| r.id == id)
        };
        let ids = self.packages().map(|p| p.repository.as_str()).filter(|id| *id != GIVEN);
        let mut unknown: Vec<&str> = ids.filter(|id| !known(id)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        changed.extend(unknown.iter().map(|id| format!("the repositories: '{id}' was removed")));
        if changed.is_empty() {
            return Ok(());
        }
        Err(Failure::new(
            ExitCode::Recipe,
            format!(
                "{} is out of date; the following changed since it was created: {}",
                file.display(),
                changed.join("; ")
            ),
        )
        .hint("create it again and check the difference: osimg lock RECIPE")
        .into())
    }
}

/// The digest of a recipe's statements, without comments and blanks.
#[must_use]
pub fn digest(script: &Script) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(script.to_string().as_bytes())))
}

/// The architecture of the settings, or else the host's, by rpm's name.
#[must_use]
pub fn arch(settings: &PackageSettings) -> String {
    settings.arch.clone().unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

#[cfg(test)]
mod tests;
