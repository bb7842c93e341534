//! Several settings files as one: `include`, `[profile.NAME]` and `[vars]`.
//!
//! The texts are joined, and every value keeps its place in the joined text, so that each error and
//! each value can be traced to its file.

use std::collections::{BTreeMap, BTreeSet};
use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

use super::fields::Check;
use super::sources::{Choices, Entry, Sources};
use crate::recipe::diagnostic::{quoted, span_of};
use crate::recipe::origins::Origins;
use crate::recipe::variables;
use crate::recipe::variables::Unset;

/// The settings in which dnf expands its own variables.
const ADDRESSES: [&str; 6] = [
    "packages.repository.baseurl",
    "packages.repository.metalink",
    "packages.repository.mirrorlist",
    "customizations.repositories.baseurls",
    "customizations.repositories.metalink",
    "customizations.repositories.mirrorlist",
];

impl Check<'_> {
    /// The table of all files, with the chosen profiles and variables; errors are noted.
    pub(super) fn merged<'i>(&mut self, sources: &'i Sources, choices: &Choices) -> DeTable<'i> {
        let mut all = DeTable::new();
        for (range, blueprint) in sources.ranges() {
            let (table, errors) =
                DeTable::parse_recoverable(sources.text.get(range.clone()).unwrap_or_default());
            for error in &errors {
                self.toml(error, range.start);
            }
            let mut table = shift_table(table.into_inner(), range.start);
            if blueprint {
                let settings = self.blueprint(table);
                merge(&mut all, settings);
                continue;
            }
            match table.remove("include").map(Spanned::into_inner) {
                Some(DeValue::Array(items)) if items.iter().all(|item| item.get_ref().is_str()) => {
                }
                None => {}
                Some(_) => self.fail(
                    range.start..range.start,
                    "`include` is a list of files",
                    "such as [\"../base.toml\"]",
                ),
            }
            merge(&mut all, table);
        }
        self.profiles(&mut all, choices);
        let vars = all.remove("vars");
        let variables = self.variables(vars, choices);
        let mut used = BTreeSet::new();
        self.substitute(&mut all, "", &variables, &mut used);
        self.used = used;
        self.variables = variables;
        all
    }

    fn profiles<'i>(&mut self, all: &mut DeTable<'i>, choices: &Choices) {
        let Some(profiles) = all.remove("profile") else { return };
        let span = profiles.span();
        let DeValue::Table(mut profiles) = profiles.into_inner() else {
            return self.fail(
                span,
                "`profile` is a table of profiles",
                "such as [profile.lab.image]",
            );
        };
        for (name, profile) in &profiles {
            match profile.get_ref() {
                DeValue::Table(table) => self.unknown_keys(table, ""),
                _ => self.fail(
                    name.span(),
                    "a profile is a table of settings",
                    "such as [profile.lab.image]",
                ),
            }
        }
        for name in &choices.profiles {
            if let Some(DeValue::Table(table)) =
                profiles.remove(name.as_str()).map(Spanned::into_inner)
            {
                merge(all, table);
            }
        }
    }

    /// The variables: those of the command line count, then those of the environment that are
    /// listed, then those of the table.
    fn variables(
        &mut self,
        table: Option<Spanned<DeValue<'_>>>,
        choices: &Choices,
    ) -> BTreeMap<String, String> {
        let mut variables = BTreeMap::new();
        let span = table.as_ref().map(Spanned::span).unwrap_or_default();
        let entries = match table.map(Spanned::into_inner) {
            None => DeTable::new(),
            Some(DeValue::Table(table)) => table,
            Some(_) => {
                self.fail(span, "`vars` is a table", "such as SITE = \"lab\"");
                DeTable::new()
            }
        };
        let mut listed = Vec::new();
        for (name, value) in &entries {
            match value.get_ref() {
                DeValue::String(_) if !variables::is_name(name.get_ref()) => {
                    self.fail(
                        name.span(),
                        format!("{} is not the name of a variable", quoted(name.get_ref())),
                        "use letters, digits and `_`",
                    );
                }
                DeValue::String(_) if name.get_ref() == "from_environment" => self.fail(
                    value.span(),
                    "`from_environment` is a list of variables",
                    "such as [\"SITE\"]",
                ),
                DeValue::String(text) => {
                    variables.insert(name.get_ref().to_string(), text.to_string());
                }
                DeValue::Array(names) if name.get_ref() == "from_environment" => {
                    listed.extend(
                        names.iter().filter_map(|name| name.get_ref().as_str().map(str::to_owned)),
                    );
                }
                _ => self.fail(value.span(), "a variable is a text", "put the value in quotes"),
            }
        }
        for name in listed {
            if let Ok(value) = std::env::var(&name) {
                variables.insert(name, value);
            }
        }
        variables.extend(choices.set.clone());
        variables
    }

    fn substitute(
        &mut self,
        table: &mut DeTable<'_>,
        path: &str,
        variables: &BTreeMap<String, String>,
        used: &mut BTreeSet<String>,
    ) {
        for (key, value) in table {
            let inner = if path.is_empty() {
                key.get_ref().to_string()
            } else {
                format!("{path}.{}", key.get_ref())
            };
            // A script has variables of its own.
            if inner != "script.run" {
                self.substitute_value(value, &inner, variables, used);
            }
        }
    }

    fn substitute_value(
        &mut self,
        value: &mut Spanned<DeValue<'_>>,
        path: &str,
        variables: &BTreeMap<String, String>,
        used: &mut BTreeSet<String>,
    ) {
        let span = value.span();
        match value.get_mut() {
            DeValue::String(text) => {
                let unset =
                    if ADDRESSES.contains(&path) { Unset::LeftToDnf } else { Unset::Refused };
                match variables::expand(text, variables, unset, used) {
                    Ok(Some(expanded)) => *text = expanded.into(),
                    Ok(None) => {}
                    Err(error) => self.fail(span, error.message, &error.hint),
                }
            }
            DeValue::Array(items) => {
                items.iter_mut().for_each(|item| self.substitute_value(item, path, variables, used))
            }
            DeValue::Table(table) => self.substitute(table, path, variables, used),
            _ => {}
        }
    }
}

/// Every value of a table with its origin, in the order of the keys.
pub(super) fn entries(table: &DeTable<'_>, text: &str, origins: &Origins) -> Vec<Entry> {
    let mut entries = Vec::new();
    list(table, "", text, origins, &mut entries);
    entries
}

fn list(table: &DeTable<'_>, above: &str, text: &str, origins: &Origins, entries: &mut Vec<Entry>) {
    for (key, value) in table {
        let path = if above.is_empty() {
            key.get_ref().to_string()
        } else {
            format!("{above}.{}", key.get_ref())
        };
        list_value(&path, value, text, origins, entries);
    }
}

fn list_value(
    path: &str,
    value: &Spanned<DeValue<'_>>,
    text: &str,
    origins: &Origins,
    entries: &mut Vec<Entry>,
) {
    match value.get_ref() {
        DeValue::Table(table) => list(table, path, text, origins, entries),
        DeValue::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                list_value(&format!("{path}[{index}]"), item, text, origins, entries);
            }
        }
        scalar => {
            let origin = origins.shown(span_of(text, value.span()).line);
            // A hash is as good as a password to whoever has time.
            let value =
                if path.ends_with(".password") { "\"(set)\"".to_owned() } else { written(scalar) };
            entries.push(Entry { key: path.to_owned(), value, origin });
        }
    }
}

/// A scalar in TOML.
fn written(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => toml::Value::String(text.to_string()).to_string(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(date) => date.to_string(),
        DeValue::Array(_) => "[]".to_owned(),
        DeValue::Table(_) => "{}".to_owned(),
    }
}

/// Lays one table over another: tables are merged, lists appended, everything else replaced.
fn merge<'i>(into: &mut DeTable<'i>, from: DeTable<'i>) {
    for (key, value) in from {
        let name: &str = key.get_ref();
        match (into.get_mut(name).map(Spanned::get_mut), value) {
            (Some(DeValue::Table(below)), value) if value.get_ref().is_table() => {
                if let DeValue::Table(above) = value.into_inner() {
                    merge(below, above);
                }
            }
            (Some(DeValue::Array(below)), value) if value.get_ref().is_array() => {
                if let DeValue::Array(above) = value.into_inner() {
                    above.into_iter().for_each(|item| below.push(item));
                }
            }
            (_, value) => {
                // The key too, so that its place is that of the value.
                into.remove(name);
                into.insert(key, value);
            }
        }
    }
}

fn shift_table<'i>(table: DeTable<'i>, by: usize) -> DeTable<'i> {
    let shift_key = |key: Spanned<DeString<'i>>| {
        let span = key.span();
        Spanned::new(span.start + by..span.end + by, key.into_inner())
    };
    table.into_iter().map(|(key, value)| (shift_key(key), shift_value(value, by))).collect()
}

fn shift_value<'i>(value: Spanned<DeValue<'i>>, by: usize) -> Spanned<DeValue<'i>> {
    let span = value.span();
    let inner = match value.into_inner() {
        DeValue::Array(items) => {
            let mut shifted = DeArray::new();
            items.into_iter().for_each(|item| shifted.push(shift_value(item, by)));
            DeValue::Array(shifted)
        }
        DeValue::Table(table) => DeValue::Table(shift_table(table, by)),
        other => other,
    };
    Spanned::new(span.start + by..span.end + by, inner)
}
