//! `tree`: a directory of the build host, copied over the root. Modes come from the settings and
//! from the executable bit only, so that the umask of a checkout changes nothing.

use std::fs::DirEntry;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::content::LIMIT;
use super::image::Image;
use super::{glob, owner};
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::files;
use crate::recipe::customizations::Tree;

/// Checks that the directory is there, and that everything in it can be copied.
pub(super) fn check(tree: &Tree) -> Result<()> {
    walk(tree, &mut |entry, _| {
        let kind = entry.file_type().or_fail(
            ExitCode::Recipe,
            format!("{}: reading {}", tree.place, entry.path().display()),
        )?;
        if kind.is_file() {
            files::open(&entry.path()).map(drop).or_fail(
                ExitCode::Recipe,
                format!("{}: reading {}", tree.place, entry.path().display()),
            )?;
        }
        Ok(())
    })
}

/// The paths of its files in the image.
pub(super) fn paths(tree: &Tree) -> Vec<String> {
    let target = tree.path.trim_end_matches('/');
    let mut paths = Vec::new();
    // What cannot be read was an error before.
    let _ = walk(tree, &mut |entry, relative| {
        if entry.file_type().is_ok_and(|kind| !kind.is_dir()) {
            paths.push(format!("{target}/{relative}"));
        }
        Ok(())
    });
    paths
}

/// Copies it. A directory that the image has keeps its mode and owners.
pub(super) fn apply(image: &Image<'_>, tree: &Tree) -> Result<()> {
    let target = tree.path.trim_end_matches('/');
    image.make_directories(target)?;
    walk(tree, &mut |entry, relative| {
        let source = entry.path();
        let failing = || format!("{}: copying {}", tree.place, source.display());
        let kind = entry.file_type().or_fail(ExitCode::Recipe, failing())?;
        let path = format!("{target}/{relative}");
        let rules = || tree.rules.iter().rev().filter(|rule| glob::matches(&rule.path, relative));
        let mode = rules().find_map(|rule| rule.mode);
        let exists = kind.is_dir() && image.has_directory(&path)?;
        if kind.is_symlink() {
            let points_to = std::fs::read_link(&source).or_fail(ExitCode::Recipe, failing())?;
            let points_to = points_to.to_str().ok_or_else(|| {
                Failure::new(ExitCode::Recipe, format!("{}: the link is not UTF-8", failing()))
            })?;
            image.link(&path, points_to)?;
        } else if kind.is_dir() {
            if !exists {
                image.make_directory(&path, 0o755)?;
            }
        } else {
            let (content, usual) = read(&source).or_fail_hint(
                ExitCode::Recipe,
                failing(),
                "a large file belongs in a package",
            )?;
            image.write(&path, &content, usual)?;
        }
        let (user, group) = (
            rules().find_map(|rule| rule.user.as_ref()),
            rules().find_map(|rule| rule.group.as_ref()),
        );
        if !exists || user.is_some() || group.is_some() {
            let uid = owner::user(image, user.unwrap_or(&tree.user), &tree.place)?;
            let gid = owner::group(image, group.unwrap_or(&tree.group), &tree.place)?;
            image.own(&path, uid, gid)?;
        }
        match mode {
            Some(mode) if !kind.is_symlink() => image.set_mode(&path, mode),
            _ => Ok(()),
        }
    })
}

fn read(path: &Path) -> std::io::Result<(Vec<u8>, u32)> {
    let open = files::open(path)?;
    let mode = if open.metadata()?.permissions().mode() & 0o100 != 0 { 0o755 } else { 0o644 };
    Ok((files::read_open(open, LIMIT)?, mode))
}

/// Visits everything that is not excluded, directories before what is in them, names in order.
fn walk(tree: &Tree, visit: &mut dyn FnMut(&DirEntry, &str) -> Result<()>) -> Result<()> {
    let mut open = vec![(tree.source.clone(), String::new())];
    while let Some((directory, above)) = open.pop() {
        let failing = || format!("{}: reading the tree {}", tree.place, directory.display());
        let mut entries = std::fs::read_dir(&directory)
            .and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>())
            .or_fail(ExitCode::Recipe, failing())?;
        entries.sort_by_key(DirEntry::file_name);
        let mut below = Vec::new();
        for entry in entries {
            let refused = |why: &str| {
                Failure::new(
                    ExitCode::Recipe,
                    format!("{}: copying {}: {why}", tree.place, entry.path().display()),
                )
            };
            let name = entry.file_name();
            let name = name.to_str().ok_or_else(|| refused("its name is not UTF-8"))?;
            let relative = format!("{above}{name}");
            if tree.exclude.iter().any(|pattern| glob::matches(pattern, &relative)) {
                continue;
            }
            let kind = entry.file_type().or_fail(ExitCode::Recipe, failing())?;
            if !(kind.is_file() || kind.is_dir() || kind.is_symlink()) {
                return Err(refused("it is neither a file nor a directory nor a link")
                    .hint("leave it out by `exclude`")
                    .into());
            }
            visit(&entry, &relative)?;
            if kind.is_dir() {
                below.push((entry.path(), format!("{relative}/")));
            }
        }
        open.extend(below.into_iter().rev());
    }
    Ok(())
}
