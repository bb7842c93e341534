//! `osimg pack`: a tree that stands already becomes a tarball.

use clap::Args;
use serde_json::json;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::archive::{self, Format, Level};
use crate::build;
use crate::error::{ExitCode, Failure, Result};
use crate::finish::selinux;
use crate::process;
use crate::registry::{Directory, Names};
use crate::report::{Report, Unit, bytes};

#[derive(Debug, Args)]
pub(super) struct Pack {
    /// The tree's root folder
    #[arg(value_name = "TREE")]
    tree: PathBuf,
    /// Write this file; its suffix chooses the format
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// How hard to compress: fast, default, best, or the format's own number
    #[arg(long, value_name = "LEVEL", default_value = "default")]
    level: Level,
    /// Worker threads [default: one a core]
    #[arg(short, long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Memory that packing may take, such as 2G: it limits the worker threads [default: a quarter of the machine's]
    #[arg(long, value_name = "SIZE", value_parser = archive::parse_size)]
    memory: Option<u64>,
    /// Where SELinux labels come from: auto, from-tree, none or policy=FILE_CONTEXTS
    #[arg(long, value_name = "SOURCE", default_value = "auto")]
    selinux: selinux::Mode,
    /// The latest time a file may carry, in seconds since 1970
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH", hide_env_values = true)]
    source_date_epoch: Option<i64>,
}

impl Pack {
    pub fn run(&self, report: &Report, json: bool) -> Result<ExitCode> {
        if !self.tree.is_dir() {
            let why = if self.tree.exists() { "it is no folder" } else { "there is no such folder" };
            return Err(Failure::new(ExitCode::Usage, format!("packing {}: {why}", self.tree.display())).into());
        }
        let names = Names::of_output(&self.output)?;
        let format = Format::of_name(&self.output)?;
        let folder = self.output.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
        if !folder.is_dir() {
            return Err(Failure::new(ExitCode::Space, format!("opening the output folder {}: there is none", folder.display()))
                .hint(format!("make it: mkdir -p {}", folder.display()))
                .into());
        }
        if folder.canonicalize()?.starts_with(self.tree.canonicalize()?) {
            return Err(Failure::new(
                ExitCode::Usage,
                format!("packing {}: the output {} lies inside", self.tree.display(), self.output.display()),
            )
            .hint("write it elsewhere")
            .into());
        }
        let staged = Directory::open(folder)?.stage(names)?;
        let step = report.step("packing");
        let labels = build::labels(&self.selinux, &self.tree, report)?;
        let outputs = staged.sinks()?.into_iter().map(|(format, file)| archive::Output { format, sink: Box::new(file) }).collect();
        let summary = archive::write_tree(
            &self.tree,
            outputs,
            &archive::Options {
                level: self.level,
                jobs: self.jobs.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN),
                memory: self.memory,
                source_date_epoch: self.source_date_epoch,
                labels: labels.as_labels(),
                progress: &|progress| step.progress(Unit::Bytes, progress.bytes, 0),
                cancelled: &|| process::stop_requested().is_some(),
            },
        );
        process::check_stop()?;
        let summary = summary?;
        for warning in &summary.warnings {
            report.warn(warning);
        }
        let packed: u64 = summary.outputs.iter().map(|o| o.bytes).sum();
        step.finish(&format!("{} members, {} as {} {format}", summary.entries, bytes(summary.bytes), bytes(packed)));
        let tarballs = staged.tarballs(&summary.outputs);
        let path = staged.place(&tarballs)?;
        if json {
            // Of the packed size to the plain one.
            let ratio = packed as f64 / summary.bytes.max(1) as f64;
            let value = json!({ "path": path, "tarballs": tarballs, "ratio": ratio, "summary": summary, "labels": labels.description, "steps": report.timings() });
            super::print(&serde_json::to_string_pretty(&value)?)?;
        } else {
            super::print(&path.display().to_string())?;
        }
        Ok(ExitCode::Done)
    }
}
