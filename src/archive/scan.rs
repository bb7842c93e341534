//! A tree's files told as the members that an archive of it would have, without writing one.

use super::Told;
use super::attributes::{self, Handle};
use super::labels::LabelSource;
use super::links::{First, Link, Links};
use super::pack::{kind_of, member_name};
use super::pax::{Kind, Time};
use super::read::Entry;
use super::walk::{Walk, shown};
use crate::error::Result;
use anyhow::Context;
use nix::fcntl::readlinkat;
use nix::sys::stat::{major, minor};
use std::fs::File;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

/// Walks through `tree` in the order of an archive and gives every member to `take`, a regular file
/// with its content still to be read. Sockets, which an archive cannot hold, are left out.
///
/// # Errors
/// Fails when the tree cannot be read whole (something is mounted in it, it changes in the
/// meantime), and when `take` does.
pub fn scan_tree<'a>(tree: &Path, told: impl Into<Told<'a>>, mut take: impl FnMut(Entry, Option<&File>) -> Result<()>) -> Result<()> {
    let told = told.into();
    let mut walk = Walk::new(tree)?;
    let mut links = Links::default();
    while let Some(found) = walk.next()? {
        let at = || format!("looking at {}", shown(&found.path));
        let Some(kind) = kind_of(&found).with_context(at)? else { continue };
        let mut entry = entry(&found, kind, told.owner(&found.stat))?;
        let several = kind != Kind::Directory && found.stat.st_nlink > 1;
        if several && let Link::PointsTo(first) = links.of(found.stat.st_dev, found.stat.st_ino, &found.path) {
            (entry.kind, entry.link, entry.size, entry.device) = (Kind::HardLink, first.name.clone(), 0, None);
            take(entry, None)?;
            continue;
        }
        let mut attributes = attributes::read(&found.handle).with_context(at)?;
        entry.label = match told.labels.source() {
            LabelSource::Nowhere => None,
            LabelSource::Tree => attributes.label.take(),
            LabelSource::Computed => told.labels.label(&[b"/", found.path.as_slice()].concat(), found.stat.st_mode),
        };
        if several {
            let first = First { name: entry.path.clone(), label: None };
            links.remember(found.stat.st_dev, found.stat.st_ino, &found.path, first);
        }
        entry.acl = attributes.acl.map(String::into_bytes);
        entry.default_acl = attributes.default_acl.map(String::into_bytes);
        entry.xattrs = attributes.others.into_iter().collect();
        match (kind, &found.handle) {
            (Kind::File, Handle::Open(file)) => take(entry, Some(file))?,
            (Kind::Symlink, Handle::Place(fd)) => {
                entry.link = readlinkat(fd, c"").with_context(at)?.into_vec();
                take(entry, None)?;
            }
            _ => take(entry, None)?,
        }
    }
    Ok(())
}

/// What the file system says of a file, without its attributes.
fn entry(found: &super::walk::Entry, kind: Kind, (uid, gid): (u32, u32)) -> Result<Entry> {
    let stat = &found.stat;
    let device = matches!(kind, Kind::Character | Kind::Block).then(|| (major(stat.st_rdev), minor(stat.st_rdev)));
    Ok(Entry {
        offset: 0,
        path: member_name(&found.path, kind),
        kind,
        mode: stat.st_mode & 0o7777,
        uid: uid.into(),
        gid: gid.into(),
        uname: Vec::new(),
        gname: Vec::new(),
        size: if kind == Kind::File { u64::try_from(stat.st_size)? } else { 0 },
        mtime: Time { seconds: stat.st_mtime, nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) },
        link: Vec::new(),
        device,
        xattrs: std::collections::BTreeMap::new(),
        acl: None,
        default_acl: None,
        label: None,
        sparse: None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{FromTree, NoLabels};
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn a_tree_is_told_as_its_archive_would_be() {
        let tree = tempfile::tempdir().unwrap();
        let at = |name: &str| tree.path().join(name);
        std::fs::create_dir(at("b")).unwrap();
        std::fs::write(at("b/file"), "seven b").unwrap();
        std::fs::hard_link(at("b/file"), at("c")).unwrap();
        symlink("b/file", at("a")).unwrap();
        let mut seen = Vec::new();
        scan_tree(tree.path(), &NoLabels, |entry, file| {
            let told = file.map(|file| file.metadata().unwrap().size());
            seen.push((String::from_utf8(entry.path).unwrap(), entry.kind, String::from_utf8(entry.link).unwrap(), entry.size, told));
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
        assert!(scan_tree(&at("c"), &FromTree, |_, _| Ok(())).is_err());
    }
}
