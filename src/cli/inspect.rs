//! `osimg inspect`: shows the contents and properties of an image.

use anyhow::Context;
use clap::Args;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::contents::Contents;
use crate::error::{ExitCode, Failure, Result};
use crate::inspect::{self, Finding, Image, Reading, TextOptions};
use crate::process;
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
            write_whole(file, inspect::html(&image, findings.as_deref())?.as_bytes())?;
        }
        if json {
            super::print_json(report, &image)?;
        } else if let Some(file) = &self.html {
            super::print(report, &file.display().to_string())?;
        } else {
            let rows = if self.all { None } else { Some(self.rows) };
            super::print(report, &inspect::text(&image, TextOptions { rows }))?;
        }
        Ok(ExitCode::Done)
    }
}

/// Reads an image, as a step of the report.
pub(super) fn read(path: &Path, report: &Report) -> Result<(Image, Option<Contents>)> {
    let name = path.to_string_lossy();
    if crate::recipe::is_input(path) || verify::is_address(&name) {
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

/// Writes a file atomically: readers see the old file or the complete new one.
fn write_whole(file: &Path, content: &[u8]) -> Result<()> {
    let writing = || format!("writing {}", file.display());
    if file.symlink_metadata().is_ok_and(|found| !found.is_file()) {
        return Err(Failure::new(
            ExitCode::Usage,
            format!("{}: it exists, and is not a file", writing()),
        )
        .hint("use the name of a new file")
        .into());
    }
    let directory = file
        .parent()
        .filter(|directory| !directory.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut temporary =
        tempfile::Builder::new().prefix(".osimg-").tempfile_in(directory).with_context(writing)?;
    temporary.write_all(content).with_context(writing)?;
    // Others may read the page, unlike other temporary files.
    temporary
        .as_file()
        .set_permissions(std::fs::Permissions::from_mode(0o644))
        .with_context(writing)?;
    temporary.as_file().sync_all().with_context(writing)?;
    temporary.persist(file).with_context(writing)?;
    Ok(())
}
