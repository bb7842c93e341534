//! The files of a tree as the members of its archive, without writing one.

use super::attributes::Handle;
use super::describe::Describer;
use super::entry::{Entry, Kind};
use super::error::{Context, Error};
use super::labels::Overrides;
use super::shown::shown;
use super::walk::Walk;
use std::fs::File;
use std::path::Path;

/// Walks through `tree` in the order of an archive and gives every member to `take`, a regular file
/// with its content still to be read. Sockets, which an archive cannot hold, are left out.
///
/// # Errors
/// Fails when the tree cannot be read completely (something is mounted in it, or it changes in the
/// meantime), and when `take` does.
pub fn scan_tree<'a, E: From<Error>>(
    tree: &Path,
    overrides: impl Into<Overrides<'a>>,
    mut take: impl FnMut(Entry, Option<&File>) -> Result<(), E>,
) -> Result<(), E> {
    let mut walk = Walk::new(tree)?;
    let mut describer = Describer::new(overrides.into(), None);
    while let Some(found) = walk.next()? {
        let described = describer
            .describe(&found)
            .with_context(|| format!("reading {}", shown(&found.path)))?;
        let Some(entry) = described.map(|described| described.entry) else { continue };
        match (entry.kind, &found.handle) {
            (Kind::File, Handle::Open(file)) => take(entry, Some(file))?,
            _ => take(entry, None)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{FromTree, NoLabels};
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn the_members_of_a_tree_are_those_of_its_archive() {
        let tree = tempfile::tempdir().unwrap();
        let at = |name: &str| tree.path().join(name);
        std::fs::create_dir(at("b")).unwrap();
        std::fs::write(at("b/file"), "seven b").unwrap();
        std::fs::hard_link(at("b/file"), at("c")).unwrap();
        symlink("b/file", at("a")).unwrap();
        let mut seen = Vec::new();
        scan_tree(tree.path(), &NoLabels, |entry, file| -> crate::Result<()> {
            let size = file.map(|file| file.metadata().unwrap().size());
            seen.push((
                String::from_utf8(entry.path).unwrap(),
                entry.kind,
                String::from_utf8(entry.link).unwrap(),
                entry.size,
                size,
            ));
            Ok(())
        })
        .unwrap();
        let none = String::new;
        assert_eq!(
            seen,
            [
                ("./".into(), Kind::Directory, none(), 0, None),
                ("./a".into(), Kind::Symlink, "b/file".into(), 0, None),
                ("./b/".into(), Kind::Directory, none(), 0, None),
                ("./b/file".into(), Kind::File, none(), 7, Some(7)),
                ("./c".into(), Kind::HardLink, "./b/file".into(), 0, None),
            ]
        );
        assert!(scan_tree(&at("c"), &FromTree, |_, _| Ok::<(), Error>(())).is_err());
    }
}
