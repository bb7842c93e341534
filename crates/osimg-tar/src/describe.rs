//! From a file of the tree to its member: names, types, owners, labels, attributes and links.

use crate::attributes::{self, Dropped, Handle};
use crate::entry::{Entry, Kind, Time};
use crate::error::{Context, Error, Reason, Result};
use crate::labels::{Capabilities, LabelSource, Overrides};
use crate::links::{First, Link, Links};
use crate::walk::Found;
use nix::fcntl::readlinkat;
use nix::sys::stat::{SFlag, major, minor};
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStringExt;

/// Describes the files of one tree, in the order of the walk.
pub(super) struct Describer<'o> {
    overrides: Overrides<'o>,
    /// No member is newer, and all times are whole seconds.
    latest: Option<i64>,
    links: Links,
    capabilities: Capabilities,
}

/// A member, and what is worth a warning.
pub(super) struct Described {
    /// A sparse file's map is still missing.
    pub(super) entry: Entry,
    /// Whether the content was written before, for another partition of the target.
    pub(super) repeated: bool,
    /// Whether the hard link has another label under its first name.
    pub(super) relabelled: bool,
    /// Whether it has a file capability of a container's user namespace.
    pub(super) foreign_capability: bool,
    /// The attributes left out.
    pub(super) dropped: Vec<&'static Dropped>,
}

impl<'o> Describer<'o> {
    pub(super) fn new(overrides: Overrides<'o>, latest: Option<i64>) -> Self {
        Self { overrides, latest, links: Links::default(), capabilities: Capabilities::All }
    }

    /// Sets which file capabilities are accepted.
    pub(super) fn capabilities(&mut self, capabilities: Capabilities) {
        self.capabilities = capabilities;
    }

    /// The member of a file; `None` for a socket, which an archive cannot hold.
    pub(super) fn describe(&mut self, found: &Found) -> Result<Option<Described>> {
        let Some(kind) = kind_of(found)? else { return Ok(None) };
        let mut described = Described {
            entry: self.entry(found, kind)?,
            repeated: false,
            relabelled: false,
            foreign_capability: false,
            dropped: Vec::new(),
        };
        let stat = &found.stat;
        let several = kind != Kind::Directory && stat.st_nlink > 1;
        if several {
            match self.links.find(stat.st_dev, stat.st_ino, &found.path) {
                Link::PointsTo(first) => {
                    let computed = self.overrides.labels.source() == LabelSource::Computed;
                    described.relabelled = computed && first.label != self.computed_label(found);
                    let entry = &mut described.entry;
                    (entry.kind, entry.link, entry.size, entry.device) =
                        (Kind::HardLink, first.name.clone(), 0, None);
                    return Ok(Some(described));
                }
                Link::Repeats => described.repeated = true,
                Link::Carries => {}
            }
        }
        let mut attributes = attributes::read(&found.handle)?;
        described.foreign_capability = attributes.foreign_capability.is_some();
        if let (Some(root), Capabilities::OfHost) =
            (attributes.foreign_capability, self.capabilities)
        {
            return Err(Error::new(Reason::Capability(root)).context("reading a file capability"));
        }
        let entry = &mut described.entry;
        entry.label = match self.overrides.labels.source() {
            LabelSource::Nowhere => None,
            LabelSource::Tree => attributes.label.take(),
            LabelSource::Computed => self.computed_label(found),
        };
        if several {
            let first = First { name: entry.path.clone(), label: entry.label.clone() };
            self.links.remember(stat.st_dev, stat.st_ino, &found.path, first);
        }
        if let (Kind::Symlink, Handle::Place(fd)) = (kind, &found.handle) {
            entry.link = readlinkat(fd, c"").context("reading the link")?.into_vec();
        }
        entry.acl = attributes.acl.map(String::into_bytes);
        entry.default_acl = attributes.default_acl.map(String::into_bytes);
        entry.xattrs = attributes.others;
        described.dropped = attributes.dropped;
        Ok(Some(described))
    }

    /// The fields that the file's status gives.
    fn entry(&self, found: &Found, kind: Kind) -> Result<Entry> {
        let stat = &found.stat;
        let (uid, gid) = self.overrides.owner(stat);
        let device = matches!(kind, Kind::Character | Kind::Block)
            .then(|| (major(stat.st_rdev), minor(stat.st_rdev)));
        Ok(Entry {
            offset: 0,
            path: member_name(&found.path, kind),
            kind,
            mode: stat.st_mode & 0o7777,
            uid: uid.into(),
            gid: gid.into(),
            uname: Vec::new(),
            gname: Vec::new(),
            size: if kind == Kind::File {
                u64::try_from(stat.st_size).context("reading its size")?
            } else {
                0
            },
            mtime: match self.latest {
                Some(latest) => Time { seconds: stat.st_mtime.min(latest), nanoseconds: 0 },
                None => Time {
                    seconds: stat.st_mtime,
                    nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
                },
            },
            link: Vec::new(),
            device,
            xattrs: BTreeMap::new(),
            acl: None,
            default_acl: None,
            label: None,
            sparse: None,
        })
    }

    fn computed_label(&self, found: &Found) -> Option<Vec<u8>> {
        self.overrides.labels.label(&[b"/", found.path.as_slice()].concat(), found.stat.st_mode)
    }
}

/// The type of the member; `None` for a socket.
fn kind_of(found: &Found) -> Result<Option<Kind>> {
    Ok(Some(match found.kind() {
        SFlag::S_IFREG => Kind::File,
        SFlag::S_IFDIR => Kind::Directory,
        SFlag::S_IFLNK => Kind::Symlink,
        SFlag::S_IFCHR => Kind::Character,
        SFlag::S_IFBLK => Kind::Block,
        SFlag::S_IFIFO => Kind::Fifo,
        SFlag::S_IFSOCK => return Ok(None),
        other => return Err(Error::new(Reason::FileType(other.bits()))),
    }))
}

/// The path inside the tree as a member's name.
fn member_name(path: &[u8], kind: Kind) -> Vec<u8> {
    let mut name = [b"./", path].concat();
    if kind == Kind::Directory && !path.is_empty() {
        name.push(b'/');
    }
    name
}
