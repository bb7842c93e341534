//! Hard links: which name of a file carries it, and which ones only point there.

use std::collections::{HashMap, HashSet};

/// Directories that are often file systems of their own on the target; a hard link into one would
/// fail when it is unpacked there.
const PARTITIONS: [&[u8]; 10] = [
    b"boot",
    b"boot/efi",
    b"home",
    b"opt",
    b"srv",
    b"tmp",
    b"var",
    b"var/log",
    b"var/log/audit",
    b"var/tmp",
];

/// The file and the partition of the target that it is unpacked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Place {
    device: u64,
    inode: u64,
    partition: Option<usize>,
}

/// The member that carries a file of several names.
#[derive(Debug)]
pub(super) struct First {
    /// Its name in the archive.
    pub(super) name: Vec<u8>,
    pub(super) label: Option<Vec<u8>>,
}

/// What is to be done with one name of a file of several.
#[derive(Debug)]
pub(super) enum Link<'a> {
    /// The first name: carries the file.
    Carries,
    /// As the first, though another partition has the file as well.
    Repeats,
    /// Points to the name that carries the file.
    PointsTo(&'a First),
}

#[derive(Debug, Default)]
pub(super) struct Links {
    first: HashMap<Place, First>,
    seen: HashSet<(u64, u64)>,
}

impl Links {
    /// Decides for the name `path`, a path inside the tree.
    pub(super) fn find(&self, device: u64, inode: u64, path: &[u8]) -> Link<'_> {
        match self.first.get(&Place { device, inode, partition: partition(path) }) {
            Some(first) => Link::PointsTo(first),
            None if self.seen.contains(&(device, inode)) => Link::Repeats,
            None => Link::Carries,
        }
    }

    /// Remembers that the member `first`, at `path` inside the tree, carries the file.
    pub(super) fn remember(&mut self, device: u64, inode: u64, path: &[u8], first: First) {
        self.first.insert(Place { device, inode, partition: partition(path) }, first);
        self.seen.insert((device, inode));
    }
}

/// The innermost directory of [`PARTITIONS`] that holds the path.
fn partition(path: &[u8]) -> Option<usize> {
    let holds = |directory: &[u8]| {
        path.strip_prefix(directory).is_some_and(|rest| rest.first() == Some(&b'/'))
    };
    (0..PARTITIONS.len())
        .filter(|n| PARTITIONS.get(*n).is_some_and(|directory| holds(directory)))
        .max_by_key(|n| PARTITIONS.get(*n).map(|f| f.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_partition_counts() {
        let name = |path: &str| partition(path.as_bytes()).map(|n| PARTITIONS[n]);
        assert_eq!(name("boot/efi/EFI/x"), Some(b"boot/efi".as_slice()));
        assert_eq!(name("var/log/audit/audit.log"), Some(b"var/log/audit".as_slice()));
        assert_eq!(name("var/lib/x"), Some(b"var".as_slice()));
        assert_eq!(name("variable/x"), None);
        assert_eq!(name("usr/boot/x"), None);
        assert_eq!(name("boot"), None);
    }

    #[test]
    fn a_link_never_crosses_a_partition() {
        let mut links = Links::default();
        assert!(matches!(links.find(1, 2, b"boot/vmlinuz"), Link::Carries));
        links.remember(
            1,
            2,
            b"boot/vmlinuz",
            First { name: b"./boot/vmlinuz".to_vec(), label: None },
        );
        assert!(matches!(
            links.find(1, 2, b"boot/second"),
            Link::PointsTo(first) if first.name == b"./boot/vmlinuz"
        ));
        assert!(matches!(links.find(1, 2, b"usr/lib/vmlinuz"), Link::Repeats));
        links.remember(
            1,
            2,
            b"usr/lib/vmlinuz",
            First { name: b"./usr/lib/vmlinuz".to_vec(), label: None },
        );
        assert!(matches!(
            links.find(1, 2, b"usr/third"),
            Link::PointsTo(first) if first.name == b"./usr/lib/vmlinuz"
        ));
        assert!(matches!(links.find(1, 3, b"usr/other"), Link::Carries));
    }
}
