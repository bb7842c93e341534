//! The result of a verification.

use serde::Serialize;

use super::consumer::Consumer;
use super::severity::Severity;

/// The check that finds an archive that cannot be read. No other check has looked at it.
pub(crate) const DAMAGED: &str = "damaged";

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check's name.
    pub name: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    pub text: String,
    /// What the node would do.
    pub why: &'static str,
    /// What fixes it.
    pub fix: &'static str,
    /// The first of the files that it is about.
    pub paths: Vec<String>,
    /// How many files it is about.
    pub count: usize,
    /// The consumers that it concerns.
    pub consumers: Vec<Consumer>,
    /// Whether it was allowed by name.
    pub allowed: bool,
}

/// What is known of an image after all checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// The tarball, as it was named; nothing of a tree.
    pub tarball: Option<String>,
    /// The first of the consumers.
    pub profile: Consumer,
    /// The consumers that it was verified for.
    pub consumers: Vec<Consumer>,
    /// Its SHA-256 in hex, where the whole tarball was read.
    pub sha256: Option<String>,
    /// Members of the archive.
    pub members: usize,
    /// Packages in its rpmdb.
    pub packages: usize,
    /// Names of the checks that were made.
    pub checks: Vec<&'static str>,
    /// What they found, the worst first.
    pub findings: Vec<Finding>,
}

impl Findings {
    /// Errors that were not allowed.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    /// Warnings that were not allowed.
    #[must_use]
    pub fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }

    fn count(&self, severity: Severity) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.severity == severity && !finding.allowed)
            .count()
    }

    /// Whether the image may go to a node: no error but allowed ones.
    #[must_use]
    pub fn fit(&self) -> bool {
        self.errors() == 0
    }

    /// The findings as text: each with the consequence of an error for a node, and the fix.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for finding in &self.findings {
            let Finding { name, severity, text, why, fix, allowed, consumers, .. } = finding;
            let allowed = if *allowed { ", allowed" } else { "" };
            let concerned = if self.consumers.len() > consumers.len() {
                let names: Vec<String> = consumers.iter().map(ToString::to_string).collect();
                format!(" ({})", names.join(", "))
            } else {
                String::new()
            };
            lines.push(format!("{severity}: {text}{concerned} [{name}{allowed}]"));
            // Warnings are short.
            if *severity == Severity::Error {
                lines.push(format!("    node: {why}"));
            }
            lines.push(format!("    fix: {fix}"));
        }
        lines
    }
}
