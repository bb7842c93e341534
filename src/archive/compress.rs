//! Compression in independent blocks of a fixed size: what makes the same bytes come out for any number of jobs.

use super::format::Format;
use super::{gzip, xz};
use crate::error::Result;

/// Bytes in a vector that keeps its length, so that a buffer used again is not zeroed again.
#[derive(Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    used: usize,
}

impl Buffer {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self { bytes: vec![0; capacity], used: 0 }
    }

    /// A buffer whose contents are all filled.
    fn from_vec(bytes: Vec<u8>) -> Self {
        let used = bytes.len();
        Self { bytes, used }
    }

    /// The filled bytes.
    fn into_vec(mut self) -> Vec<u8> {
        self.bytes.truncate(self.used);
        self.bytes
    }

    pub(super) fn filled(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or_default()
    }

    pub(super) fn room(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.used..).unwrap_or_default()
    }

    /// Counts `count` more bytes, written into [`Buffer::room`], as filled.
    pub(super) fn advance(&mut self, count: usize) {
        self.used = self.bytes.len().min(self.used + count);
    }

    pub(super) fn clear(&mut self) {
        self.used = 0;
    }

    pub(super) fn is_full(&self) -> bool {
        self.used == self.bytes.len()
    }

    /// Makes room for at least `count` more bytes.
    pub(super) fn reserve(&mut self, count: usize) {
        let wanted = self.used + count;
        if self.bytes.len() < wanted {
            if self.used == 0 {
                // Fresh zeroed pages come cheaper than a copy.
                self.bytes = vec![0; wanted];
            } else {
                self.bytes.resize(wanted.max(self.bytes.len() * 2), 0);
            }
        }
    }

    /// Appends all of `bytes`.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        if let Some(room) = self.room().get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
        }
        self.advance(bytes.len());
    }
}

/// The number of bytes of the archive in one block of `format`.
pub(super) fn block_size(format: Format, level: u32) -> usize {
    match format {
        Format::Tar => 1 << 20,
        Format::Tgz => gzip::BLOCK,
        Format::Tbz => osimg_bzip2::block_size(level),
        Format::Txz => xz::BLOCK,
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

    /// Packs `block` into `packed`, which is empty; gives up early, with nothing of use in `packed`, once `stopped` says so.
    pub(super) fn encode(&mut self, block: &[u8], mut packed: Buffer, stopped: &dyn Fn() -> bool) -> Result<Piece> {
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
