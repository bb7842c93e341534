//! Package files that a recipe lists directly: local files and addresses.

use std::path::{Path, PathBuf};

use super::Job;
use crate::error::{ExitCode, Failure, Result};
use crate::recipe::{Origins, Spec, SpecKind, Transaction};
use crate::sandbox::OWN;

/// A package file of a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FileSource<'a> {
    /// A file on this machine.
    Local(PathBuf),
    /// A file at an address.
    Address(&'a str),
}

impl FileSource<'_> {
    /// The location in a lock: the full address, or only the name of a local file, because the
    /// recipe has its path.
    pub(super) fn location(&self) -> String {
        match self {
            Self::Local(path) => {
                path.file_name().unwrap_or_default().to_string_lossy().into_owned()
            }
            Self::Address(url) => (*url).to_owned(),
        }
    }
}

/// The specs for package files.
pub(super) fn specs(transaction: &Transaction) -> impl Iterator<Item = &Spec> {
    transaction
        .install
        .iter()
        .chain(transaction.swap.iter().map(|swap| &swap.install))
        .filter(|spec| spec.is_package_file())
}

/// The file name in the spec; it must look like the name of a package file.
pub(super) fn name(spec: &Spec) -> &str {
    spec.text.rsplit('/').next().unwrap_or_default()
}

/// Finds the file for a spec.
///
/// # Errors
/// [`ExitCode::Recipe`] with line and column if it is not the name of a package file, or does not
/// exist.
pub(super) fn find<'a>(places: &Origins, spec: &'a Spec) -> Result<FileSource<'a>> {
    let wrong = |what: String| {
        Failure::new(
            ExitCode::Recipe,
            format!("{}:{}: {what}", places.shown(spec.line), spec.column),
        )
    };
    if !name(spec).ends_with(".rpm") || name(spec).contains(['?', '#']) {
        return Err(wrong(format!("'{}' does not end in the name of a package file", spec.text))
            .hint(
                "use the full address of the file: https://HOST/DIRECTORY/\
                NAME-VERSION-RELEASE.ARCH.rpm",
            )
            .into());
    }
    let path = match spec.kind() {
        SpecKind::Url => match spec.text.strip_prefix("file://") {
            Some(path) => path,
            None => return Ok(FileSource::Address(&spec.text)),
        },
        _ => spec.text.as_str(),
    };
    let source = Path::new(places.place(spec.line).0).parent().unwrap_or(Path::new("")).join(path);
    let opened = crate::files::open(&source).and_then(|_| source.canonicalize());
    let source = opened.map_err(|error| {
        wrong(format!("opening {}: {error}", source.display()))
            .hint("relative paths start at the recipe's directory")
    })?;
    Ok(FileSource::Local(source))
}

/// The path in the sandbox for the `number`th local file of the transaction.
pub(super) fn target(number: usize, name: &str) -> String {
    format!("{OWN}/files/{number}/{name}")
}

/// The local file for a path in the sandbox.
///
/// # Errors
/// As [`find`].
pub(super) fn host_file(
    job: &Job<'_>,
    transaction: &Transaction,
    path: &str,
) -> Result<Option<PathBuf>> {
    let mut number = 0;
    for spec in specs(transaction) {
        if let FileSource::Local(source) = find(job.places, spec)? {
            if target(number, name(spec)) == path {
                return Ok(Some(source));
            }
            number += 1;
        }
    }
    Ok(None)
}

/// The file of the transaction with this name or address.
///
/// # Errors
/// As [`find`], and if there is none or more than one.
pub(super) fn by_location<'a>(
    job: &Job<'_>,
    transaction: &'a Transaction,
    location: &str,
) -> Result<FileSource<'a>> {
    let mut found = Vec::new();
    for spec in specs(transaction).filter(|spec| spec.text == location || name(spec) == location) {
        let given = find(job.places, spec)?;
        if !found.contains(&given) {
            found.push(given);
        }
    }
    let count = found.len();
    match (found.pop(), count) {
        (Some(given), 1) => Ok(given),
        _ => {
            let message = format!(
                "{}: the recipe has {count} package files with the name '{location}'",
                job.recipe.display()
            );
            Err(Failure::new(ExitCode::Recipe, message).into())
        }
    }
}
