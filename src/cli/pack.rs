//! `osimg pack`: an existing tree becomes a tarball.

use anyhow::Context;
use clap::Args;
use serde_json::json;
use std::fs::File;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use super::output;
use crate::archive::oci;
use crate::archive::{self, Capabilities, Format, Level, Memory, Overrides};
use crate::build::pack::{Packing, pack};
use crate::build::{ChosenLabels, labels};
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::files;
use crate::process;
use crate::recipe::SelinuxChoice;
use crate::registry::{Directory, Names, OutputDirectory};
use crate::report::{Report, Step, Unit, bytes};

#[derive(Debug, Args)]
pub(super) struct Pack {
    /// The tree's root directory
    #[arg(value_name = "TREE")]
    tree: PathBuf,
    /// Write this file; its suffix chooses the format: a tarball, a squashfs (.img) or
    /// an OCI layout (.oci)
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Compression level: fast, default, best, or the format's own number
    #[arg(long, value_name = "LEVEL", default_value = "default")]
    level: Level,
    /// Worker threads [default: one per core]
    #[arg(short, long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Memory limit for packing, such as 2G; it limits the worker threads [default: a quarter of
    /// the machine's]
    #[arg(long, value_name = "SIZE", value_parser = archive::parse_size)]
    memory: Option<u64>,
    /// Source of SELinux labels: auto, from-tree, none or policy=FILE_CONTEXTS
    #[arg(long, value_name = "SOURCE", default_value = "auto")]
    selinux: SelinuxChoice,
    /// The latest time of a file, in seconds since 1970
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH", hide_env_values = true)]
    source_date_epoch: Option<i64>,
}

impl Pack {
    pub(crate) fn run(&self, report: &Report, json: bool) -> Result<ExitCode> {
        files::check_directory(&self.tree).or_fail_hint(
            ExitCode::Usage,
            format!("packing {}", self.tree.display()),
            "use the root directory of a tree",
        )?;
        let directory = Directory::holding(&self.output)?;
        if directory.path().starts_with(self.tree.canonicalize()?) {
            let what = format!(
                "packing {}: the output {} is inside it",
                self.tree.display(),
                self.output.display()
            );
            return Err(Failure::new(ExitCode::Usage, what).hint("write it elsewhere").into());
        }
        if oci::is_layout_name(&self.output) {
            return self.layout(&directory, report, json);
        }
        let staged = directory.stage(Names::from_output(&self.output)?)?;
        let labels = labels(&self.selinux, &self.tree, report)?;
        let packing = Packing {
            level: self.level,
            jobs: self
                .jobs
                .or_else(|| std::thread::available_parallelism().ok())
                .unwrap_or(NonZeroUsize::MIN),
            memory: self.memory,
            source_date_epoch: self.source_date_epoch,
            capabilities: Capabilities::All,
        };
        let overrides = Overrides { labels: labels.as_labels(), owners: None };
        let packed = pack(&self.tree, &staged, &packing, overrides, 0, report)?;
        let path = staged.place(&packed.tarballs)?;
        if json {
            // The ratio of the packed size to the plain size.
            let ratio = packed.tarballs.iter().map(|t| t.bytes).sum::<u64>() as f64
                / packed.summary.bytes.max(1) as f64;
            let value = json!({
                "path": path,
                "tarballs": packed.tarballs,
                "ratio": ratio,
                "summary": packed.summary,
                "labels": labels.description,
                "steps": report.timings(),
            });
            output::print_json(report, &value)?;
        } else {
            output::print(report, &path.display().to_string())?;
        }
        Ok(ExitCode::Done)
    }

    /// Writes an OCI layout, whose layer is a tgz.
    fn layout(&self, directory: &Directory, report: &Report, json: bool) -> Result<ExitCode> {
        oci::check_new(&self.output)?;
        let doing = || format!("writing the OCI layout {}", self.output.display());
        let output = OutputDirectory::create(directory)?;
        let labels = labels(&self.selinux, &self.tree, report)?;
        let step = report.step("packing");
        let file = File::create_new(output.path().join(oci::LAYER)).with_context(doing)?;
        let summary = self.with_options(&labels, &step, |options| {
            let sink = file.try_clone().with_context(doing)?;
            let outputs = vec![archive::Output { format: Format::Tgz, sink: Box::new(sink) }];
            archive::write_tree(&self.tree, outputs, options).with_context(doing)
        })?;
        file.sync_all().with_context(doing)?;
        let packed = summary.outputs.first().with_context(doing)?;
        let layer = oci::Layer {
            sha256: &packed.sha256,
            bytes: packed.bytes,
            tar_sha256: &summary.sha256,
            created: self.source_date_epoch.unwrap_or(0),
        };
        oci::complete((&self.output, &output.path()), &layer, oci::architecture())?;
        output.place(&self.output)?;
        summary.warnings.iter().for_each(|warning| report.warn(warning));
        step.finish(&format!(
            "{} members, {} as {}",
            summary.entries,
            bytes(summary.bytes),
            bytes(packed.bytes)
        ));
        self.print(
            report,
            json,
            &json!({ "path": self.output, "layer": packed, "summary": summary,
                "labels": labels.description }),
        )
    }

    /// Packs as the options of the command line say.
    fn with_options<T>(
        &self,
        labels: &ChosenLabels,
        step: &Step<'_>,
        write: impl FnOnce(&archive::Options<'_>) -> Result<T>,
    ) -> Result<T> {
        let options = archive::Options {
            level: self.level,
            jobs: self
                .jobs
                .or_else(|| std::thread::available_parallelism().ok())
                .unwrap_or(NonZeroUsize::MIN),
            memory: Memory { limit: self.memory, group: process::memory_limit() },
            source_date_epoch: self.source_date_epoch,
            overrides: Overrides { labels: labels.as_labels(), owners: None },
            capabilities: Capabilities::All,
            progress: &|progress| step.progress(Unit::Bytes, progress.bytes, 0),
            cancelled: &|| process::stop_requested().is_some(),
        };
        let written = write(&options);
        process::check_stop()?;
        written
    }

    fn print(&self, report: &Report, json: bool, value: &serde_json::Value) -> Result<ExitCode> {
        if json {
            output::print_json(report, value)?;
        } else {
            output::print(report, &self.output.display().to_string())?;
        }
        Ok(ExitCode::Done)
    }
}
