//! What a build returns.

use serde::Serialize;
use std::path::PathBuf;

use crate::set::manifest::Tarball;
use crate::verify::Severity;

/// What a build gives to the person or to the next program.
#[derive(Debug, Clone, Serialize)]
pub struct Artifact {
    /// Paths of the tarballs, the one asked for first.
    pub tarballs: Vec<PathBuf>,
    /// The manifest's path.
    pub manifest: PathBuf,
    /// Number of packages.
    pub packages: usize,
    /// The tarballs' sizes and digests, in the same order.
    pub digests: Vec<Tarball>,
    /// How a remote registry names them, as `registry::References`, in the same order; the manifest
    /// has it too.
    pub published: Vec<serde_json::Value>,
    /// Seconds of each step.
    pub steps: Vec<crate::report::Timing>,
    /// What a node would miss or stumble over.
    pub findings: Vec<crate::verify::Finding>,
    /// What the person was warned of.
    pub warnings: Vec<String>,
}

impl Artifact {
    /// How many errors were found in the image that nobody allowed.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.findings.iter().filter(|finding| finding.severity == Severity::Error && !finding.allowed).count()
    }
}
