//! The pipeline: a recipe becomes a published artifact. Reads like the shell script that it
//! replaces.

mod artifact;
mod check;
mod context;
mod customise;
mod fill;
mod finish;
mod fitness;
mod job;
mod labels;
pub(crate) mod lock;
pub(crate) mod lock_file;
mod manifest;
mod options;
pub(crate) mod outline;
mod output;
mod owners;
pub(crate) mod pack;
mod privileges;
mod reference;
mod remote;
mod space;
mod tools;
mod twice;

use anyhow::Context;
use std::path::Path;
use std::time::SystemTime;

use crate::archive::{ImageFormat, Overrides, squashfs};
use crate::error::{Failure, Result};
use crate::packages;
use crate::recipe::{Bootstrap, Recipe, Transaction};
use crate::registry::{Registry, Staged, Standing};
use crate::report::Report;
use crate::sandbox::InstallRoot;
use crate::set::Made;
use crate::set::manifest_text::{tarballs as recorded_tarballs, with_tarballs};
use crate::workdir::Workdir;
pub(crate) use artifact::Artifact;
pub(crate) use check::Request;
use context::Build;
pub(crate) use finish::image_plan;
pub(crate) use fitness::{Fitness, consumers, unfit};
pub(crate) use labels::labels;
pub(crate) use options::Options;
pub(crate) use pack::Packing;
use privileges::require_root;
pub(crate) use reference::Reference;
use remote::Remote;
use space::{blame_space, expected_size};
use tools::{Tools, tools};
pub(crate) use twice::{build_counterpart, build_twice};

/// Builds the recipe and publishes the artifact.
///
/// # Errors
/// The failure of a step; nothing is published then, and earlier images are unchanged.
pub(crate) fn build(
    recipe: &Recipe,
    transactions: &[Transaction],
    options: &Options,
    report: &Report,
) -> Result<Artifact> {
    let started = SystemTime::now();
    require_root()?;
    if let Some(arch) = &recipe.settings.packages.arch {
        crate::sandbox::check_runnable(arch)?;
    }
    options.request(recipe, transactions).check()?;
    if options.written_formats()?.contains(&ImageFormat::Img) {
        squashfs::check_program()?;
    }
    packages::check_repositories(&recipe.settings.packages, transactions)?;
    let tools = tools(&recipe.settings.packages)?;
    // A wrong password is reported now, not after the build.
    let remote = Remote::open(recipe, options, report)?;
    // Before any file is opened: a file of the host's namespace cannot be linked by its name in
    // ours.
    crate::sandbox::enter_private_mounts()?;
    let staged = output::stage(recipe, options, started)?;
    let mut workdir = Workdir::create(&options.workdir, options.keep)?;
    let build = Build { recipe, transactions, options, report, started };
    let result = build.run(tools, staged, remote.as_ref().map(Remote::registry), &mut workdir);
    let result = match (result, remote) {
        (Ok(artifact), Some(remote)) => remote.publish(artifact, report),
        (result, _) => result,
    };
    let kept = workdir.finish(result.is_err());
    match (result, kept) {
        (Ok(artifact), Ok(kept)) => {
            if let Some(path) = kept {
                report.note(&format!("the workdir is kept: {}", path.display()));
            }
            Ok(artifact)
        }
        (Err(error), Ok(Some(path))) => {
            Err(Failure::new(crate::error::exit_code(&error), "building the image")
                .because(error)
                .hint(format!("look around in it: osimg shell {}", path.display()))
                .into())
        }
        (Err(error), Ok(None)) => Err(error),
        (Err(error), Err(left)) => {
            report
                .warn(&format!("the workdir stays, and osimg doctor --clean removes it: {left:#}"));
            Err(error)
        }
        (Ok(_), Err(error)) => Err(error.context("removing the workdir")),
    }
}

impl Build<'_> {
    fn run(
        &self,
        mut tools: Tools,
        mut staged: Staged,
        remote: Option<&dyn Registry>,
        workdir: &mut Workdir,
    ) -> Result<Artifact> {
        let report = self.report;
        let settings = &self.recipe.settings.packages;
        let keys = packages::pinned_keys(settings, self.transactions)?;
        if settings.bootstrap == Bootstrap::Made {
            tools = self.make_tools(&tools, workdir, &keys)?;
        }
        let dbpath = self.dbpath(&tools, workdir)?;
        let filled = self.fill(&tools, workdir, &keys, &dbpath).map_err(|error| {
            blame_space(error, &[&workdir.root(), workdir.path(), &self.options.cache])
        })?;

        self.check_clock(filled.source_date_epoch);
        let root = InstallRoot::open(&workdir.root())?;
        let customised = self.customise(&root, workdir, &filled)?;
        let mut removed = self.finish(&root, &filled)?;
        removed.extend(customised.results.removed.iter().cloned());

        let labels = labels(&self.options.selinux, &workdir.root(), report)?;
        let owners = filled
            .owners
            .as_ref()
            .map(|known| owners::owners(&root, known, customised.owners.as_deref(), report))
            .transpose()?;
        let overrides = Overrides { labels: labels.as_labels(), owners: owners.as_ref() };
        let findings = fitness::verify(
            &workdir.root(),
            overrides,
            fitness::consumers(&self.options.registry),
            &self.options.allow,
            &customised.results.removed,
            report,
        )?;

        let packing = Packing {
            source_date_epoch: Some(filled.source_date_epoch),
            ..self.options.packing.clone()
        };
        let mut packed = pack::pack(
            &workdir.root(),
            &staged,
            &packing,
            overrides,
            expected_size(workdir, &filled),
            report,
        )?;
        reference::judge(&self.options.references, &packed.files, &staged, workdir, &filled)?;

        if self.options.fitness == Fitness::Required && !fitness::errors(&findings).is_empty() {
            let aside = staged.set_aside(&packed.files)?;
            let doing =
                format!("publishing to {}", aside.parent().unwrap_or(Path::new(".")).display());
            return Err(unfit(&doing, &findings)
                .hint(format!(
                    "nothing was published; the tarball is kept for a look: osimg verify {}",
                    aside.display()
                ))
                .into());
        }

        let step = report.step("publishing");
        let standing = staged.settle(
            &packed.files,
            &packed.summary.sha256,
            self.options.publishing.existing,
            remote,
            report,
        )?;
        packed.tarballs = staged.tarballs(&packed.files);
        let day =
            || output::version(self.recipe, self.options.packing.source_date_epoch, self.started);
        let known = manifest::Outcome {
            version: staged.version().map_or_else(day, str::to_owned),
            root: &root,
            filled: &filled,
            keys: &keys,
            packed: &packed,
            labels: labels.description,
            removed,
            findings: findings.clone(),
            workdir: workdir.backing(),
        };
        let mut manifest = self.manifest(known)?;
        let mut text =
            serde_json::to_string_pretty(&manifest).context("writing the manifest")? + "\n";
        if let Standing::Added(existing_text) = &standing {
            // The documents are of all tarballs of the version.
            let held = recorded_tarballs(existing_text)
                .into_iter()
                .filter(|held| packed.tarballs.iter().all(|new| new.file != held.file));
            manifest.tarballs.splice(0..0, held);
            text = with_tarballs(existing_text, &manifest.tarballs, &[existing_text, &text])?;
        }
        for document in
            self.options.documents.create(&manifest, staged.stem(), staged.written()?)?
        {
            staged.attach(&document.name(staged.stem()), &document.content)?;
        }
        for (suffix, content) in &customised.results.reports {
            staged.attach(&format!("{}{suffix}", staged.stem()), content)?;
        }
        let published = staged.commit(&packed.tarballs, text.as_bytes())?;
        step.finish(
            &published
                .tarballs
                .iter()
                .map(|p| p.display().to_string())
                .collect::<Vec<_>>()
                .join(", "),
        );
        Ok(Artifact {
            tarballs: published.tarballs,
            made: if matches!(standing, Standing::Same(_)) { Made::Reused } else { Made::New },
            manifest: published.manifest,
            packages: filled.installed.len(),
            digests: packed.tarballs,
            published: Vec::new(),
            steps: report.timings(),
            findings,
            warnings: report.warnings(),
        })
    }
}
