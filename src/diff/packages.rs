//! Compares packages: which were added, removed and changed, with the new entries of their
//! changelogs.

use serde::Serialize;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::inspect::{Change, Image, Package};

/// The maximum number of changelog entries per change; a step over years has hundreds.
const MOST_ENTRIES: usize = 50;

/// A package in only one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct PackageEntry {
    /// Name.
    pub name: String,
    /// `[epoch:]version-release`.
    pub evr: String,
    /// Architecture.
    pub arch: String,
    /// Bytes.
    pub size: u64,
}

/// Which version is newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Direction {
    /// The second.
    Upgrade,
    /// The first.
    Downgrade,
    /// Neither: the vendor, the licence or the key differs.
    Other,
}

/// A package that differs between the images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct PackageChange {
    /// Name.
    pub name: String,
    /// Architecture.
    pub arch: String,
    /// Version in the first image.
    pub before: String,
    /// Version in the second image.
    pub after: String,
    /// Which is newer.
    pub direction: Direction,
    /// Bytes in the first image.
    pub size_before: u64,
    /// Bytes in the second image.
    pub size_after: u64,
    /// Other differences.
    pub details: Vec<String>,
    /// Entries that are only in the newer changelog, the newest first.
    pub changelog: Vec<Change>,
    /// The total number of such entries.
    pub changelog_entries: usize,
}

/// All changed packages, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct PackageChanges {
    /// Only in the second image.
    pub added: Vec<PackageEntry>,
    /// Only in the first image.
    pub removed: Vec<PackageEntry>,
    /// In both.
    pub changed: Vec<PackageChange>,
}

impl PackageChanges {
    /// Whether there are none.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// The number of changes.
    #[must_use]
    pub(crate) fn count(&self) -> usize {
        self.added.len() + self.removed.len() + self.changed.len()
    }
}

pub(super) fn compare(before: &Image, after: &Image, measured: bool) -> PackageChanges {
    let size = |package: &Package| if measured { package.size } else { package.declared_size };
    let (old, new) = (grouped(before), grouped(after));
    let names: BTreeSet<&(&str, &str)> = old.keys().chain(new.keys()).collect();
    let mut changes = PackageChanges::default();
    for name in names {
        let none = Vec::new();
        let (old, new) = (old.get(name).unwrap_or(&none), new.get(name).unwrap_or(&none));
        for (a, b) in old.iter().filter_map(|a| Some((*a, *new.iter().find(|b| b.evr == a.evr)?))) {
            let details = details(a, b);
            if !details.is_empty() {
                changes.changed.push(change(a, b, details, &size));
            }
        }
        let gone: Vec<&&Package> =
            old.iter().filter(|a| !new.iter().any(|b| b.evr == a.evr)).collect();
        let come: Vec<&&Package> =
            new.iter().filter(|b| !old.iter().any(|a| a.evr == b.evr)).collect();
        // If several versions are installed, such as kernels, the newest ones are compared.
        let pairs = gone.len().min(come.len());
        let (left_over, gone) = gone.split_at(gone.len() - pairs);
        changes.removed.extend(left_over.iter().map(|package| entry(package, &size)));
        let (left_over, come) = come.split_at(come.len() - pairs);
        changes.added.extend(left_over.iter().map(|package| entry(package, &size)));
        for (a, b) in gone.iter().zip(come) {
            changes.changed.push(change(a, b, details(a, b), &size));
        }
    }
    changes
}

/// By name and architecture, the oldest version first.
fn grouped(image: &Image) -> BTreeMap<(&str, &str), Vec<&Package>> {
    let mut groups: BTreeMap<(&str, &str), Vec<&Package>> = BTreeMap::new();
    for package in &image.packages {
        groups.entry((package.name.as_str(), package.arch.as_str())).or_default().push(package);
    }
    for group in groups.values_mut() {
        group.sort_by(|a, b| rpm_version::rpm_evr_compare(&a.evr, &b.evr));
    }
    groups
}

fn entry(package: &Package, size: &dyn Fn(&Package) -> u64) -> PackageEntry {
    PackageEntry {
        name: package.name.clone(),
        evr: package.evr.clone(),
        arch: package.arch.clone(),
        size: size(package),
    }
}

fn change(
    a: &Package,
    b: &Package,
    details: Vec<String>,
    size: &dyn Fn(&Package) -> u64,
) -> PackageChange {
    let (direction, changelog) = match rpm_version::rpm_evr_compare(&a.evr, &b.evr) {
        Ordering::Less => (Direction::Upgrade, between(&a.changelog, &b.changelog)),
        Ordering::Greater => (Direction::Downgrade, between(&b.changelog, &a.changelog)),
        Ordering::Equal => (Direction::Other, Vec::new()),
    };
    PackageChange {
        name: a.name.clone(),
        arch: a.arch.clone(),
        before: a.evr.clone(),
        after: b.evr.clone(),
        direction,
        size_before: size(a),
        size_after: size(b),
        details,
        changelog_entries: changelog.len(),
        changelog: changelog.into_iter().take(MOST_ENTRIES).cloned().collect(),
    }
}

/// Differences besides the version. A value known on only one side does not count.
fn details(a: &Package, b: &Package) -> Vec<String> {
    let mut details = Vec::new();
    let mut both = |what: &str, a: Option<&str>, b: Option<&str>| {
        if let (Some(a), Some(b)) = (a, b)
            && a != b
        {
            details.push(format!("{what} {a} → {b}"));
        }
    };
    both(
        "licence",
        Some(a.license.as_str()).filter(|l| !l.is_empty()),
        Some(b.license.as_str()).filter(|l| !l.is_empty()),
    );
    both("vendor", a.vendor.as_deref(), b.vendor.as_deref());
    both("repository", a.repository.as_deref(), b.repository.as_deref());
    if let (Some(old), Some(new)) = (&a.signer, &b.signer) {
        // One side may have the full fingerprint and the other its last digits.
        let (old, new) = (old.to_ascii_lowercase(), new.to_ascii_lowercase());
        if !old.ends_with(&new) && !new.ends_with(&old) {
            both("signer", Some(&old), Some(&new));
        }
    }
    details
}

/// Entries of the newer changelog that the older one does not have. Entries that were cut off in
/// the older one do not count.
fn between<'a>(older: &[Change], newer: &'a [Change]) -> Vec<&'a Change> {
    let known: BTreeSet<(u64, &str)> =
        older.iter().map(|change| (change.time, change.text.as_str())).collect();
    let newest = older.iter().map(|change| change.time).max().unwrap_or(0);
    newer
        .iter()
        .filter(|change| {
            change.time >= newest && !known.contains(&(change.time, change.text.as_str()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(time: u64, text: &str) -> Change {
        Change { time, author: "A <a@b> - 1".into(), text: text.into() }
    }

    #[test]
    fn only_entries_after_the_older_changelog_are_shown() {
        let older = [entry(20, "b"), entry(10, "a")];
        let newer = [entry(40, "d"), entry(30, "c"), entry(20, "b"), entry(10, "a, reworded")];
        assert_eq!(
            between(&older, &newer).iter().map(|c| c.text.as_str()).collect::<Vec<_>>(),
            ["d", "c"]
        );
        assert_eq!(between(&[], &newer).len(), 4);
        assert!(between(&newer, &newer).is_empty());
    }

    #[test]
    fn a_key_id_is_the_end_of_its_fingerprint() {
        let package = |signer: &str| Package { signer: Some(signer.into()), ..Package::default() };
        assert!(
            details(
                &package("410D0CF9F5EB66E49A281CDB7CEF9B87F8CDD2FE"),
                &package("7cef9b87f8cdd2fe")
            )
            .is_empty()
        );
        assert_eq!(details(&package("7cef9b87f8cdd2fe"), &package("0123456789abcdef")).len(), 1);
    }
}
