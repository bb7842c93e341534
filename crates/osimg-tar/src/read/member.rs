//! A member: what its header and the extended headers before it say together.

use super::Irregularity;
use super::header::{BLOCK, Block, Dialect};
use super::map::{self, Map};
use super::records::{Both, Records};
use super::source::Source;
use crate::entry::{Entry, Extent, Kind, Time};
use crate::error::Result;
use std::sync::Arc;

/// The headers before a member that belong to it.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    pub(super) records: Records,
    pub(super) name: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
}

impl Extensions {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.name.is_none() && self.link.is_none()
    }
}

/// Headers that are no members.
#[derive(Debug, Clone, Copy)]
pub(super) enum Extra {
    Record,
    Global,
    Name,
    Link,
    Volume,
}

impl Extra {
    pub(super) fn of(flag: u8) -> Option<Self> {
        match flag {
            // Solaris wrote the same records under a flag of its own.
            b'x' | b'X' => Some(Self::Record),
            b'g' => Some(Self::Global),
            b'L' => Some(Self::Name),
            b'K' => Some(Self::Link),
            b'V' => Some(Self::Volume),
            _ => None,
        }
    }
}

/// A member, and how much of the archive is its content.
pub(super) struct Member {
    pub(super) entry: Entry,
    pub(super) left: u64,
    pub(super) padding: u64,
    pub(super) irregular: Vec<Irregularity>,
}

const OLD_SPARSE: u8 = b'S';

pub(super) fn assemble(
    offset: u64,
    block: &Block,
    global: &Records,
    extra: Extensions,
    source: &mut Source<'_>,
) -> Result<Member> {
    let Extensions { records: own, name, link } = extra;
    if own.headers > 1 {
        return Err(source.damaged("a member has two extended headers"));
    }
    let records = Both { global, own: &own };
    let fields = Fields::read(block, records, name, link).map_err(|why| source.damaged_at(why))?;
    let Fields { path, kind, stored, .. } = fields;
    let mut irregular = Vec::new();
    let stored = match kind {
        Kind::File => stored,
        Kind::HardLink => {
            if stored != 0 {
                irregular.push(Irregularity::Size);
            }
            0
        }
        Kind::Symlink | Kind::Character | Kind::Block | Kind::Directory | Kind::Fifo
            if stored == 0 =>
        {
            0
        }
        // Some readers would pass over so many bytes and others not: two archives in one.
        _ => return Err(source.damaged("a member that is not a file has a size")),
    };
    let map = match (block.flag(), kind) {
        (OLD_SPARSE, _) => Some(map::old(source, block)?),
        (_, Kind::File) => map::pax(source, records, stored)?,
        _ => None,
    };
    let padding = stored.next_multiple_of(BLOCK as u64) - stored;
    let (size, left, sparse) = match map {
        None => (stored, stored, None),
        Some(map) => {
            let (size, left, extents) =
                placed(&map, stored).map_err(|why| source.damaged_at(why))?;
            (size, left, Some(extents))
        }
    };
    if path.is_empty() {
        return Err(source.damaged("a member has no name"));
    }
    let mut xattrs = records.attributes();
    let stored_label = xattrs
        .remove(b"security.selinux".as_slice())
        .map(|label| label.strip_suffix(b"\0").unwrap_or(&label).to_vec());
    let label = records
        .value("RHT.security.selinux")
        .map(|label| label.strip_suffix(b"\0").unwrap_or(label).to_vec());
    if label.is_some() && stored_label.is_some() && label != stored_label {
        irregular.push(Irregularity::Labels);
    }
    let owned = |key: &str| records.value(key).map(<[u8]>::to_vec);
    let Fields { mode, uid, gid, uname, gname, mtime, link, device, .. } = fields;
    let entry = Entry {
        offset,
        path,
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
        xattrs,
        acl: owned("SCHILY.acl.access"),
        default_acl: owned("SCHILY.acl.default"),
        label: label.or(stored_label),
        sparse,
    };
    Ok(Member { entry, left, padding, irregular })
}

/// The size of a sparse file, the bytes of its data, and where they go.
fn placed(map: &Map, stored: u64) -> Result<(u64, u64, Arc<[Extent]>), String> {
    let left =
        stored.checked_sub(map.read).ok_or("a sparse file's map is longer than its content")?;
    Ok((map.size, left, map::checked(map, left)?.into()))
}

/// What header and records say of every kind of member.
struct Fields {
    path: Vec<u8>,
    kind: Kind,
    mode: u32,
    uid: u64,
    gid: u64,
    uname: Vec<u8>,
    gname: Vec<u8>,
    stored: u64,
    mtime: Time,
    link: Vec<u8>,
    device: Option<(u64, u64)>,
}

impl Fields {
    fn read(
        block: &Block,
        records: Both<'_>,
        name: Option<Vec<u8>>,
        link: Option<Vec<u8>>,
    ) -> Result<Self, String> {
        let path = one(records.value("path"), name, "name")?;
        // The other names of a sparse file stand for its parts, and may be cut anywhere.
        let path = sparse_name(block, records)
            .map(<[u8]>::to_vec)
            .or(path)
            .unwrap_or_else(|| block.name());
        let link =
            one(records.value("linkpath"), link, "link")?.unwrap_or_else(|| block.link().to_vec());
        let kind = kind(block, &path)?;
        let id = |key: &str, field: Result<u64, String>| {
            Ok::<_, String>(records.number(key)?.unwrap_or(field?))
        };
        let text = |key: &str, field: &[u8]| records.value(key).unwrap_or(field).to_vec();
        let device = match kind {
            Kind::Character | Kind::Block => {
                let (major, minor) = block.device()?;
                Some((
                    records.number("SCHILY.devmajor")?.unwrap_or(major),
                    records.number("SCHILY.devminor")?.unwrap_or(minor),
                ))
            }
            _ => None,
        };
        Ok(Self {
            kind,
            mode: block.mode()?,
            uid: id("uid", block.uid())?,
            gid: id("gid", block.gid())?,
            uname: text("uname", block.uname()),
            gname: text("gname", block.gname()),
            stored: id("size", block.size())?,
            mtime: match records.time("mtime")? {
                Some(time) => time,
                None => Time { seconds: block.mtime()?, nanoseconds: 0 },
            },
            link: if matches!(kind, Kind::HardLink | Kind::Symlink) { link } else { Vec::new() },
            device,
            path,
        })
    }
}

/// The name of a sparse file in GNU tar's PAX formats.
fn sparse_name<'a>(block: &Block, records: Both<'a>) -> Option<&'a [u8]> {
    let file = matches!(block.flag(), 0 | b'0' | b'7' | OLD_SPARSE);
    let sparse = block.flag() == OLD_SPARSE
        || ["GNU.sparse.major", "GNU.sparse.minor", "GNU.sparse.size"]
            .iter()
            .any(|key| records.value(key).is_some());
    records.value("GNU.sparse.name").filter(|_| file && sparse)
}

/// A name that stands in a record or in a member of GNU tar's own, but not in both.
fn one(
    record: Option<&[u8]>,
    long: Option<Vec<u8>>,
    what: &str,
) -> Result<Option<Vec<u8>>, String> {
    match (record, long) {
        (Some(_), Some(_)) => Err(format!("a member has two long {what}s")),
        (Some(record), None) => Ok(Some(record.to_vec())),
        (None, long) => Ok(long),
    }
}

fn kind(block: &Block, path: &[u8]) -> Result<Kind, String> {
    let as_directory = path.ends_with(b"/");
    match block.flag() {
        // The first tar knew directories by their names only.
        0 if as_directory => Ok(Kind::Directory),
        b'0' if as_directory && block.dialect == Dialect::V7 => Ok(Kind::Directory),
        b'0' | b'7' | OLD_SPARSE if as_directory => {
            Err("a file has the name of a directory".into())
        }
        0 | b'0' | b'7' | OLD_SPARSE => Ok(Kind::File),
        b'1' => Ok(Kind::HardLink),
        b'2' => Ok(Kind::Symlink),
        b'3' => Ok(Kind::Character),
        b'4' => Ok(Kind::Block),
        b'5' => Ok(Kind::Directory),
        b'6' => Ok(Kind::Fifo),
        b'D' | b'M' | b'N' => Err("it is part of an incremental or a multi-volume archive".into()),
        flag => Err(format!("a member is of the unknown type {:?}", char::from(flag))),
    }
}
