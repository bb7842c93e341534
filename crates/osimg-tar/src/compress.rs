//! Compression in independent blocks, so that the bytes are the same for any number of jobs.

use super::buffer::Buffer;
use super::format::Format;
use super::{gzip, xz};
use crate::error::Result;

/// The length of the longest block of `format`, in bytes of the archive.
pub(super) fn block_size(format: Format, level: u32) -> usize {
    match format {
        Format::Tar => 1 << 20,
        Format::Tgz => gzip::BLOCK,
        Format::Tbz => osimg_bzip2::block_size(level),
        Format::Txz => xz::BLOCK,
    }
}

/// The length of the shortest block of `format`, but the last. Shorter ones would unpack as well,
/// but compress worse; a larger difference to [`block_size`] lets fewer blocks change.
pub(super) fn shortest_block(format: Format, level: u32) -> usize {
    match format {
        // Nothing is compressed.
        Format::Tar => usize::MAX,
        Format::Tgz => gzip::BLOCK / 2,
        Format::Tbz => osimg_bzip2::block_size(level) / 2,
        Format::Txz => xz::BLOCK / 4 * 3,
    }
}

/// One block, packed.
pub(super) struct Piece {
    pub(super) bytes: Buffer,
    /// Size as the xz index wants it; 0 in other formats.
    pub(super) unpadded: u64,
    /// Size before packing.
    pub(super) plain: u64,
}

/// One thread's compressor for one output.
pub(super) enum Encoder {
    Stored,
    Gzip(gzip::Encoder),
    Bzip2(osimg_bzip2::Encoder),
    Xz(xz::Encoder),
}

impl Encoder {
    pub(super) fn new(format: Format, level: u32) -> Result<Self> {
        Ok(match format {
            Format::Tar => Self::Stored,
            Format::Tgz => Self::Gzip(gzip::Encoder::new(level)?),
            Format::Tbz => Self::Bzip2(osimg_bzip2::Encoder::new(level)),
            Format::Txz => Self::Xz(xz::Encoder::new(level)?),
        })
    }

    /// Packs `block` into `packed`, which is empty; gives up early, with nothing of use in
    /// `packed`, once `stopped` says so.
    pub(super) fn encode(
        &mut self,
        block: &[u8],
        mut packed: Buffer,
        stopped: &dyn Fn() -> bool,
    ) -> Result<Piece> {
        let mut unpadded = 0;
        match self {
            Self::Stored => packed.extend(block),
            Self::Gzip(encoder) => encoder.encode(block, &mut packed)?,
            Self::Bzip2(encoder) => {
                let mut bytes = packed.into_vec();
                encoder.encode(block, &mut bytes);
                packed = Buffer::from_vec(bytes);
            }
            Self::Xz(encoder) => unpadded = encoder.encode(block, &mut packed, stopped)?,
        }
        Ok(Piece { bytes: packed, unpadded, plain: block.len() as u64 })
    }
}
