//! Package files that a recipe names itself: where each is, on this machine or behind an address.

use std::path::{Path, PathBuf};

use super::Job;
use crate::error::{ExitCode, Failure, Result};
use crate::recipe::{Spec, SpecKind, Transaction};
use crate::sandbox::OWN;

/// A package file of a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Given<'a> {
    /// On this machine.
    Here(PathBuf),
    /// Behind an address.
    Address(&'a str),
}

impl Given<'_> {
    /// What a lock calls its place: an address whole, and of a file on this machine the name, for
    /// the recipe says the rest.
    pub fn location(&self) -> String {
        match self {
            Self::Here(path) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            Self::Address(url) => (*url).to_owned(),
        }
    }
}

/// The specs of package files.
pub(super) fn specs(transaction: &Transaction) -> impl Iterator<Item = &Spec> {
    transaction.install.iter().chain(transaction.swap.iter().map(|swap| &swap.install)).filter(|spec| spec.is_package_file())
}

/// The name of the file that the spec means; a file must go by the name of a package.
pub(super) fn name(spec: &Spec) -> &str {
    spec.text.rsplit('/').next().unwrap_or_default()
}

/// Where the file of a spec is.
///
/// # Errors
/// [`ExitCode::Recipe`] with line and column for what is no name of a package file, or not there.
pub(super) fn find<'a>(job: &Job<'_>, spec: &'a Spec) -> Result<Given<'a>> {
    let wrong = |what: String| Failure::new(ExitCode::Recipe, format!("{}:{}:{}: {what}", job.recipe.display(), spec.line, spec.column));
    if !name(spec).ends_with(".rpm") || name(spec).contains(['?', '#']) {
        return Err(wrong(format!("'{}' does not end in the name of a package file", spec.text))
            .hint("name the file itself: https://HOST/FOLDER/NAME-VERSION-RELEASE.ARCH.rpm")
            .into());
    }
    let path = match spec.kind() {
        SpecKind::Url => match spec.text.strip_prefix("file://") {
            Some(path) => path,
            None => return Ok(Given::Address(&spec.text)),
        },
        _ => spec.text.as_str(),
    };
    let source = job.recipe.parent().unwrap_or(Path::new("")).join(path);
    let source = source.canonicalize().map_err(|error| {
        wrong(format!("opening {}: {error}", source.display())).hint("a relative path begins at the recipe's directory")
    })?;
    Ok(Given::Here(source))
}

/// The path in the sandbox of a file on this machine: the `number`th of the transaction.
pub(super) fn target(number: usize, name: &str) -> String {
    format!("{OWN}/files/{number}/{name}")
}

/// The file on this machine that the sandbox has at this path.
///
/// # Errors
/// As [`find`].
pub(super) fn seen_at(job: &Job<'_>, transaction: &Transaction, path: &str) -> Result<Option<PathBuf>> {
    let mut number = 0;
    for spec in specs(transaction) {
        if let Given::Here(source) = find(job, spec)? {
            if target(number, name(spec)) == path {
                return Ok(Some(source));
            }
            number += 1;
        }
    }
    Ok(None)
}

/// The file of the transaction that goes by this name, or is behind this address.
///
/// # Errors
/// As [`find`], and when there is none or several.
pub(super) fn at<'a>(job: &Job<'_>, transaction: &'a Transaction, location: &str) -> Result<Given<'a>> {
    let mut found = Vec::new();
    for spec in specs(transaction).filter(|spec| spec.text == location || name(spec) == location) {
        let given = find(job, spec)?;
        if !found.contains(&given) {
            found.push(given);
        }
    }
    let count = found.len();
    match (found.pop(), count) {
        (Some(given), 1) => Ok(given),
        _ => {
            let message = format!("{}: {count} package files of the recipe are called '{location}'", job.recipe.display());
            Err(Failure::new(ExitCode::Recipe, message).into())
        }
    }
}
