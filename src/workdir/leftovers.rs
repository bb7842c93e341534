//! Workdirs that earlier builds left.

use anyhow::Context;
use nix::sys::stat::fstatat;
use serde::Serialize;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::own::{OwnDirectory, PREFIX, is_marked, swapped};
use crate::error::{ExitCode, Failure, Result};
use crate::openat::OpenDirectory;

/// Marks a workdir that the user asked to keep.
pub(super) const KEPT: &str = "kept";

/// Removes what killed builds left below `base`: workdirs that no build uses and that the user did
/// not ask to keep. One that cannot be removed does not stop the build.
pub(super) fn sweep(base: &OpenDirectory) {
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
        let base = OpenDirectory::open(self.path.parent().with_context(removing)?)
            .with_context(removing)?;
        let name = self.path.file_name().and_then(|name| name.to_str()).with_context(removing)?;
        let Some(own) = OwnDirectory::open(&base, name)? else {
            return Err(
                Failure::new(ExitCode::Locked, format!("{}: a build uses it", removing())).into()
            );
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
    if directory.metadata().ok()?.uid() != nix::unistd::geteuid().as_raw() || !is_marked(&directory)
    {
        return None;
    }
    let state = match OwnDirectory::open(base, name) {
        _ if fstatat(&directory, KEPT, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW).is_ok() => {
            LeftoverState::Kept
        }
        Ok(Some(_)) => LeftoverState::Abandoned,
        _ => LeftoverState::InUse,
    };
    Some(Leftover { path: base.path().join(name), state })
}

#[cfg(test)]
mod tests {
    use super::super::own::MARK;
    use super::super::{Keep, Place, Workdir};
    use super::*;

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
        let states =
            leftovers(base.path()).iter().map(|leftover| leftover.state).collect::<Vec<_>>();
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
        std::fs::write(
            at("osimg-copied").join(MARK),
            std::fs::read(at("osimg-killed").join(MARK)).expect("read"),
        )
        .expect("a copy");
        let workdir =
            Workdir::create(&Place::Under(base.path().into()), Keep::Never).expect("workdir");
        workdir.finish(false).expect("finished");
        assert!(at("osimg-mine/root/etc").exists() && at("osimg-copied/root/etc").exists());
        assert!(!at("osimg-killed").exists());
        let forced = Leftover { path: at("osimg-mine"), state: LeftoverState::Abandoned };
        forced.remove().expect_err("not a workdir");
        assert!(at("osimg-mine/root/etc").exists());
    }
}
