//! Whether a block is worth a long search. Payloads of packages, compressed kernel modules and
//! initramfs images are not.

use crate::error::{Reason, Result};
use libdeflater::{CompressionLvl, Compressor};

/// The size of a sample.
const SAMPLE: usize = 4096;

/// Judges blocks by samples from all over them, so that the verdict depends on nothing but their
/// bytes.
pub(super) struct Probe {
    count: usize,
    fast: Compressor,
    samples: Vec<u8>,
    packed: Vec<u8>,
}

impl Probe {
    /// A probe that takes `count` samples.
    pub(super) fn new(count: usize) -> Result<Self> {
        let level = CompressionLvl::new(1)
            .map_err(|_| Reason::Compressor("deflate has no level 1".into()))?;
        Ok(Self {
            count: count.max(1),
            fast: Compressor::new(level),
            samples: Vec::new(),
            packed: Vec::new(),
        })
    }

    /// Whether the samples do not get even a sixty-fourth smaller.
    pub(super) fn is_incompressible(&mut self, block: &[u8]) -> bool {
        if block.len() < self.count * SAMPLE {
            return false;
        }
        self.samples.clear();
        for part in block.chunks(block.len() / self.count) {
            self.samples.extend_from_slice(part.get(..SAMPLE).unwrap_or(part));
        }
        // Not to fit is the answer.
        self.packed.resize(self.samples.len() - self.samples.len() / 64, 0);
        self.fast.deflate_compress(&self.samples, &mut self.packed).is_err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_distinguished_from_text() {
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .take(1 << 20)
        .collect();
        let mut probe = Probe::new(8).unwrap();
        assert!(probe.is_incompressible(&noise));
        assert!(!probe.is_incompressible(&noise[..1000]));
        let mut mixed = noise.clone();
        mixed[700_000..].fill(b't');
        assert!(!probe.is_incompressible(&mixed));
        assert!(!probe.is_incompressible(b"text ".repeat(100_000).as_slice()));
        assert!(!probe.is_incompressible(&[]));
    }
}
