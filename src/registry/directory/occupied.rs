//! What exists under the names of an image, before anything is written there.

use anyhow::Context;
use nix::sys::stat::SFlag;
use std::collections::HashSet;
use std::path::Path;

use super::entries::{StoredVersion, stored_version, with_sums};
use super::names::Names;
use super::store::Directory;
use crate::error::{ExitCode, Failure, Result};
use crate::files;
use crate::naming::{self, documents};
use crate::openat::{OpenDirectory, fd_path};
use crate::private;
use crate::registry::Registry;
use crate::set::{EXTENSIONS, LARGEST_MANIFEST, Piece, Place, Set};

/// A file that is about to get a name.
#[derive(Debug, Clone)]
pub(super) struct Arriving {
    pub(super) file: String,
    pub(super) bytes: u64,
    pub(super) sha256: String,
    pub(super) sha512: String,
}

impl Arriving {
    pub(super) fn from_piece(file: String, piece: &Piece) -> Self {
        let (sha256, sha512) = (piece.sha256.clone(), piece.sha512.clone());
        Self { file, bytes: piece.size, sha256, sha512 }
    }

    /// The checksum file's text.
    fn checksum(&self, suffix: &str) -> String {
        let digest = if suffix == naming::SHA256 { &self.sha256 } else { &self.sha512 };
        format!("{digest}  {}\n", self.file)
    }
}

impl Directory {
    /// Refuses a place where a name is taken by something that osimg did not make: a directory, a
    /// FIFO or a link instead of a file, and a file instead of a link to the newest version.
    pub(super) fn check_place(&self, place: &Place, set_name: &str) -> Result<()> {
        for suffix in naming::suffixes() {
            self.check_regular(&format!("{}{suffix}", place.stem))?;
        }
        for extension in EXTENSIONS.into_iter().chain([naming::MANIFEST]) {
            self.check_link(&format!("{}{extension}", place.latest), set_name)?;
        }
        Ok(())
    }

    fn kind(&self, name: &str) -> Result<Option<SFlag>> {
        let found = self.handle().stat(name);
        let found =
            found.with_context(|| format!("examining {}", self.path().join(name).display()))?;
        Ok(found.map(|found| SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT))
    }

    fn check_regular(&self, name: &str) -> Result<()> {
        match self.kind(name)? {
            None | Some(SFlag::S_IFREG) => Ok(()),
            Some(_) => Err(self.refuse(name, "exists, and is not a regular file")),
        }
    }

    /// Refuses a name of a link that is not one to a version of this image.
    pub(in crate::registry) fn check_link(&self, link: &str, set_name: &str) -> Result<()> {
        if self.kind(link)?.is_none() || self.is_own_link(link, set_name) {
            return Ok(());
        }
        Err(self.refuse(link, "exists, and is not a link to a version of this image"))
    }

    /// Whether the name is a link to a version of this image.
    pub(in crate::registry) fn is_own_link(&self, link: &str, set_name: &str) -> bool {
        let target = std::fs::read_link(self.handle().through().join(link));
        let target = target.ok().and_then(|target| target.to_str().map(str::to_owned));
        target.is_some_and(|target| {
            crate::openat::is_single(&target) && target.starts_with(&format!("{set_name}-"))
        })
    }

    fn refuse(&self, name: &str, why: &str) -> anyhow::Error {
        let path = self.path().join(name);
        Failure::new(
            ExitCode::Registry,
            format!("publishing to {}: {} {why}", self.describe(), path.display()),
        )
        .hint("move it away, or give this image another name or version")
        .into()
    }

    /// The files with names of this version that neither belong to it, nor are the same as those
    /// that arrive. An interrupted publication may have left the latter.
    pub(super) fn foreign(
        &self,
        stem: &str,
        stored: Option<&StoredVersion>,
        arriving: &[Arriving],
    ) -> Result<Vec<String>> {
        let own: HashSet<String> =
            stored.map(StoredVersion::files).unwrap_or_default().into_iter().collect();
        let mut found = Vec::new();
        for suffix in naming::suffixes() {
            let name = format!("{stem}{suffix}");
            let is_there = !own.contains(&name) && self.kind(&name)?.is_some();
            if is_there && !self.is_same(&name, stem, arriving)? {
                found.push(name);
            }
        }
        Ok(found)
    }

    /// Whether a file is the same as one that arrives, or was made for it.
    fn is_same(&self, name: &str, stem: &str, arriving: &[Arriving]) -> Result<bool> {
        if let Some(same) = arriving.iter().find(|new| new.file == name) {
            return holds_bytes(self.handle(), name, same.bytes, &same.sha512);
        }
        let ends = |suffixes: &[&'static str]| {
            suffixes.iter().find_map(|suffix| Some((name.strip_suffix(suffix)?, *suffix)))
        };
        if let Some((base, suffix)) = ends(&naming::CHECKSUMS) {
            let of = arriving.iter().find(|new| new.file == base);
            return Ok(of.is_some_and(|new| self.text(name) == Some(new.checksum(suffix))));
        }
        if let Some((base, _)) = ends(&naming::SIGNATURES) {
            return Ok(self.kind(base)?.is_some() && self.is_same(base, stem, arriving)?);
        }
        let is_document =
            naming::DOCUMENTS.iter().any(|suffix| name.strip_suffix(suffix) == Some(stem));
        let text = if is_document { self.text(name) } else { None };
        Ok(text.is_some_and(|text| arriving.iter().any(|new| text.contains(&new.sha256))))
    }

    fn text(&self, name: &str) -> Option<String> {
        let file = self.handle().open_file(name).ok()?;
        String::from_utf8(files::read_open(file, LARGEST_MANIFEST).ok()?).ok()
    }

    /// Refuses files next to an output that are not of an earlier build to the same output: the
    /// manifest, checksum files, documents and signatures.
    pub(super) fn check_neighbours(&self, names: &Names) -> Result<()> {
        let stem = &names.stem;
        let known = stored_version(self, stem)?.is_some();
        for tarball in names.tarballs() {
            let sums = with_sums(&tarball).skip(1);
            for name in sums.chain(documents(stem)).chain([naming::manifest(stem)]) {
                match self.kind(&name)? {
                    None => {}
                    Some(SFlag::S_IFREG) if known || self.is_checksum(&name, &tarball) => {}
                    Some(SFlag::S_IFREG) => {
                        return Err(
                            self.refuse_output(&name, "was not made by a build to this file")
                        );
                    }
                    Some(_) => return Err(self.refuse_output(&name, "is not a regular file")),
                }
            }
        }
        Ok(())
    }

    /// Whether it is a checksum file of the tarball, whatever the digest is.
    fn is_checksum(&self, name: &str, tarball: &str) -> bool {
        naming::CHECKSUMS.iter().any(|suffix| name.strip_suffix(suffix) == Some(tarball))
            && self.text(name).is_some_and(|text| {
                text.strip_suffix(&format!("  {tarball}\n"))
                    .is_some_and(|digest| digest.chars().all(|c| c.is_ascii_hexdigit()))
            })
    }

    fn refuse_output(&self, name: &str, why: &str) -> anyhow::Error {
        let path = self.path().join(name);
        Failure::new(
            ExitCode::Registry,
            format!("writing next to the output: {} exists, and {why}", path.display()),
        )
        .hint("move it away, or choose another output")
        .into()
    }
}

/// The files of a set that arrive under a stem.
pub(super) fn arriving(
    set: &Set,
    stem: &str,
    file: impl Fn(crate::set::Role) -> String,
) -> Vec<Arriving> {
    let roles = crate::set::Role::ALL.into_iter();
    let pieces = roles.filter_map(|role| Some((file(role), set.piece(role)?)));
    let all = pieces.chain(set.documents_of(stem));
    all.map(|(file, piece)| Arriving::from_piece(file, piece)).collect()
}

/// The failure of a publication to names that files of no version have.
pub(super) fn refuse_unlisted(directory: &Directory, files: &[String]) -> anyhow::Error {
    let doing = format!("publishing to {}", directory.describe());
    let paths: Vec<String> =
        files.iter().map(|file| directory.path().join(file).display().to_string()).collect();
    Failure::new(
        ExitCode::Registry,
        format!("{doing}: {} exist already, and no manifest lists them", paths.join(", ")),
    )
    .hint("move them away, or give this image another version: --image-version VERSION")
    .hint("or replace them: --replace")
    .into()
}

/// Whether the file is there with these bytes. Links are not followed.
pub(super) fn holds_bytes(
    directory: &OpenDirectory,
    path: &str,
    bytes: u64,
    sha512: &str,
) -> Result<bool> {
    let Some(file) = private::regular(directory, Path::new(path))? else { return Ok(false) };
    let same_size = file.metadata().is_ok_and(|found| found.len() == bytes);
    Ok(same_size && Piece::from_file(&fd_path(&file), |_, _| {})?.sha512 == sha512)
}
