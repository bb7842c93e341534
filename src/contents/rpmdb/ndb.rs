//! The rpmdb of SUSE: rpm's own format, ndb.
//!
//! The file has a header, pages of slots, and blobs. A slot has the number of a package and the
//! place of its blob; a blob has the package's header, with a checksum. All numbers are
//! little-endian, and blobs are counted in blocks. See `lib/backend/ndb/rpmpkg.c` of rpm.

use std::path::Path;

use super::headers::{Headers, Source};
use crate::error::Result;
use anyhow::{Context, ensure};

const MAGIC: &[u8] = b"RpmP";
const SLOT_MAGIC: &[u8] = b"Slot";
const BLOB_MAGIC: &[u8] = b"BlbS";
const BLOB_END_MAGIC: &[u8] = b"BlbE";

/// Bytes of the header, which takes the place of the first slots.
const HEADER: usize = 32;
/// Bytes of a page of slots.
const PAGE: u64 = 4096;
/// Bytes of a slot: the magic number, the package's number, the first block and their count.
const SLOT: usize = 16;
/// Bytes of a block.
const BLOCK: u64 = 16;
/// Bytes before a header: the magic number, the package's number, the generation and the length.
const BLOB_START: usize = 16;
/// Bytes after it and its padding: the Adler-32 of all bytes before, the length, the magic number.
const BLOB_END: usize = 12;

/// The headers in the database.
pub(super) fn headers(file: &Path) -> Result<Headers> {
    let source = Source::open(file)?;
    let start = source.bytes(0, HEADER as u64)?;
    ensure!(start.starts_with(MAGIC), "it is not an ndb database");
    let version = word(&start, 4)?;
    ensure!(version == 0, "its version {version} is unknown");
    let pages = u64::from(word(&start, 12)?);
    let mut headers = Headers::default();
    for page in 0..pages {
        let slots = source.bytes(page * PAGE, PAGE).context("reading the slots")?;
        let skipped = if page == 0 { HEADER } else { 0 };
        for slot in slots.get(skipped..).unwrap_or_default().chunks_exact(SLOT) {
            ensure!(slot.starts_with(SLOT_MAGIC), "page {page} has a damaged slot");
            let (number, first, count) = (word(slot, 4)?, word(slot, 8)?, word(slot, 12)?);
            if first == 0 {
                continue;
            }
            let header = u64::from(first)
                .checked_sub(pages * (PAGE / BLOCK))
                .context("it is within the slots")
                .and_then(|_| blob(&source, number, first, count))
                .with_context(|| format!("reading package {number}"))?;
            headers.push(i64::from(number), header)?;
        }
    }
    Ok(headers)
}

/// The header in the blob of a package.
fn blob(source: &Source, number: u32, first: u32, count: u32) -> Result<Vec<u8>> {
    let mut blob = source.bytes(u64::from(first) * BLOCK, u64::from(count) * BLOCK)?;
    let damaged = "its blob is damaged";
    ensure!(blob.starts_with(BLOB_MAGIC) && word(&blob, 4)? == number, damaged);
    let declared = word(&blob, 12)?;
    let length = usize::try_from(declared)?;
    let needed = (BLOB_START + length + BLOB_END).div_ceil(usize::try_from(BLOCK)?);
    ensure!(usize::try_from(count)? == needed, "its blob has another length than its slot");
    let (covered, end) = blob.split_at_checked(blob.len() - BLOB_END).context(damaged)?;
    ensure!(word(end, 4)? == declared && end.ends_with(BLOB_END_MAGIC), damaged);
    ensure!(word(end, 0)? == libdeflater::adler32(covered), "its checksum is wrong");
    blob.truncate(BLOB_START + length);
    Ok(blob.split_off(BLOB_START))
}

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let bytes = bytes.get(at..at + 4).context("a number is truncated")?;
    Ok(u32::from_le_bytes(bytes.try_into()?))
}
