//! The packages' headers of a database, whatever its format; and the file that they are read from.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::Result;
use anyhow::{Context, ensure};

/// More packages than any system has.
const MOST_PACKAGES: usize = 100_000;
/// Bytes of all headers together.
pub(super) const MOST_BYTES: usize = 256 << 20;

/// The headers by their numbers in the database.
#[derive(Debug, Default)]
pub(super) struct Headers {
    list: BTreeMap<i64, Vec<u8>>,
    bytes: usize,
}

impl Headers {
    /// Adds a header. The formats end at the first error, so that no damage makes them read more
    /// than the limits.
    pub(super) fn push(&mut self, number: i64, header: Vec<u8>) -> Result<()> {
        self.bytes += header.len();
        ensure!(
            self.list.len() < MOST_PACKAGES && self.bytes <= MOST_BYTES,
            "it has more than {MOST_PACKAGES} packages or {MOST_BYTES} bytes"
        );
        ensure!(self.list.insert(number, header).is_none(), "two packages have number {number}");
        Ok(())
    }

    /// The headers in the order of their numbers.
    pub(super) fn into_list(self) -> Vec<Vec<u8>> {
        self.list.into_values().collect()
    }
}

/// A file of a database.
#[derive(Debug)]
pub(super) struct Source {
    file: File,
    /// Its size in bytes.
    pub(super) size: u64,
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = crate::files::open(path).context("opening the database")?;
        let size = file.metadata().context("opening the database")?.len();
        Ok(Self { file, size })
    }

    /// The bytes at an offset. Their number is compared with the file before memory is allocated.
    pub(super) fn bytes(&self, offset: u64, length: u64) -> Result<Vec<u8>> {
        let end = offset.checked_add(length).filter(|end| *end <= self.size);
        ensure!(end.is_some(), "it ends before byte {}", offset.saturating_add(length));
        let length = usize::try_from(length)?;
        ensure!(length <= MOST_BYTES, "it has a part of {length} bytes");
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, offset).context("reading the database")?;
        Ok(bytes)
    }
}
