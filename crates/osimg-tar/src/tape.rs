//! The archive's bytes, cut into the blocks of every output at once.

use super::buffer::Buffer;
use super::compress::shortest_block;
use super::cutter::{Cutter, GRAIN, Rank};
use super::pool::{Lane, Pool};
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
    lanes: Vec<Filling>,
    bytes: u64,
    /// The name of the present member, and how many bytes of its content are on the tape.
    member: Vec<u8>,
    content: u64,
    /// Of all bytes: it identifies the archive, whatever compresses it.
    sum: Sha256,
}

/// The block of one output that is being filled.
struct Filling {
    number: usize,
    block: Buffer,
    cutter: Cutter,
}

impl<'p, 'a> Tape<'p, 'a> {
    pub(super) fn new(pool: &'p Pool<'a>) -> Self {
        let filling = |(number, lane): (usize, &Lane)| Filling {
            number,
            block: pool.block(number),
            cutter: Cutter::new(shortest_block(lane.format, lane.level)),
        };
        let lanes = pool.lanes().iter().enumerate().map(filling).collect();
        Self { pool, lanes, bytes: 0, member: Vec::new(), content: 0, sum: Sha256::new() }
    }

    /// Begins a member: its headers are next.
    pub(super) fn begin(&mut self, name: &[u8]) {
        self.mark(Rank::of_member(name));
        self.member.clear();
        self.member.extend_from_slice(name);
        self.content = 0;
    }

    fn mark(&mut self, rank: Rank) {
        for Filling { block, cutter, .. } in &mut self.lanes {
            cutter.mark(block.filled().len(), rank);
        }
    }

    /// Bytes of the archive so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        for lane in &mut self.lanes {
            lane.put(self.pool, bytes)?;
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

    /// Puts at most `want` bytes of the member's content straight from `read`, without a copy for
    /// the first output; returns how many, 0 at the source's end.
    ///
    /// # Errors
    /// Those of `read` are in the inner result.
    pub(super) fn pull(
        &mut self,
        want: u64,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> Result<io::Result<usize>> {
        let Some((first, others)) = self.lanes.split_first_mut() else { return Ok(Ok(0)) };
        let room = first.block.room();
        let want = want.min(GRAIN - self.content % GRAIN);
        let wanted = room.len().min(usize::try_from(want).unwrap_or(usize::MAX));
        let count = match read(room.get_mut(..wanted).unwrap_or_default()) {
            Ok(count) => count,
            Err(error) => return Ok(Err(error)),
        };
        let fresh = first.block.room().get(..count).unwrap_or_default();
        for lane in others {
            lane.put(self.pool, fresh)?;
        }
        self.sum.update(fresh);
        first.advance(self.pool, count)?;
        self.bytes += count as u64;
        self.content += count as u64;
        if self.content.is_multiple_of(GRAIN) && count > 0 {
            let rank = Rank::inside(&self.member, self.content / GRAIN);
            self.mark(rank);
        }
        Ok(Ok(count))
    }

    /// Ends the archive: two empty records, filled up as GNU tar does, and waits until every output
    /// is whole. Returns the number of bytes and their SHA-256.
    pub(super) fn finish(mut self) -> Result<(u64, String)> {
        self.zeros(2 * RECORD)?;
        self.zeros(self.bytes.next_multiple_of(BLOCKING) - self.bytes)?;
        for Filling { number, block, .. } in self.lanes {
            if !block.filled().is_empty() {
                self.pool.submit(number, block)?;
            }
        }
        self.pool.close()?;
        Ok((self.bytes, hex::encode(self.sum.finalize())))
    }
}

impl Filling {
    fn put(&mut self, pool: &Pool<'_>, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let room = self.block.room();
            let count = room.len().min(bytes.len());
            let (part, rest) = bytes.split_at(count);
            if let Some(room) = room.get_mut(..count) {
                room.copy_from_slice(part);
            }
            self.advance(pool, count)?;
            bytes = rest;
        }
        Ok(())
    }

    /// Counts `count` more bytes, written into the block's room, and hands the block over if it is
    /// full.
    fn advance(&mut self, pool: &Pool<'_>, count: usize) -> Result<()> {
        self.block.advance(count);
        if !self.block.is_full() {
            return Ok(());
        }
        let end = self.cutter.cut(self.block.filled().len());
        pool.wait_for_room(self.number)?;
        let mut next = pool.block(self.number);
        next.extend(self.block.filled().get(end..).unwrap_or_default());
        self.block.truncate(end);
        pool.submit(self.number, std::mem::replace(&mut self.block, next))?;
        Ok(())
    }
}
