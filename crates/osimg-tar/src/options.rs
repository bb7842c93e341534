//! How a tree is written.

use super::format::Level;
use super::labels::{Capabilities, Overrides};
use super::memory::Memory;
use std::fmt;
use std::num::NonZeroUsize;

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
