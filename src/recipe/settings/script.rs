//! `[[script]]`: programs that change the image, run in the sandbox with the image as `/`.

use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;
use toml::Spanned;

use super::fields::Check;
use super::texts::{Text, Texts};
use super::values::{checked_id, parse_duration};
use crate::recipe::diagnostic::quoted;

pub(super) const KEYS: &[(&str, &[&str])] =
    &[("script", &["name", "file", "run", "when", "files", "environment", "timeout", "network"])];

/// `[[script]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScriptSettings {
    /// Its name in messages and in the manifest.
    pub name: String,
    /// What is run.
    pub source: ScriptSource,
    /// When it is run.
    pub when: When,
    /// Files and directories of the build host, read-only below `/run/osimg`.
    pub files: Vec<PathBuf>,
    /// Variables of its environment.
    pub environment: BTreeMap<String, String>,
    /// How long it may take.
    #[serde(serialize_with = "seconds")]
    pub timeout: Option<Duration>,
    /// Whether it sees the host's network.
    pub network: bool,
    /// The file and line of the settings, for messages.
    #[serde(skip)]
    pub place: String,
}

fn seconds<S: Serializer>(timeout: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    timeout.map(|timeout| timeout.as_secs()).serialize(serializer)
}

/// The text of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScriptSource {
    /// In the settings; shown by its digest.
    Run(String),
    /// A file of the build host.
    File(PathBuf),
}

impl Serialize for ScriptSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Run(text) => serializer.collect_str(&format_args!(
                "sha256:{}",
                hex::encode(Sha256::digest(text.as_bytes()))
            )),
            Self::File(path) => path.serialize(serializer),
        }
    }
}

/// When a script is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// After the last transaction, before the customizations.
    #[default]
    AfterPackages,
    /// After the customizations; only `remove` and osimg's own finishing come later.
    Last,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Raw {
    name: Text,
    file: Text,
    run: Option<Spanned<String>>,
    when: When,
    files: Texts,
    environment: BTreeMap<Spanned<String>, String>,
    timeout: Text,
    network: bool,
}

impl Check<'_> {
    pub(super) fn scripts(&mut self, entries: Vec<Spanned<Raw>>) -> Vec<ScriptSettings> {
        let mut names = BTreeSet::new();
        let mut scripts = Vec::new();
        for (index, entry) in entries.into_iter().enumerate() {
            let span = entry.span();
            let Some(script) = self.script(entry, index + 1) else { continue };
            if !names.insert(script.name.clone()) {
                self.fail(
                    span,
                    format!("two scripts are called {}", quoted(&script.name)),
                    "give each its own `name`",
                );
            }
            scripts.push(script);
        }
        scripts
    }

    fn script(&mut self, entry: Spanned<Raw>, number: usize) -> Option<ScriptSettings> {
        let span = entry.span();
        let raw = entry.into_inner();
        let stem =
            raw.file.as_ref().and_then(|file| file.get_ref().rsplit('/').next()).map(str::to_owned);
        let name = match raw.name.map(Spanned::into_inner).or(stem) {
            Some(name) if checked_id(&name).is_err() => {
                self.fail(
                    span.clone(),
                    format!("{} cannot be the `name` of a script", quoted(&name)),
                    "set `name` with letters, digits and `-_.:`, without a leading dot",
                );
                return None;
            }
            Some(name) => name,
            None => format!("script-{number}"),
        };
        let source = match (raw.file, raw.run) {
            (Some(file), None) => self.path(Some(file)).map(ScriptSource::File),
            (None, Some(run)) if run.get_ref().trim().is_empty() => {
                self.fail(run.span(), "an empty script", "");
                None
            }
            (None, Some(run)) => Some(ScriptSource::Run(run.into_inner())),
            (Some(_), Some(run)) => {
                self.fail(run.span(), "a script with both `file` and `run`", "keep one of them");
                None
            }
            (None, None) => {
                self.fail(
                    span.clone(),
                    "a script needs `file` or `run`",
                    "`run` holds the text itself",
                );
                None
            }
        };
        let mut basenames = BTreeSet::new();
        let mut files = Vec::new();
        for file in raw.files.into_iter().flatten() {
            let span = file.span();
            let Some(path) = self.path(Some(file)) else { continue };
            let base = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            if base.is_empty() || !basenames.insert(base.clone()) {
                self.fail(
                    span,
                    format!("two `files` would be /run/osimg/{base}"),
                    "name the directory that holds both",
                );
            }
            files.push(path);
        }
        for name in raw.environment.keys() {
            let text = name.get_ref();
            let good = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                && !text.starts_with(|c: char| c.is_ascii_digit());
            if !good || text.is_empty() {
                self.fail(
                    name.span(),
                    format!("{} is not the name of a variable", quoted(text)),
                    "use letters, digits and `_`",
                );
            }
        }
        let timeout = raw.timeout.and_then(|text| match parse_duration(text.get_ref()) {
            Ok(duration) => Some(duration),
            Err(error) => {
                self.fail(
                    text.span(),
                    format!("{} is not a duration", quoted(text.get_ref())),
                    &error.to_string(),
                );
                None
            }
        });
        if basenames.contains(&name) {
            self.fail(
                span.clone(),
                format!("the script and one of its `files` would be /run/osimg/{name}"),
                "give the script another `name`",
            );
        }
        Some(ScriptSettings {
            name,
            source: source?,
            when: raw.when,
            files,
            environment: raw
                .environment
                .into_iter()
                .map(|(name, value)| (name.into_inner(), value))
                .collect(),
            timeout,
            network: raw.network,
            place: self.place(span),
        })
    }
}
