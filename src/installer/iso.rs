//! Finds single files in an ISO image without mounting it: ISO 9660 with Rock Ridge names, else
//! Joliet's.
//!
//! Of our own, because osimg wants four files by their paths and the crates for it are general and
//! trust the image: isomage 2.1 reads the whole tree by recursion (a directory that contains itself
//! ends in a stack overflow), allocates as much as a record demands and panics on a four-byte name;
//! hadris-iso brings ten crates. Field offsets: ECMA-119, sections 8.4 and 9.1; SUSP and Rock Ridge
//! (RRIP) 4.1.4.

use std::io::{self, Read, Seek, SeekFrom};

const SECTOR: u64 = 2048;
/// Volume descriptors begin here; real images have three or four.
const FIRST_DESCRIPTOR: u64 = 16;
const MOST_DESCRIPTORS: u64 = 64;
/// A directory's records: the largest of real images, `Packages/`, has some 2 MB.
const LARGEST_FOLDER: u32 = 32 << 20;

/// An ISO image.
#[derive(Debug)]
pub(crate) struct Iso<R> {
    image: R,
    /// The roots of its trees: the one with Rock Ridge or plain names, then Joliet's.
    roots: Vec<(Names, Record)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    Plain,
    Joliet,
}

/// Where a file's bytes are: pieces of the image, as (offset, length).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Extents(Vec<(u64, u64)>);

impl Extents {
    /// The file's size.
    #[must_use]
    pub(crate) fn size(&self) -> u64 {
        self.0.iter().map(|(_, length)| length).sum()
    }
}

#[derive(Debug, Clone)]
struct Record {
    sector: u32,
    length: u32,
    directory: bool,
    /// Another record continues the file: files over 4 GiB.
    continued: bool,
    name: String,
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.to_owned())
}

impl<R: Read + Seek> Iso<R> {
    /// Reads the volume descriptors.
    ///
    /// # Errors
    /// When it cannot be read or is not an ISO image.
    pub(crate) fn open(mut image: R) -> io::Result<Self> {
        let mut roots = Vec::new();
        for number in FIRST_DESCRIPTOR..FIRST_DESCRIPTOR + MOST_DESCRIPTORS {
            let mut descriptor = [0_u8; SECTOR as usize];
            image.seek(SeekFrom::Start(number * SECTOR))?;
            match image.read_exact(&mut descriptor) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                other => other?,
            }
            if descriptor.get(1..6) != Some(b"CD001") {
                break;
            }
            let names = match descriptor {
                [255, ..] => break,
                [1, ..] => Names::Plain,
                // Joliet's three levels.
                [2, ..] if matches!(descriptor.get(88..91), Some(b"%/@" | b"%/C" | b"%/E")) => {
                    Names::Joliet
                }
                _ => continue,
            };
            let root = descriptor
                .get(156..190)
                .and_then(|bytes| record(bytes, names))
                .filter(|root| root.directory);
            roots.push((names, root.ok_or_else(|| invalid("its root directory is damaged"))?));
        }
        if roots.is_empty() {
            return Err(invalid("it is not an ISO image"));
        }
        Ok(Self { image, roots })
    }

    /// Looks a file up by its path, such as `images/pxeboot/vmlinuz`.
    ///
    /// # Errors
    /// When the image is damaged; a missing file is none.
    pub(crate) fn find(&mut self, path: &str) -> io::Result<Option<Extents>> {
        for (names, root) in self.roots.clone() {
            if let Some(found) = self.descend(path, names, root)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn descend(&mut self, path: &str, names: Names, root: Record) -> io::Result<Option<Extents>> {
        let mut directory = root;
        let mut parts = path.split('/').peekable();
        while let Some(part) = parts.next() {
            let records = self.records(&directory, names)?;
            let Some(at) = records.iter().position(|r| {
                r.name == part || names == Names::Plain && plain_name(&r.name) == part
            }) else {
                return Ok(None);
            };
            let found = records.get(at..).unwrap_or_default();
            match (found, parts.peek()) {
                ([first, ..], Some(_)) if first.directory => directory = first.clone(),
                ([first, ..], None) if !first.directory => return self.extents(found).map(Some),
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    fn extents(&mut self, records: &[Record]) -> io::Result<Extents> {
        let end = self.image.seek(SeekFrom::End(0))?;
        let mut extents = Vec::new();
        for record in records {
            let (offset, length) = (u64::from(record.sector) * SECTOR, u64::from(record.length));
            if offset + length > end {
                return Err(invalid("it is cut off: a file in it ends behind its end"));
            }
            extents.push((offset, length));
            if !record.continued {
                return Ok(Extents(extents));
            }
        }
        Err(invalid("a file in it has no last part"))
    }

    fn records(&mut self, directory: &Record, names: Names) -> io::Result<Vec<Record>> {
        if directory.length > LARGEST_FOLDER {
            return Err(invalid("a directory in it is larger than any real one"));
        }
        let mut bytes = Vec::new();
        self.image.seek(SeekFrom::Start(u64::from(directory.sector) * SECTOR))?;
        self.image.by_ref().take(directory.length.into()).read_to_end(&mut bytes)?;
        if bytes.len() != directory.length as usize {
            return Err(invalid("it is cut off: a directory in it ends behind its end"));
        }
        let mut records = Vec::new();
        for sector in bytes.chunks(SECTOR as usize) {
            let mut rest = sector;
            // A record never crosses a sector; what is left of one is zero.
            while let Some(length) =
                rest.first().map(|length| usize::from(*length)).filter(|length| *length > 0)
            {
                let bytes =
                    rest.get(..length).ok_or_else(|| invalid("a directory in it is damaged"))?;
                records.push(
                    record(bytes, names).ok_or_else(|| invalid("a directory in it is damaged"))?,
                );
                rest = rest.get(length..).unwrap_or_default();
            }
        }
        Ok(records)
    }

    /// A reader of a file's bytes.
    pub(crate) fn read(&mut self, extents: &Extents) -> impl Read {
        Reader { image: &mut self.image, left: extents.0.clone() }
    }
}

struct Reader<'a, R> {
    image: &'a mut R,
    left: Vec<(u64, u64)>,
}

impl<R: Read + Seek> Read for Reader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some((offset, length)) = self.left.first_mut() else { return Ok(0) };
            if *length == 0 {
                self.left.remove(0);
                continue;
            }
            let most = usize::try_from(*length).unwrap_or(usize::MAX).min(buffer.len());
            self.image.seek(SeekFrom::Start(*offset))?;
            let count = self.image.read(buffer.get_mut(..most).unwrap_or_default())?;
            if count == 0 && most > 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            *offset += count as u64;
            *length -= count as u64;
            return Ok(count);
        }
    }
}

/// One directory record; `None` when its fields do not fit into it.
fn record(bytes: &[u8], names: Names) -> Option<Record> {
    let number = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    let flags = *bytes.get(25)?;
    let length = usize::from(*bytes.get(32)?);
    let raw = bytes.get(33..33 + length)?;
    let name = match names {
        Names::Joliet if length > 1 => {
            let units: Vec<u16> = raw
                .chunks_exact(2)
                .filter_map(|pair| pair.try_into().ok().map(u16::from_be_bytes))
                .collect();
            let name = String::from_utf16_lossy(&units);
            name.split(';').next().unwrap_or_default().to_owned()
        }
        _ => {
            // The system use area begins at the next even offset.
            let area = bytes.get(33 + length + (length + 1) % 2..).unwrap_or_default();
            rock_ridge_name(area).unwrap_or_else(|| String::from_utf8_lossy(raw).into_owned())
        }
    };
    Some(Record {
        sector: number(2)?,
        length: number(10)?,
        directory: flags & 2 != 0,
        continued: flags & 0x80 != 0,
        name,
    })
}

/// The name in Rock Ridge's NM entries. A continuation area is not followed: names that need one
/// are longer than those looked for here.
fn rock_ridge_name(mut area: &[u8]) -> Option<String> {
    let mut name = Vec::new();
    while let [first, second, length, ..] = area {
        let entry = area.get(..usize::from(*length)).filter(|entry| entry.len() >= 4)?;
        if (*first, *second) == (b'N', b'M') {
            // The flags of `.` and `..`, which have no name here.
            if entry.get(4)? & 0b110 != 0 {
                return None;
            }
            name.extend_from_slice(entry.get(5..)?);
        }
        area = area.get(entry.len()..)?;
        if area.first() == Some(&0) {
            break;
        }
    }
    if name.is_empty() { None } else { Some(String::from_utf8_lossy(&name).into_owned()) }
}

/// `VMLINUZ.;1` as it was before it became a plain ISO 9660 name.
fn plain_name(name: &str) -> String {
    name.split(';').next().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// An image of one directory with these records.
    fn image(records: &[Vec<u8>]) -> Vec<u8> {
        let mut image = vec![0; 20 * SECTOR as usize];
        let at = 16 * SECTOR as usize;
        image[at..at + 6].copy_from_slice(b"\x01CD001");
        let root = entry(b"\0", 18, SECTOR as u32, 2, b"");
        image[at + 156..at + 156 + root.len()].copy_from_slice(&root);
        image[at + SECTOR as usize..at + SECTOR as usize + 6].copy_from_slice(b"\xffCD001");
        let mut to = 18 * SECTOR as usize;
        for record in records {
            image[to..to + record.len()].copy_from_slice(record);
            to += record.len();
        }
        image[19 * SECTOR as usize..19 * SECTOR as usize + 5].copy_from_slice(b"hello");
        image
    }

    fn entry(name: &[u8], sector: u32, length: u32, flags: u8, system_use: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 33];
        bytes[2..6].copy_from_slice(&sector.to_le_bytes());
        bytes[10..14].copy_from_slice(&length.to_le_bytes());
        bytes[25] = flags;
        bytes[32] = name.len() as u8;
        bytes.extend_from_slice(name);
        if name.len().is_multiple_of(2) {
            bytes.push(0);
        }
        bytes.extend_from_slice(system_use);
        bytes[0] = bytes.len() as u8;
        bytes
    }

    fn content(image: Vec<u8>, path: &str) -> io::Result<Option<String>> {
        let mut iso = Iso::open(Cursor::new(image))?;
        let Some(extents) = iso.find(path)? else { return Ok(None) };
        let mut text = String::new();
        iso.read(&extents).read_to_string(&mut text)?;
        Ok(Some(text))
    }

    #[test]
    fn files_are_found_by_rock_ridge_and_by_plain_names() {
        let records = [
            entry(b"X.;1", 19, 5, 0, b"NM\x0e\x01\x00.treeinfo"),
            entry(b"VMLINUZ.;1", 19, 4, 0, b""),
        ];
        assert_eq!(content(image(&records), ".treeinfo").expect("read").as_deref(), Some("hello"));
        assert_eq!(content(image(&records), "vmlinuz").expect("read").as_deref(), Some("hell"));
        assert_eq!(content(image(&records), "x").expect("read").as_deref(), None);
        assert_eq!(content(image(&records), "vmlinuz/x").expect("read"), None);
    }

    #[test]
    fn a_file_in_two_parts_is_read_as_one() {
        let records = [entry(b"BIG.;1", 19, 3, 0x80, b""), entry(b"BIG.;1", 19, 5, 0, b"")];
        assert_eq!(content(image(&records), "big").expect("read").as_deref(), Some("helhello"));
        let error = content(image(&records[..1]), "big").expect_err("half");
        assert!(error.to_string().contains("no last part"));
    }

    #[test]
    fn a_directory_that_contains_itself_ends() {
        let records = [entry(b"LOOP", 18, SECTOR as u32, 2, b"")];
        assert_eq!(content(image(&records), &"loop/".repeat(500)).expect("read"), None);
    }

    #[test]
    fn damaged_images_are_errors() {
        assert!(content(vec![0; 40_000], "x").is_err());
        assert!(content(Vec::new(), "x").is_err());
        for (record, expected) in [
            (entry(b"X.;1", 19, 1 << 20, 0, b""), "cut off"),
            (entry(b"X.;1", u32::MAX, u32::MAX, 0, b""), "cut off"),
            (vec![200; 40], "damaged"),
            (vec![5, 0, 0, 0, 0], "damaged"),
        ] {
            let mut full = vec![record];
            full.push(entry(b"Y.;1", 19, 1, 0, b""));
            let error = content(image(&full), "x").expect_err(expected);
            assert!(error.to_string().contains(expected), "{error}");
        }
        let directory = entry(b"D", 19, 1 << 30, 2, b"");
        assert!(
            content(image(&[directory]), "d/x").expect_err("large").to_string().contains("larger")
        );
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_in_a_directory_are_read_or_refused(
            bytes in proptest::collection::vec(0_u8.., 0..600),
            at in 0..600_usize,
            nm: bool,
        ) {
            let names: &[u8] = if nm { b"NM\x04\x01NM\x05\x01\x00" } else { b"" };
            let mut image = image(&[entry(b"X.;1", 19, 5, 0, names)]);
            let start = 18 * SECTOR as usize + at;
            image[start..start + bytes.len()].copy_from_slice(&bytes);
            let _ = content(image, "x");
        }
    }
}
