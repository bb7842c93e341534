//! The first step of bzip2: run-length encoding. A run of four or more bytes becomes its first four
//! bytes and a count.

/// The longest run that one count can describe.
const LONGEST_RUN: usize = 255;

/// Encodes the longest prefix of `plain` with an encoding of at most `limit` bytes, and returns
/// the length of that prefix.
pub(crate) fn pack(plain: &[u8], limit: usize, packed: &mut Vec<u8>) -> usize {
    let mut taken = 0;
    // No run of three crosses `done`.
    let mut done = 0;
    while let Some(rest) = plain.get(done..)
        && !rest.is_empty()
    {
        let room = limit - packed.len();
        let flat = rest
            .windows(4)
            .take(room)
            .position(|four| four[0] == four[1] && four[1] == four[2] && four[2] == four[3]);
        let Some(flat) = flat else {
            let count = room.min(rest.len());
            packed.extend_from_slice(&rest[..count]);
            return done + count;
        };
        packed.extend_from_slice(&rest[..flat]);
        taken = done + flat;
        if limit - packed.len() < 5 {
            break;
        }
        let run = &rest[flat..rest.len().min(flat + LONGEST_RUN)];
        let length = run.iter().take_while(|byte| **byte == run[0]).count();
        packed.extend_from_slice(&run[..4]);
        packed.push((length - 4) as u8);
        done = taken + length;
        taken = done;
    }
    taken
}

/// The CRC-32 of bzip2, which takes the bits in reverse order. `scratch` is overwritten.
pub(crate) fn checksum(plain: &[u8], scratch: &mut Vec<u8>) -> u32 {
    scratch.clear();
    scratch.extend(plain.iter().map(|byte| byte.reverse_bits()));
    libdeflater::crc32(scratch).reverse_bits()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unpacked(packed: &[u8]) -> Vec<u8> {
        let (mut plain, mut run) = (Vec::new(), 0);
        for byte in packed {
            if run == 4 {
                plain.extend(std::iter::repeat_n(*plain.last().unwrap(), usize::from(*byte)));
                run = 0;
            } else {
                run = if run > 0 && plain.last() == Some(byte) { run + 1 } else { 1 };
                plain.push(*byte);
            }
        }
        plain
    }

    proptest! {
        #[test]
        fn decoding_gives_the_bytes_that_were_consumed(
            runs in proptest::collection::vec((0..3_u8, 1..600_usize), 0..12),
            limit in 5..500_usize,
        ) {
            let plain: Vec<u8> =
                runs.iter().flat_map(|(byte, count)| std::iter::repeat_n(*byte, *count)).collect();
            let mut packed = Vec::new();
            let taken = pack(&plain, limit, &mut packed);
            prop_assert!(packed.len() <= limit);
            prop_assert_eq!(unpacked(&packed), &plain[..taken]);
            prop_assert!(taken == plain.len() || packed.len() + 5 > limit);
        }
    }

    #[test]
    fn the_checksum_is_that_of_bzip2() {
        // The check value of CRC-32/BZIP2.
        assert_eq!(checksum(b"123456789", &mut Vec::new()), 0xfc89_1918);
        assert_eq!(checksum(b"", &mut Vec::new()), 0);
    }
}
