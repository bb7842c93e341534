//! Adding to the shared cache: metadata, packages, and links in the view of a build.

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use std::fs;
use std::path::{Path, PathBuf};

use super::paths::{PACKAGES, downloaded, repository};
use super::{FillLock, Programs, SHARED, entries};
use crate::error::Result;
use crate::packages::events::TransactionPlan;
use crate::private::{self, display_path};
use crate::sandbox::remove_tree;

impl FillLock<'_> {
    /// Gives programs from packages a copy of the shared metadata, and read-only links to the
    /// shared packages.
    ///
    /// Solver caches are left out: other programs wrote them, and nothing verifies them.
    pub(super) fn prepare(&self) -> Result<()> {
        let (Some(incoming), Programs::OfPackages { repositories }) =
            (&self.cache.incoming, &self.cache.programs)
        else {
            return Ok(());
        };
        clear(incoming)?;
        let used = |id: &str| {
            repositories.is_empty() || repositories.iter().any(|repository| repository == id)
        };
        for entry in entries(&self.cache.shared)? {
            let name = entry.file_name();
            if !repository(&name).is_some_and(used) || !entry.path().is_dir() {
                continue;
            }
            let (from, to) = (entry.path(), incoming.join(&name));
            place_metadata(&from, &to, copy_unless_solver_cache)?;
            let packages = from.join(PACKAGES);
            fs::create_dir_all(to.join(PACKAGES))
                .with_context(|| format!("creating {}", display_path(&to)))?;
            for package in if packages.is_dir() { entries(&packages)? } else { Vec::new() } {
                let below = Path::new(&name).join(PACKAGES).join(package.file_name());
                std::os::unix::fs::symlink(Path::new(SHARED).join(&below), incoming.join(&below))
                    .with_context(|| format!("linking {}", below.display()))?;
            }
        }
        Ok(())
    }

    /// Copies a downloaded file into the shared cache, and returns its path there. Programs from
    /// packages may have replaced it with anything, so links are not followed and the file is
    /// copied. It is verified before it is used.
    pub(in crate::packages) fn take_over(&self, below: &Path) -> Result<PathBuf> {
        let shared = self.cache.shared.join(below);
        let Some(incoming) = self.cache.open.as_ref().and_then(|open| open.incoming.as_ref())
        else {
            return Ok(shared);
        };
        let Some(mut file) = private::regular(incoming, below)? else { return Ok(shared) };
        let directory = shared
            .parent()
            .with_context(|| format!("copying {} into the package cache", below.display()))?;
        fs::create_dir_all(directory)
            .with_context(|| format!("creating {}", display_path(directory)))?;
        let keeping = || format!("copying {} into the package cache", below.display());
        let mut copy = tempfile::NamedTempFile::new_in(directory).with_context(keeping)?;
        crate::files::copy(&mut file, copy.as_file_mut()).with_context(keeping)?;
        copy.persist(&shared).with_context(keeping)?;
        Ok(shared)
    }

    /// Fills the view with the repositories' current metadata and the plan's packages.
    ///
    /// # Errors
    /// If a file cannot be linked.
    pub(in crate::packages) fn share(&self, plan: &TransactionPlan) -> Result<()> {
        self.clear()?;
        for entry in entries(self.cache.downloads())? {
            let name = entry.file_name();
            if repository(&name)
                .is_some_and(|id| plan.repositories.iter().any(|repository| repository.id == id))
            {
                place_metadata(&entry.path(), &self.cache.view.join(name), link)?;
            }
        }
        for package in &plan.install {
            if let Some(below) =
                package.path.as_deref().and_then(|path| downloaded(Path::new(path)))
            {
                self.link(&self.take_over(below)?, below)?;
            }
        }
        Ok(())
    }

    /// Links one file of the cache into the view and marks it as used.
    pub(in crate::packages) fn link(&self, file: &Path, below: &Path) -> Result<()> {
        let to = self.cache.view.join(below);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)
                .with_context(|| format!("creating {}", display_path(parent)))?;
        }
        // The access time records the last use, for pruning. Mount options may suppress the
        // kernel's own updates, and librepo uses the modification time.
        utimensat(
            AT_FDCWD,
            file,
            &TimeSpec::UTIME_NOW,
            &TimeSpec::UTIME_OMIT,
            UtimensatFlags::NoFollowSymlink,
        )
        .with_context(|| format!("marking {} as used", display_path(file)))?;
        link(file, &to)
    }

    /// Empties the view.
    pub(in crate::packages) fn clear(&self) -> Result<()> {
        clear(&self.cache.view)
    }
}

/// Empties a directory.
fn clear(directory: &Path) -> Result<()> {
    entries(directory)?.iter().try_for_each(|entry| Ok(remove_tree(&entry.path())?))
}

/// Copies a file, unless it is a solver cache.
fn copy_unless_solver_cache(from: &Path, to: &Path) -> Result<()> {
    if from.extension().is_some_and(|end| end == "solv" || end == "solvx") {
        return Ok(());
    }
    copy(from, to)
}

/// Applies `place` to everything except packages, directory by directory.
fn place_metadata(from: &Path, to: &Path, place: fn(&Path, &Path) -> Result<()>) -> Result<()> {
    let kind = from
        .symlink_metadata()
        .with_context(|| format!("examining {}", display_path(from)))?
        .file_type();
    if kind.is_file() {
        return place(from, to);
    }
    if !kind.is_dir() || from.file_name().is_some_and(|name| name == PACKAGES) {
        return Ok(());
    }
    fs::create_dir_all(to).with_context(|| format!("creating {}", display_path(to)))?;
    for entry in entries(from)? {
        place_metadata(&entry.path(), &to.join(entry.file_name()), place)?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let copying = || format!("copying {} to {}", display_path(from), display_path(to));
    let mut source = crate::files::open(from).with_context(copying)?;
    let mut target = fs::File::create(to).with_context(copying)?;
    crate::files::copy(&mut source, &mut target).map(|_| ()).with_context(copying)
}

/// Creates a hard link, or a copy if the file system has no hard links.
fn link(from: &Path, to: &Path) -> Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(error)
            if matches!(
                error.raw_os_error().map(Errno::from_raw),
                Some(Errno::EPERM | Errno::EMLINK | Errno::EXDEV | Errno::EOPNOTSUPP)
            ) =>
        {
            copy(from, to)
        }
        Err(error) => Err(error)
            .with_context(|| format!("linking {} to {}", display_path(from), display_path(to))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::cache::Cache;
    use crate::private::VIEWS;
    use crate::report::Report;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn programs_from_packages_get_copies_and_only_their_plain_files_are_copied_back() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("cache");
        let repo = Path::new("tiny-0123456789abcdef");
        fs::create_dir_all(path.join(VIEWS)).unwrap();
        fs::create_dir_all(path.join(repo).join("repodata")).unwrap();
        fs::create_dir_all(path.join(repo).join(PACKAGES)).unwrap();
        for (name, content) in
            [("repodata/repomd.xml", "index"), ("tiny.solv", "solver"), ("packages/old.rpm", "old")]
        {
            fs::write(path.join(repo).join(name), content).unwrap();
        }
        let cache =
            Cache::open(&path, Programs::OfPackages { repositories: vec!["tiny".into()] }).unwrap();
        let filling = cache.fill(&Report::silent()).unwrap();
        let incoming = cache.downloads().join(repo);
        assert_eq!(fs::read_to_string(incoming.join("repodata/repomd.xml")).unwrap(), "index");
        assert!(
            incoming.join("repodata/repomd.xml").metadata().unwrap().ino()
                != path.join(repo).join("repodata/repomd.xml").metadata().unwrap().ino()
        );
        assert!(!incoming.join("tiny.solv").exists());
        let link = Path::new(SHARED).join(repo).join("packages/old.rpm");
        assert_eq!(fs::read_link(incoming.join("packages/old.rpm")).unwrap(), link);
        // Files that the programs leave there.
        fs::write(base.path().join("host"), "the host's").unwrap();
        fs::write(incoming.join("packages/new.rpm"), "new").unwrap();
        fs::set_permissions(
            incoming.join("packages/new.rpm"),
            std::os::unix::fs::PermissionsExt::from_mode(0o4755),
        )
        .unwrap();
        std::os::unix::fs::symlink(base.path().join("host"), incoming.join("packages/link.rpm"))
            .unwrap();
        for name in ["new.rpm", "link.rpm", "old.rpm", "missing.rpm"] {
            filling.take_over(&repo.join(PACKAGES).join(name)).unwrap();
        }
        let shared = path.join(repo).join(PACKAGES);
        assert_eq!(fs::read_to_string(shared.join("new.rpm")).unwrap(), "new");
        assert_eq!(shared.join("new.rpm").metadata().unwrap().mode() & 0o7000, 0);
        assert!(!shared.join("link.rpm").exists() && !shared.join("missing.rpm").exists());
        assert_eq!(fs::read_to_string(shared.join("old.rpm")).unwrap(), "old");
        drop(filling);
        drop(cache);
        assert_eq!(
            fs::read_dir(path.join(VIEWS))
                .unwrap()
                .filter(|entry| entry.as_ref().unwrap().path().is_dir())
                .count(),
            0
        );
    }
}
