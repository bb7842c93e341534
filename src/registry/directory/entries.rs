//! What a folder holds, told by the manifests in it, and how an entry leaves it.

use anyhow::Context;
use serde::Deserialize;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::{Directory, Pending, documents, link, signatures, sync_folder};
use crate::artifact::Tarball;
use crate::calendar;
use crate::error::{ExitCode, Failure, Result};
use crate::registry::manifest;
use crate::registry::piece::Role;
use crate::registry::references::{Entry, Kind, References, State};
use crate::registry::set::EXTENSIONS;

/// What is read of a manifest.
#[derive(Debug, Deserialize)]
struct Known {
    name: String,
    version: String,
    tarballs: Vec<Tarball>,
    build: Option<Times>,
}

#[derive(Debug, Deserialize)]
struct Times {
    started: u64,
}

/// A manifest of the folder.
struct Shelf {
    path: PathBuf,
    text: String,
    known: Known,
    published: Vec<References>,
    seconds: u64,
}

fn shelves(folder: &Path) -> Result<Vec<Shelf>> {
    let doing = || format!("listing {}", folder.display());
    let mut found = Vec::new();
    for item in std::fs::read_dir(folder).with_context(doing)? {
        let path = item.with_context(doing)?.path();
        let plain = path.symlink_metadata().is_ok_and(|m| m.is_file());
        if path.extension() != Some(OsStr::new("json")) || !plain {
            continue;
        }
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        // Not every JSON file is ours.
        let Ok(known) = serde_json::from_str::<Known>(&text) else { continue };
        let changed = path.metadata().and_then(|m| m.modified()).ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        let seconds = known.build.as_ref().map_or_else(|| changed.map_or(0, |d| d.as_secs()), |times| times.started);
        let mut published = manifest::published(&text);
        published.retain(|references| references.kind == Kind::Directory && references.registry == format!("dir:{}", folder.display()));
        found.push(Shelf { path, text, known, published, seconds });
    }
    // The newest first; the version decides among those of one second.
    found.sort_by(|a, b| (b.seconds, &b.known.version).cmp(&(a.seconds, &a.known.version)));
    Ok(found)
}

pub(super) fn list(directory: &Directory) -> Result<Vec<Entry>> {
    let mut seen = HashSet::new();
    let mut entries = Vec::new();
    for shelf in shelves(&directory.path)? {
        for tarball in &shelf.known.tarballs {
            let extension = EXTENSIONS.into_iter().find(|e| tarball.file.ends_with(e)).unwrap_or_default().to_owned();
            if !directory.path.join(&tarball.file).is_file() {
                continue;
            }
            let newest = seen.insert((shelf.known.name.clone(), extension.clone()));
            let references = shelf.published.iter().find(|references| references.tarball.name == tarball.file);
            let pieces = Role::ALL
                .into_iter()
                .filter(|role| *role != Role::Tarball)
                .filter_map(|role| Some((role, references?.role(role)?.id.clone())))
                .collect();
            entries.push(Entry {
                name: shelf.known.name.clone(),
                version: shelf.known.version.clone(),
                extension,
                id: tarball.file.clone(),
                created: calendar::rfc3339(i64::try_from(shelf.seconds).unwrap_or(0)),
                size: Some(tarball.bytes),
                sha512: Some(tarball.sha512.clone()),
                state: if newest { State::Current } else { State::Older },
                visibility: None,
                owner: None,
                own: true,
                pieces,
            });
        }
    }
    Ok(entries)
}

pub(super) fn remove(directory: &Directory, entry: &Entry) -> Result<Vec<String>> {
    let folder = directory.path.as_path();
    let shelves = shelves(folder)?;
    let Some(shelf) = shelves.iter().find(|shelf| shelf.known.tarballs.iter().any(|t| t.file == entry.id)) else {
        return Err(Failure::new(ExitCode::Registry, format!("removing {} from {}: it is not there", entry.id, folder.display())).into());
    };
    let stem = shelf.path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let _lock = directory.lock(&stem)?;
    let others: Vec<&Tarball> = shelf.known.tarballs.iter().filter(|t| t.file != entry.id && folder.join(&t.file).is_file()).collect();
    let kept: Vec<References> = shelf.published.iter().filter(|r| r.tarball.name != entry.id).cloned().collect();
    let used: HashSet<&str> = kept.iter().flat_map(|r| Role::ALL.into_iter().filter_map(|role| Some(r.role(role)?.id.as_str()))).collect();
    // The manifest goes first: what it does not speak of is not there.
    if others.is_empty() {
        std::fs::remove_file(&shelf.path).with_context(|| format!("removing {}", shelf.path.display()))?;
    } else {
        let mut all = manifest::published(&shelf.text);
        all.retain(|r| r.registry != format!("dir:{}", folder.display()) || r.tarball.name != entry.id);
        let name = shelf.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let mut rewritten = Pending::with_content(folder, &name, manifest::write(&shelf.text, &all)?.as_bytes())?;
        rewritten.settle()?;
        rewritten.appear()?;
    }
    let mut removed = Vec::new();
    let pieces = entry.pieces.iter().map(|(_, id)| id).filter(|id| !used.contains(id.as_str()));
    for name in std::iter::once(&entry.id).chain(pieces) {
        for file in [name.clone(), format!("{name}.sha256"), format!("{name}.sha512")].into_iter().chain(signatures(name)) {
            unlink(&folder.join(file))?;
        }
        removed.push(name.clone());
    }
    if others.is_empty() {
        documents(&stem).iter().try_for_each(|file| unlink(&folder.join(file)))?;
    }
    relink(directory, entry)?;
    sync_folder(folder)?;
    Ok(removed)
}

/// Removes a file that may be gone already.
fn unlink(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result.with_context(|| format!("removing {}", path.display())),
    }
}

/// Points the `-latest` links that led to the removed entry to the newest that is left.
fn relink(directory: &Directory, entry: &Entry) -> Result<()> {
    let folder = directory.path.as_path();
    let left = list(directory)?;
    let newest = left.iter().find(|e| (&e.name, &e.extension) == (&entry.name, &entry.extension));
    let manifest = left.iter().find(|e| e.name == entry.name);
    let links = [
        (format!("{}-latest{}", entry.name, entry.extension), newest.map(|e| e.id.clone())),
        (format!("{}-latest.json", entry.name), manifest.map(|e| format!("{}.json", e.id.strip_suffix(&e.extension).unwrap_or(&e.id)))),
    ];
    for (name, target) in links {
        let path = folder.join(&name);
        if !path.is_symlink() || path.exists() {
            continue;
        }
        match target {
            Some(target) => link(folder, &name, &target)?,
            None => std::fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?,
        }
    }
    Ok(())
}
