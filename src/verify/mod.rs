//! Is an image fit for a node? A registry of small checks over what is in a tarball or a tree,
//! anyone's.
//!
//! [`checks`] has one file for each group; every check has a name that stays, says what a node
//! would do, and the line that fixes it. [`mod@consumer`] knows who unpacks the image and what is
//! serious for it, [`image`] what the checks look at, [`mod@address`] reads tarballs from servers.

mod address;
mod capability;
mod checks;
mod consumer;
mod findings;
mod image;
mod options;
mod severity;

use std::cell::Cell;
use std::io::Read;
use std::path::Path;

use crate::archive::{self, Overrides, Reason};
use crate::contents::{self, Contents};
use crate::error::{ExitCode, Failure, Result};
use crate::http::shown;

pub use consumer::Consumer;
pub(crate) use findings::DAMAGED;
pub use findings::{Finding, Findings};
pub use options::Options;
pub use severity::Severity;

use image::{Image, Place};

/// The names of all checks, for `--allow`.
#[must_use]
pub fn names() -> Vec<&'static str> {
    checks::all().map(|check| check.name).collect()
}

/// Verifies the tarball at `path`; one that is damaged is a finding and no error.
///
/// # Errors
/// When it cannot be read, or [`Options::allow`] names no check.
pub fn tarball(path: &Path, options: &Options<'_>) -> Result<Findings> {
    known(options)?;
    let total = path.metadata().map_or(0, |m| m.len());
    let progress = |done| (options.progress)(done, total);
    let read = Contents::of_tarball(
        path,
        &contents::Options { digests: options.digests, progress: &progress, check: options.check },
    );
    judged(read, Place::File(path.to_owned()), options)
}

/// Verifies the tarball at an `http` or `https` address, which is streamed.
///
/// # Errors
/// When the server cannot be reached, and as [`tarball`].
pub fn address(url: &str, options: &Options<'_>) -> Result<Findings> {
    known(options)?;
    let (answer, body) = address::open(url, &options.trust)?;
    let total = answer.length.unwrap_or(0);
    let Some(body) = body else {
        return Ok(checks::run(&Image::unread(Place::Address(answer), options), options));
    };
    let progress = |done| (options.progress)(done, total);
    let trouble = Cell::new(None);
    let reading =
        contents::Options { digests: options.digests, progress: &progress, check: options.check };
    let read = Contents::of_stream(address::Watched { body, trouble: &trouble }, &reading);
    let doing = format!("reading the tarball {}", shown(url));
    // A decompressor takes a connection that breaks for damage of the file.
    match trouble.take() {
        Some(error) => Err(error.failure(ExitCode::Repository, doing)),
        None => judged(read.map_err(|error| error.context(doing)), Place::Address(answer), options),
    }
}

/// Verifies a tarball that comes from a pipe.
///
/// # Errors
/// As [`tarball`].
pub fn stream(source: impl Read, options: &Options<'_>) -> Result<Findings> {
    known(options)?;
    let progress = |done| (options.progress)(done, 0);
    let reading =
        contents::Options { digests: options.digests, progress: &progress, check: options.check };
    let read = Contents::of_stream(source, &reading);
    (options.check)()?;
    judged(read, Place::Nowhere, options)
}

/// Verifies a tree that is about to be packed with these labels and owners.
///
/// # Errors
/// When it cannot be read whole, or [`Options::allow`] names no check.
pub fn tree<'a>(
    root: &Path,
    overrides: impl Into<Overrides<'a>>,
    options: &Options<'_>,
) -> Result<Findings> {
    known(options)?;
    let reading =
        contents::Options { digests: options.digests, progress: &|_| {}, check: options.check };
    let contents = Contents::of_tree(root, overrides, &reading)?;
    Ok(self::contents(&contents, options))
}

/// Verifies what was read before.
#[must_use]
pub fn contents(contents: &Contents, options: &Options<'_>) -> Findings {
    checks::run(&Image::new(contents, Place::Nowhere, options), options)
}

fn judged(read: Result<Contents>, place: Place, options: &Options<'_>) -> Result<Findings> {
    match read {
        Ok(contents) => Ok(checks::run(&Image::new(&contents, place, options), options)),
        Err(error) => match damage(&error) {
            Some(why) => Ok(checks::run(&Image::damaged(place, why, options), options)),
            None => Err(error),
        },
    }
}

/// What is wrong with the tarball itself; nothing when it could not be had.
fn damage(error: &anyhow::Error) -> Option<String> {
    match error.chain().find_map(|cause| cause.downcast_ref::<archive::Error>())?.reason() {
        Reason::Damaged(damaged) => Some(damaged.to_string()),
        reason @ (Reason::Zstd | Reason::NotTar(_)) => Some(reason.to_string()),
        _ => None,
    }
}

/// Fails if the options allow the findings of an unknown check.
fn known(options: &Options<'_>) -> Result<()> {
    options.allow.iter().try_for_each(|name| check_allowed(name, &names()))
}

/// Fails unless `name` is one of the names that can be allowed. A pattern is none: it would also
/// allow checks that a later version adds.
///
/// # Errors
/// [`ExitCode::Usage`] with similar names.
pub(crate) fn check_allowed(name: &str, names: &[&str]) -> Result<()> {
    if names.contains(&name) {
        return Ok(());
    }
    let pattern = name.contains(['*', '?', '[']);
    let why = if pattern { "patterns are not supported" } else { "no finding has this name" };
    let begins = name.split(['*', '?', '[']).next().unwrap_or_default();
    let similar: Vec<&str> = if pattern && !begins.is_empty() {
        names.iter().copied().filter(|known| known.starts_with(begins)).collect()
    } else {
        crate::suggest::nearest(name, names.iter().copied()).into_iter().collect()
    };
    let hint = if similar.is_empty() {
        format!("the names: {}", names.join(", "))
    } else if pattern {
        let all: Vec<String> = similar.iter().map(|name| format!("--allow {name}")).collect();
        format!("name each finding: {}", all.join(" "))
    } else {
        format!("did you mean {}?", similar.join(", "))
    };
    Err(Failure::new(ExitCode::Usage, format!("allowing the finding `{name}`: {why}"))
        .hint(hint)
        .into())
}
