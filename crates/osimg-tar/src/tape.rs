//! The archive's bytes, cut into the blocks of every output at once.

use super::buffer::Buffer;
use super::pool::Pool;
use crate::error::Result;
use sha2::{Digest, Sha256};
use std::io;

/// What GNU tar pads an archive to: twenty records of 512 bytes.
const BLOCKING: u64 = 10_240;
/// The unit of everything in an archive.
pub(super) const RECORD: u64 = 512;

const ZEROS: [u8; BLOCKING as usize] = [0; BLOCKING as usize];

pub(super) struct Tape<'p, 'a> {
    pool: &'p Pool<'a>,
    blocks: Vec<Buffer>,
    bytes: u64,
    /// Of all bytes: what identifies the archive whatever it is compressed by.
    sum: Sha256,
}

impl<'p, 'a> Tape<'p, 'a> {
    pub(super) fn new(pool: &'p Pool<'a>) -> Self {
        let blocks = (0..pool.lanes().len()).map(|lane| pool.block(lane)).collect();
        Self { pool, blocks, bytes: 0, sum: Sha256::new() }
    }

    /// Bytes of the archive so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        for (lane, block) in self.blocks.iter_mut().enumerate() {
            copy(self.pool, lane, block, bytes)?;
        }
        self.sum.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Fills up to a whole record.
    pub(super) fn align(&mut self) -> Result<()> {
        self.zeros(self.bytes.next_multiple_of(RECORD) - self.bytes)
    }

    fn zeros(&mut self, mut count: u64) -> Result<()> {
        while count > 0 {
            let part = ZEROS.get(..usize::try_from(count).unwrap_or(usize::MAX)).unwrap_or(&ZEROS);
            self.put(part)?;
            count -= part.len() as u64;
        }
        Ok(())
    }

    /// Puts at most `want` bytes straight from `read`, without a copy for the first output; returns
    /// how many, 0 at the source's end.
    ///
    /// # Errors
    /// Those of `read` come in the inner result.
    pub(super) fn pull(&mut self, want: u64, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> Result<io::Result<usize>> {
        let Some((first, others)) = self.blocks.split_first_mut() else { return Ok(Ok(0)) };
        let room = first.room();
        let wanted = room.len().min(usize::try_from(want).unwrap_or(usize::MAX));
        let count = match read(room.get_mut(..wanted).unwrap_or_default()) {
            Ok(count) => count,
            Err(error) => return Ok(Err(error)),
        };
        let fresh = first.room().get(..count).unwrap_or_default();
        for (lane, block) in others.iter_mut().enumerate() {
            copy(self.pool, lane + 1, block, fresh)?;
        }
        self.sum.update(fresh);
        first.advance(count);
        if first.is_full() {
            replace(self.pool, 0, first)?;
        }
        self.bytes += count as u64;
        Ok(Ok(count))
    }

    /// Ends the archive: two empty records, filled up as GNU tar does, and waits until every output
    /// is whole. Returns the number of bytes and their SHA-256.
    pub(super) fn finish(mut self) -> Result<(u64, String)> {
        self.zeros(2 * RECORD)?;
        self.zeros(self.bytes.next_multiple_of(BLOCKING) - self.bytes)?;
        for (lane, block) in self.blocks.into_iter().enumerate() {
            if !block.filled().is_empty() {
                self.pool.submit(lane, block)?;
            }
        }
        self.pool.close()?;
        Ok((self.bytes, hex::encode(self.sum.finalize())))
    }
}

fn copy(pool: &Pool<'_>, lane: usize, block: &mut Buffer, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        let room = block.room();
        let count = room.len().min(bytes.len());
        let (part, rest) = bytes.split_at(count);
        if let Some(room) = room.get_mut(..count) {
            room.copy_from_slice(part);
        }
        block.advance(count);
        bytes = rest;
        if block.is_full() {
            replace(pool, lane, block)?;
        }
    }
    Ok(())
}

/// Hands a full block over and takes an empty one.
fn replace(pool: &Pool<'_>, lane: usize, block: &mut Buffer) -> Result<()> {
    pool.submit(lane, std::mem::take(block))?;
    *block = pool.block(lane);
    Ok(())
}
