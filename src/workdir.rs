//! The directory in which one build works, and its end: removed, or kept if the user asked for it.

mod leftovers;
mod own;
mod space;

use anyhow::Context;
use serde::Serialize;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::files;
use crate::openat::OpenDirectory;
use crate::process;
use crate::sandbox::{Backing, may_mount, mount_memory, pin, unmount_memory, unpin};
use leftovers::KEPT;
pub use leftovers::{Leftover, LeftoverState, leftovers};
use own::OwnDirectory;
pub(crate) use own::is_own;
pub use space::{available_memory, free_space};
pub(crate) use space::{free_inodes, used_space};

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

/// A build's workdir: `root/` is the install root, `scratch/` is what sandboxes mount over,
/// `state/` is a package manager's memory.
#[derive(Debug)]
pub struct Workdir {
    own: OwnDirectory,
    /// The path through which it is used: the mount of [`pin`], if there is one.
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
        files::check_directory(base).or_fail_hint(
            ExitCode::Usage,
            format!("making a workdir below {}", base.display()),
            "use a directory that exists: --workdir DIR",
        )?;
        let base =
            OpenDirectory::open(base).with_context(|| format!("opening {}", base.display()))?;
        leftovers::sweep(&base);
        let own = OwnDirectory::make(base)?;
        let used = match pin(&*own.lock) {
            Some(pinned) => pinned,
            None => own.unpinned()?,
        };
        let mut workdir = Self { own, used, backing: Backing::Disk, keep, done: false };
        for name in ["root", "scratch", "state", "bootstrap", "bootstrap-state"] {
            make_directory(&workdir.used.join(name))?;
        }
        let memory = available_memory().saturating_sub(SPARE_MEMORY) / 2;
        if *place == Place::Auto && keep == Keep::Never && memory >= LEAST_MEMORY && may_mount() {
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
                format!(
                    "the image needs {} in {}, which has {} free",
                    say(needed),
                    self.path().display(),
                    say(free)
                ),
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
            std::fs::write(self.used.join(KEPT), "")
                .with_context(|| format!("keeping {}", self.path().display()))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workdir_that_is_not_kept_leaves_nothing() {
        let base = tempfile::tempdir().expect("a temporary directory");
        let workdir =
            Workdir::create(&Place::Under(base.path().into()), Keep::Never).expect("workdir");
        std::fs::create_dir_all(workdir.root().join("a/b")).expect("content");
        assert_eq!(workdir.finish(true).expect("finished"), None);
        assert_eq!(std::fs::read_dir(base.path()).expect("base").count(), 0);
    }

    #[test]
    fn only_its_owner_can_look_into_a_workdir() {
        let base = tempfile::tempdir().expect("a temporary directory");
        let workdir =
            Workdir::create(&Place::Under(base.path().into()), Keep::Always).expect("workdir");
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
        let workdir =
            Workdir::create(&Place::Under(base.path().into()), Keep::OnFailure).expect("workdir");
        let kept = workdir.finish(true).expect("finished").expect("kept");
        assert!(kept.join("root").is_dir());
    }

    #[test]
    fn a_workdir_that_was_swapped_for_a_link_takes_nothing_else_with_it() {
        let base = tempfile::tempdir().expect("a temporary directory");
        let victim = base.path().join("victim");
        std::fs::create_dir_all(victim.join("root")).expect("victim");
        std::fs::write(victim.join("root/file"), "precious").expect("file");
        let workdir =
            Workdir::create(&Place::Under(base.path().into()), Keep::Never).expect("workdir");
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
        let allow = |mode: u32| {
            std::fs::set_permissions(base.path(), PermissionsExt::from_mode(mode)).expect("a mode")
        };
        allow(0o777);
        let error =
            Workdir::create(&Place::Under(base.path().into()), Keep::Never).expect_err("refused");
        assert_eq!(crate::error::exit_code(&error), ExitCode::Usage);
        assert_eq!(std::fs::read_dir(base.path()).expect("base").count(), 0);
        allow(0o1777);
        Workdir::create(&Place::Under(base.path().into()), Keep::Never).expect("sticky");
    }

    #[test]
    fn what_fits_nowhere_is_refused_with_figures() {
        let base = tempfile::tempdir().expect("a temporary directory");
        let mut workdir =
            Workdir::create(&Place::Under(base.path().into()), Keep::Never).expect("workdir");
        let error = workdir.reserve(u64::MAX).expect_err("too much");
        assert_eq!(crate::error::exit_code(&error), ExitCode::Space);
    }
}
