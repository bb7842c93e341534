//! gzip: one member a block (RFC 1952, 2.2), by libdeflate.

use super::buffer::Buffer;
use super::probe::Probe;
use super::signature::has;
use crate::error::{Reason, Result};
use libdeflater::{CompressionLvl, Compressor};

/// Bytes of the archive in one member: large enough that the 32 KiB window lost at its start costs
/// nothing to speak of.
pub(super) const BLOCK: usize = 1 << 20;

/// The flag byte's bit for an extra field.
const FEXTRA: u8 = 4;
/// The length of a member's fixed header.
const HEADER: usize = 10;

pub(super) struct Encoder {
    search: Compressor,
    /// For what does not compress.
    fast: Compressor,
    probe: Probe,
}

impl Encoder {
    pub(super) fn new(level: u32) -> Result<Self> {
        let compressor = |level: u32| match i32::try_from(level).map(CompressionLvl::new) {
            Ok(Ok(level)) => Ok(Compressor::new(level)),
            _ => Err(Reason::Compressor(format!("gzip has no level {level}"))),
        };
        Ok(Self {
            search: compressor(level)?,
            fast: compressor(level.min(1))?,
            probe: Probe::new(8)?,
        })
    }

    pub(super) fn encode(&mut self, block: &[u8], packed: &mut Buffer) -> Result<()> {
        let compressor =
            if self.probe.is_incompressible(block) { &mut self.fast } else { &mut self.search };
        packed.reserve(compressor.gzip_compress_bound(block.len()));
        // The header says: no name, no time, an unknown system.
        let count = compressor
            .gzip_compress(block, packed.room())
            .map_err(|error| Reason::Compressor(format!("compressing a gzip block: {error}")))?;
        packed.advance(count);
        Ok(())
    }
}

/// Moves everything behind the first member's header by an extra field, so that bytes 510 and 511
/// are no longer `avoided`.
pub(super) fn shift(start: &mut Vec<u8>, avoided: [u8; 2]) {
    let (Some(header), Some(body)) = (start.get(..HEADER), start.get(HEADER..)) else { return };
    // At the latest the field's own zeros reach those bytes.
    for padding in 0..=512_u16 {
        let mut shifted = header.to_vec();
        if let Some(flags) = shifted.get_mut(3) {
            *flags |= FEXTRA;
        }
        shifted.extend((padding + 4).to_le_bytes());
        shifted.extend(*b"pd");
        shifted.extend(padding.to_le_bytes());
        shifted.resize(shifted.len() + usize::from(padding), 0);
        shifted.extend_from_slice(body);
        if !has(&shifted, avoided) {
            *start = shifted;
            return;
        }
    }
}
