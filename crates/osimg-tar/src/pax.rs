//! The headers of an archive: ustar fields, and PAX records for what does not fit them
//! (POSIX.1-2001, pax interchange format).
//!
//! Only the header's layout comes from the `tar` crate: its writer removes the leading `./` from
//! names, drops fractions of a second and writes no attributes.

use super::entry::{Entry, Kind, Time};
use super::error::{Error, Reason, Result};
use super::sparse;
use super::tape::RECORD;
use std::io::Write as _;

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

/// Field widths of the ustar header.
const NAME: usize = 100;
const PREFIX: usize = 155;
/// The first numbers that do not fit a field of 7 and of 11 octal digits.
const LARGE_ID: u64 = 1 << 21;
const LARGE_NUMBER: u64 = 1 << 33;
/// Attributes whose names have these two characters are read back right only when they are written
/// so (GNU tar, xheader.c).
const ESCAPES: [(u8, &[u8]); 2] = [(b'%', b"%25"), (b'=', b"%3D")];

/// Appends the headers of a member to `out`: a PAX header where one is needed, the ustar header,
/// and the map of a sparse file.
///
/// # Errors
/// Fails only for device numbers that no kernel has.
pub(super) fn write(entry: &Entry, out: &mut Vec<u8>) -> Result<()> {
    let map = entry.sparse.as_ref().map(|extents| sparse::written(extents, entry.size));
    let stored = match (&entry.sparse, &map) {
        (Some(extents), Some(map)) => {
            let data: u64 = extents.iter().map(|extent| extent.length).sum();
            (map.len() as u64).next_multiple_of(RECORD) + data
        }
        _ => entry.size,
    };
    let records = records(entry, stored);
    if !records.is_empty() {
        let fields = Fields {
            flag: b'x',
            mode: 0o644,
            size: records.len() as u64,
            mtime: entry.mtime,
            ..Fields::default()
        };
        ustar(&fields, &beside(&entry.path, b"PaxHeaders"), b"", out)?;
        out.extend_from_slice(&records);
        align(out);
    }
    let fields = Fields {
        flag: entry.kind.flag(),
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        size: stored,
        mtime: entry.mtime,
        device: entry.device.unwrap_or((0, 0)),
    };
    match map {
        // Readers that know sparse files use the name in the record. Others unpack a file with
        // this name, which shows what it is.
        Some(map) => {
            ustar(&fields, &beside(&entry.path, b"GNUSparseFile.0"), &entry.link, out)?;
            out.extend_from_slice(&map);
            align(out);
        }
        None => ustar(&fields, &entry.path, &entry.link, out)?,
    }
    Ok(())
}

/// The numbers of a ustar header.
struct Fields {
    flag: u8,
    mode: u32,
    uid: u64,
    gid: u64,
    size: u64,
    mtime: Time,
    device: (u64, u64),
}

impl Default for Fields {
    fn default() -> Self {
        Self {
            flag: 0,
            mode: 0,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: Time { seconds: 0, nanoseconds: 0 },
            device: (0, 0),
        }
    }
}

/// Fills up to a whole record.
fn align(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(RECORD as usize), 0);
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
fn records(member: &Entry, stored: u64) -> Vec<u8> {
    let mut out = Vec::new();
    if member.sparse.is_some() {
        record(&mut out, b"GNU.sparse.major", b"1");
        record(&mut out, b"GNU.sparse.minor", b"0");
        record(&mut out, b"GNU.sparse.name", &member.path);
        record(&mut out, b"GNU.sparse.realsize", member.size.to_string().as_bytes());
    } else if split(&member.path).is_none() {
        record(&mut out, b"path", &member.path);
    }
    if member.link.len() > NAME {
        record(&mut out, b"linkpath", &member.link);
    }
    if stored >= LARGE_NUMBER {
        record(&mut out, b"size", stored.to_string().as_bytes());
    }
    if member.uid >= LARGE_ID {
        record(&mut out, b"uid", member.uid.to_string().as_bytes());
    }
    if member.gid >= LARGE_ID {
        record(&mut out, b"gid", member.gid.to_string().as_bytes());
    }
    if member.mtime.field().is_none() || member.mtime.nanoseconds != 0 {
        record(&mut out, b"mtime", member.mtime.decimal().as_bytes());
    }
    if let Some(acl) = &member.acl {
        record(&mut out, b"SCHILY.acl.access", acl);
    }
    if let Some(acl) = &member.default_acl {
        record(&mut out, b"SCHILY.acl.default", acl);
    }
    // GNU tar reads the first form, everyone else the second, as the kernel keeps it.
    let stored_label = member.label.as_ref().map(|label| [label.as_slice(), b"\0"].concat());
    if let Some(label) = &member.label {
        record(&mut out, b"RHT.security.selinux", label);
    }
    let label = stored_label.iter().map(|label| (b"security.selinux".as_slice(), label.as_slice()));
    let mut all: Vec<(&[u8], &[u8])> =
        member.xattrs.iter().map(|(n, v)| (n.as_slice(), v.as_slice())).chain(label).collect();
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
            (true, nanoseconds) => {
                ("-", self.seconds.unsigned_abs() - 1, 1_000_000_000 - nanoseconds)
            }
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
    let slash = name
        .get(..=PREFIX)
        .unwrap_or(name)
        .iter()
        .rposition(|byte| *byte == b'/')
        .filter(|slash| *slash > 0)?;
    let (prefix, rest) = (name.get(..slash)?, name.get(slash + 1..)?);
    (!rest.is_empty() && rest.len() <= NAME).then_some((prefix, rest))
}

fn ustar(numbers: &Fields, name: &[u8], link: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let mut header = tar::Header::new_ustar();
    let layout =
        || Error::new(Reason::Compressor("laying out a header: it has no ustar form".into()));
    let fields = header.as_ustar_mut().ok_or_else(layout)?;
    // A record holds the name that does not fit. A reader that ignores records gets its beginning.
    let (prefix, rest) = split(name).unwrap_or((b"", name));
    text(&mut fields.prefix, prefix);
    text(&mut fields.name, rest);
    text(&mut fields.linkname, link);
    let fitting = |number: u64, limit: u64| if number < limit { number } else { 0 };
    octal(&mut fields.mode, u64::from(numbers.mode & 0o7777))?;
    octal(&mut fields.uid, fitting(numbers.uid, LARGE_ID))?;
    octal(&mut fields.gid, fitting(numbers.gid, LARGE_ID))?;
    octal(&mut fields.size, fitting(numbers.size, LARGE_NUMBER))?;
    octal(&mut fields.mtime, numbers.mtime.field().unwrap_or(0))?;
    octal(&mut fields.dev_major, numbers.device.0)?;
    octal(&mut fields.dev_minor, numbers.device.1)?;
    fields.typeflag = [numbers.flag];
    fields.cksum = *b"        ";
    let sum: u64 = header.as_bytes().iter().map(|byte| u64::from(*byte)).sum();
    let fields = header.as_ustar_mut().ok_or_else(layout)?;
    // By tradition only the sum ends in a NUL and a space.
    octal(fields.cksum.split_last_mut().ok_or_else(layout)?.1, sum)?;
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
    if digits.len() != field.len() {
        return Err(Reason::Field(number).into());
    }
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
            let told: usize =
                std::str::from_utf8(&out).unwrap().split(' ').next().unwrap().parse().unwrap();
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
        let long = |prefix: usize, rest: usize| {
            [vec![b'p'; prefix], b"/".to_vec(), vec![b'r'; rest]].concat()
        };
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
