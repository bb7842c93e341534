//! The bytes of an archive without its compression, counted; errors name their place.

use super::header::{BLOCK, Block};
use super::joined::Joined;
use super::looks::looks_like;
use crate::error::{Context, Damaged, Error, Reason, Result};
use crate::format::Format;
use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};
use std::io::{self, BufReader, Cursor, Read};

/// Enough for every preset of xz: preset 9 takes 65 MiB to unpack.
const XZ_MEMORY: u64 = 128 << 20;
/// How much is read from a file at once.
const BUFFER: usize = 1 << 17;
const WINDOW: usize = 1 << 16;
const XZ_MAGIC: &[u8] = &[0xFD, b'7', b'z', b'X', b'Z', 0];
const ZSTD_MAGIC: &[u8] = &[0x28, 0xB5, 0x2F, 0xFD];

pub(super) struct Source<'a> {
    bytes: Box<dyn Read + 'a>,
    format: Format,
    offset: u64,
    window: Vec<u8>,
}

/// Whether an archive begins with `start`, not compressed: the sum of a block of zeros is not zero.
fn is_header(start: &[u8]) -> bool {
    start.try_into().is_ok_and(|block| Block::new(block).is_ok())
}

impl<'a> Source<'a> {
    pub(super) fn new(mut file: impl Read + 'a) -> Result<Self> {
        let mut magic = Vec::new();
        file.by_ref()
            .take(BLOCK as u64)
            .read_to_end(&mut magic)
            .context("reading the tarball's first bytes")?;
        let format = match magic.as_slice() {
            [] => return Err(Damaged { offset: 0, why: "it is empty".into() }.into()),
            // A member's name can begin with the magic bytes of another format. A right checksum
            // decides, as in GNU tar.
            start if is_header(start) => Format::Tar,
            [0x1F, 0x8B, ..] => Format::Tgz,
            [b'B', b'Z', b'h', ..] => Format::Tbz,
            other if other.starts_with(XZ_MAGIC) => Format::Txz,
            other if other.starts_with(ZSTD_MAGIC) => {
                return Err(Error::new(Reason::Zstd).context("reading the tarball"));
            }
            other => match looks_like(other) {
                Some(kind) => {
                    return Err(Error::new(Reason::NotTar(kind)).context("reading the tarball"));
                }
                None => Format::Tar,
            },
        };
        let file = BufReader::with_capacity(BUFFER, Cursor::new(magic).chain(file));
        let bytes: Box<dyn Read + 'a> = match format {
            Format::Tar => Box::new(file),
            Format::Tgz => Box::new(Joined::<_, GzDecoder<_>>::new(file)),
            Format::Tbz => Box::new(Joined::<_, BzDecoder<_>>::new(file)),
            Format::Txz => {
                let stream =
                    Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED).map_err(|error| {
                        Reason::Compressor(format!("starting an xz decoder: {error}"))
                    })?;
                Box::new(XzDecoder::new_stream(file, stream))
            }
        };
        Ok(Self {
            bytes: Box::new(BufReader::with_capacity(BUFFER, bytes)),
            format,
            offset: 0,
            window: vec![0; WINDOW],
        })
    }

    /// The next bytes, however they come.
    pub(super) fn read(&mut self, window: &mut [u8]) -> io::Result<usize> {
        self.bytes.read(window)
    }

    pub(super) fn format(&self) -> Format {
        self.format
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn damaged(&self, why: &str) -> Error {
        self.damaged_at(why.to_owned())
    }

    pub(super) fn damaged_at(&self, why: String) -> Error {
        Damaged { offset: self.offset, why }.into()
    }

    /// The next block; none where the bytes end.
    pub(super) fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        match self.fill(&mut block)? {
            0 => Ok(None),
            BLOCK => Ok(Some(block)),
            _ => Err(self.damaged("it is cut off inside a block")),
        }
    }

    /// Fills all of `bytes`.
    pub(super) fn exact(&mut self, bytes: &mut [u8]) -> Result<()> {
        if self.fill(bytes)? == bytes.len() {
            Ok(())
        } else {
            Err(self.damaged("it is cut off inside a member"))
        }
    }

    /// `size` bytes and what fills them up to whole blocks; takes memory only for bytes that are
    /// there.
    pub(super) fn whole(&mut self, size: u64, most: u64, what: &str) -> Result<Vec<u8>> {
        if size > most {
            return Err(
                self.damaged_at(format!("{what} of {size} bytes is longer than {most} bytes"))
            );
        }
        let padded = size.next_multiple_of(BLOCK as u64);
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < padded {
            match self.block()? {
                Some(block) => bytes.extend_from_slice(&block),
                None => return Err(self.damaged_at(format!("it is cut off inside {what}"))),
            }
        }
        bytes.truncate(usize::try_from(size)?);
        Ok(bytes)
    }

    pub(super) fn skip(&mut self, mut count: u64) -> Result<()> {
        let mut window = std::mem::take(&mut self.window);
        while count > 0 {
            let want = WINDOW.min(usize::try_from(count).unwrap_or(WINDOW));
            self.exact(window.get_mut(..want).unwrap_or_default())?;
            count -= want as u64;
        }
        self.window = window;
        Ok(())
    }

    /// Reads to the end, which checks the compression's last checksums. Returns whether there were
    /// other bytes than zeros; how many zeros there are does not matter to any reader.
    pub(super) fn rest_is_other_than_zeros(&mut self) -> Result<bool> {
        let mut window = std::mem::take(&mut self.window);
        let mut other = false;
        loop {
            let filled = self.fill(&mut window)?;
            other |= window.get(..filled).unwrap_or_default().iter().any(|byte| *byte != 0);
            if filled < window.len() {
                return Ok(other);
            }
        }
    }

    /// Reads until `bytes` are full or there are no more.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while let Some(room) = bytes.get_mut(filled..).filter(|room| !room.is_empty()) {
            match self.bytes.read(room) {
                Ok(0) => break,
                Ok(count) => {
                    filled += count;
                    self.offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failure(error)),
            }
        }
        Ok(filled)
    }

    /// An error of the system is a failure to read; one of the decompressor is damage of the file.
    fn failure(&self, error: io::Error) -> Error {
        let format = self.format;
        if error.raw_os_error().is_some() || format == Format::Tar {
            return Error::from(error)
                .context(format!("reading the archive at byte {}", self.offset));
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                self.damaged_at(format!("the {format} file is cut off"))
            }
            _ => self.damaged_at(format!("the {format} file is damaged: {error}")),
        }
    }
}
