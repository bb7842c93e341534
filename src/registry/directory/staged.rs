//! An artifact under way: its files appear together, the manifest last.

use anyhow::Context;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::entries;
use super::names::{Names, Numbering};
use super::pending::Pending;
use super::{Directory, Lock, link_latest, sync, unlink};
use crate::archive::{Format, Packed, Summary};
use crate::error::{ExitCode, Failure, Result};
use crate::naming;
use crate::process;
use crate::registry::Registry;
use crate::registry::options::Existing;
use crate::report::Report;
use crate::set::EXTENSIONS;
use crate::set::Piece;
use crate::set::manifest::Tarball;
use crate::set::manifest_text;
use crate::set::version::NewFiles;

/// Names of the documents of an artifact, and of their signatures.
pub(super) fn documents(stem: &str) -> Vec<String> {
    naming::DOCUMENTS
        .iter()
        .map(|suffix| format!("{stem}{suffix}"))
        .flat_map(|name| signatures(&name).into_iter().chain([name]))
        .collect()
}

/// Names of the signatures of a file.
pub(super) fn signatures(file: &str) -> Vec<String> {
    naming::SIGNATURES.iter().map(|suffix| format!("{file}{suffix}")).collect()
}

/// An artifact that is being written.
#[derive(Debug)]
pub(crate) struct Staged {
    pub(super) directory: Directory,
    pub(super) names: Names,
    pub(super) files: Vec<(Format, Pending)>,
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
    pub(crate) fn sinks(&self) -> Vec<(Format, &File)> {
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
    pub(crate) fn tarballs(&self, packed: &[Packed]) -> Vec<Tarball> {
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
        packed: &Summary,
        existing: Existing,
        remote: Option<&dyn Registry>,
        report: &Report,
    ) -> Result<Standing> {
        let Some(mut image) = self.names.image.clone() else { return Ok(Standing::New) };
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
            (self.names.stem, self.names.latest) = (place.stem.clone(), Some(place.latest));
            let tarballs = self.tarballs(&packed.outputs);
            let arriving = NewFiles::from_tarballs(&tarballs, &packed.sha256);
            let (standing, here) = match versions.iter().find(|stored| stored.stem == place.stem) {
                None => match self.unlisted(&tarballs)? {
                    files if files.is_empty() => (Standing::New, None),
                    files if existing == Existing::Replace => {
                        report.note(&format!(
                            "replacing {}, which no manifest lists",
                            files.join(", ")
                        ));
                        (
                            Standing::Replaced(
                                files.iter().flat_map(|file| entries::with_sums(file)).collect(),
                            ),
                            None,
                        )
                    }
                    files if image.numbering == Numbering::Daily => {
                        number += 1;
                        report.note(&format!(
                            "{} exist without a manifest; this build is version {day}.{number}",
                            files.join(", ")
                        ));
                        continue;
                    }
                    files => return Err(self.refuse_unlisted(&files)),
                },
                Some(stored)
                    if !stored.is(&image.name, arch) || stored.version() != image.version =>
                {
                    return Err(self.refuse_other(stored));
                }
                Some(stored) => {
                    let held = stored.published_version();
                    match held.clash(&arriving) {
                        None if held.has_all(&arriving) => {
                            (Standing::Same(stored.text.clone()), None)
                        }
                        None => (Standing::Added(stored.text.clone()), None),
                        clash => (Standing::Replaced(stored.files()), clash),
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

    /// Files with the names of this version that belong to no version here, except these very
    /// tarballs: an interrupted publication may have left those.
    fn unlisted(&self, tarballs: &[Tarball]) -> Result<Vec<String>> {
        let open = self.directory.handle();
        let mut found = Vec::new();
        for extension in EXTENSIONS {
            let name = format!("{}{extension}", self.names.stem);
            if open.stat(&name).with_context(|| format!("examining {name}"))?.is_none() {
                continue;
            }
            let same = tarballs.iter().find(|tarball| tarball.file == name);
            if !same
                .map_or(Ok(false), |tarball| holds_bytes(&open.through().join(&name), tarball))?
            {
                found.push(name);
            }
        }
        Ok(found)
    }

    fn refuse_unlisted(&self, files: &[String]) -> anyhow::Error {
        let doing = format!("publishing to {}", self.directory.describe());
        Failure::new(
            ExitCode::Registry,
            format!("{doing}: {} exist already, and no manifest lists them", files.join(", ")),
        )
        .hint("move them away, or give this image another version: --image-version VERSION")
        .hint("or replace them: --replace")
        .into()
    }

    fn refuse_other(&self, stored: &entries::StoredVersion) -> anyhow::Error {
        let doing = format!("publishing to {}", self.directory.describe());
        Failure::new(
            ExitCode::Registry,
            format!(
                "{doing}: the file names {}.* belong to the image {}",
                stored.stem,
                stored.describe()
            ),
        )
        .hint("give this image another name or version: --name NAME, --image-version VERSION")
        .into()
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
            (directory.handle(), directory.path(), format!("{}.json", self.names.stem));
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
        if let Some(latest) = &self.names.latest {
            let kept = if let Standing::Added(text) = &standing {
                manifest_text::tarballs(text)
            } else {
                Vec::new()
            };
            let files = kept.iter().chain(tarballs).map(|tarball| tarball.file.as_str());
            link_latest(
                open,
                latest,
                &self.names.stem,
                files,
                matches!(standing, Standing::Added(_)),
            )?;
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
            if !holds_bytes(&self.directory.handle().through().join(&file.name), tarball)? {
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
    pub(crate) fn set_aside(mut self, packed: &[Packed]) -> Result<PathBuf> {
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

/// Whether the file is there with the bytes of the tarball.
fn holds_bytes(path: &Path, tarball: &Tarball) -> Result<bool> {
    let same_size =
        path.symlink_metadata().is_ok_and(|found| found.is_file() && found.len() == tarball.bytes);
    Ok(same_size && Piece::from_file(path, |_, _| {})?.sha512 == tarball.sha512)
}
