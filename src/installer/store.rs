//! Boot pieces kept by their digest: what was fetched once is not fetched again, and what rotted in
//! the meantime is not used.

use std::fs::File;
use std::io::{ErrorKind, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::openat::fd_path;
use crate::private::{self, PIECES, Space};
use crate::report::bytes;
use crate::set::Piece;

/// A part left by a killed fetch is removed when it is older than this.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// A directory of pieces, each under its SHA-256.
#[derive(Debug)]
pub(super) struct Store {
    /// Its path through [`Store::pieces`]' descriptor, while this store lives.
    directory: PathBuf,
    /// Its path as the user knows it, and as the pieces have it.
    shown: PathBuf,
    /// The open directory, in a cache where only its owner can write.
    #[expect(dead_code, reason = "it keeps the descriptor open that `directory` leads through")]
    pieces: File,
}

impl Store {
    /// The store below osimg's cache directory.
    pub(super) fn open(cache: &Path) -> Result<Self> {
        let shown = cache.join(PIECES);
        let open = private::make(cache)?;
        let pieces = private::make_below(&open, PIECES).or_fail_hint(
            ExitCode::Space,
            format!("making the cache of boot pieces {}", shown.display()),
            "name another place with --cache",
        )?;
        let directory = fd_path(&pieces);
        let store = Self { directory, shown, pieces };
        store.sweep();
        Ok(store)
    }

    /// A file that cannot be removed only wastes space.
    fn sweep(&self) {
        for entry in std::fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let old = entry
                .metadata()
                .and_then(|m| m.modified())
                .is_ok_and(|at| at.elapsed().is_ok_and(|age| age > ABANDONED));
            if old && entry.file_name().to_string_lossy().starts_with(".part-") {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// The piece of that digest, if it is here and still what it was.
    pub(super) fn find(&self, sha256: &str) -> Option<Piece> {
        let path = self.directory.join(sha256);
        let piece = Piece::from_file(&path, |_, _| {}).ok()?;
        if piece.sha256 == sha256 {
            return Some(Piece { path: self.shown.join(sha256), ..piece });
        }
        // It would be written again in any case.
        let _ = std::fs::remove_file(&path);
        None
    }

    /// Lets `fill` write a file, checks its digest, and keeps it; `None` when `fill` found no file.
    pub(super) fn keep(
        &self,
        what: &str,
        sha256: Option<&str>,
        fill: impl FnOnce(&mut Part<'_>) -> Result<Option<u64>>,
    ) -> Result<Option<Piece>> {
        let doing = || format!("keeping {what} in {}", self.shown.display());
        let mut part = tempfile::Builder::new()
            .prefix(".part-")
            .tempfile_in(&self.directory)
            .or_fail(ExitCode::Space, doing())?;
        let reserve = Space::read(&self.directory).or_fail(ExitCode::Space, doing())?.reserve;
        if fill(&mut Part { file: part.as_file_mut(), store: self, reserve })?.is_none() {
            return Ok(None);
        }
        let mut piece = Piece::from_file(part.path(), |_, _| {})?;
        if let Some(promised) = sha256
            && promised != piece.sha256
        {
            return Err(Failure::new(
                ExitCode::Trust,
                format!(
                    "checking {what}: its sha256 is {}, the .treeinfo promises {promised}",
                    piece.sha256
                ),
            )
            .hint(
                "the mirror is damaged, or in the middle of an update: try again later, or take \
                 another one",
            )
            .into());
        }
        part.as_file().sync_all().or_fail(ExitCode::Space, doing())?;
        let path = self.directory.join(&piece.sha256);
        part.persist(&path).map_err(|error| error.error).or_fail(ExitCode::Space, doing())?;
        piece.path = self.shown.join(&piece.sha256);
        Ok(Some(piece))
    }
}

/// A piece that is being fetched.
#[derive(Debug)]
pub(super) struct Part<'a> {
    file: &'a mut File,
    store: &'a Store,
    /// The space that stays free, whatever a server sends.
    reserve: u64,
}

impl Part<'_> {
    /// Adds bytes; the first ones of an attempt replace those of the last.
    pub(super) fn take(&mut self, piece: &[u8], begins: bool) -> std::io::Result<()> {
        if begins {
            self.file.set_len(0)?;
            self.file.rewind()?;
        }
        let free = Space::read(&self.store.directory)?.free;
        if free < self.reserve.saturating_add(piece.len() as u64) {
            let why = format!("{} has only {} free", self.store.shown.display(), bytes(free));
            return Err(std::io::Error::new(ErrorKind::StorageFull, why));
        }
        self.file.write_all(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // printf hello | sha256sum
    const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    fn hello(part: &mut Part<'_>) -> Result<Option<u64>> {
        part.take(b"jello", true)?;
        part.take(b"hello", true)?;
        Ok(Some(5))
    }

    #[test]
    fn a_piece_leaves_space_to_others() {
        let cache = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(cache.path()).expect("a store");
        let fill = |part: &mut Part<'_>| {
            part.reserve = u64::MAX;
            part.take(b"hello", true).or_fail(ExitCode::Space, "fetching")?;
            Ok(Some(5))
        };
        let error = store.keep("x", None, fill).expect_err("too full");
        assert_eq!(crate::error::exit_code(&error), ExitCode::Space);
        let text = crate::error::render(&error);
        assert!(text.contains(" free\n") && text.contains("--cache"), "{text}");
        assert_eq!(std::fs::read_dir(cache.path().join(PIECES)).expect("directory").count(), 0);
    }

    #[test]
    fn a_piece_is_found_by_its_digest_until_it_rots() {
        let cache = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(cache.path()).expect("a store");
        assert!(store.find(HELLO).is_none());
        let kept = store.keep("x", Some(HELLO), hello).expect("kept").expect("found");
        assert_eq!(store.find(HELLO), Some(kept.clone()));
        std::fs::write(&kept.path, "jello").expect("rotten");
        assert!(store.find(HELLO).is_none());
        assert!(!kept.path.exists());
    }

    #[test]
    fn what_is_not_as_promised_is_not_kept() {
        let cache = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(cache.path()).expect("a store");
        let error = store.keep("x", Some(&"0".repeat(64)), hello).expect_err("wrong");
        assert_eq!(crate::error::exit_code(&error), ExitCode::Trust);
        assert!(store.keep("x", None, |_| Ok(None)).expect("nothing").is_none());
        assert_eq!(std::fs::read_dir(cache.path().join(PIECES)).expect("directory").count(), 0);
    }

    #[test]
    fn a_cache_in_which_others_can_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let cache = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir(cache.path().join(PIECES)).expect("a directory");
        std::fs::set_permissions(cache.path(), std::fs::Permissions::from_mode(0o777))
            .expect("open");
        let error = Store::open(cache.path()).expect_err("open to all");
        assert!(error.to_string().contains("other users can write there"), "{error}");
    }
}
