//! The directory in which one build works, and its end: removed, or kept if the user asked for it.

use anyhow::Context;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::stat::{Mode, fstat, fstatat};
use serde::Serialize;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::{ExitCode, Failure, Result};
use crate::files;
use crate::openat::OpenDirectory;
use crate::process;
use crate::sandbox::{Backing, mount_memory, pin, remove_content, unmount_memory, unpin};

/// Whether the workdir is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// It is removed, even if the build fails.
    Never,
    /// It stays when the build fails, for `osimg shell`.
    OnFailure,
    /// It stays.
    Always,
}

/// Where the workdir is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In memory when the image fits twice, else below /var/tmp.
    Auto,
    /// Below this directory.
    Under(PathBuf),
}

/// Memory that must stay free for everything else on the machine.
const SPARE_MEMORY: u64 = 2 << 30;
/// The least that a tmpfs is worth mounting for.
const LEAST_MEMORY: u64 = 1 << 30;

/// How the names of workdirs begin.
const PREFIX: &str = "osimg-";
/// The file by which osimg knows a directory that it made itself: it holds the directory's inode,
/// so that a copy is not taken for one. It is written when the lock is held, and removed last.
const MARK: &str = ".osimg-workdir";
/// Marks a workdir that the user asked to keep.
const KEPT: &str = "kept";

/// A build's workdir: `root/` is the install root, `scratch/` is what sandboxes mount over,
/// `state/` is a package manager's memory.
#[derive(Debug)]
pub struct Workdir {
    own: Own,
    /// The path through which it is used; the mount of [`pin`] where there is one.
    used: PathBuf,
    backing: Backing,
    keep: Keep,
    done: bool,
}

impl Workdir {
    /// Makes a workdir. With [`Place::Auto`], and nothing to be kept, the root is a tmpfs; the
    /// caller must have entered a mount namespace of its own
    /// ([`crate::sandbox::enter_private_mounts`]).
    ///
    /// # Errors
    /// When the directory above is missing or not writable, or any user can replace what is in it.
    pub fn create(place: &Place, keep: Keep) -> Result<Self> {
        let base = match place {
            Place::Auto => Path::new("/var/tmp"),
            Place::Under(directory) => directory,
        };
        if !base.is_dir() {
            return Err(Failure::new(ExitCode::Usage, format!("the directory for the workdir, {}, does not exist", base.display()))
                .hint(format!("make it: mkdir -p {}", base.display()))
                .into());
        }
        let base = OpenDirectory::open(base).with_context(|| format!("opening {}", base.display()))?;
        sweep(&base);
        let own = Own::make(base)?;
        let used = match pin(&*own.lock) {
            Some(pinned) => pinned,
            None => own.unpinned()?,
        };
        let mut workdir = Self { own, used, backing: Backing::Disk, keep, done: false };
        for name in ["root", "scratch", "state", "bootstrap", "bootstrap-state"] {
            make_directory(&workdir.used.join(name))?;
        }
        let memory = available_memory().saturating_sub(SPARE_MEMORY) / 2;
        if *place == Place::Auto && keep == Keep::Never && memory >= LEAST_MEMORY {
            mount_memory(&workdir.root(), memory)?;
            workdir.backing = Backing::Memory;
        }
        Ok(workdir)
    }

    /// The install root.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.used.join("root")
    }

    /// The empty directory that sandboxes mount over.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.used.join("scratch")
    }

    /// The state that a package manager keeps between two transactions.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.used.join("state")
    }

    /// The root of the tools that fill the image, when they are not the host's, and the state of
    /// its package manager.
    #[must_use]
    pub fn bootstrap(&self) -> (PathBuf, PathBuf) {
        (self.used.join("bootstrap"), self.used.join("bootstrap-state"))
    }

    /// The workdir itself, as the user finds it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.own.path
    }

    /// Whether the root is on disk or in memory.
    #[must_use]
    pub fn backing(&self) -> Backing {
        self.backing
    }

    /// Makes sure that `bytes` more fit: a root in memory that is too small is moved to disk. No
    /// file of the root may be open.
    ///
    /// # Errors
    /// [`ExitCode::Space`] with the figures when they fit nowhere.
    pub fn reserve(&mut self, bytes: u64) -> Result<()> {
        let (mut place, mut needed) = (self.root(), bytes);
        if self.backing == Backing::Memory && free_space(&place)? < bytes {
            needed = bytes.saturating_add(used_space(&place)?);
            place = self.scratch();
        }
        let free = free_space(&place)?;
        if free < needed {
            let say = crate::report::bytes;
            return Err(Failure::new(
                ExitCode::Space,
                format!("the image needs {} in {}, which has {} free", say(needed), self.path().display(), say(free)),
            )
            .hint("name a larger place: --workdir DIR")
            .into());
        }
        if place == self.root() { Ok(()) } else { self.move_to_disk() }
    }

    /// Copies the root from memory to disk, with all that the archive takes of it.
    fn move_to_disk(&mut self) -> Result<()> {
        let moved = self.used.join("moved");
        make_directory(&moved)?;
        // cp of coreutils keeps ACLs, capabilities and other attributes, hard links, times and
        // holes.
        let options = [
            "--recursive",
            "--no-dereference",
            "--preserve=mode,ownership,timestamps,links,xattr",
            "--sparse=auto",
            "--no-target-directory",
        ];
        let root = self.root();
        let paths = [root.as_os_str(), moved.as_os_str()];
        let arguments: Vec<&OsStr> = options.map(OsStr::new).into_iter().chain(paths).collect();
        process::run("cp", &arguments).context("moving the image from memory to disk")?;
        unmount_memory(&self.root())?;
        self.backing = Backing::Disk;
        std::fs::remove_dir(self.root())
            .and_then(|()| std::fs::rename(&moved, self.root()))
            .with_context(|| format!("moving the image from memory to {}", self.path().display()))
    }

    /// Ends the workdir's life; returns its path when it stays.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn finish(mut self, failed: bool) -> Result<Option<PathBuf>> {
        self.done = true;
        if self.keep == Keep::Always || (self.keep == Keep::OnFailure && failed) {
            std::fs::write(self.used.join(KEPT), "").with_context(|| format!("keeping {}", self.path().display()))?;
            return Ok(Some(self.path().to_owned()));
        }
        self.remove()?;
        Ok(None)
    }

    fn remove(&mut self) -> Result<()> {
        if self.backing == Backing::Memory {
            unmount_memory(&self.root())?;
            self.backing = Backing::Disk;
        }
        if self.used != self.own.path {
            unpin()?;
            self.used.clone_from(&self.own.path);
        }
        self.own.remove()
    }
}

impl Drop for Workdir {
    fn drop(&mut self) {
        if !self.done && self.keep == Keep::Never {
            // The error on the way out is the one to report; `osimg doctor` names what stays here.
            let _ = self.remove();
        }
    }
}

/// A directory whose mode becomes that of the image's `/`: it must not be the caller's umask.
fn make_directory(path: &Path) -> Result<()> {
    std::fs::create_dir(path)
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("making {}", path.display()))
}

/// A workdir's own directory, open and locked: the kernel releases the lock when this process ends,
/// however it ends.
#[derive(Debug)]
struct Own {
    base: OpenDirectory,
    name: String,
    path: PathBuf,
    lock: Flock<File>,
}

impl Own {
    /// Makes a new one.
    fn make(base: OpenDirectory) -> Result<Self> {
        let making = || format!("making a workdir below {}", base.path().display());
        // Programs in the image may be setuid, and run by any user who can reach them.
        let private = std::fs::Permissions::from_mode(0o700);
        let made = tempfile::Builder::new().prefix(PREFIX).permissions(private).tempdir_in(base.through()).with_context(making)?.keep();
        let name = made.file_name().and_then(|name| name.to_str()).with_context(making)?.to_owned();
        let own = Self::open(&base, &name)?.with_context(|| format!("locking {name} in {}", base.path().display()))?;
        let listed = own.directory().and_then(|fd| nix::dir::Dir::from_fd(fd).map_err(Into::into)).with_context(making)?;
        if listed.into_iter().count() != 2 {
            return Err(swapped(&own.path).into());
        }
        let mut mark = own.create(MARK).with_context(making)?;
        write!(mark, "{}", fstat(&*own.lock).with_context(making)?.st_ino).with_context(making)?;
        Ok(own)
    }

    /// Opens and locks a directory of this user's below `base`; `None` when a build uses it.
    fn open(base: &OpenDirectory, name: &str) -> Result<Option<Self>> {
        let path = base.path().join(name);
        let opening = || format!("opening {}", path.display());
        let directory = base.open_directory(name).with_context(opening)?;
        if directory.metadata().with_context(opening)?.uid() != nix::unistd::geteuid().as_raw() {
            return Err(swapped(&path).into());
        }
        match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Self { base: base.clone(), name: name.to_owned(), path, lock })),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, error)) => Err(error).with_context(|| format!("locking {}", path.display())),
        }
    }

    /// Its path, where it cannot be mounted elsewhere: then no other user may be able to replace
    /// it.
    fn unpinned(&self) -> Result<PathBuf> {
        let above = self.base.through().metadata().with_context(|| format!("examining {}", self.base.path().display()))?;
        let mode = above.permissions().mode();
        if mode & 0o002 == 0 || mode & 0o1000 != 0 {
            return Ok(self.path.clone());
        }
        self.remove()?;
        Err(Failure::new(
            ExitCode::Usage,
            format!("making a workdir below {}: any user can write there, and replace it", self.base.path().display()),
        )
        .hint(format!("choose a directory of your own, or forbid it: chmod +t {}", self.base.path().display()))
        .into())
    }

    fn directory(&self) -> Result<std::os::fd::OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(nix::fcntl::openat(&*self.lock, ".", flags, Mode::empty())?)
    }

    fn create(&self, name: &str) -> Result<File> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        Ok(File::from(nix::fcntl::openat(&*self.lock, name, flags, Mode::from_bits_truncate(0o600))?))
    }

    /// Removes it. Its mark goes last, so that a removal that fails or is cut off can be taken up
    /// again. If its name is another directory by now, that one stays.
    fn remove(&self) -> Result<()> {
        remove_content(&*self.lock, MARK, &self.path)?;
        let own = fstat(&*self.lock).with_context(|| format!("removing {}", self.path.display()))?;
        let named = self.base.stat(&self.name).with_context(|| format!("removing {}", self.path.display()))?;
        match named {
            Some(named) if (named.st_dev, named.st_ino) == (own.st_dev, own.st_ino) => {
                self.base.remove_directory(&self.name).with_context(|| format!("removing {}", self.path.display()))
            }
            _ => Err(swapped(&self.path).into()),
        }
    }
}

fn swapped(path: &Path) -> Failure {
    Failure::new(ExitCode::Host, format!("{} was moved or replaced while osimg used it", path.display()))
        .hint("another user can write where it was: name a directory of your own with --workdir DIR")
}

/// Removes what killed builds left below `base`: workdirs that no build uses and that the user did
/// not ask to keep. One that cannot be removed does not stop the build.
fn sweep(base: &OpenDirectory) {
    for leftover in leftovers_in(base) {
        if leftover.state == LeftoverState::Abandoned {
            let _ = leftover.remove();
        }
    }
}

/// A workdir that an earlier build left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leftover {
    /// Where it is.
    pub path: PathBuf,
    /// Why it is still there.
    pub state: LeftoverState,
}

/// Why a workdir is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeftoverState {
    /// Its build ended without removing it.
    Abandoned,
    /// The user asked to keep it.
    Kept,
    /// A build works in it.
    InUse,
}

impl Leftover {
    /// Removes it, unless a build works in it; no mount is crossed and no link followed.
    ///
    /// # Errors
    /// When a build uses it, it is not a workdir of this user's, something is mounted in it, or a
    /// file cannot be removed.
    pub fn remove(&self) -> Result<()> {
        let removing = || format!("removing {}", self.path.display());
        let base = OpenDirectory::open(self.path.parent().with_context(removing)?).with_context(removing)?;
        let name = self.path.file_name().and_then(|name| name.to_str()).with_context(removing)?;
        let Some(own) = Own::open(&base, name)? else {
            return Err(Failure::new(ExitCode::Locked, format!("{}: a build uses it", removing())).into());
        };
        if !is_marked(&*own.lock) {
            return Err(swapped(&self.path).into());
        }
        own.remove()
    }
}

/// The caller's workdirs below `base`, sorted; those of other users, and directories that only have
/// such a name, do not count.
#[must_use]
pub fn leftovers(base: &Path) -> Vec<Leftover> {
    OpenDirectory::open(base).map(|base| leftovers_in(&base)).unwrap_or_default()
}

fn leftovers_in(base: &OpenDirectory) -> Vec<Leftover> {
    let names = base.names().unwrap_or_default();
    names.iter().filter_map(|name| leftover(base, name.to_str()?)).collect()
}

fn leftover(base: &OpenDirectory, name: &str) -> Option<Leftover> {
    if !name.starts_with(PREFIX) {
        return None;
    }
    let directory = base.open_directory(name).ok()?;
    if directory.metadata().ok()?.uid() != nix::unistd::geteuid().as_raw() || !is_marked(&directory) {
        return None;
    }
    let state = match Own::open(base, name) {
        _ if fstatat(&directory, KEPT, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW).is_ok() => LeftoverState::Kept,
        Ok(Some(_)) => LeftoverState::Abandoned,
        _ => LeftoverState::InUse,
    };
    Some(Leftover { path: base.path().join(name), state })
}

/// Whether an open directory of this user's bears the mark that osimg gave to this very directory.
fn is_marked(directory: &impl AsFd) -> bool {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let Ok(mark) = nix::fcntl::openat(directory, MARK, flags, Mode::empty()) else { return false };
    let (Ok(own), Ok(status)) = (fstat(directory), fstat(&mark)) else { return false };
    let text = files::read_open(File::from(mark), 64).unwrap_or_default();
    status.st_uid == own.st_uid && text == own.st_ino.to_string().as_bytes()
}

/// Free bytes where `path` is.
///
/// # Errors
/// When the file system does not answer.
pub fn free_space(path: &Path) -> Result<u64> {
    let stat = nix::sys::statvfs::statvfs(path).with_context(|| format!("asking for the free space of {}", path.display()))?;
    Ok(stat.blocks_available() as u64 * stat.fragment_size() as u64)
}

/// How many more files can be made where `path` is; `None` on a file system that sets no bound.
///
/// # Errors
/// When the file system does not answer.
pub fn free_inodes(path: &Path) -> Result<Option<u64>> {
    let stat = nix::sys::statvfs::statvfs(path).with_context(|| format!("asking for the free inodes of {}", path.display()))?;
    Ok((stat.files() > 0).then(|| stat.files_available() as u64))
}

/// Used bytes of the file system that `path` is on.
///
/// # Errors
/// When the file system does not answer.
pub fn used_space(path: &Path) -> Result<u64> {
    let stat = nix::sys::statvfs::statvfs(path).with_context(|| format!("asking for the used space of {}", path.display()))?;
    Ok((stat.blocks() as u64).saturating_sub(stat.blocks_free() as u64) * stat.fragment_size() as u64)
}

/// Bytes of memory that can be used without swapping, within this process's control group; 0 when
/// the kernel does not say.
#[must_use]
pub fn available_memory() -> u64 {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    (kib.unwrap_or(0) * 1024).min(crate::process::memory_limit().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workdir_that_is_not_kept_leaves_nothing() {
        let base = tempfile::tempdir().expect("a temporary directory");
        let workdir = Workdir::create(&Place::Under(base.path().into()), Keep::Never).expect("workdir");
        std::fs::create_dir_all(workdir.root().join("a/b")).expect("content");
        assert_eq!(workdir.finish(true).expect("finished"), None);
        assert_eq!(std::fs::read_dir(base.path()).expect("base").count(), 0);
    }

    #[test]
    fn only_its_owner_can_look_into_a_workdir() {
        let base = tempfile::tempdir().expect("a temporary directory");
        let workdir = Workdir::create(&Place::Under(base.path().into()), Keep::Always).expect("workdir");
        let mode = |path: &Path| path.metadata().expect("metadata").permissions().mode() & 0o7777;
        assert_eq!(mode(workdir.path()), 0o700);
        // What becomes the image's / is another matter.
        assert_eq!(mode(&workdir.root()), 0o755);
        let kept = workdir.finish(true).expect("finished").expect("kept");
        assert_eq!(mode(&kept), 0o700);
    }

    #[test]
    fn a_failed_workdir_is_kept_when_asked() {
        let base = tempfile::tempdir().expect("a temporary directory");
        let workdir = Workdir::create(&Place::Under(base.path().into()), Keep::OnFailure).expect("workdir");
        let kept = workdir.finish(true).expect("finished").expect("kept");
        assert!(kept.join("root").is_dir());
    }

    #[test]
    fn a_killed_build_s_workdir_goes_and_a_kept_or_used_one_stays() {
        let base = tempfile::tempdir().expect("a temporary directory");
        let place = Place::Under(base.path().into());
        for name in ["osimg-killed", "osimg-keepme"] {
            abandoned(base.path(), name);
        }
        std::fs::write(base.path().join("osimg-keepme/kept"), "").expect("marker");
        let used = Workdir::create(&place, Keep::Never).expect("workdir");
        assert!(!base.path().join("osimg-killed").exists());
        abandoned(base.path(), "osimg-killed");
        let states = leftovers(base.path()).iter().map(|leftover| leftover.state).collect::<Vec<_>>();
        assert_eq!(states.len(), 3);
        let next = Workdir::create(&place, Keep::Never).expect("workdir");
        assert!(!base.path().join("osimg-killed").exists());
        assert!(base.path().join("osimg-keepme").exists());
        assert!(used.path().exists());
        drop((used, next));
    }

    /// A workdir as a killed build leaves it.
    fn abandoned(base: &Path, name: &str) {
        let path = base.join(name);
        std::fs::create_dir_all(path.join("root/etc")).expect("root");
        let inode = path.metadata().expect("a directory").ino();
        std::fs::write(path.join(MARK), inode.to_string()).expect("a mark");
    }

    #[test]
    fn a_directory_that_osimg_did_not_make_stays_whatever_its_name() {
        let base = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| base.path().join(name);
        for name in ["osimg-mine", "osimg-copied"] {
            std::fs::create_dir_all(at(name).join("root/etc")).expect("root");
            std::fs::create_dir_all(at(name).join("scratch")).expect("scratch");
        }
        // The mark of another directory, as a copy of a workdir has it.
        abandoned(base.path(), "osimg-killed");
        std::fs::copy(at("osimg-killed").join(MARK), at("osimg-copied").join(MARK)).expect("a copy");
        let workdir = Workdir::create(&Place::Under(base.path().into()), Keep::Never).expect("workdir");
        workdir.finish(false).expect("finished");
        assert!(at("osimg-mine/root/etc").exists() && at("osimg-copied/root/etc").exists());
        assert!(!at("osimg-killed").exists());
        let forced = Leftover { path: at("osimg-mine"), state: LeftoverState::Abandoned };
        forced.remove().expect_err("not a workdir");
        assert!(at("osimg-mine/root/etc").exists());
    }

    #[test]
    fn a_workdir_that_was_swapped_for_a_link_takes_nothing_else_with_it() {
        let base = tempfile::tempdir().expect("a temporary directory");
        let victim = base.path().join("victim");
        std::fs::create_dir_all(victim.join("root")).expect("victim");
        std::fs::write(victim.join("root/file"), "precious").expect("file");
        let workdir = Workdir::create(&Place::Under(base.path().into()), Keep::Never).expect("workdir");
        std::fs::create_dir_all(workdir.root().join("etc")).expect("content");
        let (path, moved) = (workdir.path().to_owned(), base.path().join("moved"));
        std::fs::rename(&path, &moved).expect("moved");
        std::os::unix::fs::symlink(&victim, &path).expect("a link");
        let error = workdir.finish(false).expect_err("swapped");
        assert!(error.to_string().contains("was moved or replaced"), "{error:#}");
        assert_eq!(std::fs::read_to_string(victim.join("root/file")).expect("victim"), "precious");
        assert!(path.is_symlink());
        assert_eq!(std::fs::read_dir(&moved).expect("moved").count(), 0);
    }

    #[test]
    fn where_any_user_can_replace_it_no_workdir_is_made() {
        let base = tempfile::tempdir().expect("a temporary directory");
        let allow = |mode: u32| std::fs::set_permissions(base.path(), PermissionsExt::from_mode(mode)).expect("a mode");
        allow(0o777);
        let error = Workdir::create(&Place::Under(base.path().into()), Keep::Never).expect_err("refused");
        assert_eq!(crate::error::exit_code(&error), ExitCode::Usage);
        assert_eq!(std::fs::read_dir(base.path()).expect("base").count(), 0);
        allow(0o1777);
        Workdir::create(&Place::Under(base.path().into()), Keep::Never).expect("sticky");
    }

    #[test]
    fn what_fits_nowhere_is_refused_with_figures() {
        let base = tempfile::tempdir().expect("a temporary directory");
        let mut workdir = Workdir::create(&Place::Under(base.path().into()), Keep::Never).expect("workdir");
        let error = workdir.reserve(u64::MAX).expect_err("too much");
        assert_eq!(crate::error::exit_code(&error), ExitCode::Space);
    }
}
