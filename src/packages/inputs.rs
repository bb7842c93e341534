//! The files of this machine that the packages need, checked before the first download: keys,
//! certificates, package files and repositories in directories.
//!
//! The package manager opens most of them. It would wait for a FIFO, and report a missing file only
//! in the middle of the build.

use std::path::Path;

use super::{local, package_files};
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::files;
use crate::recipe::{KeySource, PackageSettings, Recipe, Transaction};

/// Checks that every file is a regular file that can be opened.
///
/// # Errors
/// [`ExitCode::Recipe`] with the setting or the line of the recipe.
pub fn check_inputs(recipe: &Recipe, transactions: &[Transaction]) -> Result<()> {
    let settings = &recipe.settings.packages;
    named(settings).into_iter().try_for_each(|(setting, path)| check(&setting, path))?;
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
    files.extend(settings.keys.iter().filter_map(|key| match &key.source {
        KeySource::File(path) => Some(("a repository's key".to_owned(), path.as_path())),
        KeySource::Url(url) => {
            Some(("a repository's key".to_owned(), Path::new(url.strip_prefix("file://")?)))
        }
    }));
    files
}

fn check(setting: &str, path: &Path) -> Result<()> {
    files::open(path).map(drop).or_fail_hint(
        ExitCode::Recipe,
        format!("opening {setting}, {}", path.display()),
        "relative paths in settings start at the directory of the settings file",
    )
}
