//! xz: one stream of many blocks. The blocks' headers contain their sizes, so that `xz -d -T0`
//! unpacks on all cores.
//!
//! liblzma packs each block as a stream of its own; those are taken apart and joined here, by the
//! format's definition (<https://tukaani.org/xz/xz-file-format.txt>; numbers in brackets are its
//! sections).

use super::buffer::Buffer;
use super::probe::Probe;
use super::signature::has;
use super::stopped::Stopped;
use crate::error::{Error, Reason, Result};
use liblzma::stream::{Action, Check, Filters, LzmaOptions, MatchFinder, Mode, Status, Stream};

/// Bytes of the archive in one block, as `xz -T` takes it at its default, and of the dictionary.
pub(super) const BLOCK: usize = 24 << 20;

/// What begins every stream: magic bytes, flags (CRC64) and their CRC32 (2.1.1).
const STREAM_HEADER: [u8; 12] = [0xFD, b'7', b'z', b'X', b'Z', 0, 0, 4, 0xE6, 0xD6, 0xB4, 0x46];
/// The length of a stream's footer (2.1.2) and of a CRC64.
const FOOTER: usize = 12;
const CHECK: usize = 8;
/// The longest block header that its one-byte size can tell (3.1.1).
const LONGEST_HEADER: usize = 1024;

/// How long a match is good enough and how many are looked at, of the levels that search by chains
/// of hashes.
const CHAINS: [Option<(u32, u32)>; 6] = [None, None, None, None, Some((24, 4)), Some((32, 8))];

/// Samples of a block for the trial of the filter for x86, and their size.
const SAMPLES: usize = 32;
const SAMPLE: usize = 32 << 10;

/// How much is packed between two looks at whether to stop.
const STRIDE: usize = 1 << 18;

pub(super) struct Encoder {
    search: Filters,
    /// The same for programs of x86.
    search_x86: Filters,
    /// For what does not compress; with the same dictionary, since it may still repeat.
    fast: Filters,
    /// Without and with the filter for x86, for samples.
    trials: [Filters; 2],
    probe: Probe,
    samples: Vec<u8>,
    alone: Buffer,
}

impl Encoder {
    pub(super) fn new(level: u32) -> Result<Self> {
        let preset = |level: u32| {
            LzmaOptions::new_preset(level)
                .map_err(|error| failed(&format!("setting xz preset {level}"), &error))
        };
        let (mut search, mut fast) = (preset(level)?, preset(0)?);
        if level > 0 {
            // Up to 3 the preset's own (xz(1)); from 4 on a whole block, which makes an OS tree 5 %
            // smaller.
            let dictionary: u32 = match level {
                1 => 1 << 20,
                2 => 2 << 20,
                3 => 4 << 20,
                _ => BLOCK as u32,
            };
            search.dict_size(dictionary);
            fast.dict_size(dictionary);
        }
        // Of what the large dictionary gains, chains of hashes give back a third, for little more
        // than half of a binary tree's time.
        if let Some((nice, depth)) = CHAINS.get(level as usize).copied().flatten() {
            search
                .match_finder(MatchFinder::HashChain4)
                .mode(Mode::Normal)
                .nice_len(nice)
                .depth(depth);
        }
        let filters = |options: &LzmaOptions| {
            let mut filters = Filters::new();
            filters.lzma2(options);
            filters
        };
        let x86 = |options: &LzmaOptions| {
            let mut filters = Filters::new();
            filters.x86();
            filters.lzma2(options);
            filters
        };
        let trial = preset(0)?;
        Ok(Self {
            search: filters(&search),
            search_x86: x86(&search),
            fast: filters(&fast),
            trials: [filters(&trial), x86(&trial)],
            probe: Probe::new(64)?,
            samples: Vec::new(),
            alone: Buffer::default(),
        })
    }

    /// Packs a block and returns its unpadded size (4.3).
    pub(super) fn encode(
        &mut self,
        block: &[u8],
        packed: &mut Buffer,
        stopped: &dyn Fn() -> bool,
    ) -> Result<u64> {
        let filters = if self.probe.is_incompressible(block) {
            &self.fast
        } else if x86_pays(block, &self.trials, &mut self.samples, &mut self.alone, stopped)? {
            &self.search_x86
        } else {
            &self.search
        };
        compress(block, filters, &mut self.alone, stopped)?;
        take_apart(self.alone.filled(), block.len() as u64, packed).ok_or_else(|| {
            Reason::Compressor("taking an xz stream apart: liblzma wrote an unexpected form".into())
                .into()
        })
    }
}

fn failed(action: &str, error: &liblzma::stream::Error) -> Error {
    Reason::Compressor(format!("{action}: {error}")).into()
}

/// Compresses `plain` to a stream of one block.
fn compress(
    plain: &[u8],
    filters: &Filters,
    packed: &mut Buffer,
    stopped: &dyn Fn() -> bool,
) -> Result<()> {
    let mut stream = Stream::new_stream_encoder(filters, Check::Crc64)
        .map_err(|error| failed("starting an xz encoder", &error))?;
    packed.clear();
    packed.reserve(plain.len() + plain.len() / 1024 + 4096);
    loop {
        if stopped() {
            return Err(Stopped.into());
        }
        let (read, written) = (usize::try_from(stream.total_in())?, stream.total_out());
        let rest = plain.get(read..).unwrap_or_default();
        let (part, action) = match rest.get(..STRIDE) {
            Some(part) if part.len() < rest.len() => (part, Action::Run),
            _ => (rest, Action::Finish),
        };
        packed.reserve(1 << 12);
        let status = stream
            .process(part, packed.room(), action)
            .map_err(|error| failed("compressing an xz block", &error))?;
        packed.advance(usize::try_from(stream.total_out() - written)?);
        if status == Status::StreamEnd {
            return Ok(());
        }
    }
}

/// Whether samples of the block get smaller when the addresses in x86 machine code are made
/// absolute first, as `xz --x86` does.
///
/// They do in programs and libraries; in kernel modules, which are not linked yet, they get larger.
/// Only x86: the readers of EL 8 and 9 do not know the filter for 64-bit ARM.
fn x86_pays(
    block: &[u8],
    trials: &[Filters; 2],
    samples: &mut Vec<u8>,
    packed: &mut Buffer,
    stopped: &dyn Fn() -> bool,
) -> Result<bool> {
    if block.len() < SAMPLES * SAMPLE {
        return Ok(false);
    }
    samples.clear();
    for part in block.chunks(block.len() / SAMPLES) {
        samples.extend_from_slice(part.get(..SAMPLE).unwrap_or(part));
    }
    let mut size = |filters: &Filters| -> Result<usize> {
        compress(samples, filters, packed, stopped)?;
        Ok(packed.filled().len())
    };
    let [without, with] = [size(&trials[0])?, size(&trials[1])?];
    Ok(with + with / 256 < without)
}

/// Takes the only block out of a stream and gives it a header with its sizes; returns its unpadded
/// size.
fn take_apart(stream: &[u8], plain: u64, packed: &mut Buffer) -> Option<u64> {
    let footer = stream.get(stream.len().checked_sub(FOOTER)?..)?;
    let index_size = (u32::from_le_bytes(footer.get(4..8)?.try_into().ok()?) as usize + 1) * 4;
    let index_start = stream.len().checked_sub(FOOTER + index_size)?;
    let index = stream.get(index_start..)?;
    // Index indicator 0, one record: unpadded size, uncompressed size (4).
    let (&[0, 1], records) = index.split_first_chunk::<2>()? else { return None };
    let (unpadded, records) = read_number(records)?;
    let (uncompressed, _) = read_number(records)?;
    let block = stream.get(STREAM_HEADER.len()..index_start)?;
    let old_header = (usize::from(*block.first()?) + 1) * 4;
    // Flags: one filter or two, no sizes. Then x86 (4) without properties, if at all, and LZMA2
    // (0x21) with one byte of them (5.3).
    let (flags, filters) = match block.get(1..)? {
        [0, 0x21, 1, ..] => (0xC0, block.get(2..5)?),
        [1, 4, 0, 0x21, 1, ..] => (0xC1, block.get(2..7)?),
        _ => return None,
    };
    if !stream.starts_with(&STREAM_HEADER) || uncompressed != plain {
        return None;
    }
    let compressed = unpadded.checked_sub((old_header + CHECK) as u64)?;

    let mut header = vec![0, flags];
    write_number(&mut header, compressed);
    write_number(&mut header, plain);
    header.extend_from_slice(filters);
    seal_header(&mut header, 0)?;
    packed.extend(&header);
    packed.extend(block.get(old_header..)?);
    Some(compressed + (header.len() + CHECK) as u64)
}

/// Pads a block header's fields to a multiple of four bytes and `words` more, and adds its size and
/// CRC32 (3.1).
fn seal_header(header: &mut Vec<u8>, words: usize) -> Option<()> {
    let padded = header.len().next_multiple_of(4) + 4 * words;
    header.resize(padded, 0);
    *header.first_mut()? = u8::try_from(padded / 4).ok()?;
    header.extend(libdeflater::crc32(header).to_le_bytes());
    Some(())
}

/// The blocks of a stream so far, from which its end is made.
#[derive(Default)]
pub(super) struct Index {
    /// Unpadded and uncompressed sizes.
    records: Vec<(u64, u64)>,
}

impl Index {
    pub(super) fn opening() -> &'static [u8] {
        &STREAM_HEADER
    }

    pub(super) fn add(&mut self, unpadded: u64, plain: u64) {
        self.records.push((unpadded, plain));
    }

    /// The index and the footer (4 and 2.1.2).
    pub(super) fn closing(&self) -> Result<Vec<u8>> {
        let mut end = vec![0];
        write_number(&mut end, self.records.len() as u64);
        for (unpadded, plain) in &self.records {
            write_number(&mut end, *unpadded);
            write_number(&mut end, *plain);
        }
        end.resize(end.len().next_multiple_of(4), 0);
        end.extend(libdeflater::crc32(&end).to_le_bytes());
        let backward_size = u32::try_from(end.len() / 4 - 1)
            .map_err(|_| Reason::Compressor("ending an xz stream: too many blocks".into()))?;
        let [_, _, _, _, _, _, flags @ .., _, _, _, _] = STREAM_HEADER;
        let mut fields = backward_size.to_le_bytes().to_vec();
        fields.extend(flags);
        end.extend(libdeflater::crc32(&fields).to_le_bytes());
        end.extend(fields);
        end.extend(*b"YZ");
        Ok(end)
    }

    /// Pads the first block's header until bytes 510 and 511 are not `avoided`.
    ///
    /// `start` is the stream so far, and all of its blocks when it is shorter than that.
    pub(super) fn shift(&mut self, start: &mut Vec<u8>, avoided: [u8; 2]) -> Result<()> {
        let plain_start = start.clone();
        let mut words = 0;
        // At the latest the padding's own zeros reach those bytes.
        while self.reaches(start, avoided)? && words < LONGEST_HEADER / 4 {
            words += 1;
            *start = pad_first_header(&plain_start, words).ok_or_else(|| {
                Reason::Compressor("padding an xz block header: it has an unexpected form".into())
            })?;
            if let Some((unpadded, _)) = self.records.first_mut() {
                *unpadded += 4;
            }
        }
        Ok(())
    }

    fn reaches(&self, start: &[u8], avoided: [u8; 2]) -> Result<bool> {
        // Of a tiny file it may be the index that reaches there.
        Ok(if start.len() < 512 {
            has(&[start, &self.closing()?].concat(), avoided)
        } else {
            has(start, avoided)
        })
    }
}

/// The beginning of a stream with `words` times four bytes more of padding in its first block's
/// header.
fn pad_first_header(start: &[u8], words: usize) -> Option<Vec<u8>> {
    let (stream_header, block) = start.split_at_checked(STREAM_HEADER.len())?;
    let size = (usize::from(*block.first()?) + 1) * 4;
    let mut header = block.get(..size - 4)?.to_vec();
    seal_header(&mut header, words)?;
    Some([stream_header, &header, block.get(size..)?].concat())
}

/// Reads a variable-length number (1.2) and returns it with what follows.
fn read_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (place, byte) in bytes.iter().enumerate().take(9) {
        number |= u64::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((number, bytes.get(place + 1..)?));
        }
    }
    None
}

/// Writes a variable-length number (1.2).
fn write_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_are_written() {
        for number in [0, 1, 127, 128, 16_383, 16_384, 1 << 24, u64::MAX >> 1] {
            let mut bytes = Vec::new();
            write_number(&mut bytes, number);
            bytes.push(7);
            assert_eq!(read_number(&bytes), Some((number, &[7][..])));
        }
        assert_eq!(read_number(&[0x80]), None);
    }
}
