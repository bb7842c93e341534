//! The end of a lane: joins the packed blocks to a file, hashes it, and keeps 55 AA away from bytes
//! 510 and 511.

use super::compress::block_size;
use super::digest::Digesting;
use super::format::Format;
use super::pool::{Lane, Pool};
use super::signature::{BOOT_SIGNATURE, SECTOR, has};
use super::summary::Packed;
use super::{bzip2, gzip, xz};
use crate::error::{Context, Result};
use std::io::Write;

/// Writes a lane's pieces as they come, until there are no more.
pub(super) fn write(
    pool: &Pool<'_>,
    number: usize,
    lane: Lane,
    sink: Box<dyn Write + Send + '_>,
) -> Result<Packed> {
    write_avoiding(BOOT_SIGNATURE, pool, number, lane, sink)
}

fn write_avoiding(
    avoided: [u8; 2],
    pool: &Pool<'_>,
    number: usize,
    lane: Lane,
    sink: Box<dyn Write + Send + '_>,
) -> Result<Packed> {
    let writing = || format!("writing the {} archive", lane.format);
    let mut sink = Digesting::new(sink);
    let mut container = Container::new(lane.format);
    // The beginning is held back until those bytes are known.
    let mut held = Some(container.opening().to_vec());
    let mut next = 0;
    while let Some(piece) = pool.piece(number, next)? {
        container.add(piece.unpadded, piece.plain);
        match &mut held {
            Some(start) => {
                start.extend_from_slice(piece.bytes.filled());
                if start.len() >= SECTOR
                    && let Some(mut start) = held.take()
                {
                    container.shift(&mut start, avoided)?;
                    sink.write_all(&start).with_context(writing)?;
                }
            }
            None => sink.write_all(piece.bytes.filled()).with_context(writing)?,
        }
        pool.written(number, piece);
        next += 1;
    }
    if let Some(mut start) = held {
        container.shift(&mut start, avoided)?;
        sink.write_all(&start).with_context(writing)?;
    }
    sink.write_all(&container.closing()?).with_context(writing)?;
    let digests = sink.finish().with_context(writing)?;
    pool.finished(number);
    let block = block_size(lane.format, lane.level) as u64;
    Ok(Packed {
        format: lane.format,
        level: lane.level,
        block,
        bytes: digests.bytes,
        sha256: digests.sha256,
        sha512: digests.sha512,
    })
}

/// What a format puts around and between the packed blocks.
enum Container {
    /// Nothing.
    Joined(Format),
    Xz(xz::Index),
}

impl Container {
    fn new(format: Format) -> Self {
        match format {
            Format::Tar | Format::Tgz | Format::Tbz => Self::Joined(format),
            Format::Txz => Self::Xz(xz::Index::default()),
        }
    }

    fn opening(&self) -> &'static [u8] {
        match self {
            Self::Joined(_) => &[],
            Self::Xz(_) => xz::Index::opening(),
        }
    }

    fn add(&mut self, unpadded: u64, plain: u64) {
        if let Self::Xz(index) = self {
            index.add(unpadded, plain);
        }
    }

    fn closing(&self) -> Result<Vec<u8>> {
        match self {
            Self::Joined(_) => Ok(Vec::new()),
            Self::Xz(index) => index.closing(),
        }
    }

    /// Changes the beginning of a file, without changing what it unpacks to, when it has the
    /// avoided bytes.
    fn shift(&mut self, start: &mut Vec<u8>, avoided: [u8; 2]) -> Result<()> {
        match self {
            // A member's header ends in zeros there.
            Self::Joined(Format::Tar | Format::Txz) => {}
            Self::Joined(Format::Tgz) if has(start, avoided) => gzip::shift(start, avoided),
            Self::Joined(Format::Tbz) if has(start, avoided) => bzip2::shift(start, avoided),
            Self::Joined(Format::Tgz | Format::Tbz) => {}
            Self::Xz(index) => index.shift(start, avoided)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "the usual tools judge what is written")]

    use super::*;
    use crate::tape::Tape;
    use std::num::NonZeroUsize;
    use std::process::{Command, Stdio};

    fn packed(format: Format, avoided: [u8; 2], content: &[u8]) -> Vec<u8> {
        let lane = Lane { format, level: 1 };
        let pool = Pool::new(vec![lane], NonZeroUsize::MIN, &|| false);
        let mut file = Vec::new();
        std::thread::scope(|scope| {
            let writer =
                scope.spawn(|| write_avoiding(avoided, &pool, 0, lane, Box::new(&mut file)));
            scope.spawn(|| pool.pack());
            let mut tape = Tape::new(&pool);
            tape.put(content).unwrap();
            tape.finish().unwrap();
            writer.join().unwrap().unwrap();
        });
        file
    }

    fn unpacked(tool: &str, file: &[u8]) -> Vec<u8> {
        let mut child = Command::new(tool)
            .arg("-dc")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let output = std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(file).unwrap());
            child.wait_with_output().unwrap()
        });
        assert!(output.status.success(), "{tool}");
        output.stdout
    }

    fn noise(size: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let step = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        std::iter::repeat_with(step).take(size).collect()
    }

    /// Takes whatever two bytes a file has at the place for those to be avoided.
    fn is_shifted(format: Format, tool: &str, content: &[u8]) -> bool {
        let plain = packed(format, [0x55, 0xAA], content);
        let Some(Ok(there)) = plain.get(510..512).map(<[u8; 2]>::try_from) else { return false };
        let shifted = packed(format, there, content);
        assert_ne!(shifted[510..512], there, "{format} of {} bytes", content.len());
        assert!(shifted.len() > plain.len());
        let padded = content.len() + 1024;
        assert_eq!(
            unpacked(tool, &shifted),
            [content, &vec![0; padded.next_multiple_of(10_240) - content.len()]].concat()
        );
        true
    }

    #[test]
    fn a_boot_signature_is_moved_away_whatever_the_format() {
        for (format, tool) in [(Format::Tgz, "gzip"), (Format::Tbz, "bzip2"), (Format::Txz, "xz")] {
            assert!(is_shifted(format, tool, &noise(5000)));
            // A place in the second block: the first is all alike.
            assert!(is_shifted(format, tool, &[vec![b'a'; 3 << 20], noise(5000)].concat()));
        }
    }

    #[test]
    fn a_boot_signature_is_moved_away_at_the_end_of_a_tiny_file() {
        for (format, tool) in [(Format::Tgz, "gzip"), (Format::Tbz, "bzip2"), (Format::Txz, "xz")] {
            let shifted = (200..520)
                .step_by(8)
                .filter(|size| is_shifted(format, tool, &noise(*size)))
                .count();
            assert!((5..40).contains(&shifted), "{format}: {shifted}");
        }
    }

    #[test]
    fn an_archive_that_is_not_compressed_is_left_alone() {
        assert_eq!(packed(Format::Tar, [0, 0], &[0; 512]).len(), 10_240);
    }
}
