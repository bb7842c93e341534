//! The code tables of a block: each group of fifty symbols selects one of up to six tables.
//! Selection and tables are refined in turn.

use super::huffman::{self, Lengths};
use super::ranks::{ALPHABET, Symbols};

/// Symbols that share a choice of table.
pub(crate) const GROUP: usize = 50;
/// The largest number of tables.
pub(crate) const TABLES: usize = 6;
/// The number of refinements. More do not make the file noticeably smaller.
const ROUNDS: usize = 8;
/// Approximate cost in bits of selecting another table than the previous group did.
const OTHER: u64 = 3;
/// Bits for the sum of a group's code lengths. The sums for all tables share one word.
const SUM: u32 = 10;

/// The tables of a block, and the table that each group selects.
pub(crate) struct Tables {
    pub(crate) lengths: Vec<Lengths>,
    pub(crate) selectors: Vec<u8>,
}

/// Chooses tables for the symbols.
pub(crate) fn choose(symbols: &Symbols) -> Tables {
    let Symbols { list, alphabet } = symbols;
    let count = match list.len() {
        0..200 => 2,
        200..600 => 3,
        600..1200 => 4,
        1200..2400 => 5,
        _ => TABLES,
    };
    let mut tables = Tables {
        lengths: first(list, *alphabet, count),
        selectors: Vec::with_capacity(list.len().div_ceil(GROUP)),
    };
    for _ in 0..ROUNDS {
        let mut costs = [0_u64; 512];
        for (symbol, cost) in costs.iter_mut().enumerate().take(*alphabet) {
            *cost =
                tables.lengths.iter().zip(0..).fold(0, |sum, (lengths, table)| {
                    sum | u64::from(lengths[symbol]) << (table * SUM)
                });
        }
        let mut counts = vec![[0_u32; 512]; count];
        tables.selectors.clear();
        let mut last = 0;
        for group in list.chunks(GROUP) {
            let sums: u64 = group.iter().map(|symbol| costs[usize::from(*symbol) & 511]).sum();
            let cost = |table: usize| sums >> (table as u32 * SUM) & ((1 << SUM) - 1);
            // The selection also costs bits, and the fewest if the previous table is selected
            // again.
            let whole = |table: usize| cost(table) + if table == last { 0 } else { OTHER };
            let best = (1..count)
                .fold(0, |best, table| if whole(table) < whole(best) { table } else { best });
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

/// The initial tables: each prefers a range of symbols with its share of all occurrences.
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
            // Alternately slightly less and slightly more than the share.
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
