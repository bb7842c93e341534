//! The ends of the blocks that are compressed independently: decided by the names of members, so
//! that a change in one file moves the ends of no other blocks.
//!
//! The start of every member is a possible end of a block, and has a rank by the member's name. A
//! block ends at the lowest rank between its shortest and its longest length. If a change inserts
//! or removes bytes, the lengths differ only until both versions meet the same low rank. Inside
//! long files every [`GRAIN`] bytes are a possible end too, for blocks in which no member starts.

use std::collections::VecDeque;

/// The distance of possible ends inside the content of a member.
pub(super) const GRAIN: u64 = 128 << 10;

/// The place of a possible end: the lower its rank, the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(u64);

impl Rank {
    /// The start of a member.
    pub(super) fn of_member(name: &[u8]) -> Self {
        Self(hash(name, 0) >> 1)
    }

    /// The place after `grains` times [`GRAIN`] bytes of a member's content: worse than any
    /// member's start.
    pub(super) fn inside(name: &[u8], grains: u64) -> Self {
        Self(hash(name, grains) >> 1 | 1 << 63)
    }
}

/// FNV-1a, with the finalizer of MurmurHash3: the same on every machine and for ever, since the
/// bytes of archives depend on it.
fn hash(name: &[u8], number: u64) -> u64 {
    let bytes = name.iter().copied().chain(number.to_le_bytes());
    let mut hash = bytes.fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    for factor in [0xFF51_AFD7_ED55_8CCD, 0xC4CE_B9FE_1A85_EC53] {
        hash = (hash ^ hash >> 33).wrapping_mul(factor);
    }
    hash ^ hash >> 33
}

/// The possible ends in the block that is being filled.
#[derive(Debug)]
pub(super) struct Cutter {
    shortest: usize,
    /// Positions in the block, ascending.
    marks: VecDeque<(usize, Rank)>,
}

impl Cutter {
    /// For blocks of at least `shortest` bytes.
    pub(super) fn new(shortest: usize) -> Self {
        Self { shortest, marks: VecDeque::new() }
    }

    /// Adds a possible end.
    pub(super) fn mark(&mut self, position: usize, rank: Rank) {
        if position < self.shortest {
            return;
        }
        // Only the best is ever used, and those after it.
        while self.marks.back().is_some_and(|(_, last)| *last > rank) {
            self.marks.pop_back();
        }
        self.marks.push_back((position, rank));
    }

    /// The length of a block of which `length` bytes are filled and no more fit. The bytes after it
    /// begin the next block.
    pub(super) fn cut(&mut self, length: usize) -> usize {
        let Some((end, _)) = self.marks.pop_front() else { return length };
        let shortest = self.shortest;
        self.marks.iter_mut().for_each(|(position, _)| *position -= end);
        self.marks.retain(|(position, _)| *position >= shortest);
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const SHORTEST: usize = 1 << 19;
    const LONGEST: usize = 1 << 20;

    /// The blocks of members with these names and lengths: the place where each begins, as the
    /// member and the bytes of it before that place, and its length.
    fn blocks(members: &[(u32, usize)]) -> BTreeSet<(u32, usize, usize)> {
        let mut cutter = Cutter::new(SHORTEST);
        let mut blocks = BTreeSet::new();
        let (mut filled, mut begin) = (0, 0);
        // The offsets at which the members begin.
        let mut starts: Vec<(usize, u32)> = Vec::new();
        let mut total = 0;
        let place = |starts: &[(usize, u32)], offset: usize| {
            let (start, name) = starts[starts.partition_point(|(start, _)| *start <= offset) - 1];
            (name, offset - start)
        };
        for (name, length) in members {
            starts.push((total, *name));
            total += length;
            cutter.mark(filled, Rank::of_member(&name.to_le_bytes()));
            let mut done = 0;
            while done < *length {
                let part = (LONGEST - filled)
                    .min(length - done)
                    .min(GRAIN as usize - done % GRAIN as usize);
                (done, filled) = (done + part, filled + part);
                if done % GRAIN as usize == 0 {
                    cutter.mark(
                        filled,
                        Rank::inside(&name.to_le_bytes(), (done / GRAIN as usize) as u64),
                    );
                }
                if filled == LONGEST {
                    let end = cutter.cut(filled);
                    assert!((SHORTEST..=LONGEST).contains(&end));
                    let (member, within) = place(&starts, begin);
                    blocks.insert((member, within, end));
                    begin += end;
                    filled -= end;
                }
            }
        }
        let (member, within) = place(&starts, begin);
        blocks.insert((member, within, total - begin));
        blocks
    }

    /// Lengths as files of an OS have them: most have a few KiB, a few have many MiB.
    fn members(seed: u64, count: u32) -> Vec<(u32, usize)> {
        (0..count)
            .map(|name| {
                (
                    name,
                    512 + (1_usize
                        << (9 + hash(b"length", seed ^ u64::from(name)).trailing_zeros()))
                    .min(40 << 20),
                )
            })
            .collect()
    }

    #[test]
    fn ranks_never_change() {
        // An archive's bytes depend on them: a change needs another `VERSION`.
        assert_eq!(Rank::of_member(b"./etc/passwd"), Rank(0x396D_76AF_3E1A_A8BD));
        assert!(Rank::inside(b"./etc/passwd", 1) > Rank::of_member(b"./usr"));
    }

    /// The share of the bytes that are in unchanged blocks after `changes`: pairs of a member and a
    /// number that decides what happens to it.
    fn kept(before: &[(u32, usize)], changes: &[(u32, usize)]) -> f64 {
        let mut after = before.to_vec();
        for (member, length) in changes {
            let at = *member as usize % after.len();
            match length % 3 {
                0 => {
                    after.remove(at);
                }
                1 => after.insert(at, (u32::MAX - member, length + 512)),
                _ => after[at].1 = length + 512,
            }
        }
        let (before, after) = (blocks(before), blocks(&after));
        let bytes: usize = after.iter().map(|(_, _, length)| length).sum();
        let kept: usize = after.intersection(&before).map(|(_, _, length)| length).sum();
        kept as f64 / bytes as f64
    }

    #[test]
    fn four_changes_leave_98_of_100_blocks_of_a_large_tree() {
        let trees = 8;
        let shares: Vec<f64> = (0..trees)
            .map(|seed| {
                let random = |number: u64| hash(b"change", seed << 8 | number);
                let changes: Vec<_> =
                    (0..4).map(|n| (random(n) as u32, random(n + 4) as usize % 200_000)).collect();
                kept(&members(seed, 80_000), &changes)
            })
            .collect();
        assert!(
            shares.iter().sum::<f64>() / f64::from(u32::try_from(trees).unwrap()) > 0.98,
            "{shares:?}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn blocks_meet_again_after_a_change(seed: u64, change in (any::<u32>(), 0_usize..200_000)) {
            prop_assert!(kept(&members(seed, 20_000), &[change]) > 0.8);
        }
    }
}
