//! `osimg diff`: shows the changes between two images, and checks them against limits.

use clap::Args;
use serde_json::json;
use std::path::PathBuf;

use super::output;
use crate::diff::{self, Gate, TextOptions};
use crate::error::{ExitCode, Failure, Result};
use crate::report::Report;

#[derive(Debug, Args)]
pub(super) struct Diff {
    /// The first image: a tarball, a tree, or the manifest of a build (.json)
    #[arg(value_name = "BEFORE")]
    before: PathBuf,
    /// The second image, also of any kind
    #[arg(value_name = "AFTER")]
    after: PathBuf,
    /// Exit with 10 if packages or files differ, or if the size or tarball grows by more: packages,
    /// files, size:+5%, tarball:+20M (can be repeated)
    #[arg(long, value_name = "CONDITION")]
    fail_on: Vec<Gate>,
    /// Show every row
    #[arg(long)]
    all: bool,
}

impl Diff {
    pub(crate) fn run(&self, report: &Report, json: bool) -> Result<ExitCode> {
        let (before, _) = super::inspect::read(&self.before, report)?;
        let (after, _) = super::inspect::read(&self.after, report)?;
        let difference = diff::compare(&before, &after);
        let verdicts = self
            .fail_on
            .iter()
            .map(|gate| {
                gate.judge(&difference).map_err(|why| {
                    Failure::new(ExitCode::Usage, format!("checking --fail-on {gate}: {why}"))
                        .hint("use tarballs instead")
                        .into()
                })
            })
            .collect::<Result<Vec<_>>>()?;
        if json {
            output::print_json(report, &json!({"difference": difference, "verdicts": verdicts}))?;
        } else {
            output::print(report, &diff::text(&difference, TextOptions { all: self.all }))?;
        }
        let mut code = ExitCode::Done;
        let mut failed = Vec::new();
        for verdict in verdicts.iter().filter(|verdict| !verdict.passed) {
            let text = format!("--fail-on {}: {}", verdict.gate, verdict.reason);
            report.error(&format!("error: {text}"));
            failed.push(text);
            code = ExitCode::Findings;
        }
        report.verdict(failed.join("; "));
        Ok(code)
    }
}
