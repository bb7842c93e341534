//! Where the data of a sparse file is: the old form of GNU tar, and its PAX formats 0.0, 0.1 and
//! 1.0 (GNU tar manual, appendix D).

use super::header::{BLOCK, Block, Wrong, number};
use super::records::{Both, decimal};
use super::source::Source;
use crate::entry::Extent;
use crate::error::Result;

/// More stretches than a file of an OS has, and as many as are kept.
const MOST_EXTENTS: usize = 1 << 20;
/// Of a block that continues a map: the pairs, and whether another follows.
const CONTINUED: std::ops::Range<usize> = 0..504;
const CONTINUED_MORE: usize = 504;
/// Two fields of twelve bytes.
const PAIR: usize = 24;

/// What is known of a sparse file.
pub(super) struct Map {
    pub(super) size: u64,
    pub(super) extents: Vec<Extent>,
    /// Bytes of the stored content that were the map itself.
    pub(super) read: u64,
}

/// The old form: in the header and in blocks behind it.
pub(super) fn old(source: &mut Source<'_>, block: &Block) -> Result<Map> {
    let (size, first, mut more) = block.sparse().map_err(|why| source.damaged_at(why))?;
    let mut extents = Vec::new();
    fields(first, &mut extents).map_err(|why| source.damaged_at(why))?;
    while more {
        let Some(block) = source.block()? else {
            return Err(source.damaged("it is cut off inside a sparse file's map"));
        };
        fields(block.get(CONTINUED).unwrap_or_default(), &mut extents)
            .map_err(|why| source.damaged_at(why))?;
        more = block.get(CONTINUED_MORE) != Some(&0);
    }
    Ok(Map { size, extents, read: 0 })
}

fn fields(bytes: &[u8], extents: &mut Vec<Extent>) -> Result<(), Wrong> {
    for pair in bytes.chunks_exact(PAIR) {
        let (offset, length) = pair.split_at(PAIR / 2);
        if length.first() == Some(&0) {
            break;
        }
        let field = |field| u64::try_from(number(field)?).map_err(|_| "below zero".to_owned());
        let place = |why| format!("a number of a sparse file's map is {why}");
        push(extents, field(offset).map_err(place)?, field(length).map_err(place)?)?;
    }
    Ok(())
}

/// The forms in PAX records; none when the records tell of no sparse file.
pub(super) fn pax(source: &mut Source<'_>, records: Both<'_>, stored: u64) -> Result<Option<Map>> {
    let version = (records.value("GNU.sparse.major"), records.value("GNU.sparse.minor"));
    let size = records.number("GNU.sparse.size").map_err(|why| source.damaged_at(why))?;
    match (version, size) {
        ((Some(b"1"), Some(b"0")), _) => {
            let size =
                records.number("GNU.sparse.realsize").map_err(|why| source.damaged_at(why))?;
            let size =
                size.ok_or_else(|| source.damaged("a sparse file does not tell its size"))?;
            let (extents, read) = lines(source, stored)?;
            Ok(Some(Map { size, extents, read }))
        }
        ((None, None), None) => Ok(None),
        ((None, None), Some(size)) | ((Some(b"0"), Some(b"0" | b"1")), Some(size)) => {
            let mut extents = Vec::new();
            listed(records, &mut extents).map_err(|why| source.damaged_at(why))?;
            Ok(Some(Map { size, extents, read: 0 }))
        }
        _ => Err(source.damaged("a sparse file is of an unknown version")),
    }
}

/// Formats 0.0 and 0.1: pairs of records, or one record of numbers with commas between.
fn listed(records: Both<'_>, extents: &mut Vec<Extent>) -> Result<(), Wrong> {
    match records.value("GNU.sparse.map") {
        Some(map) => {
            let mut numbers = map
                .split(|byte| *byte == b',')
                .map(|text| decimal(text).ok_or("a sparse file's map has no numbers"));
            while let Some(offset) = numbers.next() {
                let length = numbers.next().ok_or("a sparse file's map ends early")?;
                push(extents, offset?, length?)?;
            }
        }
        None => {
            for (offset, length) in &records.own.pairs {
                push(extents, *offset, *length)?;
            }
        }
    }
    let count = records.number("GNU.sparse.numblocks")?;
    let pairs = records
        .value("GNU.sparse.map")
        .map_or(records.own.pairs.len(), |map| map.split(|byte| *byte == b',').count() / 2);
    if count.is_some_and(|count| count != pairs as u64) {
        return Err("a sparse file's map is not as long as it says".into());
    }
    Ok(())
}

/// Format 1.0: lines of numbers before the data, filled up to whole blocks; returns how many bytes
/// that took.
fn lines(source: &mut Source<'_>, stored: u64) -> Result<(Vec<Extent>, u64)> {
    let mut extents = Vec::new();
    let (mut read, mut digits) = (0, Vec::new());
    let (mut count, mut offset) = (None, None);
    while count != Some(extents.len() as u64) {
        read += BLOCK as u64;
        let block = if read <= stored {
            source.block()?
        } else {
            return Err(source.damaged("a sparse file's map is longer than its content"));
        };
        let Some(block) = block else {
            return Err(source.damaged("it is cut off inside a sparse file's map"));
        };
        for byte in block {
            if count == Some(extents.len() as u64) {
                break;
            }
            if byte != b'\n' && digits.len() < 20 {
                digits.push(byte);
                continue;
            }
            let number = decimal(&digits)
                .ok_or_else(|| source.damaged("a sparse file's map has no numbers"))?;
            digits.clear();
            match (count, offset.take()) {
                (None, _) if number > MOST_EXTENTS as u64 => return Err(source.damaged(TOO_MANY)),
                (None, _) => count = Some(number),
                (Some(_), None) => offset = Some(number),
                (Some(_), Some(offset)) => {
                    push(&mut extents, offset, number).map_err(|why| source.damaged_at(why))?
                }
            }
        }
    }
    Ok((extents, read))
}

const TOO_MANY: &str = "a sparse file's map has too many entries";

fn push(extents: &mut Vec<Extent>, offset: u64, length: u64) -> Result<(), Wrong> {
    if extents.len() >= MOST_EXTENTS {
        return Err(TOO_MANY.into());
    }
    extents.push(Extent { offset, length });
    Ok(())
}

/// The stretches of data that are not empty, when they are in order, inside the file, and as long
/// as what is stored.
pub(super) fn checked(map: &Map, stored: u64) -> Result<Vec<Extent>, Wrong> {
    let (mut position, mut sum) = (0, 0_u64);
    for extent in &map.extents {
        let end = extent.offset.checked_add(extent.length).filter(|end| *end <= map.size);
        match end {
            Some(end) if extent.offset >= position => position = end,
            _ => return Err("a sparse file's map is out of order or beyond its end".into()),
        }
        sum += extent.length;
    }
    if sum != stored {
        return Err(format!(
            "a sparse file's map tells of {sum} bytes of data, but {stored} are stored"
        ));
    }
    Ok(map.extents.iter().copied().filter(|extent| extent.length > 0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(offset: u64, length: u64) -> Extent {
        Extent { offset, length }
    }

    #[test]
    fn a_map_is_in_order_and_inside_its_file_and_tells_all_that_is_stored() {
        let check = |extents: &[Extent], size, stored| {
            checked(&Map { size, extents: extents.to_vec(), read: 0 }, stored)
        };
        assert_eq!(check(&[extent(0, 5), extent(10, 0)], 10, 5).unwrap(), [extent(0, 5)]);
        assert!(check(&[], 10, 0).unwrap().is_empty());
        assert!(check(&[extent(0, 5)], 10, 4).is_err());
        assert!(check(&[extent(6, 5)], 10, 5).is_err());
        assert!(check(&[extent(5, 2), extent(4, 2)], 10, 4).is_err());
        assert!(check(&[extent(u64::MAX, 2)], u64::MAX, 2).is_err());
    }
}
