//! The files that osimg put into the directory of a version. Everything else is kept.

use anyhow::Context;
use nix::sys::stat::SFlag;
use std::collections::BTreeSet;
use std::path::Path;

use super::layout::{KERNEL, RAMDISK, STAGE2, STAGE2_TOO, SUMS};
use super::store::WebTree;
use crate::error::{ExitCode, Failure, Result};
use crate::naming;
use crate::private;
use crate::registry::directory::{check_mounts, sync};
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
        let Some(home) = tree.home(stem)? else {
            let is_there = tree.stat(stem)?.is_some();
            return Ok(if is_there { vec![stem.to_owned()] } else { Vec::new() });
        };
        let found = home
            .walk(|directory| self.has_below(directory))
            .with_context(|| format!("reading {}", tree.shown(stem).display()))?;
        let is_own = |path: &Path, kind| {
            if kind == SFlag::S_IFDIR { self.has_below(path) } else { self.has(path) }
        };
        let others = found.into_iter().filter(|(path, kind)| !is_own(path, *kind));
        Ok(others.map(|(path, _)| Path::new(stem).join(path).display().to_string()).collect())
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
        let replacing = || format!("replacing {}", tree.shown(stem).display());
        check_mounts(tree.directory.handle(), replacing, |path| path.starts_with(stem))?;
        let others = self.others(tree, stem)?;
        if others.is_empty() {
            return Ok(());
        }
        Err(Failure::new(
            ExitCode::Registry,
            format!("{}: osimg did not put these files there: {}", replacing(), others.join(", ")),
        )
        .hint("move them away")
        .into())
    }

    /// Removes these files from the directory, the manifest first: without it, there is no version.
    pub(super) fn remove(&self, tree: &WebTree, stem: &str) -> Result<()> {
        let doing = || format!("removing {}", tree.shown(stem).display());
        let Some(home) = tree.home(stem)? else { return Ok(()) };
        let mut own = home.walk(|directory| self.has_below(directory)).with_context(doing)?;
        let is_manifest = |path: &Path| path == Path::new(&naming::manifest(stem));
        own.sort_by_key(|(path, _)| !is_manifest(path));
        for (path, _) in own.iter().filter(|(path, kind)| *kind != SFlag::S_IFDIR && self.has(path))
        {
            private::remove(&home, path).with_context(doing)?;
        }
        for (path, _) in own.iter().rev().filter(|(path, _)| self.has_below(path)) {
            // It stays if it contains other files.
            let _ = private::remove_directory(&home, path);
        }
        sync(tree.directory.handle())
    }
}
