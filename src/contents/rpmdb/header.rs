//! An rpm header as the database stores it: an index of tags and a store of their values; no length in it is believed.
//!
//! The format: <https://rpm-software-management.github.io/rpm/manual/format_header.html>; the database's lacks the magic bytes.

use crate::error::Result;
use anyhow::{Context, bail, ensure};
use std::collections::HashMap;

/// rpm's own limit on tags, and less than its limit on values (lib/header.c, `hdrchkTags` and `hdrchkData`).
const MOST_TAGS: usize = 0xFFFF;
const LARGEST_STORE: usize = 64 << 20;
/// Values of a tag; the largest packages have a tenth as many files.
const MOST_VALUES: usize = 1 << 20;
/// Bytes of an entry of the index: tag, type, offset and count.
const ENTRY: usize = 16;

/// The types of values.
const CHAR: u32 = 1;
const INT8: u32 = 2;
const INT16: u32 = 3;
const INT32: u32 = 4;
const INT64: u32 = 5;
const STRING: u32 = 6;
const BINARY: u32 = 7;
const STRINGS: u32 = 8;
const TRANSLATED: u32 = 9;

/// A header, with its values still to be read.
#[derive(Debug)]
pub(super) struct Header<'a> {
    index: HashMap<u32, Place>,
    store: &'a [u8],
}

#[derive(Debug, Clone, Copy)]
struct Place {
    kind: u32,
    offset: usize,
    count: usize,
}

impl<'a> Header<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self> {
        let word = |at: usize| -> Option<u32> { Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?)) };
        let (Some(tags), Some(size)) = (word(0), word(4)) else { bail!("a header is cut off") };
        let (tags, size) = (usize::try_from(tags)?, usize::try_from(size)?);
        ensure!((1..=MOST_TAGS).contains(&tags), "a header has {tags} tags");
        ensure!(size <= LARGEST_STORE, "a header's values take {size} bytes");
        let begin = 8 + tags * ENTRY;
        ensure!(bytes.len() == begin + size, "a header of {} bytes says that it has {}", bytes.len(), begin + size);
        let store = bytes.get(begin..).unwrap_or_default();
        let mut index = HashMap::with_capacity(tags);
        for number in 0..tags {
            let at = 8 + number * ENTRY;
            let (Some(tag), Some(kind), Some(offset), Some(count)) = (word(at), word(at + 4), word(at + 8), word(at + 12)) else {
                bail!("a header's index is cut off")
            };
            let place = Place { kind, offset: usize::try_from(offset)?, count: usize::try_from(count)? };
            // Regions say how the index was signed; their offsets mean something else.
            if !(61..=63).contains(&tag) {
                ensure!(place.offset <= size && place.count <= size, "tag {tag} of a header points out of it");
                ensure!(kind == BINARY || place.count <= MOST_VALUES, "tag {tag} of a header has {count} values");
                index.insert(tag, place);
            }
        }
        Ok(Self { index, store })
    }

    /// Whether the tag is there.
    pub(super) fn has(&self, tag: u32) -> bool {
        self.index.contains_key(&tag)
    }

    fn strings(&self, place: Place) -> Option<Vec<&'a [u8]>> {
        let mut rest = self.store.get(place.offset..)?;
        let mut strings = Vec::new();
        for _ in 0..place.count {
            let end = rest.iter().position(|byte| *byte == 0)?;
            strings.push(rest.get(..end)?);
            rest = rest.get(end + 1..)?;
        }
        Some(strings)
    }

    /// The values of a tag that holds texts; none when it is not there.
    pub(super) fn texts(&self, tag: u32) -> Result<Vec<&'a [u8]>> {
        let Some(place) = self.index.get(&tag) else { return Ok(Vec::new()) };
        ensure!(matches!(place.kind, STRING | STRINGS | TRANSLATED), "tag {tag} of a header is no text");
        self.strings(*place).with_context(|| format!("tag {tag} of a header is cut off"))
    }

    /// The text of a tag, the first when there are translations; empty when it is not there.
    pub(super) fn text(&self, tag: u32) -> Result<String> {
        Ok(self.texts(tag)?.first().map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default())
    }

    /// The numbers of a tag; none when it is not there.
    pub(super) fn numbers(&self, tag: u32) -> Result<Vec<u64>> {
        let Some(place) = self.index.get(&tag) else { return Ok(Vec::new()) };
        let width = match place.kind {
            INT16 => 2,
            INT32 => 4,
            INT64 => 8,
            _ => bail!("tag {tag} of a header is no number"),
        };
        let end = place.offset + place.count * width;
        let bytes = self.store.get(place.offset..end).with_context(|| format!("tag {tag} of a header is cut off"))?;
        Ok(bytes.chunks_exact(width).map(|number| number.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))).collect())
    }

    /// The first number of a tag.
    pub(super) fn number(&self, tag: u32) -> Result<Option<u64>> {
        Ok(self.numbers(tag)?.first().copied())
    }

    /// The numbers of a tag of one byte each; none when it is not there.
    pub(super) fn bytes(&self, tag: u32) -> Result<&'a [u8]> {
        let Some(place) = self.index.get(&tag) else { return Ok(&[]) };
        ensure!(matches!(place.kind, CHAR | INT8), "tag {tag} of a header is no list of bytes");
        self.store.get(place.offset..place.offset + place.count).with_context(|| format!("tag {tag} of a header is cut off"))
    }

    /// The bytes of a tag; none when it is not there.
    pub(super) fn binary(&self, tag: u32) -> Result<Option<&'a [u8]>> {
        let Some(place) = self.index.get(&tag) else { return Ok(None) };
        ensure!(place.kind == BINARY, "tag {tag} of a header is no binary");
        let bytes = self.store.get(place.offset..place.offset + place.count);
        bytes.map(Some).with_context(|| format!("tag {tag} of a header is cut off"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(entries: &[(u32, u32, u32, u32)], store: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend((entries.len() as u32).to_be_bytes());
        bytes.extend((store.len() as u32).to_be_bytes());
        for (tag, kind, offset, count) in entries {
            for word in [tag, kind, offset, count] {
                bytes.extend(word.to_be_bytes());
            }
        }
        bytes.extend(store);
        bytes
    }

    #[test]
    fn values_are_read_by_their_types() {
        let bytes = header(&[(1000, 6, 0, 1), (1, 8, 0, 2), (2, 3, 8, 2), (3, 5, 8, 1), (4, 7, 8, 3)], b"bash\0ab\0\0\x01\0\x02\0\0\0\x03");
        let header = Header::parse(&bytes).unwrap();
        assert_eq!(header.text(1000).unwrap(), "bash");
        assert_eq!(header.texts(1).unwrap(), [b"bash".as_slice(), b"ab"]);
        assert_eq!(header.numbers(2).unwrap(), [1, 2]);
        assert_eq!(header.number(3).unwrap(), Some(0x0001_0002_0000_0003));
        assert_eq!(header.binary(4).unwrap(), Some(b"\0\x01\0".as_slice()));
        assert_eq!(header.number(5).unwrap(), None);
        assert!(header.numbers(1000).is_err() && header.text(2).is_err() && header.binary(2).is_err());
    }

    #[test]
    fn no_length_of_a_header_is_believed() {
        for (entries, store) in [
            ([(1000, 6, 5, 1)], b"bash\0".as_slice()),
            ([(1000, 6, 9, 1)], b"bash\0"),
            ([(1000, 6, 0, 1)], b"bash"),
            ([(1000, 8, 0, 0xFFFF_FFFF)], b"bash\0"),
            ([(1000, 8, 0, 3)], b"bash\0"),
            ([(1000, 6, 0xFFFF_FFFF, 1)], b"bash\0"),
        ] {
            let bytes = header(&entries, store);
            let outcome = Header::parse(&bytes).and_then(|header| header.text(1000));
            assert!(outcome.is_err() || outcome.is_ok_and(|text| text.is_empty()), "{entries:?}");
        }
        let whole = header(&[(1, 4, 0, 1)], &[0, 0, 0, 7]);
        for end in 0..whole.len() {
            assert!(Header::parse(&whole[..end]).is_err(), "{end}");
        }
        assert!(Header::parse(&header(&[(1, 5, 0, 1)], &[0; 4])).unwrap().numbers(1).is_err());
        assert!(Header::parse(&[0xFF; 64]).is_err());
    }
}
