//! Step 5: a tree becomes tarballs, the same bytes every time, in one pass and on every core.
//!
//! The way of a byte: [`walk`] finds the file, [`attributes`] and [`labels`] say what is known of
//! it, [`pax`] writes its header, [`sparse`] finds its holes, [`pack`] puts all that on the
//! [`tape`], which cuts it into blocks for each output; the [`pool`]'s threads pack the blocks
//! ([`compress`]: [`gzip`], [`bzip2`], [`xz`]; [`probe`]) and each [`sink`] joins, hashes and
//! writes them.
//!
//! What is promised: members start with `./`, depth first, sorted bytewise; numeric owners and
//! ACLs; holes found by content; nothing in the bytes depends on the number of jobs, the file
//! system, the umask, the locale or the time zone. GNU tar as Anaconda calls it unpacks everything
//! that the tree has but sockets, inode flags and what belongs to the build host.

mod attributes;
mod buffer;
mod bzip2;
mod compare;
mod compress;
mod digest;
mod format;
mod gzip;
mod labels;
mod links;
mod memory;
mod pack;
mod pax;
mod pool;
mod probe;
pub mod read;
mod scan;
mod signature;
mod sink;
mod sparse;
mod stopped;
mod tape;
mod walk;
mod xz;

pub use compare::first_difference;
pub use format::{Format, Level};
pub use labels::{FromTree, Labels, NoLabels};
pub use memory::parse_size;
pub use scan::scan_tree;

use crate::error::{ExitCode, Failure, Result};
use anyhow::Context;
use pool::{Lane, Pool, StopOnPanic};
use serde::{Serialize, Serializer};
use std::fmt;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use stopped::Stopped;

/// The number of the promise that the same tree gives the same bytes: raised whenever any tree
/// comes out otherwise at the same level, be it by the order or form of its members, the size of
/// the blocks, or what a compressor makes of them.
pub const VERSION: u32 = 2;

/// One tarball to be written.
pub struct Output<'a> {
    /// How it is compressed.
    pub format: Format,
    /// Where it goes. It is flushed at the end; syncing it to the disk is the caller's business.
    pub sink: Box<dyn Write + Send + 'a>,
}

impl fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("format", &self.format).finish_non_exhaustive()
    }
}

/// User and group ids by a file's device and inode.
pub type Owners = std::collections::HashMap<(u64, u64), (u32, u32)>;

/// What is said of the tree's files instead of what the tree says itself.
#[derive(Clone, Copy)]
pub struct Told<'a> {
    /// Their labels.
    pub labels: &'a dyn Labels,
    /// Their owners, where the file system owns every file alike; a file that is missing there is
    /// root's.
    pub owners: Option<&'a Owners>,
}

impl fmt::Debug for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Told").field("owners", &self.owners.is_some()).finish_non_exhaustive()
    }
}

impl<'a, L: Labels> From<&'a L> for Told<'a> {
    fn from(labels: &'a L) -> Self {
        Self { labels, owners: None }
    }
}

impl Told<'_> {
    /// Who owns a file in the archive.
    pub(crate) fn owner(&self, stat: &nix::sys::stat::FileStat) -> (u32, u32) {
        match self.owners {
            Some(owners) => owners.get(&(stat.st_dev, stat.st_ino)).copied().unwrap_or((0, 0)),
            None => (stat.st_uid, stat.st_gid),
        }
    }
}

/// How a tree is packed.
pub struct Options<'a> {
    /// How hard the compressors try.
    pub level: Level,
    /// Threads that compress, beside the one that walks and the one of each output that hashes and
    /// writes.
    pub jobs: NonZeroUsize,
    /// Bytes of memory that packing may take: fewer jobs are started where that many do not fit.
    /// Without it a quarter of the machine's.
    pub memory: Option<u64>,
    /// Seconds since the epoch: no member is told to be newer, and all times are whole seconds.
    /// Without it times are as on disk.
    pub source_date_epoch: Option<i64>,
    /// The labels of its files, and their owners.
    pub told: Told<'a>,
    /// Told now and then how far the work is; called from the calling thread.
    pub progress: &'a (dyn Fn(Progress) + Sync),
    /// Asked often, from every thread, whether to give up.
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { level, jobs, memory, source_date_epoch, .. } = self;
        f.debug_struct("Options")
            .field("level", level)
            .field("jobs", jobs)
            .field("memory", memory)
            .field("source_date_epoch", source_date_epoch)
            .finish_non_exhaustive()
    }
}

/// How far the work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Members so far.
    pub entries: u64,
    /// Bytes of the archive so far, before compression.
    pub bytes: u64,
}

/// A tarball that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Packed {
    /// How it is compressed.
    pub format: Format,
    /// The compressor's own level.
    pub level: u32,
    /// Bytes of the archive that were compressed at a time, independently of the others.
    pub block: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256 in lower-case hexadecimal.
    pub sha256: String,
    /// Its SHA-512 in lower-case hexadecimal.
    pub sha512: String,
}

/// What an archive came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Members of the archive.
    pub entries: u64,
    /// Bytes of the archive before compression.
    pub bytes: u64,
    /// SHA-256 of the archive before compression, in lower-case hexadecimal: the same for every
    /// format of one tree.
    pub sha256: String,
    /// The tarballs, in the order of the outputs.
    pub outputs: Vec<Packed>,
    /// Members that carry an SELinux label.
    pub labels: u64,
    /// Members without a label although labels were wanted.
    pub unlabelled: u64,
    /// The first of them, absolute inside the image.
    #[serde(serialize_with = "lossy")]
    pub unlabelled_paths: Vec<PathBuf>,
    /// Sockets, which an archive cannot hold, absolute inside the image.
    #[serde(serialize_with = "lossy")]
    pub sockets: Vec<PathBuf>,
    /// What a person should know of.
    pub warnings: Vec<String>,
}

/// Paths are bytes and JSON is not: what is not UTF-8 is shown with replacement characters.
fn lossy<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| path.to_string_lossy()))
}

/// Packs the directory `tree` and everything in it into all of `outputs` at once.
///
/// # Errors
/// Fails when not even one job fits into the memory allowed, when the tree cannot be read whole (a
/// file that cannot be opened or changes in the meantime, a mount point inside), when a sink does
/// not take its bytes (the chain holds its `io::Error`), or when cancelled. What the sinks hold
/// then is of no use.
pub fn write_tree(tree: &Path, outputs: Vec<Output<'_>>, options: &Options<'_>) -> Result<Summary> {
    let packing = || format!("packing the tree {}", tree.display());
    if outputs.is_empty() {
        return Err(Failure::new(ExitCode::Usage, format!("{}: no output is given", packing())).into());
    }
    let (lanes, sinks): (Vec<_>, Vec<_>) = outputs
        .into_iter()
        .map(|output| Ok((Lane { format: output.format, level: options.level.number(output.format)? }, output.sink)))
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .unzip();
    let jobs = memory::jobs(&lanes, options.jobs, options.memory)?;
    let pool = Pool::new(lanes.clone(), jobs, options.cancelled);
    let packed = std::thread::scope(|scope| {
        let _guard = StopOnPanic(&pool);
        let written = run(scope, tree, &pool, jobs, lanes, sinks, options);
        if written.is_err() {
            // Whoever waits for blocks that will not come has to go home before the scope can end.
            pool.fail(Stopped.into());
        }
        written
    });
    match (packed, pool.into_failure()) {
        (_, Some(failure)) => Err(failure.context(packing())),
        (Err(error), None) if error.is::<Stopped>() => {
            Err(Failure::new(ExitCode::Interrupted, format!("{}: it was interrupted", packing())).into())
        }
        (Err(error), None) => Err(error.context(packing())),
        (Ok(summary), None) => Ok(summary),
    }
}

/// Starts the threads and walks; the pool keeps what fails in a thread.
fn run<'scope, 'env: 'scope>(
    scope: &'scope std::thread::Scope<'scope, 'env>,
    tree: &Path,
    pool: &'env Pool<'env>,
    jobs: NonZeroUsize,
    lanes: Vec<Lane>,
    sinks: Vec<Box<dyn Write + Send + 'env>>,
    options: &Options<'_>,
) -> Result<Summary> {
    let compresses = lanes.iter().any(|lane| lane.format != Format::Tar);
    let mut writers = Vec::new();
    for (number, (lane, sink)) in lanes.into_iter().zip(sinks).enumerate() {
        let life = move || {
            let _guard = StopOnPanic(pool);
            sink::write(pool, number, lane, sink).map_err(|error| {
                pool.fail(error);
                Stopped
            })
        };
        writers.push(
            std::thread::Builder::new().name(format!("write {}", lane.format)).spawn_scoped(scope, life).context("starting a thread")?,
        );
    }
    if compresses {
        for _ in 0..jobs.get() {
            std::thread::Builder::new().name("compress".into()).spawn_scoped(scope, || pool.pack()).context("starting a thread")?;
        }
    }
    let mut summary = pack::pack(tree, pool, options)?;
    for writer in writers {
        summary.outputs.push(writer.join().map_err(|_| Stopped)??);
    }
    Ok(summary)
}
