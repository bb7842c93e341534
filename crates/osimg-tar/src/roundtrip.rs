//! The reader understands every header that the writer writes.

use crate::entry::{Entry, Extent, Kind, Time};
use crate::pax;
use crate::read::{Part, Reader};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

fn kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![
        Kind::File,
        Kind::HardLink,
        Kind::Symlink,
        Kind::Character,
        Kind::Block,
        Kind::Directory,
        Kind::Fifo,
    ])
}

/// A name of any bytes but NUL, a single component or several, as file systems have them.
fn name() -> impl Strategy<Value = Vec<u8>> {
    vec(vec(1_u8..=255, 1..90), 1..6).prop_map(|parts| {
        let parts: Vec<Vec<u8>> = parts
            .into_iter()
            .map(|part| part.into_iter().map(|b| if b == b'/' { b'_' } else { b }).collect())
            .map(|part: Vec<u8>| if part == b"." || part == b".." { b"_".to_vec() } else { part })
            .collect();
        [b"./".as_slice(), &parts.join(b"/".as_slice())].concat()
    })
}

prop_compose! {
    fn entries()(
        kind in kind(),
        mut path in name(),
        link in name(),
        mode in 0_u32..0o10000,
        (uid, gid) in (0_u64..=u64::from(u32::MAX), 0_u64..=u64::from(u32::MAX)),
        content in vec(any::<u8>(), 0..2000),
        (seconds, nanoseconds) in (-1_i64 << 40..1_i64 << 40, 0_u32..1_000_000_000),
        device in (0_u64..4096, 0_u64..1 << 20),
        xattrs in btree_map(
            vec(1_u8..=255, 1..20).prop_map(|n| [b"user.".as_slice(), &n].concat()),
            vec(any::<u8>(), 1..200),
            0..4,
        ),
        acl in proptest::option::of(
            "user::rw-,user:[0-9]{1,9}:r--,group::r--,mask::r--,other::---",
        ),
        label in proptest::option::of("[a-z_]{1,9}:object_r:[a-z_]{1,9}:s0"),
        hole in proptest::option::of(1_u64..1 << 40),
    ) -> (Entry, Vec<u8>) {
        if kind == Kind::Directory {
            path.push(b'/');
        }
        let content = if kind == Kind::File { content } else { Vec::new() };
        let length = content.len() as u64;
        let hole = hole.filter(|_| kind == Kind::File);
        let data = |offset| if length == 0 { Vec::new() } else { vec![Extent { offset, length }] };
        let entry = Entry {
            offset: 0,
            path,
            kind,
            mode,
            uid,
            gid,
            uname: Vec::new(),
            gname: Vec::new(),
            size: length + hole.unwrap_or(0),
            mtime: Time { seconds, nanoseconds },
            link: if matches!(kind, Kind::HardLink | Kind::Symlink) { link } else { Vec::new() },
            device: matches!(kind, Kind::Character | Kind::Block).then_some(device),
            xattrs,
            acl: acl.clone().map(String::into_bytes),
            default_acl: acl.filter(|_| kind == Kind::Directory).map(String::into_bytes),
            label: label.map(String::into_bytes),
            sparse: hole.map(|hole| data(hole).into()),
        };
        (entry, content)
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back((entry, content) in entries()) {
        let mut archive = Vec::new();
        pax::write(&entry, &mut archive).unwrap();
        archive.extend_from_slice(&content);
        archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
        let mut reader = Reader::new(archive.as_slice()).unwrap();
        let read = reader.next().unwrap();
        prop_assert_eq!(read.as_ref(), Some(&entry));
        let (mut data, mut holes) = (Vec::new(), 0);
        reader.content(|part| {
            match part {
                Part::Data(bytes) => data.extend_from_slice(bytes),
                Part::Hole(count) => holes += count,
            }
            Ok::<(), crate::Error>(())
        }).unwrap();
        prop_assert_eq!((&data, data.len() as u64 + holes), (&content, entry.size));
        prop_assert!(reader.next().unwrap().is_none());
    }
}
