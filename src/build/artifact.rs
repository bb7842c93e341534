//! What a build returns.

use serde::Serialize;
use std::path::PathBuf;

use crate::set::Made;
use crate::set::manifest::Tarball;
use crate::verify::Severity;

/// The result of a build, for the user or the next program.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Artifact {
    /// Paths of the tarballs, the one asked for first.
    pub tarballs: Vec<PathBuf>,
    /// Whether they were written, or existed with the same bytes.
    pub made: Made,
    /// The manifest's path.
    pub manifest: PathBuf,
    /// Number of packages.
    pub packages: usize,
    /// The tarballs' sizes and digests, in the same order.
    pub digests: Vec<Tarball>,
    /// The references in a remote registry, as `set::References`, in the same order; the manifest
    /// has it too.
    pub published: Vec<serde_json::Value>,
    /// Seconds of each step.
    pub steps: Vec<crate::report::Timing>,
    /// Problems that a node would have.
    pub findings: Vec<crate::verify::Finding>,
    /// The warnings of the build.
    pub warnings: Vec<String>,
}

impl Artifact {
    /// The number of errors in the image that were not allowed.
    #[must_use]
    pub(crate) fn errors(&self) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.severity == Severity::Error && !finding.allowed)
            .count()
    }
}
