//! The holes of a file: long runs of zeros that the file system does not store either.
//!
//! Not all readers know sparse members, and compression makes zeros small, so only holes that
//! matter to the disk of a node become holes of the archive. Their ends are decided by the content:
//! the extents of two equal files differ from one file system to another.

use crate::entry::Extent;
use crate::error::Result;
use nix::errno::Errno;
use nix::sys::stat::FileStat;
use nix::unistd::{Whence, lseek64};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The shortest run of zeros that becomes a hole.
pub(super) const SHORTEST_HOLE: u64 = 16 << 20;
/// The unit of the ends of holes: the block size of the file systems that an image is unpacked to.
const GRAIN: u64 = 4096;
const WINDOW: usize = 1 << 20;
/// The unit of `st_blocks`.
const STAT_BLOCK: u64 = 512;

const ZEROS: [u8; GRAIN as usize] = [0; GRAIN as usize];

/// Whether the file may have a hole: it is long enough, and the disk stores less than its size. A
/// swap file, which is complete on disk, is not searched.
pub(super) fn may_have_holes(stat: &FileStat) -> bool {
    let (size, blocks) =
        (u64::try_from(stat.st_size).unwrap_or(0), u64::try_from(stat.st_blocks).unwrap_or(0));
    size >= SHORTEST_HOLE && blocks.saturating_mul(STAT_BLOCK) < size
}

/// Collects the stretches of data of a file that is searched from its beginning.
struct Map {
    extents: Vec<Extent>,
    /// The end of the part that was searched.
    position: u64,
    /// The begin of the zeros that end at `position`.
    zeros_from: u64,
    /// How many of them the file system does not store.
    not_stored: u64,
    /// The begin of the data before those zeros.
    data_from: u64,
}

impl Map {
    fn new() -> Self {
        Self { extents: Vec::new(), position: 0, zeros_from: 0, not_stored: 0, data_from: 0 }
    }

    /// Zeros that the file system does not store.
    fn hole(&mut self, until: u64) {
        self.not_stored += until - self.position;
        self.position = until;
    }

    fn data(&mut self, until: u64) {
        if self.is_hole() {
            self.cut();
        }
        self.position = until;
        self.zeros_from = until;
        self.not_stored = 0;
    }

    /// Whether the present zeros are a hole. File systems store some of a hole's zeros, up to their
    /// own unit, but never half of a long one.
    fn is_hole(&self) -> bool {
        let zeros = self.position - self.zeros_from;
        zeros >= SHORTEST_HOLE && self.not_stored >= zeros / 2
    }

    /// Ends the data at the begin of the present zeros.
    fn cut(&mut self) {
        if self.zeros_from > self.data_from {
            self.extents
                .push(Extent { offset: self.data_from, length: self.zeros_from - self.data_from });
        }
        self.data_from = self.position;
    }

    /// The extents of a file of `size` bytes; `None` if it has no hole.
    fn finish(mut self, size: u64) -> Option<Vec<Extent>> {
        if !self.is_hole() {
            self.zeros_from = self.position;
        }
        self.cut();
        let whole = Extent { offset: 0, length: size };
        if size == 0 || self.extents == [whole] { None } else { Some(self.extents) }
    }

    /// Searches `bytes`, which the file system stores.
    fn search(&mut self, bytes: &[u8]) {
        for grain in bytes.chunks(GRAIN as usize) {
            let until = self.position + grain.len() as u64;
            // In nearly all data one of the first bytes is not zero.
            if Some(grain) == ZEROS.get(..grain.len()) {
                self.position = until
            } else {
                self.data(until)
            }
        }
    }
}

/// The data of a file of `size` bytes; `None` if it has no hole.
///
/// # Errors
/// Fails when the file cannot be read, and with `UnexpectedEof` when it is shorter than `size`.
pub(super) fn map_of_file(
    file: &File,
    size: u64,
    scratch: &mut Vec<u8>,
    cancelled: &dyn Fn() -> Result<()>,
) -> Result<Option<Vec<Extent>>> {
    scratch.resize(WINDOW, 0);
    let mut map = Map::new();
    while map.position < size {
        cancelled()?;
        let data = seek_data(file, map.position, size)?;
        // The last, unaligned part of a hole is searched like data.
        let hole_end = if data >= size { size } else { data - data % GRAIN };
        if hole_end > map.position {
            map.hole(hole_end);
            continue;
        }
        let data_end = seek_hole(file, data, size)?;
        let end = data_end.next_multiple_of(GRAIN).max(map.position + GRAIN).min(size);
        while map.position < end {
            cancelled()?;
            let want = usize::try_from(end - map.position).unwrap_or(WINDOW).min(WINDOW);
            let window = scratch.get_mut(..want).unwrap_or_default();
            file.read_exact_at(window, map.position)?;
            map.search(window);
        }
    }
    Ok(map.finish(size))
}

/// Where the next data begins at or after `from`; `size` when there is none, and `from` when the
/// file system cannot tell.
fn seek_data(file: &File, from: u64, size: u64) -> io::Result<u64> {
    match lseek64(file, i64::try_from(from).map_err(io::Error::other)?, Whence::SeekData) {
        Ok(found) => Ok(u64::try_from(found).unwrap_or(from).clamp(from, size)),
        Err(Errno::ENXIO) => Ok(size),
        Err(Errno::EINVAL | Errno::EOPNOTSUPP) => Ok(from),
        Err(errno) => Err(errno.into()),
    }
}

/// Where the next hole begins at or after `from`, which is data; `size` when there is none or the
/// file system cannot tell.
fn seek_hole(file: &File, from: u64, size: u64) -> io::Result<u64> {
    match lseek64(file, i64::try_from(from).map_err(io::Error::other)?, Whence::SeekHole) {
        Ok(found) => Ok(u64::try_from(found).unwrap_or(size).clamp(from, size)),
        Err(Errno::ENXIO | Errno::EINVAL | Errno::EOPNOTSUPP) => Ok(size),
        Err(errno) => Err(errno.into()),
    }
}

/// The map of PAX format 1.0 that goes before the data, without its padding: decimal numbers on
/// lines of their own.
pub(super) fn written(extents: &[Extent], size: u64) -> Vec<u8> {
    let ends_in_hole = extents.last().is_none_or(|last| last.offset + last.length < size);
    let mut lines = format!("{}\n", extents.len() + usize::from(ends_in_hole));
    for extent in extents {
        lines.push_str(&format!("{}\n{}\n", extent.offset, extent.length));
    }
    if ends_in_hole {
        // An empty stretch at the end tells readers how long the file is.
        lines.push_str(&format!("{size}\n0\n"));
    }
    lines.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const M: u64 = 1 << 20;

    fn extent(offset: u64, length: u64) -> Extent {
        Extent { offset, length }
    }

    /// A file of `size` bytes with data at these places, and nothing stored between them.
    fn holed(size: u64, data: &[(u64, u64)]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        for (offset, length) in data {
            file.write_all_at(&vec![b'd'; usize::try_from(*length).unwrap()], *offset).unwrap();
        }
        file
    }

    fn map(file: &File) -> Option<Vec<Extent>> {
        let stat = nix::sys::stat::fstat(file).unwrap();
        if !may_have_holes(&stat) {
            return None;
        }
        map_of_file(file, u64::try_from(stat.st_size).unwrap(), &mut Vec::new(), &|| Ok(()))
            .unwrap()
    }

    #[test]
    fn a_hole_is_a_run_of_16_mib_that_the_disk_does_not_store() {
        assert_eq!(map(&holed(16 * M, &[])), Some(vec![]));
        assert_eq!(map(&holed(16 * M - 1, &[])), None);
        assert_eq!(map(&holed(17 * M, &[(0, 4096)])), Some(vec![extent(0, 4096)]));
        assert_eq!(map(&holed(32 * M, &[(15 * M, 1), (31 * M - 1, 1)])), None);
        assert_eq!(
            map(&holed(40 * M, &[(5000, 100), (20 * M, 70_000)])),
            Some(vec![extent(0, 8192), extent(20 * M, 18 * 4096)])
        );
        assert_eq!(map(&holed(20 * M + 7, &[(20 * M + 6, 1)])), Some(vec![extent(20 * M, 7)]));
        assert_eq!(map(&holed(0, &[])), None);
    }

    #[test]
    fn stored_zeros_are_not_a_hole() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&vec![0; 20 << 20], 0).unwrap();
        file.sync_all().unwrap();
        assert_eq!(map(&file), None);
        // Not even next to a real hole.
        file.set_len(60 * M).unwrap();
        file.write_all_at(b"d", 20 * M).unwrap();
        assert_eq!(map(&file), Some(vec![extent(0, 20 * M + 4096)]));
    }

    #[test]
    fn the_written_map_ends_where_the_file_ends() {
        assert_eq!(written(&[extent(0, 4096)], 8192), b"2\n0\n4096\n8192\n0\n");
        assert_eq!(written(&[extent(4096, 10)], 4106), b"1\n4096\n10\n");
        assert_eq!(written(&[], 70_000), b"1\n70000\n0\n");
    }
}
