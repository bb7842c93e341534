//! The two bytes that make a file look like a disk with a partition table.
//!
//! The image inspection of Glance and Ironic (oslo.utils, `imageutils/format_inspector.py`) refuses
//! a file with 55 AA at bytes 510 and 511. One compressed file in 65,536 has them by chance.

/// The signature of a master boot record.
pub(super) const BOOT_SIGNATURE: [u8; 2] = [0x55, 0xAA];
/// The length of the start of a file that holds it, in bytes.
pub(super) const SECTOR: usize = 512;

/// Whether a file that starts with `start` has the avoided bytes instead of a boot signature.
pub(super) fn has(start: &[u8], avoided: [u8; 2]) -> bool {
    start.get(SECTOR - 2..SECTOR) == Some(&avoided)
}
