//! Sorts crests by the bytes up to the next crest, then by the ranks of the crests that follow.

/// The bits for a position in a block.
pub(crate) const PLACE: u32 = (1 << 20) - 1;
/// Bytes that a later round of sorting compares.
const LATER: usize = 13;
/// Bits of a key that hold the crest's number, below the bytes.
pub(crate) const NUMBER: u32 = 24;

/// Sixteen bytes as a number with the same order.
pub(crate) fn read(text: &[u8], at: usize) -> u128 {
    text[at..].first_chunk().map_or(0, |bytes| u128::from_be_bytes(*bytes))
}

/// Calls `found` with the bounds of each run of two or more keys that differ only in their lowest
/// `bits` bits.
pub(crate) fn each_group<K: Copy + PartialEq + std::ops::Shr<u32, Output = K>>(
    keys: &[K],
    bits: u32,
    mut found: impl FnMut(usize, usize),
) {
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
pub(crate) struct Crests<'a> {
    /// The block, preceded by its last byte and followed by its first bytes.
    pub text: &'a [u8],
    /// The positions of the crests in ascending order, by number.
    pub places: &'a [u32],
    /// The block's length.
    pub n: usize,
}

impl Crests<'_> {
    /// The number of the crest that a key belongs to.
    fn number(key: u64) -> usize {
        (key & u64::from(PLACE)) as usize
    }

    /// The length from a crest through the first two bytes of the next one. Crests that are equal
    /// so far differ only after that.
    fn reach(&self, number: usize) -> usize {
        let place = self.places[number] as usize;
        let next = self
            .places
            .get(number + 1)
            .map_or(self.places[0] as usize + self.n, |next| *next as usize);
        next - place + 2
    }

    /// Sorts the open groups (start, end, number of equal bytes) until the crests of no group
    /// differ before the next crest. Returns the groups that are still equal.
    pub(crate) fn sort_by_bytes(
        &self,
        keys: &mut [u64],
        mut open: Vec<(usize, usize, usize)>,
    ) -> Vec<(usize, usize)> {
        let (mut equal, mut long) = (Vec::new(), Vec::new());
        while let Some((start, end, depth)) = open.pop() {
            let group = &mut keys[start..end];
            if group.iter().all(|key| self.reach(Self::number(*key)) <= depth) {
                equal.push((start, end));
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
            each_group(&long, NUMBER, |from, to| {
                open.push((start + from, start + to, depth + LATER))
            });
        }
        equal
    }
}

/// Sorts equal crests by the ranks of the crests that follow, doubling the distance in each round.
pub(crate) fn sort_by_ranks(
    keys: &mut [u64],
    ranks: &mut Vec<u32>,
    mut equal: Vec<(usize, usize)>,
) {
    let count = keys.len();
    ranks.clear();
    ranks.resize(count, 0);
    let mask = u64::from(PLACE);
    for (rank, key) in keys.iter().enumerate() {
        ranks[Crests::number(*key)] = rank as u32;
    }
    for (start, end) in &equal {
        for key in &keys[*start..*end] {
            ranks[Crests::number(*key)] = *start as u32;
        }
    }
    let mut distance = 1;
    let mut rest = Vec::new();
    // Rotations that are equal all the way around, or that no rank separates, are identical.
    while distance < count && !equal.is_empty() {
        let mut is_split = false;
        for (start, end) in equal.drain(..) {
            let group = &mut keys[start..end];
            for key in group.iter_mut() {
                let number = *key & mask;
                *key = u64::from(ranks[(number as usize + distance) % count]) << NUMBER | number;
            }
            group.sort_unstable();
            is_split |=
                group.first().map(|key| key >> NUMBER) != group.last().map(|key| key >> NUMBER);
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
        std::mem::swap(&mut equal, &mut rest);
        distance *= 2;
    }
}
