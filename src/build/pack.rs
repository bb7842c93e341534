//! Step 5: a tree becomes tarballs; for a build, and for `osimg pack` of an existing tree.

use anyhow::Context;
use std::num::NonZeroUsize;
use std::path::Path;

use crate::archive::Written;
use crate::archive::{self, Capabilities, ImageFormat, Level, Memory, Overrides, Summary};
use crate::error::Result;
use crate::process;
use crate::registry::Staged;
use crate::report::{Report, Unit, bytes};
use crate::set::manifest::Tarball;

/// How a tree is packed.
#[derive(Debug, Clone)]
pub(crate) struct Packing {
    /// How hard to compress.
    pub level: Level,
    /// Worker threads.
    pub jobs: NonZeroUsize,
    /// Bytes of memory that packing may take.
    pub memory: Option<u64>,
    /// Seconds since 1970 that files are dated by at most; in a build else the newest package's
    /// build time.
    pub source_date_epoch: Option<i64>,
    /// The architecture of the tree, as rpm names it.
    pub arch: String,
    /// The file capabilities that are accepted.
    pub capabilities: Capabilities,
}

/// The result of packing a tree.
#[derive(Debug)]
pub(crate) struct PackedTree {
    /// The archiver's summary.
    pub summary: Summary,
    /// The files, in the order of the formats.
    pub files: Vec<Written>,
    /// The same, under the names they will have.
    pub tarballs: Vec<Tarball>,
}

/// Writes the tree into the staged files. `expected` is the approximate size of the tar in bytes,
/// for the progress bar.
///
/// # Errors
/// When the tree cannot be read or the tarballs cannot be written, and when the user stopped it.
pub(crate) fn pack(
    tree: &Path,
    staged: &Staged,
    packing: &Packing,
    overrides: Overrides<'_>,
    expected: u64,
    report: &Report,
) -> Result<PackedTree> {
    let step = report.step("packing");
    let written = archive::files::write_files(
        tree,
        &staged.sinks(),
        &packing.arch,
        &archive::Options {
            level: packing.level,
            jobs: packing.jobs,
            memory: Memory { limit: packing.memory, group: process::memory_limit() },
            source_date_epoch: packing.source_date_epoch,
            overrides,
            capabilities: packing.capabilities,
            progress: &|progress| {
                step.progress(
                    Unit::Bytes,
                    progress.bytes,
                    if expected == 0 { 0 } else { expected.max(progress.bytes) },
                )
            },
            cancelled: &|| process::stop_requested().is_some(),
        },
    );
    process::check_stop()?;
    let (summary, files) = written
        .with_context(|| format!("making the artifact in {}", staged.directory().display()))?;
    for warning in &summary.warnings {
        report.warn(warning);
    }
    if files.iter().any(|file| file.format == ImageFormat::Img) {
        report.note("a squashfs has no ACLs and whole seconds only; a tarball keeps both");
    }
    let packed: u64 = files.iter().map(|file| file.bytes).sum();
    step.finish(&format!(
        "{} members, {} as {}",
        summary.entries,
        bytes(summary.bytes),
        bytes(packed)
    ));
    let tarballs = staged.tarballs(&files);
    Ok(PackedTree { summary, files, tarballs })
}
