//! What packages left where the package manager's next transaction reads and writes.
//!
//! It works on the install root from outside. A FIFO there would make it wait for ever while it
//! holds the cache's lock, and a link would lead it to files that package code must not change.

use std::path::{Path, PathBuf};
use walkdir::WalkDir;

use anyhow::Context;

use crate::error::{ExitCode, Failure, Result};
use crate::files::described;

/// What dnf and rpm keep in an install root, besides the rpmdb.
const DIRECTORIES: [&str; 6] = [
    "etc/dnf",
    "etc/rpm",
    "var/lib/dnf",
    "var/lib/rpm",
    "usr/lib/sysimage/libdnf5",
    "usr/lib/sysimage/rpm",
];

/// Checks them, the rpmdb and the package manager's own records, before a transaction that follows
/// another one.
///
/// # Errors
/// If there is a special file, or a link that leads out of the install root.
pub(super) fn check(root: &Path, dbpath: &str, state: &Path) -> Result<()> {
    let real = canonical(root)?;
    let shown = |path: &Path| format!("/{} of the image", path.display());
    for directory in DIRECTORIES.into_iter().chain([dbpath.trim_start_matches('/')]) {
        let mut place = PathBuf::new();
        for name in Path::new(directory) {
            place.push(name);
            inside(&root.join(&place), &real, &|| shown(&place))?;
        }
        let name = |path: &Path| shown(path.strip_prefix(root).unwrap_or(path));
        whole(&root.join(directory), &real, &name)?;
    }
    let records = |_: &Path| "a file in which the package manager records its work".to_owned();
    whole(state, &canonical(state)?, &records)
}

fn canonical(directory: &Path) -> Result<PathBuf> {
    directory.canonicalize().with_context(|| format!("looking at {}", directory.display()))
}

/// Checks everything below a directory, if it is there.
fn whole(directory: &Path, root: &Path, name: &dyn Fn(&Path) -> String) -> Result<()> {
    // The directory itself may be a link, as /var/lib/rpm is.
    let Ok(start) = directory.canonicalize() else { return Ok(()) };
    for entry in WalkDir::new(&start) {
        let entry = entry.with_context(|| format!("reading {}", directory.display()))?;
        let path = directory.join(entry.path().strip_prefix(&start).unwrap_or(entry.path()));
        let kind = entry.file_type();
        if !(kind.is_file() || kind.is_dir() || kind.is_symlink()) {
            return Err(refused(&format!("{} is {}", name(&path), described(kind))));
        }
        inside(entry.path(), root, &|| name(&path))?;
    }
    Ok(())
}

/// Fails for a link that leads out of the root, or to nothing: a file could be made there.
fn inside(path: &Path, root: &Path, name: &dyn Fn() -> String) -> Result<()> {
    match path.symlink_metadata() {
        Ok(found) if found.is_symlink() => match path.canonicalize() {
            Ok(target) if target.starts_with(root) => Ok(()),
            _ => Err(refused(&format!("{} is a link out of the image", name()))),
        },
        // The rest is looked at when the link's own parents are.
        _ => Ok(()),
    }
}

fn refused(what: &str) -> anyhow::Error {
    Failure::new(
        ExitCode::Transaction,
        format!("preparing the next transaction: {what}, left by a package"),
    )
    .hint("leave out the package that makes it, or install it in the last transaction")
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// What a package does to the root and to the records.
    type Change<'a> = dyn Fn(&Path, &Path) + 'a;

    #[test]
    fn special_files_and_links_out_of_the_root_are_refused() {
        let fifo = |path: &Path| {
            nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRUSR).unwrap();
        };
        let fresh = || {
            let place = tempfile::tempdir().unwrap();
            let (root, state) = (place.path().join("root"), place.path().join("state"));
            fs::create_dir_all(root.join("etc/dnf/modules.d")).unwrap();
            fs::create_dir_all(root.join("usr/lib/sysimage/rpm")).unwrap();
            fs::create_dir_all(root.join("var/lib")).unwrap();
            fs::create_dir(&state).unwrap();
            fs::write(root.join("usr/lib/sysimage/rpm/rpmdb.sqlite"), "").unwrap();
            symlink("../../usr/lib/sysimage/rpm", root.join("var/lib/rpm")).unwrap();
            fs::write(root.join("etc/dnf/real"), "").unwrap();
            symlink("../real", root.join("etc/dnf/modules.d/x.module")).unwrap();
            (place, root, state)
        };
        let said = |root: &Path, state: &Path| match check(root, "/var/lib/rpm", state) {
            Ok(()) => String::new(),
            Err(error) => format!("{error:#}"),
        };
        let (_place, root, state) = fresh();
        assert_eq!(said(&root, &state), "");
        let cases: [(&Change<'_>, &str); 7] = [
            (
                &|root, _| fifo(&root.join("etc/dnf/modules.d/a.module")),
                "/etc/dnf/modules.d/a.module of",
            ),
            (
                &|root, _| fifo(&root.join("usr/lib/sysimage/rpm/x")),
                "/var/lib/rpm/x of the image is a F",
            ),
            (
                &|root, _| {
                    symlink("/osimg/cache/new", root.join("etc/dnf/modules.d/b.module")).unwrap()
                },
                "b.module of the image is a link out of the image",
            ),
            (&|root, _| symlink("../../state", root.join("var/dnf")).unwrap(), ""),
            (
                &|root, _| symlink("../../../state", root.join("var/lib/dnf")).unwrap(),
                "/var/lib/dnf of the image is a link out",
            ),
            (
                &|root, _| {
                    fs::rename(root.join("etc"), root.join("other")).unwrap();
                    symlink("/nowhere", root.join("etc")).unwrap();
                },
                "/etc of the image is a link out",
            ),
            (
                &|_, state| symlink("/osimg/cache/x", state.join("history.sqlite")).unwrap(),
                "records its",
            ),
        ];
        for (change, expected) in cases {
            let (_place, root, state) = fresh();
            change(&root, &state);
            let said = said(&root, &state);
            assert!(said.contains(expected) && said.is_empty() == expected.is_empty(), "{said}");
        }
    }
}
