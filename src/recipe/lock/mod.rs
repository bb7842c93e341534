//! The lock of a recipe: exactly which packages it means, as TOML in which a changed package is a
//! changed block.
//!
//! A location is relative to its repository, because a mirror's name would change with every lock;
//! a package of an imported list whose repository is not known by an address keeps its whole one.

mod check;
pub mod foreign;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

use super::{PackageSettings, Script};
use crate::error::{ExitCode, Failure, Result, ResultExt};

/// The form of lock files that is read and written.
pub const LOCK_VERSION: u32 = 1;

/// What stands for a repository where the recipe names the package's file itself, by a path or an
/// address.
pub const GIVEN: &str = "@commandline";

/// The first lines of a lock.
const HEAD: &str = "# Written by `osimg lock`. `osimg build --locked` installs these packages and no others.\n";

/// What a recipe means, package by package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// [`LOCK_VERSION`].
    pub version: u32,
    /// `sha256:` and the digest of the recipe's statements, comments left out.
    pub recipe: String,
    /// The image's architecture, as rpm names it.
    pub arch: String,
    /// What `$releasever` stood for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub releasever: Option<String>,
    /// Whether what packages recommend was taken too; the package manager's default when it is not
    /// set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install_weak_deps: Option<bool>,
    /// What the settings kept out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Fingerprints of the keys that the settings pinned.
    #[serde(default)]
    pub keys: Vec<String>,
    /// The repositories as they were.
    #[serde(default, rename = "repository")]
    pub repositories: Vec<LockedRepository>,
    /// What every transaction of the recipe does, in order.
    #[serde(default, rename = "transaction")]
    pub transactions: Vec<LockedTransaction>,
}

/// A repository as it was when the lock was made. It is told, and never compared: the packages are
/// what counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedRepository {
    /// Its id.
    pub id: String,
    /// The revision that its metadata said.
    pub revision: String,
    /// `sha256:` and the digest of its repomd.xml.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repomd: Option<String>,
}

/// One transaction.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedTransaction {
    /// NEVRAs that go out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// The groups that were asked for.
    #[serde(default, rename = "group", skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<LockedGroup>,
    /// What the statements asked for by name.
    #[serde(default, rename = "spec", skip_serializing_if = "Vec::is_empty")]
    pub specs: Vec<LockedSpec>,
    /// The packages that come in, by NEVRA.
    #[serde(default, rename = "package", skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<LockedPackage>,
}

/// A group or environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedGroup {
    /// As the recipe says it.
    pub name: String,
    /// Its id in the repositories' comps.
    pub id: String,
    /// `group` or `environment`.
    pub kind: String,
    /// Names of the packages it cannot be without.
    pub mandatory: Vec<String>,
}

/// A name, glob or file that an install statement gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedSpec {
    /// As the recipe says it.
    pub text: String,
    /// NEVRAs, any one of which satisfies it.
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
    /// Its place below the repository's base, or its whole address; of a file on the build host,
    /// which the recipe names, the name.
    pub location: String,
    /// `algorithm:hex` of its file.
    pub checksum: String,
    /// Bytes of its file.
    pub size: u64,
    /// The full fingerprint of the pinned key that signed it, or the key id where no key is pinned;
    /// `None` when nobody did or nobody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// Why it comes in.
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
    /// Where the lock of a recipe lies: beside it.
    #[must_use]
    pub fn path_for(recipe: &Path) -> PathBuf {
        recipe.with_extension("lock")
    }

    /// Parses the text of a lock file; `file` is its name in messages.
    ///
    /// # Errors
    /// [`ExitCode::Recipe`] with line and column for what is no lock, and by the package's name for
    /// what no lock may say.
    pub fn parse(text: &str, file: &str) -> Result<Self> {
        let lock: Self = toml::from_str(text).map_err(|error| {
            let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            let message = error.message().lines().next().unwrap_or_default().to_owned();
            Failure::new(ExitCode::Recipe, format!("{file}:{line}:{column}: {message}")).hint("make the lock again: osimg lock RECIPE")
        })?;
        check::lock(&lock)
            .map_err(|why| Failure::new(ExitCode::Recipe, format!("{file}: {why}")).hint("make the lock again: osimg lock RECIPE"))?;
        Ok(lock)
    }

    /// Reads and parses a lock file; the digest of its bytes, in hex, comes second.
    ///
    /// # Errors
    /// As [`Lock::parse`], and when the file cannot be read.
    pub fn load(path: &Path) -> Result<(Self, String)> {
        let text = crate::files::read_text(path, crate::files::TEXT).or_fail_hint(
            ExitCode::Recipe,
            format!("reading lock {}", path.display()),
            "make it first: osimg lock RECIPE",
        )?;
        Ok((Self::parse(&text, &path.display().to_string())?, hex::encode(Sha256::digest(text.as_bytes()))))
    }

    /// The text of the lock file: sorted, and the same for the same packages.
    ///
    /// # Errors
    /// None that a lock of ours can cause.
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
        let body = toml::to_string_pretty(&sorted).or_fail(ExitCode::Unexpected, "writing the lock")?;
        Ok(format!("{HEAD}{body}"))
    }

    /// All packages that some transaction brings in.
    pub fn packages(&self) -> impl Iterator<Item = &LockedPackage> {
        self.transactions.iter().flat_map(|transaction| &transaction.packages)
    }

    /// Compares the lock with the recipe and the settings that it is to be used with.
    ///
    /// # Errors
    /// [`ExitCode::Recipe`] with everything that was changed since.
    pub fn belongs_to(&self, script: &Script, settings: &PackageSettings, file: &Path) -> Result<()> {
        let mut changed = Vec::new();
        if self.recipe != digest(script) {
            changed.push("the recipe's statements".to_owned());
        }
        if self.arch != arch(settings) {
            changed.push(format!("the architecture: {} then, {} now", self.arch, arch(settings)));
        }
        if self.releasever != settings.releasever {
            let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
            changed.push(format!("releasever: {} then, {} now", text(&self.releasever), text(&settings.releasever)));
        }
        if self.install_weak_deps != settings.install_weak_deps {
            let text = |value: Option<bool>| value.map_or_else(|| "not set".to_owned(), |value| value.to_string());
            changed.push(format!("install_weak_deps: {} then, {} now", text(self.install_weak_deps), text(settings.install_weak_deps)));
        }
        let mut exclude = settings.exclude.clone();
        exclude.sort();
        if self.exclude != exclude {
            changed.push("exclude under [packages]".to_owned());
        }
        let known = |id: &str| settings.repositories.is_empty() || settings.repositories.iter().any(|r| r.id == id);
        let ids = self.packages().map(|p| p.repository.as_str()).filter(|id| *id != GIVEN);
        let mut unknown: Vec<&str> = ids.filter(|id| !known(id)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        changed.extend(unknown.iter().map(|id| format!("the repositories: '{id}' is no longer there")));
        if changed.is_empty() {
            return Ok(());
        }
        Err(Failure::new(
            ExitCode::Recipe,
            format!("{} is out of date; since it was made these changed: {}", file.display(), changed.join("; ")),
        )
        .hint("make it again: osimg lock RECIPE, and look at the difference")
        .into())
    }
}

/// The digest of what a recipe says, comments and blanks left out.
#[must_use]
pub fn digest(script: &Script) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(script.to_string().as_bytes())))
}

/// The architecture that the settings ask for, or the host's, as rpm names it.
#[must_use]
pub fn arch(settings: &PackageSettings) -> String {
    settings.arch.clone().unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

#[cfg(test)]
mod tests;
