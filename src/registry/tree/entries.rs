//! The images of the tree: listed, and removed.

use std::collections::BTreeSet;
use std::path::Path;

use super::stage::{self, adopt, below, put, reuse, sums};
use super::{STAGE2_TOO, StoredVersion, WebTree};
use crate::calendar;
use crate::error::{ExitCode, Failure, Result};
use crate::registry::directory::{link, sync, unlink};
use crate::registry::{Entry, Removal, State};
use crate::set::{Role, latest, manifest_text};

/// As [`crate::registry::Registry::list`].
pub(super) fn list(tree: &WebTree) -> Result<Vec<Entry>> {
    let mut found = Vec::new();
    for StoredVersion { stem, sets, .. } in tree.stored_versions()? {
        let (changed, files) = (tree.changed(&stem), files_in(&tree.through(""), &stem));
        found.extend(sets.into_iter().map(|set| (changed, set, files.clone())));
    }
    // The newest first; the version decides among those of one second.
    found.sort_by(|(a, x, _), (b, y, _)| (b, &y.version).cmp(&(a, &x.version)));
    let mut seen = BTreeSet::new();
    let entries = found.into_iter().map(|(seconds, set, files)| Entry {
        state: if seen.insert((set.name.clone(), set.arch.clone(), set.extension.clone())) {
            State::Current
        } else {
            State::Older
        },
        created: calendar::rfc3339(seconds),
        size: Some(set.tarball.size),
        pieces: Role::ALL
            .into_iter()
            .filter(|role| *role != Role::Tarball)
            .filter_map(|role| Some((role, set.role(role)?.id.clone())))
            .collect(),
        name: set.name,
        version: set.version,
        arch: set.arch,
        extension: set.extension,
        id: set.tarball.id,
        sha512: set.tarball.sha512,
        visibility: None,
        owner: None,
        own: true,
        files,
    });
    Ok(entries.collect())
}

/// As [`crate::registry::Registry::remove`].
pub(super) fn remove(tree: &WebTree, entry: &Entry) -> Result<Removal> {
    let found = tree
        .stored_versions()?
        .into_iter()
        .find(|stored| stored.sets.iter().any(|set| set.tarball.id == entry.id));
    let Some(StoredVersion { stem, text, mut sets }) = found else {
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
    let _lock = tree.directory.lock(&stem)?;
    let home = tree.through(&stem);
    sets.retain(|set| set.tarball.id != entry.id);
    let removed = if sets.is_empty() {
        stage::discard(tree, &stem)?;
        vec![entry.id.clone(), stem.clone()]
    } else {
        let stage = stage::new(tree, &stem)?;
        adopt(&home, &stage.path(), &sets)?;
        for path in [".treeinfo", STAGE2_TOO] {
            if home.join(path).exists() {
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
        put(&stage.path().join(format!("{stem}.json")), &left)?;
        stage::appear(tree, stage, &stem)?;
        vec![entry.id.clone()]
    };
    let (open, latest) =
        (tree.directory.handle(), latest(&entry.name, &stem, entry.arch.as_deref()));
    if open.has_link(&latest) && !tree.through(&latest).exists() {
        let shares = |left: &Entry| (&left.name, &left.arch) == (&entry.name, &entry.arch);
        match list(tree)?.into_iter().find(shares) {
            Some(newest) => link(
                open,
                &latest,
                newest.id.strip_suffix(&newest.extension).unwrap_or(&newest.id),
            )?,
            None => unlink(open, &latest)?,
        }
    }
    sync(open)?;
    Ok(removed.into())
}

/// Every file of an image's directory, by its path below the tree.
fn files_in(tree: &Path, stem: &str) -> Vec<String> {
    let walk = walkdir::WalkDir::new(tree.join(stem)).sort_by_file_name().into_iter().flatten();
    let files = walk.filter(|entry| entry.file_type().is_file());
    files
        .filter_map(|entry| Some(entry.path().strip_prefix(tree).ok()?.display().to_string()))
        .collect()
}
