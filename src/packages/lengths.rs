//! The lengths in a package's headers, before anything is made room for by them: a header that says it has four thousand million numbers
//! would have our reader of packages ask for as much memory, which ends a program without a word.
//!
//! The format: <https://rpm-software-management.github.io/rpm/manual/format_v4.html>; the limits are rpm's own (lib/header.c, `hdrchkTags`,
//! `hdrchkData`, `headerVerifyInfo`).

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// Bytes of the lead, which says nothing that counts.
const LEAD: u64 = 96;
const MAGIC: [u8; 4] = [0x8E, 0xAD, 0xE8, 1];
/// Bytes of a header's beginning, and of each entry of its index: tag, type, offset and count.
const ENTRY: usize = 16;
const MOST_TAGS: u32 = 0xFFFF;
const LARGEST_STORE: u32 = 0x0FFF_FFFF;

/// Whether both headers' values are in the file, and no two in one place.
///
/// # Errors
/// When the file cannot be read; one that is too short is none.
pub(super) fn hold(file: &mut File) -> std::io::Result<bool> {
    let size = file.metadata()?.len();
    let Some(signatures_end) = header_end(file, LEAD, size)? else { return Ok(false) };
    Ok(header_end(file, signatures_end.next_multiple_of(8), size)?.is_some())
}

/// Where the header at `start` ends; `None` when its lengths do not hold.
fn header_end(file: &mut File, start: u64, size: u64) -> std::io::Result<Option<u64>> {
    let Some(rest) = size.checked_sub(start).and_then(|rest| rest.checked_sub(ENTRY as u64)) else { return Ok(None) };
    file.seek(SeekFrom::Start(start))?;
    let mut beginning = [0; ENTRY];
    file.read_exact(&mut beginning)?;
    let (tags, store) = (word(&beginning, 8), word(&beginning, 12));
    let index = u64::from(tags) * ENTRY as u64;
    if !beginning.starts_with(&MAGIC) || !(1..=MOST_TAGS).contains(&tags) || store > LARGEST_STORE || index + u64::from(store) > rest {
        return Ok(None);
    }
    let mut entries = vec![0; usize::try_from(index).unwrap_or_default()];
    file.read_exact(&mut entries)?;
    let mut taken = 0;
    for entry in entries.chunks_exact(ENTRY) {
        let (offset, count) = (u64::from(word(entry, 8)), u64::from(word(entry, 12)));
        let Some(width) = width(word(entry, 4)) else { return Ok(None) };
        taken += count * width;
        if offset + count * width > u64::from(store) || taken > u64::from(store) {
            return Ok(None);
        }
    }
    Ok(Some(start + ENTRY as u64 + index + u64::from(store)))
}

/// The bytes that a value takes at the least; `None` for a type that there is not.
fn width(kind: u32) -> Option<u64> {
    Some(match kind {
        // None.
        0 => 0,
        // Characters, small numbers, bytes; and texts, which have a NUL each.
        1 | 2 | 6..=9 => 1,
        3 => 2,
        4 => 4,
        5 => 8,
        _ => return None,
    })
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// A header of entries (type, offset, count) and a store.
    fn header(entries: &[[u32; 3]], store: &[u8], padded: bool) -> Vec<u8> {
        let mut bytes = [&MAGIC[..], &[0; 4]].concat();
        bytes.extend([u32::try_from(entries.len()).unwrap(), u32::try_from(store.len()).unwrap()].iter().flat_map(|n| n.to_be_bytes()));
        bytes.extend(entries.iter().flat_map(|[kind, offset, count]| [1000, *kind, *offset, *count]).flat_map(u32::to_be_bytes));
        bytes.extend_from_slice(store);
        if padded {
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        bytes
    }

    fn holds(signatures: &[u8], main: &[u8]) -> bool {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[&[0; 96], signatures, main].concat()).unwrap();
        hold(&mut file).unwrap()
    }

    #[test]
    fn what_points_out_of_a_header_or_into_another_s_place_is_found() {
        let fine = |padded| header(&[[4, 0, 2], [6, 8, 1], [9, 9, 3], [7, 0, 0]], b"\0\0\0\x01\0\0\0\x02\0a\0b\0", padded);
        assert!(holds(&fine(true), &fine(false)));
        for entry in
            [[4, 0, 0x4000_0000], [4, 0, u32::MAX], [5, 8, 1], [3, 12, 1], [6, 13, 1], [7, u32::MAX, 1], [4, 0x8000_0000, 0], [10, 0, 1]]
        {
            let bad = |padded| header(&[entry], b"123456789012", padded);
            assert!(!holds(&bad(true), &fine(false)) && !holds(&fine(true), &bad(false)), "{entry:?}");
        }
        // Each fits alone; together they would take a hundred times what the file has.
        assert!(!holds(&fine(true), &header(&[[7, 0, 12]; 100], b"123456789012", false)));
        assert!(!holds(&fine(true), &[]) && !holds(&[], &[]) && !holds(&fine(true), &fine(false)[..40]));
        let mut many = fine(false);
        many[8] = 0xFF;
        assert!(!holds(&fine(true), &many));
    }
}
