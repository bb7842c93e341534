//! The package cache that all builds of a host share. Only one build at a time adds to it. Each
//! build installs from a separate view, so that it does not wait for other installations and its
//! repositories do not change.
//!
//! The locks are kernel locks and end with their process. Package managers' own locks are process
//! ids in files, which mean nothing to a build in another pid namespace.

mod filling;
mod lock;
mod paths;

use anyhow::Context;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::digest;
use super::events::TransactionPlan;
use crate::error::{Result, exit_code};
use crate::openat::fd_path;
use crate::private::{self, VIEWS, display_path};
use crate::report::Report;
use crate::sandbox::{Access, Mount, remove_tree};
use lock::{LOCK, lock_file};
pub(super) use lock::{lock, sweep};
pub(super) use paths::{CACHE, FILES, LOCKED, PACKAGES, below, downloaded, is_own, repository};

/// The path of this build's view in the sandbox during the installation.
const VIEW: &str = "/osimg/view";
/// The path of the shared packages in the sandbox of tools that must not write to them.
const SHARED: &str = "/osimg/shared";

/// The programs that use a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Programs {
    /// The host's, or those of a tree that the user chose. Their downloads are shared directly.
    Trusted,
    /// Those of a root made from packages. Their downloads are kept apart, and only packages are
    /// copied to the shared cache.
    OfPackages {
        /// The repositories that they use; all if there is none.
        repositories: Vec<String>,
    },
}

/// A package cache that this process uses.
///
/// It is opened once and used through its descriptor: moving the directory or replacing it by a
/// link does not redirect us. Only its owner can write to the directory.
#[derive(Debug)]
pub struct Cache {
    path: PathBuf,
    shared: PathBuf,
    view: PathBuf,
    /// The download directory for programs from packages.
    incoming: Option<PathBuf>,
    programs: Programs,
    open: Option<Open>,
}

/// The descriptors of a cache in use.
#[derive(Debug)]
struct Open {
    shared: File,
    view: File,
    incoming: Option<File>,
    /// The parent of these two directories; its lock marks them as used.
    _own: Flock<File>,
}

/// The lock that allows adding to the cache and removing from it.
#[derive(Debug)]
pub struct FillLock<'a> {
    cache: &'a Cache,
    _lock: Flock<File>,
}

impl Cache {
    /// Opens the cache with an empty view for this process. Creates it if it is missing.
    ///
    /// # Errors
    /// If the directory cannot be written, or other users can write there.
    pub fn open(path: &Path, programs: Programs) -> Result<Self> {
        let directory = private::make(path)?;
        let shared = fd_path(&directory);
        let open_views = private::make_below(&directory, VIEWS)?;
        let views = shared.join(VIEWS);
        // Before it is locked, a new view must not look like one that a killed build left behind.
        let _making = lock_file(&views.join(LOCK), None)?;
        sweep(&open_views);
        let own = tempfile::Builder::new()
            .prefix("view-")
            .tempdir_in(&views)
            .context("creating a view of the package cache")?
            .keep();
        let in_use = Flock::lock(open(&own)?, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, error)| error)
            .with_context(|| format!("locking {}", display_path(&own)))?;
        let made = |name: &str| -> Result<PathBuf> {
            let path = own.join(name);
            DirBuilder::new()
                .mode(0o700)
                .create(&path)
                .with_context(|| format!("creating {}", display_path(&path)))?;
            Ok(path)
        };
        let view = made("view")?;
        let incoming = if programs == Programs::Trusted { None } else { Some(made("incoming")?) };
        let descriptors = Open {
            shared: directory,
            view: open(&view)?,
            incoming: incoming.as_deref().map(open).transpose()?,
            _own: in_use,
        };
        Ok(Self {
            path: path.to_owned(),
            shared,
            view,
            incoming,
            programs,
            open: Some(descriptors),
        })
    }

    /// A cache for `osimg plan`: nothing is created, and the name of its view is unknown.
    #[must_use]
    pub(crate) fn unopened(path: &Path) -> Self {
        let view = path.join(VIEWS).join("view-XXXXXX/view");
        Self {
            path: path.to_owned(),
            shared: path.to_owned(),
            view,
            incoming: None,
            programs: Programs::Trusted,
            open: None,
        }
    }

    /// The path of the cache, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the shared directory, through its descriptor.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.shared
    }

    /// The path of this build's view, through its descriptor.
    #[must_use]
    pub(super) fn view(&self) -> &Path {
        &self.view
    }

    /// The path of the directory into which a phase downloads, through its descriptor.
    #[must_use]
    pub(super) fn downloads(&self) -> &Path {
        self.incoming.as_deref().unwrap_or(&self.shared)
    }

    /// Opens a regular file that a phase downloads, without following links. `None` if it does not
    /// exist.
    pub(super) fn open_download(&self, path: &Path) -> Option<File> {
        let (directory, below) = self.download(path)?;
        private::regular(directory, below).ok()?
    }

    /// Removes a file that a phase downloads, without following links. Failures are ignored.
    pub(super) fn discard_download(&self, path: &Path) {
        if let Some((directory, below)) = self.download(path) {
            let _ = private::remove(directory, below);
        }
    }

    fn download<'a>(&self, path: &'a Path) -> Option<(&File, &'a Path)> {
        let open = self.open.as_ref()?;
        Some((
            open.incoming.as_ref().unwrap_or(&open.shared),
            path.strip_prefix(self.downloads()).ok()?,
        ))
    }

    /// The mounts of a downloading phase at the cache's path: the shared directory, unless programs
    /// from packages run.
    pub(super) fn download_mounts(&self) -> Result<Vec<Mount>> {
        let (target, access) = (CACHE.into(), Access::ReadWrite);
        let Some(open) = &self.open else {
            return Ok(vec![Mount::Bind { source: self.path.clone(), target, access }]);
        };
        Ok(match &open.incoming {
            None => vec![opened(&open.shared, target, access)?],
            Some(incoming) => {
                vec![
                    opened(incoming, target, access)?,
                    opened(&open.shared, SHARED.into(), Access::ReadOnly)?,
                ]
            }
        })
    }

    /// The shared directory, mounted at the cache's path, for reading packages.
    pub(super) fn packages_mount(&self) -> Result<Mount> {
        let open = self.open.as_ref().context("reading packages in a cache that is not open")?;
        opened(&open.shared, CACHE.into(), Access::ReadOnly)
    }

    /// The view, mounted at the cache's path. Its files are hard links to the shared ones, so they
    /// are mounted read-only.
    ///
    /// Package managers also write there (locks, expiry marks, solver caches). These files go to a
    /// private tmpfs that ends with the sandbox, so that package code cannot leave anything for
    /// another build.
    pub(super) fn view_mounts(&self) -> Result<Vec<Mount>> {
        let (target, access) = (VIEW.into(), Access::ReadOnly);
        let (view, names) = match &self.open {
            Some(open) => (opened(&open.view, target, access)?, entries(&self.view)?),
            None => (Mount::Bind { source: self.view.clone(), target, access }, Vec::new()),
        };
        let mut mounts = vec![view, Mount::Tmpfs { target: CACHE.into(), mode: 0o755 }];
        mounts.extend(names.into_iter().map(|entry| Mount::Link {
            target: Path::new(CACHE).join(entry.file_name()),
            points_to: Path::new(VIEW).join(entry.file_name()),
        }));
        Ok(mounts)
    }

    /// Waits until no other build adds to the cache.
    ///
    /// # Errors
    /// If the lock fails, or a signal asks to stop.
    pub fn fill(&self, report: &Report) -> Result<FillLock<'_>> {
        let filling = FillLock { cache: self, _lock: lock(&self.shared, &self.path, report)? };
        filling.prepare()?;
        Ok(filling)
    }

    /// Removes the cached files of the plan that do not match their checksums, so that they are
    /// fetched again. Returns their number.
    ///
    /// # Errors
    /// If a file cannot be read or removed.
    pub(super) fn discard_damaged(&self, plan: &TransactionPlan, report: &Report) -> Result<usize> {
        let _filling = self.fill(report)?;
        let mut found = 0;
        for package in &plan.install {
            let below = package.path.as_deref().and_then(|path| downloaded(Path::new(path)));
            let (Some(below), Some(checksum)) = (below, &package.checksum) else { continue };
            let file = self.shared.join(below);
            if file.is_file() && !digest::matches(&file, checksum, package.size)? {
                fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
                let shown = self.path.join(below);
                report.note(&format!(
                    "{} does not match the repository's metadata; fetching it again",
                    shown.display()
                ));
                found += 1;
            }
        }
        Ok(found)
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        // The next build removes what is left.
        let _ = self.view.parent().filter(|_| self.open.is_some()).map(remove_tree);
    }
}

/// The entries of a directory, unsorted.
pub(super) fn entries(directory: &Path) -> Result<Vec<fs::DirEntry>> {
    fs::read_dir(directory)
        .and_then(|entries| entries.collect::<Result<Vec<_>, _>>())
        .with_context(|| format!("reading the directory {}", display_path(directory)))
}

/// The mount for an open directory.
fn opened(directory: &File, target: PathBuf, access: Access) -> Result<Mount> {
    let source = fs::read_link(fd_path(directory)).context("finding the package cache")?;
    let meta = directory.metadata().with_context(|| format!("examining {}", source.display()))?;
    Ok(Mount::Opened { source, target, access, inode: (meta.dev(), meta.ino()) })
}

/// Opens a directory.
fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("opening {}", display_path(path)))
}

/// Whether fetching the packages again may fix the error, because they failed a check.
pub(super) fn may_be_damage(error: &anyhow::Error) -> bool {
    matches!(exit_code(error), crate::error::ExitCode::Trust | crate::error::ExitCode::Transaction)
}
