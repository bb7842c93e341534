//! The settings files of a recipe as one text, in which every value keeps its place.

use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::{ExitCode, Failure};
use crate::recipe::diagnostic::quoted;
use crate::recipe::origins::Origins;
use crate::suggest;

/// What the command line chooses among the settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choices {
    /// Profiles to lay over the rest, in this order.
    pub profiles: Vec<String>,
    /// Variables, with their values.
    pub set: BTreeMap<String, String>,
}

/// One settings file.
#[derive(Debug)]
pub(in crate::recipe) struct Source {
    pub(in crate::recipe) name: String,
    pub(in crate::recipe) text: String,
    pub(in crate::recipe) directory: PathBuf,
    /// Whether it is a blueprint.
    pub(in crate::recipe) blueprint: bool,
}

/// A value of the settings, with its origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The path of its keys.
    pub key: String,
    /// The value in TOML.
    pub value: String,
    /// The file and line.
    pub origin: String,
}

/// Reads the text of an included file.
pub(in crate::recipe) type Loader<'a> = &'a mut dyn FnMut(&Path) -> crate::error::Result<String>;

/// All settings files of a recipe, joined.
#[derive(Debug)]
pub(in crate::recipe) struct Sources {
    pub(super) text: String,
    pub(super) origins: Origins,
    /// Where each file begins, the directory of its relative paths, and whether it is a blueprint.
    starts: Vec<(usize, PathBuf, bool)>,
}

impl Sources {
    /// One text that includes nothing.
    pub(super) fn from_text(text: &str, name: &str, directory: &Path) -> Self {
        Self::from(&[Source {
            name: name.to_owned(),
            text: text.to_owned(),
            directory: directory.to_owned(),
            blueprint: false,
        }])
    }

    /// Reads files and all that they include, the included ones first.
    ///
    /// # Errors
    /// When an included file cannot be read.
    pub(in crate::recipe) fn load(
        given: Vec<Source>,
        loader: Loader<'_>,
    ) -> crate::error::Result<Self> {
        let mut files = Vec::new();
        let mut seen = BTreeSet::new();
        for source in given {
            let path =
                source.directory.join(Path::new(&source.name).file_name().unwrap_or_default());
            seen.insert(path.canonicalize().unwrap_or(path));
            collect(source, &mut seen, &mut files, loader)?;
        }
        Ok(Self::from(&files))
    }

    fn from(files: &[Source]) -> Self {
        let mut sources =
            Self { text: String::new(), origins: Origins::default(), starts: Vec::new() };
        for file in files {
            sources.origins.begin(sources.text.matches('\n').count() + 1, &file.name, 1);
            sources.starts.push((sources.text.len(), file.directory.clone(), file.blueprint));
            sources.text.push_str(&file.text);
            // So that a file begins a line. The last is left as it is: its end may be an error.
            if !file.text.ends_with('\n') && sources.starts.len() < files.len() {
                sources.text.push('\n');
            }
        }
        sources
    }

    /// Refuses a chosen profile that no file has.
    ///
    /// # Errors
    /// Names the profile, and suggests another one.
    pub(in crate::recipe) fn check_profiles(&self, chosen: &[String]) -> Result<(), Failure> {
        let mut names = BTreeSet::new();
        for (range, _) in self.ranges().into_iter().filter(|(_, blueprint)| !blueprint) {
            let (table, errors) =
                DeTable::parse_recoverable(self.text.get(range).unwrap_or_default());
            if !errors.is_empty() {
                // They are reported with their places later, and may hide a profile.
                return Ok(());
            }
            if let Some(DeValue::Table(all)) = table.get_ref().get("profile").map(Spanned::get_ref)
            {
                names.extend(all.keys().map(|name| name.get_ref().to_string()));
            }
        }
        let Some(name) = chosen.iter().find(|name| !names.contains(*name)) else { return Ok(()) };
        let near = suggest::nearest(name, names.iter().map(String::as_str));
        let listed = names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None if names.is_empty() => "the settings have no table [profile.NAME]".to_owned(),
            None => format!("the profiles are: {listed}"),
        };
        let name = quoted(name);
        Err(Failure::new(ExitCode::Recipe, format!("--profile: there is no profile {name}"))
            .hint(hint))
    }

    /// The bytes of each file.
    pub(super) fn ranges(&self) -> Vec<(Range<usize>, bool)> {
        let ends = self.starts.iter().skip(1).map(|(start, ..)| *start).chain([self.text.len()]);
        self.starts
            .iter()
            .zip(ends)
            .map(|((start, _, blueprint), end)| (*start..end, *blueprint))
            .collect()
    }

    /// The directory where relative paths at this byte begin.
    pub(super) fn directory(&self, at: usize) -> &Path {
        let index = self.starts.partition_point(|(start, ..)| *start <= at).saturating_sub(1);
        self.starts.get(index).map_or(Path::new("/"), |(_, directory, _)| directory)
    }
}

fn collect(
    source: Source,
    seen: &mut BTreeSet<PathBuf>,
    files: &mut Vec<Source>,
    loader: Loader<'_>,
) -> crate::error::Result<()> {
    // What is wrong with the text is reported later, with everything else.
    let listed = if source.blueprint { Vec::new() } else { includes(&source.text) };
    for (included, line) in listed {
        let path: PathBuf = source.directory.join(&included).components().collect();
        let path = path.canonicalize().unwrap_or(path);
        if !seen.insert(path.clone()) {
            continue;
        }
        let shown = Path::new(&source.name).parent().unwrap_or(Path::new("")).join(&included);
        let place = format!("{}:{line}: including {}", source.name, shown.display());
        if path.extension().is_none_or(|suffix| suffix != "toml") {
            return Err(not_settings(&place, &path).into());
        }
        let text = loader(&path).map_err(|error| error.context(place))?;
        let directory = path.parent().unwrap_or(Path::new("/")).to_owned();
        collect(
            Source { name: shown.display().to_string(), text, directory, blueprint: false },
            seen,
            files,
            loader,
        )?;
    }
    files.push(source);
    Ok(())
}

/// Refuses a file without the suffix: a settings file of someone else must not make osimg read, and
/// quote in an error, a file that is not meant for it.
fn not_settings(place: &str, path: &Path) -> Failure {
    Failure::new(
        ExitCode::Recipe,
        format!("{place}: the name of {} is not NAME.toml", path.display()),
    )
    .hint("only settings files can be included")
}

/// The files that a text includes, each with its line.
fn includes(text: &str) -> Vec<(String, usize)> {
    let (table, _) = DeTable::parse_recoverable(text);
    let Some(DeValue::Array(items)) = table.get_ref().get("include").map(Spanned::get_ref) else {
        return Vec::new();
    };
    let line = |at: usize| text.get(..at).unwrap_or_default().matches('\n').count() + 1;
    items
        .iter()
        .filter_map(|item| Some((item.get_ref().as_str()?.to_owned(), line(item.span().start))))
        .collect()
}
