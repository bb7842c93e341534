//! The form of a `.treeinfo`: sections of `key = value` lines, as productmd writes them and
//! Anaconda's shell scripts read them.

use super::error::{Place, TreeInfoError};

/// A section's head and its lines.
#[derive(Debug)]
pub(super) struct Section<'a> {
    pub name: &'a str,
    pub entries: Vec<Entry<'a>>,
}

/// A key with its value.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub key: &'a str,
    pub value: &'a str,
    pub place: Place,
}

impl<'a> Section<'a> {
    pub(super) fn find(&self, key: &str) -> Option<&Entry<'a>> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

/// Splits the text. Stricter than Python's `configparser`, which productmd reads with: no
/// continuation lines, no `:` in the place of `=`, no section or key twice. Nothing that composes
/// trees writes those, and Anaconda's `config_get` cannot read them.
pub(super) fn sections(text: &str) -> Result<Vec<Section<'_>>, TreeInfoError> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    for (index, line) in text.split('\n').enumerate() {
        let place = Place { line: index + 1, column: 1 };
        if let Some(at) = line.chars().position(|c| c.is_control() && c != '\t') {
            return Err(TreeInfoError::new(
                Place { column: at + 1, ..place },
                "a control character",
            ));
        }
        if line.trim().is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if line.starts_with([' ', '\t']) {
            return Err(TreeInfoError::new(place, "a line that begins with a blank"));
        }
        if let Some(rest) = line.strip_prefix('[') {
            let name = rest
                .trim_end()
                .strip_suffix(']')
                .filter(|name| !name.is_empty() && !name.contains(['[', ']']));
            let Some(name) = name else {
                return Err(TreeInfoError::new(place, "a section that is not written [NAME]"));
            };
            if sections.iter().any(|section| section.name == name) {
                return Err(TreeInfoError::new(place, format!("a second section [{name}]")));
            }
            sections.push(Section { name, entries: Vec::new() });
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            return Err(TreeInfoError::new(
                place,
                "a line that is neither [SECTION] nor KEY = VALUE",
            ));
        };
        let (key, value) = (key.trim_end(), value.trim());
        let Some(section) = sections.last_mut() else {
            return Err(TreeInfoError::new(place, "a key before the first section"));
        };
        if key.is_empty() {
            return Err(TreeInfoError::new(place, "a value without a key"));
        }
        if section.find(key).is_some() {
            return Err(TreeInfoError::new(
                place,
                format!("'{key}' a second time in [{}]", section.name),
            ));
        }
        let column = line.chars().count()
            - line.split_once('=').map_or(0, |(_, v)| v.trim_start().chars().count())
            + 1;
        section.entries.push(Entry { key, value, place: Place { column, ..place } });
    }
    Ok(sections)
}
