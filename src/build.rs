//! The pipeline: a recipe becomes a published artifact. Reads like the shell script that it
//! replaces.

mod fitness;
mod labels;
pub mod lock;
mod manifest;
mod options;
pub mod outline;
mod output;
mod owners;
pub mod pack;
mod remote;
mod space;
mod twice;

use anyhow::Context;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::archive::Told;
use crate::artifact::Artifact;
use crate::contents::Digests;
use crate::error::{ExitCode, Failure, Result};
use crate::finish::initramfs::Contents;
use crate::finish::{certificates, files, initramfs, leftovers, machine_id};
use crate::packages::{self, Cache, Extent, Filled, GivenAway, Job, PinnedKey, Programs, Purpose, TransactionPlan};
use crate::process::{self, CommandLine};
use crate::recipe::{Bootstrap, ManagerChoice, PackageSettings, Recipe, Spec, Transaction};
use crate::registry::manifest::{tarballs as held_tarballs, with_tarballs};
use crate::registry::{Registry, Staged, Standing};
use crate::report::{Report, bytes};
use crate::sandbox::{Devices, InstallRoot, Limits, Network, Owners, Plan, Sandbox, Stream, Terminal, ToolRoot, View};
use crate::verify::{self, Finding};
use crate::workdir::{Workdir, free_space};
pub use fitness::{Fitness, unfit};
pub use labels::labels;
pub use options::Options;
pub use pack::Packing;
use remote::Remote;
use space::{blame_space, expected_size, room};
pub use twice::{Reference, build_counterpart, build_twice};

/// The default limit on one phase of a transaction.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// The limit on one program of the image that finishing runs.
const IN_IMAGE_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// Bytes that must be free where the package cache is.
const LEAST_CACHE: u64 = 64 << 20;

/// Builds the recipe and publishes the artifact.
///
/// # Errors
/// Whatever a step fails with; nothing is published then, and what was published before is as it
/// was.
pub fn build(recipe: &Recipe, transactions: &[Transaction], options: &Options, report: &Report) -> Result<Artifact> {
    let started = SystemTime::now();
    be_root()?;
    if let Some(arch) = &recipe.settings.packages.arch {
        crate::sandbox::check_runnable(arch)?;
    }
    files::check(&recipe.settings.finish)?;
    let tools = tools(&recipe.settings.packages)?;
    // A wrong password is told now, not after the build.
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
        (Err(error), Ok(Some(path))) => Err(Failure::new(crate::error::exit_code(&error), "building the image")
            .because(error)
            .hint(format!("look around in it: osimg shell {}", path.display()))
            .into()),
        (Err(error), Ok(None)) => Err(error),
        (Err(error), Err(left)) => {
            report.warn(&format!("the workdir stays, and osimg doctor --clean removes it: {left:#}"));
            Err(error)
        }
        (Ok(_), Err(error)) => Err(error.context("removing the workdir")),
    }
}

/// What every step of one build knows.
struct Build<'a> {
    recipe: &'a Recipe,
    transactions: &'a [Transaction],
    options: &'a Options,
    report: &'a Report,
    started: SystemTime,
}

/// The tree and the package manager that a build begins with.
fn tools(settings: &PackageSettings) -> Result<Tools> {
    let (root, manager) = match &settings.bootstrap {
        Bootstrap::Host => (ToolRoot::host(), settings.manager),
        Bootstrap::Root(directory) => (ToolRoot::at(directory)?, settings.manager),
        // The image's own comes later; this one makes the root that has it.
        Bootstrap::Made => (ToolRoot::host(), ManagerChoice::Auto),
    };
    let manager = packages::open(manager, &root)?;
    Ok(Tools { root, manager })
}

/// What fills a root.
struct Tools {
    root: ToolRoot,
    manager: packages::Driver,
}

impl Build<'_> {
    fn run(&self, mut tools: Tools, mut staged: Staged, remote: Option<&dyn Registry>, workdir: &mut Workdir) -> Result<Artifact> {
        let report = self.report;
        let settings = &self.recipe.settings.packages;
        let keys = packages::pinned_keys(settings, self.transactions)?;
        if settings.bootstrap == Bootstrap::Made {
            tools = self.make_tools(&tools, workdir, &keys)?;
        }
        let dbpath = self.dbpath(&tools, workdir)?;
        let filled = self
            .fill(&tools, workdir, &keys, &dbpath)
            .map_err(|error| blame_space(error, &[&workdir.root(), workdir.path(), &self.options.cache]))?;

        self.look_at_the_clock(filled.source_date_epoch);
        let root = InstallRoot::open(&workdir.root())?;
        let removed = self.finish(&root, workdir, &filled)?;

        let labels = labels(&self.options.selinux, &workdir.root(), report)?;
        let owners =
            filled.owners.as_ref().map(|known| owners::owners(&root, known, &self.recipe.settings.finish.files, report)).transpose()?;
        let told = Told { labels: labels.as_labels(), owners: owners.as_ref() };
        let findings = verify(&workdir.root(), told, &self.options.allow, report)?;

        let packing = Packing { source_date_epoch: Some(filled.source_date_epoch), ..self.options.packing.clone() };
        let mut packed = pack::pack(&workdir.root(), &staged, &packing, told, expected_size(workdir, &filled), report)?;
        if let (Some(reference), Some(tarball)) = (&self.options.reference, packed.tarballs.first()) {
            twice::judge(reference, &tarball.sha256, &staged, workdir, &filled)?;
        }

        if self.options.fitness == Fitness::Required && !fitness::errors(&findings).is_empty() {
            let aside = staged.set_aside(&packed.summary.outputs)?;
            let doing = format!("publishing to {}", aside.parent().unwrap_or(Path::new(".")).display());
            return Err(unfit(&doing, &findings)
                .hint(format!("nothing was published; the tarball is kept for a look: osimg verify {}", aside.display()))
                .into());
        }

        let step = report.step("publishing");
        let standing = staged.settle(&packed.summary, self.options.wishes.existing, remote, report)?;
        packed.tarballs = staged.tarballs(&packed.summary.outputs);
        let day = || output::version(self.recipe, self.options.packing.source_date_epoch, self.started);
        let known = manifest::Known {
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
        let mut text = serde_json::to_string_pretty(&manifest).context("writing the manifest")? + "\n";
        if let Standing::Added(held_text) = &standing {
            // The documents are of all tarballs of the version.
            let held = held_tarballs(held_text).into_iter().filter(|held| packed.tarballs.iter().all(|new| new.file != held.file));
            manifest.tarballs.splice(0..0, held);
            text = with_tarballs(held_text, &manifest.tarballs, &[held_text, &text])?;
        }
        for document in self.options.documents.of(&manifest, staged.stem(), staged.written()?)? {
            staged.attach(&document.name(staged.stem()), &document.content)?;
        }
        let published = staged.commit(&packed.tarballs, text.as_bytes())?;
        step.finish(&published.tarballs.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", "));
        Ok(Artifact {
            tarballs: published.tarballs,
            manifest: published.manifest,
            packages: filled.installed.len(),
            digests: packed.tarballs,
            published: Vec::new(),
            steps: report.timings(),
            findings,
            warnings: report.warnings(),
        })
    }

    /// Times are cut to the date of the newest package: that of a clock which is behind it cannot
    /// be told from a package's own.
    fn look_at_the_clock(&self, source_date_epoch: i64) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if u64::try_from(source_date_epoch).is_ok_and(|date| date > now) {
            self.report.warn(&format!(
                "this host's clock is behind the date of the image, {source_date_epoch} seconds since 1970: files that scriptlets make \
                 are dated by it, and no other build will give the same bytes; set the clock"
            ));
        }
    }

    /// A root of the image's own package manager, made by the host's.
    fn make_tools(&self, host: &Tools, workdir: &Workdir, keys: &[PinnedKey]) -> Result<Tools> {
        let (root, state) = workdir.bootstrap();
        let settings = &self.recipe.settings.packages;
        let names = packages::bootstrap_packages(settings);
        self.report.note(&format!("making a root for the package manager: {}", names.join(", ")));
        let place = |(index, text): (usize, &String)| Spec { text: text.clone(), line: 1, column: index + 1 };
        let transaction = Transaction { line: 1, install: names.iter().enumerate().map(place).collect(), ..Transaction::default() };
        let settings =
            PackageSettings { docs: Some(false), install_weak_deps: Some(false), languages: None, exclude: Vec::new(), ..settings.clone() };
        let mut job = Job {
            recipe: Path::new("bootstrap_packages"),
            tools: &host.root,
            purpose: Purpose::Tools,
            root: &root,
            scratch: &workdir.scratch(),
            state: &state,
            cache: &Cache::open(&self.options.cache, Programs::Trusted)?,
            lock: None,
            only: None,
            extent: Extent::Whole,
            settings: &settings,
            keys: keys.to_vec(),
            devices: self.options.devices,
            timeout: Some(settings.timeout.unwrap_or(DEFAULT_TIMEOUT)),
            idle: self.options.idle,
            source_date_epoch: None,
            clock: None,
            dbpath: packages::default_dbpath(settings.releasever.as_deref()),
            given: GivenAway::default(),
            report: self.report,
        };
        packages::fill(&host.manager, &mut job, &[transaction], &mut |plan| room(&root, plan.installed_size()))
            .context("making the bootstrap root")?;
        let root = ToolRoot::at(&root)?;
        let manager = packages::open(self.recipe.settings.packages.manager, &root)?;
        Ok(Tools { root, manager })
    }

    /// Where the image's rpmdb goes: where the settings say, else where the image's own rpm puts
    /// it, else what its release is known for.
    fn dbpath(&self, tools: &Tools, workdir: &Workdir) -> Result<String> {
        let settings = &self.recipe.settings.packages;
        let own = match (&settings.dbpath, tools.root.is_host()) {
            (Some(path), _) => Some(path.clone()),
            (None, true) => None,
            (None, false) => packages::dbpath_of_tools(&tools.root, &workdir.scratch(), &workdir.root())?,
        };
        Ok(own.unwrap_or_else(|| packages::known_dbpath(settings)))
    }

    /// Steps 2 and 3: the package manager fills the root inside the sandbox.
    fn fill(&self, tools: &Tools, workdir: &mut Workdir, keys: &[PinnedKey], dbpath: &str) -> Result<Filled> {
        let (root, scratch, state) = (workdir.root(), workdir.scratch(), workdir.state());
        let settings = &self.recipe.settings;
        let repositories = settings.packages.repositories.iter().map(|repository| repository.id.clone()).collect();
        let programs =
            if settings.packages.bootstrap == Bootstrap::Made { Programs::OfPackages { repositories } } else { Programs::Trusted };
        let cache = Cache::open(&self.options.cache, programs)?;
        let mut job = Job {
            recipe: &self.recipe.path,
            tools: &tools.root,
            purpose: Purpose::Image,
            root: &root,
            scratch: &scratch,
            state: &state,
            cache: &cache,
            lock: self.options.lock.as_ref().map(|file| &file.lock),
            only: None,
            extent: Extent::Whole,
            settings: &settings.packages,
            keys: keys.to_vec(),
            devices: self.options.devices,
            timeout: Some(settings.packages.timeout.unwrap_or(DEFAULT_TIMEOUT)),
            idle: self.options.idle,
            source_date_epoch: self.options.packing.source_date_epoch,
            clock: self.options.clock.as_ref(),
            dbpath,
            given: GivenAway::default(),
            report: self.report,
        };
        packages::fill(&tools.manager, &mut job, self.transactions, &mut |plan| {
            // A tenth above the sizes of the packages: the rpmdb, the initramfs and files of
            // scriptlets.
            let size = plan.installed_size();
            workdir.reserve(size + size / 10 + (64 << 20))?;
            let free = free_space(cache.directory())?;
            if free < LEAST_CACHE {
                return Err(Failure::new(
                    ExitCode::Space,
                    format!("the package cache {} has only {} free", cache.path().display(), bytes(free)),
                )
                .hint("name a larger place: --cache DIR")
                .into());
            }
            initramfs::prepare(&InstallRoot::open(&root)?, settings.finish.initramfs, contents(plan))
        })
    }

    /// Step 4: the tree becomes one that every node may start from; returns what was removed.
    fn finish(&self, root: &InstallRoot, workdir: &Workdir, filled: &Filled) -> Result<Vec<String>> {
        let step = self.report.step("finishing the tree");
        let settings = &self.recipe.settings.finish;
        files::apply(root, settings)?;
        if !settings.certificates.is_empty() {
            let store = certificates::store(root)?;
            let bodies = certificates::place(root, store, &settings.certificates)?;
            self.run_in_image(store.command, workdir, filled)?;
            certificates::check(root, store, &bodies)?;
        }
        initramfs::withdraw(root)?;
        machine_id::apply(root, settings.machine_id)?;
        let removed = leftovers::remove(root, &filled.dbpath, &settings.files)?;
        step.finish(&format!("{} leftovers removed", removed.len()));
        Ok(removed)
    }

    /// Runs a program of the image inside the image, without a network.
    fn run_in_image(&self, argv: &[&str], workdir: &Workdir, filled: &Filled) -> Result<()> {
        let command = CommandLine::new(argv.iter().copied())
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .env("LC_ALL", "C.UTF-8")
            .env("SOURCE_DATE_EPOCH", filled.source_date_epoch.to_string());
        self.report.command(&command.quoted());
        let plan = image_plan(&workdir.root(), &workdir.scratch(), self.options.devices, command);
        let mut said = process::Tail::new(4096);
        let outcome = Sandbox::run(&plan, Limits { total: Some(IN_IMAGE_TIMEOUT), idle: None }, &mut |_: Stream, line| {
            said.push(line);
            self.report.output(line);
            Ok(())
        })?;
        if !outcome.success() {
            return Err(Failure::new(
                ExitCode::Transaction,
                format!("`{}` in the image ended with {}:\n{}", plan.command.quoted(), outcome.describe(), said.last(8)),
            )
            .into());
        }
        Ok(())
    }
}

/// What a node would miss in the tree; told, but no reason to stop. Contents are as rpm just wrote
/// them and are not digested again.
fn verify(root: &Path, told: Told<'_>, allow: &BTreeSet<String>, report: &Report) -> Result<Vec<Finding>> {
    let step = report.step("verifying the tree");
    let options =
        verify::Options { allow: allow.clone(), digests: Digests::None, check: &process::check_stop, ..verify::Options::default() };
    let findings = match verify::tree(root, told, &options) {
        Ok(findings) => findings,
        Err(error) => {
            process::check_stop()?;
            // Whatever is wrong with the tree itself, packing says more of it.
            report.warn(&format!("the tree was not verified: {error:#}"));
            return Ok(Vec::new());
        }
    };
    step.finish(&format!("{} errors, {} warnings for {}", findings.errors(), findings.warnings(), findings.profile));
    for line in findings.lines() {
        report.caution(&crate::text::line(&line));
    }
    Ok(findings.findings)
}

/// Owners, devices and mounts are root's to give: the host's, or that of a user namespace
/// ([`crate::sandbox::become_root`]).
fn be_root() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::new(ExitCode::Host, "building an image takes root, or a user namespace: files in it belong to many users").into())
}

/// What the initramfs step has to know of the packages to come.
fn contents(plan: &TransactionPlan) -> Contents<'_> {
    let kernel = plan.install.iter().find(|p| p.name == "kernel-core" || p.name.starts_with("linux-image-") || p.name == "kernel");
    Contents { kernel: kernel.map(|p| p.version.as_str()), zstd: plan.install.iter().any(|p| p.name == "zstd") }
}

/// A sandbox in which the install root itself is `/`.
#[must_use]
pub fn image_plan(root: &Path, scratch: &Path, devices: Devices, command: CommandLine) -> Plan {
    Plan {
        root: root.to_owned(),
        scratch: scratch.to_owned(),
        view: View::Image,
        network: Network::None,
        devices,
        terminal: Terminal::None,
        owners: Owners::Ignored,
        hostname: "localhost".into(),
        mounts: Vec::new(),
        command,
    }
}
