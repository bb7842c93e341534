//! The fixed fields of a header: ustar (POSIX.1-1988), GNU tar's and star's variants of it, and the
//! first tar's.

/// The unit of everything in an archive.
pub(super) const BLOCK: usize = 512;

/// Whose header it is, by its magic bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// No magic: nothing but the fields of Unix V7.
    V7,
    Ustar,
    /// Where ustar has the name's prefix, other fields.
    Gnu,
    /// The prefix is shorter and times follow it.
    Star,
}

/// A header whose checksum is right.
#[derive(Debug)]
pub(super) struct Block {
    bytes: [u8; BLOCK],
    pub(super) dialect: Dialect,
}

type Field = std::ops::Range<usize>;
const NAME: Field = 0..100;
const MODE: Field = 100..108;
const UID: Field = 108..116;
const GID: Field = 116..124;
const SIZE: Field = 124..136;
const MTIME: Field = 136..148;
const SUM: Field = 148..156;
const FLAG: usize = 156;
const LINK: Field = 157..257;
const MAGIC: Field = 257..265;
const UNAME: Field = 265..297;
const GNAME: Field = 297..329;
const MAJOR: Field = 329..337;
const MINOR: Field = 337..345;
const PREFIX: Field = 345..500;
const STAR_PREFIX: Field = 345..476;
const STAR_MAGIC: Field = 508..512;
/// GNU tar's old form of sparse files: four extents, whether more follow in a block of their own,
/// the file's size.
const SPARSE: Field = 386..482;
const SPARSE_MORE: usize = 482;
const SPARSE_SIZE: Field = 483..495;

/// What is wrong, without its place.
pub(super) type Wrong = String;

impl Block {
    pub(super) fn new(bytes: [u8; BLOCK]) -> Result<Self, Wrong> {
        let stored = number(bytes.get(SUM).unwrap_or_default())
            .map_err(|_| "a header's checksum is not a number".to_owned())?;
        let (mut sum, mut signed) = (0_i64, 0_i64);
        for (at, byte) in bytes.iter().enumerate() {
            let byte = if SUM.contains(&at) { b' ' } else { *byte };
            sum += i64::from(byte);
            // Old programs summed signed characters.
            signed += i64::from(byte.cast_signed());
        }
        if stored != sum && stored != signed {
            return Err(format!("a header's checksum is {stored} instead of {sum}"));
        }
        let dialect = match bytes.get(MAGIC).unwrap_or_default() {
            b"ustar  \0" => Dialect::Gnu,
            magic if magic.starts_with(b"ustar") && bytes.get(STAR_MAGIC) == Some(b"tar\0") => {
                Dialect::Star
            }
            magic if magic.starts_with(b"ustar") => Dialect::Ustar,
            _ => Dialect::V7,
        };
        Ok(Self { bytes, dialect })
    }

    fn field(&self, field: Field) -> &[u8] {
        self.bytes.get(field).unwrap_or_default()
    }

    fn text(&self, field: Field) -> &[u8] {
        let bytes = self.field(field);
        bytes.iter().position(|byte| *byte == 0).and_then(|end| bytes.get(..end)).unwrap_or(bytes)
    }

    fn count(&self, field: Field, what: &str) -> Result<u64, Wrong> {
        let read =
            number(self.field(field)).map_err(|why| format!("a header's {what} is {why}"))?;
        u64::try_from(read).map_err(|_| format!("a header's {what} is below zero"))
    }

    pub(super) fn flag(&self) -> u8 {
        self.bytes.get(FLAG).copied().unwrap_or(0)
    }

    /// The whole name, with its prefix.
    pub(super) fn name(&self) -> Vec<u8> {
        let name = self.text(NAME);
        let prefix = match self.dialect {
            Dialect::Ustar => self.text(PREFIX),
            Dialect::Star => self.text(STAR_PREFIX),
            Dialect::V7 | Dialect::Gnu => b"",
        };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    pub(super) fn link(&self) -> &[u8] {
        self.text(LINK)
    }

    pub(super) fn mode(&self) -> Result<u32, Wrong> {
        // Some write the bits of the type as well.
        Ok((self.count(MODE, "mode")? & 0o7777) as u32)
    }

    pub(super) fn uid(&self) -> Result<u64, Wrong> {
        self.count(UID, "owner")
    }

    pub(super) fn gid(&self) -> Result<u64, Wrong> {
        self.count(GID, "group")
    }

    pub(super) fn size(&self) -> Result<u64, Wrong> {
        self.count(SIZE, "size")
    }

    pub(super) fn mtime(&self) -> Result<i64, Wrong> {
        number(self.field(MTIME)).map_err(|why| format!("a header's time is {why}"))
    }

    pub(super) fn uname(&self) -> &[u8] {
        if self.dialect == Dialect::V7 { b"" } else { self.text(UNAME) }
    }

    pub(super) fn gname(&self) -> &[u8] {
        if self.dialect == Dialect::V7 { b"" } else { self.text(GNAME) }
    }

    pub(super) fn device(&self) -> Result<(u64, u64), Wrong> {
        if self.dialect == Dialect::V7 {
            return Err("a header without magic tells a device".into());
        }
        Ok((self.count(MAJOR, "device")?, self.count(MINOR, "device")?))
    }

    /// Of an old sparse file its size, its first pairs of numbers, and whether more follow.
    pub(super) fn sparse(&self) -> Result<(u64, &[u8], bool), Wrong> {
        if self.dialect != Dialect::Gnu {
            return Err("a sparse file has no header of GNU tar".into());
        }
        Ok((
            self.count(SPARSE_SIZE, "sparse size")?,
            self.field(SPARSE),
            self.bytes.get(SPARSE_MORE) != Some(&0),
        ))
    }
}

/// A number in octal digits, or with the first bit set in base 256, two's complement (GNU tar).
pub(super) fn number(field: &[u8]) -> Result<i64, Wrong> {
    match field.split_first() {
        Some((first, rest)) if first & 0x80 != 0 => {
            // Of the first byte one bit marks the form and the next is the sign.
            let negative = first & 0x40 != 0;
            let top = if negative { i128::from(*first) - 0x100 } else { i128::from(first & 0x7F) };
            let value = rest
                .iter()
                .try_fold(top, |sum, byte| sum.checked_mul(256)?.checked_add(i128::from(*byte)));
            value
                .and_then(|value| i64::try_from(value).ok())
                .ok_or_else(|| "out of range".to_owned())
        }
        _ => {
            let digits = field.trim_ascii_start();
            let end =
                digits.iter().position(|byte| matches!(byte, 0 | b' ')).unwrap_or(digits.len());
            let (digits, tail) = digits.split_at(end);
            let clean = digits.iter().all(|byte| matches!(byte, b'0'..=b'7'))
                && tail.iter().all(|byte| matches!(byte, 0 | b' '));
            if !clean {
                return Err("no octal number".into());
            }
            let value = digits.iter().try_fold(0_i64, |sum, digit| {
                sum.checked_mul(8)?.checked_add(i64::from(digit - b'0'))
            });
            value.ok_or_else(|| "out of range".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        assert_eq!(number(b"0000644\0"), Ok(0o644));
        assert_eq!(number(b"   644 \0"), Ok(0o644));
        assert_eq!(number(b"77777777777"), Ok((1 << 33) - 1));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Ok(0));
        assert_eq!(number(b"        "), Ok(0));
        assert_eq!(number(b"\x80\0\0\0\0\0\0\0\0\0\x01\0"), Ok(256));
        assert_eq!(number(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"), Ok(i64::MAX));
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), Ok(-1));
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xfe"), Ok(-2));
        for wrong in [
            b"0000648\0".as_slice(),
            b"-000001\0",
            b"644\0junk",
            b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
            b"6 4     ",
        ] {
            assert!(number(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_header_is_believed_only_with_its_sum() {
        let mut bytes = [0; BLOCK];
        bytes[..4].copy_from_slice(b"name");
        assert!(Block::new(bytes).is_err());
        let sum: u32 = bytes.iter().map(|b| u32::from(*b)).sum::<u32>() + 8 * 32;
        bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        assert_eq!(Block::new(bytes).unwrap().name(), b"name");
        bytes[0] ^= 1;
        assert!(Block::new(bytes).is_err());
    }
}
