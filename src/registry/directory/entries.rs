//! The images in a directory, read from its manifests; and the removal of one.

use anyhow::Context;
use serde::Deserialize;
use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::mounts::check_mounts;
use super::names::refuse_other;
use super::pending::Pending;
use super::store::{Directory, link, sync, unlink};
use crate::calendar;
use crate::error::{ExitCode, Failure, Result};
use crate::files;
use crate::naming::{self, documents, signatures};
use crate::registry::Registry;
use crate::registry::entry::newest_first;
use crate::registry::{Entry, Removal, State};
use crate::set::Role;
use crate::set::manifest::Tarball;
use crate::set::manifest_text;
use crate::set::version::published_pieces;
use crate::set::{EXTENSIONS, LARGEST_MANIFEST, extension_of, stem as plain_stem};
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
    /// Whether its tarballs have the manifest's own stem. A manifest is a file that anyone may have
    /// written or copied: it describes only files that belong to its name.
    fn fits(&self, stem: &str) -> bool {
        let fits =
            |file: &str| file.strip_prefix(stem).is_some_and(|rest| EXTENSIONS.contains(&rest));
        self.tarballs.iter().all(|tarball| fits(&tarball.file))
            && !self.name.contains('/')
            && !self.version.contains('/')
    }

    /// Whether its own name is that of its image and version. A file that a user named has another.
    fn has_own_names(&self, stem: &str) -> bool {
        let plain = plain_stem(&self.name, &self.version);
        stem == plain || self.arch.as_ref().is_some_and(|arch| stem == format!("{plain}.{arch}"))
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
    /// The user that the manifest belongs to.
    owner: u32,
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

    /// The failure of a publication of another image to these names.
    pub(super) fn refuse(&self, directory: &Directory) -> anyhow::Error {
        let names = format!("{}.*", self.stem);
        refuse_other(&directory.describe(), &names, &self.describe())
    }

    /// Whether it was published as a version: its names are those of the image and version, and a
    /// link leads to the newest. A file that a user named has neither.
    pub(super) fn is_version(&self, directory: &Directory) -> bool {
        let latest = |extension: &str| {
            directory.handle().has_link(&format!("{}-latest{extension}", self.known.name))
        };
        self.known.has_own_names(&self.stem) && EXTENSIONS.iter().any(|extension| latest(extension))
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
            .chain([naming::manifest(stem)]);
        files.collect()
    }
}

/// A file with its checksum files and signatures.
pub(super) fn with_sums(name: &str) -> impl Iterator<Item = String> {
    [name.to_owned(), format!("{name}.sha256"), format!("{name}.sha512")]
        .into_iter()
        .chain(signatures(name))
}

/// The versions of all images in the directory.
pub(super) fn stored_versions(directory: &Directory) -> Result<Vec<StoredVersion>> {
    let open = directory.handle();
    let mut found = Vec::new();
    for name in open.names().with_context(|| format!("listing {}", open.path().display()))? {
        if let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(naming::MANIFEST)) {
            found.extend(stored_version(directory, stem)?);
        }
    }
    found.retain(|stored| stored.known.has_own_names(&stored.stem));
    Ok(found)
}

/// The version with this stem; `None` without a manifest that osimg wrote.
pub(super) fn stored_version(directory: &Directory, stem: &str) -> Result<Option<StoredVersion>> {
    let open = directory.handle();
    let name = naming::manifest(stem);
    if !open.has_file(&name) {
        return Ok(None);
    }
    let doing = || format!("reading {}", open.path().join(&name).display());
    let file = open.open_file(&name).with_context(doing)?;
    let found = file.metadata().with_context(doing)?;
    let (changed, owner) = (found.mtime(), found.uid());
    let bytes = files::read_open(file, LARGEST_MANIFEST).with_context(doing)?;
    // Other programs may have JSON files here.
    let Ok(text) = String::from_utf8(bytes) else { return Ok(None) };
    let Ok(known) = serde_json::from_str::<ManifestPart>(&text) else { return Ok(None) };
    if !known.fits(stem) {
        return Ok(None);
    }
    let seconds =
        known.build.as_ref().map_or(u64::try_from(changed).unwrap_or(0), |times| times.started);
    let mut published = manifest_text::published(&text);
    published.retain(|set| {
        let mut pieces = Role::ALL.into_iter().filter_map(|role| set.role(role));
        set.kind == Kind::Directory && pieces.all(|piece| naming::belongs(&piece.id, stem))
    });
    let own = directory.describe();
    let published = References::of_place(published, |registry| registry == own);
    Ok(Some(StoredVersion {
        stem: stem.to_owned(),
        place: open.path().to_owned(),
        text,
        known,
        published,
        seconds,
        owner,
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
    let mut entries = Vec::new();
    for stored in stored_versions(directory)? {
        let files: Vec<String> =
            stored.files().into_iter().filter(|file| directory.handle().has_file(file)).collect();
        let owner = directory.other_owner(stored.owner)?;
        for tarball in &stored.known.tarballs {
            let extension = extension_of(&tarball.file).to_owned();
            if !directory.handle().has_file(&tarball.file) {
                continue;
            }
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
                state: State::Current,
                visibility: None,
                owner: owner.map(|id| format!("user {id}")),
                own: owner.is_none(),
                pieces,
                files: files.clone(),
            });
        }
    }
    Ok(newest_first(entries))
}

pub(super) fn remove(directory: &Directory, entry: &Entry) -> Result<Removal> {
    let open = directory.handle();
    let _names = directory.wait_for(&format!("{}-latest", entry.name))?;
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
    let removing = || format!("removing {}", open.path().join(&entry.id).display());
    let own = stored.files();
    check_mounts(open, removing, |path| own.iter().any(|file| path == Path::new(file)))?;
    let of_others: HashSet<String> = versions
        .iter()
        .filter(|other| other.stem != *stem)
        .flat_map(StoredVersion::files)
        .collect();
    let discard = |file: &str| {
        if of_others.contains(file) { Ok(()) } else { unlink(open, file) }
    };
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
        unlink(open, &naming::manifest(stem))?;
    } else {
        let mut all = manifest_text::published(&stored.text);
        all.retain(|r| r.kind != Kind::Directory || r.tarball.name != entry.id);
        let left: Vec<Tarball> = others.iter().map(|tarball| (*tarball).clone()).collect();
        let text = manifest_text::with_tarballs(&stored.text, &left, &[&stored.text])?;
        let mut rewritten = Pending::with_content(
            open,
            &naming::manifest(stem),
            manifest_text::write(&text, &all)?.as_bytes(),
        )?;
        // The version did not become newer.
        let time = UNIX_EPOCH + Duration::from_secs(stored.seconds);
        rewritten
            .file
            .set_modified(time)
            .with_context(|| format!("writing {}", naming::manifest(stem)))?;
        rewritten.settle()?;
        rewritten.appear()?;
    }
    let mut removed = Vec::new();
    let pieces = entry.pieces.iter().map(|(_, id)| id).filter(|id| !used.contains(id.as_str()));
    for name in std::iter::once(&entry.id).chain(pieces) {
        for file in with_sums(name) {
            discard(&file)?;
        }
        removed.push(name.clone());
    }
    if others.is_empty() {
        documents(stem).iter().try_for_each(|file| discard(file))?;
    }
    let latest = latest_of(&entry.name, stem, entry.arch.as_deref());
    let mut removal = Removal::from(removed);
    removal.add_problem(&latest, &entry.name, relink(directory, &entry.name, &latest))?;
    sync(open)?;
    Ok(removal)
}

/// Points the links to the newest version that shares them, and removes those of suffixes that it
/// does not have: all of them lead to one version.
pub(super) fn relink(directory: &Directory, name: &str, latest: &str) -> Result<()> {
    let open = directory.handle();
    let mut shared = list(directory)?;
    shared.retain(|e| {
        e.own
            && e.name == name
            && !e.version.is_empty()
            && latest_of(name, stem_of(e), e.arch.as_deref()) == latest
    });
    let newest = shared.first().map(|entry| stem_of(entry).to_owned());
    let tarball = |extension: &str| {
        let of_newest = |e: &&Entry| Some(stem_of(e)) == newest.as_deref();
        shared.iter().filter(of_newest).find(|e| e.extension == extension).map(|e| e.id.clone())
    };
    let manifest = newest.as_ref().map(|stem| naming::manifest(stem));
    let links = EXTENSIONS.iter().map(|extension| (*extension, tarball(extension)));
    for (extension, target) in links.chain([(naming::MANIFEST, manifest)]) {
        let name_of_link = format!("{latest}{extension}");
        match target {
            Some(target) if directory.check_link(&name_of_link, name).is_ok() => {
                link(open, &name_of_link, &target)?;
            }
            None if directory.is_own_link(&name_of_link, name) => unlink(open, &name_of_link)?,
            _ => {}
        }
    }
    sync(open)
}

fn stem_of(entry: &Entry) -> &str {
    entry.id.strip_suffix(&entry.extension).unwrap_or(&entry.id)
}
