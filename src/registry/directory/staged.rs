//! An artifact under way: its files appear together, the manifest last.

use anyhow::Context;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::entries;
use super::names::{Names, Numbering};
use super::occupied::{Arriving, holds_bytes, refuse_unlisted};
use super::pending::Pending;
use super::store::{Directory, Lock, sync, unlink};
use crate::archive::ImageFormat;
use crate::archive::Written;
use crate::error::Result;
use crate::naming::{self, documents, signatures};
use crate::process;
use crate::registry::Registry;
use crate::registry::options::Existing;
use crate::report::Report;
use crate::set::manifest::Tarball;
use crate::set::version::NewFiles;

/// An artifact that is being written.
#[derive(Debug)]
pub(crate) struct Staged {
    pub(super) directory: Directory,
    pub(super) names: Names,
    pub(super) files: Vec<(ImageFormat, Pending)>,
    pub(super) attached: Vec<Pending>,
    /// How it is published, and the lock that keeps this true; set by [`Staged::settle`].
    pub(super) settled: Option<(Standing, Lock)>,
    pub(super) _lock: Lock,
}

/// How an artifact relates to the existing ones, now that its bytes are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// A new version.
    New,
    /// More formats of an existing version; this is its manifest.
    Added(String),
    /// An existing version with the same bytes; this is its manifest.
    Same(String),
    /// A version that replaces one with other bytes; these files belonged to that one.
    Replaced(Vec<String>),
}

/// Where an artifact's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    /// The tarballs, in the order of the formats.
    pub tarballs: Vec<PathBuf>,
    /// The manifest.
    pub manifest: PathBuf,
}

impl Staged {
    /// The open files, for the archiver. They are not duplicated: few descriptors may be allowed.
    #[must_use]
    pub(crate) fn sinks(&self) -> Vec<(ImageFormat, &File)> {
        self.files.iter().map(|(format, pending)| (*format, &pending.file)).collect()
    }

    /// The directory.
    #[must_use]
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The beginning of all its files' names.
    #[must_use]
    pub(crate) fn stem(&self) -> &str {
        &self.names.stem
    }

    /// The tarballs' names with their files, to read the tarballs again.
    ///
    /// # Errors
    /// When a descriptor cannot be duplicated.
    pub(crate) fn written(&self) -> Result<Vec<(String, File)>> {
        let duplicate = |file: &File| file.try_clone().context("duplicating a descriptor");
        self.sinks()
            .into_iter()
            .map(|(format, file)| Ok((self.names.tarball(format), duplicate(file)?)))
            .collect()
    }

    /// Adds a small file that appears with the tarballs.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn attach(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.attached.push(Pending::with_content(self.directory.handle(), name, content)?);
        Ok(())
    }

    /// The tarballs, under their final names.
    #[must_use]
    pub(crate) fn tarballs(&self, packed: &[Written]) -> Vec<Tarball> {
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

    /// The version that it carries; none with `--output`.
    #[must_use]
    pub(crate) fn version(&self) -> Option<&str> {
        self.names.image.as_ref().map(|image| image.version.as_str())
    }

    /// Decides what the artifact becomes, now that its bytes are known, and chooses its names:
    /// another version of the day where other bytes have this one, and names with the architecture
    /// where another one has the plain names. `remote` is where it goes afterwards.
    ///
    /// # Errors
    /// When other bytes exist under the chosen version and are not to be replaced.
    pub(crate) fn settle(
        &mut self,
        packed: &[Written],
        tree: &str,
        existing: Existing,
        remote: Option<&dyn Registry>,
        report: &Report,
    ) -> Result<Standing> {
        let Some(mut image) = self.names.image.clone() else {
            self.check_neighbours()?;
            return Ok(Standing::New);
        };
        // Builds for two architectures choose their names one after the other.
        let lock = self.directory.wait_for(&format!("{}-latest", image.name))?;
        let versions = entries::stored_versions(&self.directory)?;
        let arch = image.arch.as_deref();
        let day = image.version.clone();
        let mut number = match image.numbering {
            Numbering::Fixed => 0,
            Numbering::Daily => versions
                .iter()
                .filter(|stored| stored.is(&image.name, arch))
                .filter_map(|s| number_of(s.version(), &day))
                .max()
                .unwrap_or(0),
        };
        let standing = loop {
            image.version = if number == 0 { day.clone() } else { format!("{day}.{number}") };
            let place = entries::place(&versions, &image.name, &image.version, arch);
            (self.names.stem, self.names.latest) = (place.stem.clone(), Some(place.latest.clone()));
            let tarballs = self.tarballs(packed);
            let arriving = NewFiles::from_tarballs(&tarballs, tree);
            let stored = versions.iter().find(|stored| stored.stem == place.stem);
            if let Some(other) = stored
                && (!other.is(&image.name, arch) || other.version() != image.version)
            {
                return Err(other.refuse(&self.directory));
            }
            self.directory.check_place(&place, &image.name)?;
            let foreign = self.directory.foreign(&place.stem, stored, &self.arriving(&tarballs))?;
            if !foreign.is_empty() {
                let files = foreign.join(", ");
                match (existing, image.numbering) {
                    (Existing::Replace, _) => {
                        report.note(&format!("replacing {files}, which no manifest lists"));
                    }
                    (Existing::Keep, Numbering::Daily) => {
                        number += 1;
                        report.note(&format!(
                            "{files} exist without a manifest; this build is version {day}.{number}"
                        ));
                        continue;
                    }
                    (Existing::Keep, Numbering::Fixed) => {
                        return Err(refuse_unlisted(&self.directory, &foreign));
                    }
                }
            }
            let (standing, here) = match stored {
                None if foreign.is_empty() => (Standing::New, None),
                None => (Standing::Replaced(foreign), None),
                Some(stored) => {
                    let held = stored.published_version();
                    match held.clash(&arriving) {
                        None if held.has_all(&arriving) => {
                            (Standing::Same(stored.text.clone()), None)
                        }
                        None => (Standing::Added(stored.text.clone()), None),
                        clash => {
                            let files = stored.files().into_iter().chain(foreign).collect();
                            (Standing::Replaced(files), clash)
                        }
                    }
                }
            };
            // The version is published to a remote registry too, and must be free there.
            let clash = match (here, remote) {
                (None, Some(remote)) => remote
                    .published_version(&image.name, &image.version, arch)?
                    .and_then(|held| Some((held.clash(&arriving)?, remote.describe()))),
                (here, _) => here.map(|clash| (clash, self.directory.describe())),
            };
            match clash {
                None => break standing,
                Some((clash, _)) if existing == Existing::Replace => {
                    report.note(&format!(
                        "replacing {}, which {}",
                        clash.existing(),
                        clash.difference()
                    ));
                    break standing;
                }
                Some((clash, _)) if image.numbering == Numbering::Daily => {
                    number += 1;
                    let (stem, difference, existing) =
                        (&place.stem, clash.difference(), clash.existing());
                    report.note(&format!(
                        "{stem} {difference}: {existing}; this build is version {day}.{number}"
                    ));
                }
                Some((clash, registry)) => {
                    return Err(clash.refuse(&format!("publishing to {registry}"), &place.stem));
                }
            }
        };
        if matches!(standing, Standing::Same(_)) {
            report.note(&format!(
                "{} exists already with the same bytes, in {}",
                self.names.stem,
                self.directory.path().display()
            ));
        }
        self.names.image = Some(image);
        for (format, file) in &mut self.files {
            file.name = self.names.tarball(*format);
        }
        self.settled = Some((standing.clone(), lock));
        Ok(standing)
    }

    fn arriving(&self, tarballs: &[Tarball]) -> Vec<Arriving> {
        let arriving = |tarball: &Tarball| Arriving {
            file: tarball.file.clone(),
            bytes: tarball.bytes,
            sha256: tarball.sha256.clone(),
            sha512: tarball.sha512.clone(),
        };
        tarballs.iter().map(arriving).collect()
    }

    /// Refuses an output next to files of others that the build would replace.
    ///
    /// # Errors
    /// Names the file.
    pub(crate) fn check_neighbours(&self) -> Result<()> {
        self.directory.check_neighbours(&self.names)
    }

    /// Makes the artifact appear: tarballs, checksum files in the form that Ironic reads (`HASH
    /// NAME`), links, manifest.
    ///
    /// # Errors
    /// On any failure to write, and when the user stops it before the first file appears. A version
    /// that was there before is then still whole; one that was to be replaced is whole, or has no
    /// manifest.
    pub(crate) fn commit(mut self, tarballs: &[Tarball], manifest: &[u8]) -> Result<Published> {
        let standing = self.settled.take();
        let (standing, _lock) =
            standing.map_or((Standing::New, None), |(standing, lock)| (standing, Some(lock)));
        let directory = self.directory.clone();
        let (open, place, name) =
            (directory.handle(), directory.path(), naming::manifest(&self.names.stem));
        let published = Published {
            tarballs: tarballs.iter().map(|t| place.join(&t.file)).collect(),
            manifest: place.join(&name),
        };
        let mut checksums = Vec::new();
        for tarball in tarballs {
            for (suffix, digest) in [("sha256", &tarball.sha256), ("sha512", &tarball.sha512)] {
                let text = format!("{digest}  {}\n", tarball.file);
                checksums.push(Pending::with_content(
                    open,
                    &format!("{}.{suffix}", tarball.file),
                    text.as_bytes(),
                )?);
            }
        }
        if matches!(standing, Standing::Same(_)) {
            return self.complete(tarballs, checksums, published);
        }
        let mut manifest = Pending::with_content(open, &name, manifest)?;
        let tarball_files = self.files.iter_mut().map(|(_, file)| file);
        for file in
            tarball_files.chain(&mut checksums).chain(&mut self.attached).chain([&mut manifest])
        {
            file.settle()?;
        }
        process::check_stop()?;
        // From here on files are only renamed, and signals do not interrupt it: a reader finds the
        // manifest of the files that are there, or none.
        if !matches!(standing, Standing::Added(_)) {
            unlink(open, &name)?;
        }
        for (_, file) in &mut self.files {
            file.appear()?;
        }
        for file in checksums.iter_mut().chain(&mut self.attached) {
            file.appear()?;
        }
        self.remove_stale(tarballs)?;
        if let Standing::Replaced(files) = &standing {
            let new = |file: &String| {
                let attached = self.attached.iter().any(|pending| pending.name == *file);
                attached
                    || *file == name
                    || tarballs
                        .iter()
                        .any(|t| *file == t.file || file.starts_with(&format!("{}.sha", t.file)))
            };
            files.iter().filter(|file| !new(file)).try_for_each(|file| unlink(open, file))?;
        }
        sync(open)?;
        manifest.appear()?;
        if let (Some(latest), Some(image)) = (&self.names.latest, &self.names.image) {
            entries::relink(&directory, &image.name, latest)?;
        }
        sync(open)?;
        Ok(published)
    }

    /// Puts back what is missing of an artifact that is there already: the same bytes under the
    /// same names. Documents appear only when a signature is wanted that is not there, then all of
    /// them: it is of these.
    fn complete(
        mut self,
        tarballs: &[Tarball],
        checksums: Vec<Pending>,
        published: Published,
    ) -> Result<Published> {
        let mut missing: Vec<Pending> = Vec::new();
        for ((_, file), tarball) in std::mem::take(&mut self.files).into_iter().zip(tarballs) {
            let open = self.directory.handle();
            if !holds_bytes(open, &file.name, tarball.bytes, &tarball.sha512)? {
                missing.push(file);
            }
        }
        let is_missing = |file: &Pending| !self.directory.handle().has_file(&file.name);
        missing.extend(checksums.into_iter().filter(is_missing));
        let is_signature =
            |file: &Pending| naming::SIGNATURES.iter().any(|suffix| file.name.ends_with(suffix));
        if self.attached.iter().any(|file| is_signature(file) && is_missing(file)) {
            missing.append(&mut self.attached);
        }
        for file in &mut missing {
            file.settle()?;
        }
        process::check_stop()?;
        for file in &mut missing {
            file.appear()?;
        }
        sync(self.directory.handle())?;
        Ok(published)
    }

    /// Keeps the tarballs of an image that is not to be published, as `NAME.unfit` with their
    /// suffixes: without a manifest, and for the next such build to replace. Returns the path of
    /// the first.
    ///
    /// # Errors
    /// On any failure to write.
    pub(crate) fn set_aside(mut self, packed: &[Written]) -> Result<PathBuf> {
        self.names.stem.push_str(naming::UNFIT);
        for (format, file) in &mut self.files {
            file.name = self.names.tarball(*format);
        }
        let tarballs = self.tarballs(packed);
        self.place(&tarballs)
    }

    /// Publishes only the one tarball, without checksum files, links and manifest.
    ///
    /// # Errors
    /// On any failure to write; a file of the same name that was there before is then still there.
    pub(crate) fn place(mut self, tarballs: &[Tarball]) -> Result<PathBuf> {
        for (_, file) in &mut self.files {
            file.settle()?;
        }
        process::check_stop()?;
        for (_, file) in &mut self.files {
            file.appear()?;
        }
        sync(self.directory.handle())?;
        let tarball = tarballs.first().context("an archive without a tarball")?;
        Ok(self.directory.path().join(&tarball.file))
    }

    /// Removes the documents and signatures of an earlier artifact of this name: they are out of
    /// date.
    fn remove_stale(&self, tarballs: &[Tarball]) -> Result<()> {
        let names = documents(&self.names.stem)
            .into_iter()
            .chain(tarballs.iter().flat_map(|tarball| signatures(&tarball.file)));
        for name in names {
            if !self.attached.iter().any(|pending| pending.name == name) {
                unlink(self.directory.handle(), &name)?;
            }
        }
        Ok(())
    }
}

/// The number of a version of the day: 0 of the day itself, 2 of `DAY.2`.
fn number_of(version: &str, day: &str) -> Option<u64> {
    match version.strip_prefix(day)? {
        "" => Some(0),
        rest => rest.strip_prefix('.')?.parse().ok(),
    }
}
