//! The package cache, shared by all builds of a host. One at a time fills it; each installs from a
//! view of its own, so that nobody waits for another's installation and no repository changes under
//! it.
//!
//! The locks are the kernel's and end with their holder: a package manager's own, a process id in a
//! file, means nothing to a build in another pid namespace.

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
use super::private::{self, VIEWS, shown};
use crate::error::{Result, exit_code};
use crate::process;
use crate::report::Report;
use crate::sandbox::{Access, Mount, remove_tree};

/// Where the package cache is inside the sandbox.
pub(super) const CACHE: &str = "/osimg/cache";
/// Where this build's view of it is inside the sandbox while packages are installed.
const VIEW: &str = "/osimg/view";
/// Where the shared packages are inside the sandbox of tools that must not write to them.
const SHARED: &str = "/osimg/shared";
/// The directory of packages within a repository's.
pub(super) const PACKAGES: &str = "packages";
/// Held by who adds to the cache or takes from it.
const LOCK: &str = ".lock";

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

impl Filling<'_> {
    /// Gives packages' programs a copy of the shared metadata, and the shared packages by links
    /// that they can only read.
    ///
    /// Solver caches are left out: nothing verifies them, and other programs made them.
    fn prepare(&self) -> Result<()> {
        let (Some(incoming), Programs::OfPackages { repositories }) = (&self.cache.incoming, &self.cache.programs) else { return Ok(()) };
        clear(incoming)?;
        let used = |id: &str| repositories.is_empty() || repositories.iter().any(|repository| repository == id);
        for entry in entries(&self.cache.folder)? {
            let name = entry.file_name();
            if !repository(&name).is_some_and(used) || !entry.path().is_dir() {
                continue;
            }
            let (from, to) = (entry.path(), incoming.join(&name));
            place_metadata(&from, &to, copy_unless_solver_cache)?;
            let packages = from.join(PACKAGES);
            fs::create_dir_all(to.join(PACKAGES)).with_context(|| format!("making {}", shown(&to)))?;
            for package in if packages.is_dir() { entries(&packages)? } else { Vec::new() } {
                let below = Path::new(&name).join(PACKAGES).join(package.file_name());
                std::os::unix::fs::symlink(Path::new(SHARED).join(&below), incoming.join(&below))
                    .with_context(|| format!("linking {}", below.display()))?;
            }
        }
        Ok(())
    }

    /// Takes a downloaded file over into the shared cache, and returns its path there. Programs of
    /// packages may have put anything in its place, so no link is followed and the file is copied;
    /// whoever uses it verifies it.
    pub(super) fn take_over(&self, below: &Path) -> Result<PathBuf> {
        let shared = self.cache.folder.join(below);
        let Some(incoming) = self.cache.open.as_ref().and_then(|open| open.incoming.as_ref()) else { return Ok(shared) };
        let Some(mut file) = private::regular(incoming, below)? else { return Ok(shared) };
        let directory = shared.parent().with_context(|| format!("taking over {}", below.display()))?;
        fs::create_dir_all(directory).with_context(|| format!("making {}", shown(directory)))?;
        let keeping = || format!("copying {} into the package cache", below.display());
        let mut copy = tempfile::NamedTempFile::new_in(directory).with_context(keeping)?;
        std::io::copy(&mut file, copy.as_file_mut()).with_context(keeping)?;
        copy.persist(&shared).with_context(keeping)?;
        Ok(shared)
    }

    /// Makes the view from the repositories' metadata and the plan's packages, as they are now.
    ///
    /// # Errors
    /// When a file cannot be linked.
    pub(super) fn share(&self, plan: &TransactionPlan) -> Result<()> {
        self.clear()?;
        for entry in entries(self.cache.downloads())? {
            let name = entry.file_name();
            if repository(&name).is_some_and(|id| plan.repositories.iter().any(|repository| repository.id == id)) {
                place_metadata(&entry.path(), &self.cache.view.join(name), link)?;
            }
        }
        for package in &plan.install {
            if let Some(below) = package.path.as_deref().and_then(|path| downloaded(Path::new(path))) {
                self.link(&self.take_over(below)?, below)?;
            }
        }
        Ok(())
    }

    /// Puts one file of the cache into the view and marks it as used.
    pub(super) fn link(&self, file: &Path, below: &Path) -> Result<()> {
        let to = self.cache.view.join(below);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).with_context(|| format!("making {}", shown(parent)))?;
        }
        // The time of access says when it was needed last, which is what pruning goes by. Mount
        // options may hold back the kernel's own mark, and the time of change is part of librepo's.
        utimensat(AT_FDCWD, file, &TimeSpec::UTIME_NOW, &TimeSpec::UTIME_OMIT, UtimensatFlags::NoFollowSymlink)
            .with_context(|| format!("marking {} as used", shown(file)))?;
        link(file, &to)
    }

    /// Empties the view.
    pub(super) fn clear(&self) -> Result<()> {
        clear(&self.cache.view)
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        // What stays is swept by the next build.
        let _ = self.view.parent().filter(|_| self.open.is_some()).map(remove_tree);
    }
}

/// The lock over a cache, whose directory is used through `folder` and called `path`.
pub(super) fn lock(folder: &Path, path: &Path, report: &Report) -> Result<Flock<File>> {
    lock_file(&folder.join(LOCK), Some((report, path)))
}

fn lock_file(path: &Path, told: Option<(&Report, &Path)>) -> Result<Flock<File>> {
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let options = File::options().read(true).write(true).create(true).truncate(false).custom_flags(flags).open(path);
    let mut file = options.with_context(|| format!("opening {}", shown(path)))?;
    if !file.metadata().with_context(|| format!("looking at {}", shown(path)))?.is_file() {
        anyhow::bail!("opening {}: it is not a regular file", shown(path));
    }
    let mut told = told;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((file, Errno::EWOULDBLOCK)) => file,
            Err((_, error)) => return Err(error).with_context(|| format!("locking {}", shown(path))),
        };
        if let Some((report, path)) = told.take() {
            report.note(&format!("waiting for another build that fills the package cache {}", shown(path)));
        }
        process::pause(Duration::from_millis(50))?;
    }
}

/// Removes the views of builds that were killed; one that cannot be removed is no reason not to
/// build.
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

/// The entries of a directory, in no order.
pub(super) fn entries(folder: &Path) -> Result<Vec<fs::DirEntry>> {
    fs::read_dir(folder)
        .and_then(|entries| entries.collect::<Result<Vec<_>, _>>())
        .with_context(|| format!("reading the directory {}", shown(folder)))
}

/// A path of the sandbox, below the cache; `None` when it is elsewhere, in a directory of this
/// host.
pub(super) fn below(path: &Path) -> Option<&Path> {
    let below = path.strip_prefix(CACHE).ok()?;
    below.components().all(|part| matches!(part, Component::Normal(_))).then_some(below)
}

/// The place below the cache of a package that was downloaded.
///
/// Programs of packages may name any path. Only those in a directory of packages count, so that no
/// metadata, solver cache or view is replaced or removed.
pub(super) fn downloaded(path: &Path) -> Option<&Path> {
    let below = below(path)?;
    let first = below.iter().next()?.to_str()?;
    (below.parent()?.file_name()? == PACKAGES && first != VIEWS && !first.starts_with('.')).then_some(below)
}

/// The id of the repository that an entry of the cache belongs to: the dnfs name directories and
/// solver caches by it. `None` for what others keep there.
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

/// Opens a directory.
fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("opening {}", shown(path)))
}

/// Empties a directory.
fn clear(directory: &Path) -> Result<()> {
    entries(directory)?.iter().try_for_each(|entry| remove_tree(&entry.path()))
}

/// A copy of a file, unless it is a solver cache.
fn copy_unless_solver_cache(from: &Path, to: &Path) -> Result<()> {
    if from.extension().is_some_and(|end| end == "solv" || end == "solvx") {
        return Ok(());
    }
    fs::copy(from, to).map(|_| ()).with_context(|| format!("copying {} to {}", shown(from), shown(to)))
}

/// Places everything but packages, directory by directory.
fn place_metadata(from: &Path, to: &Path, place: fn(&Path, &Path) -> Result<()>) -> Result<()> {
    let kind = from.symlink_metadata().with_context(|| format!("looking at {}", shown(from)))?.file_type();
    if kind.is_file() {
        return place(from, to);
    }
    if !kind.is_dir() || from.file_name().is_some_and(|name| name == PACKAGES) {
        return Ok(());
    }
    fs::create_dir_all(to).with_context(|| format!("making {}", shown(to)))?;
    for entry in entries(from)? {
        place_metadata(&entry.path(), &to.join(entry.file_name()), place)?;
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
            fs::copy(from, to).map(|_| ()).with_context(|| format!("copying {} to {}", shown(from), shown(to)))
        }
        Err(error) => Err(error).with_context(|| format!("linking {} to {}", shown(from), shown(to))),
    }
}

/// Whether fetching packages again may mend it: they are not what was agreed.
pub(super) fn may_be_damage(error: &anyhow::Error) -> bool {
    matches!(exit_code(error), crate::error::ExitCode::Trust | crate::error::ExitCode::Transaction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_programs_get_copies_without_solver_caches_and_only_plain_files_are_taken_over() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("cache");
        let repo = Path::new("tiny-0123456789abcdef");
        fs::create_dir_all(path.join(VIEWS)).unwrap();
        fs::create_dir_all(path.join(repo).join("repodata")).unwrap();
        fs::create_dir_all(path.join(repo).join(PACKAGES)).unwrap();
        for (name, content) in [("repodata/repomd.xml", "index"), ("tiny.solv", "solver"), ("packages/old.rpm", "old")] {
            fs::write(path.join(repo).join(name), content).unwrap();
        }
        let cache = Cache::open(&path, Programs::OfPackages { repositories: vec!["tiny".into()] }).unwrap();
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
        // What the programs leave there.
        fs::write(base.path().join("host"), "the host's").unwrap();
        fs::write(incoming.join("packages/new.rpm"), "new").unwrap();
        fs::set_permissions(incoming.join("packages/new.rpm"), std::os::unix::fs::PermissionsExt::from_mode(0o4755)).unwrap();
        std::os::unix::fs::symlink(base.path().join("host"), incoming.join("packages/link.rpm")).unwrap();
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
        assert_eq!(fs::read_dir(path.join(VIEWS)).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir()).count(), 0);
    }

    #[test]
    fn a_lock_that_is_a_link_or_a_fifo_is_refused_at_once() {
        let base = tempfile::tempdir().unwrap();
        let (victim, link, fifo) = (base.path().join("victim"), base.path().join("link"), base.path().join("fifo"));
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [&link, &fifo] {
            assert!(lock_file(path, None).is_err(), "{}", path.display());
        }
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    }

    #[test]
    fn only_packages_are_taken_by_their_path() {
        let at = |name: &str| downloaded(&Path::new(CACHE).join(name)).is_some();
        for name in ["tiny-0123456789abcdef/packages/a.rpm", "files/00ff/packages/a.rpm", "tiny-locked/packages/a.rpm"] {
            assert!(at(name), "{name}");
        }
        for name in
            ["tiny.solv", ".lock", "tiny-0123456789abcdef/repodata/repomd.xml", "views/view-a/view/tiny/packages/a.rpm", "packages/../a"]
        {
            assert!(!at(name), "{name}");
        }
        assert!(downloaded(Path::new("/srv/repo/packages/a.rpm")).is_none());
    }

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
