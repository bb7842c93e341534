//! The contents of the package cache, and pruning: packages that were unused for the longest time
//! are removed first.
//!
//! Pruning is safe at any time: a file is removed in one step, a repository's metadata are renamed
//! first, and a running build has hard links to the files that it needs.

use anyhow::Context;
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::cache::{PACKAGES, entries, lock, sweep};
use crate::error::Result;
use crate::private::VIEWS;
use crate::private::{self, display_path};
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
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

impl CacheContents {
    /// Reads the contents of a cache; a missing one is empty.
    ///
    /// # Errors
    /// If a directory cannot be read.
    pub fn read(directory: &Path) -> Result<Self> {
        let mut contents = Self::default();
        if !directory.is_dir() {
            return Ok(contents);
        }
        for entry in entries(directory)? {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == VIEWS {
                contents.builds =
                    entries(&entry.path())?.iter().filter(|view| view.path().is_dir()).count();
            } else if entry.path().is_dir() {
                let files = files(&entry.path())?;
                let sum = |packages: bool| {
                    files.iter().filter(|i| is_package(&i.path) == packages).map(|i| i.bytes).sum()
                };
                let packages = files.iter().filter(|file| is_package(&file.path)).count();
                contents.repositories.push(RepositoryContents {
                    name,
                    packages,
                    package_bytes: sum(true),
                    metadata_bytes: sum(false),
                });
            } else {
                contents.index_bytes += entry.metadata().map_or(0, |m| m.len());
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
        if !directory.is_dir() {
            return Ok(pruned);
        }
        let (handle, path) = (private::open(directory)?, directory);
        let directory = &private::fd_path(&handle);
        let _lock = lock(directory, path, report)?;
        sweep(&directory.join(VIEWS));
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
        for repository in
            entries(directory)?.iter().filter(|e| e.file_name() != VIEWS && e.path().is_dir())
        {
            packages.extend(
                files(&repository.path())?.into_iter().filter(|file| is_package(&file.path)),
            );
        }
        packages.sort_by(|a, b| a.used.cmp(&b.used).then_with(|| a.path.cmp(&b.path)));
        let mut size = Self::read(directory)?.bytes;
        for file in packages {
            crate::process::check_stop()?;
            if !old(file.used) && limit.bytes.is_none_or(|most| size <= most) {
                continue;
            }
            fs::remove_file(&file.path)
                .with_context(|| format!("removing {}", display_path(&file.path)))?;
            size = size.saturating_sub(file.bytes);
            pruned.packages += 1;
            pruned.bytes += file.bytes;
        }
        // Every build fetches metadata again. They are removed if none of their packages is left
        // and a limit requires it.
        for entry in
            entries(directory)?.iter().filter(|e| e.file_name() != VIEWS && e.path().is_dir())
        {
            let files = files(&entry.path())?;
            let newest = files.iter().map(|file| file.used).max().unwrap_or(SystemTime::UNIX_EPOCH);
            let over = limit.bytes.is_some_and(|most| size > most);
            if files.iter().any(|file| is_package(&file.path)) || !(over || old(newest)) {
                continue;
            }
            let bytes: u64 = files.iter().map(|file| file.bytes).sum();
            let away = directory.join(format!("{REMOVING}{}", entry.file_name().to_string_lossy()));
            fs::rename(entry.path(), &away)
                .with_context(|| format!("removing {}", display_path(&entry.path())))?;
            remove_tree(&away)?;
            size = size.saturating_sub(bytes);
            pruned.repositories += 1;
            pruned.bytes += bytes;
        }
        // Package managers recreate their index files from the metadata within a second.
        for entry in entries(directory)?
            .iter()
            .filter(|e| e.path().is_file() && !e.file_name().to_string_lossy().starts_with('.'))
        {
            let metadata = entry
                .metadata()
                .with_context(|| format!("examining {}", display_path(&entry.path())))?;
            let over = limit.bytes.is_some_and(|most| size > most);
            if over || old(metadata.modified().unwrap_or(now)) {
                fs::remove_file(entry.path())
                    .with_context(|| format!("removing {}", display_path(&entry.path())))?;
                size = size.saturating_sub(metadata.len());
                pruned.bytes += metadata.len();
            }
        }
        Ok(pruned)
    }
}

fn is_package(path: &Path) -> bool {
    path.parent().and_then(Path::file_name).is_some_and(|name| name == PACKAGES)
}

/// Every file below a directory.
fn files(directory: &Path) -> Result<Vec<CachedFile>> {
    let mut found = Vec::new();
    for entry in walkdir::WalkDir::new(directory) {
        let entry = entry.with_context(|| format!("reading {}", display_path(directory)))?;
        if entry.file_type().is_file() {
            let metadata = entry
                .metadata()
                .with_context(|| format!("examining {}", display_path(entry.path())))?;
            let times = [
                metadata.accessed().ok(),
                metadata.modified().ok().filter(|_| !is_package(entry.path())),
            ];
            let used = times.into_iter().flatten().max().unwrap_or(SystemTime::UNIX_EPOCH);
            found.push(CachedFile { path: entry.path().to_owned(), bytes: metadata.len(), used });
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
