//! Several code tables for one block: groups of fifty symbols each take the table that suits them, and the tables become what their groups need.

use super::huffman::{self, Lengths};
use super::ranks::{ALPHABET, Symbols};

/// Symbols that share a choice of table.
pub(super) const GROUP: usize = 50;
/// The most tables there may be.
pub(super) const TABLES: usize = 6;
/// How often groups choose anew: more make the file no smaller to speak of.
const ROUNDS: usize = 8;
/// Bits that a choice other than the last group's takes beyond the same one's, roughly.
const OTHER: u64 = 3;
/// Bits of the sum of a group's code lengths, of which that of every table goes into one word.
const SUM: u32 = 10;

/// The tables of a block and which one each group takes.
pub(super) struct Tables {
    pub(super) lengths: Vec<Lengths>,
    pub(super) selectors: Vec<u8>,
}

/// Chooses tables for the symbols.
pub(super) fn choose(symbols: &Symbols) -> Tables {
    let Symbols { list, alphabet } = symbols;
    let count = match list.len() {
        0..200 => 2,
        200..600 => 3,
        600..1200 => 4,
        1200..2400 => 5,
        _ => TABLES,
    };
    let mut tables = Tables { lengths: first(list, *alphabet, count), selectors: Vec::with_capacity(list.len().div_ceil(GROUP)) };
    for _ in 0..ROUNDS {
        let mut costs = [0_u64; 512];
        for (symbol, cost) in costs.iter_mut().enumerate().take(*alphabet) {
            *cost = tables.lengths.iter().zip(0..).fold(0, |sum, (lengths, table)| sum | u64::from(lengths[symbol]) << (table * SUM));
        }
        let mut counts = vec![[0_u32; 512]; count];
        tables.selectors.clear();
        let mut last = 0;
        for group in list.chunks(GROUP) {
            let sums: u64 = group.iter().map(|symbol| costs[usize::from(*symbol) & 511]).sum();
            let cost = |table: usize| sums >> (table as u32 * SUM) & ((1 << SUM) - 1);
            // A choice costs bits too, the least when it is the last one again.
            let whole = |table: usize| cost(table) + if table == last { 0 } else { OTHER };
            let best = (1..count).fold(0, |best, table| if whole(table) < whole(best) { table } else { best });
            last = best;
            tables.selectors.push(best as u8);
            let counts = &mut counts[best];
            for symbol in group {
                counts[usize::from(*symbol) & 511] += 1;
            }
        }
        for (lengths, counts) in tables.lengths.iter_mut().zip(&counts) {
            huffman::lengths(&counts[..*alphabet], lengths);
        }
    }
    tables
}

/// Tables to begin with: each prefers a range of symbols that make up its share.
fn first(list: &[u16], alphabet: usize, count: usize) -> Vec<Lengths> {
    let mut occurrences = [0_usize; 512];
    for symbol in list {
        occurrences[usize::from(*symbol) & 511] += 1;
    }
    let (mut start, mut rest) = (0, list.len());
    (0..count)
        .map(|table| {
            let share = rest / (count - table);
            let (mut end, mut sum) = (start, 0);
            while end < alphabet && (sum < share || end == start) {
                sum += occurrences[end];
                end += 1;
            }
            // Alternately a little less and a little more than the share.
            if end > start + 1 && table != 0 && table != count - 1 && table % 2 == 1 {
                end -= 1;
                sum -= occurrences[end];
            }
            let mut lengths = [15; ALPHABET];
            lengths[start.min(alphabet)..end].fill(0);
            start = end;
            rest -= sum;
            lengths
        })
        .collect()
}
