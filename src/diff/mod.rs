//! Compares two images: packages, files, sizes, and properties of the system.
//!
//! Each side may be a tarball, a tree or a manifest. A manifest does not list files, so files are
//! then not compared.

mod files;
mod gate;
mod packages;
mod text;

use serde::Serialize;

use crate::inspect::{Image, Origin};

pub(crate) use files::FileChanges;
pub(crate) use gate::Gate;
pub(crate) use packages::PackageChanges;
pub(crate) use text::{TextOptions, text};

/// One of the two images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Side {
    /// Its title.
    pub title: String,
    /// Its source.
    pub origin: Origin,
    /// Packages.
    pub packages: usize,
    /// Members.
    pub members: u64,
    /// Total size of its files; the packages' own size if the other side's files are not known.
    pub bytes: u64,
    /// Bytes of the tarball.
    pub tarball: Option<u64>,
}

/// A property of the system that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Fact {
    /// Its name.
    pub name: String,
    /// Values only in the first image.
    pub before: Vec<String>,
    /// Values only in the second image.
    pub after: Vec<String>,
}

/// The differences between two images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Difference {
    /// The first image.
    pub before: Side,
    /// The second image.
    pub after: Side,
    /// The properties of the system.
    pub facts: Vec<Fact>,
    /// The packages.
    pub packages: PackageChanges,
    /// The files; `None` if a side is a manifest.
    pub files: Option<FileChanges>,
    /// Why something was not compared.
    pub notes: Vec<String>,
}

impl Difference {
    /// Whether all compared parts are equal.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.facts.is_empty()
            && self.packages.is_empty()
            && self.files.as_ref().is_none_or(FileChanges::is_empty)
    }
}

/// Compares two images.
#[must_use]
pub(crate) fn compare(before: &Image, after: &Image) -> Difference {
    let mut notes = Vec::new();
    let measured = before.has_files() && after.has_files();
    let files = if measured {
        Some(files::compare(before, after, &mut notes))
    } else {
        notes.push(
            "a manifest does not list files: use two tarballs or trees to compare files, users, \
             services and policy"
                .to_owned(),
        );
        None
    };
    Difference {
        facts: facts(before, after, measured),
        packages: packages::compare(before, after, measured),
        files,
        before: side(before, after),
        after: side(after, before),
        notes,
    }
}

fn side(image: &Image, other: &Image) -> Side {
    // Only sizes of the same kind are compared: of files, or as recorded by packages.
    let bytes = if image.has_files() == other.has_files() {
        image.totals.bytes
    } else {
        image.packages.iter().map(|p| p.declared_size).sum()
    };
    Side {
        title: image.title(),
        origin: image.origin.clone(),
        packages: image.packages.len(),
        members: image.totals.members,
        bytes,
        tarball: image.origin.bytes,
    }
}

fn facts(before: &Image, after: &Image, measured: bool) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut add = |name: &str, old: Vec<String>, new: Vec<String>| {
        let fact = Fact {
            name: name.to_owned(),
            before: old.iter().filter(|line| !new.contains(line)).cloned().collect(),
            after: new.iter().filter(|line| !old.contains(line)).cloned().collect(),
        };
        if !fact.before.is_empty() || !fact.after.is_empty() {
            facts.push(fact);
        }
    };
    let release = |image: &Image| {
        image.os_release.iter().map(|(key, value)| format!("{key}={value}")).collect()
    };
    add("os-release", release(before), release(after));
    add("kernels", before.kernels.clone(), after.kernels.clone());
    let arch = |image: &Image| image.arch.iter().cloned().collect();
    add("architecture", arch(before), arch(after));
    if measured {
        let policy = |image: &Image| {
            image.policy.iter().map(|policy| format!("{}, {}", policy.name, policy.mode)).collect()
        };
        add("SELinux", policy(before), policy(after));
        let id = |image: &Image| image.machine_id.iter().cloned().collect();
        add("machine-id", id(before), id(after));
        let users = |image: &Image| {
            let line = |u: &crate::inspect::User| {
                format!(
                    "{} {}:{} {} {} password {}, {} ssh keys",
                    u.name, u.uid, u.gid, u.home, u.shell, u.password, u.ssh_keys
                )
            };
            image.users.iter().map(line).collect()
        };
        add("users", users(before), users(after));
        let units = |image: &Image| {
            image
                .services
                .iter()
                .map(|service| {
                    format!(
                        "{} ({}, by {})",
                        service.unit,
                        service.state,
                        service.wanted_by.join(" ")
                    )
                })
                .collect()
        };
        add("enabled units", units(before), units(after));
        let privileged = |image: &Image| {
            image
                .privileged
                .iter()
                .map(|p| format!("{} {} {} {}", p.path, p.mode, p.owner, p.powers.join(" ")))
                .collect()
        };
        add("privileged files", privileged(before), privileged(after));
    }
    if before.has_files() == after.has_files() {
        let keys = |image: &Image| {
            image.keys.iter().map(|key| format!("{} {}", key.kind, key.name)).collect()
        };
        add("keys", keys(before), keys(after));
    }
    facts
}
