//! `directories` and `files`: what the settings put into the image, one at a time.

use std::os::unix::fs::PermissionsExt;

use super::image::Image;
use super::owner;
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::files;
use crate::recipe::Customizations;
use crate::recipe::customizations::{Data, Directory, File};

/// The most that one such file may hold; larger things belong in a package.
pub(super) const LIMIT: u64 = 64 << 20;

/// Checks that every file can be opened.
pub(super) fn check(given: &[File]) -> Result<()> {
    for file in given {
        if let Data::Source(path) = &file.data {
            files::open(path)
                .map(drop)
                .or_fail(ExitCode::Recipe, format!("{}: reading {}", file.place, path.display()))?;
        }
    }
    Ok(())
}

pub(super) fn apply(image: &Image<'_>, settings: &Customizations) -> Result<()> {
    settings.directories.iter().try_for_each(|directory| make(image, directory))?;
    settings.files.iter().try_for_each(|file| put(image, file))
}

fn make(image: &Image<'_>, directory: &Directory) -> Result<()> {
    let Directory { path, mode, user, group, ensure_parents, place } = directory;
    let refused = |why: &str, hint: &str| {
        let mut failure = Failure::new(
            ExitCode::Recipe,
            format!("{place}: creating directory {path} in the image: {why}"),
        );
        if !hint.is_empty() {
            failure = failure.hint(hint);
        }
        failure
    };
    if image.has_directory(path)? {
        if mode.is_some() || user.is_some() || group.is_some() {
            let hint = "a package made it: leave out `mode`, `user` and `group`, or change it in \
                        a [[script]]";
            return Err(refused("it exists, with its own mode and owner", hint).into());
        }
        return Ok(());
    }
    if *ensure_parents {
        image.make_parents(path)?;
    } else if let Some((parent, _)) = path.rsplit_once('/')
        && !parent.is_empty()
        && !image.has_directory(parent)?
    {
        return Err(refused(
            &format!("there is no directory {parent}"),
            "write `ensure_parents = true`",
        )
        .into());
    }
    image.make_directory(path, mode.unwrap_or(0o755))?;
    let root = Default::default();
    let (user, group) = (user.as_ref().unwrap_or(&root), group.as_ref().unwrap_or(&root));
    image.own(path, owner::user(image, user, place)?, owner::group(image, group, place)?)
}

fn put(image: &Image<'_>, file: &File) -> Result<()> {
    let (content, usual) = match &file.data {
        Data::Text(text) => (text.clone().into_bytes(), 0o644),
        Data::Source(path) => {
            let doing = || format!("{}: reading {}", file.place, path.display());
            read(path).or_fail_hint(
                ExitCode::Recipe,
                doing(),
                "a large file belongs in a package",
            )?
        }
    };
    let (uid, gid) = (
        owner::user(image, &file.user, &file.place)?,
        owner::group(image, &file.group, &file.place)?,
    );
    // Set last: giving a file away takes its setuid bit.
    let mode = file.mode.unwrap_or(usual);
    image.write(&file.path, &content, mode & 0o777)?;
    image.own(&file.path, uid, gid)?;
    if mode & 0o7000 != 0 { image.set_mode(&file.path, mode) } else { Ok(()) }
}

/// The content of a file, and the mode that it has unless the settings name one: only the
/// executable bit counts. The rest is the umask of whoever checked out the recipe.
fn read(path: &std::path::Path) -> std::io::Result<(Vec<u8>, u32)> {
    let open = files::open(path)?;
    let mode = if open.metadata()?.permissions().mode() & 0o100 != 0 { 0o755 } else { 0o644 };
    Ok((files::read_open(open, LIMIT)?, mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_umask_of_a_checkout_does_not_show_in_the_image() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let source = dir.path().join("source");
        std::fs::write(&source, "text").expect("a file");
        for (mode, expected) in [(0o600, 0o644), (0o664, 0o644), (0o700, 0o755), (0o775, 0o755)] {
            std::fs::set_permissions(&source, PermissionsExt::from_mode(mode)).expect("a mode");
            assert_eq!(read(&source).expect("read").1, expected, "{mode:o}");
        }
    }
}
