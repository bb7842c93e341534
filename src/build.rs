//! The pipeline: a recipe becomes a published artifact. Reads like the shell script that it replaces.

mod labels;
mod manifest;
mod output;
mod owners;
pub mod pack;
mod twice;

use anyhow::Context;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::archive::Format;
use crate::artifact::Artifact;
use crate::error::{ExitCode, Failure, Result};
use crate::finish::initramfs::Contents;
use crate::finish::{certificates, files, initramfs, leftovers, machine_id};
use crate::packages::{self, Filled, Job, PinnedKey, TransactionPlan};
use crate::process::{self, CommandLine};
use crate::recipe::{Recipe, Transaction};
use crate::registry::{Address, Staged};
use crate::report::{Report, bytes};
use crate::sandbox::{Backing, Devices, InstallRoot, Limits, Network, Plan, Sandbox, Stream, Terminal, View};
use crate::workdir::{Keep, Place, Workdir, free_space, used_space};
pub use pack::Packing;
pub use twice::{Reference, build_twice};

/// The default limit on one phase of a transaction.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// The limit on one program of the image that finishing runs.
const IN_IMAGE_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// Bytes that must be free where the package cache is.
const LEAST_CACHE: u64 = 64 << 20;

/// How a build is done, beside what the recipe and its settings say.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the artifact goes.
    pub registry: Address,
    /// One file instead of the registry's own names.
    pub output: Option<PathBuf>,
    /// The formats, the first one's path is printed.
    pub formats: Vec<Format>,
    /// How the tree is packed.
    pub packing: Packing,
    /// The package cache.
    pub cache: PathBuf,
    /// Where the workdir is made.
    pub workdir: Place,
    /// What becomes of it.
    pub keep: Keep,
    /// Which /dev scriptlets see.
    pub devices: Devices,
    /// How long a phase of a transaction may say nothing.
    pub idle: Option<Duration>,
    /// What must come out, when it is known.
    pub reference: Option<Reference>,
}

/// Builds the recipe and publishes the artifact.
///
/// # Errors
/// Whatever a step fails with; nothing is published then, and what was published before is as it was.
pub fn build(recipe: &Recipe, transactions: &[Transaction], options: &Options, report: &Report) -> Result<Artifact> {
    let started = SystemTime::now();
    be_root()?;
    let manager = packages::open(recipe.settings.packages.manager)?;
    // Before any file is opened: a file of the host's namespace cannot be linked by its name in ours.
    crate::sandbox::enter_private_mounts()?;
    let staged = output::stage(recipe, options, started)?;
    let mut workdir = Workdir::create(&options.workdir, options.keep)?;
    let build = Build { recipe, transactions, options, report, manager: manager.as_ref(), started };
    let result = build.run(staged, &mut workdir);
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
        (Err(error), _) => Err(error),
        (Ok(_), Err(error)) => Err(error.context("removing the workdir")),
    }
}

/// What every step of one build knows.
struct Build<'a> {
    recipe: &'a Recipe,
    transactions: &'a [Transaction],
    options: &'a Options,
    report: &'a Report,
    manager: &'a dyn packages::PackageManager,
    started: SystemTime,
}

impl Build<'_> {
    fn run(&self, staged: Staged, workdir: &mut Workdir) -> Result<Artifact> {
        let report = self.report;
        let settings = &self.recipe.settings.packages;
        let keys = packages::pinned_keys(settings, &workdir.scratch(), &workdir.root())?;
        let dbpath = settings.dbpath.clone().unwrap_or_else(|| packages::default_dbpath(settings.releasever.as_deref()).to_owned());
        let cache = lock_cache(&self.options.cache, report)?;
        let filled = self
            .fill(workdir, &keys, &dbpath)
            .map_err(|error| blame_space(error, &[&workdir.root(), workdir.path(), &self.options.cache]))?;
        drop(cache);

        let root = InstallRoot::open(&workdir.root())?;
        let removed = self.finish(&root, workdir, &filled)?;

        let packing = Packing { source_date_epoch: Some(filled.source_date_epoch), ..self.options.packing.clone() };
        let owners = filled
            .owners
            .as_ref()
            .map(|packaged| owners::owners(&root, packaged, &self.recipe.settings.finish.files, report))
            .transpose()?;
        let packed = pack::pack(&workdir.root(), &staged, &packing, owners.as_ref(), expected_size(workdir, &filled), report)?;
        if let (Some(reference), Some(tarball)) = (&self.options.reference, packed.tarballs.first()) {
            twice::judge(reference, &tarball.sha256, &staged, workdir, &filled)?;
        }

        let step = report.step("publishing");
        let known = manifest::Known { root: &root, filled: &filled, keys: &keys, packed: &packed, removed, workdir: workdir.backing() };
        let mut text = serde_json::to_string_pretty(&self.manifest(known)?).context("writing the manifest")?;
        text.push('\n');
        let published = staged.commit(&packed.tarballs, crate::secrets::concealed(&text).as_bytes())?;
        step.finish(&published.tarballs.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", "));
        Ok(Artifact {
            tarballs: published.tarballs,
            manifest: published.manifest,
            packages: filled.installed.len(),
            digests: packed.tarballs,
            steps: report.timings(),
            warnings: report.warnings(),
        })
    }

    /// Steps 2 and 3: the package manager fills the root inside the sandbox.
    fn fill(&self, workdir: &mut Workdir, keys: &[PinnedKey], dbpath: &str) -> Result<Filled> {
        let (root, scratch, state) = (workdir.root(), workdir.scratch(), workdir.state());
        let settings = &self.recipe.settings;
        let cache = &self.options.cache;
        let mut job = Job {
            recipe: &self.recipe.path,
            root: &root,
            scratch: &scratch,
            state: &state,
            cache,
            settings: &settings.packages,
            keys,
            devices: self.options.devices,
            timeout: Some(settings.packages.timeout.unwrap_or(DEFAULT_TIMEOUT)),
            idle: self.options.idle,
            source_date_epoch: self.options.packing.source_date_epoch,
            dbpath,
            report: self.report,
        };
        let mut reserved = 0;
        packages::fill(self.manager, &mut job, self.transactions, &mut |plan| {
            reserved += plan.installed_size();
            // A tenth above what the packages say: the rpmdb, the initramfs and what scriptlets make.
            workdir.reserve(reserved + reserved / 10 + (64 << 20))?;
            let free = free_space(cache)?;
            if free < LEAST_CACHE {
                return Err(Failure::new(ExitCode::Space, format!("the package cache {} has only {} free", cache.display(), bytes(free)))
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
        let removed = leftovers::remove(root, &filled.dbpath)?;
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

/// Bytes below which a place counts as full: databases fail there with words of their own.
const AS_GOOD_AS_FULL: u64 = 1 << 20;
/// The same for files.
const AS_GOOD_AS_SPENT: u64 = 64;

/// A failure for which a full place is the better explanation says so; whoever failed knew only that something did not work.
fn blame_space(error: anyhow::Error, places: &[&Path]) -> anyhow::Error {
    if !matches!(crate::error::exit_code(&error), ExitCode::Transaction | ExitCode::Unexpected | ExitCode::Repository) {
        return error;
    }
    for place in places {
        let what = match (free_space(place), crate::workdir::free_inodes(place)) {
            (Ok(free), _) if free < AS_GOOD_AS_FULL => format!("only {} are free", bytes(free)),
            (_, Ok(Some(inodes))) if inodes < AS_GOOD_AS_SPENT => format!("only {inodes} more files can be made"),
            _ => continue,
        };
        return Failure::new(ExitCode::Space, format!("no space left: {what} in {}", place.display()))
            .because(error)
            .hint("name a larger place: --workdir DIR, --cache DIR")
            .into();
    }
    error
}

/// About how large the tar will be, for the estimate: what a root in memory takes up, else what the packages say and a tenth.
fn expected_size(workdir: &Workdir, filled: &Filled) -> u64 {
    let said = filled.plans.iter().map(TransactionPlan::installed_size).sum::<u64>();
    match workdir.backing() {
        Backing::Memory => used_space(&workdir.root()).unwrap_or(said),
        Backing::Disk => said + said / 10,
    }
}

/// Owners, devices and mounts are root's to give: the host's, or that of a user namespace ([`crate::sandbox::become_root`]).
fn be_root() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::new(ExitCode::Host, "building an image takes root, or a user namespace: files in it belong to many users").into())
}

/// One build at a time uses the cache: dnf's own lock means nothing across pid namespaces.
fn lock_cache(cache: &Path, report: &Report) -> Result<nix::fcntl::Flock<std::fs::File>> {
    use nix::fcntl::{Flock, FlockArg};
    std::fs::create_dir_all(cache).with_context(|| format!("making the package cache {}", cache.display()))?;
    let path = cache.join(".lock");
    let mut file = std::fs::File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("opening {}", path.display()))?;
    let mut told = false;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((file, nix::errno::Errno::EWOULDBLOCK)) => file,
            Err((_, error)) => return Err(error).with_context(|| format!("locking {}", path.display())),
        };
        if !told {
            report.note(&format!("waiting for another build that uses the package cache {}", cache.display()));
            told = true;
        }
        process::check_stop()?;
        std::thread::sleep(Duration::from_millis(200));
    }
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
        hostname: "localhost".into(),
        mounts: Vec::new(),
        command,
    }
}
