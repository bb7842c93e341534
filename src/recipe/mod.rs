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
mod expand;
mod lexer;
pub mod lock;
mod lower;
mod origins;
mod parser;
mod script;
mod settings;
mod statement;
mod transaction;
mod variables;

pub use diagnostic::{Diagnostic, Severity};
pub use lock::{Lock, LockedPackage, LockedTransaction};
pub use lower::Lowered;
pub use origins::Origins;
pub use script::Script;
pub use settings::customizations;
pub use settings::{
    Bootstrap, Choices, Customizations, DeploySettings, Disks, DurationError, Entry,
    FinishSettings, Format, ImageSettings, Initramfs, InstallSettings, Key, KeySource, Layout,
    Level, MachineId, ManagerChoice, PackageSettings, RegistrySettings, Repository,
    RepositorySource, SbomKind, ScriptSettings, ScriptSource, SelinuxChoice, SelinuxMode, Settings,
    Verify, Visibility, When, schema,
};
pub(crate) use settings::{
    checked_dbpath, checked_fingerprint, checked_image_word, checked_repository_id, checked_url,
    parse_duration,
};
pub use statement::{GroupAction, ModuleAction, RepoAction, Spec, SpecKind, StatementKind};
pub use transaction::{GroupScope, RepoChange, Transaction};

use settings::{Checked, Source, Sources, checked};

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
    /// Every value of the settings files, with its origin.
    pub entries: Vec<Entry>,
}

impl Recipe {
    /// Reads a recipe, and its settings from `settings_path`, or from the `.toml` of the same stem
    /// if there is one.
    ///
    /// # Errors
    /// Fails with [`ExitCode::Recipe`] if a file cannot be read, is not text, or has errors.
    pub fn load(path: &Path, settings_path: Option<&Path>) -> Result<Self> {
        Self::load_with(path, settings_path, None, &Choices::default())
    }

    /// As [`Recipe::load`], with a blueprint below the settings, and with profiles and variables.
    ///
    /// # Errors
    /// As [`Recipe::load`], and with [`ExitCode::Usage`] for a variable that nothing uses.
    pub fn load_with(
        path: &Path,
        settings_path: Option<&Path>,
        blueprint: Option<&Path>,
        choices: &Choices,
    ) -> Result<Self> {
        let text = read_text(path, "recipe")?;
        let mut expanded =
            expand::included(&text, path, &mut |included| read_text(included, "recipe"))?;
        let next = path.with_extension("toml");
        // `symlink_metadata`, so that a dangling link is an error, not a build with the wrong
        // settings.
        let found = !is_input(path) && next != path && std::fs::symlink_metadata(&next).is_ok();
        let settings_path = settings_path.or(found.then_some(next.as_path()));
        let mut sources = Vec::new();
        for (path, what, is_blueprint) in
            [(blueprint, "blueprint", true), (settings_path, "settings", false)]
        {
            if let Some(path) = path {
                sources.push(source(path, what, is_blueprint)?);
            }
        }
        let sources = Sources::load(sources, &mut |included| read_text(included, "settings"))?;
        sources.check_profiles(&choices.profiles)?;
        let Checked { settings, entries, variables, mut used, statements } =
            checked(&sources, choices).map_err(Failure::from)?;
        expand::with_variables(&mut expanded, &variables, &mut used).map_err(Failure::from)?;
        if let Some(unused) = choices.set.keys().find(|name| !used.contains(*name)) {
            return Err(Failure::new(
                ExitCode::Usage,
                format!("--set {unused}: neither the recipe nor the settings use ${{{unused}}}"),
            )
            .into());
        }
        if let Some(blueprint) = blueprint {
            expanded =
                expand::with_statements(expanded, &blueprint.display().to_string(), &statements);
        }
        let script =
            Script::parse_with_origins(&expanded.text, expanded.origins).map_err(Failure::from)?;
        Ok(Self { path: path.to_owned(), script, settings, entries })
    }

    /// The image's name from the settings, or else the recipe's stem.
    #[must_use]
    pub fn name(&self) -> String {
        let named = (!is_input(&self.path)).then(|| self.path.file_stem()).flatten();
        let stem =
            || named.map_or_else(|| "image".to_owned(), |stem| stem.to_string_lossy().into_owned());
        self.settings.image.name.clone().unwrap_or_else(stem)
    }
}

impl Settings {
    /// Reads a settings file; relative paths in it start at its directory.
    ///
    /// # Errors
    /// Fails with [`ExitCode::Recipe`] if it cannot be read, is not text, or has errors.
    pub fn load(path: &Path) -> Result<Self> {
        let sources = Sources::load(vec![source(path, "settings", false)?], &mut |included| {
            read_text(included, "settings")
        })?;
        Ok(checked(&sources, &Choices::default()).map_err(Failure::from)?.settings)
    }
}

fn source(path: &Path, what: &str, blueprint: bool) -> Result<Source> {
    let text = read_text(path, what)?;
    let name = path.display().to_string();
    let absolute = std::path::absolute(path).map_err(|error| {
        Failure::new(ExitCode::Recipe, format!("finding the directory of {name}")).because(error)
    })?;
    Ok(Source {
        name,
        text,
        directory: absolute.parent().unwrap_or(Path::new("/")).to_owned(),
        blueprint,
    })
}

/// The name for standard input.
const INPUT: &str = "-";

/// Whether a path stands for standard input.
#[must_use]
pub(crate) fn is_input(path: &Path) -> bool {
    path == Path::new(INPUT)
}

/// Reads a text file of the user, or standard input. Messages call it `what`.
fn read_text(path: &Path, what: &str) -> Result<String> {
    let shown = path.display();
    let fail = |message: String| Failure::new(ExitCode::Recipe, message);
    let read = if is_input(path) {
        files::read_open(process::Input, files::TEXT)
    } else {
        files::read(path, files::TEXT)
    };
    process::check_stop()?;
    let bytes = match read {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let dangling = std::fs::symlink_metadata(path).is_ok();
            let why = if dangling { "it is a dangling link" } else { "the file does not exist" };
            return Err(fail(format!("reading {what} {shown}: {why}")).into());
        }
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::FileTooLarge) => {
            return Err(fail(format!("reading {what} {shown}: {error}"))
                .hint(format!("use the path of the {what} file"))
                .into());
        }
        Err(error) => return Err(fail(format!("reading {what} {shown}")).because(error).into()),
    };
    String::from_utf8(bytes).map_err(|error| {
        not_text(error.as_bytes(), error.utf8_error().valid_up_to(), path, what).into()
    })
}

/// The error for a file that is not text: the position of the first invalid byte, and what it may
/// be.
fn not_text(bytes: &[u8], valid: usize, path: &Path, what: &str) -> Failure {
    let before = bytes.get(..valid).unwrap_or_default();
    let shown = path.display();
    if bytes.contains(&0) {
        return Failure::new(
            ExitCode::Recipe,
            format!("reading {what} {shown}: it is a binary file, not text"),
        )
        .hint(format!("is this a {what}?"));
    }
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let column =
        String::from_utf8_lossy(before.get(start..).unwrap_or_default()).chars().count() + 1;
    Failure::new(ExitCode::Recipe, format!("{shown}:{line}:{column}: the {what} is not UTF-8"))
        .hint("convert it, for example with `iconv -f latin1 -t utf-8`")
}
