//! An artifact under way: its files appear together, the manifest last.

use anyhow::Context;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::names::Names;
use super::pending::Pending;
use super::{Lock, link, sync};
use crate::archive::{Format, Packed};
use crate::artifact::Tarball;
use crate::error::Result;
use crate::openat::OpenDirectory;
use crate::process;

/// Suffixes of what may stand beside an artifact, and of the signatures of each.
const DOCUMENTS: [&str; 3] = ["spdx.json", "cdx.json", "intoto.json"];
const SIGNATURES: [&str; 2] = ["minisig", "asc"];

/// Names of the documents of an artifact, and of their signatures.
pub(super) fn documents(stem: &str) -> Vec<String> {
    DOCUMENTS.iter().map(|suffix| format!("{stem}.{suffix}")).flat_map(|name| signatures(&name).into_iter().chain([name])).collect()
}

/// Names of the signatures of a file.
pub(super) fn signatures(file: &str) -> Vec<String> {
    SIGNATURES.iter().map(|suffix| format!("{file}.{suffix}")).collect()
}

/// An artifact under way.
#[derive(Debug)]
pub struct Staged {
    pub(super) directory: OpenDirectory,
    pub(super) names: Names,
    pub(super) files: Vec<(Format, Pending)>,
    pub(super) attached: Vec<Pending>,
    pub(super) _lock: Lock,
}

/// Where an artifact's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The tarballs, in the order of the formats.
    pub tarballs: Vec<PathBuf>,
    /// The manifest.
    pub manifest: PathBuf,
}

impl Staged {
    /// The open files, for the archiver.
    ///
    /// # Errors
    /// When a descriptor cannot be duplicated.
    pub fn sinks(&self) -> Result<Vec<(Format, File)>> {
        self.files.iter().map(|(format, pending)| Ok((*format, pending.file.try_clone().context("duplicating a descriptor")?))).collect()
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.directory.path()
    }

    /// What the names of all its files begin with.
    #[must_use]
    pub fn stem(&self) -> &str {
        &self.names.stem
    }

    /// The tarballs' names with their files, for who reads again what was written.
    ///
    /// # Errors
    /// When a descriptor cannot be duplicated.
    pub fn written(&self) -> Result<Vec<(String, File)>> {
        self.sinks().map(|files| files.into_iter().map(|(format, file)| (self.names.tarball(format), file)).collect())
    }

    /// Adds a small file that appears with the tarballs.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn attach(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.attached.push(Pending::with_content(&self.directory, name, content)?);
        Ok(())
    }

    /// What was written, under the names it will have.
    #[must_use]
    pub fn tarballs(&self, packed: &[Packed]) -> Vec<Tarball> {
        packed
            .iter()
            .map(|p| Tarball {
                file: self.names.tarball(p.format),
                format: p.format,
                bytes: p.bytes,
                sha256: p.sha256.clone(),
                sha512: p.sha512.clone(),
            })
            .collect()
    }

    /// Makes the artifact appear: tarballs, checksum files in the form that Ironic reads (`HASH  NAME`), links, manifest.
    ///
    /// # Errors
    /// On any failure to write, and when a person stops it before the first file appears; an artifact of the same name that
    /// was there before is then still whole, or has no manifest.
    pub fn commit(mut self, tarballs: &[Tarball], manifest: &[u8]) -> Result<Published> {
        let mut checksums = Vec::new();
        for tarball in tarballs {
            for (suffix, digest) in [("sha256", &tarball.sha256), ("sha512", &tarball.sha512)] {
                let text = format!("{digest}  {}\n", tarball.file);
                checksums.push(Pending::with_content(&self.directory, &format!("{}.{suffix}", tarball.file), text.as_bytes())?);
            }
        }
        let mut manifest = Pending::with_content(&self.directory, &format!("{}.json", self.names.stem), manifest)?;
        for (_, file) in &mut self.files {
            file.settle()?;
        }
        for file in &mut checksums {
            file.settle()?;
        }
        for file in &mut self.attached {
            file.settle()?;
        }
        manifest.settle()?;
        process::check_stop()?;
        // From here on nothing is written, only renamed, and a signal is not heeded until all is done:
        // a reader finds the manifest of what is there, or none.
        self.directory.remove(&manifest.name).with_context(|| format!("replacing {}", manifest.target().display()))?;
        for (_, file) in &mut self.files {
            file.appear()?;
        }
        for file in checksums.iter_mut().chain(&mut self.attached) {
            file.appear()?;
        }
        self.remove_stale(tarballs)?;
        sync(&self.directory)?;
        manifest.appear()?;
        self.links(tarballs)?;
        sync(&self.directory)?;
        let tarballs = tarballs.iter().map(|t| self.folder().join(&t.file)).collect();
        Ok(Published { tarballs, manifest: manifest.target() })
    }

    /// Makes the one tarball appear alone, without checksum files, links and manifest.
    ///
    /// # Errors
    /// On any failure to write; a file of the same name that was there before is then still there.
    pub fn place(mut self, tarballs: &[Tarball]) -> Result<PathBuf> {
        for (_, file) in &mut self.files {
            file.settle()?;
        }
        process::check_stop()?;
        for (_, file) in &mut self.files {
            file.appear()?;
        }
        sync(&self.directory)?;
        let tarball = tarballs.first().context("an archive without a tarball")?;
        Ok(self.folder().join(&tarball.file))
    }

    /// A document or signature of an artifact that was here before under this name says what is no longer so.
    fn remove_stale(&self, tarballs: &[Tarball]) -> Result<()> {
        let names = documents(&self.names.stem).into_iter().chain(tarballs.iter().flat_map(|tarball| signatures(&tarball.file)));
        for name in names {
            if !self.attached.iter().any(|pending| pending.name == name) {
                self.directory.remove(&name).with_context(|| format!("removing {}", self.folder().join(&name).display()))?;
            }
        }
        Ok(())
    }

    fn links(&self, tarballs: &[Tarball]) -> Result<()> {
        let Some(latest) = &self.names.latest else { return Ok(()) };
        let mut links: Vec<(String, String)> =
            tarballs.iter().map(|t| (format!("{latest}.{}", t.format.extension()), t.file.clone())).collect();
        links.push((format!("{latest}.json"), format!("{}.json", self.names.stem)));
        for (name, points_to) in links {
            link(&self.directory, &name, &points_to)?;
        }
        Ok(())
    }
}
