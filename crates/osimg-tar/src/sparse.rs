//! Where a file's holes are: by its content, since what a file system stores as holes differs
//! between two equal files.

use crate::entry::Extent;
use crate::error::Result;
use nix::errno::Errno;
use nix::unistd::{Whence, lseek64};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The shortest run of zeros that counts as a hole; a shorter one costs less to compress than a map
/// costs to read.
pub(super) const SHORTEST_HOLE: u64 = 64 << 10;
/// Where holes may begin and end: the block size of the file systems that an image is unpacked to.
const GRAIN: u64 = 4096;
const WINDOW: usize = 1 << 20;

const ZEROS: [u8; GRAIN as usize] = [0; GRAIN as usize];

/// Collects the stretches of data of a file that is looked through from its beginning.
struct Map {
    extents: Vec<Extent>,
    /// Everything before is known.
    position: u64,
    /// Where the zeros began that end at `position`.
    zeros_from: u64,
    /// Where the data began that those zeros follow.
    data_from: u64,
}

impl Map {
    fn new() -> Self {
        Self { extents: Vec::new(), position: 0, zeros_from: 0, data_from: 0 }
    }

    fn zeros(&mut self, until: u64) {
        self.position = until;
    }

    fn data(&mut self, until: u64) {
        if self.position - self.zeros_from >= SHORTEST_HOLE {
            self.cut();
        }
        self.position = until;
        self.zeros_from = until;
    }

    /// Ends the data where the present zeros began.
    fn cut(&mut self) {
        if self.zeros_from > self.data_from {
            self.extents.push(Extent { offset: self.data_from, length: self.zeros_from - self.data_from });
        }
        self.data_from = self.position;
    }

    /// The extents of a file of `size` bytes; none when it has no hole.
    fn finish(mut self, size: u64) -> Option<Vec<Extent>> {
        if self.position - self.zeros_from < SHORTEST_HOLE {
            self.zeros_from = self.position;
        }
        self.cut();
        let whole = Extent { offset: 0, length: size };
        if size == 0 || self.extents == [whole] { None } else { Some(self.extents) }
    }

    /// Looks at `bytes`, which follow what is known.
    fn look(&mut self, bytes: &[u8]) {
        for grain in bytes.chunks(GRAIN as usize) {
            let until = self.position + grain.len() as u64;
            // Nearly all data shows itself in its first byte or the next few.
            if Some(grain) == ZEROS.get(..grain.len()) { self.zeros(until) } else { self.data(until) }
        }
    }
}

/// The data of a file whose content is all of `bytes`; none when it has no hole.
pub(super) fn map_of_bytes(bytes: &[u8]) -> Option<Vec<Extent>> {
    let mut map = Map::new();
    map.look(bytes);
    map.finish(bytes.len() as u64)
}

/// The data of a file of `size` bytes; none when it has no hole. Stretches that the file system
/// knows as holes are not read.
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
        // A hole's last, unaligned part is looked at like data.
        let hole_end = if data >= size { size } else { data - data % GRAIN };
        if hole_end > map.position {
            map.zeros(hole_end);
            continue;
        }
        let data_end = seek_hole(file, data, size)?;
        let end = data_end.next_multiple_of(GRAIN).max(map.position + GRAIN).min(size);
        while map.position < end {
            cancelled()?;
            let want = usize::try_from(end - map.position).unwrap_or(WINDOW).min(WINDOW);
            let window = scratch.get_mut(..want).unwrap_or_default();
            file.read_exact_at(window, map.position)?;
            map.look(window);
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

    fn extent(offset: u64, length: u64) -> Extent {
        Extent { offset, length }
    }

    fn bytes(size: usize, data: &[(usize, usize)]) -> Vec<u8> {
        let mut bytes = vec![0; size];
        for (offset, length) in data {
            bytes[*offset..offset + length].fill(b'd');
        }
        bytes
    }

    #[test]
    fn a_hole_is_a_run_of_zeros_of_64_kib_and_more() {
        const K: usize = 1024;
        assert_eq!(map_of_bytes(&bytes(128 * K, &[(0, 4 * K), (64 * K, 64 * K)])), None);
        assert_eq!(
            map_of_bytes(&bytes(128 * K, &[(0, 4 * K), (68 * K, 60 * K)])),
            Some(vec![extent(0, 4096), extent(68 * 1024, 60 * 1024)])
        );
        assert_eq!(map_of_bytes(&bytes(64 * K, &[])), Some(vec![]));
        assert_eq!(map_of_bytes(&bytes(64 * K - 1, &[])), None);
        assert_eq!(map_of_bytes(&bytes(100 * K + 7, &[(0, 1)])), Some(vec![extent(0, 4096)]));
        assert_eq!(map_of_bytes(&bytes(100 * K + 7, &[(100 * K + 6, 1)])), Some(vec![extent(100 * 1024, 7)]));
        assert_eq!(map_of_bytes(&[]), None);
    }

    #[test]
    fn the_same_content_has_the_same_map_with_and_without_holes_on_disk() {
        let content = bytes(3 << 20, &[(5000, 100), (1 << 20, 70_000), ((2 << 20) + 1, 1)]);
        let dense = tempfile::tempfile().unwrap();
        dense.write_all_at(&content, 0).unwrap();
        let holes = tempfile::tempfile().unwrap();
        holes.set_len(content.len() as u64).unwrap();
        for at in [5000..5100, 1 << 20..(1 << 20) + 70_000, (2 << 20) + 1..(2 << 20) + 2] {
            holes.write_all_at(&content[at.clone()], at.start as u64).unwrap();
        }
        let expected = map_of_bytes(&content);
        assert_eq!(expected.as_ref().map(Vec::len), Some(3));
        for file in [dense, holes] {
            assert_eq!(map_of_file(&file, content.len() as u64, &mut Vec::new(), &|| Ok(())).unwrap(), expected);
        }
    }

    #[test]
    fn the_written_map_ends_where_the_file_ends() {
        assert_eq!(written(&[extent(0, 4096)], 8192), b"2\n0\n4096\n8192\n0\n");
        assert_eq!(written(&[extent(4096, 10)], 4106), b"1\n4096\n10\n");
        assert_eq!(written(&[], 70_000), b"1\n70000\n0\n");
    }
}
