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
mod image;

use serde::Serialize;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;
use std::io::Read;
use std::path::Path;

use crate::archive::{self, Overrides, Reason};
use crate::contents::{self, Contents, Digests};
use crate::error::{ExitCode, Failure, Result};
use crate::http::{Trust, shown};

pub use address::is_address;
pub use consumer::Consumer;

use image::{Image, Place};

/// Whether a finding keeps an image from being published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A node would fail, or be another system than was meant.
    Error,
    /// Worth a look.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check's name.
    pub name: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    pub text: String,
    /// What the node would do.
    pub why: &'static str,
    /// What fixes it.
    pub fix: &'static str,
    /// The first of the files that it is about.
    pub paths: Vec<String>,
    /// How many files it is about.
    pub count: usize,
    /// The consumers that it concerns.
    pub consumers: Vec<Consumer>,
    /// Whether it was allowed by name.
    pub allowed: bool,
}

/// What is known of an image after all checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// The tarball, as it was named; nothing of a tree.
    pub tarball: Option<String>,
    /// The first of the consumers.
    pub profile: Consumer,
    /// The consumers that it was verified for.
    pub consumers: Vec<Consumer>,
    /// Its SHA-256 in hex, where the whole tarball was read.
    pub sha256: Option<String>,
    /// Members of the archive.
    pub members: usize,
    /// Packages in its rpmdb.
    pub packages: usize,
    /// Names of the checks that were made.
    pub checks: Vec<&'static str>,
    /// What they found, the worst first.
    pub findings: Vec<Finding>,
}

impl Findings {
    /// Errors that were not allowed.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    /// Warnings that were not allowed.
    #[must_use]
    pub fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }

    fn count(&self, severity: Severity) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.severity == severity && !finding.allowed)
            .count()
    }

    /// Whether the image may go to a node: no error but allowed ones.
    #[must_use]
    pub fn fit(&self) -> bool {
        self.errors() == 0
    }

    /// The findings as text: each with the consequence of an error for a node, and the fix.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for finding in &self.findings {
            let Finding { name, severity, text, why, fix, allowed, consumers, .. } = finding;
            let allowed = if *allowed { ", allowed" } else { "" };
            let concerned = if self.consumers.len() > consumers.len() {
                let names: Vec<String> = consumers.iter().map(ToString::to_string).collect();
                format!(" ({})", names.join(", "))
            } else {
                String::new()
            };
            lines.push(format!("{severity}: {text}{concerned} [{name}{allowed}]"));
            // Warnings are short.
            if *severity == Severity::Error {
                lines.push(format!("    node: {why}"));
            }
            lines.push(format!("    fix: {fix}"));
        }
        lines
    }
}

/// How an image is verified.
pub struct Options<'a> {
    /// The consumers of the image; when there are none, the installer that the image's os-release
    /// asks for.
    pub consumers: Vec<Consumer>,
    /// Names of checks whose findings do not count.
    pub allow: BTreeSet<String>,
    /// Paths that the image's settings removed: packaged files below them are not missing.
    pub removed: Vec<String>,
    /// Bytes of the smallest disk that it is to be installed to.
    pub smallest_disk: u64,
    /// Whether contents are compared with the digests that the packages tell.
    pub digests: Digests,
    /// How the certificate of a server is checked.
    pub trust: Trust,
    /// Told how many bytes of the tarball were read, and of how many (0 when nobody knows).
    pub progress: &'a dyn Fn(u64, u64),
    /// Asked often; an error ends the work.
    pub check: &'a dyn Fn() -> Result<()>,
}

/// The check that finds an archive that cannot be read. No other check has looked at it.
pub(crate) const DAMAGED: &str = "damaged";
/// A root file system that the smallest bare metal has room for.
pub const SMALLEST_DISK: u64 = 10 << 30;

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            consumers: Vec::new(),
            allow: BTreeSet::new(),
            removed: Vec::new(),
            smallest_disk: SMALLEST_DISK,
            digests: Digests::Sha256,
            trust: Trust::default(),
            progress: &|_, _| {},
            check: &|| Ok(()),
        }
    }
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("consumers", &self.consumers)
            .field("allow", &self.allow)
            .finish_non_exhaustive()
    }
}

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
pub fn check_allowed(name: &str, names: &[&str]) -> Result<()> {
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
