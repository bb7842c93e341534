//! The new directory of an image: filled out of sight, then put in its place by one rename.

use anyhow::Context;
use nix::fcntl::{AT_FDCWD, AtFlags, RenameFlags, renameat2};
use std::collections::BTreeSet;
use std::fs::{File, Metadata, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::layout::SUMS;
use super::store::WebTree;
use crate::error::{ExitCode, Failure, Result};
use crate::naming;
use crate::openat::fd_path;
use crate::private;
use crate::process;
use crate::registry::directory::sync;
use crate::set::{EXTENSIONS, References, Role};

/// A new directory next to the image's, hidden until it replaces that one; removed when it is
/// dropped. Directories that killed publishers left are removed now: the lock shows that no one
/// uses them.
pub(super) fn new(tree: &WebTree, stem: &str) -> Result<Stage> {
    let doing = || format!("making a directory in {}", tree.directory.path().display());
    let prefix = format!(".{stem}.new-");
    for name in tree.directory.handle().names().with_context(doing)? {
        if let Some(name) = name.to_str().filter(|name| name.starts_with(&prefix)) {
            discard(tree, name)?;
        }
    }
    let directory = tempfile::Builder::new()
        .prefix(&prefix)
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(tree.through(""))
        .with_context(doing)?;
    let open = private::own_directory(directory.path())
        .with_context(doing)?
        .context("another user replaced it")
        .with_context(doing)?;
    Ok(Stage { directory, open })
}

/// The new directory. It is filled through its descriptor: another user who can write to the tree
/// can put something else in its place.
pub(super) struct Stage {
    directory: tempfile::TempDir,
    open: File,
}

impl Stage {
    /// The path through the descriptor.
    pub(super) fn path(&self) -> PathBuf {
        fd_path(&self.open).join(".")
    }
}

/// Removes a directory of ours: it is renamed first, so that no reader sees a part of it.
pub(super) fn discard(tree: &WebTree, name: &str) -> Result<()> {
    let doing = || format!("removing {}", tree.shown(name).display());
    let bin = tempfile::Builder::new()
        .prefix(".bin-")
        .tempdir_in(tree.through(""))
        .with_context(doing)?;
    std::fs::rename(tree.through(name), bin.path().join("x")).with_context(doing)?;
    bin.close().with_context(doing)
}

/// Puts the finished directory in the image's place.
pub(super) fn appear(tree: &WebTree, stage: Stage, stem: &str) -> Result<()> {
    let home = tree.through(stem);
    let doing = || format!("putting {} in its place", tree.shown(stem).display());
    settle(&stage.path())?;
    process::check_stop()?;
    let stage = stage.directory;
    if home.exists() {
        renameat2(AT_FDCWD, stage.path(), AT_FDCWD, &home, RenameFlags::RENAME_EXCHANGE)
            .with_context(doing)?;
        sync(tree.directory.handle())?;
        // It now contains the old directory.
        stage.close().with_context(|| format!("removing the old {}", tree.shown(stem).display()))
    } else {
        std::fs::rename(stage.path(), &home).with_context(doing)?;
        let _ = stage.keep();
        sync(tree.directory.handle())
    }
}

/// Links the files that sets of the old directory need and the new one lacks.
pub(super) fn adopt(home: &Path, stage: &Path, sets: &[References]) -> Result<()> {
    for id in sets
        .iter()
        .flat_map(|set| Role::ALL.into_iter().filter_map(|role| Some(set.role(role)?.id.as_str())))
    {
        if home.join(id).symlink_metadata().is_ok_and(|found| found.is_file())
            && !stage.join(id).exists()
        {
            reuse(home, id, &below(stage, id)?)?;
        }
    }
    Ok(())
}

/// Links the documents and signatures of the old directory that the new one lacks; a signature only
/// with the file that it is of.
pub(super) fn adopt_documents(home: &Path, stage: &Path, stem: &str) -> Result<()> {
    let documents = naming::documents(stem);
    let tarballs = EXTENSIONS.iter().map(|extension| format!("{stem}{extension}"));
    let signatures = tarballs
        .filter(|tarball| stage.join(tarball).exists())
        .flat_map(|tarball| naming::signatures(&tarball));
    for name in documents.into_iter().chain(signatures) {
        let is_there = home.join(&name).symlink_metadata().is_ok_and(|found| found.is_file());
        if is_there && !stage.join(&name).exists() {
            reuse(home, &name, &stage.join(&name))?;
        }
    }
    Ok(())
}

/// The checksum files, in the form that `sha256sum -c` and Ironic read: `HASH  NAME`.
pub(super) fn sums(directory: &Path, sets: &[References]) -> Result<()> {
    let mut lines: [BTreeSet<String>; 2] = Default::default();
    for reference in
        sets.iter().flat_map(|set| Role::ALL.into_iter().filter_map(|role| set.role(role)))
    {
        for (lines, digest) in lines.iter_mut().zip([&reference.sha256, &reference.sha512]) {
            lines.extend(digest.as_ref().map(|digest| format!("{digest}  {}\n", reference.id)));
        }
    }
    for (lines, name) in lines.iter().zip(SUMS) {
        put(&directory.join(name), &lines.iter().map(String::as_str).collect::<String>())?;
    }
    for tarball in sets.iter().map(|set| &set.tarball) {
        for (suffix, digest) in [("sha256", &tarball.sha256), ("sha512", &tarball.sha512)] {
            if let Some(digest) = digest {
                put(
                    &directory.join(format!("{}.{suffix}", tarball.id)),
                    &format!("{digest}  {}\n", tarball.id),
                )?;
            }
        }
    }
    Ok(())
}

/// The path below the directory; missing directories are made.
pub(super) fn below(directory: &Path, relative: &str) -> Result<PathBuf> {
    let path = directory.join(relative);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
    }
    Ok(path)
}

/// Links a file of an image's directory into a new one. A manifest names it, so it must be a file
/// of this user's in that directory itself: no link leads to it, and no link of it can be made
/// readable for all by mistake.
pub(super) fn reuse(home: &Path, id: &str, to: &Path) -> Result<()> {
    let doing = || format!("reusing {id} of {}", home.display());
    let directory = File::open(home).with_context(doing)?;
    let file = private::regular(&directory, Path::new(id)).with_context(doing)?;
    let is_published = |found: Metadata| {
        found.uid() == nix::unistd::geteuid().as_raw() && found.mode() & 0o004 != 0
    };
    let Some(file) = file.filter(|file| file.metadata().is_ok_and(is_published)) else {
        return Err(Failure::new(
            ExitCode::Registry,
            format!("{}: it is not a file that osimg published", doing()),
        )
        .hint("see who else can write to this directory; remove the version, and publish it again")
        .into());
    };
    nix::unistd::linkat(AT_FDCWD, &fd_path(&file), AT_FDCWD, to, AtFlags::AT_SYMLINK_FOLLOW)
        .with_context(doing)
}

pub(super) fn hard_link(from: &Path, to: &Path) -> Result<()> {
    std::fs::hard_link(from, to)
        .with_context(|| format!("linking {} as {}", from.display(), to.display()))
}

pub(super) fn put(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// Gives a rewritten manifest the time of the former one: the version did not become newer.
pub(super) fn date(path: &Path, seconds: i64) -> Result<()> {
    let time = UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    File::open(path)
        .and_then(|file| file.set_modified(time))
        .with_context(|| format!("writing {}", path.display()))
}

/// Makes all of a directory durable, and readable for a web server.
fn settle(directory: &Path) -> Result<()> {
    for entry in walkdir::WalkDir::new(directory).contents_first(true) {
        let entry = entry.with_context(|| format!("reading {}", directory.display()))?;
        let doing = || format!("writing {}", entry.path().display());
        let mode = if entry.file_type().is_dir() { 0o755 } else { 0o644 };
        anyhow::ensure!(!entry.file_type().is_symlink(), "{} is a link", entry.path().display());
        std::fs::set_permissions(entry.path(), Permissions::from_mode(mode)).with_context(doing)?;
        File::open(entry.path()).and_then(|file| file.sync_all()).with_context(doing)?;
    }
    Ok(())
}
