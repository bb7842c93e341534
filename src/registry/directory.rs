//! The embedded registry: a directory in which an artifact appears whole or not at all.
//!
//! Tarballs are written as nameless files (O_TMPFILE) where the file system has them, so that a
//! killed build leaves nothing. At the end they get their names by rename, checksums follow, and
//! the manifest, the commit point, comes last.

mod entries;
mod mounts;
mod names;
mod occupied;
mod output;
mod pending;
mod publish;
mod staged;
mod store;

pub(super) use mounts::check_mounts;
pub(super) use names::refuse_other;
pub(crate) use names::{Image, Names, Numbering};
pub(crate) use output::{check_output, write_output};
pub(super) use publish::{clash, file_of, holds, joined, same_bytes};
pub(crate) use staged::{Staged, Standing};
pub(crate) use store::Directory;
pub(super) use store::{link, sync, unlink};

use pending::{Pending, check_replaced};

use anyhow::Context;
use std::path::Path;

use crate::error::{ExitCode, Failure, Result};
use crate::files;
use crate::openat::OpenDirectory;
use crate::registry::{Entry, Registry, Removal};
use crate::report::Report;
use crate::set::LARGEST_MANIFEST;
use crate::set::{PublishedVersion, References, Set, manifest_text};

impl Directory {
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

#[cfg(test)]
mod tests {
    use super::staged::Published;
    use super::*;
    use crate::archive::Written;
    use crate::archive::{Format, ImageFormat};
    use std::io::Write;

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
