//! Takes members as they come: lists them, keeps the small files, puts the rpmdb aside and has
//! contents digested.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use tempfile::TempDir;

use super::hashing::Hasher;
use super::kept::{self, RPMDB};
use super::member::{Known, Member, stored};
use super::paths::normal;
use super::{Contents, Kind, Options, rpmdb};
use crate::archive::read::{Entry, Part};
use crate::error::{ExitCode, Failure, Result};
use anyhow::Context;

/// The most memory for the list of members: enough for four million; a usual system needs a
/// hundredth.
const MOST_MEMORY: u64 = 1 << 30;
/// The longest holes of a file that are digested as zeros: a claim of exabytes costs an archive
/// nothing.
const LONGEST_HOLES: u64 = 1 << 30;
/// The largest file of an rpmdb.
const LARGEST_RPMDB: u64 = 1 << 30;

/// Gives a member's content, part by part, to whoever is named.
type Content<'c> = &'c mut dyn FnMut(&mut dyn FnMut(Part<'_>) -> Result<()>) -> Result<()>;

pub(super) struct Gather {
    members: Vec<Member>,
    known: Known,
    files: BTreeMap<Vec<u8>, Vec<u8>>,
    kept: u64,
    memory: u64,
    hasher: Hasher,
    databases: [Option<TempDir>; RPMDB.len()],
    sizes: u64,
}

impl Gather {
    pub(super) fn new(options: &Options<'_>) -> Result<Self> {
        Ok(Self {
            members: Vec::new(),
            known: Known::default(),
            files: BTreeMap::new(),
            kept: 0,
            memory: 0,
            hasher: Hasher::new(options.digests)?,
            databases: Default::default(),
            sizes: 0,
        })
    }

    pub(super) fn member(&mut self, entry: Entry, content: Content<'_>) -> Result<()> {
        let path = normal(&entry.path);
        let number = self.members.len();
        if entry.kind == Kind::File {
            let holes = entry.size - stored(&entry);
            let hashed = self.hasher.is_on() && holes <= LONGEST_HOLES;
            let mut text = self.is_kept(&entry, &path).then(Vec::new);
            let mut aside = self.aside(&entry, &path)?;
            if hashed || text.is_some() || aside.is_some() {
                let hasher = &mut self.hasher;
                content(&mut |part| {
                    if let (Some(text), Part::Data(bytes)) = (&mut text, part) {
                        text.extend_from_slice(bytes);
                    }
                    if let Some(file) = &mut aside {
                        put_aside(file, part).context("putting the rpmdb aside")?;
                    }
                    match part {
                        Part::Data(bytes) if hashed => hasher.data(bytes),
                        Part::Hole(count) if hashed => hasher.zeros(count),
                        _ => Ok(()),
                    }
                })?;
            }
            if hashed {
                self.hasher.end(number)?;
            }
            if let Some(text) = text {
                self.kept += text.len() as u64;
                self.files.insert(path.clone(), text);
            }
        } else {
            self.files.remove(&path);
        }
        let (member, memory) = self.known.member(entry);
        self.memory += memory;
        if self.memory > MOST_MEMORY {
            let what = format!(
                "listing the archive: its members need more than {} MiB of memory",
                MOST_MEMORY >> 20
            );
            return Err(Failure::new(ExitCode::Space, what)
                .hint("it is not an image of an operating system, or has too many files")
                .into());
        }
        self.members.push(member);
        Ok(())
    }

    fn is_kept(&self, entry: &Entry, path: &[u8]) -> bool {
        entry.sparse.is_none()
            && entry.size <= kept::LARGEST
            && self.kept + entry.size <= kept::MOST
            && kept::is_kept(path)
    }

    /// Where a file of an rpmdb is put.
    fn aside(&mut self, entry: &Entry, path: &[u8]) -> Result<Option<File>> {
        let Some((directory, name)) = kept::rpmdb(path) else { return Ok(None) };
        if !rpmdb::is_wanted(name) || self.sizes + entry.size > LARGEST_RPMDB {
            return Ok(None);
        }
        self.sizes += entry.size;
        let Some(database) = self.databases.get_mut(directory) else { return Ok(None) };
        let database = match database {
            Some(database) => database,
            None => database.insert(
                tempfile::Builder::new()
                    .prefix("osimg-rpmdb-")
                    .tempdir()
                    .context("making a temporary directory")?,
            ),
        };
        let place = database.path().join(name);
        Ok(Some(File::create(&place).with_context(|| format!("making {}", place.display()))?))
    }

    pub(super) fn finish(mut self) -> Result<Contents> {
        for (number, digest) in self.hasher.finish()? {
            if let Some(member) = self.members.get_mut(number) {
                member.sha256 = Some(digest);
            }
        }
        let mut index: Vec<u32> = (0..u32::try_from(self.members.len())?).collect();
        let path = |number: &u32| self.members.get(*number as usize).map(|member| &member.path);
        index.sort_unstable_by(|a, b| path(a).cmp(&path(b)).then(a.cmp(b)));
        let mut contents = Contents {
            stored: None,
            members: self.members,
            irregular: Vec::new(),
            irregularities: 0,
            packages: rpmdb::Packages::Absent,
            index,
            files: self.files,
        };
        contents.packages = rpmdb::read(|path| contents.find(path).is_some(), &self.databases);
        Ok(contents)
    }
}

#[expect(clippy::disallowed_methods, reason = "the size of an rpmdb is bounded")]
fn put_aside(file: &mut File, part: Part<'_>) -> std::io::Result<()> {
    match part {
        Part::Data(bytes) => file.write_all(bytes),
        // The size of an rpmdb's files is bounded, holes included.
        Part::Hole(count) => std::io::copy(&mut std::io::repeat(0).take(count), file).map(|_| ()),
    }
}

/// The content of a file of a tree.
pub(super) fn content_of(
    mut file: &File,
    take: &mut dyn FnMut(Part<'_>) -> Result<()>,
) -> Result<()> {
    let failed = |error| anyhow::Error::from(error).context("reading a file of the tree");
    crate::files::read_chunks(&mut file, failed, |bytes| take(Part::Data(bytes))).map(|_| ())
}
