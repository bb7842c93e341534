//! Paths in a cache: which belong to a repository, and which are packages.

use std::ffi::OsStr;
use std::path::{Component, Path};

use crate::private::{PIECES, VIEWS};

/// The path of the package cache in the sandbox.
pub(in crate::packages) const CACHE: &str = "/osimg/cache";
/// The subdirectory for packages in a repository's directory.
pub(in crate::packages) const PACKAGES: &str = "packages";
/// The directory of packages that a recipe names by a path in a repository.
pub(in crate::packages) const FILES: &str = "files";
/// The suffix of the directories for packages that were fetched by their path.
pub(in crate::packages) const LOCKED: &str = "-locked";

/// The path below the cache for a path in the sandbox; `None` if it is in another directory of this
/// host.
pub(in crate::packages) fn below(path: &Path) -> Option<&Path> {
    let below = path.strip_prefix(CACHE).ok()?;
    below.components().all(|part| matches!(part, Component::Normal(_))).then_some(below)
}

/// The path below the cache of a downloaded package.
///
/// Programs from packages may report any path. Only paths in a directory for packages count, so
/// that no metadata, solver cache or view is replaced or removed.
pub(in crate::packages) fn downloaded(path: &Path) -> Option<&Path> {
    let below = below(path)?;
    let first = below.iter().next()?.to_str()?;
    (below.parent()?.file_name()? == PACKAGES && first != VIEWS && !first.starts_with('.'))
        .then_some(below)
}

/// The id of the repository that an entry of the cache belongs to. dnf 4 and dnf 5 use it in the
/// names of directories and solver caches. `None` for other entries.
pub(in crate::packages) fn repository(entry: &OsStr) -> Option<&str> {
    let name = entry.to_str()?;
    let is_hash =
        |text: &str| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if let Some((id, _)) = name.rsplit_once('-').filter(|(_, hash)| is_hash(hash)) {
        return Some(id);
    }
    let id = name
        .strip_suffix(".solv")
        .or_else(|| name.strip_suffix(".solvx")?.rsplit_once('-').map(|(id, _)| id))?;
    Some(id.rsplit_once('-').filter(|(_, hash)| is_hash(hash)).map_or(id, |(id, _)| id))
}

/// Whether package managers and osimg make directories and files of this name at the top of a
/// cache. Pruning removes nothing else.
pub(in crate::packages) fn is_own(entry: &OsStr) -> bool {
    let locked = entry.to_str().is_some_and(|name| name.ends_with(LOCKED));
    let index = Path::new(entry).extension().is_some_and(|kind| kind == "json");
    repository(entry).is_some() || locked || index || entry == PIECES || entry == FILES
}

#[cfg(test)]
mod tests {
    use super::super::lock::LOCK;
    use super::*;

    #[test]
    fn only_paths_of_packages_are_accepted() {
        let at = |name: &str| downloaded(&Path::new(CACHE).join(name)).is_some();
        for name in [
            "tiny-0123456789abcdef/packages/a.rpm",
            "files/00ff/packages/a.rpm",
            "tiny-locked/packages/a.rpm",
        ] {
            assert!(at(name), "{name}");
        }
        for name in [
            "tiny.solv",
            ".lock",
            "tiny-0123456789abcdef/repodata/repomd.xml",
            "views/view-a/view/tiny/packages/a.rpm",
            "packages/../a",
        ] {
            assert!(!at(name), "{name}");
        }
        assert!(downloaded(Path::new("/srv/repo/packages/a.rpm")).is_none());
    }

    #[test]
    fn a_repository_is_recognized_by_its_file_names() {
        for name in [
            "my-repo-0123456789abcdef",
            "my-repo.solv",
            "my-repo-filenames.solvx",
            "my-repo-0123456789abcdef.solv",
        ] {
            assert_eq!(repository(OsStr::new(name)), Some("my-repo"), "{name}");
        }
        for name in ["pieces", VIEWS, LOCK, "expired_repos.json", "my-repo-locked"] {
            assert_eq!(repository(OsStr::new(name)), None, "{name}");
        }
    }
}
