//! A set into a directory: every file whole, with its checksums, and the manifest, the commit
//! point, last.

use anyhow::Context;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::entries::{self, StoredVersion};
use super::occupied::{arriving, holds_bytes, refuse_unlisted};
use super::pending::Pending;
use super::store::{Directory, sync, unlink};
use crate::error::{Result, ResultExt};
use crate::files;
use crate::naming;
use crate::openat::OpenDirectory;
use crate::private;
use crate::process;
use crate::registry::Registry;
use crate::registry::options::Existing;
use crate::report::{Report, Unit};
use crate::set::manifest::{MANIFEST_VERSION, Tarball};
use crate::set::manifest_text;
use crate::set::version::{Clash, NewFiles};
use crate::set::{Kind, Made, Reference, References};
use crate::set::{LARGEST_MANIFEST, OsTarball, Set};
use crate::set::{Piece, Role};
use crate::set::{Place, PublishedVersion};

/// The file of a role in the directory; all names begin with `stem`.
#[must_use]
pub(in crate::registry) fn file_of(stem: &str, set: &Set, role: Role) -> String {
    let extension = set.tarball.extension;
    match role {
        Role::Tarball => format!("{stem}{extension}"),
        Role::Kernel => format!("{stem}{}", naming::KERNEL),
        Role::Ramdisk => format!("{stem}{}", naming::RAMDISK),
        Role::Stage2 => format!("{stem}{}", naming::STAGE2),
        // It has the tarball's checksum in it.
        Role::Kickstart => format!("{stem}{extension}{}", naming::KICKSTART),
    }
}

pub(super) fn publish(directory: &Directory, set: &Set, report: &Report) -> Result<References> {
    set.check()?;
    let open = directory.handle();
    let _names = directory.wait_for(&format!("{}-latest", set.name))?;
    let versions = entries::stored_versions(directory)?;
    let Place { stem, latest } =
        entries::place(&versions, &set.name, &set.version, set.arch.as_deref());
    let _lock = directory.lock(&stem)?;
    let stored = versions.iter().find(|stored| stored.stem == stem);
    if let Some(other) = stored
        && (!other.is(&set.name, set.arch.as_deref()) || other.version() != set.version)
    {
        return Err(other.refuse(directory));
    }
    directory.check_place(&Place { stem: stem.clone(), latest: latest.clone() }, &set.name)?;
    let foreign = directory.foreign(
        &stem,
        stored,
        &arriving(set, &stem, |role| file_of(&stem, set, role)),
    )?;
    if !foreign.is_empty() {
        if directory.existing == Existing::Keep {
            return Err(refuse_unlisted(directory, &foreign));
        }
        report.note(&format!("replacing {}, which no manifest lists", foreign.join(", ")));
    }
    let (kept, replaced) = match stored {
        Some(stored) => match clash(&stored.published_version(), set)? {
            None => (Some(stored), foreign),
            Some(clash) if directory.existing == Existing::Replace => {
                report.note(&format!(
                    "replacing {}, which {}",
                    clash.existing(),
                    clash.difference()
                ));
                (None, stored.files().into_iter().chain(foreign).collect())
            }
            Some(clash) => {
                return Err(clash.refuse(&format!("publishing to {}", directory.describe()), &stem));
            }
        },
        None => (None, foreign),
    };
    let step = report.step("publishing");
    let total: u64 =
        Role::ALL.iter().filter_map(|role| set.piece(*role)).map(|piece| piece.size).sum();
    let mut done = 0;
    let (mut files, mut references) = (Vec::new(), Vec::new());
    for role in Role::ALL {
        let Some(piece) = set.piece(role) else { continue };
        let name = file_of(&stem, set, role);
        step.item(&name);
        let made = if holds(open, &name, piece)? {
            Made::Reused
        } else {
            let mut pending = Pending::create(open, &name)?;
            let target = pending.target();
            piece.copy_to(&mut pending.file, &target, |count| {
                step.progress(Unit::Bytes, done + count, total)
            })?;
            files.push(pending);
            Made::New
        };
        done += piece.size;
        for (suffix, digest) in [("sha256", &piece.sha256), ("sha512", &piece.sha512)] {
            let (sums, text) = (format!("{name}.{suffix}"), format!("{digest}  {name}\n"));
            if !reads(open, &sums, &text) {
                files.push(Pending::with_content(open, &sums, text.as_bytes())?);
            }
        }
        let url = format!("file://{}", open.path().join(&name).display());
        references.push((role, Reference::from_piece(piece, &name, &name, Some(url), made)));
    }
    let documents = set.documents_of(&stem);
    if documents.len() < set.documents.len() {
        report.note(&format!(
            "the documents and signatures name {}, and are not published as {stem}",
            set.tarball.piece.path.display()
        ));
    }
    for (name, piece) in &documents {
        if !holds(open, name, piece)? {
            let mut pending = Pending::create(open, name)?;
            let target = pending.target();
            piece.copy_to(&mut pending.file, &target, |_| {})?;
            files.push(pending);
        }
    }
    let references = References::from_set(set, Kind::Directory, directory.describe(), references)?;
    let others = kept
        .into_iter()
        .flat_map(StoredVersion::published)
        .filter(|old| old.tarball.name != references.tarball.name);
    let settled = references.settled();
    let here = others.map(|old| old.booting_as(&settled)).chain([settled.clone()]).collect();
    let text = manifest_text::with_all_of(
        &joined(set, &stem, kept.map(|stored| stored.text.as_str()))?,
        &references.registry,
        here,
    )?;
    let name = naming::manifest(&stem);
    let (sent, described) = (!files.is_empty(), reads(open, &name, &text));
    if sent || !described {
        // Hidden names until here: a stop leaves nothing.
        process::check_stop()?;
        let manifest = Pending::with_content(open, &name, text.as_bytes())?;
        if kept.is_none() {
            unlink(open, &name)?;
        }
        appear(open, files, manifest)?;
        let new = references.ids();
        let is_new = |file: &String| {
            *file == name
                || documents.iter().any(|(document, _)| document == file)
                || new.iter().any(|id| file == id || file.starts_with(&format!("{id}.sha")))
        };
        replaced.iter().filter(|file| !is_new(file)).try_for_each(|file| unlink(open, file))?;
        if !set.version.is_empty() {
            entries::relink(directory, &set.name, &latest)?;
        }
    }
    if !sent {
        report.note(&same_bytes(&stem, &directory.describe(), described));
    }
    step.finish(&references.tarball.name);
    Ok(references)
}

/// The message for a version that was published before. `described` is false if its manifest
/// changes.
pub(in crate::registry) fn same_bytes(stem: &str, registry: &str, described: bool) -> String {
    let changed = if described { "" } else { "; its manifest is updated" };
    format!("{stem} exists already with the same bytes, in {registry}{changed}")
}

/// Why the set cannot be added to the published version. If no manifest records the tarball's
/// content, the tarball is unpacked.
pub(in crate::registry) fn clash(held: &PublishedVersion, set: &Set) -> Result<Option<Clash>> {
    let recorded = held.clash(&NewFiles::from_set(set, set.tree.as_deref()));
    if recorded.is_none() || set.tree.is_some() || held.tree.is_none() {
        return Ok(recorded);
    }
    let tree = set.tree()?;
    Ok(held.clash(&NewFiles::from_set(set, tree.as_deref())))
}

/// The manifest of a version with the set's tarball; `held` is the manifest of what it joins.
pub(in crate::registry) fn joined(set: &Set, stem: &str, held: Option<&str>) -> Result<String> {
    let own = manifest_text(set, stem)?;
    let tarball = tarball(set, stem);
    let text = match held {
        Some(held) => {
            let mut tarballs = manifest_text::tarballs(held);
            if tarballs.iter().all(|known| known.file != tarball.file) {
                tarballs.push(tarball);
            }
            // References to other registries in the set's own manifest are kept.
            let published =
                manifest_text::published(held).into_iter().chain(manifest_text::published(&own));
            let text = manifest_text::with_tarballs(held, &tarballs, &[held, &own])?;
            published.into_iter().try_fold(manifest_text::original(&text), |text, references| {
                manifest_text::with(&text, &references)
            })?
        }
        None => {
            let mut text = manifest_text::with_tarballs(&own, &[tarball], &[&own])?;
            for (key, value) in [("name", &set.name), ("version", &set.version)] {
                if manifest_text::text(&text, key).is_some_and(|written| written != *value) {
                    text = manifest_text::replace(&text, &[key], value)?;
                }
            }
            text
        }
    };
    Ok(text)
}

/// Gives all files their names, the manifest last; when one cannot have it, those that were not
/// there before are taken away again.
fn appear(open: &OpenDirectory, mut files: Vec<Pending>, mut manifest: Pending) -> Result<()> {
    for file in &mut files {
        file.settle()?;
    }
    manifest.settle()?;
    let mut new = Vec::new();
    let mut rename = || -> Result<()> {
        for file in &mut files {
            if matches!(open.stat(&file.name), Ok(None)) {
                new.push(file.name.clone());
            }
            file.appear()?;
        }
        sync(open)?;
        manifest.appear()?;
        sync(open)
    };
    let renamed = rename();
    if renamed.is_err() {
        for name in &new {
            // The first error is the one to report.
            let _ = open.remove(name);
        }
    }
    renamed
}

/// Whether the name is a file with just this text.
fn reads(open: &OpenDirectory, name: &str, text: &str) -> bool {
    let read = open.open_file(name).and_then(|file| files::read_open(file, LARGEST_MANIFEST));
    read.is_ok_and(|bytes| bytes == text.as_bytes())
}

/// Whether the file is there with these very bytes. Links are not followed.
pub(in crate::registry) fn holds(
    directory: &OpenDirectory,
    path: &str,
    piece: &Piece,
) -> Result<bool> {
    let Some(file) = private::regular(directory, Path::new(path))? else { return Ok(false) };
    let own = piece.path.metadata().map(|own| (own.dev(), own.ino())).ok();
    let found = file.metadata().with_context(|| format!("reading {path}"))?;
    Ok(own == Some((found.dev(), found.ino()))
        || holds_bytes(directory, path, piece.size, &piece.sha512)?)
}

/// The set's tarball as a manifest describes it.
fn tarball(set: &Set, stem: &str) -> Tarball {
    let OsTarball { piece, format, .. } = &set.tarball;
    Tarball {
        file: file_of(stem, set, Role::Tarball),
        format: *format,
        bytes: piece.size,
        sha256: piece.sha256.clone(),
        sha512: piece.sha512.clone(),
    }
}

/// The set's own manifest, or else a new one with what is known.
fn manifest_text(set: &Set, stem: &str) -> Result<String> {
    if let Some(piece) = &set.manifest {
        return files::read_text(&piece.path, LARGEST_MANIFEST)
            .with_context(|| format!("reading the manifest {}", piece.path.display()));
    }
    let value = serde_json::json!({
        "manifest_version": MANIFEST_VERSION,
        "name": set.name,
        "version": set.version,
        "arch": set.arch,
        "os_release": { "ID": set.os_distro, "VERSION_ID": set.os_version },
        "tarballs": [tarball(set, stem)],
        "archive": { "sha256": set.tree()? },
    });
    let text = serde_json::to_string_pretty(&value)
        .or_fail(crate::error::ExitCode::Unexpected, "writing the manifest")?;
    Ok(text + "\n")
}
