//! The images that a registry lists.

use serde::{Deserialize, Serialize};

use std::cmp::Ordering;
use std::collections::HashSet;

use crate::set::{Role, version_order};

/// How far an entry of a registry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The newest of its name: what a deployment should use.
    Current,
    /// There is a newer one.
    Older,
    /// A publisher was killed in the middle, or is still at work.
    Unfinished,
}

/// An image that a registry holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The image's name, without its version.
    pub name: String,
    /// Its version, if it has one.
    pub version: String,
    /// Its architecture, if it is known; versions of different architectures do not count against
    /// each other.
    pub arch: Option<String>,
    /// The suffix of its tarball, with the dot; versions of one name are compared among equal
    /// suffixes.
    pub extension: String,
    /// The registry's name for it, which no other entry has: that of its tarball, or of its set in
    /// an OCI registry.
    pub id: String,
    /// When it was made: RFC 3339, in UTC.
    pub created: String,
    /// The tarball's size in bytes, when it is known.
    pub size: Option<u64>,
    /// The tarball's SHA-512, when it is known.
    pub sha512: Option<String>,
    /// Whether it is the newest of its name.
    pub state: State,
    /// Who may see it, in the registry's words; `hidden` among them.
    pub visibility: Option<String>,
    /// The owner: the id of the project, where the registry has projects, or another user in a
    /// shared directory.
    pub owner: Option<String>,
    /// Whether it is the own project's, and not another user's in a shared directory.
    pub own: bool,
    /// Its boot pieces and kickstart: role and id.
    pub pieces: Vec<(Role, String)>,
    /// Every file of its version that is there, as the registry names it.
    pub files: Vec<String>,
}

impl Entry {
    /// Whether the id is this entry's, or the digest of its tarball in an OCI registry, which other
    /// entries may have too.
    pub(crate) fn has_id(&self, id: &str) -> bool {
        let is_tarball = || {
            id.starts_with("sha256:")
                && self.files.iter().any(|file| file == id)
                && self.pieces.iter().all(|(_, piece)| piece != id)
        };
        self.id == id || is_tarball()
    }
}

/// Sorts the entries as every list, removal and link to the newest counts them: the one that was
/// made last first, and the higher version first among those of one second. Of each owner, name,
/// architecture and suffix, only the first remains current.
pub(super) fn newest_first(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_by(|a, b| order(b, a));
    let mut seen = HashSet::new();
    for entry in &mut entries {
        let line =
            (entry.owner.clone(), entry.name.clone(), entry.arch.clone(), entry.extension.clone());
        if entry.state == State::Current && !seen.insert(line) {
            entry.state = State::Older;
        }
    }
    entries
}

fn order(a: &Entry, b: &Entry) -> Ordering {
    a.created
        .cmp(&b.created)
        .then_with(|| version_order(&a.version, &b.version))
        .then_with(|| a.id.cmp(&b.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_made_is_the_newest_and_of_one_second_the_highest_version() {
        let entry = |created: &str, version: &str| Entry {
            name: "os".into(),
            version: version.into(),
            arch: None,
            extension: ".tgz".into(),
            id: format!("os-{version}.tgz"),
            created: created.into(),
            size: None,
            sha512: None,
            state: State::Current,
            visibility: None,
            owner: None,
            own: true,
            pieces: Vec::new(),
            files: Vec::new(),
        };
        let (early, late) = ("2026-11-30T00:00:00Z", "2026-11-30T00:00:01Z");
        let sorted = newest_first(vec![
            entry(early, "1.9"),
            entry(late, "20261130.1"),
            entry(late, "20261130.10"),
            entry(early, "1.10"),
            entry(late, "20261130"),
        ]);
        let versions: Vec<&str> = sorted.iter().map(|entry| entry.version.as_str()).collect();
        assert_eq!(versions, ["20261130.10", "20261130.1", "20261130", "1.10", "1.9"]);
        assert_eq!(sorted.iter().filter(|entry| entry.state == State::Current).count(), 1);
    }
}
