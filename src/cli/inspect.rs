//! `osimg inspect`: shows the contents and properties of an image.

use clap::Args;
use std::path::{Path, PathBuf};

use super::output;
use crate::contents::Contents;
use crate::error::{ExitCode, Failure, Result};
use crate::inspect::{self, Finding, Image, Reading, TextOptions};
use crate::naming;
use crate::process;
use crate::registry::write_output;
use crate::report::{Report, Unit};
use crate::secrets;
use crate::verify;

#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// A tarball, a tree, or the manifest of a build (.json)
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// Write an HTML page with a map of sizes and searchable tables; it needs no server and no
    /// network
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Number of rows per list
    #[arg(long, value_name = "N", default_value = "20", conflicts_with = "all")]
    rows: usize,
    /// Show every row
    #[arg(long)]
    all: bool,
}

impl Inspect {
    pub(crate) fn run(&self, report: &Report, json: bool) -> Result<ExitCode> {
        let (image, contents) = read(&self.image, report)?;
        if let Some(file) = &self.html {
            let findings = contents.as_ref().map(findings);
            write_output(file, inspect::html(&image, findings.as_deref())?.as_bytes())?;
        }
        if json {
            output::print_json(report, &image)?;
        } else if let Some(file) = &self.html {
            output::print(report, &file.display().to_string())?;
        } else {
            let rows = if self.all { None } else { Some(self.rows) };
            output::print(report, &inspect::text(&image, TextOptions { rows }))?;
        }
        Ok(ExitCode::Done)
    }
}

/// Reads an image, as a step of the report.
pub(super) fn read(path: &Path, report: &Report) -> Result<(Image, Option<Contents>)> {
    let name = path.to_string_lossy();
    if crate::recipe::is_input(path) || naming::is_address(&name) {
        return Err(Failure::new(
            ExitCode::Usage,
            format!("opening {}: not a file", secrets::url(&name)),
        )
        .hint(
            "only `osimg verify` reads standard input and web addresses; save the image to a file \
             first",
        )
        .into());
    }
    let step = report.step(&format!("reading {}", path.display()));
    let reading = Reading {
        progress: &|done, total| step.progress(Unit::Bytes, done, total),
        check: &process::check_stop,
    };
    let (image, contents) = inspect::open(path, &reading)?;
    let files = if image.has_files() {
        format!(", {} members", image.totals.members)
    } else {
        String::new()
    };
    step.finish(&format!("{} packages{files}", image.packages.len()));
    Ok((image, contents))
}

/// The findings of `osimg verify`, for the page.
fn findings(contents: &Contents) -> Vec<Finding> {
    let found = verify::contents(contents, &verify::Options::default()).findings;
    found
        .into_iter()
        .map(|finding| Finding {
            severity: finding.severity.to_string(),
            name: finding.name.to_owned(),
            message: finding.text,
            why: finding.why.to_owned(),
            fix: finding.fix.to_owned(),
            paths: finding.paths,
            count: finding.count,
        })
        .collect()
}
