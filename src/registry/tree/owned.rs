//! The files that osimg put into the directory of a version. Everything else is kept.

use anyhow::Context;
use nix::fcntl::AT_FDCWD;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::layout::{KERNEL, RAMDISK, STAGE2, STAGE2_TOO, SUMS};
use super::store::WebTree;
use crate::error::{ExitCode, Failure, Result};
use crate::naming;
use crate::openat::{directory_at, fd_path};
use crate::registry::directory::sync;
use crate::set::{References, Role};

/// Paths in the directory of a version.
pub(super) struct Owned(BTreeSet<String>);

impl Owned {
    /// The paths that the manifest lists, with their side files.
    pub(super) fn listed<'a>(stem: &str, sets: impl Iterator<Item = &'a References>) -> Self {
        let manifest = naming::manifest(stem);
        let fixed = [".treeinfo", STAGE2_TOO].into_iter().chain(SUMS).map(str::to_owned);
        let mut paths: BTreeSet<String> =
            fixed.chain([manifest]).chain(naming::documents(stem)).collect();
        for set in sets {
            let tarball = &set.tarball.id;
            paths.extend(Role::ALL.into_iter().filter_map(|role| Some(set.role(role)?.id.clone())));
            paths.extend(naming::CHECKSUMS.iter().map(|suffix| format!("{tarball}{suffix}")));
            paths.extend(naming::signatures(tarball));
        }
        Self(paths)
    }

    /// The same, and all names that a file of this version can have.
    pub(super) fn with_reserved_names(mut self, stem: &str) -> Self {
        self.0.extend([KERNEL, RAMDISK, STAGE2].map(str::to_owned));
        self.0.extend(naming::suffixes().map(|suffix| format!("{stem}{suffix}")));
        self
    }

    /// The other files and directories in the directory of the version, by their paths in the tree.
    pub(super) fn others(&self, tree: &WebTree, stem: &str) -> Result<Vec<String>> {
        let Ok(found) = tree.through(stem).symlink_metadata() else { return Ok(Vec::new()) };
        if !found.is_dir() {
            return Ok(vec![stem.to_owned()]);
        }
        let doing = || format!("reading {}", tree.shown(stem).display());
        let open = directory_at(AT_FDCWD, &tree.through(stem)).with_context(doing)?;
        let home = fd_path(&open).join(".");
        let mut others = Vec::new();
        let mut walk = walkdir::WalkDir::new(&home).min_depth(1).sort_by_file_name().into_iter();
        while let Some(entry) = walk.next() {
            let entry = entry.with_context(doing)?;
            let path = entry.path().strip_prefix(&home).with_context(doing)?;
            let is_directory = entry.file_type().is_dir();
            let is_own = if is_directory { self.has_below(path) } else { self.has(path) };
            if is_own {
                continue;
            }
            others.push(Path::new(stem).join(path).display().to_string());
            if is_directory {
                walk.skip_current_dir();
            }
        }
        Ok(others)
    }

    fn has(&self, path: &Path) -> bool {
        path.to_str().is_some_and(|path| self.0.contains(path))
    }

    fn has_below(&self, directory: &Path) -> bool {
        self.0
            .iter()
            .any(|path| Path::new(path).ancestors().skip(1).any(|above| above == directory))
    }

    /// Refuses to replace the directory of a version that contains anything else.
    pub(super) fn check(&self, tree: &WebTree, stem: &str) -> Result<()> {
        let others = self.others(tree, stem)?;
        if others.is_empty() {
            return Ok(());
        }
        let path = tree.shown(stem);
        Err(Failure::new(
            ExitCode::Registry,
            format!(
                "replacing {}: osimg did not put these files there: {}",
                path.display(),
                others.join(", ")
            ),
        )
        .hint("move them away")
        .into())
    }

    /// Removes these files from the directory, the manifest first: without it, there is no version.
    pub(super) fn remove(&self, tree: &WebTree, stem: &str) -> Result<()> {
        let doing = |path: &str| format!("removing {}", tree.shown(stem).join(path).display());
        let open = directory_at(AT_FDCWD, &tree.through(stem)).with_context(|| doing("."))?;
        let home = fd_path(&open).join(".");
        let manifest = naming::manifest(stem);
        for path in std::iter::once(&manifest).chain(&self.0) {
            let gone = || home.join(path).symlink_metadata().map_or(true, |found| found.is_dir());
            if !gone() {
                std::fs::remove_file(home.join(path)).with_context(|| doing(path))?;
            }
        }
        let above =
            |path: &String| Path::new(path).ancestors().skip(1).map(PathBuf::from).collect();
        let directories: BTreeSet<PathBuf> =
            self.0.iter().flat_map(above as fn(&String) -> Vec<PathBuf>).collect();
        for directory in directories.iter().rev().filter(|path| !path.as_os_str().is_empty()) {
            // It stays if it contains other files.
            let _ = std::fs::remove_dir(home.join(directory));
        }
        sync(tree.directory.handle())
    }
}
