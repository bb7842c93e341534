//! bzip2: one stream a block; every reader of bzip2 takes several streams in one file.

use super::compress::Buffer;
use super::sink::has;
use crate::error::Result;
use anyhow::Context;
use bzip2::{Action, Compress, Compression, Status};

/// What a stream without data holds behind `BZh` and the level: the end mark and the check sum of nothing.
const EMPTY: [u8; 10] = [0x17, 0x72, 0x45, 0x38, 0x50, 0x90, 0, 0, 0, 0];

/// The size of bzip2's own block at `level`, so that a stream holds one.
pub(super) fn block_size(level: u32) -> usize {
    100_000 * level.clamp(1, 9) as usize
}

pub(super) struct Encoder {
    level: u32,
}

impl Encoder {
    pub(super) fn new(level: u32) -> Self {
        Self { level: level.clamp(1, 9) }
    }

    pub(super) fn encode(&mut self, block: &[u8], packed: &mut Buffer) -> Result<()> {
        let mut stream = Compress::new(Compression::new(self.level), 0);
        // The library's own bound for one call.
        packed.reserve(block.len() + block.len() / 100 + 600);
        loop {
            let (read, written) = (stream.total_in(), stream.total_out());
            let rest = block.get(usize::try_from(read)?..).unwrap_or_default();
            let status = stream.compress(rest, packed.room(), Action::Finish).context("compressing a bzip2 block")?;
            packed.advance(usize::try_from(stream.total_out() - written)?);
            if status == Status::StreamEnd {
                return Ok(());
            }
            packed.reserve(1 << 16);
        }
    }
}

/// Moves everything by empty streams, so that bytes 510 and 511 are no longer `avoided`.
pub(super) fn shift(start: &mut Vec<u8>, avoided: [u8; 2]) {
    let Some(magic) = start.get(..4).map(<[u8]>::to_vec) else { return };
    let empty = [magic.as_slice(), &EMPTY].concat();
    let mut prefix = Vec::new();
    // At the latest an empty stream's own bytes reach the place.
    for _ in 0..=512 / empty.len() {
        prefix.extend_from_slice(&empty);
        let shifted = [prefix.as_slice(), start].concat();
        if !has(&shifted, avoided) {
            *start = shifted;
            return;
        }
    }
}
