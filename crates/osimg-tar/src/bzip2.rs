//! bzip2: keeps a boot signature out of the start of a file. The encoder is `osimg-bzip2`.

use osimg_bzip2::EMPTY_STREAM_TAIL;

use super::signature::has;

/// Inserts empty streams at the start until bytes 510 and 511 are not `avoided`.
pub(super) fn shift(start: &mut Vec<u8>, avoided: [u8; 2]) {
    let Some(magic) = start.get(..4).map(<[u8]>::to_vec) else { return };
    let empty = [magic.as_slice(), &EMPTY_STREAM_TAIL].concat();
    let mut prefix = Vec::new();
    // At the latest, the bytes of an empty stream reach that position.
    for _ in 0..=512 / empty.len() {
        prefix.extend_from_slice(&empty);
        let shifted = [prefix.as_slice(), start].concat();
        if !has(&shifted, avoided) {
            *start = shifted;
            return;
        }
    }
}
