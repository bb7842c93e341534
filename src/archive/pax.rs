//! The headers of an archive: ustar fields, and PAX records for what does not fit them
//! (POSIX.1-2001, pax interchange format).
//!
//! Written here and not by the `tar` crate, which takes the leading `./` from names, keeps no
//! fractions of a second and knows no attributes; only its layout of the header is used.

use super::attributes::Attributes;
use crate::error::Result;
use anyhow::Context;
use std::io::Write as _;

/// What a member is: the types of the ustar format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// Another name of a member that came before.
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

impl Kind {
    const fn flag(self) -> u8 {
        match self {
            Self::File => b'0',
            Self::HardLink => b'1',
            Self::Symlink => b'2',
            Self::Character => b'3',
            Self::Block => b'4',
            Self::Directory => b'5',
            Self::Fifo => b'6',
        }
    }
}

/// A point in time: `nanoseconds`, below 10⁹, after `seconds` since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// What is added to them.
    pub nanoseconds: u32,
}

/// All that a header says of a member.
#[derive(Debug)]
pub(super) struct Member<'a> {
    /// The name as the archive has it: `./` first, `/` last for a directory.
    pub(super) name: &'a [u8],
    pub(super) kind: Kind,
    /// Of a symbolic link its target, of a hard link the name of the first member.
    pub(super) link: &'a [u8],
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) modified: Time,
    /// Bytes that follow in the archive.
    pub(super) size: u64,
    /// The size of a sparse file, whose map and data are what follows.
    pub(super) sparse_size: Option<u64>,
    pub(super) major: u64,
    pub(super) minor: u64,
    pub(super) attributes: &'a Attributes,
    /// The SELinux label, without a final NUL.
    pub(super) label: Option<&'a [u8]>,
}

/// Field widths of the ustar header.
const NAME: usize = 100;
const PREFIX: usize = 155;
/// The first numbers that do not fit a field of 7 and of 11 octal digits.
const LARGE_ID: u32 = 1 << 21;
const LARGE_NUMBER: u64 = 1 << 33;
/// Attributes whose names have these two characters are read back right only when they are written
/// so (GNU tar, xheader.c).
const ESCAPES: [(u8, &[u8]); 2] = [(b'%', b"%25"), (b'=', b"%3D")];

/// Appends the headers of `member` to `out`: a PAX header where it takes one, and the ustar header.
///
/// # Errors
/// Fails only for device numbers that no kernel has.
pub(super) fn write(member: &Member<'_>, out: &mut Vec<u8>) -> Result<()> {
    let records = records(member);
    if !records.is_empty() {
        let name = beside(member.name, b"PaxHeaders");
        let attributes = Attributes::default();
        let header = Member {
            name: &name,
            kind: Kind::File,
            link: b"",
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: records.len() as u64,
            sparse_size: None,
            major: 0,
            minor: 0,
            attributes: &attributes,
            label: None,
            modified: member.modified,
        };
        ustar(&header, &name, b'x', out)?;
        out.extend_from_slice(&records);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    match member.sparse_size {
        // Readers that know sparse files take the name from its record; to others this one tells
        // what they unpacked.
        Some(_) => ustar(member, &beside(member.name, b"GNUSparseFile.0"), member.kind.flag(), out),
        None => ustar(member, member.name, member.kind.flag(), out),
    }
}

/// The name `directory/between/base` for the name `directory/base`.
fn beside(name: &[u8], between: &[u8]) -> Vec<u8> {
    let name = name.strip_suffix(b"/").unwrap_or(name);
    let (directory, base) = match name.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => name.split_at(slash + 1),
        None => (b"./".as_slice(), name),
    };
    [directory, between, b"/", base].concat()
}

/// The records in an order that careless readers survive: values that may hold a newline come last.
fn records(member: &Member<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(size) = member.sparse_size {
        record(&mut out, b"GNU.sparse.major", b"1");
        record(&mut out, b"GNU.sparse.minor", b"0");
        record(&mut out, b"GNU.sparse.name", member.name);
        record(&mut out, b"GNU.sparse.realsize", size.to_string().as_bytes());
    } else if split(member.name).is_none() {
        record(&mut out, b"path", member.name);
    }
    if member.link.len() > NAME {
        record(&mut out, b"linkpath", member.link);
    }
    if member.size >= LARGE_NUMBER {
        record(&mut out, b"size", member.size.to_string().as_bytes());
    }
    if member.uid >= LARGE_ID {
        record(&mut out, b"uid", member.uid.to_string().as_bytes());
    }
    if member.gid >= LARGE_ID {
        record(&mut out, b"gid", member.gid.to_string().as_bytes());
    }
    if member.modified.field().is_none() || member.modified.nanoseconds != 0 {
        record(&mut out, b"mtime", member.modified.decimal().as_bytes());
    }
    if let Some(acl) = &member.attributes.acl {
        record(&mut out, b"SCHILY.acl.access", acl.as_bytes());
    }
    if let Some(acl) = &member.attributes.default_acl {
        record(&mut out, b"SCHILY.acl.default", acl.as_bytes());
    }
    // GNU tar reads the first form, everyone else the second, as the kernel keeps it.
    let stored_label = member.label.map(|label| [label, b"\0"].concat());
    if let Some(label) = member.label {
        record(&mut out, b"RHT.security.selinux", label);
    }
    let label = stored_label.iter().map(|label| (b"security.selinux".as_slice(), label.as_slice()));
    let mut all: Vec<(&[u8], &[u8])> = member.attributes.others.iter().map(|(n, v)| (n.as_slice(), v.as_slice())).chain(label).collect();
    all.sort_unstable();
    for (name, value) in all {
        let mut key = b"SCHILY.xattr.".to_vec();
        for byte in name {
            match ESCAPES.iter().find(|(special, _)| special == byte) {
                Some((_, escaped)) => key.extend_from_slice(escaped),
                None => key.push(*byte),
            }
        }
        record(&mut out, &key, value);
    }
    out
}

/// Appends `LENGTH KEY=VALUE\n`, whose length counts its own digits.
fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + digits(length) {
        length = rest + digits(length);
    }
    // Writing into a Vec cannot fail.
    let _ = write!(out, "{length} ");
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn digits(number: usize) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

impl Time {
    /// The whole seconds, where the header's field can hold them.
    fn field(self) -> Option<u64> {
        u64::try_from(self.seconds).ok().filter(|seconds| *seconds < LARGE_NUMBER)
    }

    /// Seconds as a decimal number; of a time before the epoch sign and magnitude, as for any
    /// number.
    fn decimal(self) -> String {
        let (sign, whole, fraction) = match (self.seconds < 0, self.nanoseconds) {
            (true, 0) => ("-", self.seconds.unsigned_abs(), 0),
            (true, nanoseconds) => ("-", self.seconds.unsigned_abs() - 1, 1_000_000_000 - nanoseconds),
            (false, nanoseconds) => ("", self.seconds.unsigned_abs(), nanoseconds),
        };
        if fraction == 0 {
            return format!("{sign}{whole}");
        }
        let text = format!("{sign}{whole}.{fraction:09}");
        text.trim_end_matches('0').to_owned()
    }
}

/// Parts a name over the header's prefix and name fields; none when it does not fit.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= NAME {
        return Some((b"", name));
    }
    // The longest prefix leaves the shortest name.
    let slash = name.get(..=PREFIX).unwrap_or(name).iter().rposition(|byte| *byte == b'/').filter(|slash| *slash > 0)?;
    let (prefix, rest) = (name.get(..slash)?, name.get(slash + 1..)?);
    (!rest.is_empty() && rest.len() <= NAME).then_some((prefix, rest))
}

fn ustar(member: &Member<'_>, name: &[u8], flag: u8, out: &mut Vec<u8>) -> Result<()> {
    let mut header = tar::Header::new_ustar();
    let fields = header.as_ustar_mut().context("laying out a header")?;
    // A record has the name that does not fit; a reader that knows no records gets its beginning.
    let (prefix, rest) = split(name).unwrap_or((b"", name));
    text(&mut fields.prefix, prefix);
    text(&mut fields.name, rest);
    text(&mut fields.linkname, member.link);
    octal(&mut fields.mode, u64::from(member.mode & 0o7777))?;
    octal(&mut fields.uid, u64::from(if member.uid < LARGE_ID { member.uid } else { 0 }))?;
    octal(&mut fields.gid, u64::from(if member.gid < LARGE_ID { member.gid } else { 0 }))?;
    octal(&mut fields.size, if member.size < LARGE_NUMBER { member.size } else { 0 })?;
    octal(&mut fields.mtime, member.modified.field().unwrap_or(0))?;
    octal(&mut fields.dev_major, member.major)?;
    octal(&mut fields.dev_minor, member.minor)?;
    fields.typeflag = [flag];
    fields.cksum = *b"        ";
    let sum: u64 = header.as_bytes().iter().map(|byte| u64::from(*byte)).sum();
    let fields = header.as_ustar_mut().context("laying out a header")?;
    // By tradition the sum alone ends in a NUL and a space.
    octal(fields.cksum.split_last_mut().context("laying out a header")?.1, sum)?;
    out.extend_from_slice(header.as_bytes());
    Ok(())
}

/// Fills a field, cutting what does not fit.
fn text(field: &mut [u8], value: &[u8]) {
    for (to, from) in field.iter_mut().zip(value) {
        *to = *from;
    }
}

/// Writes a number in octal digits up to the field's last byte, which is a NUL.
fn octal(field: &mut [u8], number: u64) -> Result<()> {
    let width = field.len() - 1;
    let digits = format!("{number:0width$o}\0");
    anyhow::ensure!(digits.len() == field.len(), "laying out a header: {number} does not fit a field of {width} digits");
    field.copy_from_slice(digits.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        for size in [0, 1, 80, 90, 91, 92, 93, 95, 985, 986, 987, 990, 9_985] {
            let mut out = Vec::new();
            record(&mut out, b"k", &vec![b'v'; size]);
            let told: usize = std::str::from_utf8(&out).unwrap().split(' ').next().unwrap().parse().unwrap();
            assert_eq!(told, out.len());
        }
    }

    #[test]
    fn times_before_the_epoch_are_sign_and_magnitude() {
        let decimal = |seconds, nanoseconds| Time { seconds, nanoseconds }.decimal();
        assert_eq!(decimal(-2, 500_000_000), "-1.5");
        assert_eq!(decimal(-1, 999_999_999), "-0.000000001");
        assert_eq!(decimal(-1, 0), "-1");
        assert_eq!(decimal(0, 120_000_000), "0.12");
        assert_eq!(decimal(1_700_000_000, 0), "1700000000");
        assert_eq!(decimal(i64::MIN, 0), "-9223372036854775808");
    }

    #[test]
    fn a_name_is_parted_where_the_fields_allow_it() {
        let long = |prefix: usize, rest: usize| [vec![b'p'; prefix], b"/".to_vec(), vec![b'r'; rest]].concat();
        assert!(split(&[b'n'; 100]).is_some());
        assert!(split(&[b'n'; 101]).is_none());
        assert_eq!(split(&long(155, 100)).unwrap().0.len(), 155);
        assert!(split(&long(156, 99)).is_none());
        assert!(split(&long(10, 101)).is_none());
        assert!(split(&[b"/".to_vec(), vec![b'n'; 100]].concat()).is_none());
        let directory = [vec![b'd'; 100], b"/".to_vec()].concat();
        assert!(split(&directory).is_none());
    }

    #[test]
    fn extra_headers_stand_beside_their_member() {
        assert_eq!(beside(b"./a/b", b"PaxHeaders"), b"./a/PaxHeaders/b");
        assert_eq!(beside(b"./a/b/", b"PaxHeaders"), b"./a/PaxHeaders/b");
        assert_eq!(beside(b"./", b"PaxHeaders"), b"./PaxHeaders/.");
    }
}
