//! The embedded registry: a directory in which an artifact appears whole or not at all.
//!
//! Tarballs are written as nameless files (O_TMPFILE) where the file system has them, so that a
//! killed build leaves nothing. At the end they get their names by rename, checksums follow, and
//! the manifest, the commit point, comes last.

mod entries;
mod names;
mod occupied;
mod output;
mod pending;
mod publish;
mod staged;

pub(crate) use names::{Image, Names, Numbering};
pub(crate) use output::{OutputDirectory, check_output, write_output};
pub(super) use publish::{clash, file_of, holds, joined, same_bytes};
pub(crate) use staged::{Staged, Standing};

use pending::{Pending, check_replaced, hidden_name};

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::io::{ErrorKind, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{self, ExitCode, Failure, Result, ResultExt};
use crate::files;
use crate::openat::OpenDirectory;
use crate::process;
use crate::registry::{Entry, Existing, Registry, Removal};
use crate::report::Report;
use crate::set::LARGEST_MANIFEST;
use crate::set::{PublishedVersion, References, Set, manifest_text};

/// How long another publication of the same image is waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// A directory of artifacts, which stays the same one for as long as it is open.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    open: OpenDirectory,
    existing: Existing,
}

impl Directory {
    /// Opens the directory; its last component is made when it is missing.
    ///
    /// # Errors
    /// When the directory above is missing, or it is not a directory.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        match std::fs::create_dir(path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => check_place(path)?,
            Err(error) => {
                return Err(error).or_fail_hint(
                    ExitCode::Space,
                    opening(path),
                    format!("make it: mkdir -p {}", path.display()),
                );
            }
        }
        let open = OpenDirectory::open(path).with_context(|| opening(path))?;
        Ok(Self { open, existing: Existing::Keep })
    }

    /// The same, with another rule for versions that exist with other bytes.
    #[must_use]
    pub(crate) fn with_existing(self, existing: Existing) -> Self {
        Self { existing, ..self }
    }

    /// The directory of a file to be written, which must be there.
    ///
    /// # Errors
    /// When the directory does not exist.
    pub(crate) fn holding(file: &Path) -> Result<Self> {
        let place = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        check_place(place)?;
        Self::open(place)
    }

    /// Where it is, links resolved.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        self.open.path()
    }

    /// The open directory itself.
    pub(super) fn handle(&self) -> &OpenDirectory {
        &self.open
    }

    /// Refuses a file name that is not that of a file, or belongs to a published version: replacing
    /// one of its files would leave a mixture.
    fn check_output(&self, names: &Names) -> Result<()> {
        names.tarballs().try_for_each(|name| check_replaced(&self.open, &name))?;
        let Some(stored) =
            entries::stored_version(self, &names.stem)?.filter(|stored| stored.is_version(self))
        else {
            return Ok(());
        };
        let file = names
            .suffix
            .first()
            .map_or_else(|| names.stem.clone(), |(_, suffix)| format!("{}.{suffix}", names.stem));
        Err(Failure::new(
            ExitCode::Registry,
            format!(
                "writing {}: it belongs to the published image {}",
                self.path().join(file).display(),
                stored.describe()
            ),
        )
        .hint("choose another file, or publish to the directory instead: --registry dir:DIR")
        .into())
    }

    /// Locks the names for one build and opens a file for each format.
    ///
    /// # Errors
    /// [`ExitCode::Locked`] when another build makes the same artifact.
    pub(crate) fn stage(&self, names: Names) -> Result<Staged> {
        if names.image.is_none() {
            self.check_output(&names)?;
        }
        // Builds for two architectures of one version do not meet.
        let foreign = names
            .image
            .as_ref()
            .and_then(|image| image.arch.as_deref())
            .filter(|arch| *arch != std::env::consts::ARCH);
        let lock = self.lock(
            &foreign.map_or_else(|| names.stem.clone(), |arch| format!("{}.{arch}", names.stem)),
        )?;
        let mut files = Vec::new();
        for (format, _) in &names.suffix {
            files.push((*format, Pending::create(&self.open, &names.tarball(*format))?));
        }
        Ok(Staged {
            directory: self.clone(),
            names,
            files,
            attached: Vec::new(),
            settled: None,
            _lock: lock,
        })
    }

    /// The lock of a name that is held for short times; waits for it.
    pub(super) fn wait_for(&self, name: &str) -> Result<Lock> {
        let began = Instant::now();
        loop {
            match self.lock(name) {
                Err(error)
                    if error::exit_code(&error) == ExitCode::Locked
                        && began.elapsed() < LONGEST_WAIT =>
                {
                    process::pause(Duration::from_millis(50))?;
                }
                result => return result,
            }
        }
    }

    pub(super) fn lock(&self, stem: &str) -> Result<Lock> {
        let name = format!(".{stem}.lock");
        let path = self.path().join(&name);
        loop {
            let file = self.open.open_lock(&name).or_fail_hint(
                ExitCode::Space,
                format!("opening the lock file {}", path.display()),
                "if no osimg runs here, remove it; it must be a regular file",
            )?;
            let holder = files::read_open(&file, 64).unwrap_or_default();
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(mut held) => {
                    // The one before us may have removed the name between our open and our lock.
                    let own =
                        held.metadata().with_context(|| format!("reading {}", path.display()))?;
                    let named = self
                        .open
                        .stat(&name)
                        .with_context(|| format!("reading {}", path.display()))?;
                    if named
                        .is_none_or(|named| (named.st_dev, named.st_ino) != (own.dev(), own.ino()))
                    {
                        continue;
                    }
                    held.set_len(0)
                        .and_then(|()| held.rewind())
                        .and_then(|()| write!(held, "{}", std::process::id()))
                        .with_context(|| format!("writing {}", path.display()))?;
                    return Ok(Lock { directory: self.open.clone(), name, _held: held });
                }
                Err((_, Errno::EWOULDBLOCK)) => {
                    let who = match String::from_utf8(holder)
                        .ok()
                        .and_then(|text| text.trim().parse::<u32>().ok())
                    {
                        None => "another build".to_owned(),
                        Some(process) => format!("another build (process {process})"),
                    };
                    return Err(Failure::new(
                        ExitCode::Locked,
                        format!("{who} is making {}/{stem}", self.path().display()),
                    )
                    .hint("wait for it, or give this image another name or version")
                    .into());
                }
                Err((_, error)) => {
                    return Err(error).with_context(|| format!("locking {}", path.display()));
                }
            }
        }
    }
}

/// The lock of an artifact's name; its file is removed with it.
#[derive(Debug)]
pub(super) struct Lock {
    directory: OpenDirectory,
    name: String,
    _held: Flock<File>,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // It is still locked here: another process that opens the name from now on gets a new file,
        // and one that has the old file looks again.
        let _ = self.directory.remove(&self.name);
    }
}

impl Registry for Directory {
    fn describe(&self) -> String {
        format!("dir:{}", self.path().display())
    }

    fn publish(&self, set: &Set, report: &Report) -> Result<References> {
        publish::publish(self, set, report)
    }

    fn published_version(
        &self,
        name: &str,
        version: &str,
        arch: Option<&str>,
    ) -> Result<Option<PublishedVersion>> {
        let versions = entries::stored_versions(self)?;
        let stem = entries::place(&versions, name, version, arch).stem;
        Ok(versions
            .iter()
            .find(|stored| stored.stem == stem)
            .map(entries::StoredVersion::published_version))
    }

    fn list(&self) -> Result<Vec<Entry>> {
        entries::list(self)
    }

    fn remove(&self, entry: &Entry) -> Result<Removal> {
        entries::remove(self, entry)
    }
}

/// Records in the manifest next to a tarball where the set was published.
///
/// # Errors
/// When it cannot be read or replaced; it is as it was then.
pub(crate) fn record(manifest: &Path, references: &References) -> Result<()> {
    let doing = || format!("writing the references into {}", manifest.display());
    let text = files::read_text(manifest, LARGEST_MANIFEST).with_context(doing)?;
    let real = manifest.canonicalize().with_context(doing)?;
    let directory =
        OpenDirectory::open(real.parent().unwrap_or(Path::new("/"))).with_context(doing)?;
    let name = real.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let text = manifest_text::with(&text, references).with_context(doing)?;
    let mut pending = Pending::with_content(&directory, &name, text.as_bytes())?;
    pending.settle()?;
    pending.appear()?;
    sync(&directory)
}

fn opening(path: &Path) -> String {
    format!("opening the output directory {}", path.display())
}

/// Refuses an output directory that does not exist or is not a directory.
fn check_place(path: &Path) -> Result<()> {
    let hint = if path.symlink_metadata().is_ok() {
        "use the name of a directory".to_owned()
    } else {
        format!("make it: mkdir -p {}", path.display())
    };
    files::check_directory(path).or_fail_hint(ExitCode::Space, opening(path), hint)
}

/// Makes or replaces a link in the directory.
pub(super) fn link(directory: &OpenDirectory, name: &str, points_to: &str) -> Result<()> {
    let hidden = hidden_name(name);
    directory
        .remove(&hidden)
        .and_then(|_| directory.symlink(points_to, &hidden))
        .and_then(|()| directory.rename(&hidden, name))
        .with_context(|| format!("linking {name} in {}", directory.path().display()))
}

/// Removes a file that may be gone already.
pub(super) fn unlink(open: &OpenDirectory, name: &str) -> Result<()> {
    open.remove(name)
        .map(drop)
        .with_context(|| format!("removing {}", open.path().join(name).display()))
}

pub(super) fn sync(directory: &OpenDirectory) -> Result<()> {
    directory.sync().with_context(|| format!("writing {}", directory.path().display()))
}

#[cfg(test)]
mod tests {
    use super::staged::Published;
    use super::*;
    use crate::archive::Written;
    use crate::archive::{Format, ImageFormat};

    fn names(formats: &[ImageFormat]) -> Names {
        let image = Image {
            name: "img".into(),
            version: "1".into(),
            arch: None,
            numbering: Numbering::Fixed,
        };
        Names::versioned(image, formats)
    }

    fn publish(place: &Path, content: &str) -> Published {
        let directory = Directory::open(place).expect("directory");
        let staged = directory.stage(names(&[Format::Tgz.into()])).expect("staged");
        for (_, mut file) in staged.sinks() {
            file.write_all(content.as_bytes()).expect("written");
        }
        let bytes = content.len() as u64;
        let packed = Written {
            format: Format::Tgz.into(),
            level: 5,
            block: 1 << 20,
            bytes,
            sha256: "aa".into(),
            sha512: "bb".into(),
        };
        let tarballs = staged.tarballs(&[packed]);
        let manifest = serde_json::json!({ "name": "img", "version": "1", "tarballs": tarballs });
        staged.commit(&tarballs, manifest.to_string().as_bytes()).expect("committed")
    }

    fn held(place: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(place)
            .expect("directory")
            .map(|e| e.expect("entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn an_artifact_appears_whole_with_checksums_manifest_and_links() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let published = publish(dir.path(), "one");
        assert_eq!(std::fs::read_to_string(&published.tarballs[0]).expect("tarball"), "one");
        assert_eq!(
            held(dir.path()),
            [
                "img-1.json",
                "img-1.tgz",
                "img-1.tgz.sha256",
                "img-1.tgz.sha512",
                "img-latest.json",
                "img-latest.tgz"
            ]
        );
        assert_eq!(
            std::fs::read_to_string(dir.path().join("img-1.tgz.sha256")).expect("checksum"),
            "aa  img-1.tgz\n"
        );
        publish(dir.path(), "two");
        assert_eq!(
            std::fs::read_to_string(dir.path().join("img-latest.tgz")).expect("latest"),
            "two"
        );
        assert_eq!(held(dir.path()).len(), 6);
    }

    #[test]
    fn an_abandoned_artifact_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let directory = Directory::open(dir.path()).expect("directory");
        let staged = directory.stage(names(&Format::ALL.map(ImageFormat::from))).expect("staged");
        staged.sinks()[0].1.write_all(b"half").expect("written");
        drop(staged);
        assert_eq!(held(dir.path()), Vec::<String>::new());
    }

    #[test]
    fn two_builds_of_one_name_do_not_meet() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let directory = Directory::open(dir.path()).expect("directory");
        let first = directory.stage(names(&[Format::Tar.into()])).expect("staged");
        let error = directory.stage(names(&[Format::Tar.into()])).expect_err("locked");
        assert_eq!(crate::error::exit_code(&error), ExitCode::Locked);
        assert!(error.to_string().contains(&std::process::id().to_string()));
        drop(first);
        directory.stage(names(&[Format::Tar.into()])).expect("free again");
    }

    #[test]
    fn a_missing_folder_above_is_named_with_its_cure() {
        let error = Directory::open(Path::new("/nonexistent/out")).expect_err("missing");
        assert!(crate::error::render(&error).contains("mkdir -p /nonexistent/out"));
    }
}
