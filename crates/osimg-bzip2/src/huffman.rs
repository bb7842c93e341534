//! Huffman codes of limited length: optimal code lengths for given counts, and the canonical codes
//! for these lengths.

use super::ranks::ALPHABET;

/// The longest code that bzip2 writes. Decoders accept up to 20 bits.
pub(crate) const LONGEST: usize = 17;

/// The code lengths of one table.
pub(crate) type Lengths = [u8; ALPHABET];

/// The code lengths with the smallest total for the given counts under the limit (package-merge;
/// Larmore and Hirschberg, 1990).
///
/// bzip2 also requires a code for symbols that do not occur. They are counted once, because lengths
/// that vary strongly from symbol to symbol cost more bits in the table than they save.
pub(crate) fn lengths(counts: &[u32], lengths: &mut Lengths) {
    let size = counts.len();
    let mut sorted = [(0_u64, 0_u16); ALPHABET];
    for ((slot, count), symbol) in sorted.iter_mut().zip(counts).zip(0..) {
        *slot = (u64::from(*count).max(1), symbol);
    }
    let sorted = &mut sorted[..size];
    sorted.sort_unstable();
    // Each level lists symbols and pairs of entries of the level below, the lightest first.
    let mut levels = [[false; 2 * ALPHABET]; LONGEST];
    let mut packages = [0_u64; ALPHABET];
    let mut package_count = 0;
    for level in &mut levels {
        let mut merged = [0_u64; 2 * ALPHABET];
        let (mut symbol, mut package) = (0, 0);
        for at in 0..size + package_count {
            let is_symbol =
                package == package_count || symbol < size && sorted[symbol].0 <= packages[package];
            level[at] = is_symbol;
            if is_symbol {
                merged[at] = sorted[symbol].0;
                symbol += 1;
            } else {
                merged[at] = packages[package];
                package += 1;
            }
        }
        package_count = (size + package_count) / 2;
        for (package, pair) in packages.iter_mut().zip(merged.chunks_exact(2)).take(package_count) {
            *package = pair[0] + pair[1];
        }
    }
    lengths.fill(0);
    let mut taken = 2 * size - 2;
    for level in levels.iter().rev() {
        let symbols = level[..taken].iter().filter(|is_symbol| **is_symbol).count();
        for (_, symbol) in &sorted[..symbols] {
            lengths[usize::from(*symbol)] += 1;
        }
        taken = 2 * (taken - symbols);
    }
}

/// The canonical codes for the lengths, each as a pair of code and length.
pub(crate) fn codes(lengths: &[u8]) -> [(u32, u32); ALPHABET] {
    let mut codes = [(0, 0); ALPHABET];
    let mut next = 0;
    for length in 1..=LONGEST as u8 {
        for (code, _) in codes.iter_mut().zip(lengths).filter(|(_, other)| **other == length) {
            *code = (next, u32::from(length));
            next += 1;
        }
        next <<= 1;
    }
    codes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lengths_for(counts: &[u32]) -> Vec<u8> {
        let mut found = [0; ALPHABET];
        lengths(counts, &mut found);
        found[..counts.len()].to_vec()
    }

    #[test]
    fn lengths_are_optimal() {
        assert_eq!(lengths_for(&[1, 1]), [1, 1]);
        assert_eq!(lengths_for(&[1, 1, 2]), [2, 2, 1]);
        assert_eq!(lengths_for(&[1, 1, 2, 4, 8]), [4, 4, 3, 2, 1]);
        assert_eq!(lengths_for(&[5, 5, 5, 5]), [2, 2, 2, 2]);
        assert_eq!(lengths_for(&[0, 0, 7]), [2, 2, 1]);
    }

    #[test]
    fn lengths_respect_the_limit() {
        let (mut a, mut b) = (1_u32, 1_u32);
        let fibonacci: Vec<u32> = std::iter::repeat_with(|| {
            (a, b) = (b, a + b);
            a
        })
        .take(40)
        .collect();
        assert_eq!(lengths_for(&fibonacci).iter().max(), Some(&17));
    }

    proptest! {
        #[test]
        fn every_code_is_complete_and_prefix_free(
            counts in proptest::collection::vec(0..1000_u32, 2..ALPHABET),
        ) {
            let lengths = lengths_for(&counts);
            prop_assert!(lengths.iter().all(|length| (1..=17).contains(length)));
            let used: u64 = lengths.iter().map(|length| 1_u64 << (20 - length)).sum();
            prop_assert_eq!(used, 1 << 20);
            let codes = codes(&lengths);
            prop_assert!(codes.iter().all(|(code, length)| u64::from(*code) < 1 << length));
        }
    }
}
