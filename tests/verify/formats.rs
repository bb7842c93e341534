//! The rpmdb in its older formats: written from the SQLite database, read by rpm and by osimg, and
//! damaged.

use osimg::archive::NoLabels;
use osimg::contents::{Contents, Digests, Options, Packages};
use proptest::prelude::*;
use rusqlite::Connection;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use tempfile::TempDir;

use crate::rpmdb::database;
use crate::support::skip;

/// A format, in the order in which a database is looked for.
#[derive(Debug, Clone, Copy)]
pub enum Format {
    Ndb,
    /// Berkeley DB with the byte order of the machine that wrote it, and a page size.
    Berkeley(Order, usize),
}

#[derive(Debug, Clone, Copy)]
pub enum Order {
    Little,
    Big,
}

pub const FORMATS: [Format; 5] = [
    Format::Ndb,
    Format::Berkeley(Order::Little, 4096),
    Format::Berkeley(Order::Big, 4096),
    Format::Berkeley(Order::Little, 512),
    Format::Berkeley(Order::Big, 65536),
];

/// The headers of an SQLite database with their numbers.
type Headers = Vec<(u32, Vec<u8>)>;

pub fn headers(tree: &Path) -> Headers {
    let database = Connection::open(tree.join("var/lib/rpm/rpmdb.sqlite")).unwrap();
    let mut query = database.prepare("SELECT hnum, blob FROM Packages ORDER BY hnum").unwrap();
    query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
}

impl Format {
    pub fn file(self) -> &'static str {
        match self {
            Self::Ndb => "Packages.db",
            Self::Berkeley(..) => "Packages",
        }
    }

    /// Writes a root that contains only a database.
    pub fn write(self, headers: &Headers) -> TempDir {
        let tree = tempfile::tempdir().unwrap();
        let dbpath = tree.path().join("var/lib/rpm");
        std::fs::create_dir_all(&dbpath).unwrap();
        let file = dbpath.join(self.file());
        match self {
            Self::Ndb => std::fs::write(file, ndb(headers)).unwrap(),
            Self::Berkeley(order, page) => berkeley(&file, headers, order, page),
        }
        tree
    }

    /// The command of an rpm that reads the format: Debian's has no ndb.
    pub fn rpm(self) -> Option<Command> {
        match self {
            Self::Ndb => rpm_with_ndb(),
            Self::Berkeley(..) => Some(Command::new("rpm")),
        }
    }
}

/// Writes a hash with Berkeley DB's own program.
fn berkeley(file: &Path, headers: &Headers, order: Order, page: usize) {
    let bytes = |number: u32| match order {
        Order::Little => number.to_le_bytes(),
        Order::Big => number.to_be_bytes(),
    };
    let lorder = match order {
        Order::Little => 1234,
        Order::Big => 4321,
    };
    let mut text = format!(
        "VERSION=3\nformat=bytevalue\ntype=hash\n\
         db_pagesize={page}\ndb_lorder={lorder}\nHEADER=END\n"
    );
    // Number 0 has the largest number, as in rpm's databases.
    let largest = bytes(headers.iter().map(|(number, _)| *number).max().unwrap()).to_vec();
    for (number, header) in std::iter::once(&(0, largest)).chain(headers) {
        let key = hex::encode(bytes(*number));
        writeln!(text, " {key}\n {}", hex::encode(header)).unwrap();
    }
    text.push_str("DATA=END\n");
    let dump = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(dump.path(), text).unwrap();
    let out = Command::new("db5.3_load").arg("-f").arg(dump.path()).arg(file).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// An ndb with a free slot after each used one, and a gap before each blob.
fn ndb(headers: &Headers) -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
    let pages = (2 + headers.len() * 2).div_ceil(256);
    let mut slots = [b"RpmP".as_slice(), &words(&[0, 9, pages as u32, 9999, 0, 0, 0])].concat();
    let mut blobs = Vec::new();
    for (number, header) in headers {
        blobs.resize(blobs.len() + 16, 0);
        let mut blob =
            [b"BlbS".as_slice(), &words(&[*number, 7, header.len() as u32]), header].concat();
        blob.resize((blob.len() + 12).next_multiple_of(16) - 12, 0);
        let (a, b) = blob.iter().fold((1_u32, 0_u32), |(a, b), byte| {
            let a = (a + u32::from(*byte)) % 65521;
            (a, (b + a) % 65521)
        });
        blob.extend(words(&[b << 16 | a, header.len() as u32]));
        blob.extend(b"BlbE");
        let first = (pages * 4096 + blobs.len()) / 16;
        slots.extend(b"Slot");
        slots.extend(words(&[*number, first as u32, blob.len() as u32 / 16]));
        slots.extend([b"Slot".as_slice(), &[0; 12]].concat());
        blobs.extend(blob);
    }
    while slots.len() < pages * 4096 {
        slots.extend([b"Slot".as_slice(), &[0; 12]].concat());
    }
    [slots, blobs].concat()
}

/// An rpm of PyPI that reads all formats, kept below target/.
fn rpm_with_ndb() -> Option<Command> {
    static MADE: Mutex<()> = Mutex::new(());
    let _one = MADE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let site = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rpm-inspector");
    let bin = site.join("rpm_inspector_rpm/bin");
    if !bin.is_dir() {
        let done = Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"])
            .arg(&site)
            .arg("rpm-inspector-rpm==4.16.1.3.210404")
            .output()
            .unwrap();
        if !done.status.success() {
            let why = String::from_utf8_lossy(&done.stderr);
            skip(&format!("rpm-inspector-rpm cannot be installed: {why}"));
            return None;
        }
    }
    let mut command = Command::new(bin.join("rpm"));
    command.arg("--rcfile").arg(bin.join("rpmrc"));
    Some(command)
}

fn read(tree: &Path) -> Packages {
    let options = Options { digests: Digests::None, ..Options::default() };
    Contents::of_tree(tree, &NoLabels, &options).unwrap().packages
}

#[test]
fn every_format_has_the_same_packages_and_the_first_existing_file_is_read() {
    let Some(sqlite) = database() else { return };
    let (expected, all) = (read(sqlite), headers(sqlite));
    for format in FORMATS {
        let tree = format.write(&all);
        assert!(read(tree.path()) == expected, "{format:?}");
        // A file of a format that is looked for earlier hides it, damaged or not.
        std::fs::write(tree.path().join("var/lib/rpm/rpmdb.sqlite"), "damaged").unwrap();
        let Packages::Unreadable { why, .. } = read(tree.path()) else { panic!("{format:?}") };
        assert!(why.starts_with("rpmdb.sqlite: "), "{why}");
    }
}

/// A root with a database, and the bytes of the database.
type Small = (TempDir, Vec<u8>);

/// A database of ten packages; small pages make many chains.
fn small(format: Format) -> Option<Small> {
    let mut all = headers(database()?);
    all.sort_by_key(|(_, header)| header.len());
    all.truncate(10);
    let tree = format.write(&all);
    let bytes = std::fs::read(tree.path().join("var/lib/rpm").join(format.file())).unwrap();
    assert_eq!(read(tree.path()).list().len(), 10);
    Some((tree, bytes))
}

const SMALL: [Format; 3] =
    [Format::Ndb, Format::Berkeley(Order::Little, 512), Format::Berkeley(Order::Big, 512)];

#[test]
fn a_database_that_is_truncated_is_refused() {
    for format in SMALL {
        let Some((tree, bytes)) = small(format) else { return };
        let file = tree.path().join("var/lib/rpm").join(format.file());
        for length in (0..bytes.len()).step_by(97) {
            std::fs::write(&file, &bytes[..length]).unwrap();
            let found = read(tree.path());
            let Packages::Unreadable { why, .. } = found else { panic!("{format:?} {length}") };
            assert!(why.starts_with(&format!("{}: ", format.file())), "{why}");
        }
    }
}

#[test]
fn a_changed_byte_in_a_blob_is_found_by_its_checksum() {
    let Some((tree, bytes)) = small(Format::Ndb) else { return };
    let blobs = bytes.windows(4).enumerate().filter(|(_, magic)| magic == b"BlbS");
    for (at, _) in blobs {
        let mut changed = bytes.clone();
        changed[at + 40] ^= 1;
        std::fs::write(tree.path().join("var/lib/rpm/Packages.db"), &changed).unwrap();
        let found = read(tree.path());
        let Packages::Unreadable { why, .. } = found else { panic!("{at}: {found:?}") };
        assert!(why.contains("its checksum is wrong"), "{why}");
    }
}

#[test]
fn a_page_that_refers_to_an_earlier_page_is_refused() {
    let (format, next) = (Format::Berkeley(Order::Little, 512), 16);
    let Some((tree, bytes)) = small(format) else { return };
    let file = tree.path().join("var/lib/rpm").join(format.file());
    for page in 1..bytes.len() / 512 {
        let (at, mut changed) = (page * 512, bytes.clone());
        changed[at + next..at + next + 4].copy_from_slice(&(page as u32).to_le_bytes());
        // A reader stops at the length of the item: in its last overflow page the change has no
        // effect.
        let is_hash = matches!(bytes[at + 25], 2 | 13);
        std::fs::write(&file, &changed).unwrap();
        let found = read(tree.path());
        let is_refused =
            matches!(&found, Packages::Unreadable { why, .. } if why.contains("is used twice"));
        assert!(is_refused || !is_hash && found.list().len() == 10, "page {page}: {found:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    /// No panic, and no endless loop.
    #[test]
    fn a_database_with_changed_bytes_is_read_or_refused(
        format in 0..SMALL.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(),
            prop_oneof![any::<u32>(), 0_u32..300, Just(u32::MAX)]), 1..4),
    ) {
        static FILES: Mutex<Vec<Option<Small>>> = Mutex::new(Vec::new());
        let mut files = FILES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if files.is_empty() {
            files.extend(SMALL.map(small));
        }
        let Some((tree, bytes)) = &files[format] else { return Ok(()) };
        let mut changed = bytes.clone();
        for (place, is_early, word) in changes {
            // Half of the changes are in the first pages, which describe the others.
            let range = if is_early { 1024 } else { changed.len() - 4 };
            let at = place.index(range) / 2 * 2;
            changed[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        let name = SMALL[format].file();
        std::fs::write(tree.path().join("var/lib/rpm").join(name), &changed).unwrap();
        match read(tree.path()) {
            Packages::Read { packages, .. } => prop_assert!(packages.len() <= 11),
            Packages::Unreadable { why, .. } => prop_assert!(why.starts_with(name), "{why}"),
            Packages::Absent => prop_assert!(false, "the rpmdb exists"),
        }
    }
}
