//! Step 1: the recipe, a script for `dnf shell` (`NAME.yum`), with its settings (`NAME.toml`) next
//! to it.
//!
//! [`Recipe::load`] reads both. [`Script::parse`] parses the script strictly. [`Script::lower`]
//! converts it to [`Transaction`]s, and refuses work that dnf's shell would silently lose.
//! [`Settings::parse`] parses the settings.

mod advice;
mod arguments;
mod commands;
mod config_keys;
mod diagnostic;
mod lexer;
pub mod lock;
mod lower;
mod parser;
mod script;
mod settings;
mod statement;
mod suggest;
mod transaction;

pub use diagnostic::{Diagnostic, Severity};
pub use lock::{Lock, LockedPackage, LockedTransaction};
pub use lower::Lowered;
pub use script::Script;
pub use settings::customizations;
pub use settings::{
    Bootstrap, Customizations, DeploySettings, Disks, DurationError, FinishSettings, Format, ImageSettings, Initramfs, InstallSettings,
    Key, KeySource, Layout, Level, MachineId, ManagerChoice, PackageSettings, RegistrySettings, Repository, RepositorySource, SbomKind,
    ScriptSettings, ScriptSource, SelinuxChoice, SelinuxMode, Settings, Verify, Visibility, When, checked_dbpath, checked_fingerprint,
    checked_image_word, checked_repository_id, checked_url, parse_duration,
};
pub use statement::{GroupAction, ModuleAction, RepoAction, Spec, SpecKind, StatementKind};
pub use transaction::{GroupScope, RepoChange, Transaction};

use crate::error::{ExitCode, Failure, Result};
use crate::files;
use crate::process;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A recipe with its settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// The recipe's file.
    pub path: PathBuf,
    /// Its statements.
    pub script: Script,
    /// The settings next to it, or the defaults.
    pub settings: Settings,
}

impl Recipe {
    /// Reads a recipe, and its settings from `settings_path`, or from the `.toml` of the same stem
    /// if there is one.
    ///
    /// # Errors
    /// Fails with [`ExitCode::Recipe`] if a file cannot be read, is not text, or has errors.
    pub fn load(path: &Path, settings_path: Option<&Path>) -> Result<Self> {
        let text = read_text(path, "recipe")?;
        let script = Script::parse(&text, &path.display().to_string()).map_err(Failure::from)?;
        let sibling = path.with_extension("toml");
        let settings = match settings_path {
            Some(given) => Settings::load(given)?,
            // `symlink_metadata`, so that a dangling link is an error, not a build with the wrong
            // settings.
            None if !is_input(path) && sibling != path && std::fs::symlink_metadata(&sibling).is_ok() => Settings::load(&sibling)?,
            None => Settings::default(),
        };
        Ok(Self { path: path.to_owned(), script, settings })
    }

    /// The image's name from the settings, or else the recipe's stem.
    #[must_use]
    pub fn name(&self) -> String {
        let named = (!is_input(&self.path)).then(|| self.path.file_stem()).flatten();
        let stem = || named.map_or_else(|| "image".to_owned(), |stem| stem.to_string_lossy().into_owned());
        self.settings.image.name.clone().unwrap_or_else(stem)
    }
}

impl Settings {
    /// Reads a settings file; relative paths in it start at its directory.
    ///
    /// # Errors
    /// Fails with [`ExitCode::Recipe`] if it cannot be read, is not text, or has errors.
    pub fn load(path: &Path) -> Result<Self> {
        let text = read_text(path, "settings")?;
        let shown = path.display().to_string();
        let absolute = std::path::absolute(path)
            .map_err(|error| Failure::new(ExitCode::Recipe, format!("finding the directory of {shown}")).because(error))?;
        let directory = absolute.parent().unwrap_or(Path::new("/"));
        Ok(Self::parse(&text, &shown, directory).map_err(Failure::from)?)
    }
}

/// The name for standard input.
const INPUT: &str = "-";

/// Whether a path stands for standard input.
#[must_use]
pub fn is_input(path: &Path) -> bool {
    path == Path::new(INPUT)
}

/// Reads a text file of the user, or standard input. Messages call it `what`.
fn read_text(path: &Path, what: &str) -> Result<String> {
    let shown = path.display();
    let fail = |message: String| Failure::new(ExitCode::Recipe, message);
    let read = if is_input(path) { files::read_open(process::Input, files::TEXT) } else { files::read(path, files::TEXT) };
    process::check_stop()?;
    let bytes = match read {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let dangling = std::fs::symlink_metadata(path).is_ok();
            let why = if dangling { "it is a dangling link" } else { "the file does not exist" };
            return Err(fail(format!("reading {what} {shown}: {why}")).into());
        }
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::FileTooLarge) => {
            return Err(fail(format!("reading {what} {shown}: {error}")).hint(format!("use the path of the {what} file")).into());
        }
        Err(error) => return Err(fail(format!("reading {what} {shown}")).because(error).into()),
    };
    String::from_utf8(bytes).map_err(|error| not_text(error.as_bytes(), error.utf8_error().valid_up_to(), path, what).into())
}

/// The error for a file that is not text: the position of the first invalid byte, and what it may
/// be.
fn not_text(bytes: &[u8], valid: usize, path: &Path, what: &str) -> Failure {
    let before = bytes.get(..valid).unwrap_or_default();
    let shown = path.display();
    if bytes.contains(&0) {
        return Failure::new(ExitCode::Recipe, format!("reading {what} {shown}: it is a binary file, not text"))
            .hint(format!("is this a {what}?"));
    }
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let column = String::from_utf8_lossy(before.get(start..).unwrap_or_default()).chars().count() + 1;
    Failure::new(ExitCode::Recipe, format!("{shown}:{line}:{column}: the {what} is not UTF-8"))
        .hint("convert it, for example with `iconv -f latin1 -t utf-8`")
}
