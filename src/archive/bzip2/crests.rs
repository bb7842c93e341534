//! Sorting crests: by the bytes up to the next crest, then by the ranks of those that follow.

use super::sort::PLACE;

/// Bytes that a later round of sorting looks at.
const LATER: usize = 13;
/// Bits of a key that hold a crest's number, beneath the bytes.
pub(super) const NUMBER: u32 = 24;

/// Sixteen bytes as a number that sorts as they do.
pub(super) fn read(text: &[u8], at: usize) -> u128 {
    text[at..].first_chunk().map_or(0, |bytes| u128::from_be_bytes(*bytes))
}

/// Calls `found` with the bounds of every run of more than one key that are alike but for their lowest bits.
pub(super) fn each_group<K: Copy + PartialEq + std::ops::Shr<u32, Output = K>>(keys: &[K], bits: u32, mut found: impl FnMut(usize, usize)) {
    let mut start = 0;
    for end in 1..=keys.len() {
        if keys.get(end).is_none_or(|key| *key >> bits != keys[start] >> bits) {
            if end - start > 1 {
                found(start, end);
            }
            start = end;
        }
    }
}

/// The crests of a block.
pub(super) struct Crests<'a> {
    /// The block, with its last byte before it and its first ones behind it.
    pub text: &'a [u8],
    /// Where they are, by number, ascending.
    pub places: &'a [u32],
    /// The block's length.
    pub n: usize,
}

impl Crests<'_> {
    /// The place of the crest that a key is for.
    fn number(key: u64) -> usize {
        (key & u64::from(PLACE)) as usize
    }

    /// The bytes from a crest to the next one, both with their first two: what is alike so far differs only in what follows that.
    fn reach(&self, number: usize) -> usize {
        let place = self.places[number] as usize;
        let next = self.places.get(number + 1).map_or(self.places[0] as usize + self.n, |next| *next as usize);
        next - place + 2
    }

    /// Sorts each of the open groups, whose crests share so many bytes, until no group is left whose crests differ before the next crest;
    /// returns those that are alike up to there.
    pub fn sort_by_bytes(&self, keys: &mut [u64], mut open: Vec<(usize, usize, usize)>) -> Vec<(usize, usize)> {
        let (mut alike, mut long) = (Vec::new(), Vec::new());
        while let Some((start, end, depth)) = open.pop() {
            let group = &mut keys[start..end];
            if group.iter().all(|key| self.reach(Self::number(*key)) <= depth) {
                alike.push((start, end));
                continue;
            }
            long.clear();
            long.extend(group.iter().map(|key| {
                let number = Self::number(*key);
                let at = (self.places[number] as usize + depth) % self.n;
                read(self.text, at + 1) >> (128 - 8 * LATER) << NUMBER | number as u128
            }));
            long.sort_unstable();
            for (key, long) in group.iter_mut().zip(&long) {
                *key = *long as u64;
            }
            each_group(&long, NUMBER, |from, to| open.push((start + from, start + to, depth + LATER)));
        }
        alike
    }
}

/// Sorts what is alike by the ranks of the crests that follow, each time twice as far away.
pub(super) fn sort_by_ranks(keys: &mut [u64], ranks: &mut Vec<u32>, mut alike: Vec<(usize, usize)>) {
    let count = keys.len();
    ranks.clear();
    ranks.resize(count, 0);
    let mask = u64::from(PLACE);
    for (rank, key) in keys.iter().enumerate() {
        ranks[Crests::number(*key)] = rank as u32;
    }
    for (start, end) in &alike {
        for key in &keys[*start..*end] {
            ranks[Crests::number(*key)] = *start as u32;
        }
    }
    let mut distance = 1;
    let mut rest = Vec::new();
    // Rotations that are alike all the way around, or that no rank told apart, are the same.
    while distance < count && !alike.is_empty() {
        let mut is_split = false;
        for (start, end) in alike.drain(..) {
            let group = &mut keys[start..end];
            for key in group.iter_mut() {
                let number = *key & mask;
                *key = u64::from(ranks[(number as usize + distance) % count]) << NUMBER | number;
            }
            group.sort_unstable();
            is_split |= group.first().map(|key| key >> NUMBER) != group.last().map(|key| key >> NUMBER);
            let mut from = 0;
            for to in 1..=group.len() {
                if group.get(to).is_none_or(|key| key >> NUMBER != group[from] >> NUMBER) {
                    for key in &group[from..to] {
                        ranks[Crests::number(*key)] = (start + from) as u32;
                    }
                    if to - from > 1 {
                        rest.push((start + from, start + to));
                    }
                    from = to;
                }
            }
        }
        if !is_split {
            return;
        }
        std::mem::swap(&mut alike, &mut rest);
        distance *= 2;
    }
}
