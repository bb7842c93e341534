//! The Burrows-Wheeler transform of a block: the last column of its sorted rotations, found by
//! sorting as few of them as possible.
//!
//! Two-stage sorting (Itoh and Tanaka, 1999; Mori's divsufsort) of rotations, as lbzip2 does it. A
//! rotation *falls* if it is greater than the rotation that starts one byte later; otherwise it
//! *rises*. A *crest* is a rising rotation before a falling one. Only the crests, about a quarter
//! of all rotations, are sorted. One pass derives the order of the rising rotations from the
//! crests, and a second pass derives the order of the falling ones from the rising ones. Crests are
//! sorted by the bytes up to the next crest. Those that are still equal are sorted by the ranks of
//! the crests that follow, and each round doubles the distance (Larsson and Sadakane, 1999). So
//! every block is sorted in n log n.
//!
//! Positions are smaller than the block's length, and the counts add up to it by construction. So
//! no content can make an index leave its range.

use super::crests::{Crests, NUMBER, PLACE, each_group, read, sort_by_ranks};

/// The longest block: bzip2's limit, which fits in twenty bits.
pub(crate) const LONGEST: usize = 900_000;

/// The other bits of an entry of the order, besides the position ([`PLACE`]): the byte before it,
/// and whether the rotation of that byte falls.
const BEFORE: u32 = 20;
const FALLS: u32 = 1 << 28;

/// Bytes repeated after the block, so that most reads do not have to wrap around.
const MARGIN: usize = 32;
/// Bytes that the first round of sorting compares. They follow the two bytes of the bucket.
const FIRST: usize = 5;
const PAIRS: usize = 1 << 16;

/// Sorts one block after another in the same memory.
#[derive(Debug, Default)]
pub(crate) struct Sorter {
    /// The block, preceded by its last byte and followed by its first bytes.
    text: Vec<u8>,
    /// The number of rotations by their first two bytes: falling, rising, crests.
    counts: Vec<u32>,
    /// Positions of the crests in ascending order, at the end of the array.
    crests: Vec<u32>,
    keys: Vec<u64>,
    /// The ranks of the crests, by crest number.
    ranks: Vec<u32>,
    /// The next position of a rising rotation, by its second and first byte.
    next: Vec<u32>,
    order: Vec<u32>,
}

impl Sorter {
    /// Appends the last column of the block's sorted rotations to `last` and returns the row of the
    /// block itself.
    ///
    /// `block` is not longer than [`LONGEST`].
    pub(crate) fn transform(&mut self, block: &[u8], last: &mut Vec<u8>) -> u32 {
        let Some(first) = block.first() else { return 0 };
        if block.iter().all(|byte| byte == first) {
            last.extend_from_slice(block);
            return 0;
        }
        self.text.clear();
        self.text.extend(block.last());
        self.text.extend_from_slice(block);
        self.text.extend(block.iter().cycle().take(MARGIN));
        let crests = self.classify(block);
        self.sort_crests(block.len(), crests);
        self.induce(block.len(), crests, last)
    }

    /// Counts the rotations by class and first bytes, and finds the crests; returns how many there
    /// are.
    fn classify(&mut self, block: &[u8]) -> usize {
        let n = block.len();
        self.counts.clear();
        self.counts.resize(3 * PAIRS, 0);
        self.crests.clear();
        self.crests.resize(n / 2 + 2, 0);
        let mut next = usize::from(block[0]);
        let mut next_rises = usize::from(rises(block, 0));
        let mut free = self.crests.len() - 1;
        let mut look = |place: usize, byte: u8, is_last: Option<bool>| {
            let byte = usize::from(byte);
            let is_rising = match is_last {
                Some(is_rising) => usize::from(is_rising),
                None => usize::from(byte < next) | (usize::from(byte == next) & next_rises),
            };
            let is_crest = is_rising & (1 - next_rises);
            self.counts[(is_rising + is_crest) << 16 | byte << 8 | next] += 1;
            self.crests[free] = place as u32;
            free -= is_crest;
            (next, next_rises) = (byte, is_rising);
        };
        look(n - 1, block[n - 1], Some(rises(block, n - 1)));
        for (place, byte) in block.iter().enumerate().rev().skip(1) {
            look(place, *byte, None);
        }
        self.crests.len() - 1 - free
    }

    /// Puts the numbers of the crests in their order into the keys' lowest bits.
    fn sort_crests(&mut self, n: usize, count: usize) {
        let Self { text, counts, crests, keys, ranks, next, .. } = self;
        let crests = &crests[crests.len() - count..];
        // By the first two bytes.
        next.clear();
        let mut sum = 0;
        next.extend(counts[2 * PAIRS..].iter().map(|count| {
            let start = sum;
            sum += count;
            start
        }));
        keys.clear();
        keys.resize(count, 0);
        for (number, place) in crests.iter().enumerate() {
            let at = *place as usize + 1;
            let slot = &mut next[usize::from(text[at]) << 8 | usize::from(text[at + 1])];
            // The bytes after a position near the end are in the margin.
            let bytes = (read(text, at + 2) >> (128 - 8 * FIRST)) as u64;
            keys[*slot as usize] = bytes << NUMBER | number as u64;
            *slot += 1;
        }
        let mut open = Vec::new();
        let mut start = 0;
        for end in next.iter().map(|end| *end as usize) {
            if end > start + 1 {
                keys[start..end].sort_unstable();
                each_group(&keys[start..end], NUMBER, |from, to| {
                    open.push((start + from, start + to, 2 + FIRST))
                });
            }
            start = end;
        }
        let crests = Crests { text, places: crests, n };
        let alike = crests.sort_by_bytes(keys, open);
        if !alike.is_empty() {
            sort_by_ranks(keys, ranks, alike);
        }
    }

    /// Puts every rotation into its position, and its last byte into `last`.
    fn induce(&mut self, n: usize, count: usize, last: &mut Vec<u8>) -> u32 {
        let Self { text, counts, crests, keys, next, order, .. } = self;
        let crests = &crests[crests.len() - count..];
        order.clear();
        order.resize(n, 0);
        next.clear();
        next.resize(PAIRS, 0);
        // Rotations with the same first byte: falling ones come first. Rotations with the same
        // first two bytes: crests come first.
        let (mut falling, mut rising) = ([0_u32; 257], [0_u32; 256]);
        let (mut at, mut key) = (0, 0);
        for first in 0..256 {
            falling[first] = at;
            at += counts[first << 8..(first + 1) << 8].iter().sum::<u32>();
            rising[first] = at;
            for second in first..256 {
                let pair = first << 8 | second;
                let crests_here = counts[2 * PAIRS + pair] as usize;
                for (slot, number) in
                    order[at as usize..].iter_mut().zip(&keys[key..key + crests_here])
                {
                    let place = crests[(number & u64::from(PLACE)) as usize];
                    *slot = entry(text, place, |before| usize::from(before) > first);
                }
                key += crests_here;
                at += crests_here as u32 + counts[PAIRS + pair];
                next[second << 8 | first] = at;
            }
        }
        falling[256] = at;
        for second in (0..256).rev() {
            let next = &mut next[second << 8..(second + 1) << 8];
            for row in (rising[second] as usize..falling[second + 1] as usize).rev() {
                let found = order[row];
                if found & FALLS == 0 {
                    let byte = (found >> BEFORE) as u8;
                    let slot = &mut next[usize::from(byte)];
                    *slot -= 1;
                    order[*slot as usize] = entry(text, earlier(found, n), |before| before > byte);
                }
            }
        }
        last.reserve(n);
        let mut origin = 0;
        for row in 0..n {
            let found = order[row];
            let byte = (found >> BEFORE) as u8;
            last.push(byte);
            if found & FALLS != 0 {
                let slot = &mut falling[usize::from(byte)];
                order[*slot as usize] = entry(text, earlier(found, n), |before| before >= byte);
                *slot += 1;
            }
            if found & PLACE == 0 {
                origin = row as u32;
            }
        }
        origin
    }
}

/// The entry of a position. The byte before it determines the class of its predecessor.
fn entry(text: &[u8], place: u32, falls: impl Fn(u8) -> bool) -> u32 {
    let before = text[place as usize];
    place | u32::from(before) << BEFORE | if falls(before) { FALLS } else { 0 }
}

fn earlier(found: u32, n: usize) -> u32 {
    let place = found & PLACE;
    (if place == 0 { n as u32 } else { place }) - 1
}

/// Whether the rotation is less than the one that starts a byte later. The block must have at least
/// two different bytes.
fn rises(block: &[u8], place: usize) -> bool {
    let byte = block[place];
    block
        .iter()
        .cycle()
        .skip(place + 1)
        .find(|other| **other != byte)
        .is_some_and(|other| byte < *other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sorted(block: &[u8]) -> (Vec<u8>, u32) {
        let mut last = Vec::new();
        let origin = Sorter::default().transform(block, &mut last);
        (last, origin)
    }

    /// The result of sorting the rotations directly.
    fn naive(block: &[u8]) -> Vec<u8> {
        let twice = [block, block].concat();
        let mut places: Vec<usize> = (0..block.len()).collect();
        places.sort_by_key(|place| &twice[*place..place + block.len()]);
        places.iter().map(|place| twice[place + block.len() - 1]).collect()
    }

    /// The inverse transform, as a decoder does it.
    fn restored(last: &[u8], origin: u32) -> Vec<u8> {
        let mut rows: Vec<usize> = (0..last.len()).collect();
        rows.sort_by_key(|row| last[*row]);
        let mut row = origin as usize;
        (0..last.len())
            .map(|_| {
                row = rows[row];
                last[row]
            })
            .collect()
    }

    fn fibonacci(size: usize) -> Vec<u8> {
        let (mut a, mut b) = (vec![b'a'], b"ab".to_vec());
        while b.len() < size {
            (a, b) = (b.clone(), [b, a].concat());
        }
        b.truncate(size);
        b
    }

    fn check(block: &[u8]) {
        let (last, origin) = sorted(block);
        assert!(restored(&last, origin) == block, "{} bytes", block.len());
        if block.len() <= 3000 {
            assert_eq!(last, naive(block));
        }
    }

    #[test]
    fn small_and_periodic_blocks_are_sorted_like_their_rotations() {
        for block in [
            "",
            "a",
            "aa",
            "ab",
            "ba",
            "aba",
            "abab",
            "banana",
            "mississippi",
            "abcabcabc",
            "aab",
            "baa",
        ] {
            check(block.as_bytes());
        }
        for period in 1..60 {
            for size in [period, 2 * period, 5 * period, 5 * period + 1, 7 * period - 1] {
                check(
                    &(0..size)
                        .map(|at| ((at % period) * (at % period) % 7) as u8)
                        .collect::<Vec<_>>(),
                );
            }
        }
        for size in [1, 2, 13, 100, 987, 2584, 3000] {
            check(&fibonacci(size));
        }
    }

    #[test]
    fn large_blocks_that_are_hard_to_sort_are_restored() {
        const SIZE: usize = 150_000;
        check(&vec![b'x'; LONGEST]);
        check(&fibonacci(SIZE));
        let mut almost = vec![b'x'; SIZE];
        almost[SIZE / 3] = b'y';
        check(&almost);
        almost[SIZE - 1] = b'w';
        check(&almost);
        for period in [2, 3, 255, 256, 1000, 75_000] {
            let mut block: Vec<u8> = (0..SIZE).map(|at| (at % period * 31 % 251) as u8).collect();
            check(&block);
            block[SIZE / 2] ^= 1;
            check(&block);
        }
    }

    proptest! {
        #[test]
        fn any_block_is_sorted_like_its_rotations(
            block in proptest::collection::vec(0..4_u8, 1..400),
            times in 1..4_usize,
        ) {
            check(&block.repeat(times));
        }

        #[test]
        fn bytes_of_all_values_are_sorted_like_their_rotations(
            block in proptest::collection::vec(any::<u8>(), 1..400),
        ) {
            check(&block);
        }
    }
}
