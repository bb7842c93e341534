//! The records of PAX headers (POSIX.1-2001, pax interchange format; GNU tar, xheader.c).

use super::header::{Block, Wrong};
use super::source::Source;
use crate::entry::Time;
use crate::error::Result;
use std::collections::BTreeMap;

/// The longest extended header, and the most that global ones may come to: an attribute has up to
/// 64 KiB, a file some of them.
const LONGEST: u64 = 8 << 20;
/// More records than a file has: each takes more memory than its bytes.
const MOST_RECORDS: usize = 1 << 16;

/// The value of each key, and in their order the pairs of sparse files in format 0.0, whose keys
/// repeat.
#[derive(Debug, Default)]
pub(super) struct Records {
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) pairs: Vec<(u64, u64)>,
    offset: Option<u64>,
    bytes: u64,
    pub(super) headers: u64,
}

impl Records {
    /// Adds those of the header `block`, whose content comes next.
    pub(super) fn read(&mut self, source: &mut Source<'_>, block: &Block) -> Result<()> {
        let size = block.size().map_err(|why| source.damaged_at(why))?;
        let bytes = source.whole(size, LONGEST.saturating_sub(self.bytes), "an extended header")?;
        self.bytes += size;
        self.headers += 1;
        self.parse(&bytes)
            .map_err(|why| source.damaged_at(format!("an extended header is wrong: {why}")))
    }

    fn parse(&mut self, mut bytes: &[u8]) -> Result<(), Wrong> {
        while !bytes.is_empty() {
            let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let length = bytes
                .get(..digits)
                .and_then(decimal)
                .ok_or("a record does not begin with its length")?;
            let record =
                usize::try_from(length).ok().and_then(|length| bytes.split_at_checked(length));
            let (record, rest) = record.ok_or("a record is longer than its header")?;
            let record = record
                .get(digits..)
                .and_then(|record| record.strip_prefix(b" ")?.strip_suffix(b"\n"));
            let record = record.ok_or("a record does not end where its length says")?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or("a record has no =")?;
            let (key, value) = (
                record.get(..equals).unwrap_or_default(),
                record.get(equals + 1..).unwrap_or_default(),
            );
            self.add(key, value)?;
            bytes = rest;
        }
        if self.offset.is_some() {
            return Err("GNU.sparse.offset has no GNU.sparse.numbytes".into());
        }
        Ok(())
    }

    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), Wrong> {
        let number = || {
            decimal(value).ok_or_else(|| format!("{} is no number", String::from_utf8_lossy(key)))
        };
        match key {
            _ if self.values.len() >= MOST_RECORDS => {
                return Err(format!("there are more than {MOST_RECORDS} records"));
            }
            b"" => return Err("a record has no key".into()),
            b"GNU.sparse.offset" if self.offset.is_none() => self.offset = Some(number()?),
            b"GNU.sparse.numbytes" if self.offset.is_some() => {
                self.pairs.extend(self.offset.take().zip(Some(number()?)))
            }
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                return Err("the numbers of a sparse file are out of order".into());
            }
            // Not to be drawn over a terminal or cut by a reader in C, which would see another name
            // than this one.
            b"path" | b"linkpath" | b"GNU.sparse.name" if value.contains(&0) => {
                return Err("a name has a NUL in it".into());
            }
            _ => {
                self.values.insert(key.to_vec(), value.to_vec());
            }
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.headers == 0
    }
}

/// A member's own records over those that hold for all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Both<'a> {
    pub(super) global: &'a Records,
    pub(super) own: &'a Records,
}

impl<'a> Both<'a> {
    /// The value of a key; an empty one takes back what was said before.
    pub(super) fn value(self, key: &str) -> Option<&'a [u8]> {
        let value = self
            .own
            .values
            .get(key.as_bytes())
            .or_else(|| self.global.values.get(key.as_bytes()))?;
        (!value.is_empty()).then_some(value)
    }

    pub(super) fn number(self, key: &str) -> Result<Option<u64>, Wrong> {
        self.value(key)
            .map(|value| decimal(value).ok_or_else(|| format!("the record {key} is no number")))
            .transpose()
    }

    pub(super) fn time(self, key: &str) -> Result<Option<Time>, Wrong> {
        self.value(key)
            .map(|value| time(value).ok_or_else(|| format!("the record {key} is no time")))
            .transpose()
    }

    /// Extended attributes by their names; an empty value is one.
    pub(super) fn attributes(self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let all = self.global.values.iter().chain(&self.own.values);
        all.filter_map(|(key, value)| {
            Some((decoded(key.strip_prefix(b"SCHILY.xattr.")?), value.clone()))
        })
        .collect()
    }
}

/// A name without GNU tar's escapes for the two characters that end a key.
fn decoded(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, after)) = rest.split_first() {
        (rest, _) = match after.get(..2) {
            Some(b"3D") if *first == b'%' => (after.get(2..).unwrap_or_default(), out.push(b'=')),
            Some(b"25") if *first == b'%' => (after.get(2..).unwrap_or_default(), out.push(b'%')),
            _ => (after, out.push(*first)),
        };
    }
    out
}

pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    digits
        .iter()
        .try_fold(0_u64, |sum, digit| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
}

/// Seconds as a decimal number, with a sign and a fraction of any length.
fn time(text: &[u8]) -> Option<Time> {
    let (negative, digits) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, text),
    };
    let mut parts = digits.splitn(2, |byte| *byte == b'.');
    let whole = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or(b"0");
    if fraction.is_empty() || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanoseconds = (0..9).fold(0_u32, |sum, place| {
        sum * 10 + fraction.get(place).map_or(0, |digit| u32::from(digit - b'0'))
    });
    Some(match (negative, nanoseconds) {
        (false, nanoseconds) => Time { seconds: whole, nanoseconds },
        (true, 0) => Time { seconds: -whole, nanoseconds: 0 },
        (true, nanoseconds) => {
            Time { seconds: (-whole).checked_sub(1)?, nanoseconds: 1_000_000_000 - nanoseconds }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(bytes: &[u8]) -> Result<Records, Wrong> {
        let mut records = Records::default();
        records.parse(bytes)?;
        Ok(records)
    }

    #[test]
    fn a_value_may_hold_what_looks_like_a_record() {
        // One byte short, it would leave a line break before the next record.
        assert!(parsed(b"39 SCHILY.xattr.user.x=x\n14 path=/evil\n\n12 path=a/b\n").is_err());
        let records = parsed(b"40 SCHILY.xattr.user.x=x\n14 path=/evil\n\n12 path=a/b\n").unwrap();
        let none = Records::default();
        let both = Both { global: &none, own: &records };
        assert_eq!(both.value("path"), Some(b"a/b".as_slice()));
        assert_eq!(both.attributes().into_values().next().unwrap(), b"x\n14 path=/evil\n");
    }

    #[test]
    fn records_of_another_form_are_refused() {
        for wrong in [
            "x",
            "5 a=b\n",
            "6 a=bc\n",
            "7 a=b\n",
            "99999999999999999999 a=b\n",
            "5 ab\n",
            "5 =b\n",
            "0 a=b\n",
            " 6 a=b\n",
        ] {
            assert!(parsed(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
        assert!(parsed(b"6 a=b\n").is_ok());
        assert!(parsed(b"11 path=a\0b\n").is_err());
    }

    #[test]
    fn times_have_a_sign_and_nanoseconds() {
        assert_eq!(time(b"1.5"), Some(Time { seconds: 1, nanoseconds: 500_000_000 }));
        assert_eq!(time(b"-1.5"), Some(Time { seconds: -2, nanoseconds: 500_000_000 }));
        assert_eq!(time(b"-0.000000001"), Some(Time { seconds: -1, nanoseconds: 999_999_999 }));
        assert_eq!(time(b"7"), Some(Time { seconds: 7, nanoseconds: 0 }));
        assert_eq!(time(b"0.1234567899999"), Some(Time { seconds: 0, nanoseconds: 123_456_789 }));
        for wrong in ["", "-", ".5", "1.", "1.5.5", "1e3", "+1", "99999999999999999999"] {
            assert_eq!(time(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn escapes_of_names_are_undone_once() {
        assert_eq!(decoded(b"user.a%3Db%25c%2525%zz%"), b"user.a=b%c%25%zz%");
    }
}
