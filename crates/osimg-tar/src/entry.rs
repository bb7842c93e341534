//! A member of an archive: what its headers contain, for the writer and for the reader.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The type of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// Another name of an earlier member.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// A point in time: `nanoseconds`, below 10⁹, after `seconds` since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// Nanoseconds to add.
    pub nanoseconds: u32,
}

/// A stretch of data between holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The place in the file where it begins, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
}

/// The headers of one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The place of its first header, in bytes before compression.
    pub offset: u64,
    /// Its name, byte for byte.
    pub path: Vec<u8>,
    /// Its type.
    pub kind: Kind,
    /// The permissions, without the type.
    pub mode: u32,
    /// The owner's number.
    pub uid: u64,
    /// The group's number.
    pub gid: u64,
    /// The owner's name; usually empty.
    pub uname: Vec<u8>,
    /// The group's name; usually empty.
    pub gname: Vec<u8>,
    /// The size of the content, holes included; 0 for a hard link.
    pub size: u64,
    /// The time of the last change of the content.
    pub mtime: Time,
    /// The target of a symbolic link; for a hard link the name of the member with the content.
    pub link: Vec<u8>,
    /// Major and minor number of a device.
    pub device: Option<(u64, u64)>,
    /// Extended attributes, without the SELinux label.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The access ACL as text.
    pub acl: Option<Vec<u8>>,
    /// The default ACL as text.
    pub default_acl: Option<Vec<u8>>,
    /// The SELinux label, without a final NUL.
    pub label: Option<Vec<u8>>,
    /// The stretches of data of a sparse file.
    pub sparse: Option<Arc<[Extent]>>,
}
