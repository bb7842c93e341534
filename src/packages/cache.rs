//! The package cache, shared by all builds of a host. One at a time fills it; each installs from a
//! view of its own, so that nobody waits for another's installation and no repository changes under
//! it.
//!
//! The locks are the kernel's and end with their holder: a package manager's own, a process id in a
//! file, means nothing to a build in another pid namespace.

mod filling;
mod lock;
mod paths;

use anyhow::Context;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::digest;
use super::events::TransactionPlan;
use crate::error::{Result, exit_code};
use crate::private::{self, VIEWS, shown};
use crate::report::Report;
use crate::sandbox::{Access, Mount, remove_tree};
use lock::{LOCK, lock_file};
pub(super) use lock::{lock, sweep};
pub(super) use paths::{CACHE, PACKAGES, below, downloaded, repository};

/// Where this build's view of it is inside the sandbox while packages are installed.
const VIEW: &str = "/osimg/view";
/// Where the shared packages are inside the sandbox of tools that must not write to them.
const SHARED: &str = "/osimg/shared";

/// The programs that use a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Programs {
    /// The host's, or those of a tree that the user named: what they download is shared at once.
    Trusted,
    /// Those of a root that packages made: what they download stays apart, and only packages are
    /// taken over from it.
    OfPackages {
        /// The repositories that they use; all if there is none.
        repositories: Vec<String>,
    },
}

/// A package cache that this process uses.
///
/// It is opened once and used through the descriptor: who moves the directory, or puts a link in
/// its place, does not lead us elsewhere. In the directory itself only its owner can write.
#[derive(Debug)]
pub struct Cache {
    path: PathBuf,
    folder: PathBuf,
    view: PathBuf,
    /// Where packages' programs download to.
    incoming: Option<PathBuf>,
    programs: Programs,
    open: Option<Open>,
}

/// The descriptors of a cache in use.
#[derive(Debug)]
struct Open {
    folder: File,
    view: File,
    incoming: Option<File>,
    /// The directory of these two; its lock marks them as used.
    _own: Flock<File>,
}

/// The right to add to the cache and to take from it.
#[derive(Debug)]
pub struct Filling<'a> {
    cache: &'a Cache,
    _lock: Flock<File>,
}

impl Cache {
    /// Opens the cache, making it where there is none, with an empty view for this process.
    ///
    /// # Errors
    /// When the directory cannot be written, or others can write there.
    pub fn open(path: &Path, programs: Programs) -> Result<Self> {
        let directory = private::make(path)?;
        let folder = private::through(&directory);
        let views = folder.join(VIEWS);
        match DirBuilder::new().mode(0o700).create(&views) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("making {VIEWS} in the package cache {}", path.display()));
            }
            _ => {}
        }
        // Between its making and its locking, a view must not look like one that a killed build
        // left.
        let _making = lock_file(&views.join(LOCK), None)?;
        sweep(&views);
        let own = tempfile::Builder::new().prefix("view-").tempdir_in(&views).context("making a view of the package cache")?.keep();
        let in_use = Flock::lock(open(&own)?, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, error)| error)
            .with_context(|| format!("locking {}", shown(&own)))?;
        let made = |name: &str| -> Result<PathBuf> {
            let path = own.join(name);
            DirBuilder::new().mode(0o700).create(&path).with_context(|| format!("making {}", shown(&path)))?;
            Ok(path)
        };
        let view = made("view")?;
        let incoming = if programs == Programs::Trusted { None } else { Some(made("incoming")?) };
        let descriptors =
            Open { folder: directory, view: open(&view)?, incoming: incoming.as_deref().map(open).transpose()?, _own: in_use };
        Ok(Self { path: path.to_owned(), folder, view, incoming, programs, open: Some(descriptors) })
    }

    /// A cache for `osimg plan`: nothing is made, and the name of its view is not known.
    #[must_use]
    pub fn unopened(path: &Path) -> Self {
        let view = path.join(VIEWS).join("view-XXXXXX/view");
        Self { path: path.to_owned(), folder: path.to_owned(), view, incoming: None, programs: Programs::Trusted, open: None }
    }

    /// Where the cache is, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path of this process to the directory that all builds share.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.folder
    }

    /// A path of this process to this build's view.
    #[must_use]
    pub(super) fn view(&self) -> &Path {
        &self.view
    }

    /// A path of this process to the directory that a phase downloads into.
    #[must_use]
    pub(super) fn downloads(&self) -> &Path {
        self.incoming.as_deref().unwrap_or(&self.folder)
    }

    /// Opens a regular file that a phase downloads; no link is followed. `None` when there is no
    /// such file.
    pub(super) fn open_download(&self, path: &Path) -> Option<File> {
        let (directory, below) = self.download(path)?;
        private::regular(directory, below).ok()?
    }

    /// Removes a file that a phase downloads; no link is followed. What cannot be removed stays.
    pub(super) fn discard_download(&self, path: &Path) {
        if let Some((directory, below)) = self.download(path) {
            private::remove(directory, below);
        }
    }

    fn download<'a>(&self, path: &'a Path) -> Option<(&File, &'a Path)> {
        let open = self.open.as_ref()?;
        Some((open.incoming.as_ref().unwrap_or(&open.folder), path.strip_prefix(self.downloads()).ok()?))
    }

    /// What a phase that downloads has at the cache's place in the sandbox: the shared directory,
    /// unless packages' programs run.
    pub(super) fn download_mounts(&self) -> Result<Vec<Mount>> {
        let (target, access) = (CACHE.into(), Access::ReadWrite);
        let Some(open) = &self.open else { return Ok(vec![Mount::Bind { source: self.path.clone(), target, access }]) };
        Ok(match &open.incoming {
            None => vec![opened(&open.folder, target, access)?],
            Some(incoming) => {
                vec![opened(incoming, target, access)?, opened(&open.folder, SHARED.into(), Access::ReadOnly)?]
            }
        })
    }

    /// The shared directory at the cache's place in the sandbox, to look at packages.
    pub(super) fn packages_mount(&self) -> Result<Mount> {
        let open = self.open.as_ref().context("looking at packages in a cache that is not open")?;
        opened(&open.folder, CACHE.into(), Access::ReadOnly)
    }

    /// The view at the cache's place in the sandbox. Its files are other names of the shared ones,
    /// so they are mounted read-only.
    ///
    /// Package managers also write there (locks, notes on what expired, solver caches). That goes
    /// into a private tmpfs, which ends with the sandbox, so package code can leave nothing for
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
    /// When the lock cannot be taken, or a signal asks us to stop.
    pub fn fill(&self, report: &Report) -> Result<Filling<'_>> {
        let filling = Filling { cache: self, _lock: lock(&self.folder, &self.path, report)? };
        filling.prepare()?;
        Ok(filling)
    }

    /// The cached files of the plan that are not what its checksums say, which are removed: they
    /// will be fetched again.
    ///
    /// # Errors
    /// When a file cannot be read or removed.
    pub(super) fn discard_damaged(&self, plan: &TransactionPlan, report: &Report) -> Result<usize> {
        let _filling = self.fill(report)?;
        let mut found = 0;
        for package in &plan.install {
            let below = package.path.as_deref().and_then(|path| downloaded(Path::new(path)));
            let (Some(below), Some(checksum)) = (below, &package.checksum) else { continue };
            let file = self.folder.join(below);
            if file.is_file() && !digest::holds(&file, checksum, package.size)? {
                fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
                let shown = self.path.join(below);
                report.note(&format!("{} is not what the repository's metadata say; fetching it again", shown.display()));
                found += 1;
            }
        }
        Ok(found)
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        // What stays is swept by the next build.
        let _ = self.view.parent().filter(|_| self.open.is_some()).map(remove_tree);
    }
}

/// The entries of a directory, in no order.
pub(super) fn entries(folder: &Path) -> Result<Vec<fs::DirEntry>> {
    fs::read_dir(folder)
        .and_then(|entries| entries.collect::<Result<Vec<_>, _>>())
        .with_context(|| format!("reading the directory {}", shown(folder)))
}

/// The mount of an open directory.
fn opened(directory: &File, target: PathBuf, access: Access) -> Result<Mount> {
    let source = fs::read_link(private::through(directory)).context("looking for the package cache")?;
    let meta = directory.metadata().with_context(|| format!("looking at {}", source.display()))?;
    Ok(Mount::Opened { source, target, access, inode: (meta.dev(), meta.ino()) })
}

/// Opens a directory.
fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("opening {}", shown(path)))
}

/// Whether fetching packages again may mend it: they are not what was agreed.
pub(super) fn may_be_damage(error: &anyhow::Error) -> bool {
    matches!(exit_code(error), crate::error::ExitCode::Trust | crate::error::ExitCode::Transaction)
}
