//! Turns what the walk finds into members on the tape.

use super::attributes::{self, Attributes, Dropped, Handle};
use super::labels::LabelSource;
use super::links::{First, Link, Links};
use super::pax::{self, Kind, Member, Time};
use super::pool::Pool;
use super::sparse::{self, Extent};
use super::stopped::Stopped;
use super::tape::Tape;
use super::walk::{Entry, Walk, changed, shown};
use super::{Options, Progress, Summary};
use crate::error::{ExitCode, Failure, Result};
use anyhow::Context;
use nix::fcntl::readlinkat;
use nix::sys::stat::{FileStat, SFlag, fstat, major, minor};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Files up to this size are read once and looked through in memory; larger ones are read a second
/// time when their holes are known.
const IN_MEMORY: u64 = 1 << 20;
/// How many paths a list for people holds.
const SHOWN: usize = 100;
/// How many bytes of a path a warning shows.
const LONGEST_SHOWN: usize = 200;
/// The longest path that Linux takes at once, without its NUL: GNU tar unpacks nothing beyond.
const LONGEST_PATH: usize = 4095;

/// Packs the tree and waits until every output is whole.
pub(super) fn pack(tree: &Path, pool: &Pool<'_>, options: &Options<'_>) -> Result<Summary> {
    let mut walk = Walk::new(tree)?;
    let mut packing = Packing {
        tape: Tape::new(pool),
        options,
        links: Links::default(),
        summary: Summary::default(),
        notes: BTreeMap::new(),
        header: Vec::new(),
        scratch: Vec::new(),
    };
    while let Some(entry) = walk.next()? {
        packing.add(&entry).with_context(|| format!("packing {}", shown(&entry.path)))?;
        packing.tell()?;
    }
    packing.finish()
}

struct Packing<'p, 'a, 'o> {
    tape: Tape<'p, 'a>,
    options: &'o Options<'o>,
    links: Links,
    summary: Summary,
    /// What is told once with a count: how often, and the first path.
    notes: BTreeMap<Note, (u64, Vec<u8>)>,
    header: Vec<u8>,
    scratch: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Note {
    Attribute(&'static str, &'static str),
    Repeated,
    Relabelled,
    Deep,
    Socket,
}

/// What is known of an entry before its header is written.
struct Known<'e> {
    entry: &'e Entry,
    name: Vec<u8>,
    kind: Kind,
    target: Vec<u8>,
    label: Option<Vec<u8>>,
    attributes: Attributes,
}

impl Packing<'_, '_, '_> {
    fn add(&mut self, entry: &Entry) -> Result<()> {
        let Some(kind) = kind_of(entry)? else {
            self.note(Note::Socket, &entry.path);
            self.summary.sockets.push(absolute(&entry.path));
            return Ok(());
        };
        let name = member_name(&entry.path, kind);
        if name.len() > LONGEST_PATH {
            self.note(Note::Deep, &entry.path);
        }
        let several = kind != Kind::Directory && entry.stat.st_nlink > 1;
        if several {
            match self.links.of(entry.stat.st_dev, entry.stat.st_ino, &entry.path) {
                Link::PointsTo(first) => {
                    let target = first.name.clone();
                    if self.options.told.labels.source() == LabelSource::Computed && first.label != self.computed_label(entry) {
                        self.note(Note::Relabelled, &entry.path);
                    }
                    let attributes = Attributes::default();
                    return self.put(&Known { entry, name, kind: Kind::HardLink, target, label: None, attributes }, 0, None);
                }
                Link::Repeats => self.note(Note::Repeated, &entry.path),
                Link::Carries => {}
            }
        }
        let mut attributes = attributes::read(&entry.handle)?;
        for Dropped { prefix, reason } in attributes.dropped.drain(..) {
            if !reason.is_empty() {
                self.note(Note::Attribute(prefix, reason), &entry.path);
            }
        }
        let label = self.label(entry, &mut attributes);
        if several {
            let first = First { name: name.clone(), label: label.clone() };
            self.links.remember(entry.stat.st_dev, entry.stat.st_ino, &entry.path, first);
        }
        let target = match (kind, &entry.handle) {
            (Kind::Symlink, Handle::Place(fd)) => readlinkat(fd, c"").context("reading the link")?.into_vec(),
            _ => Vec::new(),
        };
        let known = Known { entry, name, kind, target, label, attributes };
        match (kind, &entry.handle) {
            (Kind::File, Handle::Open(file)) => self.put_file(&known, file),
            _ => self.put(&known, 0, None),
        }
    }

    fn computed_label(&self, entry: &Entry) -> Option<Vec<u8>> {
        self.options.told.labels.label(&[b"/", entry.path.as_slice()].concat(), entry.stat.st_mode)
    }

    fn label(&mut self, entry: &Entry, attributes: &mut Attributes) -> Option<Vec<u8>> {
        let label = match self.options.told.labels.source() {
            LabelSource::Nowhere => return None,
            LabelSource::Tree => attributes.label.take(),
            LabelSource::Computed => self.computed_label(entry),
        };
        if label.is_some() {
            self.summary.labels += 1;
        } else {
            self.summary.unlabelled += 1;
            if self.summary.unlabelled_paths.len() < SHOWN {
                self.summary.unlabelled_paths.push(absolute(&entry.path));
            }
        }
        label
    }

    /// Puts a member's header; `size` bytes are to follow.
    fn put(&mut self, known: &Known<'_>, size: u64, sparse_size: Option<u64>) -> Result<()> {
        let Known { entry, name, kind, target, label, attributes } = known;
        let stat = &entry.stat;
        let (uid, gid) = self.options.told.owner(stat);
        let device = if matches!(kind, Kind::Character | Kind::Block) { stat.st_rdev } else { 0 };
        let member = Member {
            name,
            kind: *kind,
            link: target,
            mode: stat.st_mode,
            uid,
            gid,
            modified: modified(stat, self.options.source_date_epoch),
            size,
            sparse_size,
            major: major(device),
            minor: minor(device),
            attributes,
            label: label.as_deref(),
        };
        self.header.clear();
        pax::write(&member, &mut self.header)?;
        self.summary.entries += 1;
        self.tape.put(&self.header)
    }

    fn put_file(&mut self, known: &Known<'_>, file: &File) -> Result<()> {
        let size = u64::try_from(known.entry.stat.st_size).context("reading its size")?;
        if size < sparse::SHORTEST_HOLE {
            self.put(known, size, None)?;
            self.copy(file, Extent { offset: 0, length: size })?;
        } else if size <= IN_MEMORY {
            let mut content = std::mem::take(&mut self.scratch);
            content.clear();
            let read = { file }.take(size).read_to_end(&mut content)?;
            if read as u64 != size {
                return Err(changed());
            }
            match sparse::map_of_bytes(&content) {
                None => {
                    self.put(known, size, None)?;
                    self.tape.put(&content)?;
                }
                Some(extents) => {
                    self.put_map(known, &extents, size)?;
                    for Extent { offset, length } in extents {
                        let range = usize::try_from(offset)?..usize::try_from(offset + length)?;
                        self.tape.put(content.get(range).unwrap_or_default())?;
                    }
                }
            }
            self.scratch = content;
        } else {
            let map = sparse::map_of_file(file, size, &mut self.scratch, &|| stop(self.options));
            match map.map_err(|error| if ended_early(&error) { changed() } else { error.context("looking for holes") })? {
                None => {
                    self.put(known, size, None)?;
                    self.copy(file, Extent { offset: 0, length: size })?;
                }
                Some(extents) => {
                    self.put_map(known, &extents, size)?;
                    for extent in extents {
                        self.copy(file, extent)?;
                    }
                }
            }
        }
        self.tape.align()?;
        let after = fstat(file)?;
        let before = &known.entry.stat;
        if (after.st_size, after.st_mtime, after.st_mtime_nsec) != (before.st_size, before.st_mtime, before.st_mtime_nsec) {
            return Err(changed());
        }
        Ok(())
    }

    /// Puts the header and the map of a sparse file.
    fn put_map(&mut self, known: &Known<'_>, extents: &[Extent], size: u64) -> Result<()> {
        let map = sparse::written(extents, size);
        let data: u64 = extents.iter().map(|extent| extent.length).sum();
        self.put(known, (map.len() as u64).next_multiple_of(super::tape::RECORD) + data, Some(size))?;
        self.tape.put(&map)?;
        self.tape.align()
    }

    /// Puts a part of the file. The place is given to every read, since looking for holes moves the
    /// file's own.
    fn copy(&mut self, file: &File, extent: Extent) -> Result<()> {
        let Extent { mut offset, length } = extent;
        let end = offset + length;
        while offset < end {
            match self.tape.pull(end - offset, |room| file.read_at(room, offset))? {
                Ok(0) => return Err(changed()),
                Ok(count) => offset += count as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("reading it"),
            }
            if length > IN_MEMORY {
                self.tell()?;
            }
        }
        Ok(())
    }

    fn tell(&self) -> Result<()> {
        (self.options.progress)(Progress { entries: self.summary.entries, bytes: self.tape.bytes() });
        stop(self.options)
    }

    fn note(&mut self, note: Note, path: &[u8]) {
        self.notes.entry(note).or_insert_with(|| (0, path.to_vec())).0 += 1;
    }

    fn finish(self) -> Result<Summary> {
        let Self { tape, options, mut summary, notes, .. } = self;
        (summary.bytes, summary.sha256) = tape.finish()?;
        (options.progress)(Progress { entries: summary.entries, bytes: summary.bytes });
        summary.warnings = notes.into_iter().map(|(note, (count, path))| note.told(count, &path)).collect();
        Ok(summary)
    }
}

impl Note {
    fn told(&self, count: u64, path: &[u8]) -> String {
        let first = match path.get(..LONGEST_SHOWN) {
            Some(beginning) => format!("{}...", shown(beginning)),
            None => shown(path),
        };
        let place = if count > 1 { format!("{first} and {} more", count - 1) } else { first };
        match self {
            Self::Attribute(prefix, reason) => format!("leaving extended attributes {prefix}* out, since {reason}: {place}"),
            Self::Repeated => format!("repeating the content of hard links that would cross into another partition: {place}"),
            Self::Relabelled => format!("giving hard links one label although their names have different ones: {place}"),
            Self::Socket => format!("leaving sockets out, which no archive can hold: {place}"),
            Self::Deep => format!("packing paths over {LONGEST_PATH} bytes, which GNU tar cannot unpack: {place}"),
        }
    }
}

fn stop(options: &Options<'_>) -> Result<()> {
    if (options.cancelled)() { Err(Stopped.into()) } else { Ok(()) }
}

fn ended_early(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::UnexpectedEof)
}

/// What the archive calls an entry; none of a socket, which it cannot hold.
pub(super) fn kind_of(entry: &Entry) -> Result<Option<Kind>> {
    Ok(Some(match entry.kind() {
        SFlag::S_IFREG => Kind::File,
        SFlag::S_IFDIR => Kind::Directory,
        SFlag::S_IFLNK => Kind::Symlink,
        SFlag::S_IFCHR => Kind::Character,
        SFlag::S_IFBLK => Kind::Block,
        SFlag::S_IFIFO => Kind::Fifo,
        SFlag::S_IFSOCK => return Ok(None),
        other => return Err(Failure::new(ExitCode::Unexpected, format!("its type {:o} is unknown", other.bits())).into()),
    }))
}

/// The path inside the tree as a member's name.
pub(super) fn member_name(path: &[u8], kind: Kind) -> Vec<u8> {
    let mut name = [b"./", path].concat();
    if kind == Kind::Directory && !path.is_empty() {
        name.push(b'/');
    }
    name
}

fn absolute(path: &[u8]) -> PathBuf {
    let mut whole = OsString::from("/");
    whole.push(OsStr::from_bytes(path));
    PathBuf::from(whole)
}

/// The time that the archive tells: as on disk, or no later than the epoch given and in whole
/// seconds.
fn modified(stat: &FileStat, latest: Option<i64>) -> Time {
    match latest {
        Some(latest) => Time { seconds: stat.st_mtime.min(latest), nanoseconds: 0 },
        None => Time { seconds: stat.st_mtime, nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) },
    }
}
