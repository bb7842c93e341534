//! The files of an image, kept compactly: an image may have millions of them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::ops::Deref;
use std::sync::Arc;

use super::{Kind, Time, normal, paths};
use crate::archive::read::Entry;

/// One file of the image.
///
/// The archive's own account of it is an [`Entry`], which lasts until the next one is read. This is
/// what is kept of it. Owner, mode, label and attributes are in [`Traits`], which most files share
/// with others and which are read as if they were fields of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its path inside the image, without a slash or `./` at the beginning and a slash at the end;
    /// empty for the root itself.
    pub path: Box<[u8]>,
    /// Its type.
    pub kind: Kind,
    /// Bytes of its content, holes included; 0 for a hard link.
    pub size: u64,
    /// The time of the last change of its content.
    pub mtime: Time,
    /// The target of a symbolic link; for a hard link the name of the member with the content.
    pub link: Box<[u8]>,
    /// SHA-256 of its content, for a regular file when digests were asked for and can be computed.
    pub sha256: Option<[u8; 32]>,
    traits: Arc<Traits>,
    rare: Option<Box<Rare>>,
}

/// What files have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Traits {
    /// The permissions, without the type.
    pub mode: u32,
    /// The owner's number.
    pub uid: u64,
    /// The group's number.
    pub gid: u64,
    /// The owner's name in the archive; usually empty.
    pub uname: Vec<u8>,
    /// The group's name in the archive; usually empty.
    pub gname: Vec<u8>,
    /// The SELinux label, without a final NUL.
    pub label: Option<Vec<u8>>,
    /// The access ACL as text.
    pub acl: Option<Vec<u8>>,
    /// The default ACL as text.
    pub default_acl: Option<Vec<u8>>,
    /// Extended attributes by name, without the label, and without ACLs that exist as text;
    /// `security.capability` is one of them.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Traits {
    /// The file capability, as the kernel stores it.
    #[must_use]
    pub fn capability(&self) -> Option<&[u8]> {
        self.xattrs.get(b"security.capability".as_slice()).map(Vec::as_slice)
    }
}

/// What few files have.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rare {
    /// The name in the archive, if it is not the usual form of the path.
    name: Option<Box<[u8]>>,
    /// Bytes of the content without holes.
    stored: u64,
    device: Option<(u64, u64)>,
}

impl Deref for Member {
    type Target = Traits;

    fn deref(&self) -> &Traits {
        &self.traits
    }
}

impl Member {
    /// The name that the archive has for it.
    #[must_use]
    pub fn name(&self) -> Cow<'_, [u8]> {
        match self.rare.as_ref().and_then(|rare| rare.name.as_deref()) {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(usual_name(&self.path, self.kind)),
        }
    }

    /// Bytes of its content without the holes that the archive knows of.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.rare.as_ref().map_or(self.size, |rare| rare.stored)
    }

    /// Whether it is a sparse member.
    #[must_use]
    pub(crate) fn is_sparse(&self) -> bool {
        self.stored() != self.size
    }

    /// Major and minor number of a device.
    #[must_use]
    pub fn device(&self) -> Option<(u64, u64)> {
        self.rare.as_ref().and_then(|rare| rare.device)
    }

    /// What it has in common with others.
    #[must_use]
    pub(crate) fn traits(&self) -> &Arc<Traits> {
        &self.traits
    }

    /// The path for a message: absolute, without control characters.
    #[must_use]
    pub fn shown(&self) -> String {
        paths::shown(&self.path)
    }

    /// `st_mode` with the bits of the type; for a hard link those of a regular file, which it
    /// usually is.
    #[must_use]
    pub fn st_mode(&self) -> u32 {
        let kind = match self.kind {
            Kind::File | Kind::HardLink => 0o100_000,
            Kind::Directory => 0o040_000,
            Kind::Symlink => 0o120_000,
            Kind::Character => 0o020_000,
            Kind::Block => 0o060_000,
            Kind::Fifo => 0o010_000,
        };
        kind | self.mode
    }
}

/// The traits so far, each once.
#[derive(Debug, Default)]
pub(super) struct Known {
    traits: HashSet<Arc<Traits>>,
}

impl Known {
    /// The member of an entry, and the memory that it needs by estimate.
    pub(super) fn member(&mut self, entry: Entry) -> (Member, u64) {
        let stored = stored(&entry);
        let Entry {
            path: name,
            kind,
            mode,
            uid,
            gid,
            uname,
            gname,
            size,
            mtime,
            link,
            device,
            mut xattrs,
            acl,
            default_acl,
            label,
            ..
        } = entry;
        for (text, raw) in
            [(&acl, "system.posix_acl_access"), (&default_acl, "system.posix_acl_default")]
        {
            if text.is_some() {
                xattrs.remove(raw.as_bytes());
            }
        }
        let mut memory = size_of::<Member>() as u64 + ALLOCATION;
        let traits = Traits { mode, uid, gid, uname, gname, label, acl, default_acl, xattrs };
        let traits = match self.traits.get(&traits) {
            Some(known) => known.clone(),
            None => {
                memory += traits.memory();
                let traits = Arc::new(traits);
                self.traits.insert(traits.clone());
                traits
            }
        };
        let path = normal(&name);
        let name = (usual_name(&path, kind) != name).then(|| name.into_boxed_slice());
        memory += (path.len() + link.len() + name.as_ref().map_or(0, |name| name.len())) as u64;
        let rare = (name.is_some() || stored != size || device.is_some())
            .then(|| Box::new(Rare { name, stored, device }));
        memory += rare.as_ref().map_or(0, |_| size_of::<Rare>() as u64 + ALLOCATION);
        (
            Member {
                path: path.into_boxed_slice(),
                kind,
                size,
                mtime,
                link: link.into_boxed_slice(),
                sha256: None,
                traits,
                rare,
            },
            memory,
        )
    }
}

/// What an allocation costs beyond its bytes, and the number in the index.
const ALLOCATION: u64 = 24;

impl Traits {
    fn memory(&self) -> u64 {
        let xattrs: usize =
            self.xattrs.iter().map(|(name, value)| name.len() + value.len() + 96).sum();
        let texts = [&self.acl, &self.default_acl, &self.label]
            .into_iter()
            .flatten()
            .map(Vec::len)
            .sum::<usize>();
        (size_of::<Self>() + 64 + xattrs + texts + self.uname.len() + self.gname.len()) as u64
    }
}

/// The name that osimg gives the path in an archive.
fn usual_name(path: &[u8], kind: Kind) -> Vec<u8> {
    let end: &[u8] = if kind == Kind::Directory && !path.is_empty() { b"/" } else { b"" };
    [b"./", path, end].concat()
}

/// Bytes of content that the archive contains.
pub(super) fn stored(entry: &Entry) -> u64 {
    match &entry.sparse {
        Some(extents) => extents.iter().map(|extent| extent.length).sum::<u64>().min(entry.size),
        None => entry.size,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, kind: Kind) -> Entry {
        Entry {
            offset: 0,
            path: name.into(),
            kind,
            mode: 0o644,
            uid: 0,
            gid: 5,
            uname: Vec::new(),
            gname: Vec::new(),
            size: 0,
            mtime: Time { seconds: 0, nanoseconds: 0 },
            link: Vec::new(),
            device: None,
            xattrs: BTreeMap::from([(b"system.posix_acl_access".to_vec(), vec![2, 0, 0, 0])]),
            acl: None,
            default_acl: None,
            label: Some(b"system_u:object_r:etc_t:s0".to_vec()),
            sparse: None,
        }
    }

    #[test]
    fn names_are_kept_byte_for_byte() {
        let mut known = Known::default();
        for (name, kind) in [
            ("./", Kind::Directory),
            ("./a/", Kind::Directory),
            ("./a", Kind::File),
            ("a//b", Kind::File),
            ("/a", Kind::Fifo),
        ] {
            assert_eq!(*known.member(entry(name, kind)).0.name(), *name.as_bytes());
        }
    }

    #[test]
    fn members_share_their_traits() {
        let mut known = Known::default();
        let (first, memory) = known.member(entry("./a", Kind::File));
        let (second, less) = known.member(entry("./b", Kind::File));
        assert!(Arc::ptr_eq(&first.traits, &second.traits) && less < memory);
        assert_eq!((second.gid, second.xattrs.len()), (5, 1));
        let both = Entry { acl: Some(b"user::rw-".to_vec()), ..entry("./c", Kind::File) };
        assert_eq!(known.member(both).0.xattrs.len(), 0);
    }
}
