//! A set into a folder: every file whole, with its checksums, and the manifest, the commit point, last.

use anyhow::Context;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::{Directory, Pending, link, sync_folder};
use crate::artifact::{MANIFEST_VERSION, Tarball};
use crate::error::{Result, ResultExt};
use crate::process;
use crate::registry::manifest;
use crate::registry::piece::{Piece, Role};
use crate::registry::references::{Kind, Made, Reference, References};
use crate::registry::set::Set;
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
    let folder = directory.path.as_path();
    let _lock = directory.lock(&set.stem())?;
    let step = report.step("publishing");
    let total: u64 = Role::ALL.iter().filter_map(|role| set.piece(*role)).map(|piece| piece.size).sum();
    let mut done = 0;
    let (mut files, mut references) = (Vec::new(), Vec::new());
    for role in Role::ALL {
        let Some(piece) = set.piece(role) else { continue };
        let name = file_of(set, role);
        step.item(&name);
        let made = if holds(&folder.join(&name), piece)? {
            Made::Reused
        } else {
            let mut pending = Pending::create(folder, &name)?;
            piece.copy_to(&mut pending.file, &pending.target, |count| step.progress(Unit::Bytes, done + count, total))?;
            files.push(pending);
            Made::New
        };
        done += piece.size;
        for (suffix, digest) in [("sha256", &piece.sha256), ("sha512", &piece.sha512)] {
            let (sums, text) = (format!("{name}.{suffix}"), format!("{digest}  {name}\n"));
            if std::fs::read(folder.join(&sums)).ok().as_deref() != Some(text.as_bytes()) {
                files.push(Pending::with_content(folder, &sums, text.as_bytes())?);
            }
        }
        let url = format!("file://{}", folder.join(&name).display());
        references.push((role, Reference::of_piece(piece, &name, &name, Some(url), made)));
    }
    let references = References::of_set(set, Kind::Directory, format!("dir:{}", directory.path.display()), references)?;
    let text = manifest::with(&manifest_text(set)?, &references)?;
    let target = folder.join(format!("{}.json", set.stem()));
    if !files.is_empty() || std::fs::read(&target).ok().as_deref() != Some(text.as_bytes()) {
        // Hidden names until here: a stop leaves nothing.
        process::check_stop()?;
        let manifest = Pending::with_content(folder, &format!("{}.json", set.stem()), text.as_bytes())?;
        appear(folder, files, manifest)?;
        let latest = format!("{}-latest", set.name);
        if !set.version.is_empty() {
            link(folder, &format!("{latest}{}", set.tarball.extension), &references.tarball.name)?;
            link(folder, &format!("{latest}.json"), &format!("{}.json", set.stem()))?;
            sync_folder(folder)?;
        }
    }
    step.finish(&references.tarball.name);
    Ok(references)
}

/// Gives all files their names, the manifest last; when one cannot have it, those that were not there before are taken away again.
fn appear(folder: &Path, mut files: Vec<Pending>, mut manifest: Pending) -> Result<()> {
    for file in &mut files {
        file.settle()?;
    }
    manifest.settle()?;
    let mut new: Vec<PathBuf> = Vec::new();
    let mut rename = || -> Result<()> {
        for file in &mut files {
            if !file.target.exists() {
                new.push(file.target.clone());
            }
            file.appear()?;
        }
        sync_folder(folder)?;
        manifest.appear()?;
        sync_folder(folder)
    };
    let renamed = rename();
    if renamed.is_err() {
        for path in &new {
            // The first error is the one to tell.
            let _ = std::fs::remove_file(path);
        }
    }
    renamed
}

/// Whether the file is there with these very bytes.
pub(in crate::registry) fn holds(path: &Path, piece: &Piece) -> Result<bool> {
    match path.symlink_metadata() {
        Ok(found) if found.is_file() && found.len() == piece.size => {}
        _ => return Ok(false),
    }
    if piece.path.canonicalize().is_ok_and(|real| real == path) {
        return Ok(true);
    }
    Ok(Piece::of_file(path, |_, _| {})?.sha512 == piece.sha512)
}

/// The set's own manifest, else one that says what is known.
pub(in crate::registry) fn manifest_text(set: &Set) -> Result<String> {
    if let Some(piece) = &set.manifest {
        let mut text = String::new();
        let doing = || format!("reading the manifest {}", piece.path.display());
        File::open(&piece.path).with_context(doing)?.read_to_string(&mut text).with_context(doing)?;
        return Ok(text);
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
