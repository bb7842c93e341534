//! What a folder holds, told by the manifests in it, and how an entry leaves it.

use anyhow::Context;
use serde::Deserialize;
use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;

use super::{Directory, Pending, documents, link, signatures, sync};
use crate::artifact::Tarball;
use crate::calendar;
use crate::error::{ExitCode, Failure, Result};
use crate::files;
use crate::openat::{OpenDirectory, is_single};
use crate::registry::piece::Role;
use crate::registry::references::{Entry, Kind, References, State};
use crate::registry::set::{EXTENSIONS, LARGEST_MANIFEST};
use crate::registry::{Registry, manifest};

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

impl Known {
    /// Whether all its names are those of files in this directory. A manifest is a file that anyone may
    /// have written.
    fn stays(&self) -> bool {
        let tarballs = self.tarballs.iter().map(|tarball| &tarball.file);
        tarballs.chain([&self.name]).all(|name| is_single(name)) && !self.version.contains('/')
    }
}

/// A manifest of the directory.
struct Shelf {
    stem: String,
    text: String,
    known: Known,
    published: Vec<References>,
    seconds: u64,
}

fn shelves(directory: &Directory) -> Result<Vec<Shelf>> {
    let open = directory.handle();
    let mut found = Vec::new();
    for name in open.names().with_context(|| format!("listing {}", open.path().display()))? {
        let Some(name) = name.to_str() else { continue };
        let Some(stem) = name.strip_suffix(".json").filter(|_| open.has_file(name)) else { continue };
        let doing = || format!("reading {}", open.path().join(name).display());
        let file = open.open_file(name).with_context(doing)?;
        let changed = file.metadata().with_context(doing)?.mtime();
        let bytes = files::read_open(file, LARGEST_MANIFEST).with_context(doing)?;
        // Not every JSON file is ours.
        let Ok(text) = String::from_utf8(bytes) else { continue };
        let Ok(known) = serde_json::from_str::<Known>(&text) else { continue };
        if !known.stays() {
            continue;
        }
        let seconds = known.build.as_ref().map_or(u64::try_from(changed).unwrap_or(0), |times| times.started);
        let mut published = manifest::published(&text);
        published.retain(|references| references.kind == Kind::Directory && references.registry == directory.describe());
        published.retain(|set| Role::ALL.into_iter().filter_map(|role| set.role(role)).all(|piece| is_single(&piece.id)));
        found.push(Shelf { stem: stem.to_owned(), text, known, published, seconds });
    }
    // The newest first; the version decides among those of one second.
    found.sort_by(|a, b| (b.seconds, &b.known.version).cmp(&(a.seconds, &a.known.version)));
    Ok(found)
}

pub(super) fn list(directory: &Directory) -> Result<Vec<Entry>> {
    let mut seen = HashSet::new();
    let mut entries = Vec::new();
    for shelf in shelves(directory)? {
        for tarball in &shelf.known.tarballs {
            let extension = EXTENSIONS.into_iter().find(|e| tarball.file.ends_with(e)).unwrap_or_default().to_owned();
            if !directory.handle().has_file(&tarball.file) {
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
    let open = directory.handle();
    let shelves = shelves(directory)?;
    let Some(shelf) = shelves.iter().find(|shelf| shelf.known.tarballs.iter().any(|t| t.file == entry.id)) else {
        return Err(
            Failure::new(ExitCode::Registry, format!("removing {} from {}: it is not there", entry.id, open.path().display())).into()
        );
    };
    let stem = &shelf.stem;
    let _lock = directory.lock(stem)?;
    let others: Vec<&Tarball> = shelf.known.tarballs.iter().filter(|t| t.file != entry.id && open.has_file(&t.file)).collect();
    let kept: Vec<References> = shelf.published.iter().filter(|r| r.tarball.name != entry.id).cloned().collect();
    let used: HashSet<&str> = kept.iter().flat_map(|r| Role::ALL.into_iter().filter_map(|role| Some(r.role(role)?.id.as_str()))).collect();
    // The manifest goes first: what it does not speak of is not there.
    if others.is_empty() {
        unlink(open, &format!("{stem}.json"))?;
    } else {
        let mut all = manifest::published(&shelf.text);
        all.retain(|r| r.registry != directory.describe() || r.tarball.name != entry.id);
        let mut rewritten = Pending::with_content(open, &format!("{stem}.json"), manifest::write(&shelf.text, &all)?.as_bytes())?;
        rewritten.settle()?;
        rewritten.appear()?;
    }
    let mut removed = Vec::new();
    let pieces = entry.pieces.iter().map(|(_, id)| id).filter(|id| !used.contains(id.as_str()));
    for name in std::iter::once(&entry.id).chain(pieces) {
        for file in [name.clone(), format!("{name}.sha256"), format!("{name}.sha512")].into_iter().chain(signatures(name)) {
            unlink(open, &file)?;
        }
        removed.push(name.clone());
    }
    if others.is_empty() {
        documents(stem).iter().try_for_each(|file| unlink(open, file))?;
    }
    relink(directory, entry)?;
    sync(open)?;
    Ok(removed)
}

/// Removes a file that may be gone already.
fn unlink(open: &OpenDirectory, name: &str) -> Result<()> {
    open.remove(name).map(drop).with_context(|| format!("removing {}", open.path().join(name).display()))
}

/// Points the `-latest` links that led to the removed entry to the newest that is left.
fn relink(directory: &Directory, entry: &Entry) -> Result<()> {
    let open = directory.handle();
    let left = list(directory)?;
    let newest = left.iter().find(|e| (&e.name, &e.extension) == (&entry.name, &entry.extension));
    let manifest = left.iter().find(|e| e.name == entry.name);
    let links = [
        (format!("{}-latest{}", entry.name, entry.extension), newest.map(|e| e.id.clone())),
        (format!("{}-latest.json", entry.name), manifest.map(|e| format!("{}.json", e.id.strip_suffix(&e.extension).unwrap_or(&e.id)))),
    ];
    for (name, target) in links {
        if !open.has_link(&name) || open.through().join(&name).exists() {
            continue;
        }
        match target {
            Some(target) => link(open, &name, &target)?,
            None => unlink(open, &name)?,
        }
    }
    Ok(())
}
