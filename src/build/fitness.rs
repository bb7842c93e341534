//! Whether a node can be installed from the image, and how an unfit image is handled.

use std::collections::BTreeSet;
use std::path::Path;

use crate::archive::Overrides;
use crate::contents::Digests;
use crate::error::{ExitCode, Failure, Result};
use crate::process;
use crate::registry::Address;
use crate::report::Report;
use crate::verify::{self, Consumer, Finding, Severity};

/// How an unfit image is handled in a directory, from which no node is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Fitness {
    /// It is published, with its findings in the manifest.
    #[default]
    Recorded,
    /// It is set aside, and the build fails.
    Required,
}

/// The errors among the findings that were not allowed.
pub(super) fn errors(findings: &[Finding]) -> Vec<&Finding> {
    findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error && !finding.allowed)
        .collect()
}

/// The consumers that the images of a registry are for; none are those that the image names.
#[must_use]
pub(crate) fn consumers(registry: &Address) -> Vec<Consumer> {
    match registry {
        Address::OciImage(_) => vec![Consumer::Podman],
        Address::Directory(_) | Address::Glance(_) | Address::Tree(..) | Address::Oci(_) => {
            Vec::new()
        }
    }
}

/// The failure of an image that is not fit; `doing` names what was being done.
#[must_use]
pub(crate) fn unfit(doing: &str, findings: &[Finding]) -> Failure {
    let errors = errors(findings);
    let texts: Vec<_> = errors.iter().map(|finding| crate::text::line(&finding.text)).collect();
    let number =
        if errors.len() == 1 { "1 error".to_owned() } else { format!("{} errors", errors.len()) };
    Failure::new(
        ExitCode::Findings,
        format!("{doing}: the image is not fit for a node, {number}: {}", texts.join("; ")),
    )
    .hint(match errors.iter().find(|finding| finding.name == verify::DAMAGED) {
        // A node would get a part of the system, and no other check was made.
        Some(damaged) => damaged.fix.to_owned(),
        None => {
            let names: Vec<String> =
                errors.iter().map(|finding| format!("--allow {}", finding.name)).collect();
            format!("to let it pass as it is: {}", names.join(" "))
        }
    })
}

/// The problems that a node would have with the tree. They are reported and do not stop the build.
/// Contents are as rpm just wrote them and are not digested again. Files below `removed` are not
/// missing.
pub(super) fn verify(
    root: &Path,
    overrides: Overrides<'_>,
    consumers: Vec<Consumer>,
    allow: &BTreeSet<String>,
    removed: &[String],
    report: &Report,
) -> Result<Vec<Finding>> {
    let step = report.step("verifying the tree");
    let options = verify::Options {
        consumers,
        allow: allow.clone(),
        removed: removed.to_vec(),
        digests: Digests::None,
        check: &process::check_stop,
        ..verify::Options::default()
    };
    let findings = match verify::tree(root, overrides, &options) {
        Ok(findings) => findings,
        Err(error) => {
            process::check_stop()?;
            // If the tree itself is damaged, packing reports more about it.
            report.warn(&format!("the tree was not verified: {error:#}"));
            return Ok(Vec::new());
        }
    };
    step.finish(&format!(
        "{} errors, {} warnings for {}",
        findings.errors(),
        findings.warnings(),
        findings.profile
    ));
    for line in findings.lines() {
        report.finding(&crate::text::line(&line));
    }
    Ok(findings.findings)
}
