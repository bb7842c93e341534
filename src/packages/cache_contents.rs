//! The contents of the package cache, and pruning: packages that were unused for the longest time
//! are removed first.
//!
//! Pruning is safe at any time: a file is removed in one step, a repository's metadata are renamed
//! first, and a running build has hard links to the files that it needs.

use anyhow::Context;
use serde::Serialize;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::cache::{PACKAGES, entries, is_own, lock, sweep};
use crate::error::Result;
use crate::openat::fd_path;
use crate::private::{self, VIEWS, display_path};
use crate::report::Report;
use crate::sandbox::remove_tree;

/// The prefix of a repository's directory while it is being removed.
const REMOVING: &str = ".going-";

/// The contents of a cache.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CacheContents {
    /// The repositories' directories, by name.
    pub repositories: Vec<RepositoryContents>,
    /// Bytes of package managers' own files next to them.
    pub index_bytes: u64,
    /// The number of builds that use the cache now.
    pub builds: usize,
    /// Total bytes.
    pub bytes: u64,
}

/// The contents for one repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RepositoryContents {
    /// The directory's name: the repository's id, and a hash of its address.
    pub name: String,
    /// The number of packages.
    pub packages: usize,
    /// Their bytes.
    pub package_bytes: u64,
    /// Bytes of metadata.
    pub metadata_bytes: u64,
}

/// The limits for pruning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limit {
    /// The maximum total size in bytes.
    pub bytes: Option<u64>,
    /// The maximum time without use.
    pub age: Option<Duration>,
}

/// The result of pruning.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// Removed package files.
    pub packages: usize,
    /// Repositories with removed metadata.
    pub repositories: usize,
    /// Removed bytes in total.
    pub bytes: u64,
}

/// A file in the cache.
#[derive(Debug)]
struct CachedFile {
    /// Its path in the cache.
    below: PathBuf,
    bytes: u64,
    used: SystemTime,
}

impl CacheContents {
    /// Reads the contents of a cache; a missing one is empty. Links in it are ignored.
    ///
    /// # Errors
    /// If a directory cannot be read.
    pub fn read(directory: &Path) -> Result<Self> {
        if directory.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            return Ok(Self::default());
        }
        Self::from_cache(&private::open_directory(directory)?)
    }

    fn from_cache(cache: &File) -> Result<Self> {
        let mut contents = Self::default();
        for entry in entries(&fd_path(cache))? {
            let name = entry.file_name();
            match private::directory(cache, Path::new(&name))? {
                Some(views) if name == VIEWS => {
                    let is_view = |view: &fs::DirEntry| view.file_type().is_ok_and(|t| t.is_dir());
                    contents.builds =
                        entries(&fd_path(&views))?.iter().filter(|v| is_view(v)).count();
                }
                // Someone else's.
                Some(_) if !is_own(&name) => {}
                Some(_) => contents
                    .repositories
                    .push(RepositoryContents::from_files(&name, &files(cache, &name)?)),
                None if is_own(&name) => contents.index_bytes += index_size(&entry),
                None => {}
            }
        }
        contents.repositories.sort_by(|a, b| a.name.cmp(&b.name));
        contents.bytes = contents.index_bytes
            + contents.repositories.iter().map(|r| r.package_bytes + r.metadata_bytes).sum::<u64>();
        Ok(contents)
    }

    /// Removes files above the limits, and leftovers of killed builds. Waits while a build adds to
    /// the cache.
    ///
    /// # Errors
    /// If a file cannot be removed; earlier removals remain.
    pub fn prune(directory: &Path, limit: Limit, report: &Report) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        if directory.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            return Ok(pruned);
        }
        let (cache, path) = (private::open(directory)?, directory);
        let directory = &fd_path(&cache);
        let _lock = lock(directory, path, report)?;
        if let Some(views) = private::directory(&cache, Path::new(VIEWS))? {
            sweep(&views);
        }
        for going in entries(directory)?
            .iter()
            .filter(|e| e.file_name().to_string_lossy().starts_with(REMOVING))
        {
            remove_tree(&going.path())?;
        }
        let now = SystemTime::now();
        let old = |used: SystemTime| {
            limit.age.is_some_and(|age| now.duration_since(used).unwrap_or_default() >= age)
        };
        let mut packages = Vec::new();
        for name in repositories(&cache)? {
            packages.extend(files(&cache, &name)?.into_iter().filter(|f| is_package(&f.below)));
        }
        packages.sort_by(|a, b| a.used.cmp(&b.used).then_with(|| a.below.cmp(&b.below)));
        let mut size = Self::from_cache(&cache)?.bytes;
        for file in packages {
            crate::process::check_stop()?;
            if !old(file.used) && limit.bytes.is_none_or(|most| size <= most) {
                continue;
            }
            private::remove(&cache, &file.below)?;
            size = size.saturating_sub(file.bytes);
            pruned.packages += 1;
            pruned.bytes += file.bytes;
        }
        // Every build fetches metadata again. They are removed if none of their packages is left
        // and a limit requires it.
        for name in repositories(&cache)? {
            let files = files(&cache, &name)?;
            let newest = files.iter().map(|file| file.used).max().unwrap_or(SystemTime::UNIX_EPOCH);
            let over = limit.bytes.is_some_and(|most| size > most);
            if files.iter().any(|file| is_package(&file.below)) || !(over || old(newest)) {
                continue;
            }
            let bytes: u64 = files.iter().map(|file| file.bytes).sum();
            let (whole, mut gone) = (directory.join(&name), OsString::from(REMOVING));
            gone.push(&name);
            let away = directory.join(gone);
            fs::rename(&whole, &away)
                .with_context(|| format!("removing {}", display_path(&whole)))?;
            remove_tree(&away)?;
            size = size.saturating_sub(bytes);
            pruned.repositories += 1;
            pruned.bytes += bytes;
        }
        // Package managers recreate their index files from the metadata within a second.
        for entry in entries(directory)?
            .iter()
            .filter(|entry| is_regular(entry) && is_own(&entry.file_name()))
        {
            let metadata = entry
                .metadata()
                .with_context(|| format!("examining {}", display_path(&entry.path())))?;
            let over = limit.bytes.is_some_and(|most| size > most);
            if over || old(metadata.modified().unwrap_or(now)) {
                private::remove(&cache, Path::new(&entry.file_name()))?;
                size = size.saturating_sub(metadata.len());
                pruned.bytes += metadata.len();
            }
        }
        Ok(pruned)
    }
}

impl RepositoryContents {
    fn from_files(name: &OsStr, files: &[CachedFile]) -> Self {
        let sum = |packages: bool| {
            files.iter().filter(|f| is_package(&f.below) == packages).map(|f| f.bytes).sum()
        };
        Self {
            name: name.to_string_lossy().into_owned(),
            packages: files.iter().filter(|file| is_package(&file.below)).count(),
            package_bytes: sum(true),
            metadata_bytes: sum(false),
        }
    }
}

fn is_package(path: &Path) -> bool {
    path.parent().and_then(Path::file_name).is_some_and(|name| name == PACKAGES)
}

fn is_regular(entry: &fs::DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_file())
}

/// The bytes of a file next to the repositories.
fn index_size(entry: &fs::DirEntry) -> u64 {
    entry.metadata().ok().filter(|_| is_regular(entry)).map_or(0, |metadata| metadata.len())
}

/// The names of the repositories' directories. Links are not among them.
fn repositories(cache: &File) -> Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in entries(&fd_path(cache))? {
        let name = entry.file_name();
        if is_own(&name) && private::directory(cache, Path::new(&name))?.is_some() {
            names.push(name);
        }
    }
    Ok(names)
}

/// Every file below a directory of the cache.
fn files(cache: &File, name: &OsStr) -> Result<Vec<CachedFile>> {
    let mut found = Vec::new();
    let Some(repository) = private::directory(cache, Path::new(name))? else { return Ok(found) };
    let directory = fd_path(&repository);
    for entry in walkdir::WalkDir::new(&directory).same_file_system(true) {
        let entry = entry.with_context(|| format!("reading {}", display_path(&directory)))?;
        if entry.file_type().is_file() {
            let metadata = entry
                .metadata()
                .with_context(|| format!("examining {}", display_path(entry.path())))?;
            let times = [
                metadata.accessed().ok(),
                metadata.modified().ok().filter(|_| !is_package(entry.path())),
            ];
            let used = times.into_iter().flatten().max().unwrap_or(SystemTime::UNIX_EPOCH);
            let inner = entry.path().strip_prefix(&directory).unwrap_or(entry.path());
            let below = Path::new(name).join(inner);
            found.push(CachedFile { below, bytes: metadata.len(), used });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::FileTimes;

    /// A package of 1000 bytes that was last used this many days ago.
    fn package(directory: &Path, name: &str, days: u64) -> PathBuf {
        let path = directory.join("tiny-0123456789abcdef/packages").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, [0; 1000]).unwrap();
        let used = SystemTime::now() - Duration::from_secs(days * 86400);
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_times(FileTimes::new().set_accessed(used))
            .unwrap();
        path
    }

    fn cache() -> (tempfile::TempDir, [PathBuf; 3]) {
        let directory = tempfile::tempdir().unwrap();
        let packages = [
            package(directory.path(), "new.rpm", 1),
            package(directory.path(), "old.rpm", 30),
            package(directory.path(), "older.rpm", 60),
        ];
        let repodata = directory.path().join("tiny-0123456789abcdef/repodata");
        fs::create_dir_all(&repodata).unwrap();
        fs::write(repodata.join("repomd.xml"), [0; 100]).unwrap();
        fs::create_dir_all(directory.path().join(VIEWS).join("view-left-behind")).unwrap();
        (directory, packages)
    }

    #[test]
    fn the_longest_unused_packages_are_removed_until_the_rest_fits() {
        let (directory, [new, old, older]) = cache();
        assert_eq!(CacheContents::read(directory.path()).unwrap().bytes, 3100);
        let limit = Limit { bytes: Some(1500), age: None };
        let pruned = CacheContents::prune(directory.path(), limit, &Report::silent()).unwrap();
        assert_eq!(pruned, Pruned { packages: 2, repositories: 0, bytes: 2000 });
        assert_eq!((new.exists(), old.exists(), older.exists()), (true, false, false));
        assert!(
            !directory.path().join(VIEWS).join("view-left-behind").exists(),
            "a killed build's view is swept"
        );
    }

    #[test]
    fn old_packages_are_removed_and_metadata_with_the_last_package() {
        let (directory, [new, old, older]) = cache();
        let days = |days: u64| Limit { bytes: None, age: Some(Duration::from_secs(days * 86400)) };
        assert_eq!(
            CacheContents::prune(directory.path(), days(45), &Report::silent()).unwrap().packages,
            1
        );
        assert_eq!((new.exists(), old.exists(), older.exists()), (true, true, false));
        let nothing = Limit { bytes: Some(0), age: None };
        let pruned = CacheContents::prune(directory.path(), nothing, &Report::silent()).unwrap();
        assert_eq!((pruned.packages, pruned.repositories), (2, 1));
        assert_eq!(CacheContents::read(directory.path()).unwrap().bytes, 0);
    }

    #[test]
    fn what_others_put_into_a_cache_is_neither_counted_nor_removed() {
        let (directory, _) = cache();
        for path in ["precious/thesis.txt", "precious/packages/thesis.rpm", "thesis.txt"] {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "years of work").unwrap();
        }
        let own = CacheContents::read(directory.path()).unwrap();
        assert_eq!((own.repositories.len(), own.bytes), (1, 3100));
        let all = Limit { bytes: Some(0), age: Some(Duration::ZERO) };
        CacheContents::prune(directory.path(), all, &Report::silent()).unwrap();
        for path in ["precious/thesis.txt", "precious/packages/thesis.rpm", "thesis.txt"] {
            assert!(directory.path().join(path).exists(), "{path}");
        }
    }

    #[test]
    fn no_link_is_followed_to_another_directory_at_any_level() {
        for below in [
            "",
            "views",
            "tiny-0123456789abcdef",
            "views/view-left-behind",
            "tiny-0123456789abcdef/packages",
            "tiny-0123456789abcdef/packages/old.rpm",
            "tiny-0123456789abcdef/repodata",
            "foreign",
            ".going-foreign",
            "index.solv",
            "views/view-other",
            "tiny-0123456789abcdef/foreign",
        ] {
            let (directory, _) = cache();
            let victim = tempfile::tempdir().unwrap();
            let precious = package(victim.path(), "packages/precious.rpm", 99);
            fs::write(victim.path().join("index.solv"), [0; 10]).unwrap();
            let at = directory.path().join(below);
            if at.is_file() {
                fs::remove_file(&at).unwrap()
            }
            let target = if below.ends_with(".rpm") { &precious } else { victim.path() };
            if below.is_empty() {
                std::os::unix::fs::symlink(target, at.join("any")).unwrap();
            } else {
                if at.exists() {
                    remove_tree(&at).unwrap()
                }
                std::os::unix::fs::symlink(target, &at).unwrap();
            }
            let before = CacheContents::read(victim.path()).unwrap();
            let all = Limit { bytes: Some(0), age: Some(Duration::ZERO) };
            CacheContents::prune(directory.path(), all, &Report::silent()).unwrap();
            let after = CacheContents::read(victim.path()).unwrap();
            assert_eq!(before, after, "{below}");
            assert!(precious.exists() && victim.path().join("index.solv").exists(), "{below}");
        }
    }

    #[test]
    fn a_cache_that_is_not_a_directory_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        for file in [file.as_path(), Path::new("/dev/null")] {
            let error = CacheContents::read(file).unwrap_err();
            assert!(format!("{error:#}").contains("not a directory"), "{error:#}");
        }
    }

    #[test]
    fn a_missing_cache_is_empty() {
        let directory = tempfile::tempdir().unwrap();
        let nowhere = directory.path().join("nowhere");
        assert_eq!(CacheContents::read(&nowhere).unwrap(), CacheContents::default());
        assert_eq!(
            CacheContents::prune(&nowhere, Limit::default(), &Report::silent()).unwrap(),
            Pruned::default()
        );
    }
}
