//! `osimg build`: builds a tarball from a recipe and publishes it.

use clap::Args;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use super::allowed;
use super::counterpart;
use super::documents::DocumentOptions;
use super::output;
use super::overrides::Overrides;
use super::privileges;
use super::shared::{count, report_diagnostic};
use super::stopped;
use super::target::Target;
use crate::build::Artifact;
use crate::build::lock_file::LockFile;
use crate::build::{self, Fitness, Options, Packing};
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::recipe::{self, Lock, Recipe, parse_duration};
use crate::registry::{Existing, PublishOptions};
use crate::report::{Report, bytes};
use crate::sandbox::{Devices, Isolation};
use crate::workdir::{Keep, Place};

#[derive(Debug, Args)]
pub(super) struct Build {
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    target: Target,
    /// Replace the same version, with all its files, if it exists with other bytes
    #[arg(long, conflicts_with = "output")]
    replace: bool,
    /// Do not count this finding of `osimg verify` against the image; unrecognised-kernel, -ramdisk
    /// or -stage2 accept a boot piece (can be repeated)
    #[arg(long, value_name = "NAME")]
    allow: Vec<String>,
    /// Fail if the image is not fit for a node, and publish nothing; the tarball is kept as
    /// NAME.unfit
    #[arg(long)]
    strict: bool,
    /// Worker threads [default: one per core]
    #[arg(short, long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Memory limit for packing, such as 2G; it limits the worker threads [default: a quarter of
    /// the machine's]
    #[arg(long, value_name = "SIZE", value_parser = crate::archive::parse_size)]
    memory: Option<u64>,
    /// Install exactly the packages of the lock next to the recipe
    #[arg(long)]
    locked: bool,
    /// Install exactly the packages of this lock
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    /// Working directory: auto (memory if it fits, otherwise /var/tmp) or a directory
    #[arg(long, value_name = "DIR", default_value = "auto")]
    workdir: PathBuf,
    /// Keep the workdir for `osimg shell`
    #[arg(long, value_enum, default_value = "never", value_name = "WHEN")]
    keep: Keep,
    /// Stop a phase of a transaction that prints nothing for this time, such as 10m [default: no
    /// limit]
    #[arg(long, value_name = "TIME")]
    idle_timeout: Option<String>,
    /// Build twice under different conditions, and publish only if both results are the same
    #[arg(long)]
    verify_reproducible: bool,
    /// Make the build for the comparison, into this directory
    #[arg(long, value_name = "DIR", hide = true, conflicts_with = "verify_reproducible")]
    counterpart: Option<PathBuf>,
    /// Demand this isolation of packages [default: the best that works here; osimg doctor names it]
    #[arg(long, value_parser = super::shared::isolation(), value_name = "KIND")]
    isolation: Option<Isolation>,
    /// The /dev that scriptlets see
    #[arg(long = "dev", value_parser = super::shared::devices(), default_value = "private",
        value_name = "KIND")]
    devices: Devices,
    #[command(flatten)]
    documents: DocumentOptions,
}

impl Build {
    pub(crate) fn run(&self, report: &Report, json: bool) -> Result<ExitCode> {
        let Some(artifact) = self.artifact(report).map_err(stopped::unpublished)? else {
            return Ok(ExitCode::Done);
        };
        if json {
            output::print_json(report, &artifact)?;
        } else {
            for path in &artifact.tarballs {
                output::print(report, &path.display().to_string())?;
            }
        }
        report.note(&summary(&artifact));
        Ok(ExitCode::Done)
    }

    /// Builds and publishes; `None` for the build that another one compares itself with.
    fn artifact(&self, report: &Report) -> Result<Option<Artifact>> {
        let cache = self.target.cache()?;
        // Before the first step: its progress bar is a thread, and only a single-threaded process
        // can enter a user namespace.
        privileges::act_as_root(report, self.isolation)?;
        if self.counterpart.is_some() {
            counterpart::become_another(report)?;
        }
        if self.verify_reproducible && recipe::is_input(&self.overrides.recipe) {
            return Err(Failure::new(
                ExitCode::Usage,
                "building twice from standard input: it can be read only once",
            )
            .hint("save the recipe as a file")
            .into());
        }
        let (allow, allow_pieces) = allowed::allowed(&self.allow)?;
        let step = report.step("reading the recipe");
        let mut decided = self.overrides.decide()?;
        self.target.apply(&mut decided.recipe.settings);
        let lowered = decided.recipe.script.lower()?;
        for diagnostic in &lowered.diagnostics {
            report_diagnostic(report, decided.recipe.script.origins(), diagnostic);
        }
        step.finish(&format!(
            "{} in {}",
            count(lowered.transactions.len(), "transaction"),
            decided.recipe.path.display()
        ));
        let options = Options {
            registry: self.target.registry(&decided.recipe.settings)?,
            publishing: PublishOptions {
                visibility: decided.recipe.settings.registry.visibility.unwrap_or_default(),
                existing: if self.replace { Existing::Replace } else { Existing::Keep },
                ..PublishOptions::default()
            },
            allow,
            allow_pieces,
            fitness: if self.strict || decided.recipe.settings.image.strict {
                Fitness::Required
            } else {
                Fitness::Recorded
            },
            output: self.target.output.clone(),
            formats: decided.formats,
            selinux: decided.selinux,
            packing: Packing {
                level: decided.level,
                jobs: self
                    .jobs
                    .or_else(|| std::thread::available_parallelism().ok())
                    .unwrap_or(NonZeroUsize::MIN),
                memory: self.memory,
                source_date_epoch: decided.source_date_epoch,
                arch: crate::recipe::lock::arch(&decided.recipe.settings.packages),
                capabilities: crate::archive::Capabilities::OfHost,
            },
            cache,
            lock: self.lock_file(&decided.recipe)?,
            workdir: if self.workdir.as_os_str() == "auto" {
                Place::Auto
            } else {
                Place::Under(self.workdir.clone())
            },
            keep: self.keep,
            devices: self.devices,
            documents: self.documents.choose(&decided.recipe.settings)?,
            idle: self
                .idle_timeout
                .as_deref()
                .map(|text| {
                    parse_duration(text)
                        .or_fail(ExitCode::Usage, format!("reading --idle-timeout {text}"))
                })
                .transpose()?,
            clock: None,
            references: Vec::new(),
        };
        if let Some(directory) = &self.counterpart {
            build::build_counterpart(
                &decided.recipe,
                &lowered.transactions,
                &options,
                directory,
                report,
            )?;
            return Ok(None);
        }
        let artifact = if self.verify_reproducible {
            build::build_twice(
                &decided.recipe,
                &lowered.transactions,
                &options,
                &|directory| counterpart::run(directory, report),
                report,
            )?
        } else {
            build::build(&decided.recipe, &lowered.transactions, &options, report)?
        };
        Ok(Some(artifact))
    }

    fn lock_file(&self, recipe: &Recipe) -> Result<Option<LockFile>> {
        let path = match &self.lock {
            Some(path) => path.clone(),
            None if self.locked => Lock::path_for(&recipe.path),
            None => return Ok(None),
        };
        let (lock, sha256) = Lock::load(&path)?;
        lock.belongs_to(&recipe.script, &recipe.settings.packages, &path)?;
        Ok(Some(LockFile { path, lock, sha256 }))
    }
}

/// The last line of a build: its tarballs with their sizes, the number of packages, and whether
/// the image is fit for a node.
fn summary(artifact: &Artifact) -> String {
    let sized = artifact
        .tarballs
        .iter()
        .zip(&artifact.digests)
        .map(|(path, tarball)| format!("{}, {}", path.display(), bytes(tarball.bytes)));
    let fitness = match artifact.errors() {
        0 => "fit".to_owned(),
        errors => format!("NOT FIT: {}", count(errors, "error")),
    };
    format!(
        "{}, {}, {fitness}",
        sized.collect::<Vec<_>>().join(", "),
        count(artifact.packages, "package")
    )
}
