//! The images in a directory, read from its manifests; and the removal of one.

use anyhow::Context;
use serde::Deserialize;
use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::{Directory, Pending, documents, link, signatures, sync, unlink};
use crate::calendar;
use crate::error::{ExitCode, Failure, Result};
use crate::files;
use crate::openat::is_single;
use crate::registry::Registry;
use crate::registry::{Entry, State};
use crate::set::Role;
use crate::set::manifest::Tarball;
use crate::set::manifest_text;
use crate::set::version::published_pieces;
use crate::set::{EXTENSIONS, LARGEST_MANIFEST, extension_of, stem};
use crate::set::{Kind, References};
use crate::set::{
    Neighbour, Place, PublishedFile, PublishedVersion, latest as latest_of, same_arch,
};

/// The part of a manifest that is read here.
#[derive(Debug, Deserialize)]
struct ManifestPart {
    name: String,
    version: String,
    arch: Option<String>,
    tarballs: Vec<Tarball>,
    archive: Option<ArchivePart>,
    build: Option<Times>,
}

#[derive(Debug, Deserialize)]
struct ArchivePart {
    sha256: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Times {
    started: u64,
}

impl ManifestPart {
    /// Whether all its names are those of files in this directory. A manifest is a file that anyone
    /// may have written.
    fn stays(&self) -> bool {
        let tarballs = self.tarballs.iter().map(|tarball| &tarball.file);
        tarballs.chain([&self.name]).all(|name| is_single(name)) && !self.version.contains('/')
    }
}

/// A version that the directory holds, as its manifest describes it.
pub(super) struct StoredVersion {
    /// The beginning of its files' names.
    pub(super) stem: String,
    /// The directory, for messages.
    place: PathBuf,
    pub(super) text: String,
    known: ManifestPart,
    published: Vec<References>,
    seconds: u64,
}

impl StoredVersion {
    pub(super) fn version(&self) -> &str {
        &self.known.version
    }

    /// The references of its tarballs in this directory.
    pub(super) fn published(&self) -> &[References] {
        &self.published
    }

    /// The image and version, for messages.
    pub(super) fn describe(&self) -> String {
        let version = &self.known.version;
        if version.is_empty() {
            self.known.name.clone()
        } else {
            format!("{} version {version}", self.known.name)
        }
    }

    /// Whether it was published as a version: its names are those of the image and version, and a
    /// link leads to the newest. A file that a user named has neither.
    pub(super) fn is_version(&self, directory: &Directory) -> bool {
        let plain = stem(&self.known.name, &self.known.version);
        let latest = |extension: &str| {
            directory.handle().has_link(&format!("{}-latest{extension}", self.known.name))
        };
        let named = self
            .stem
            .strip_prefix(&plain)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        named && EXTENSIONS.iter().any(|extension| latest(extension))
    }

    /// Whether it is this image, of this architecture as far as that is known.
    pub(super) fn is(&self, name: &str, arch: Option<&str>) -> bool {
        self.known.name == name && same_arch(self.known.arch.as_deref(), arch)
    }

    /// Its files, for comparing them with what is to join them.
    pub(super) fn published_version(&self) -> PublishedVersion {
        let created = calendar::rfc3339(i64::try_from(self.seconds).unwrap_or(0));
        let tarballs = self.known.tarballs.iter().map(|tarball| PublishedFile {
            role: Role::Tarball,
            extension: extension_of(&tarball.file).to_owned(),
            place: self.place.join(&tarball.file).display().to_string(),
            sha256: Some(tarball.sha256.clone()),
            sha512: Some(tarball.sha512.clone()),
        });
        let pieces =
            self.published.iter().flat_map(|references| published_pieces(references, &self.place));
        PublishedVersion {
            created,
            tree: self.known.archive.as_ref().and_then(|a| a.sha256.clone()),
            files: tarballs.chain(pieces).collect(),
        }
    }

    /// Names of all files that belong to it, there or not.
    pub(super) fn files(&self) -> Vec<String> {
        let stem = &self.stem;
        let pieces = self
            .published
            .iter()
            .flat_map(|r| Role::ALL.into_iter().filter_map(|role| Some(r.role(role)?.id.clone())));
        let mut names: Vec<String> =
            self.known.tarballs.iter().map(|tarball| tarball.file.clone()).chain(pieces).collect();
        names.sort();
        names.dedup();
        let files = names
            .iter()
            .flat_map(|name| with_sums(name))
            .chain(documents(stem))
            .chain([format!("{stem}.json")]);
        files.collect()
    }
}

/// A file with its checksum files and signatures.
pub(super) fn with_sums(name: &str) -> impl Iterator<Item = String> {
    [name.to_owned(), format!("{name}.sha256"), format!("{name}.sha512")]
        .into_iter()
        .chain(signatures(name))
}

/// The versions of all images in the directory, the newest first.
pub(super) fn stored_versions(directory: &Directory) -> Result<Vec<StoredVersion>> {
    let open = directory.handle();
    let mut found = Vec::new();
    for name in open.names().with_context(|| format!("listing {}", open.path().display()))? {
        if let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(".json")) {
            found.extend(stored_version(directory, stem)?);
        }
    }
    // The newest first; the version decides among those of one second.
    found.sort_by(|a, b| (b.seconds, &b.known.version).cmp(&(a.seconds, &a.known.version)));
    Ok(found)
}

/// The version with this stem; `None` without a manifest that osimg wrote.
pub(super) fn stored_version(directory: &Directory, stem: &str) -> Result<Option<StoredVersion>> {
    let open = directory.handle();
    let name = format!("{stem}.json");
    if !open.has_file(&name) {
        return Ok(None);
    }
    let doing = || format!("reading {}", open.path().join(&name).display());
    let file = open.open_file(&name).with_context(doing)?;
    let changed = file.metadata().with_context(doing)?.mtime();
    let bytes = files::read_open(file, LARGEST_MANIFEST).with_context(doing)?;
    // Other programs may have JSON files here.
    let Ok(text) = String::from_utf8(bytes) else { return Ok(None) };
    let Ok(known) = serde_json::from_str::<ManifestPart>(&text) else { return Ok(None) };
    if !known.stays() {
        return Ok(None);
    }
    let seconds =
        known.build.as_ref().map_or(u64::try_from(changed).unwrap_or(0), |times| times.started);
    let mut published = manifest_text::published(&text);
    published.retain(|references| {
        references.kind == Kind::Directory && references.registry == directory.describe()
    });
    published.retain(|set| {
        Role::ALL.into_iter().filter_map(|role| set.role(role)).all(|piece| is_single(&piece.id))
    });
    Ok(Some(StoredVersion {
        stem: stem.to_owned(),
        place: open.path().to_owned(),
        text,
        known,
        published,
        seconds,
    }))
}

/// The names of a version among those of the directory.
pub(super) fn place(
    versions: &[StoredVersion],
    name: &str,
    version: &str,
    arch: Option<&str>,
) -> Place {
    let there: Vec<Neighbour<'_>> = versions
        .iter()
        .map(|stored| Neighbour {
            stem: &stored.stem,
            name: &stored.known.name,
            arch: stored.known.arch.as_deref(),
        })
        .collect();
    Place::of(name, version, arch, &there)
}

pub(super) fn list(directory: &Directory) -> Result<Vec<Entry>> {
    let mut seen = HashSet::new();
    let mut entries = Vec::new();
    for stored in stored_versions(directory)? {
        let files: Vec<String> =
            stored.files().into_iter().filter(|file| directory.handle().has_file(file)).collect();
        for tarball in &stored.known.tarballs {
            let extension = extension_of(&tarball.file).to_owned();
            if !directory.handle().has_file(&tarball.file) {
                continue;
            }
            let newest = seen.insert((
                stored.known.name.clone(),
                stored.known.arch.clone(),
                extension.clone(),
            ));
            let references =
                stored.published.iter().find(|references| references.tarball.name == tarball.file);
            let pieces = Role::ALL
                .into_iter()
                .filter(|role| *role != Role::Tarball)
                .filter_map(|role| Some((role, references?.role(role)?.id.clone())))
                .collect();
            entries.push(Entry {
                name: stored.known.name.clone(),
                version: stored.known.version.clone(),
                arch: stored.known.arch.clone(),
                extension,
                id: tarball.file.clone(),
                created: calendar::rfc3339(i64::try_from(stored.seconds).unwrap_or(0)),
                size: Some(tarball.bytes),
                sha512: Some(tarball.sha512.clone()),
                state: if newest { State::Current } else { State::Older },
                visibility: None,
                owner: None,
                own: true,
                pieces,
                files: files.clone(),
            });
        }
    }
    Ok(entries)
}

pub(super) fn remove(directory: &Directory, entry: &Entry) -> Result<Vec<String>> {
    let open = directory.handle();
    let versions = stored_versions(directory)?;
    let Some(stored) =
        versions.iter().find(|stored| stored.known.tarballs.iter().any(|t| t.file == entry.id))
    else {
        return Err(Failure::new(
            ExitCode::Registry,
            format!("removing {} from {}: it is not there", entry.id, open.path().display()),
        )
        .into());
    };
    let stem = &stored.stem;
    let _lock = directory.lock(stem)?;
    let others: Vec<&Tarball> = stored
        .known
        .tarballs
        .iter()
        .filter(|t| t.file != entry.id && open.has_file(&t.file))
        .collect();
    let kept: Vec<References> =
        stored.published.iter().filter(|r| r.tarball.name != entry.id).cloned().collect();
    let used: HashSet<&str> = kept
        .iter()
        .flat_map(|r| Role::ALL.into_iter().filter_map(|role| Some(r.role(role)?.id.as_str())))
        .collect();
    // The manifest is changed first: a file that it does not name does not count.
    if others.is_empty() {
        unlink(open, &format!("{stem}.json"))?;
    } else {
        let mut all = manifest_text::published(&stored.text);
        all.retain(|r| r.registry != directory.describe() || r.tarball.name != entry.id);
        let left: Vec<Tarball> = others.iter().map(|tarball| (*tarball).clone()).collect();
        let text = manifest_text::with_tarballs(&stored.text, &left, &[&stored.text])?;
        let mut rewritten = Pending::with_content(
            open,
            &format!("{stem}.json"),
            manifest_text::write(&text, &all)?.as_bytes(),
        )?;
        rewritten.settle()?;
        rewritten.appear()?;
    }
    let mut removed = Vec::new();
    let pieces = entry.pieces.iter().map(|(_, id)| id).filter(|id| !used.contains(id.as_str()));
    for name in std::iter::once(&entry.id).chain(pieces) {
        for file in with_sums(name) {
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

/// Points the `-latest` links that led to the removed entry to the newest that is left.
fn relink(directory: &Directory, entry: &Entry) -> Result<()> {
    let open = directory.handle();
    let latest = latest_of(&entry.name, stem_of(entry), entry.arch.as_deref());
    let left = list(directory)?;
    let mut same = left.iter().filter(|e| {
        e.name == entry.name && latest_of(&e.name, stem_of(e), e.arch.as_deref()) == latest
    });
    let manifest = same.clone().next().map(|e| format!("{}.json", stem_of(e)));
    let newest = same.find(|e| e.extension == entry.extension).map(|e| e.id.clone());
    for (name, target) in
        [(format!("{latest}{}", entry.extension), newest), (format!("{latest}.json"), manifest)]
    {
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

fn stem_of(entry: &Entry) -> &str {
    entry.id.strip_suffix(&entry.extension).unwrap_or(&entry.id)
}
