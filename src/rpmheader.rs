//! rpm headers: an index of tags and a store with their values. No length, offset or type in a
//! header is trusted.
//!
//! The format: <https://rpm-software-management.github.io/rpm/manual/format_header.html>. A package
//! has two headers: one for its signatures and one for everything else. The rpmdb stores one
//! header per package, without the magic bytes.

use anyhow::{Context, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};

use crate::error::Result;
use crate::openpgp::{self, Signature};

/// rpm's own limit on tags, and a limit below rpm's own on values (lib/header.c, `hdrchkTags` and
/// `hdrchkData`).
const MOST_TAGS: usize = 0xFFFF;
const LARGEST_STORE: usize = 64 << 20;
/// The maximum number of values of a tag; the largest packages have a tenth as many files.
const MOST_VALUES: usize = 1 << 20;
/// The maximum number of signatures of a package.
const MOST_SIGNATURES: usize = 32;
/// Bytes of an index entry: tag, type, offset and count.
const ENTRY: usize = 16;
/// Bytes of the lead at the start of a package; it is not used.
const LEAD: u64 = 96;
/// The first bytes of each header in a package: a magic number, a version and four reserved
/// bytes.
const MAGIC: [u8; 4] = [0x8E, 0xAD, 0xE8, 1];

/// The types of values.
const NULL: u32 = 0;
const CHAR: u32 = 1;
const INT8: u32 = 2;
const INT16: u32 = 3;
const INT32: u32 = 4;
const INT64: u32 = 5;
const STRING: u32 = 6;
const BINARY: u32 = 7;
const STRINGS: u32 = 8;
const TRANSLATED: u32 = 9;

/// The tags that are read in packages and in the rpmdb, from rpm's rpmtag.h.
pub(crate) mod tag {
    pub(crate) const DSA_HEADER: u32 = 267;
    pub(crate) const RSA_HEADER: u32 = 268;
    /// Signatures as base64. A package can have several; rpm 6's package format has no others.
    pub(crate) const OPENPGP: u32 = 278;
    /// Signatures over header and payload: RSA and DSA in a package, RSA and DSA in the rpmdb.
    pub(crate) const OLD_SIGNATURES: [u32; 4] = [1002, 1005, 259, 262];
    pub(crate) const NAME: u32 = 1000;
    pub(crate) const VERSION: u32 = 1001;
    pub(crate) const RELEASE: u32 = 1002;
    pub(crate) const EPOCH: u32 = 1003;
    pub(crate) const BUILD_TIME: u32 = 1006;
    pub(crate) const SIZE: u32 = 1009;
    pub(crate) const ARCH: u32 = 1022;
    pub(crate) const LONG_SIZE: u32 = 5009;
}

/// The signatures of a package, from its signature header or from the rpmdb; the old tags come
/// first.
pub(crate) fn signatures(header: &Header<'_>) -> Vec<Signature> {
    let mut found = Vec::new();
    for tag in [tag::RSA_HEADER, tag::DSA_HEADER].iter().chain(&tag::OLD_SIGNATURES) {
        found.extend(
            header.binary(*tag).ok().flatten().map(openpgp::signatures).unwrap_or_default(),
        );
    }
    for text in header.texts(tag::OPENPGP).unwrap_or_default().iter().take(MOST_SIGNATURES) {
        found.extend(
            STANDARD.decode(text).map(|bytes| openpgp::signatures(&bytes)).unwrap_or_default(),
        );
    }
    found
}

/// A header with a checked index. Values are read on demand.
#[derive(Debug)]
pub(crate) struct Header<'a> {
    index: HashMap<u32, IndexEntry>,
    store: &'a [u8],
}

#[derive(Debug, Clone, Copy)]
struct IndexEntry {
    kind: u32,
    offset: usize,
    count: usize,
}

/// Both headers of a package file, as bytes for [`Header::parse`].
#[derive(Debug)]
pub(crate) struct PackageHeaders {
    /// The signatures and digests.
    pub signatures: Vec<u8>,
    /// Everything else.
    pub main: Vec<u8>,
}

impl PackageHeaders {
    /// Reads both headers from the start of a package file, but not the payload.
    ///
    /// # Errors
    /// If the file cannot be read, or is not a package.
    pub(crate) fn read(file: &mut (impl Read + Seek)) -> Result<Self> {
        let size = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(LEAD))?;
        let signatures = read_header(file, size)?;
        let padding = file.stream_position()?.next_multiple_of(8);
        file.seek(SeekFrom::Start(padding))?;
        let main = read_header(file, size)?;
        Ok(Self { signatures, main })
    }
}

/// Reads one header with its magic number. Returns the bytes of its sizes, index and store.
fn read_header(file: &mut (impl Read + Seek), file_size: u64) -> Result<Vec<u8>> {
    let rest = file_size.saturating_sub(file.stream_position()?);
    let mut beginning = [0; 16];
    file.read_exact(&mut beginning).context("the file ends within a header")?;
    ensure!(beginning.starts_with(&MAGIC), "the file has no package header");
    let sizes = beginning.get(8..).unwrap_or_default();
    let length = length(sizes)?;
    ensure!(length as u64 + 8 <= rest, "a header is larger than its file");
    let mut bytes = vec![0; length];
    bytes.get_mut(..8).unwrap_or_default().copy_from_slice(sizes);
    file.read_exact(bytes.get_mut(8..).unwrap_or_default())
        .context("the file ends within a header")?;
    Ok(bytes)
}

/// The length of a header in bytes, from the sizes at its start; both are checked.
fn length(bytes: &[u8]) -> Result<usize> {
    let (Some(tags), Some(size)) = (word(bytes, 0), word(bytes, 4)) else {
        bail!("a header is truncated")
    };
    let (tags, size) = (usize::try_from(tags)?, usize::try_from(size)?);
    ensure!((1..=MOST_TAGS).contains(&tags), "a header has {tags} tags");
    ensure!(size <= LARGEST_STORE, "a header has {size} bytes of values");
    Ok(8 + tags * ENTRY + size)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The minimum number of bytes of one value of a type; `None` for an unknown type. A text has at
/// least its NUL.
fn width(kind: u32) -> Option<usize> {
    Some(match kind {
        NULL => 0,
        CHAR | INT8 | STRING | BINARY | STRINGS | TRANSLATED => 1,
        INT16 => 2,
        INT32 => 4,
        INT64 => 8,
        _ => return None,
    })
}

impl<'a> Header<'a> {
    /// Checks the sizes and the index of a header: all values are in the store, and together they
    /// fit into it.
    ///
    /// # Errors
    /// If one of them is wrong.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self> {
        let length = length(bytes)?;
        ensure!(bytes.len() == length, "a header of {} bytes declares {length} bytes", bytes.len());
        let tags = usize::try_from(word(bytes, 0).unwrap_or_default())?;
        let store = bytes.get(8 + tags * ENTRY..).unwrap_or_default();
        let mut index = HashMap::with_capacity(tags);
        let mut taken = 0;
        for at in (8..).step_by(ENTRY).take(tags) {
            let words =
                (word(bytes, at), word(bytes, at + 4), word(bytes, at + 8), word(bytes, at + 12));
            let (Some(tag), Some(kind), Some(offset), Some(count)) = words else {
                bail!("a header's index is truncated")
            };
            let place = IndexEntry {
                kind,
                offset: usize::try_from(offset)?,
                count: usize::try_from(count)?,
            };
            let Some(width) = width(kind) else {
                bail!("tag {tag} of a header has the unknown type {kind}")
            };
            // No overflow: the type is 64 bits wide, the numbers are 32.
            let bytes = place.count.saturating_mul(width);
            taken += bytes;
            ensure!(
                place.offset.saturating_add(bytes) <= store.len(),
                "tag {tag} of a header points outside of it"
            );
            ensure!(taken <= store.len(), "the values of a header overlap");
            ensure!(
                kind == BINARY || place.count <= MOST_VALUES,
                "tag {tag} of a header has {count} values"
            );
            index.insert(tag, place);
        }
        Ok(Self { index, store })
    }

    /// Whether the header has the tag.
    pub(crate) fn has(&self, tag: u32) -> bool {
        self.index.contains_key(&tag)
    }

    fn strings(&self, place: IndexEntry) -> Option<Vec<&'a [u8]>> {
        let mut rest = self.store.get(place.offset..)?;
        let mut strings = Vec::new();
        for _ in 0..place.count {
            let end = rest.iter().position(|byte| *byte == 0)?;
            strings.push(rest.get(..end)?);
            rest = rest.get(end + 1..)?;
        }
        Some(strings)
    }

    /// The values of a text tag; empty if the tag is missing.
    pub(crate) fn texts(&self, tag: u32) -> Result<Vec<&'a [u8]>> {
        let Some(place) = self.index.get(&tag) else { return Ok(Vec::new()) };
        ensure!(
            matches!(place.kind, STRING | STRINGS | TRANSLATED),
            "tag {tag} of a header is not a text"
        );
        self.strings(*place).with_context(|| format!("tag {tag} of a header is truncated"))
    }

    /// The text of a tag, the first one if there are translations; empty if the tag is missing.
    pub(crate) fn text(&self, tag: u32) -> Result<String> {
        Ok(self
            .texts(tag)?
            .first()
            .map(|text| String::from_utf8_lossy(text).into_owned())
            .unwrap_or_default())
    }

    /// The numbers of a tag; empty if the tag is missing.
    pub(crate) fn numbers(&self, tag: u32) -> Result<Vec<u64>> {
        let Some(place) = self.index.get(&tag) else { return Ok(Vec::new()) };
        let width = match place.kind {
            INT16 => 2,
            INT32 => 4,
            INT64 => 8,
            _ => bail!("tag {tag} of a header is not a number"),
        };
        let end = place.offset + place.count * width;
        let bytes = self
            .store
            .get(place.offset..end)
            .with_context(|| format!("tag {tag} of a header is truncated"))?;
        Ok(bytes
            .chunks_exact(width)
            .map(|number| number.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
            .collect())
    }

    /// `name-epoch:version-release.arch`; the epoch is always present.
    pub(crate) fn nevra(&self) -> Result<String> {
        let [name, version, release] =
            [tag::NAME, tag::VERSION, tag::RELEASE].map(|tag| self.text(tag));
        let (name, epoch) = (name?, self.number(tag::EPOCH)?.unwrap_or(0));
        ensure!(!name.is_empty(), "a header has no name");
        Ok(format!("{name}-{epoch}:{}-{}.{}", version?, release?, self.text(tag::ARCH)?))
    }

    /// Total size of the package's files in bytes.
    pub(crate) fn size(&self) -> Result<u64> {
        Ok(self.number(tag::LONG_SIZE)?.or(self.number(tag::SIZE)?).unwrap_or(0))
    }

    /// The first number of a tag.
    pub(crate) fn number(&self, tag: u32) -> Result<Option<u64>> {
        Ok(self.numbers(tag)?.first().copied())
    }

    /// The one-byte numbers of a tag; empty if the tag is missing.
    pub(crate) fn bytes(&self, tag: u32) -> Result<&'a [u8]> {
        let Some(place) = self.index.get(&tag) else { return Ok(&[]) };
        ensure!(matches!(place.kind, CHAR | INT8), "tag {tag} of a header is not a list of bytes");
        self.store
            .get(place.offset..place.offset + place.count)
            .with_context(|| format!("tag {tag} of a header is truncated"))
    }

    /// The bytes of a binary tag; `None` if the tag is missing.
    pub(crate) fn binary(&self, tag: u32) -> Result<Option<&'a [u8]>> {
        let Some(place) = self.index.get(&tag) else { return Ok(None) };
        ensure!(place.kind == BINARY, "tag {tag} of a header is not binary");
        let bytes = self.store.get(place.offset..place.offset + place.count);
        bytes.map(Some).with_context(|| format!("tag {tag} of a header is truncated"))
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
    fn values_are_read_according_to_their_types() {
        let bytes = header(
            &[(1000, 6, 0, 1), (1, 8, 0, 2), (2, 3, 8, 2), (3, 5, 8, 1), (4, 7, 8, 3)],
            b"bash\0ab\0\0\x01\0\x02\0\0\0\x03--",
        );
        let header = Header::parse(&bytes).unwrap();
        assert_eq!(header.text(1000).unwrap(), "bash");
        assert_eq!(header.texts(1).unwrap(), [b"bash".as_slice(), b"ab"]);
        assert_eq!(header.numbers(2).unwrap(), [1, 2]);
        assert_eq!(header.number(3).unwrap(), Some(0x0001_0002_0000_0003));
        assert_eq!(header.binary(4).unwrap(), Some(b"\0\x01\0".as_slice()));
        assert_eq!(header.number(5).unwrap(), None);
        assert!(
            header.numbers(1000).is_err() && header.text(2).is_err() && header.binary(2).is_err()
        );
    }

    #[test]
    fn an_index_that_points_outside_its_header_or_overlaps_is_refused() {
        let store = b"123456789012";
        for (kind, offset, count) in [
            (4, 0, 0x4000_0000),
            (4, 0, u32::MAX),
            (5, 8, 1),
            (3, 12, 1),
            (6, 13, 1),
            (7, u32::MAX, 1),
            (4, 0x8000_0000, 0),
            (10, 0, 1),
        ] {
            for tag in [62, 63, 1000] {
                assert!(
                    Header::parse(&header(&[(tag, kind, offset, count)], store)).is_err(),
                    "{kind} {offset} {count}"
                );
            }
        }
        // Each one fits; together they have a hundred times the bytes of the store.
        assert!(Header::parse(&header(&[(1, 7, 0, 12); 100], store)).is_err());
        // A text without its NUL.
        assert!(Header::parse(&header(&[(1000, 6, 0, 1)], b"bash")).unwrap().text(1000).is_err());
        assert!(
            Header::parse(&header(&[(1000, 8, 0, 3)], b"bash\0")).unwrap().texts(1000).is_err()
        );
        let whole = header(&[(1, 4, 0, 1)], &[0, 0, 0, 7]);
        assert!((0..whole.len()).all(|end| Header::parse(&whole[..end]).is_err()));
        assert!(Header::parse(&[0xFF; 64]).is_err());
        assert!(Header::parse(&[&whole[..], b"x"].concat()).is_err());
    }

    #[test]
    fn both_headers_of_a_package_are_read_and_a_shorter_file_is_refused() {
        let with_magic = |bytes: &[u8]| [&MAGIC[..], &[0; 4], bytes].concat();
        let (signatures, main) =
            (header(&[(268, 7, 0, 3)], b"sig"), header(&[(1000, 6, 0, 1)], b"bash\0"));
        let mut file = [&[0; 96][..], &with_magic(&signatures)].concat();
        file.resize(file.len().next_multiple_of(8), 0);
        file.extend(with_magic(&main));
        let read = |bytes: &[u8]| PackageHeaders::read(&mut std::io::Cursor::new(bytes.to_vec()));
        let headers = read(&file).unwrap();
        assert_eq!((headers.signatures, headers.main), (signatures, main));
        assert!((0..file.len()).all(|end| read(&file[..end]).is_err()));
        // A declared size of 64 MiB in a small file allocates no memory.
        file[96 + 12..96 + 16].copy_from_slice(&(64_u32 << 20).to_be_bytes());
        assert!(format!("{:#}", read(&file).unwrap_err()).contains("larger than its file"));
    }
}
