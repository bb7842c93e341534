//! The files of this machine that the packages need, checked before the first download: keys,
//! certificates, package files and repositories in directories.
//!
//! The package manager opens most of them. It would wait for a FIFO, and report a missing file only
//! in the middle of the build.

use std::path::Path;

use super::{local, package_files};
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::files;
use crate::recipe::{Key, KeySource, PackageSettings, Recipe, Transaction};

/// Checks that every file is a regular file that can be opened, and that every key has its
/// fingerprint.
///
/// # Errors
/// [`ExitCode::Trust`] for another key, otherwise [`ExitCode::Recipe`] with the setting or the line
/// of the recipe.
pub(crate) fn check_inputs(recipe: &Recipe, transactions: &[Transaction]) -> Result<()> {
    let settings = &recipe.settings.packages;
    named(settings).into_iter().try_for_each(|(setting, path)| check(&setting, path))?;
    let local = settings.keys.iter().filter(|key| file_of(key).is_some());
    local.map(super::pinned).try_for_each(|key| key.map(drop))?;
    for spec in transactions.iter().flat_map(package_files::specs) {
        package_files::find(recipe.script.origins(), spec)?;
    }
    match local::irregular(settings) {
        None => Ok(()),
        Some((path, why)) => {
            let message = format!("examining the repository's file {}: {why}", path.display());
            Err(Failure::new(ExitCode::Recipe, message)
                .hint("remove it from the repository's directory")
                .into())
        }
    }
}

/// The files that the settings name, each with its setting.
fn named(settings: &PackageSettings) -> Vec<(String, &Path)> {
    let mut files = Vec::new();
    for repository in &settings.repositories {
        let named = [
            ("ca", &repository.ca),
            ("client_cert", &repository.client_cert),
            ("client_key", &repository.client_key),
            ("password_file", &repository.password_file),
        ];
        files.extend(named.into_iter().filter_map(|(key, path)| {
            Some((format!("`{key}` of the repository {}", repository.id), path.as_deref()?))
        }));
    }
    let keys = settings.keys.iter().filter_map(file_of);
    files.extend(keys.map(|path| ("a repository's key".to_owned(), path)));
    files
}

/// The key's file, if it is of this machine.
fn file_of(key: &Key) -> Option<&Path> {
    match &key.source {
        KeySource::File(path) => Some(path),
        KeySource::Url(url) => url.strip_prefix("file://").map(Path::new),
    }
}

fn check(setting: &str, path: &Path) -> Result<()> {
    files::open(path).map(drop).or_fail_hint(
        ExitCode::Recipe,
        format!("opening {setting}, {}", path.display()),
        "relative paths in settings start at the directory of the settings file",
    )
}
