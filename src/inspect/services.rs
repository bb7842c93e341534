//! The units that the image's systemd starts: the links that `systemctl enable` creates.

use serde::Serialize;
use std::collections::BTreeMap;

use crate::contents::{Contents, Kind, normal};

/// The directories with enabled units; the administrator's before the packages'.
const DIRECTORIES: [&str; 2] = ["etc/systemd/system", "usr/lib/systemd/system"];

/// A unit that is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Service {
    /// The unit.
    pub unit: String,
    /// The units that start it.
    pub wanted_by: Vec<String>,
    /// `enabled` by a link under /etc, or `static` by the packages.
    pub state: String,
}

/// The units of links `DIRECTORY/TARGET.wants/UNIT` and `.requires`, without masked ones.
pub(super) fn enabled(contents: &Contents) -> Vec<Service> {
    let mut found: BTreeMap<String, (Vec<String>, bool)> = BTreeMap::new();
    for (rank, directory) in DIRECTORIES.into_iter().enumerate() {
        for member in contents.all_below(directory).filter(|member| member.kind == Kind::Symlink) {
            let Some(rest) = member
                .path
                .get(directory.len() + 1..)
                .and_then(|rest| std::str::from_utf8(rest).ok())
            else {
                continue;
            };
            let Some((by, unit)) = rest.split_once('/') else { continue };
            let Some(target) = by.strip_suffix(".wants").or_else(|| by.strip_suffix(".requires"))
            else {
                continue;
            };
            if unit.contains('/') {
                continue;
            }
            let entry = found.entry(unit.to_owned()).or_default();
            entry.0.push(target.to_owned());
            entry.1 |= rank == 0;
        }
    }
    found
        .into_iter()
        .filter(|(unit, _)| !is_masked(contents, unit))
        .map(|(unit, (mut wanted_by, enabled))| {
            wanted_by.sort();
            wanted_by.dedup();
            Service {
                unit,
                wanted_by,
                state: if enabled { "enabled" } else { "static" }.to_owned(),
            }
        })
        .collect()
}

fn is_masked(contents: &Contents, unit: &str) -> bool {
    contents
        .find(format!("{}/{unit}", DIRECTORIES[0]))
        .is_some_and(|member| member.kind == Kind::Symlink && normal(&member.link) == b"dev/null")
}
