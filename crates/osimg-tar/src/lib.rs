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
mod options;
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
mod summary;
mod tape;
mod walk;
mod xz;

pub use compare::{Difference, first_difference};
pub use error::{Damaged, Error, NameProblem, Reason, Result};
pub use format::{Format, Level, SUFFIXES, stem, suffix};
pub use labels::{Capabilities, FromTree, LabelSource, Labels, NoLabels, Overrides, Owners};
pub use memory::Memory;
pub use options::{Options, Progress};
pub use scan::scan_tree;
pub use summary::{Packed, Summary};

use error::Context;
use pool::{Lane, Pool, StopOnPanic};
use std::fmt;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::Path;
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
