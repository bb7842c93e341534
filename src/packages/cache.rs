//! The package cache, shared by all builds of a host. One at a time fills it; each installs from a view of its own, so that
//! nobody waits for another's installation and no repository changes under it.
//!
//! The locks are the kernel's and end with their holder: a package manager's own, a process id in a file, means nothing to a
//! build in another pid namespace.

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, Flock, FlockArg, OFlag};
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::digest;
use super::events::TransactionPlan;
use super::private;
use crate::error::{Result, exit_code};
use crate::process;
use crate::report::Report;
use crate::sandbox::{Access, Mount, remove_tree};

/// Where the package cache is inside the sandbox.
pub(super) const CACHE: &str = "/osimg/cache";
/// Where this build's view of it is inside the sandbox while packages are installed.
const VIEW: &str = "/osimg/view";
/// The views of the builds that run.
pub(super) const VIEWS: &str = "views";
/// The folder of packages within a repository's.
pub(super) const PACKAGES: &str = "packages";
/// Held by who adds to the cache or takes from it.
const LOCK: &str = ".lock";

/// A package cache that this process uses.
///
/// It is opened once and used through the descriptor: who moves the directory, or puts a link in its place, does not lead us
/// elsewhere. In the directory itself only its owner can write.
#[derive(Debug)]
pub struct Cache {
    path: PathBuf,
    folder: PathBuf,
    view: PathBuf,
    open: Option<Open>,
}

/// The descriptors of a cache in use.
#[derive(Debug)]
struct Open {
    folder: File,
    /// Its lock marks the view as used.
    view: Flock<File>,
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
    pub fn open(path: &Path) -> Result<Self> {
        let directory = private::make(path)?;
        let folder = private::through(&directory);
        let views = folder.join(VIEWS);
        match DirBuilder::new().mode(0o700).create(&views) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("making {VIEWS} in the package cache {}", path.display()));
            }
            _ => {}
        }
        // Between its making and its locking, a view must not look like one that a killed build left.
        let _making = lock_file(&views.join(LOCK), None)?;
        sweep(&views);
        let view = tempfile::Builder::new().prefix("view-").tempdir_in(&views).context("making a view of the package cache")?.keep();
        let in_use = File::open(&view).with_context(|| format!("opening {}", view.display()))?;
        let in_use = Flock::lock(in_use, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, error)| error)
            .with_context(|| format!("locking {}", view.display()))?;
        let open = Open { folder: directory, view: in_use };
        Ok(Self { path: path.to_owned(), folder, view, open: Some(open) })
    }

    /// A cache for `osimg plan`: nothing is made, and the name of its view is not known.
    #[must_use]
    pub fn unopened(path: &Path) -> Self {
        Self { path: path.to_owned(), folder: path.to_owned(), view: path.join(VIEWS).join("view-XXXXXX"), open: None }
    }

    /// Where the cache is, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path of this process to the directory that all builds share.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A path of this process to this build's view.
    #[must_use]
    pub(super) fn view(&self) -> &Path {
        &self.view
    }

    /// The shared directory at the cache's place in the sandbox, for phases in which no package code runs.
    pub(super) fn shared_mount(&self) -> Result<Mount> {
        let (target, access) = (CACHE.into(), Access::ReadWrite);
        let Some(open) = &self.open else { return Ok(Mount::Bind { source: self.path.clone(), target, access }) };
        opened(&open.folder, target, access)
    }

    /// The view at the cache's place in the sandbox. Its files are other names of the shared ones, so they are mounted read-only.
    ///
    /// Package managers also write there (locks, notes on what expired, solver caches). That goes into a private tmpfs, which
    /// ends with the sandbox, so package code can leave nothing for another build.
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

    /// Waits until nobody else adds to the cache.
    ///
    /// # Errors
    /// When the lock cannot be had, or a signal asks us to stop.
    pub fn fill(&self, report: &Report) -> Result<Filling<'_>> {
        Ok(Filling { cache: self, _lock: lock(&self.folder, &self.path, report)? })
    }

    /// The cached files of the plan that are not what its checksums say, which are removed: they will be fetched again.
    ///
    /// # Errors
    /// When a file cannot be read or removed.
    pub(super) fn discard_damaged(&self, plan: &TransactionPlan, report: &Report) -> Result<usize> {
        let _filling = self.fill(report)?;
        let mut found = 0;
        for package in &plan.install {
            let below = package.path.as_deref().and_then(|path| below(Path::new(path)));
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

impl Filling<'_> {
    /// Makes the view from the repositories' metadata and the plan's packages, as they are now.
    ///
    /// # Errors
    /// When a file cannot be linked.
    pub(super) fn share(&self, plan: &TransactionPlan) -> Result<()> {
        self.clear()?;
        for entry in entries(&self.cache.folder)? {
            let name = entry.file_name();
            if repository(&name).is_some_and(|id| plan.repositories.iter().any(|repository| repository.id == id)) {
                link_metadata(&entry.path(), &self.cache.view.join(name))?;
            }
        }
        for package in &plan.install {
            if let Some(below) = package.path.as_deref().and_then(|path| below(Path::new(path))) {
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

/// The lock over a cache, whose directory is used through `folder` and called `path`.
pub(super) fn lock(folder: &Path, path: &Path, report: &Report) -> Result<Flock<File>> {
    lock_file(&folder.join(LOCK), Some((report, path)))
}

fn lock_file(path: &Path, told: Option<(&Report, &Path)>) -> Result<Flock<File>> {
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let options = File::options().read(true).write(true).create(true).truncate(false).custom_flags(flags).open(path);
    let mut file = options.with_context(|| format!("opening {}", path.display()))?;
    if !file.metadata().with_context(|| format!("looking at {}", path.display()))?.is_file() {
        anyhow::bail!("opening {}: it is not a regular file", path.display());
    }
    let mut told = told;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((file, Errno::EWOULDBLOCK)) => file,
            Err((_, error)) => return Err(error).with_context(|| format!("locking {}", path.display())),
        };
        if let Some((report, path)) = told.take() {
            report.note(&format!("waiting for another build that fills the package cache {}", path.display()));
        }
        process::pause(Duration::from_millis(50))?;
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

/// A path of the sandbox, below the cache; `None` when it is elsewhere, in a directory of this host.
pub(super) fn below(path: &Path) -> Option<&Path> {
    let below = path.strip_prefix(CACHE).ok()?;
    below.components().all(|part| matches!(part, Component::Normal(_))).then_some(below)
}

/// The id of the repository that an entry of the cache belongs to: the dnfs name directories and solver caches by it. `None` for
/// what others keep there.
pub(super) fn repository(entry: &OsStr) -> Option<&str> {
    let name = entry.to_str()?;
    let is_hash = |text: &str| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if let Some((id, _)) = name.rsplit_once('-').filter(|(_, hash)| is_hash(hash)) {
        return Some(id);
    }
    let id = name.strip_suffix(".solv").or_else(|| name.strip_suffix(".solvx")?.rsplit_once('-').map(|(id, _)| id))?;
    Some(id.rsplit_once('-').filter(|(_, hash)| is_hash(hash)).map_or(id, |(id, _)| id))
}

/// The mount of an open directory.
fn opened(directory: &File, target: PathBuf, access: Access) -> Result<Mount> {
    let source = fs::read_link(private::through(directory)).context("looking for the package cache")?;
    let meta = directory.metadata().with_context(|| format!("looking at {}", source.display()))?;
    Ok(Mount::Opened { source, target, access, inode: (meta.dev(), meta.ino()) })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_known_by_the_names_of_its_files() {
        for name in ["my-repo-0123456789abcdef", "my-repo.solv", "my-repo-filenames.solvx", "my-repo-0123456789abcdef.solv"] {
            assert_eq!(repository(OsStr::new(name)), Some("my-repo"), "{name}");
        }
        for name in ["pieces", VIEWS, LOCK, "expired_repos.json", "my-repo-locked"] {
            assert_eq!(repository(OsStr::new(name)), None, "{name}");
        }
    }
}
