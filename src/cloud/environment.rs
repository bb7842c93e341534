//! Where clouds are written down: the files that openstacksdk reads, and the `OS_*` variables.
//!
//! <https://docs.openstack.org/openstacksdk/latest/user/config/configuration.html>

use serde_yaml_ng::{Mapping, Value};
use std::ffi::OsString;
use std::path::PathBuf;

use crate::error::{ExitCode, Failure, Result, ResultExt};

/// The variables and directories that decide.
#[derive(Debug, Clone)]
pub(super) struct Environment {
    variables: Vec<(String, String)>,
    directories: Vec<PathBuf>,
}

impl Environment {
    /// The process's own.
    #[must_use]
    pub(super) fn own() -> Self {
        let text = |value: OsString| value.to_string_lossy().into_owned();
        let variables: Vec<(String, String)> =
            std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect();
        let mut directories = vec![PathBuf::from(".")];
        let variable = |name: &str| {
            variables
                .iter()
                .find(|(n, v)| n == name && !v.is_empty())
                .map(|(_, v)| PathBuf::from(v))
        };
        if let Some(config) = variable("XDG_CONFIG_HOME")
            .or_else(|| variable("HOME").map(|home| home.join(".config")))
        {
            directories.push(config.join("openstack"));
        }
        directories.push("/etc/openstack".into());
        Self { variables, directories }
    }

    /// One clouds.yaml, and nothing else.
    #[must_use]
    pub(super) fn from_file(path: &std::path::Path) -> Self {
        Self {
            variables: vec![(
                "OS_CLIENT_CONFIG_FILE".to_owned(),
                path.to_string_lossy().into_owned(),
            )],
            directories: Vec::new(),
        }
    }

    /// For tests: these variables and directories.
    #[cfg(test)]
    pub(super) fn of(variables: &[(&str, &str)], directories: &[&std::path::Path]) -> Self {
        Self {
            variables: variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            directories: directories.iter().map(|f| (*f).to_owned()).collect(),
        }
    }

    /// A variable that is set and not empty.
    #[must_use]
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.iter().find(|(n, v)| n == name && !v.is_empty()).map(|(_, v)| v.as_str())
    }

    /// The `OS_*` variables as a cloud's entry in clouds.yaml, when they name one.
    #[must_use]
    pub(super) fn cloud(&self) -> Option<Value> {
        let names = ["OS_AUTH_URL", "OS_ENDPOINT", "OS_IMAGE_ENDPOINT_OVERRIDE"];
        names.iter().find_map(|name| self.variable(name))?;
        let mut entry = Mapping::new();
        for (name, value) in &self.variables {
            if let Some(name) = name.strip_prefix("OS_").filter(|_| !value.is_empty()) {
                entry.insert(name.to_ascii_lowercase().into(), value.clone().into());
            }
        }
        Some(Value::Mapping(entry))
    }

    /// The first file of that stem (`clouds`, `secure`, `clouds-public`), or the one that the
    /// variable names.
    ///
    /// # Errors
    /// When the named one is missing, or an existing one is not YAML.
    pub(super) fn file(&self, stem: &str, variable: &str) -> Result<Option<(PathBuf, Value)>> {
        let named = self.variable(variable).map(PathBuf::from);
        let found = match &named {
            Some(path) => Some(path.clone()),
            None => self
                .directories
                .iter()
                .flat_map(|directory| {
                    ["yaml", "yml", "json"].map(|suffix| directory.join(format!("{stem}.{suffix}")))
                })
                .find(|path| path.exists()),
        };
        let Some(path) = found else { return Ok(None) };
        let doing = format!("reading {}", path.display());
        let text = match crate::files::read_text(&path, crate::files::TEXT) {
            Ok(text) => text,
            Err(error) => {
                let why = if named.is_some() {
                    format!("{doing}, which {variable} names")
                } else {
                    doing
                };
                return Err(error).or_fail(ExitCode::Recipe, why);
            }
        };
        // The parser's message has the place, and no values.
        let value: Value = serde_yaml_ng::from_str(&text).map_err(|error| {
            let place = error
                .location()
                .map(|l| format!(":{}:{}", l.line(), l.column()))
                .unwrap_or_default();
            Failure::new(ExitCode::Recipe, format!("{doing}{place}: it is not YAML"))
                .hint("look at the indentation and the quotes there")
        })?;
        Ok(Some((path, value)))
    }

    /// The directories that are searched, for a hint.
    #[must_use]
    pub(super) fn directories(&self) -> String {
        self.directories
            .iter()
            .map(|f| f.join("clouds.yaml").display().to_string())
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// Lays the second value over the first, tables key by key.
pub(super) fn merge(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Mapping(under), Value::Mapping(over)) => {
            for (key, value) in over {
                match under.get_mut(&key) {
                    Some(old) => merge(old, value),
                    None => {
                        under.insert(key, value);
                    }
                }
            }
        }
        (under, over) => *under = over,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_laid_over_wins_key_by_key() {
        let mut under: Value = serde_yaml_ng::from_str("{a: {b: 1, c: 2}, d: 3}").expect("YAML");
        merge(&mut under, serde_yaml_ng::from_str("{a: {c: 9, e: 4}}").expect("YAML"));
        assert_eq!(
            under,
            serde_yaml_ng::from_str::<Value>("{a: {b: 1, c: 9, e: 4}, d: 3}").expect("YAML")
        );
    }

    #[test]
    fn the_first_directory_wins_and_broken_yaml_is_told_with_its_place_and_without_its_text() {
        let (one, two) =
            (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        std::fs::write(two.path().join("clouds.yml"), "a: 2").expect("written");
        let environment = Environment::of(&[], &[one.path(), two.path()]);
        assert_eq!(
            environment.file("clouds", "X").expect("read").expect("found").0,
            two.path().join("clouds.yml")
        );
        std::fs::write(one.path().join("clouds.yaml"), "a: [\nb: hunter2: }").expect("written");
        let error = crate::error::render(&environment.file("clouds", "X").expect_err("no YAML"));
        assert!(error.contains("clouds.yaml:") && !error.contains("hunter2"), "{error}");
    }
}
