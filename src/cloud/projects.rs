//! Projects by their names, and texts within a URL.

use super::keystone::Session;
use crate::error::Result;
use crate::http::Call;
use crate::percent;

/// The result of looking for a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProjectLookup {
    /// Its id.
    Found(String),
    /// There is none of that name.
    Missing,
    /// Several domains have one of that name: their ids.
    Several(Vec<String>),
    /// The caller may not list projects, or the cloud has no Keystone.
    Refused,
}

impl Session {
    /// Looks a project up by its name; an id is taken as it is.
    ///
    /// # Errors
    /// When Keystone cannot be reached, or fails.
    pub(crate) fn find_project(&self, name: &str, doing: &str) -> Result<ProjectLookup> {
        if is_id(name) {
            return Ok(ProjectLookup::Found(name.to_owned()));
        }
        if !self.cloud().auth.has_keystone() {
            return Ok(ProjectLookup::Refused);
        }
        let answer =
            self.call("identity", &Call::get(format!("/v3/projects?name={}", escaped(name))))?;
        // Only an administrator may list projects.
        if answer.is(&[401, 403]) {
            return Ok(ProjectLookup::Refused);
        }
        let body = answer.expect(&[200], doing)?.json(doing)?;
        let projects = body["projects"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut ids: Vec<String> = projects
            .iter()
            .filter_map(|project| project["id"].as_str().map(str::to_owned))
            .collect();
        Ok(match ids.len() {
            0 => ProjectLookup::Missing,
            1 => ids.pop().map_or(ProjectLookup::Missing, ProjectLookup::Found),
            _ => ProjectLookup::Several(ids),
        })
    }
}

/// Whether a text is an id of Keystone: 32 hexadecimal digits, with hyphens or without.
fn is_id(text: &str) -> bool {
    let digits = || text.chars().filter(|c| *c != '-');
    digits().count() == 32 && digits().all(|c| c.is_ascii_hexdigit())
}

/// A text within a URL's path or query.
#[must_use]
pub(crate) fn escaped(text: &str) -> String {
    percent::encoded(text, percent::UNRESERVED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_in_a_url_are_escaped() {
        assert_eq!(escaped("a b/ü&c=1"), "a%20b%2F%C3%BC%26c%3D1");
    }

    #[test]
    fn ids_are_distinguished_from_names_with_and_without_hyphens() {
        assert!(
            is_id("0123456789abcdef0123456789ABCDEF")
                && is_id("01234567-89ab-cdef-0123-456789abcdef")
        );
        assert!(!is_id("service") && !is_id("0123456789abcdef0123456789abcdeg"));
    }
}
