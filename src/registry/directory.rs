//! The embedded registry: a folder in which an artifact appears whole or not at all.
//!
//! Tarballs are written as nameless files (O_TMPFILE) where the file system has them, so that a killed build leaves
//! nothing. At the end they get their names by rename, checksums follow, and the manifest, the commit point, comes last.

mod entries;
mod names;
mod pending;
mod publish;
mod staged;

pub use names::Names;
pub(super) use publish::{file_of, holds, manifest_text};
pub use staged::Staged;

use pending::{Pending, hidden_name};
use staged::{documents, signatures};

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::registry::{Entry, References, Registry, Removal, Set, manifest};
use crate::report::Report;

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

    fn remove(&self, entry: &Entry) -> Result<Removal> {
        entries::remove(self, entry).map(Removal::from)
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
    use super::staged::Published;
    use super::*;
    use crate::archive::{Format, Packed};

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
    fn a_missing_folder_above_is_named_with_its_cure() {
        let error = Directory::open(Path::new("/nonexistent/out")).expect_err("missing");
        assert!(crate::error::render(&error).contains("mkdir -p /nonexistent/out"));
    }
}
