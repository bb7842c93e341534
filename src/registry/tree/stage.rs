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
use crate::openat::{OpenDirectory, fd_path};
use crate::private;
use crate::process;
use crate::registry::directory::sync;
use crate::sandbox::remove_tree;
use crate::set::{EXTENSIONS, References, Role};

/// A new directory next to the image's, hidden until it replaces that one; removed when it is
/// dropped. Directories that killed publishers left are removed now: the lock shows that no one
/// uses them.
pub(super) fn new(tree: &WebTree, stem: &str) -> Result<Stage> {
    let doing = || format!("making a directory in {}", tree.directory.path().display());
    let prefix = format!(".{stem}.new-");
    for name in tree.directory.handle().names().with_context(doing)? {
        if let Some(name) = name.to_str().filter(|name| is_stage(name, &prefix)) {
            discard(tree, name)?;
        }
    }
    let name = make(tree, &prefix).with_context(doing)?;
    let open = private::own_directory(&tree.through(&name))
        .with_context(doing)?
        .context("another user replaced it")
        .with_context(doing)?;
    Ok(Stage { tree: tree.directory.handle().clone(), name, open, placed: false })
}

/// Whether the name is the prefix with the random part that [`make`] adds. A version's name may
/// begin with the prefix of another.
fn is_stage(name: &str, prefix: &str) -> bool {
    let random = name.strip_prefix(prefix);
    random.is_some_and(|random| random.len() == 6 && random.chars().all(char::is_alphanumeric))
}

/// Makes a directory with a random name that only this user can access.
fn make(tree: &WebTree, prefix: &str) -> Result<String> {
    let made = tempfile::Builder::new()
        .prefix(prefix)
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(tree.through(""))?
        .keep();
    let name = made.file_name().and_then(|name| name.to_str());
    Ok(name.context("its name is not UTF-8 text")?.to_owned())
}

/// The new directory. It is filled through its descriptor: another user who can write to the tree
/// can put something else in its place.
pub(super) struct Stage {
    tree: OpenDirectory,
    name: String,
    open: File,
    placed: bool,
}

impl Stage {
    /// The path through the descriptor.
    pub(super) fn path(&self) -> PathBuf {
        fd_path(&self.open).join(".")
    }

    /// Removes what has the hidden name now.
    fn remove(&mut self) -> Result<()> {
        self.placed = true;
        Ok(remove_tree(&self.tree.through().join(&self.name))?)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !self.placed {
            // The first error is the one to report.
            let _ = self.remove();
        }
    }
}

/// Removes a directory of ours: it is renamed first, so that no reader sees a part of it.
pub(super) fn discard(tree: &WebTree, name: &str) -> Result<()> {
    let doing = || format!("removing {}", tree.shown(name).display());
    let bin = tree.through(&make(tree, ".bin-").with_context(doing)?);
    let renamed = std::fs::rename(tree.through(name), bin.join("x")).with_context(doing);
    let removed = remove_tree(&bin).with_context(doing);
    renamed.and(removed)
}

/// Puts the finished directory in the image's place.
pub(super) fn appear(tree: &WebTree, mut stage: Stage, stem: &str) -> Result<()> {
    let home = tree.through(stem);
    let doing = || format!("putting {} in its place", tree.shown(stem).display());
    settle(&stage.path())?;
    process::check_stop()?;
    let hidden = tree.through(&stage.name);
    if tree.stat(stem)?.is_some() {
        renameat2(AT_FDCWD, &hidden, AT_FDCWD, &home, RenameFlags::RENAME_EXCHANGE)
            .with_context(doing)?;
        sync(tree.directory.handle())?;
        // It now contains the old directory.
        stage.remove().with_context(|| format!("removing the old {}", tree.shown(stem).display()))
    } else {
        std::fs::rename(hidden, &home).with_context(doing)?;
        stage.placed = true;
        sync(tree.directory.handle())
    }
}

/// Links the files that sets of the old directory need and the new one lacks.
pub(super) fn adopt(home: &OpenDirectory, stage: &Path, sets: &[References]) -> Result<()> {
    for id in sets
        .iter()
        .flat_map(|set| Role::ALL.into_iter().filter_map(|role| Some(set.role(role)?.id.as_str())))
    {
        if private::regular(home, Path::new(id))?.is_some() && !stage.join(id).exists() {
            reuse(home, id, &below(stage, id)?)?;
        }
    }
    Ok(())
}

/// Links the documents and signatures of the old directory that the new one lacks; a signature only
/// with the file that it is of.
pub(super) fn adopt_documents(home: &OpenDirectory, stage: &Path, stem: &str) -> Result<()> {
    let documents = naming::documents(stem);
    let tarballs = EXTENSIONS.iter().map(|extension| format!("{stem}{extension}"));
    let signatures = tarballs
        .filter(|tarball| stage.join(tarball).exists())
        .flat_map(|tarball| naming::signatures(&tarball));
    for name in documents.into_iter().chain(signatures) {
        if home.has_file(&name) && !stage.join(&name).exists() {
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
pub(super) fn reuse(home: &OpenDirectory, id: &str, to: &Path) -> Result<()> {
    let doing = || format!("reusing {id} of {}", home.path().display());
    let file = private::regular(home, Path::new(id)).with_context(doing)?;
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
