//! Reads a tarball, anyone's, strictly: what two readers could understand in two ways is an error
//! or an [`Irregularity`], never a guess.
//!
//! One pass, bounded memory: no length in the archive is believed before its bytes are there, and
//! all that is kept has a cap. [`source`] undoes the compression, [`header`] reads the fixed
//! fields, [`records`] the PAX ones, [`map`] the forms of sparse files, [`member`] puts together
//! what is known of a member.

mod header;
mod irregularity;
mod joined;
mod looks;
mod map;
mod member;
mod records;
mod source;

pub use crate::entry::{Entry, Extent, Kind, Time};
pub use crate::error::Damaged;
pub use irregularity::Irregularity;

use crate::error::{Context, Error, Reason, Result};
use crate::format::Format;
use header::Block;
use member::{Extensions, Extra};
use records::Records;
use sha2::{Digest, Sha256};
use source::Source;
use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::sync::Arc;

/// More members than any OS has, and as many hashes of names as are kept.
const MOST_MEMBERS: usize = 1 << 22;
/// How many irregularities are kept; all are counted.
const SHOWN: usize = 100;
/// The longest name in a member of its own; the kernel takes 4,096 bytes at once.
const LONGEST_NAME: u64 = 1 << 20;
/// What is moved at once.
const WINDOW: usize = 1 << 16;

/// A stretch of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// Bytes as they are.
    Data(&'a [u8]),
    /// So many zeros that the archive does not hold.
    Hole(u64),
}

/// An archive that is read from its beginning to its end.
pub struct Reader<'a> {
    source: Source<'a>,
    global: Records,
    /// Bytes of the present member that were not read yet, and how many fill up its last block.
    left: u64,
    padding: u64,
    size: u64,
    sparse: Option<Arc<[Extent]>>,
    ended: bool,
    hasher: RandomState,
    names: HashSet<u64>,
    irregular: Vec<(Irregularity, Vec<u8>)>,
    irregularities: u64,
    window: Vec<u8>,
}

/// SHA-256 of an archive without its compression, in lower-case hexadecimal. `check` is called
/// often, and its error ends the reading.
///
/// # Errors
/// When the archive cannot be read or unpacked, and when `check` fails.
pub fn digest<E: From<Error>>(
    file: impl Read,
    check: &dyn Fn() -> Result<(), E>,
) -> Result<String, E> {
    let mut source = Source::new(file)?;
    let mut sum = Sha256::new();
    let mut window = vec![0; WINDOW];
    loop {
        check()?;
        match source.read(&mut window).context("unpacking the archive")? {
            0 => return Ok(hex::encode(sum.finalize())),
            count => sum.update(window.get(..count).unwrap_or_default()),
        }
    }
}

impl fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("format", &self.format())
            .field("offset", &self.source.offset())
            .finish_non_exhaustive()
    }
}

impl<'a> Reader<'a> {
    /// Begins to read; the compression is told by the first bytes.
    ///
    /// # Errors
    /// Fails when there are none or they cannot be read.
    pub fn new(source: impl Read + 'a) -> Result<Self> {
        Ok(Self {
            source: Source::new(source)?,
            global: Records::default(),
            left: 0,
            padding: 0,
            size: 0,
            sparse: None,
            ended: false,
            hasher: RandomState::new(),
            names: HashSet::new(),
            irregular: Vec::new(),
            irregularities: 0,
            window: vec![0; WINDOW],
        })
    }

    /// How the tarball is compressed, whatever its name says.
    #[must_use]
    pub fn format(&self) -> Format {
        self.source.format()
    }

    /// Bytes of the archive that were read so far, before compression.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.source.offset()
    }

    /// The first of what is not right so far, each with the name of its member.
    #[must_use]
    pub fn irregular(&self) -> &[(Irregularity, Vec<u8>)] {
        &self.irregular
    }

    /// How much is not right so far.
    #[must_use]
    pub fn irregularities(&self) -> u64 {
        self.irregularities
    }

    /// The next member, whatever is left of the one before; none at the archive's end, when the
    /// whole file was read and found sound.
    ///
    /// # Errors
    /// Fails with [`Damaged`] in the chain when the archive is cut off, altered or not understood,
    /// else when it cannot be read.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator could not lend the content of its items"
    )]
    pub fn next(&mut self) -> Result<Option<Entry>> {
        if self.ended {
            return Ok(None);
        }
        self.skip()?;
        let begin = self.source.offset();
        let mut extra = Extensions::default();
        loop {
            let Some(block) = self.source.block()? else {
                return Err(self
                    .source
                    .damaged("it is cut off: the two empty blocks at its end are missing"));
            };
            if block.iter().all(|byte| *byte == 0) {
                if !extra.is_empty() {
                    return Err(self.source.damaged("no member follows an extended header"));
                }
                self.end()?;
                return Ok(None);
            }
            let block = Block::new(block).map_err(|why| self.source.damaged_at(why))?;
            match Extra::of(block.flag()) {
                Some(Extra::Record) => extra.records.read(&mut self.source, &block)?,
                Some(Extra::Global) => self.global.read(&mut self.source, &block)?,
                Some(Extra::Name) => extra.name = Some(self.long_name(&block)?),
                Some(Extra::Link) => extra.link = Some(self.long_name(&block)?),
                Some(Extra::Volume) => self.note(Irregularity::Volume, &block.name()),
                None => return self.member(begin, &block, extra).map(Some),
            }
        }
    }

    /// Gives the present member's content, or what is left of it, to `take`.
    ///
    /// # Errors
    /// Fails as [`Reader::next`], and when `take` does.
    pub fn content<E: From<Error>>(
        &mut self,
        mut take: impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(extents) = self.sparse.take() else {
            let left = self.left;
            return self.stored(left, &mut take);
        };
        let mut position = 0;
        for extent in extents.iter() {
            if extent.offset > position {
                take(Part::Hole(extent.offset - position))?;
            }
            self.stored(extent.length, &mut take)?;
            position = extent.offset + extent.length;
        }
        if self.size > position { take(Part::Hole(self.size - position)) } else { Ok(()) }
    }

    /// The whole content of the present member.
    ///
    /// # Errors
    /// Fails when it is longer than `limit`, and as [`Reader::next`].
    pub fn content_within(&mut self, limit: usize) -> Result<Vec<u8>> {
        if self.size > limit as u64 {
            return Err(Error::new(Reason::TooLong { size: self.size, limit: limit as u64 })
                .context("reading a member"));
        }
        let mut whole = Vec::new();
        self.content(|part| {
            match part {
                Part::Data(bytes) => whole.extend_from_slice(bytes),
                Part::Hole(count) => whole.resize(whole.len() + usize::try_from(count)?, 0),
            }
            Ok::<(), Error>(())
        })?;
        Ok(whole)
    }

    fn stored<E: From<Error>>(
        &mut self,
        mut count: u64,
        take: &mut dyn FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while count > 0 {
            let want = WINDOW.min(usize::try_from(count).unwrap_or(WINDOW));
            let part = self.window.get_mut(..want).unwrap_or_default();
            self.source.exact(part)?;
            self.left = self.left.saturating_sub(want as u64);
            count -= want as u64;
            take(Part::Data(part))?;
        }
        Ok(())
    }

    /// Passes over what is left of the present member.
    fn skip(&mut self) -> Result<()> {
        let rest = std::mem::take(&mut self.left).checked_add(std::mem::take(&mut self.padding));
        self.sparse = None;
        match rest {
            Some(rest) => self.source.skip(rest),
            None => Err(self.source.damaged("a member's size is out of range")),
        }
    }

    fn long_name(&mut self, block: &Block) -> Result<Vec<u8>> {
        let size = block.size().map_err(|why| self.source.damaged_at(why))?;
        let mut name = self.source.whole(size, LONGEST_NAME, "a long name")?;
        if let Some(end) = name.iter().position(|byte| *byte == 0) {
            name.truncate(end);
        }
        Ok(name)
    }

    fn member(&mut self, begin: u64, block: &Block, extra: Extensions) -> Result<Entry> {
        let member = member::assemble(begin, block, &self.global, extra, &mut self.source)?;
        self.left = member.left;
        self.padding = member.padding;
        self.size = member.entry.size;
        self.sparse.clone_from(&member.entry.sparse);
        for irregularity in member.irregular {
            self.note(irregularity, &member.entry.path);
        }
        self.check_names(&member.entry)?;
        Ok(member.entry)
    }

    fn check_names(&mut self, entry: &Entry) -> Result<()> {
        let is_link = entry.kind == Kind::HardLink;
        for name in std::iter::once(&entry.path).chain(is_link.then_some(&entry.link)) {
            if name.first() == Some(&b'/') {
                self.note(Irregularity::Absolute, name);
            }
            if name.split(|byte| *byte == b'/').any(|part| part == b"..") {
                self.note(Irregularity::Upwards, name);
            }
        }
        if is_link && !self.names.contains(&self.hash(&entry.link)) {
            self.note(Irregularity::Dangling, &entry.path);
        }
        if self.names.len() >= MOST_MEMBERS {
            return Err(self.source.damaged(&format!("it has more than {MOST_MEMBERS} members")));
        }
        if !self.names.insert(self.hash(&entry.path)) {
            self.note(Irregularity::Duplicate, &entry.path);
        }
        Ok(())
    }

    /// Of a name what it is unpacked to, however it is written.
    fn hash(&self, name: &[u8]) -> u64 {
        self.hasher.hash_one(
            name.split(|byte| *byte == b'/')
                .filter(|part| !part.is_empty() && *part != b".")
                .collect::<Vec<_>>(),
        )
    }

    /// After the first of the two empty blocks.
    fn end(&mut self) -> Result<()> {
        match self.source.block()? {
            Some(block) if block.iter().all(|byte| *byte == 0) => {}
            Some(_) => return Err(self.source.damaged("a single empty block is in it")),
            None => {
                return Err(self
                    .source
                    .damaged("it is cut off: the second empty block at its end is missing"));
            }
        }
        if self.source.rest_is_other_than_zeros()? {
            self.note(Irregularity::Trailing, b"");
        }
        self.ended = true;
        Ok(())
    }

    fn note(&mut self, irregularity: Irregularity, name: &[u8]) {
        self.irregularities += 1;
        if self.irregular.len() < SHOWN {
            self.irregular.push((irregularity, name.to_vec()));
        }
    }
}
