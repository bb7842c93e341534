//! One file of a set, with its digests: what is published is what was hashed.

use anyhow::Context;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256, Sha512};
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::files;

/// The purpose of a file in a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The installer's kernel.
    Kernel,
    /// The installer's initramfs.
    Ramdisk,
    /// The installer's second stage: a squashfs.
    Stage2,
    /// The kickstart template.
    Kickstart,
    /// The OS tarball.
    Tarball,
}

impl Role {
    /// Every role, in the order of publishing: the tarball names the others and comes last.
    pub const ALL: [Self; 5] =
        [Self::Kernel, Self::Ramdisk, Self::Stage2, Self::Kickstart, Self::Tarball];

    /// The word for it in properties, names and JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Ramdisk => "ramdisk",
            Self::Stage2 => "stage2",
            Self::Kickstart => "kickstart",
            Self::Tarball => "tarball",
        }
    }

    /// The role of a word.
    #[must_use]
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A file with its digests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Piece {
    /// Where it is.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256 in lower-case hexadecimal.
    pub sha256: String,
    /// Its SHA-512 in lower-case hexadecimal.
    pub sha512: String,
}

impl Piece {
    /// Reads the file once and computes its digests; `progress` gets the bytes so far and the size.
    ///
    /// # Errors
    /// When it cannot be read, is not a file or is empty, and when a signal asks to stop.
    pub fn from_file(path: &Path, mut progress: impl FnMut(u64, u64)) -> Result<Self> {
        let doing = || format!("reading {}", path.display());
        let mut file = files::open(path).or_fail(ExitCode::Space, doing())?;
        let kind = file.metadata().or_fail(ExitCode::Space, doing())?;
        let (mut sha256, mut sha512, mut done) = (Sha256::new(), Sha512::new(), 0_u64);
        let failed = |error| Failure::new(ExitCode::Space, doing()).because(error).into();
        let size = files::read_chunks(&mut file, failed, |bytes| {
            sha256.update(bytes);
            sha512.update(bytes);
            done += bytes.len() as u64;
            progress(done, kind.len().max(done));
            Ok(())
        })?;
        if size == 0 {
            return Err(Failure::new(ExitCode::Usage, format!("{}: it is empty", doing())).into());
        }
        Ok(Self {
            path: path.to_owned(),
            size,
            sha256: hex::encode(sha256.finalize()),
            sha512: hex::encode(sha512.finalize()),
        })
    }

    /// Opens the file for sending, if it still has the size it had when it was hashed.
    ///
    /// # Errors
    /// When it cannot be opened or has changed.
    pub fn open(&self) -> Result<File> {
        let doing = || format!("reading {}", self.path.display());
        let file = files::open(&self.path).or_fail(ExitCode::Space, doing())?;
        let size = file.metadata().or_fail(ExitCode::Space, doing())?.len();
        if size != self.size {
            return Err(self.changed(size));
        }
        Ok(file)
    }

    /// Copies the file, and checks on the way that it is still what was hashed; `target` names the
    /// copy in messages, `progress` gets the bytes so far.
    ///
    /// # Errors
    /// When it cannot be read or written, has changed, and when a signal asks to stop.
    pub(crate) fn copy_to(
        &self,
        copy: &mut File,
        target: &Path,
        mut progress: impl FnMut(u64),
    ) -> Result<()> {
        let mut source = self.open()?;
        let (mut sum, mut done) = (Sha512::new(), 0_u64);
        let failed =
            |error| anyhow::Error::new(error).context(format!("reading {}", self.path.display()));
        let size = files::read_chunks(&mut source, failed, |bytes| {
            sum.update(bytes);
            copy.write_all(bytes).with_context(|| format!("writing {}", target.display()))?;
            done += bytes.len() as u64;
            progress(done);
            Ok(())
        })?;
        if hex::encode(sum.finalize()) == self.sha512 { Ok(()) } else { Err(self.changed(size)) }
    }

    /// The failure of a file that is not what it was when it was hashed.
    pub(crate) fn changed(&self, size: u64) -> anyhow::Error {
        Failure::new(
            ExitCode::Trust,
            format!(
                "reading {}: it changed in the meantime ({size} bytes instead of {})",
                self.path.display(),
                self.size
            ),
        )
        .hint("wait until the program that writes it has finished")
        .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_usual_tools() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("x");
        std::fs::write(&path, "hello, world").expect("written");
        let mut reported = Vec::new();
        let piece =
            Piece::from_file(&path, |done, total| reported.push((done, total))).expect("a piece");
        // printf 'hello, world' | sha256sum, sha512sum
        assert_eq!(
            piece.sha256,
            "09ca7e4eaa6e8ae9c7d261167129184883644d07dfba7cbfbc4c8a2e08360d5b"
        );
        assert!(piece.sha512.starts_with("8710339dcb6814d0"));
        assert_eq!((piece.size, reported), (12, vec![(12, 12)]));
    }

    #[test]
    fn a_file_that_changed_after_it_was_hashed_is_not_sent() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("x");
        std::fs::write(&path, "one").expect("written");
        let piece = Piece::from_file(&path, |_, _| {}).expect("a piece");
        std::fs::write(&path, "three").expect("written");
        assert_eq!(crate::error::exit_code(&piece.open().expect_err("changed")), ExitCode::Trust);
    }

    #[test]
    fn directories_and_empty_files_are_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        assert!(Piece::from_file(dir.path(), |_, _| {}).is_err());
        std::fs::write(dir.path().join("x"), "").expect("written");
        assert!(Piece::from_file(&dir.path().join("x"), |_, _| {}).is_err());
    }

    #[test]
    fn every_role_has_a_word_of_its_own() {
        for role in Role::ALL {
            assert_eq!(Role::from_word(role.word()), Some(role));
        }
    }
}
