//! Results on stdout.

use anyhow::Context;
use serde::Serialize;

use crate::error::Result;
use crate::report::Report;

/// Prints a result on stdout.
pub(super) fn print(report: &Report, text: &str) -> Result<()> {
    report.print(text).context("writing to standard output")
}

/// Prints lines on stdout. Foreign text in a line cannot start a new one.
pub(super) fn print_lines(report: &Report, lines: &[String]) -> Result<()> {
    print(report, &lines.iter().map(|line| crate::text::line(line)).collect::<Vec<_>>().join("\n"))
}

/// Prints a value as the JSON document of `--json`.
pub(super) fn print_json(report: &Report, value: &impl Serialize) -> Result<()> {
    report.document(value).context("writing the result as JSON")
}
