//! A bzip2 encoder: each block becomes one bzip2 stream, and the streams of a file are joined in
//! order.
//!
//! The steps of the format (<https://github.com/dsnet/compress/blob/master/doc/bzip2-format.pdf>)
//! are one module each: [`runs`], [`sort`], [`ranks`], [`tables`] of [`huffman`] codes.
#![warn(unreachable_pub, clippy::missing_errors_doc)]
#![doc = include_str!("../README.md")]
#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the overview is for readers of the source as well"
)]

mod crests;
mod huffman;
mod ranks;
mod runs;
mod sort;
mod tables;

use ranks::Symbols;
use sort::Sorter;
use tables::{GROUP, Tables};

/// The first 48 bits of a block: pi.
const BLOCK_MAGIC: u64 = 0x3141_5926_5359;
/// The 48 bits that end a stream: the square root of pi.
const END_MAGIC: u64 = 0x1772_4538_5090;
/// The part of an empty stream that follows `BZh` and the level: the end mark and a checksum of
/// zero.
pub const EMPTY_STREAM_TAIL: [u8; 10] = [0x17, 0x72, 0x45, 0x38, 0x50, 0x90, 0, 0, 0, 0];

/// The size of a bzip2 block at `level` (1 to 9), in bytes. Input of this length usually becomes
/// one block.
#[must_use]
pub fn block_size(level: u32) -> usize {
    (100_000 * level.clamp(1, 9) as usize).min(sort::LONGEST)
}

/// The memory that an encoder needs at `level`, in bytes.
///
/// For each byte of a block: the packed runs, the text, the sorted column and the copy for the
/// checksum (4), the order (4), the sorted sample of suffixes with its keys and
/// ranks (at most 8), the symbols (2), and
/// the groups that are not sorted yet.
#[must_use]
pub fn memory(level: u32) -> u64 {
    block_size(level) as u64 * 24 + (2 << 20)
}

/// Encodes blocks. It keeps its memory from one block to the next.
#[derive(Debug)]
pub struct Encoder {
    level: u32,
    sorter: Sorter,
    packed_runs: Vec<u8>,
    last_column: Vec<u8>,
    scratch: Vec<u8>,
    symbols: Symbols,
}

impl Encoder {
    /// An encoder for `level`, from 1 (blocks of 100 kB) to 9 (900 kB); other values are clamped.
    #[must_use]
    pub fn new(level: u32) -> Self {
        Self {
            level: level.clamp(1, 9),
            sorter: Sorter::default(),
            packed_runs: Vec::new(),
            last_column: Vec::new(),
            scratch: Vec::new(),
            symbols: Symbols::default(),
        }
    }

    /// Appends `block` to `packed` as one complete bzip2 stream.
    ///
    /// If a block or its run-length encoding is longer than [`block_size`], it becomes a stream of
    /// several bzip2 blocks.
    pub fn encode(&mut self, block: &[u8], packed: &mut Vec<u8>) {
        // Incompressible data grow by about one per cent, and the tables need some room.
        packed.reserve(block.len() + block.len() / 64 + 4096);
        let mut bits = Bits { packed, pending: 0, count: 0 };
        for byte in [b'B', b'Z', b'h', b'0' + self.level as u8] {
            bits.put(8, byte.into());
        }
        let mut total = 0_u32;
        let mut rest = block;
        while !rest.is_empty() {
            self.packed_runs.clear();
            let taken = runs::pack(rest, block_size(self.level), &mut self.packed_runs);
            let (part, others) = rest.split_at(taken);
            let sum = runs::checksum(part, &mut self.scratch);
            total = total.rotate_left(1) ^ sum;
            self.put_block(sum, &mut bits);
            rest = others;
        }
        bits.put(48, END_MAGIC);
        bits.put(32, total.into());
        bits.finish();
    }

    fn put_block(&mut self, sum: u32, bits: &mut Bits<'_>) {
        self.last_column.clear();
        let origin = self.sorter.transform(&self.packed_runs, &mut self.last_column);
        let used = ranks::used(&self.last_column);
        ranks::rank(&self.last_column, &used, &mut self.symbols);
        let tables = tables::choose(&self.symbols);
        bits.put(48, BLOCK_MAGIC);
        bits.put(32, sum.into());
        bits.put(1, 0);
        bits.put(24, origin.into());
        put_used(&used, bits);
        put_tables(&tables, self.symbols.alphabet, bits);
        let codes: Vec<_> = tables
            .lengths
            .iter()
            .map(|lengths| huffman::codes(&lengths[..self.symbols.alphabet]))
            .collect();
        for (group, selector) in self.symbols.list.chunks(GROUP).zip(&tables.selectors) {
            let codes = &codes[usize::from(*selector)];
            for symbol in group {
                let (code, length) = codes[usize::from(*symbol)];
                bits.put(length, code.into());
            }
        }
    }
}

/// Writes which bytes occur, in two levels: the ranges of sixteen that have any, then the bytes
/// within those ranges.
fn put_used(used: &[bool; 256], bits: &mut Bits<'_>) {
    let flags = |flags: &mut dyn Iterator<Item = bool>| {
        flags.fold(0, |sum, flag| sum << 1 | u64::from(flag))
    };
    bits.put(16, flags(&mut used.chunks(16).map(|part| part.contains(&true))));
    for part in used.chunks(16).filter(|part| part.contains(&true)) {
        bits.put(16, flags(&mut part.iter().copied()));
    }
}

fn put_tables(tables: &Tables, alphabet: usize, bits: &mut Bits<'_>) {
    bits.put(3, tables.lengths.len() as u64);
    bits.put(15, tables.selectors.len() as u64);
    let mut recent: Vec<u8> = (0..tables.lengths.len() as u8).collect();
    for selector in &tables.selectors {
        let place = recent.iter().position(|other| other == selector).unwrap_or(0);
        recent[..=place].rotate_right(1);
        // The position in unary: that many ones, then a zero.
        bits.put(place as u32 + 1, (2 << place) - 2);
    }
    for lengths in &tables.lengths {
        let mut length = lengths[0];
        bits.put(5, length.into());
        for wanted in &lengths[..alphabet] {
            while length < *wanted {
                bits.put(2, 0b10);
                length += 1;
            }
            while length > *wanted {
                bits.put(2, 0b11);
                length -= 1;
            }
            bits.put(1, 0);
        }
    }
}

/// Writes bits, the highest first.
struct Bits<'a> {
    packed: &'a mut Vec<u8>,
    pending: u64,
    count: u32,
}

impl Bits<'_> {
    /// Writes the lowest `length` bits of `bits`. The higher bits must be zero, and `length` is at
    /// most 48.
    fn put(&mut self, length: u32, bits: u64) {
        if length > 32 {
            self.put(length - 32, bits >> 32);
            return self.put(32, bits & 0xFFFF_FFFF);
        }
        self.pending = self.pending << length | bits;
        self.count += length;
        if self.count >= 32 {
            self.count -= 32;
            self.packed.extend_from_slice(&((self.pending >> self.count) as u32).to_be_bytes());
        }
    }

    fn finish(self) {
        if self.count > 0 {
            let left = (self.pending << (64 - self.count)).to_be_bytes();
            self.packed
                .extend_from_slice(left.get(..self.count.div_ceil(8) as usize).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bzip2::read::MultiBzDecoder;
    use proptest::prelude::*;
    use std::io::Read;

    fn check(level: u32, block: &[u8]) -> usize {
        let mut packed = Vec::new();
        Encoder::new(level).encode(block, &mut packed);
        let mut plain = Vec::new();
        MultiBzDecoder::new(packed.as_slice()).read_to_end(&mut plain).unwrap();
        assert!(plain == block, "{} bytes at level {level}", block.len());
        packed.len()
    }

    fn noise(size: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let step = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        std::iter::repeat_with(step).take(size).collect()
    }

    #[test]
    fn incompressible_data_grow_only_slightly() {
        for level in [1, 9] {
            let size = block_size(level);
            assert!(check(level, &noise(size)) < size + size / 64 + 4096);
        }
    }

    #[test]
    fn runs_that_grow_spill_into_a_second_block() {
        let fours: Vec<u8> = (0..900_000_u32).map(|at| (at / 4 % 250) as u8).collect();
        check(9, &fours);
        check(1, &fours[..100_000]);
        let mixed: Vec<u8> = noise(225_000).iter().flat_map(|byte| [*byte; 4]).collect();
        check(9, &mixed);
    }

    #[test]
    fn runs_of_every_length_round_trip() {
        for length in (1..=540).chain([99_999, 100_000]) {
            check(1, &[vec![251; length], vec![0; length % 7], vec![4; length % 11]].concat()[..]);
        }
    }

    proptest! {
        #[test]
        fn any_block_round_trips(
            runs in proptest::collection::vec((any::<u8>(), 1..700_usize), 0..200),
            level in 1..=9_u32,
        ) {
            let block: Vec<u8> =
                runs.iter().flat_map(|(byte, count)| std::iter::repeat_n(*byte, *count)).collect();
            check(level, &block);
        }

        #[test]
        fn blocks_of_few_distinct_bytes_round_trip(
            block in proptest::collection::vec(0..3_u8, 0..3000),
            times in 1..30_usize,
        ) {
            check(9, &block.repeat(times));
        }
    }
}
