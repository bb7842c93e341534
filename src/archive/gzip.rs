//! gzip: one member a block (RFC 1952, 2.2), by libdeflate.

use super::compress::Buffer;
use super::sink::has;
use crate::error::Result;
use anyhow::Context;
use libdeflater::{CompressionLvl, Compressor};

/// Bytes of the archive in one member: large enough that the 32 KiB window lost at its start costs nothing to speak of.
pub(super) const BLOCK: usize = 1 << 20;

/// The flag byte's bit for an extra field.
const FEXTRA: u8 = 4;
/// The length of a member's fixed header.
const HEADER: usize = 10;

/// Samples that tell whether a block is worth a search, and the size of each.
const SAMPLES: usize = 8;
const SAMPLE: usize = 4096;

pub(super) struct Encoder {
    search: Compressor,
    /// For what does not compress: an RPM's payload, a kernel module, an initramfs.
    fast: Compressor,
    samples: Vec<u8>,
    probe: Vec<u8>,
}

impl Encoder {
    pub(super) fn new(level: u32) -> Result<Self> {
        let lvl = |n: u32| {
            CompressionLvl::new(i32::try_from(n).unwrap_or(i32::MAX)).map_err(|e| anyhow::anyhow!("setting gzip level {n}: {e:?}"))
        };
        Ok(Self { search: Compressor::new(lvl(level)?), fast: Compressor::new(lvl(level.min(1))?), samples: Vec::new(), probe: Vec::new() })
    }

    pub(super) fn encode(&mut self, block: &[u8], packed: &mut Buffer) -> Result<()> {
        let compressor = if self.is_incompressible(block) { &mut self.fast } else { &mut self.search };
        packed.reserve(compressor.gzip_compress_bound(block.len()));
        // The header says: no name, no time, an unknown system.
        let count = compressor.gzip_compress(block, packed.room()).context("compressing a gzip block")?;
        packed.advance(count);
        Ok(())
    }

    /// Judges by samples from all over the block, so that the verdict depends on nothing but its bytes.
    fn is_incompressible(&mut self, block: &[u8]) -> bool {
        if block.len() < SAMPLES * SAMPLE {
            return false;
        }
        self.samples.clear();
        for sample in block.chunks(block.len() / SAMPLES) {
            self.samples.extend_from_slice(sample.get(..SAMPLE).unwrap_or(sample));
        }
        // Room for less than the samples: not fitting is the answer.
        self.probe.resize(self.samples.len() - self.samples.len() / 64, 0);
        self.fast.deflate_compress(&self.samples, &mut self.probe).is_err()
    }
}

/// Moves everything behind the first member's header by an extra field, so that bytes 510 and 511 are no longer `avoided`.
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
