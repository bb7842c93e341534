//! Writes the members of a tree on the tape.

use super::describe::{Described, Describer};
use super::entry::{Entry, Extent, Kind};
use super::error::{Context, Error, Reason, Result};
use super::labels::LabelSource;
use super::options::{Options, Progress};
use super::pax;
use super::pool::Pool;
use super::shown::shown;
use super::sparse;
use super::summary::Summary;
use super::tape::Tape;
use super::walk::{Found, Walk};
use crate::attributes::{Dropped, Handle};
use nix::sys::stat::fstat;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The progress of larger files is reported while they are read.
const LARGE: u64 = 1 << 20;
/// The longest list of paths in a summary.
const SHOWN: usize = 100;
/// The longest beginning of a path in a warning, in bytes.
const LONGEST_SHOWN: usize = 200;
/// The longest path that Linux accepts at once, without its NUL: GNU tar unpacks no longer one.
const LONGEST_PATH: usize = 4095;

/// Packs the tree and waits until every output is complete.
pub(super) fn pack(tree: &Path, pool: &Pool<'_>, options: &Options<'_>) -> Result<Summary> {
    let mut walk = Walk::new(tree)?;
    let mut describer = Describer::new(options.overrides, options.source_date_epoch);
    describer.capabilities(options.capabilities);
    let mut packing = Packing {
        tape: Tape::new(pool),
        options,
        summary: Summary::default(),
        notes: BTreeMap::new(),
        header: Vec::new(),
        scratch: Vec::new(),
    };
    while let Some(found) = walk.next()? {
        let at = || format!("packing {}", shown(&found.path));
        match describer.describe(&found).with_context(at)? {
            Some(described) => packing.add(&found, described).with_context(at)?,
            None => packing.leave_out_socket(&found.path),
        }
        packing.report()?;
    }
    packing.finish()
}

struct Packing<'p, 'a, 'o> {
    tape: Tape<'p, 'a>,
    options: &'o Options<'o>,
    summary: Summary,
    /// Warnings that are given once with a count: how often, and the first path.
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
    Capability,
    Socket,
}

impl Packing<'_, '_, '_> {
    fn add(&mut self, found: &Found, described: Described) -> Result<()> {
        let Described { mut entry, repeated, relabelled, foreign_capability, dropped } = described;
        if entry.path.len() > LONGEST_PATH {
            self.note(Note::Deep, &found.path);
        }
        if repeated {
            self.note(Note::Repeated, &found.path);
        }
        if relabelled {
            self.note(Note::Relabelled, &found.path);
        }
        for Dropped { prefix, reason } in dropped {
            if !reason.is_empty() {
                self.note(Note::Attribute(prefix, reason), &found.path);
            }
        }
        if foreign_capability {
            self.note(Note::Capability, &found.path);
        }
        if entry.kind != Kind::HardLink {
            self.count_label(&entry, &found.path);
        }
        match (entry.kind, &found.handle) {
            (Kind::File, Handle::Open(file)) => self.put_file(&mut entry, found, file),
            _ => self.put(&entry),
        }
    }

    fn leave_out_socket(&mut self, path: &[u8]) {
        self.note(Note::Socket, path);
        self.summary.sockets.push(absolute(path));
    }

    fn count_label(&mut self, entry: &Entry, path: &[u8]) {
        if self.options.overrides.labels.source() == LabelSource::Nowhere {
            return;
        }
        if entry.label.is_some() {
            self.summary.labels += 1;
        } else {
            self.summary.unlabelled += 1;
            if self.summary.unlabelled_paths.len() < SHOWN {
                self.summary.unlabelled_paths.push(absolute(path));
            }
        }
    }

    /// Puts a member's header, and of a sparse file the map.
    fn put(&mut self, entry: &Entry) -> Result<()> {
        self.header.clear();
        pax::write(entry, &mut self.header)?;
        self.summary.entries += 1;
        self.tape.begin(&entry.path);
        self.tape.put(&self.header)
    }

    fn put_file(&mut self, entry: &mut Entry, found: &Found, file: &File) -> Result<()> {
        let size = entry.size;
        if sparse::may_have_holes(&found.stat) {
            let map = sparse::map_of_file(file, size, &mut self.scratch, &|| stop(self.options));
            let map = map.map_err(|error| {
                if ended_early(&error) {
                    Reason::Changed.into()
                } else {
                    error.context("looking for holes")
                }
            });
            entry.sparse = map?.map(Into::into);
        }
        self.put(entry)?;
        match &entry.sparse {
            None => self.copy(file, Extent { offset: 0, length: size })?,
            Some(extents) => {
                for extent in extents.iter() {
                    self.copy(file, *extent)?;
                }
            }
        }
        self.tape.align()?;
        let (before, after) = (&found.stat, fstat(file)?);
        if (after.st_size, after.st_mtime, after.st_mtime_nsec)
            != (before.st_size, before.st_mtime, before.st_mtime_nsec)
        {
            return Err(Reason::Changed.into());
        }
        Ok(())
    }

    /// Puts a part of the file. Every read names its place, since the search for holes moves the
    /// file's own position.
    fn copy(&mut self, file: &File, extent: Extent) -> Result<()> {
        let Extent { mut offset, length } = extent;
        let end = offset + length;
        while offset < end {
            match self.tape.pull(end - offset, |room| file.read_at(room, offset))? {
                Ok(0) => return Err(Reason::Changed.into()),
                Ok(count) => offset += count as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("reading it"),
            }
            if length > LARGE {
                self.report()?;
            }
        }
        Ok(())
    }

    fn report(&self) -> Result<()> {
        (self.options.progress)(Progress {
            entries: self.summary.entries,
            bytes: self.tape.bytes(),
        });
        stop(self.options)
    }

    fn note(&mut self, note: Note, path: &[u8]) {
        self.notes.entry(note).or_insert_with(|| (0, path.to_vec())).0 += 1;
    }

    fn finish(self) -> Result<Summary> {
        let Self { tape, options, mut summary, notes, .. } = self;
        (summary.bytes, summary.sha256) = tape.finish()?;
        (options.progress)(Progress { entries: summary.entries, bytes: summary.bytes });
        summary.warnings =
            notes.into_iter().map(|(note, (count, path))| note.text(count, &path)).collect();
        Ok(summary)
    }
}

impl Note {
    fn text(&self, count: u64, path: &[u8]) -> String {
        let first = match path.get(..LONGEST_SHOWN) {
            Some(beginning) => format!("{}...", shown(beginning)),
            None => shown(path),
        };
        let place = if count > 1 { format!("{first} and {} more", count - 1) } else { first };
        match self {
            Self::Attribute(prefix, reason) => {
                format!("leaving out extended attributes {prefix}*, because {reason}: {place}")
            }
            Self::Repeated => format!(
                "repeating the content of hard links that would cross into another partition: \
                 {place}"
            ),
            Self::Relabelled => format!(
                "giving hard links one label although their names have different ones: {place}"
            ),
            Self::Capability => format!(
                "packing file capabilities that are valid only in the user namespace of a \
                 container: {place}"
            ),
            Self::Socket => format!("leaving out sockets, which an archive cannot hold: {place}"),
            Self::Deep => format!(
                "packing paths over {LONGEST_PATH} bytes, which GNU tar cannot unpack: {place}"
            ),
        }
    }
}

fn stop(options: &Options<'_>) -> Result<()> {
    if (options.cancelled)() { Err(Reason::Stopped.into()) } else { Ok(()) }
}

fn ended_early(error: &Error) -> bool {
    matches!(error.reason(), Reason::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof)
}

fn absolute(path: &[u8]) -> PathBuf {
    let mut whole = OsString::from("/");
    whole.push(OsStr::from_bytes(path));
    PathBuf::from(whole)
}
