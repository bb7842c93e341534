//! The images of the tree: listed, and removed.

use anyhow::Context;
use nix::sys::stat::SFlag;
use std::path::Path;

use super::layout::STAGE2_TOO;
use super::owned::Owned;
use super::stage::{self, adopt, below, put, reuse, sums};
use super::store::{StoredVersion, WebTree};
use crate::calendar;
use crate::error::{ExitCode, Failure, Result};
use crate::naming;
use crate::private;
use crate::registry::directory::{check_mounts, link, sync, unlink};
use crate::registry::entry::newest_first;
use crate::registry::{Entry, Removal, State};
use crate::set::{Kept, References, Role, latest, manifest_text};

/// As [`crate::registry::Registry::list`].
pub(super) fn list(tree: &WebTree) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for stored in tree.stored_versions()? {
        let files = files_in(tree, &stored.stem)?;
        let owner = tree.directory.other_owner(stored.owner)?;
        let entry = |set| entry(set, stored.changed, files.clone(), owner);
        entries.extend(stored.sets.iter().cloned().map(entry));
    }
    Ok(newest_first(entries))
}

fn entry(set: References, made: i64, files: Vec<String>, owner: Option<u32>) -> Entry {
    let pieces = Role::ALL
        .into_iter()
        .filter(|role| *role != Role::Tarball)
        .filter_map(|role| Some((role, set.role(role)?.id.clone())))
        .collect();
    Entry {
        state: State::Current,
        created: calendar::rfc3339(made),
        size: Some(set.tarball.size),
        pieces,
        name: set.name,
        version: set.version,
        arch: set.arch,
        extension: set.extension,
        id: set.tarball.id,
        sha512: set.tarball.sha512,
        visibility: None,
        owner: owner.map(|id| format!("user {id}")),
        own: owner.is_none(),
        files,
    }
}

/// Makes the link point to the newest version that uses it. If there is none, the link is removed.
pub(super) fn relink(tree: &WebTree, name: &str, link_name: &str) -> Result<()> {
    let open = tree.directory.handle();
    let stem =
        |entry: &Entry| entry.id.strip_suffix(&entry.extension).unwrap_or(&entry.id).to_owned();
    let shares = |entry: &Entry| {
        entry.own
            && entry.name == name
            && !entry.version.is_empty()
            && latest(name, &stem(entry), entry.arch.as_deref()) == link_name
    };
    match list(tree)?.iter().find(|entry| shares(entry)) {
        Some(newest) => {
            if open.stat(link_name)?.is_some() && !tree.directory.is_own_link(link_name, name) {
                let path = tree.shown(link_name);
                return Err(Failure::new(
                    ExitCode::Registry,
                    format!(
                        "updating {}: it is not a link to a version of this image",
                        path.display()
                    ),
                )
                .hint("move it away, and publish the newest version again")
                .into());
            }
            link(open, link_name, &stem(newest))?;
        }
        None if tree.directory.is_own_link(link_name, name) => unlink(open, link_name)?,
        None => {}
    }
    sync(open)
}

/// As [`crate::registry::Registry::remove`].
pub(super) fn remove(tree: &WebTree, entry: &Entry) -> Result<Removal> {
    let found = tree
        .stored_versions()?
        .into_iter()
        .find(|stored| stored.sets.iter().any(|set| set.tarball.id == entry.id));
    let Some(StoredVersion { stem, text, mut sets, changed, .. }) = found else {
        return Err(Failure::new(
            ExitCode::Registry,
            format!(
                "removing {} from {}: it is not there",
                entry.id,
                tree.directory.path().display()
            ),
        )
        .into());
    };
    let _names = tree.directory.wait_for(&format!("{}-latest", entry.name))?;
    let _lock = tree.directory.lock(&stem)?;
    let removing = || format!("removing {}", tree.shown(&stem).display());
    check_mounts(tree.directory.handle(), removing, |path| path.starts_with(&stem))?;
    let own = Owned::listed(&stem, sets.iter());
    sets.retain(|set| set.tarball.id != entry.id);
    let mut removal = Removal::default();
    if sets.is_empty() {
        let others = own.others(tree, &stem)?;
        removal.removed.push(entry.id.clone());
        if others.is_empty() {
            stage::discard(tree, &stem)?;
            removal.removed.push(stem.clone());
        } else {
            own.remove(tree, &stem)?;
        }
        for path in others {
            let why = anyhow::anyhow!("it stays, because osimg did not put it there");
            removal.problems.push(Kept::new(&path, &entry.name, &why));
        }
    } else {
        own.check(tree, &stem)?;
        let stage = stage::new(tree, &stem)?;
        let home = tree.home(&stem)?.with_context(removing)?;
        adopt(&home, &stage.path(), &sets)?;
        stage::adopt_documents(&home, &stage.path(), &stem)?;
        for path in [".treeinfo", STAGE2_TOO] {
            if private::regular(&home, Path::new(path))?.is_some() {
                reuse(&home, path, &below(&stage.path(), path)?)?;
            }
        }
        sums(&stage.path(), &sets)?;
        let mut tarballs = manifest_text::tarballs(&text);
        tarballs.retain(|tarball| tarball.file != entry.id);
        let mut left =
            manifest_text::with_tarballs(&manifest_text::original(&text), &tarballs, &[&text])?;
        for set in &sets {
            left = manifest_text::with(&left, set)?;
        }
        let manifest = stage.path().join(naming::manifest(&stem));
        put(&manifest, &left)?;
        stage::date(&manifest, changed)?;
        stage::appear(tree, stage, &stem)?;
        removal.removed.push(entry.id.clone());
    }
    let latest = latest(&entry.name, &stem, entry.arch.as_deref());
    let linked = relink(tree, &entry.name, &latest);
    removal.add_problem(&latest, &entry.name, linked)?;
    Ok(removal)
}

/// Every file of an image's directory, by its path below the tree.
fn files_in(tree: &WebTree, stem: &str) -> Result<Vec<String>> {
    let Some(home) = tree.home(stem)? else { return Ok(Vec::new()) };
    let found =
        home.walk(|_| true).with_context(|| format!("reading {}", tree.shown(stem).display()))?;
    let files = found.into_iter().filter(|(_, kind)| *kind == SFlag::S_IFREG);
    Ok(files.map(|(path, _)| Path::new(stem).join(path).display().to_string()).collect())
}
