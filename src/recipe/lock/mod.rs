//! The lock of a recipe: the exact packages, as TOML. Each changed package is one changed block.
//!
//! A location is relative to its repository; otherwise every lock would contain a different mirror.
//! Packages of an imported list keep their full address if their repository's address is unknown.

mod check;
pub mod foreign;
mod model;

pub(crate) use model::{GIVEN, LOCK_VERSION};
pub use model::{
    Lock, LockedGroup, LockedPackage, LockedRepository, LockedSpec, LockedTransaction,
};

use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

use super::{PackageSettings, Script};
use crate::error::{ExitCode, Failure, Result, ResultExt};

/// The first lines of a lock.
const HEAD: &str =
    "# Written by `osimg lock`. `osimg build --locked` installs these packages and no others.\n";

impl Lock {
    /// The path of a recipe's lock, next to the recipe.
    #[must_use]
    pub(crate) fn path_for(recipe: &Path) -> PathBuf {
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
            let message = crate::secrets::parser_message(message);
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
    pub(crate) fn belongs_to(
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
