//! Removing images: which ones, and the outcome when some of them have to stay.

use serde::Serialize;
use std::collections::HashMap;

use crate::error::{ExitCode, Failure, exit_code};
use crate::registry::{Entry, State};
use crate::set::Kept;

/// Whose images may be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Owners {
    /// Only those of the own project.
    #[default]
    Own,
    /// Those of every project, as far as the roles allow.
    All,
}

/// The outcome of a removal.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Removal {
    /// Ids of the removed images.
    pub removed: Vec<String>,
    /// The images that could not be removed.
    pub kept: Vec<Kept>,
    /// Files that stay, and links that could not be updated, of images that were removed.
    pub problems: Vec<Kept>,
}

impl From<Vec<String>> for Removal {
    fn from(removed: Vec<String>) -> Self {
        Self { removed, ..Self::default() }
    }
}

impl Removal {
    /// Adds the outcome for one entry. The others are removed all the same.
    ///
    /// # Errors
    /// Only a signal ends the whole removal.
    pub fn add(
        &mut self,
        entry: &Entry,
        outcome: crate::error::Result<Self>,
    ) -> crate::error::Result<()> {
        match outcome {
            Ok(outcome) => {
                self.join(outcome);
            }
            Err(error) if is_stop(&error) => return Err(error),
            Err(error) => self.kept.push(Kept::new(&entry.id, &entry.name, &error)),
        }
        Ok(())
    }

    /// Adds another outcome.
    pub fn join(&mut self, other: Self) {
        self.removed.extend(other.removed);
        self.kept.extend(other.kept);
        self.problems.extend(other.problems);
    }

    /// Adds a failure of what follows a removal, such as updating a link.
    ///
    /// # Errors
    /// Only a signal ends the whole removal.
    pub(super) fn add_problem(
        &mut self,
        path: &str,
        name: &str,
        outcome: crate::error::Result<()>,
    ) -> crate::error::Result<()> {
        match outcome {
            Err(error) if is_stop(&error) => return Err(error),
            Err(error) => self.problems.push(Kept::new(path, name, &error)),
            Ok(()) => {}
        }
        Ok(())
    }

    /// The failure when something had to stay.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        outcome(&self.kept, &self.problems)
    }
}

/// The failure that these images had to stay.
#[must_use]
pub(crate) fn failure(kept: &[Kept]) -> Option<Failure> {
    outcome(kept, &[])
}

fn outcome(kept: &[Kept], problems: &[Kept]) -> Option<Failure> {
    if kept.is_empty() && problems.is_empty() {
        return None;
    }
    let shown = |kept: &Kept| format!("{}: {}", kept.id, kept.reason);
    let mut parts: Vec<String> = kept.iter().map(shown).collect();
    if let Some(first) = parts.first_mut() {
        let count = match kept.len() {
            1 => "1 image stays".to_owned(),
            count => format!("{count} images stay"),
        };
        *first = format!("{count}: {first}");
    }
    parts.extend(problems.iter().map(shown));
    let mut failure =
        Failure::new(ExitCode::Registry, format!("removing images: {}", parts.join("; ")));
    let mut hints: Vec<&String> = Vec::new();
    for hint in kept.iter().chain(problems).flat_map(|kept| &kept.hints) {
        if !hints.contains(&hint) {
            hints.push(hint);
            failure = failure.hint(hint);
        }
    }
    Some(failure)
}

fn is_stop(error: &anyhow::Error) -> bool {
    matches!(exit_code(error), ExitCode::HungUp | ExitCode::Interrupted | ExitCode::Terminated)
}

/// The entries beyond the newest `keep` of their name and owner; unfinished ones always.
pub(super) fn surplus(
    entries: Vec<Entry>,
    name: Option<&str>,
    keep: usize,
    owners: Owners,
) -> Vec<Entry> {
    let mut kept: HashMap<(Option<String>, String, Option<String>, String), usize> = HashMap::new();
    entries
        .into_iter()
        .filter(|entry| name.is_none_or(|name| entry.name == name))
        .filter(|entry| entry.own || owners == Owners::All)
        .filter(|entry| {
            if entry.state == State::Unfinished {
                return true;
            }
            let group = (
                entry.owner.clone(),
                entry.name.clone(),
                entry.arch.clone(),
                entry.extension.clone(),
            );
            let count = kept.entry(group).or_default();
            *count += 1;
            *count > keep
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, owner: &str, version: &str) -> Entry {
        Entry {
            name: "os".into(),
            version: version.into(),
            arch: None,
            extension: ".tgz".into(),
            id: id.into(),
            created: String::new(),
            size: None,
            sha512: None,
            state: State::Older,
            visibility: None,
            owner: Some(owner.into()),
            own: owner == "mine",
            pieces: Vec::new(),
            files: Vec::new(),
        }
    }

    #[test]
    fn versions_are_counted_for_each_owner_and_other_owners_are_chosen_only_on_request() {
        let all = || {
            vec![
                entry("1", "theirs", "3"),
                entry("2", "mine", "2"),
                entry("3", "theirs", "2"),
                entry("4", "mine", "1"),
            ]
        };
        let ids = |owners| {
            surplus(all(), None, 1, owners).into_iter().map(|entry| entry.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(Owners::Own), ["4"]);
        assert_eq!(ids(Owners::All), ["3", "4"]);
    }

    #[test]
    fn an_image_that_has_to_stay_is_named_and_the_others_are_removed_all_the_same() {
        let mut removal = Removal::default();
        let refused = Failure::new(ExitCode::Registry, "it is protected").hint("unprotect it");
        removal.add(&entry("1", "mine", "1"), Err(refused.into())).expect("goes on");
        removal.add(&entry("2", "mine", "2"), Ok(vec!["2".to_owned()].into())).expect("goes on");
        assert_eq!(removal.removed, ["2"]);
        let failure = anyhow::Error::from(removal.failure().expect("a failure"));
        let text = crate::error::render(&failure);
        assert!(
            text.contains("1 image stays: 1: it is protected")
                && text.contains("hint: unprotect it"),
            "{text}"
        );
        let stopped = Failure::new(ExitCode::Interrupted, "stopped");
        removal.add(&entry("3", "mine", "3"), Err(stopped.into())).expect_err("a signal ends it");
    }
}
