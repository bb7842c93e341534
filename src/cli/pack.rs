//! `osimg pack`: an existing tree becomes a tarball.

use clap::Args;
use serde_json::json;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use super::output;
use crate::archive::{self, Capabilities, Level, Overrides};
use crate::build::labels;
use crate::build::pack::{Packing, pack};
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::files;
use crate::recipe::SelinuxChoice;
use crate::registry::{Directory, Names};
use crate::report::Report;

#[derive(Debug, Args)]
pub(super) struct Pack {
    /// The tree's root directory
    #[arg(value_name = "TREE")]
    tree: PathBuf,
    /// Write this file; its suffix chooses the format: a tarball, a squashfs (.img) or
    /// a container image (.oci)
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
            arch: std::env::consts::ARCH.to_owned(),
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
}
