//! The third step of bzip2: move-to-front ranks. Each byte becomes the number of distinct bytes
//! since it last occurred, and runs of zero become their lengths.

/// The symbols of a run length: the digits 1 and 2 of a bijective base-2 number, the lowest first.
const RUN_A: u16 = 0;
const RUN_B: u16 = 1;
/// The largest alphabet: two symbols for runs, 255 ranks, and the end.
pub(crate) const ALPHABET: usize = 258;

/// The symbols of one block.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    /// The symbols, including the end.
    pub(crate) list: Vec<u16>,
    /// The size of the alphabet.
    pub(crate) alphabet: usize,
}

/// Which bytes occur in the block.
pub(crate) fn used(block: &[u8]) -> [bool; 256] {
    let mut used = [false; 256];
    for byte in block {
        used[usize::from(*byte)] = true;
    }
    used
}

/// Turns a sorted block into symbols; `used` has the bytes that occur in it.
pub(crate) fn rank(block: &[u8], used: &[bool; 256], symbols: &mut Symbols) {
    // The most recent bytes come first. Those that do not occur are at the end and are never
    // searched for.
    let mut recent = [0_u8; 256];
    let occurring = (0..=255_u8).filter(|byte| used[usize::from(*byte)]);
    let count = occurring.zip(&mut recent).map(|(byte, slot)| *slot = byte).count();
    symbols.list.clear();
    symbols.alphabet = count + 2;
    let mut run = 0_u32;
    for byte in block {
        if recent[0] == *byte {
            run += 1;
            continue;
        }
        if run > 0 {
            push_run(run, &mut symbols.list);
            run = 0;
        }
        let place = find(&recent, *byte);
        symbols.list.push(place as u16 + 1);
        move_up(&mut recent, place);
    }
    push_run(run, &mut symbols.list);
    symbols.list.push(count as u16 + 1);
}

fn push_run(mut run: u32, list: &mut Vec<u16>) {
    while run > 0 {
        list.push(if run & 1 == 1 { RUN_A } else { RUN_B });
        run = (run - 1) / 2;
    }
}

/// The position of `byte`, which is always found.
fn find(recent: &[u8; 256], byte: u8) -> usize {
    for (number, part) in recent.chunks_exact(16).enumerate() {
        // Written without a branch, so that the compiler can compare all sixteen at once.
        let mut same = 0_u16;
        for (bit, other) in part.iter().enumerate() {
            same |= u16::from(*other == byte) << bit;
        }
        if same != 0 {
            return 16 * number + same.trailing_zeros() as usize;
        }
    }
    0
}

fn move_up(recent: &mut [u8; 256], place: usize) {
    let byte = recent[place];
    if place < 16 {
        for at in (0..place).rev() {
            recent[at + 1] = recent[at];
        }
    } else {
        recent.copy_within(0..place, 1);
    }
    recent[0] = byte;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked(block: &[u8]) -> Vec<u16> {
        let mut symbols = Symbols::default();
        rank(block, &used(block), &mut symbols);
        symbols.list
    }

    #[test]
    fn runs_and_ranks_are_those_of_bzip2() {
        assert_eq!(ranked(b"a"), [RUN_A, 2]);
        assert_eq!(ranked(b"aa"), [RUN_B, 2]);
        assert_eq!(ranked(b"aaa"), [RUN_A, RUN_A, 2]);
        assert_eq!(ranked(b"aaaaaaa"), [RUN_A, RUN_A, RUN_A, 2]);
        assert_eq!(ranked(b"abba"), [RUN_A, 2, RUN_A, 2, 3]);
        let all: Vec<u8> = (0..=255).rev().collect();
        assert_eq!(ranked(&all), [vec![256; 256], vec![257]].concat());
    }
}
