//! `osimg lock`: records the packages that a recipe resolves to; reads and writes other tools'
//! lists.

use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};

use super::output;
use super::overrides::{Decided, Overrides};
use super::privileges;
use super::shared::default_cache;
use crate::build::lock::{self as making, Places};
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::files;
use crate::packages::Signers;
use crate::recipe::lock::foreign::{self, Form};
use crate::recipe::{self, Lock};
use crate::registry::{check_output, write_output};
use crate::report::Report;
use crate::sandbox::Isolation;
use crate::workdir::Place;

#[derive(Debug, Args)]
pub(super) struct LockArgs {
    #[command(flatten)]
    overrides: Overrides,
    /// Write the lock here [default: next to the recipe, NAME.lock]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Download no packages; the lock then does not record their signers
    #[arg(long)]
    metadata_only: bool,
    /// Use only packages of this rpms.lock.yaml or package manifest
    #[arg(long, value_name = "FILE", conflicts_with = "export")]
    import: Option<PathBuf>,
    /// Write the existing lock as another tool's list; the name selects the form: rpms.lock.yaml or
    /// NAME.manifest.yaml
    #[arg(long, value_name = "FILE", conflicts_with_all = ["metadata_only"])]
    export: Option<PathBuf>,
    /// The form to export, independent of the name: rpms-lock or manifest
    #[arg(long = "as", value_name = "FORM", requires = "export")]
    form: Option<Form>,
    /// Directory for downloaded packages and metadata [default: /var/cache/osimg for root,
    /// otherwise $XDG_CACHE_HOME/osimg]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Working directory: auto (memory if it fits, otherwise /var/tmp) or a directory
    #[arg(long, value_name = "DIR", default_value = "auto")]
    workdir: PathBuf,
    /// Demand this isolation of packages [default: the best that works here; osimg doctor names it]
    #[arg(long, value_parser = super::shared::isolation(), value_name = "KIND")]
    isolation: Option<Isolation>,
}

impl LockArgs {
    pub(crate) fn run(&self, report: &Report, json: bool) -> Result<ExitCode> {
        let cache = self.cache.clone().map_or_else(default_cache, Ok)?;
        if self.export.is_none() {
            // Before any thread starts: only a single-threaded process can enter a user namespace.
            privileges::act_as_root(report, self.isolation)?;
        }
        let decided = self.overrides.decide()?;
        if self.output.is_none() && recipe::is_input(&decided.recipe.path) {
            return Err(Failure::new(
                ExitCode::Usage,
                "writing the lock: a recipe from standard input gives it no name",
            )
            .hint("choose the lock's name: -o FILE")
            .into());
        }
        let path = self.output.clone().unwrap_or_else(|| Lock::path_for(&decided.recipe.path));
        if let Some(target) = &self.export {
            return export(&decided, &path, target, self.form, report, json);
        }
        check_output(&path)?;
        let lowered = decided.recipe.script.lower()?;
        for diagnostic in &lowered.diagnostics {
            super::shared::report_diagnostic(report, decided.recipe.script.origins(), diagnostic);
        }
        let listed = match &self.import {
            Some(file) => {
                let text = files::read_text(file, files::TEXT)
                    .or_fail(ExitCode::Recipe, format!("reading {}", file.display()))?;
                let arch = crate::recipe::lock::arch(&decided.recipe.settings.packages);
                Some(foreign::parse(&text, &file.display().to_string(), &arch)?)
            }
            None => None,
        };
        let signers = if self.metadata_only { Signers::Leave } else { Signers::Read };
        let places = Places {
            cache,
            workdir: if self.workdir.as_os_str() == "auto" {
                Place::Auto
            } else {
                Place::Under(self.workdir.clone())
            },
            source_date_epoch: decided.source_date_epoch,
        };
        let lock = making::make(
            &decided.recipe,
            &lowered.transactions,
            (signers, listed.as_deref()),
            &places,
            report,
        )?;
        let before =
            files::read_text(&path, files::TEXT).ok().and_then(|text| Lock::parse(&text, "").ok());
        write_output(&path, lock.print()?.as_bytes())?;
        let change = Change::between(before.as_ref(), &lock);
        if json {
            let value = json!({ "lock": path, "packages": lock.packages().count(),
                "added": change.added, "removed": change.removed });
            output::print_json(report, &value)?;
        } else {
            if before.is_some() {
                report.note(&change.describe());
            }
            output::print(report, &path.display().to_string())?;
        }
        Ok(ExitCode::Done)
    }
}

fn export(
    decided: &Decided,
    path: &Path,
    target: &Path,
    form: Option<Form>,
    report: &Report,
    json: bool,
) -> Result<ExitCode> {
    let name =
        target.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let form = form.or_else(|| Form::from_name(&name)).ok_or_else(|| {
        Failure::new(ExitCode::Usage, format!("the name {name} does not select a form to export"))
            .hint(
                "name it rpms.lock.yaml or NAME.manifest.yaml, or add --as rpms-lock or --as \
                 manifest",
            )
    })?;
    let (lock, _) = Lock::load(path)?;
    lock.belongs_to(&decided.recipe.script, &decided.recipe.settings.packages, path)?;
    let text = foreign::print(&lock, form, &decided.recipe.settings.packages)?;
    write_output(target, text.as_bytes())?;
    if json {
        output::print_json(report, &json!({ "lock": path, "exported": target }))?;
    } else {
        output::print(report, &target.display().to_string())?;
    }
    Ok(ExitCode::Done)
}

/// The packages that a new lock adds and removes.
#[derive(Debug, Default)]
struct Change {
    added: Vec<String>,
    removed: Vec<String>,
}

impl Change {
    fn between(before: Option<&Lock>, after: &Lock) -> Self {
        let names = |lock: &Lock| {
            lock.packages().map(|p| p.nevra.clone()).collect::<std::collections::BTreeSet<_>>()
        };
        let (old, new) = (before.map(names).unwrap_or_default(), names(after));
        Self {
            added: new.difference(&old).cloned().collect(),
            removed: old.difference(&new).cloned().collect(),
        }
    }

    fn describe(&self) -> String {
        if self.added.is_empty() && self.removed.is_empty() {
            return "the lock has the same packages as before".to_owned();
        }
        let lines = self
            .removed
            .iter()
            .map(|n| format!("\n  - {n}"))
            .chain(self.added.iter().map(|n| format!("\n  + {n}")));
        format!("the lock changed:{}", lines.collect::<String>())
    }
}
