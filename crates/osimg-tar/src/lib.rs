//! Packs a tree into tarballs with the same bytes every time, in one pass and on every core; and
//! reads tarballs strictly.
//!
//! The path of a byte: [`walk`] finds the file, [`describe`] collects what is known of it from
//! [`attributes`] and [`labels`], [`pax`] writes its header, [`sparse`] finds its holes, [`pack`]
//! puts all that on the [`tape`], which cuts it into blocks for each output ([`cutter`]). The
//! [`pool`]'s threads pack the blocks ([`compress`]: [`gzip`], [`bzip2`], [`xz`]; [`probe`]), and
//! each [`sink`] joins, hashes and writes them.
#![warn(unreachable_pub, clippy::missing_errors_doc)]
#![doc = include_str!("../README.md")]
#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the overview is for readers of the source as well"
)]

mod attributes;
mod buffer;
mod bzip2;
mod compare;
mod compress;
mod cutter;
mod describe;
mod digest;
mod entry;
mod error;
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
#[cfg(test)]
mod roundtrip;
mod scan;
mod shown;
mod signature;
mod sink;
mod sparse;
mod stopped;
mod tape;
mod walk;
mod xz;

pub use compare::{Difference, first_difference};
pub use error::{Damaged, Error, NameProblem, Reason, Result};
pub use format::{Format, Level, SUFFIXES, stem, suffix};
pub use labels::{Capabilities, FromTree, LabelSource, Labels, NoLabels, Overrides, Owners};
pub use memory::Memory;
pub use scan::scan_tree;

use error::Context;
use pool::{Lane, Pool, StopOnPanic};
use serde::{Serialize, Serializer};
use std::fmt;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use stopped::Stopped;

/// Two versions of this library with the same number write identical bytes if the tree, labels,
/// epoch and level are the same. It is raised whenever the bytes of any tree change: the order or
/// form of members, the blocks, or the result of a compressor.
pub const VERSION: u32 = 3;

/// One tarball to be written.
pub struct Output<'a> {
    /// Its compression.
    pub format: Format,
    /// Its destination. It is flushed at the end, but not synced to the disk.
    pub sink: Box<dyn Write + Send + 'a>,
}

impl fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("format", &self.format).finish_non_exhaustive()
    }
}

/// Settings for packing a tree.
pub struct Options<'a> {
    /// The effort of the compressors.
    pub level: Level,
    /// Threads that compress. One more walks, and one for each output hashes and writes.
    pub jobs: NonZeroUsize,
    /// The memory that packing may use.
    pub memory: Memory,
    /// Seconds since the epoch: no member is newer, and all times are whole seconds. Without it,
    /// times are as on disk.
    pub source_date_epoch: Option<i64>,
    /// The labels of its files, and their owners.
    pub overrides: Overrides<'a>,
    /// The file capabilities that are accepted.
    pub capabilities: Capabilities,
    /// Called often with the progress, from the calling thread.
    pub progress: &'a (dyn Fn(Progress) + Sync),
    /// Called often, from every thread: whether to stop.
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

/// The progress of the work.
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
    /// Its compression.
    pub format: Format,
    /// The compressor's own level.
    pub level: u32,
    /// The most bytes of the archive that are compressed at once, independently of the others.
    pub block: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256 in lower-case hexadecimal.
    pub sha256: String,
    /// Its SHA-512 in lower-case hexadecimal.
    pub sha512: String,
}

/// The result of packing.
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
    /// Members without a label although labels were asked for.
    pub unlabelled: u64,
    /// The first of them, absolute inside the image.
    #[serde(serialize_with = "lossy")]
    pub unlabelled_paths: Vec<PathBuf>,
    /// Sockets, which an archive cannot hold, absolute inside the image.
    #[serde(serialize_with = "lossy")]
    pub sockets: Vec<PathBuf>,
    /// Warnings for the user.
    pub warnings: Vec<String>,
}

/// Paths are bytes, and JSON is text: bytes that are not UTF-8 become replacement characters.
fn lossy<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| path.to_string_lossy()))
}

/// Packs the directory `tree` and everything in it into all of `outputs` at once.
///
/// # Errors
/// Fails when not even one job fits into the memory allowed, when the tree cannot be read
/// completely (a file that cannot be opened or changes in the meantime, a mount point inside), when
/// a sink does not accept its bytes (the `io::Error` is the source), or when cancelled. The outputs
/// are of no use then.
pub fn write_tree(tree: &Path, outputs: Vec<Output<'_>>, options: &Options<'_>) -> Result<Summary> {
    let packing = || format!("packing the tree {}", tree.display());
    if outputs.is_empty() {
        return Err(Error::new(Reason::NoOutput).context(packing()));
    }
    let (lanes, sinks): (Vec<_>, Vec<_>) = outputs
        .into_iter()
        .map(|output| {
            Ok((
                Lane { format: output.format, level: options.level.number(output.format)? },
                output.sink,
            ))
        })
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .unzip();
    let jobs = memory::jobs(&lanes, options.jobs, options.memory).with_context(packing)?;
    let pool = Pool::new(lanes.clone(), jobs, options.cancelled);
    let packed = std::thread::scope(|scope| {
        let _guard = StopOnPanic(&pool);
        let written = run(scope, tree, &pool, jobs, lanes, sinks, options);
        if written.is_err() {
            // Threads that wait for blocks have to end before the scope can.
            pool.fail(Stopped.into());
        }
        written
    });
    match (packed, pool.into_failure()) {
        (_, Some(failure)) => Err(failure.context(packing())),
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
            std::thread::Builder::new()
                .name(format!("write {}", lane.format))
                .spawn_scoped(scope, life)
                .context("starting a thread")?,
        );
    }
    if compresses {
        for _ in 0..jobs.get() {
            std::thread::Builder::new()
                .name("compress".into())
                .spawn_scoped(scope, || pool.pack())
                .context("starting a thread")?;
        }
    }
    let mut summary = pack::pack(tree, pool, options)?;
    for writer in writers {
        summary.outputs.push(writer.join().map_err(|_| Stopped)??);
    }
    Ok(summary)
}
