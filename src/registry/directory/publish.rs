//! A set into a folder: every file whole, with its checksums, and the manifest, the commit point, last.

use anyhow::Context;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Directory, Pending, link, sync};
use crate::artifact::{MANIFEST_VERSION, Tarball};
use crate::error::{Result, ResultExt};
use crate::files;
use crate::openat::OpenDirectory;
use crate::process;
use crate::registry::piece::{Piece, Role};
use crate::registry::references::{Kind, Made, Reference, References};
use crate::registry::set::{LARGEST_MANIFEST, Set};
use crate::registry::{Registry, manifest};
use crate::report::{Report, Unit};

/// The file of a role in the folder.
#[must_use]
pub(in crate::registry) fn file_of(set: &Set, role: Role) -> String {
    let (stem, extension) = (set.stem(), set.tarball.extension);
    match role {
        Role::Tarball => format!("{stem}{extension}"),
        Role::Kernel => format!("{stem}.vmlinuz"),
        Role::Ramdisk => format!("{stem}.initrd.img"),
        Role::Stage2 => format!("{stem}.stage2.img"),
        // It has the tarball's checksum in it.
        Role::Kickstart => format!("{stem}{extension}.ks.cfg"),
    }
}

pub(super) fn publish(directory: &Directory, set: &Set, report: &Report) -> Result<References> {
    set.check()?;
    let open = directory.handle();
    let _lock = directory.lock(&set.stem())?;
    let step = report.step("publishing");
    let total: u64 = Role::ALL.iter().filter_map(|role| set.piece(*role)).map(|piece| piece.size).sum();
    let mut done = 0;
    let (mut files, mut references) = (Vec::new(), Vec::new());
    for role in Role::ALL {
        let Some(piece) = set.piece(role) else { continue };
        let name = file_of(set, role);
        step.item(&name);
        let made = if holds(&open.through().join(&name), piece)? {
            Made::Reused
        } else {
            let mut pending = Pending::create(open, &name)?;
            let target = pending.target();
            piece.copy_to(&mut pending.file, &target, |count| step.progress(Unit::Bytes, done + count, total))?;
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
        references.push((role, Reference::of_piece(piece, &name, &name, Some(url), made)));
    }
    let references = References::of_set(set, Kind::Directory, directory.describe(), references)?;
    let text = manifest::with(&manifest_text(set)?, &references)?;
    let target = format!("{}.json", set.stem());
    if !files.is_empty() || !reads(open, &target, &text) {
        // Hidden names until here: a stop leaves nothing.
        process::check_stop()?;
        let manifest = Pending::with_content(open, &target, text.as_bytes())?;
        appear(open, files, manifest)?;
        let latest = format!("{}-latest", set.name);
        if !set.version.is_empty() {
            link(open, &format!("{latest}{}", set.tarball.extension), &references.tarball.name)?;
            link(open, &format!("{latest}.json"), &format!("{}.json", set.stem()))?;
            sync(open)?;
        }
    }
    step.finish(&references.tarball.name);
    Ok(references)
}

/// Gives all files their names, the manifest last; when one cannot have it, those that were not there before are taken away again.
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

/// Whether the file is there with these very bytes.
pub(in crate::registry) fn holds(path: &Path, piece: &Piece) -> Result<bool> {
    let found = match path.symlink_metadata() {
        Ok(found) if found.is_file() && found.len() == piece.size => found,
        _ => return Ok(false),
    };
    if piece.path.metadata().is_ok_and(|own| (own.dev(), own.ino()) == (found.dev(), found.ino())) {
        return Ok(true);
    }
    Ok(Piece::of_file(path, |_, _| {})?.sha512 == piece.sha512)
}

/// The set's own manifest, else one that says what is known.
pub(in crate::registry) fn manifest_text(set: &Set) -> Result<String> {
    if let Some(piece) = &set.manifest {
        return files::read_text(&piece.path, LARGEST_MANIFEST).with_context(|| format!("reading the manifest {}", piece.path.display()));
    }
    let tarball = &set.tarball;
    let entry = Tarball {
        file: file_of(set, Role::Tarball),
        format: tarball.format,
        bytes: tarball.piece.size,
        sha256: tarball.piece.sha256.clone(),
        sha512: tarball.piece.sha512.clone(),
    };
    let value = serde_json::json!({
        "manifest_version": MANIFEST_VERSION,
        "name": set.name,
        "version": set.version,
        "arch": set.arch,
        "os_release": { "ID": set.os_distro, "VERSION_ID": set.os_version },
        "tarballs": [entry],
    });
    let text = serde_json::to_string_pretty(&value).or_fail(crate::error::ExitCode::Unexpected, "writing the manifest")?;
    Ok(text + "\n")
}
