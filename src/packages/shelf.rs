//! What the package cache holds, and making it smaller: packages that no build needed for longest
//! go first.
//!
//! Safe at any instant: a file is removed in one step, a repository's metadata are renamed away
//! first, and a build that runs has names of its own for what it needs.

use anyhow::Context;
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::cache::{PACKAGES, entries, lock, sweep};
use crate::error::Result;
use crate::private::VIEWS;
use crate::private::{self, shown};
use crate::report::Report;
use crate::sandbox::remove_tree;

/// Marks a repository's directory that is being removed.
const GOING: &str = ".going-";

/// What a cache holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Shelf {
    /// The repositories' directories, by name.
    pub repositories: Vec<Held>,
    /// Bytes of package managers' own files beside them.
    pub index_bytes: u64,
    /// Builds that use the cache now.
    pub builds: usize,
    /// Bytes in all.
    pub bytes: u64,
}

/// What is held of one repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Held {
    /// The directory's name: the repository's id, and what its address comes to.
    pub name: String,
    /// Packages.
    pub packages: usize,
    /// Their bytes.
    pub package_bytes: u64,
    /// Bytes of metadata.
    pub metadata_bytes: u64,
}

/// What may stay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limit {
    /// Bytes in all.
    pub bytes: Option<u64>,
    /// For how long nothing may have been needed.
    pub age: Option<Duration>,
}

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// Files of packages.
    pub packages: usize,
    /// Repositories whose metadata went.
    pub repositories: usize,
    /// Bytes of both.
    pub bytes: u64,
}

/// A file on the shelf.
#[derive(Debug)]
struct Item {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

impl Shelf {
    /// Looks at a cache; one that is not there holds nothing.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn look(folder: &Path) -> Result<Self> {
        let mut shelf = Self::default();
        if !folder.is_dir() {
            return Ok(shelf);
        }
        for entry in entries(folder)? {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == VIEWS {
                shelf.builds = entries(&entry.path())?.iter().filter(|view| view.path().is_dir()).count();
            } else if entry.path().is_dir() {
                let items = items(&entry.path())?;
                let sum = |packages: bool| items.iter().filter(|i| is_package(&i.path) == packages).map(|i| i.bytes).sum();
                let packages = items.iter().filter(|item| is_package(&item.path)).count();
                shelf.repositories.push(Held { name, packages, package_bytes: sum(true), metadata_bytes: sum(false) });
            } else {
                shelf.index_bytes += entry.metadata().map_or(0, |m| m.len());
            }
        }
        shelf.repositories.sort_by(|a, b| a.name.cmp(&b.name));
        shelf.bytes = shelf.index_bytes + shelf.repositories.iter().map(|r| r.package_bytes + r.metadata_bytes).sum::<u64>();
        Ok(shelf)
    }

    /// Removes what is over the limit, and what killed builds left; waits for a build that fills
    /// the cache.
    ///
    /// # Errors
    /// When a file cannot be removed; what was removed before stays removed.
    pub fn prune(folder: &Path, limit: Limit, report: &Report) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        if !folder.is_dir() {
            return Ok(pruned);
        }
        let (directory, path) = (private::open(folder)?, folder);
        let folder = &private::through(&directory);
        let _lock = lock(folder, path, report)?;
        sweep(&folder.join(VIEWS));
        for going in entries(folder)?.iter().filter(|e| e.file_name().to_string_lossy().starts_with(GOING)) {
            remove_tree(&going.path())?;
        }
        let now = SystemTime::now();
        let old = |used: SystemTime| limit.age.is_some_and(|age| now.duration_since(used).unwrap_or_default() >= age);
        let mut packages = Vec::new();
        for repository in entries(folder)?.iter().filter(|e| e.file_name() != VIEWS && e.path().is_dir()) {
            packages.extend(items(&repository.path())?.into_iter().filter(|item| is_package(&item.path)));
        }
        packages.sort_by(|a, b| a.used.cmp(&b.used).then_with(|| a.path.cmp(&b.path)));
        let mut held = Self::look(folder)?.bytes;
        for item in packages {
            crate::process::check_stop()?;
            if !old(item.used) && limit.bytes.is_none_or(|most| held <= most) {
                continue;
            }
            fs::remove_file(&item.path).with_context(|| format!("removing {}", shown(&item.path)))?;
            held = held.saturating_sub(item.bytes);
            pruned.packages += 1;
            pruned.bytes += item.bytes;
        }
        // Metadata come again with every build; they go when no package of theirs is left and the
        // limit asks for it.
        for entry in entries(folder)?.iter().filter(|e| e.file_name() != VIEWS && e.path().is_dir()) {
            let items = items(&entry.path())?;
            let newest = items.iter().map(|item| item.used).max().unwrap_or(SystemTime::UNIX_EPOCH);
            let over = limit.bytes.is_some_and(|most| held > most);
            if items.iter().any(|item| is_package(&item.path)) || !(over || old(newest)) {
                continue;
            }
            let bytes: u64 = items.iter().map(|item| item.bytes).sum();
            let away = folder.join(format!("{GOING}{}", entry.file_name().to_string_lossy()));
            fs::rename(entry.path(), &away).with_context(|| format!("removing {}", shown(&entry.path())))?;
            remove_tree(&away)?;
            held = held.saturating_sub(bytes);
            pruned.repositories += 1;
            pruned.bytes += bytes;
        }
        // Package managers' indexes beside the directories are made from the metadata, within a
        // second.
        for entry in entries(folder)?.iter().filter(|e| e.path().is_file() && !e.file_name().to_string_lossy().starts_with('.')) {
            let metadata = entry.metadata().with_context(|| format!("looking at {}", shown(&entry.path())))?;
            let over = limit.bytes.is_some_and(|most| held > most);
            if over || old(metadata.modified().unwrap_or(now)) {
                fs::remove_file(entry.path()).with_context(|| format!("removing {}", shown(&entry.path())))?;
                held = held.saturating_sub(metadata.len());
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
fn items(folder: &Path) -> Result<Vec<Item>> {
    let mut found = Vec::new();
    for entry in walkdir::WalkDir::new(folder) {
        let entry = entry.with_context(|| format!("reading {}", shown(folder)))?;
        if entry.file_type().is_file() {
            let metadata = entry.metadata().with_context(|| format!("looking at {}", shown(entry.path())))?;
            let times = [metadata.accessed().ok(), metadata.modified().ok().filter(|_| !is_package(entry.path()))];
            let used = times.into_iter().flatten().max().unwrap_or(SystemTime::UNIX_EPOCH);
            found.push(Item { path: entry.path().to_owned(), bytes: metadata.len(), used });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::FileTimes;

    /// A package of a thousand bytes that was needed so many days ago.
    fn package(folder: &Path, name: &str, days: u64) -> PathBuf {
        let path = folder.join("tiny-0123456789abcdef/packages").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, [0; 1000]).unwrap();
        let used = SystemTime::now() - Duration::from_secs(days * 86400);
        fs::File::options().write(true).open(&path).unwrap().set_times(FileTimes::new().set_accessed(used)).unwrap();
        path
    }

    fn cache() -> (tempfile::TempDir, [PathBuf; 3]) {
        let folder = tempfile::tempdir().unwrap();
        let packages =
            [package(folder.path(), "new.rpm", 1), package(folder.path(), "old.rpm", 30), package(folder.path(), "older.rpm", 60)];
        let repodata = folder.path().join("tiny-0123456789abcdef/repodata");
        fs::create_dir_all(&repodata).unwrap();
        fs::write(repodata.join("repomd.xml"), [0; 100]).unwrap();
        fs::create_dir_all(folder.path().join(VIEWS).join("view-left-behind")).unwrap();
        (folder, packages)
    }

    #[test]
    fn what_was_not_needed_for_longest_goes_first_until_the_rest_fits() {
        let (folder, [new, old, older]) = cache();
        assert_eq!(Shelf::look(folder.path()).unwrap().bytes, 3100);
        let limit = Limit { bytes: Some(1500), age: None };
        let pruned = Shelf::prune(folder.path(), limit, &Report::silent()).unwrap();
        assert_eq!(pruned, Pruned { packages: 2, repositories: 0, bytes: 2000 });
        assert_eq!((new.exists(), old.exists(), older.exists()), (true, false, false));
        assert!(!folder.path().join(VIEWS).join("view-left-behind").exists(), "a killed build's view is swept");
    }

    #[test]
    fn what_is_older_than_asked_goes_and_metadata_go_with_the_last_package() {
        let (folder, [new, old, older]) = cache();
        let days = |days: u64| Limit { bytes: None, age: Some(Duration::from_secs(days * 86400)) };
        assert_eq!(Shelf::prune(folder.path(), days(45), &Report::silent()).unwrap().packages, 1);
        assert_eq!((new.exists(), old.exists(), older.exists()), (true, true, false));
        let nothing = Limit { bytes: Some(0), age: None };
        let pruned = Shelf::prune(folder.path(), nothing, &Report::silent()).unwrap();
        assert_eq!((pruned.packages, pruned.repositories), (2, 1));
        assert_eq!(Shelf::look(folder.path()).unwrap().bytes, 0);
    }

    #[test]
    fn a_cache_that_is_not_there_holds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let nowhere = folder.path().join("nowhere");
        assert_eq!(Shelf::look(&nowhere).unwrap(), Shelf::default());
        assert_eq!(Shelf::prune(&nowhere, Limit::default(), &Report::silent()).unwrap(), Pruned::default());
    }
}
