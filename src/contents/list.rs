//! The members of an image, by their paths.

use std::collections::BTreeMap;

use super::member::Member;
use super::paths::normal;
use super::rpmdb::Packages;
use super::stored::Stored;
use crate::archive::read::{Irregularity, Kind};

/// Everything that was read.
#[derive(Debug)]
pub struct Contents {
    /// The tarball; none of a tree.
    pub stored: Option<Stored>,
    /// The members in the archive's order; of several of one path all.
    pub members: Vec<Member>,
    /// What is not right about the archive although it could be read on: the first hundred, each
    /// with its member's name.
    pub irregular: Vec<(Irregularity, Vec<u8>)>,
    /// How much is not right in all.
    pub irregularities: u64,
    /// The packages.
    pub packages: Packages,
    /// The numbers of the members, sorted by path; those of one path in the archive's order.
    pub(super) index: Vec<u32>,
    pub(super) files: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Contents {
    /// The member that has this path, [`normal`] as in [`Member::path`]; links in it are not
    /// followed.
    #[must_use]
    pub fn find(&self, path: impl AsRef<[u8]>) -> Option<&Member> {
        // Of several members of a path, unpacking leaves the last.
        let path = path.as_ref();
        let end = self.index.partition_point(|number| self.path(*number) <= path);
        let last = self.members.get(*self.index.get(end.checked_sub(1)?)? as usize)?;
        (*last.path == *path).then_some(last)
    }

    pub(super) fn path(&self, number: u32) -> &[u8] {
        self.members.get(number as usize).map_or(&[], |member| &member.path)
    }

    /// The member that carries the content and the attributes of `member`: of a hard link the one
    /// it points to.
    #[must_use]
    pub(crate) fn carrier<'a>(&'a self, member: &'a Member) -> &'a Member {
        if member.kind != Kind::HardLink {
            return member;
        }
        self.find(normal(&member.link))
            .filter(|carrier| carrier.kind != Kind::HardLink)
            .unwrap_or(member)
    }

    /// The members of the directory with this path, by path; not those further down.
    pub fn below<'a>(&'a self, directory: &'a str) -> impl Iterator<Item = &'a Member> {
        self.all_below(directory).filter(move |member| {
            member
                .path
                .get(directory.len() + 1..)
                .is_some_and(|name| !name.is_empty() && !name.contains(&b'/'))
        })
    }

    /// All members below the directory with this path.
    pub(crate) fn all_below<'a>(&'a self, directory: &'a str) -> impl Iterator<Item = &'a Member> {
        self.members.iter().filter(move |member| {
            member
                .path
                .strip_prefix(directory.as_bytes())
                .is_some_and(|rest| rest.first() == Some(&b'/'))
        })
    }
}
