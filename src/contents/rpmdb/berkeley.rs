//! The rpmdb of EL 8 and older: a hash of Berkeley DB.
//!
//! The first page describes the hash. Every bucket is a chain of pages with keys and values in
//! turn. A value that is too large for a page is in its own chain of pages. The key is the
//! package's number. See `lib/backend/bdb_ro.cc` of rpm, and `db_page.h` of Berkeley DB.

use std::path::Path;

use super::headers::{Headers, MOST_BYTES, Source};
use crate::error::Result;
use anyhow::{Context, bail, ensure};

const HASH_MAGIC: u32 = 0x0006_1561;
/// The versions of the hash that rpm has written.
const VERSIONS: std::ops::RangeInclusive<u32> = 8..=10;
/// Bytes of the description that are used.
const DESCRIPTION: u64 = 512;
/// The number of the first page of each power of two of buckets, less the number of buckets.
const SPARES: std::ops::Range<usize> = 96..224;
/// Bytes before the offsets of a page's items, and before the data of an overflow page.
const PAGE_HEADER: usize = 26;

/// Types of pages.
const HASH_UNSORTED: u8 = 2;
const HASH: u8 = 13;
const OVERFLOW: u8 = 7;
/// Types of items: bytes in the page, and bytes in overflow pages.
const IN_PAGE: u8 = 1;
const OFF_PAGE: u8 = 3;

/// The headers in the database.
pub(super) fn headers(file: &Path) -> Result<Headers> {
    let mut database = Database::open(Source::open(file)?)?;
    let mut headers = Headers::default();
    for bucket in 0..=database.last_bucket {
        let mut next = database.first_page(bucket)?;
        loop {
            let page = database.page(next, &[HASH, HASH_UNSORTED])?;
            database.items(&page, &mut headers).with_context(|| format!("reading page {next}"))?;
            next = page.order.word(&page.bytes, 16)?;
            if next == 0 {
                break;
            }
        }
    }
    Ok(headers)
}

/// The order of the bytes of numbers.
#[derive(Debug, Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn word(self, bytes: &[u8], at: usize) -> Result<u32> {
        let bytes = bytes.get(at..at + 4).context("a number is truncated")?.try_into()?;
        Ok(match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        })
    }

    fn half(self, bytes: &[u8], at: usize) -> Result<usize> {
        let bytes = bytes.get(at..at + 2).context("a number is truncated")?.try_into()?;
        Ok(usize::from(match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }))
    }
}

#[derive(Debug)]
struct Database {
    source: Source,
    order: Order,
    page_size: u64,
    last_bucket: u32,
    spares: Vec<u8>,
    /// The pages that were read. None is part of two chains, so that no chain is endless.
    seen: Vec<bool>,
}

#[derive(Debug)]
struct Page {
    bytes: Vec<u8>,
    order: Order,
}

impl Database {
    fn open(source: Source) -> Result<Self> {
        let start = source.bytes(0, DESCRIPTION).context("it is not a Berkeley DB")?;
        let order = [Order::Little, Order::Big]
            .into_iter()
            .find(|order| order.word(&start, 12).is_ok_and(|magic| magic == HASH_MAGIC))
            .context("it is not a hash of Berkeley DB")?;
        let version = order.word(&start, 16)?;
        ensure!(VERSIONS.contains(&version), "its version {version} is unknown");
        let size = order.word(&start, 20)?;
        ensure!(
            size.is_power_of_two() && (512..=65536).contains(&size),
            "its pages have {size} bytes"
        );
        let pages = (u64::from(order.word(&start, 32)?) + 1).min(source.size / u64::from(size));
        Ok(Self {
            order,
            page_size: size.into(),
            last_bucket: order.word(&start, 72)?,
            spares: start.get(SPARES).unwrap_or_default().to_vec(),
            seen: vec![false; usize::try_from(pages)?],
            source,
        })
    }

    fn first_page(&self, bucket: u32) -> Result<u32> {
        let power = u32::BITS - bucket.leading_zeros();
        let spare = self.order.word(&self.spares, usize::try_from(power)? * 4)?;
        bucket.checked_add(spare).context("a bucket is outside of the file")
    }

    /// Reads a page of one of these types, which must be the first time.
    fn page(&mut self, number: u32, types: &[u8]) -> Result<Page> {
        let seen = self.seen.get_mut(usize::try_from(number)?).filter(|_| number != 0);
        let seen = seen.with_context(|| format!("page {number} is outside of the file"))?;
        ensure!(!std::mem::replace(seen, true), "page {number} is used twice");
        let bytes = self.source.bytes(u64::from(number) * self.page_size, self.page_size)?;
        let is_expected = bytes.get(25).is_some_and(|found| types.contains(found));
        ensure!(
            is_expected && self.order.word(&bytes, 8)? == number,
            "page {number} is not what refers to it expects"
        );
        Ok(Page { bytes, order: self.order })
    }

    /// Adds the packages of a page: the odd items are keys, the even ones are values.
    fn items(&mut self, page: &Page, headers: &mut Headers) -> Result<()> {
        let count = page.order.half(&page.bytes, 20)?;
        let mut end = page.bytes.len();
        let mut item = |index: usize| {
            let start = page.order.half(&page.bytes, PAGE_HEADER + 2 * index)?;
            let bytes = page.bytes.get(start..end).context("an item is outside of the page")?;
            end = start;
            Ok::<_, anyhow::Error>(bytes)
        };
        for index in (0..count / 2 * 2).step_by(2) {
            let (key, value) = (item(index)?, item(index + 1)?);
            let key = self.content(key)?;
            ensure!(key.len() == 4, "a key has {} bytes", key.len());
            let number = page.order.word(&key, 0)?;
            // Number 0 has the largest number in use.
            if number != 0 {
                let header =
                    self.content(value).with_context(|| format!("reading package {number}"))?;
                headers.push(i64::from(number), header)?;
            }
        }
        Ok(())
    }

    /// The bytes of an item, which may be in overflow pages.
    fn content(&mut self, item: &[u8]) -> Result<Vec<u8>> {
        match item.split_first() {
            Some((&IN_PAGE, bytes)) => Ok(bytes.to_vec()),
            Some((&OFF_PAGE, place)) if place.len() == 11 => {
                self.overflow(self.order.word(place, 3)?, self.order.word(place, 7)?)
            }
            _ => bail!("an item is damaged"),
        }
    }

    fn overflow(&mut self, first: u32, length: u32) -> Result<Vec<u8>> {
        let (mut next, length) = (first, usize::try_from(length)?);
        ensure!(length <= MOST_BYTES, "it has {length} bytes");
        // Not allocated at once: the length may be wrong, the pages are in the file.
        let mut content = Vec::new();
        while content.len() < length {
            let page = self.page(next, &[OVERFLOW])?;
            let end = PAGE_HEADER + page.order.half(&page.bytes, 22)?;
            let part = page.bytes.get(PAGE_HEADER..end);
            content.extend(part.context("an overflow page is damaged")?);
            next = page.order.word(&page.bytes, 16)?;
        }
        ensure!(content.len() == length, "the overflow pages have more than {length} bytes");
        Ok(content)
    }
}
