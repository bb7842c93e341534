//! The folder in which one build works, and its end: removed, or kept where the person asked for it.

use anyhow::Context;
use nix::fcntl::{Flock, FlockArg};
use serde::Serialize;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{ExitCode, Failure, Result};
use crate::sandbox::{Backing, mount_below, mount_memory, remove_tree, unmount_memory};

/// What becomes of the workdir.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// It is removed, whatever happens.
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
    /// Below this folder.
    Under(PathBuf),
}

/// Memory that must stay free for everything else on the machine.
const SPARE_MEMORY: u64 = 2 << 30;
/// The least that a tmpfs is worth mounting for.
const LEAST_MEMORY: u64 = 1 << 30;

/// What workdirs' names begin with.
const PREFIX: &str = "osimg-";
/// The folder of a workdir that is removed last.
const LAST: &str = "scratch";
/// Marks a workdir that the person asked to keep.
const KEPT: &str = "kept";
/// A workdir without a lock that is younger may be one whose build has not locked it yet.
const SETTLED: Duration = Duration::from_secs(60);

/// A build's workdir: `root/` is the install root, `scratch/` what sandboxes mount over, `state/` a package manager's memory.
#[derive(Debug)]
pub struct Workdir {
    path: PathBuf,
    backing: Backing,
    keep: Keep,
    done: bool,
    /// Says to other builds that this workdir is in use; the kernel lets go of it when we end, however we end.
    _lock: Flock<File>,
}

impl Workdir {
    /// Makes a workdir. With [`Place::Auto`], and nothing to be kept, the root is a tmpfs; the caller must have entered a
    /// mount namespace of its own ([`crate::sandbox::enter_private_mounts`]).
    ///
    /// # Errors
    /// When the folder is missing or not writable.
    pub fn create(place: &Place, keep: Keep) -> Result<Self> {
        let base = match place {
            Place::Auto => Path::new("/var/tmp"),
            Place::Under(folder) => folder,
        };
        if !base.is_dir() {
            return Err(Failure::new(ExitCode::Usage, format!("the workdir's folder {} does not exist", base.display()))
                .hint(format!("make it: mkdir -p {}", base.display()))
                .into());
        }
        sweep(base);
        let path = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(base)
            .with_context(|| format!("making a workdir below {}", base.display()))?
            .keep();
        let lock = lock(&path)?.with_context(|| format!("locking {}: somebody else has it", path.display()))?;
        let mut workdir = Self { path, backing: Backing::Disk, keep, done: false, _lock: lock };
        for name in ["root", "scratch", "state", "bootstrap", "bootstrap-state"] {
            let folder = workdir.path.join(name);
            // The root's mode becomes that of the image's `/`: it must not be the caller's umask.
            std::fs::create_dir(&folder)
                .and_then(|()| std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)))
                .with_context(|| format!("making {name} in {}", workdir.path.display()))?;
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
        self.path.join("root")
    }

    /// The empty folder that sandboxes mount over.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.path.join("scratch")
    }

    /// What a package manager remembers between two transactions.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.path.join("state")
    }

    /// The root of the tools that fill the image, when they are not the host's, and what its package manager remembers.
    #[must_use]
    pub fn bootstrap(&self) -> (PathBuf, PathBuf) {
        (self.path.join("bootstrap"), self.path.join("bootstrap-state"))
    }

    /// The workdir itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the root is on disk or in memory.
    #[must_use]
    pub fn backing(&self) -> Backing {
        self.backing
    }

    /// Makes sure that `bytes` fit: a root in memory that is too small is taken to disk, which is possible while it is empty.
    ///
    /// # Errors
    /// [`ExitCode::Space`] with the figures when they fit nowhere.
    pub fn reserve(&mut self, bytes: u64) -> Result<()> {
        if self.backing == Backing::Memory && free_space(&self.root())? < bytes {
            unmount_memory(&self.root())?;
            self.backing = Backing::Disk;
        }
        let free = free_space(&self.root())?;
        if free < bytes {
            let say = crate::report::bytes;
            return Err(Failure::new(
                ExitCode::Space,
                format!("the image needs {} in {}, which has {} free", say(bytes), self.path.display(), say(free)),
            )
            .hint("name a larger place: --workdir DIR")
            .into());
        }
        Ok(())
    }

    /// Ends the workdir's life; says where it is when it stays.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn finish(mut self, failed: bool) -> Result<Option<PathBuf>> {
        self.done = true;
        if self.keep == Keep::Always || (self.keep == Keep::OnFailure && failed) {
            std::fs::write(self.path.join(KEPT), "").with_context(|| format!("keeping {}", self.path.display()))?;
            return Ok(Some(self.path.clone()));
        }
        self.remove()?;
        Ok(None)
    }

    fn remove(&mut self) -> Result<()> {
        if self.backing == Backing::Memory {
            unmount_memory(&self.root())?;
            self.backing = Backing::Disk;
        }
        remove_workdir(&self.path)
    }
}

/// Removes a workdir; what makes it known as one goes last, so that a removal that fails or is cut off can be taken up again.
fn remove_workdir(path: &Path) -> Result<()> {
    // Before anything goes: this fails by the mount, with the words for it.
    if mount_below(path)?.is_some() {
        return remove_tree(path);
    }
    let listed = std::fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    for entry in listed.with_context(|| format!("reading {}", path.display()))? {
        if entry.file_name() != LAST {
            remove_tree(&entry.path())?;
        }
    }
    remove_tree(path)
}

impl Drop for Workdir {
    fn drop(&mut self) {
        if !self.done && self.keep == Keep::Never {
            // The error on the way out is the one to tell; what stays here is named by `osimg doctor`.
            let _ = self.remove();
        }
    }
}

/// Locks a workdir; `None` when a build uses it.
fn lock(path: &Path) -> Result<Option<Flock<File>>> {
    let folder = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    match Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error).with_context(|| format!("locking {}", path.display())),
    }
}

/// Removes what killed builds left below `base`: workdirs that nobody uses and nobody asked to keep. What cannot be removed
/// stays for another time; it is no reason not to build.
fn sweep(base: &Path) {
    for leftover in leftovers(base) {
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
    /// The person asked to keep it.
    Kept,
    /// A build works in it, or may be about to.
    InUse,
}

impl Leftover {
    /// Removes it, unless a build works in it; no mount is crossed, no link followed.
    ///
    /// # Errors
    /// When a build uses it, something is mounted in it, or something cannot be removed.
    pub fn remove(&self) -> Result<()> {
        let Some(_lock) = lock(&self.path)? else {
            return Err(Failure::new(ExitCode::Locked, format!("removing {}: a build uses it", self.path.display())).into());
        };
        remove_workdir(&self.path)
    }
}

/// The caller's workdirs below `base`, sorted; other people's, and what only has such a name, are none.
#[must_use]
pub fn leftovers(base: &Path) -> Vec<Leftover> {
    use std::os::unix::fs::MetadataExt;
    let mut found = Vec::new();
    for entry in std::fs::read_dir(base).into_iter().flatten().filter_map(Result::ok) {
        let path = entry.path();
        let plain = |name: &str| path.join(name).symlink_metadata().is_ok_and(|m| m.is_dir());
        // A link of that name is not looked through.
        let Ok(folder) = entry.metadata() else { continue };
        let ours =
            entry.file_name().to_string_lossy().starts_with(PREFIX) && folder.is_dir() && folder.uid() == nix::unistd::geteuid().as_raw();
        // Without its root it is one whose removal was cut off, if there is nothing else.
        let rest = || std::fs::read_dir(&path).is_ok_and(|mut entries| entries.all(|entry| entry.is_ok_and(|e| e.file_name() == LAST)));
        if !ours || !plain(LAST) || !(plain("root") || rest()) {
            continue;
        }
        let settled = folder.modified().ok().and_then(|time| time.elapsed().ok()).is_some_and(|age| age > SETTLED);
        // A young one is not even locked to see: its own build is about to.
        let state = match settled {
            _ if path.join(KEPT).symlink_metadata().is_ok() => LeftoverState::Kept,
            true if matches!(lock(&path), Ok(Some(_))) => LeftoverState::Abandoned,
            _ => LeftoverState::InUse,
        };
        found.push(Leftover { path, state });
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
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

/// Bytes of memory that can be used without swapping, within this process's control group; 0 when the kernel does not say.
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
        let base = tempfile::tempdir().expect("a temporary folder");
        let workdir = Workdir::create(&Place::Under(base.path().into()), Keep::Never).expect("workdir");
        std::fs::create_dir_all(workdir.root().join("a/b")).expect("content");
        assert_eq!(workdir.finish(true).expect("finished"), None);
        assert_eq!(std::fs::read_dir(base.path()).expect("base").count(), 0);
    }

    #[test]
    fn a_failed_workdir_is_kept_when_asked() {
        let base = tempfile::tempdir().expect("a temporary folder");
        let workdir = Workdir::create(&Place::Under(base.path().into()), Keep::OnFailure).expect("workdir");
        let kept = workdir.finish(true).expect("finished").expect("kept");
        assert!(kept.join("root").is_dir());
    }

    #[test]
    fn a_killed_build_s_workdir_goes_and_a_kept_or_used_one_stays() {
        let base = tempfile::tempdir().expect("a temporary folder");
        let place = Place::Under(base.path().into());
        let old = std::time::SystemTime::now() - Duration::from_secs(3600);
        for name in ["osimg-killed", "osimg-keepme"] {
            std::fs::create_dir_all(base.path().join(name).join("root/etc")).expect("root");
            std::fs::create_dir_all(base.path().join(name).join("scratch")).expect("scratch");
        }
        std::fs::write(base.path().join("osimg-keepme/kept"), "").expect("marker");
        let used = Workdir::create(&place, Keep::Never).expect("workdir");
        for path in [base.path().join("osimg-killed"), base.path().join("osimg-keepme"), used.path().to_owned()] {
            File::open(&path).expect("folder").set_modified(old).expect("made old");
        }
        let next = Workdir::create(&place, Keep::Never).expect("workdir");
        assert!(!base.path().join("osimg-killed").exists());
        assert!(base.path().join("osimg-keepme").exists());
        assert!(used.path().exists());
        drop((used, next));
    }

    #[test]
    fn what_fits_nowhere_is_refused_with_figures() {
        let base = tempfile::tempdir().expect("a temporary folder");
        let mut workdir = Workdir::create(&Place::Under(base.path().into()), Keep::Never).expect("workdir");
        let error = workdir.reserve(u64::MAX).expect_err("too much");
        assert_eq!(crate::error::exit_code(&error), ExitCode::Space);
    }
}
