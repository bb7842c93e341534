//! The end of a lane: joins the packed blocks to a file, hashes it, and keeps 55 AA away from bytes 510 and 511.
//!
//! A file with those two bytes there is taken for a disk with a partition table, and refused, by the image inspection of
//! Glance and Ironic (oslo.utils, `imageutils/format_inspector.py`); one compressed file in 65,536 has them by chance.

use super::digest::Digesting;
use super::format::Format;
use super::pool::{Lane, Pool};
use super::{Packed, bzip2, gzip, xz};
use crate::error::Result;
use anyhow::Context;
use std::io::Write;

/// The signature of a master boot record.
const BOOT_SIGNATURE: [u8; 2] = [0x55, 0xAA];
/// The bytes of a file's beginning that hold it.
const SECTOR: usize = 512;

/// Writes a lane's pieces as they come, until there are no more.
pub(super) fn write(pool: &Pool<'_>, number: usize, lane: Lane, sink: Box<dyn Write + Send + '_>) -> Result<Packed> {
    write_avoiding(BOOT_SIGNATURE, pool, number, lane, sink)
}

fn write_avoiding(avoided: [u8; 2], pool: &Pool<'_>, number: usize, lane: Lane, sink: Box<dyn Write + Send + '_>) -> Result<Packed> {
    let writing = || format!("writing the {} archive", lane.format);
    let mut sink = Digesting::new(sink);
    let mut container = Container::new(lane.format);
    // The beginning is held back until those bytes are known.
    let mut held = Some(container.opening().to_vec());
    let mut next = 0;
    while let Some(piece) = pool.piece(number, next)? {
        container.add(piece.unpadded, piece.plain);
        match &mut held {
            Some(start) => {
                start.extend_from_slice(piece.bytes.filled());
                if start.len() >= SECTOR
                    && let Some(mut start) = held.take()
                {
                    container.shift(&mut start, avoided)?;
                    sink.write_all(&start).with_context(writing)?;
                }
            }
            None => sink.write_all(piece.bytes.filled()).with_context(writing)?,
        }
        pool.written(number, piece);
        next += 1;
    }
    if let Some(mut start) = held {
        container.shift(&mut start, avoided)?;
        sink.write_all(&start).with_context(writing)?;
    }
    sink.write_all(&container.closing()?).with_context(writing)?;
    let digests = sink.finish().with_context(writing)?;
    pool.finished(number);
    Ok(Packed { format: lane.format, bytes: digests.bytes, sha256: digests.sha256, sha512: digests.sha512 })
}

/// What a format puts around and between the packed blocks.
enum Container {
    /// Nothing.
    Joined(Format),
    Xz(xz::Index),
}

impl Container {
    fn new(format: Format) -> Self {
        match format {
            Format::Tar | Format::Tgz | Format::Tbz => Self::Joined(format),
            Format::Txz => Self::Xz(xz::Index::default()),
        }
    }

    fn opening(&self) -> &'static [u8] {
        match self {
            Self::Joined(_) => &[],
            Self::Xz(_) => xz::Index::opening(),
        }
    }

    fn add(&mut self, unpadded: u64, plain: u64) {
        if let Self::Xz(index) = self {
            index.add(unpadded, plain);
        }
    }

    fn closing(&self) -> Result<Vec<u8>> {
        match self {
            Self::Joined(_) => Ok(Vec::new()),
            Self::Xz(index) => index.closing(),
        }
    }

    /// Changes the beginning of a file, without changing what it unpacks to, when it has the avoided bytes.
    fn shift(&mut self, start: &mut Vec<u8>, avoided: [u8; 2]) -> Result<()> {
        match self {
            // A member's header ends in zeros there.
            Self::Joined(Format::Tar | Format::Txz) => {}
            Self::Joined(Format::Tgz) if has(start, avoided) => gzip::shift(start, avoided),
            Self::Joined(Format::Tbz) if has(start, avoided) => bzip2::shift(start, avoided),
            Self::Joined(Format::Tgz | Format::Tbz) => {}
            Self::Xz(index) => index.shift(start, avoided)?,
        }
        Ok(())
    }
}

/// Whether a file that begins with `start` has the avoided bytes where a boot signature would be.
pub(super) fn has(start: &[u8], avoided: [u8; 2]) -> bool {
    start.get(SECTOR - 2..SECTOR) == Some(&avoided)
}
