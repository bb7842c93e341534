//! The embedded registry: a folder in which an artifact appears whole or not at all.
//!
//! Tarballs are written as nameless files (O_TMPFILE) where the file system has them, so that a killed build leaves
//! nothing. At the end they get their names by rename, checksums follow, and the manifest, the commit point, comes last.

mod entries;
mod publish;

pub(super) use publish::{file_of, holds, manifest_text};

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, Flock, FlockArg, OFlag, openat};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::archive::{Format, Packed};
use crate::artifact::Tarball;
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::process;
use crate::registry::{Entry, References, Registry, Set, manifest};
use crate::report::Report;

/// Suffixes of what may stand beside an artifact, and of the signatures of each.
const DOCUMENTS: [&str; 3] = ["spdx.json", "cdx.json", "intoto.json"];
const SIGNATURES: [&str; 2] = ["minisig", "asc"];

/// Names of the documents of an artifact, and of their signatures.
fn documents(stem: &str) -> Vec<String> {
    DOCUMENTS.iter().map(|suffix| format!("{stem}.{suffix}")).flat_map(|name| signatures(&name).into_iter().chain([name])).collect()
}

/// Names of the signatures of a file.
fn signatures(file: &str) -> Vec<String> {
    SIGNATURES.iter().map(|suffix| format!("{file}.{suffix}")).collect()
}

/// The names that an artifact's files get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// What all names begin with: `NAME-VERSION`, or the stem of `--output`.
    pub stem: String,
    /// What the link to the newest one is called, without suffix: `NAME-latest`; none with `--output`.
    pub latest: Option<String>,
    /// Suffix of each format, without the first dot; `--output` may spell it differently.
    pub suffix: Vec<(Format, String)>,
}

impl Names {
    /// `NAME-VERSION.EXT`, with a link `NAME-latest.EXT`.
    #[must_use]
    pub fn versioned(name: &str, version: &str, formats: &[Format]) -> Self {
        Self {
            stem: format!("{name}-{version}"),
            latest: Some(format!("{name}-latest")),
            suffix: formats.iter().map(|f| (*f, f.extension().to_owned())).collect(),
        }
    }

    /// The file that the person named.
    ///
    /// # Errors
    /// When its suffix is none that Anaconda knows.
    pub fn of_output(output: &Path) -> Result<Self> {
        let format = Format::of_name(output)?;
        let name = output.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let suffix = [".tar.gz", ".tar.bz2", ".tar.xz"]
            .iter()
            .find(|s| name.ends_with(**s))
            .map_or_else(|| name.rsplit_once('.').map_or(String::new(), |(_, s)| s.to_owned()), |s| s.trim_start_matches('.').to_owned());
        let stem = name.strip_suffix(&format!(".{suffix}")).unwrap_or(&name).to_owned();
        if stem.is_empty() {
            return Err(Failure::new(ExitCode::Usage, format!("{} has a suffix, but no name", output.display())).into());
        }
        Ok(Self { stem, latest: None, suffix: vec![(format, suffix)] })
    }

    fn tarball(&self, format: Format) -> String {
        let suffix = self.suffix.iter().find(|(f, _)| *f == format).map_or_else(|| format.extension(), |(_, s)| s);
        format!("{}.{suffix}", self.stem)
    }
}

/// A folder of artifacts.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Opens the folder; its last component is made when it is missing.
    ///
    /// # Errors
    /// When the folder above is missing, or it is no folder.
    pub fn open(path: &Path) -> Result<Self> {
        match std::fs::create_dir(path) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => {}
            Err(error) => {
                let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
                return Err(error).or_fail_hint(
                    ExitCode::Space,
                    format!("opening the output folder {}", path.display()),
                    if folder.is_dir() {
                        format!("name a folder: {} is none", path.display())
                    } else {
                        format!("make it: mkdir -p {}", path.display())
                    },
                );
            }
        }
        Ok(Self { path: path.canonicalize().with_context(|| format!("opening the output folder {}", path.display()))? })
    }

    /// The folder of a file to be written, which must be there.
    ///
    /// # Errors
    /// When there is no such folder.
    pub fn holding(file: &Path) -> Result<Self> {
        let folder = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            return Err(Failure::new(ExitCode::Space, format!("opening the output folder {}: there is none", folder.display()))
                .hint(format!("make it: mkdir -p {}", folder.display()))
                .into());
        }
        Self::open(folder)
    }

    /// Where it is, links resolved.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Locks the names for one build and opens a file for each format.
    ///
    /// # Errors
    /// [`ExitCode::Locked`] when another build makes the same artifact.
    pub fn stage(&self, names: Names) -> Result<Staged> {
        let lock = self.lock(&names.stem)?;
        let mut files = Vec::new();
        for (format, _) in &names.suffix {
            files.push((*format, Pending::create(&self.path, &names.tarball(*format))?));
        }
        Ok(Staged { folder: self.path.clone(), names, files, attached: Vec::new(), _lock: lock })
    }

    pub(super) fn lock(&self, stem: &str) -> Result<Lock> {
        let path = self.path.join(format!(".{stem}.lock"));
        loop {
            let mut file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .with_context(|| format!("opening {}", path.display()))?;
            let mut holder = String::new();
            file.read_to_string(&mut holder).with_context(|| format!("reading {}", path.display()))?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(mut held) => {
                    // The one before us may have taken the name away between our open and our lock.
                    let same = path.metadata().is_ok_and(|named| held.metadata().is_ok_and(|own| own.ino() == named.ino()));
                    if !same {
                        continue;
                    }
                    held.set_len(0)
                        .and_then(|()| write!(held, "{}", std::process::id()))
                        .with_context(|| format!("writing {}", path.display()))?;
                    return Ok(Lock { path, _held: held });
                }
                Err((_, Errno::EWOULDBLOCK)) => {
                    let who = if holder.trim().is_empty() {
                        "another build".to_owned()
                    } else {
                        format!("another build (process {})", holder.trim())
                    };
                    return Err(Failure::new(ExitCode::Locked, format!("{who} is making {}/{stem}", self.path.display()))
                        .hint("wait for it, or give this image another name or version")
                        .into());
                }
                Err((_, error)) => return Err(error).with_context(|| format!("locking {}", path.display())),
            }
        }
    }
}

/// The lock of an artifact's name; its file goes with it.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    _held: Flock<File>,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Still locked here: who opens the name from now on gets a new file, and who has the old one looks again.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A file of an artifact that has no name yet, or a hidden one.
#[derive(Debug)]
struct Pending {
    file: File,
    /// The hidden name, when it has one.
    hidden: Option<PathBuf>,
    target: PathBuf,
}

impl Pending {
    fn create(folder: &Path, name: &str) -> Result<Self> {
        let target = folder.join(name);
        let doing = || format!("making a file in {}", folder.display());
        let mode = Mode::from_bits_truncate(0o644);
        match openat(AT_FDCWD, folder, OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC, mode) {
            Ok(fd) => Ok(Self { file: File::from(fd), hidden: None, target }),
            Err(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::ENOENT | Errno::EINVAL) => {
                let hidden = hidden_name(folder, name);
                // Left over by a killed build; the lock says that nobody writes it now.
                let _ = std::fs::remove_file(&hidden);
                let file = File::options().read(true).write(true).create_new(true).open(&hidden).with_context(doing)?;
                Ok(Self { file, hidden: Some(hidden), target })
            }
            Err(error) => Err(error).with_context(doing),
        }
    }

    /// Writes a small file whole.
    fn with_content(folder: &Path, name: &str, content: &[u8]) -> Result<Self> {
        let mut pending = Self::create(folder, name)?;
        pending.file.write_all(content).with_context(|| format!("writing {}", pending.target.display()))?;
        Ok(pending)
    }

    /// Makes its bytes durable and gives it a hidden name, ready for a rename.
    fn settle(&mut self) -> Result<()> {
        self.file.sync_all().with_context(|| format!("writing {}", self.target.display()))?;
        if self.hidden.is_none() {
            let folder = self.target.parent().unwrap_or(Path::new("."));
            let name = self.target.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let hidden = hidden_name(folder, &name);
            let _ = std::fs::remove_file(&hidden);
            let own = PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
            nix::unistd::linkat(AT_FDCWD, &own, AT_FDCWD, &hidden, AtFlags::AT_SYMLINK_FOLLOW)
                .with_context(|| format!("naming {}", self.target.display()))?;
            self.hidden = Some(hidden);
        }
        Ok(())
    }

    /// Puts it in its place.
    fn appear(&mut self) -> Result<()> {
        let hidden = self.hidden.take().context("a file must be settled before it appears")?;
        std::fs::rename(&hidden, &self.target).with_context(|| format!("putting {} in its place", self.target.display()))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(hidden) = &self.hidden {
            let _ = std::fs::remove_file(hidden);
        }
    }
}

fn hidden_name(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!(".{name}.part"))
}

/// An artifact under way.
#[derive(Debug)]
pub struct Staged {
    folder: PathBuf,
    names: Names,
    files: Vec<(Format, Pending)>,
    attached: Vec<Pending>,
    _lock: Lock,
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
        &self.folder
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
        self.attached.push(Pending::with_content(&self.folder, name, content)?);
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
                checksums.push(Pending::with_content(&self.folder, &format!("{}.{suffix}", tarball.file), text.as_bytes())?);
            }
        }
        let mut manifest = Pending::with_content(&self.folder, &format!("{}.json", self.names.stem), manifest)?;
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
        // From here on nothing is written, only renamed, and it is carried to its end whoever interrupts: a reader finds the manifest of what is there, or none.
        match std::fs::remove_file(&manifest.target) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("replacing {}", manifest.target.display()));
            }
            _ => {}
        }
        for (_, file) in &mut self.files {
            file.appear()?;
        }
        for file in checksums.iter_mut().chain(&mut self.attached) {
            file.appear()?;
        }
        self.remove_stale(tarballs)?;
        sync_folder(&self.folder)?;
        manifest.appear()?;
        self.links(tarballs)?;
        sync_folder(&self.folder)?;
        let published =
            Published { tarballs: tarballs.iter().map(|t| self.folder.join(&t.file)).collect(), manifest: manifest.target.clone() };
        Ok(published)
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
        sync_folder(&self.folder)?;
        let tarball = tarballs.first().context("an archive without a tarball")?;
        Ok(self.folder.join(&tarball.file))
    }

    /// A document or signature of an artifact that was here before under this name says what is no longer so.
    fn remove_stale(&self, tarballs: &[Tarball]) -> Result<()> {
        let names = documents(&self.names.stem).into_iter().chain(tarballs.iter().flat_map(|tarball| signatures(&tarball.file)));
        for name in names {
            let path = self.folder.join(name);
            if self.attached.iter().any(|pending| pending.target == path) {
                continue;
            }
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("removing {}", path.display()));
                }
                _ => {}
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
            link(&self.folder, &name, &points_to)?;
        }
        Ok(())
    }
}

impl Registry for Directory {
    fn describe(&self) -> String {
        format!("dir:{}", self.path.display())
    }

    fn publish(&self, set: &Set, report: &Report) -> Result<References> {
        publish::publish(self, set, report)
    }

    fn list(&self) -> Result<Vec<Entry>> {
        entries::list(self)
    }

    fn remove(&self, entry: &Entry) -> Result<Vec<String>> {
        entries::remove(self, entry)
    }
}

/// Writes into a manifest beside its tarball where the set was published.
///
/// # Errors
/// When it cannot be read or replaced; it is as it was then.
pub fn record(manifest: &Path, references: &References) -> Result<()> {
    let doing = || format!("writing the references into {}", manifest.display());
    let text = std::fs::read_to_string(manifest).with_context(doing)?;
    let real = manifest.canonicalize().with_context(doing)?;
    let folder = real.parent().unwrap_or(Path::new("/"));
    let name = real.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let text = manifest::with(&text, references).with_context(doing)?;
    let mut pending = Pending::with_content(folder, &name, text.as_bytes())?;
    pending.settle()?;
    pending.appear()?;
    sync_folder(folder)
}

/// Makes or replaces a link in the folder.
pub(super) fn link(folder: &Path, name: &str, points_to: &str) -> Result<()> {
    let hidden = hidden_name(folder, name);
    let _ = std::fs::remove_file(&hidden);
    std::os::unix::fs::symlink(points_to, &hidden)
        .and_then(|()| std::fs::rename(&hidden, folder.join(name)))
        .with_context(|| format!("linking {name} in {}", folder.display()))
}

pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|f| f.sync_all()).with_context(|| format!("writing {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(folder: &Path, content: &str) -> Published {
        let directory = Directory::open(folder).expect("folder");
        let staged = directory.stage(Names::versioned("img", "1", &[Format::Tgz])).expect("staged");
        for (_, mut file) in staged.sinks().expect("sinks") {
            file.write_all(content.as_bytes()).expect("written");
        }
        let bytes = content.len() as u64;
        let packed = Packed { format: Format::Tgz, level: 5, block: 1 << 20, bytes, sha256: "aa".into(), sha512: "bb".into() };
        let tarballs = staged.tarballs(&[packed]);
        staged.commit(&tarballs, b"{}").expect("committed")
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(folder).expect("folder").map(|e| e.expect("entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn an_artifact_appears_whole_with_checksums_manifest_and_links() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let published = publish(dir.path(), "one");
        assert_eq!(std::fs::read_to_string(&published.tarballs[0]).expect("tarball"), "one");
        assert_eq!(
            names(dir.path()),
            ["img-1.json", "img-1.tgz", "img-1.tgz.sha256", "img-1.tgz.sha512", "img-latest.json", "img-latest.tgz"]
        );
        assert_eq!(std::fs::read_to_string(dir.path().join("img-1.tgz.sha256")).expect("checksum"), "aa  img-1.tgz\n");
        publish(dir.path(), "two");
        assert_eq!(std::fs::read_to_string(dir.path().join("img-latest.tgz")).expect("latest"), "two");
        assert_eq!(names(dir.path()).len(), 6);
    }

    #[test]
    fn an_abandoned_artifact_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let directory = Directory::open(dir.path()).expect("folder");
        let staged = directory.stage(Names::versioned("img", "1", &Format::ALL)).expect("staged");
        staged.sinks().expect("sinks")[0].1.write_all(b"half").expect("written");
        drop(staged);
        assert_eq!(names(dir.path()), Vec::<String>::new());
    }

    #[test]
    fn two_builds_of_one_name_do_not_meet() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let directory = Directory::open(dir.path()).expect("folder");
        let first = directory.stage(Names::versioned("img", "1", &[Format::Tar])).expect("staged");
        let error = directory.stage(Names::versioned("img", "1", &[Format::Tar])).expect_err("locked");
        assert_eq!(crate::error::exit_code(&error), ExitCode::Locked);
        assert!(error.to_string().contains(&std::process::id().to_string()));
        drop(first);
        directory.stage(Names::versioned("img", "1", &[Format::Tar])).expect("free again");
    }

    #[test]
    fn output_names_keep_the_spelling_of_their_suffix() {
        assert_eq!(Names::of_output(Path::new("x/os.image.tar.gz")).expect("names").tarball(Format::Tgz), "os.image.tar.gz");
        assert_eq!(Names::of_output(Path::new("os.tbz")).expect("names").tarball(Format::Tbz), "os.tbz");
        assert!(Names::of_output(Path::new("os.tzst")).is_err());
        assert!(Names::of_output(Path::new(".tgz")).is_err());
    }

    #[test]
    fn a_missing_folder_above_is_named_with_its_cure() {
        let error = Directory::open(Path::new("/nonexistent/out")).expect_err("missing");
        assert!(crate::error::render(&error).contains("mkdir -p /nonexistent/out"));
    }
}
