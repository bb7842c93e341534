//! The package cache, shared by all builds of a host. One at a time fills it; each installs from a view of its own, so that
//! nobody waits for another's installation and no repository changes under it.
//!
//! The locks are the kernel's and end with their holder: a package manager's own, a process id in a file, means nothing to a
//! build in another pid namespace.

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, Flock, FlockArg};
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use std::fs::{self, File};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::digest;
use super::events::{PlannedPackage, TransactionPlan};
use crate::error::{Result, exit_code};
use crate::process;
use crate::report::Report;
use crate::sandbox::remove_tree;

/// Where the package cache is inside the sandbox.
pub(super) const CACHE: &str = "/osimg/cache";
/// The views of the builds that run.
pub(super) const VIEWS: &str = "views";
/// The folder of packages within a repository's.
pub(super) const PACKAGES: &str = "packages";
/// Held by who adds to the cache or takes from it.
const LOCK: &str = ".lock";

/// A package cache that this process uses.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    view: PathBuf,
    /// Says to others that the view is in use.
    _in_use: Option<Flock<File>>,
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
    /// When the folder cannot be written.
    pub fn open(folder: &Path) -> Result<Self> {
        let views = folder.join(VIEWS);
        fs::create_dir_all(&views).with_context(|| format!("making the package cache {}", folder.display()))?;
        // Between its making and its locking, a view must not look like one that a killed build left.
        let _making = lock_file(&views.join(LOCK), None)?;
        sweep(&views);
        let view = tempfile::Builder::new().prefix("view-").tempdir_in(&views).context("making a view of the package cache")?.keep();
        let in_use = File::open(&view).with_context(|| format!("opening {}", view.display()))?;
        let in_use = Flock::lock(in_use, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, error)| error)
            .with_context(|| format!("locking {}", view.display()))?;
        Ok(Self { folder: folder.to_owned(), view, _in_use: Some(in_use) })
    }

    /// A cache that is only spoken of: nothing is made, and what its view will be called is not known.
    #[must_use]
    pub fn unopened(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), view: folder.join(VIEWS).join("view-XXXXXX"), _in_use: None }
    }

    /// The folder that all builds share.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder that this build alone sees: what its transaction needs, and nobody changes.
    #[must_use]
    pub(super) fn view(&self) -> &Path {
        &self.view
    }

    /// Waits until nobody else adds to the cache.
    ///
    /// # Errors
    /// When the lock cannot be had, or a signal asks us to stop.
    pub fn fill(&self, report: &Report) -> Result<Filling<'_>> {
        Ok(Filling { cache: self, _lock: lock(&self.folder, report)? })
    }

    /// The cached files of the plan that are not what its checksums say, which are removed: they will be fetched again.
    ///
    /// # Errors
    /// When a file cannot be read or removed.
    pub(super) fn discard_damaged(&self, plan: &TransactionPlan, report: &Report) -> Result<usize> {
        let _filling = self.fill(report)?;
        let mut found = 0;
        for package in &plan.install {
            let (Some(below), Some(checksum)) = (below_cache(package), &package.checksum) else { continue };
            let file = self.folder.join(below);
            if file.is_file() && !digest::holds(&file, checksum, package.size)? {
                fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
                report.note(&format!("{} is not what the repository's metadata say; fetching it again", file.display()));
                found += 1;
            }
        }
        Ok(found)
    }
}

impl Filling<'_> {
    /// Makes the view from the repositories' metadata and the plan's packages, as they are now.
    ///
    /// # Errors
    /// When a file cannot be linked.
    pub(super) fn share(&self, plan: &TransactionPlan) -> Result<()> {
        self.clear()?;
        for entry in entries(&self.cache.folder)? {
            let name = entry.file_name();
            if name != VIEWS && name != LOCK {
                link_metadata(&entry.path(), &self.cache.view.join(name))?;
            }
        }
        for package in &plan.install {
            if let Some(below) = below_cache(package) {
                self.link(&self.cache.folder.join(below), below)?;
            }
        }
        Ok(())
    }

    /// Puts one file of the cache into the view and marks it as used.
    pub(super) fn link(&self, file: &Path, below: &Path) -> Result<()> {
        let to = self.cache.view.join(below);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
        }
        // The time of access says when it was needed last, which is what pruning goes by. Mount options may hold back the
        // kernel's own mark, and the time of change is part of librepo's.
        utimensat(AT_FDCWD, file, &TimeSpec::UTIME_NOW, &TimeSpec::UTIME_OMIT, UtimensatFlags::NoFollowSymlink)
            .with_context(|| format!("marking {} as used", file.display()))?;
        link(file, &to)
    }

    /// Empties the view.
    pub(super) fn clear(&self) -> Result<()> {
        for entry in entries(&self.cache.view)? {
            remove_tree(&entry.path())?;
        }
        Ok(())
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        // What stays is swept by the next build.
        let _ = remove_tree(&self.view);
    }
}

/// The lock over a cache's folder.
pub(super) fn lock(folder: &Path, report: &Report) -> Result<Flock<File>> {
    lock_file(&folder.join(LOCK), Some((report, folder)))
}

fn lock_file(path: &Path, told: Option<(&Report, &Path)>) -> Result<Flock<File>> {
    let options = File::options().read(true).write(true).create(true).truncate(false).open(path);
    let mut file = options.with_context(|| format!("opening {}", path.display()))?;
    let mut told = told;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((file, Errno::EWOULDBLOCK)) => file,
            Err((_, error)) => return Err(error).with_context(|| format!("locking {}", path.display())),
        };
        if let Some((report, folder)) = told.take() {
            report.note(&format!("waiting for another build that fills the package cache {}", folder.display()));
        }
        process::check_stop()?;
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Removes the views of builds that were killed; one that cannot be removed is no reason not to build.
pub(super) fn sweep(views: &Path) {
    for entry in fs::read_dir(views).into_iter().flatten().filter_map(Result::ok) {
        let path = entry.path();
        if !path.is_dir() {
            continue;
        }
        if let Ok(Ok(_unused)) = File::open(&path).map(|folder| Flock::lock(folder, FlockArg::LockExclusiveNonblock)) {
            let _ = remove_tree(&path);
        }
    }
}

/// The entries of a folder, in no order.
pub(super) fn entries(folder: &Path) -> Result<Vec<fs::DirEntry>> {
    fs::read_dir(folder)
        .and_then(|entries| entries.collect::<Result<Vec<_>, _>>())
        .with_context(|| format!("reading the folder {}", folder.display()))
}

/// The path of a planned package below the cache, when it is there at all and not in a folder of this host.
fn below_cache(package: &PlannedPackage) -> Option<&Path> {
    let below = Path::new(package.path.as_deref()?).strip_prefix(CACHE).ok()?;
    below.components().all(|part| matches!(part, Component::Normal(_))).then_some(below)
}

/// Links everything but packages, folder by folder.
fn link_metadata(from: &Path, to: &Path) -> Result<()> {
    let kind = from.symlink_metadata().with_context(|| format!("looking at {}", from.display()))?.file_type();
    if kind.is_file() {
        return link(from, to);
    }
    if !kind.is_dir() || from.file_name().is_some_and(|name| name == PACKAGES) {
        return Ok(());
    }
    fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    for entry in entries(from)? {
        link_metadata(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// A second name for a file; a copy where the file system knows no such thing.
fn link(from: &Path, to: &Path) -> Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(error)
            if matches!(
                error.raw_os_error().map(Errno::from_raw),
                Some(Errno::EPERM | Errno::EMLINK | Errno::EXDEV | Errno::EOPNOTSUPP)
            ) =>
        {
            fs::copy(from, to).map(|_| ()).with_context(|| format!("copying {} to {}", from.display(), to.display()))
        }
        Err(error) => Err(error).with_context(|| format!("linking {} to {}", from.display(), to.display())),
    }
}

/// Whether fetching packages anew may mend it: they are not what was agreed.
pub(super) fn may_be_damage(error: &anyhow::Error) -> bool {
    matches!(exit_code(error), crate::error::ExitCode::Trust | crate::error::ExitCode::Transaction)
}
