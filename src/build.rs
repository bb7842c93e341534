//! The pipeline: a recipe becomes a published artifact. Reads like the shell script that it replaces.

use anyhow::Context;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::archive::{self, Format, Level};
use crate::artifact::{self, Artifact, Manifest};
use crate::calendar;
use crate::deploy::ImageRelease;
use crate::deploy::pieces::{Gathering, Mismatch, Source};
use crate::error::{ExitCode, Failure, Result};
use crate::finish::initramfs::Contents;
use crate::finish::{certificates, files, initramfs, leftovers, machine_id, selinux};
use crate::packages::{self, Filled, Job, PinnedKey, TransactionPlan};
use crate::process::{self, CommandLine};
use crate::recipe::{Recipe, Transaction};
use crate::registry::{self, Address, Directory, Names, Piece, Registry, Set, Staged, Wishes};
use crate::report::{Report, Unit, bytes};
use crate::sandbox::{Backing, Devices, InstallRoot, Limits, Network, Plan, Sandbox, Stream, Terminal, View};
use crate::workdir::{Keep, Place, Workdir, free_space, used_space};

/// The default limit on one phase of a transaction.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// The folder that a build leaves its artifact in before it goes to a remote registry.
const LOCAL: &str = "out";

/// How a build is done, beside what the recipe and its settings say.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the artifact goes.
    pub registry: Address,
    /// How it is published there.
    pub wishes: Wishes,
    /// One file instead of the registry's own names.
    pub output: Option<PathBuf>,
    /// The formats, the first one's path is printed.
    pub formats: Vec<Format>,
    /// How hard to compress.
    pub level: Level,
    /// Worker threads.
    pub jobs: NonZeroUsize,
    /// Bytes of memory that packing may take.
    pub memory: Option<u64>,
    /// Where labels come from.
    pub selinux: selinux::Mode,
    /// The package cache.
    pub cache: PathBuf,
    /// Where the workdir is made.
    pub workdir: Place,
    /// What becomes of it.
    pub keep: Keep,
    /// Which /dev scriptlets see.
    pub devices: Devices,
    /// Seconds since 1970 that files are dated by at most; else the newest package's build time.
    pub source_date_epoch: Option<i64>,
}

/// Builds the recipe and publishes the artifact.
///
/// # Errors
/// Whatever a step fails with; nothing is published then, and what was published before is as it was.
pub fn build(recipe: &Recipe, transactions: &[Transaction], options: &Options, report: &Report) -> Result<Artifact> {
    let started = SystemTime::now();
    be_root()?;
    let manager = packages::open(recipe.settings.packages.manager)?;
    // A wrong password is told now, not after the build.
    let remote = Remote::open(recipe, options, report)?;
    // Before any file is opened: a file of the host's namespace cannot be linked by its name in ours.
    crate::sandbox::enter_private_mounts()?;
    let staged = stage(recipe, options, started)?;
    let mut workdir = Workdir::create(&options.workdir, options.keep)?;
    let result = run(recipe, transactions, options, report, manager.as_ref(), staged, &mut workdir, started);
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
        (Err(error), _) => Err(error),
        (Ok(_), Err(error)) => Err(error.context("removing the workdir")),
    }
}

#[expect(clippy::too_many_arguments, reason = "the two halves of one function, cut where the workdir's life begins")]
fn run(
    recipe: &Recipe,
    transactions: &[Transaction],
    options: &Options,
    report: &Report,
    manager: &dyn packages::PackageManager,
    staged: Staged,
    workdir: &mut Workdir,
    started: SystemTime,
) -> Result<Artifact> {
    let settings = &recipe.settings.packages;
    let keys = packages::pinned_keys(settings, &workdir.scratch(), &workdir.root())?;
    let dbpath = settings.dbpath.clone().unwrap_or_else(|| packages::default_dbpath(settings.releasever.as_deref()).to_owned());
    let cache = lock_cache(&options.cache, report)?;
    let filled = fill(recipe, transactions, options, report, manager, workdir, &keys, &dbpath)?;
    drop(cache);

    let root = InstallRoot::open(&workdir.root())?;
    let removed = finish(recipe, &root, workdir, &filled, options, report)?;

    let step = report.step("packing");
    let labels = labels(&options.selinux, &workdir.root(), report)?;
    let outputs = staged.sinks()?.into_iter().map(|(format, file)| archive::Output { format, sink: Box::new(file) }).collect();
    let expected = expected_size(workdir, &filled);
    let summary = archive::write_tree(
        &workdir.root(),
        outputs,
        &archive::Options {
            level: options.level,
            jobs: options.jobs,
            memory: options.memory,
            source_date_epoch: Some(filled.source_date_epoch),
            labels: labels.as_labels(),
            progress: &|progress| step.progress(Unit::Bytes, progress.bytes, expected.max(progress.bytes)),
            cancelled: &|| process::stop_requested().is_some(),
        },
    );
    process::check_stop()?;
    let summary = summary.with_context(|| format!("making the artifact in {}", staged.folder().display()))?;
    for warning in &summary.warnings {
        report.warn(warning);
    }
    let total: u64 = summary.outputs.iter().map(|o| o.bytes).sum();
    step.finish(&format!("{} members, {} as {}", summary.entries, bytes(summary.bytes), bytes(total)));

    let step = report.step("publishing");
    let tarballs = staged.tarballs(&summary.outputs);
    let manifest = manifest(recipe, options, report, &root, &filled, &keys, &summary, &tarballs, removed, &labels, workdir, started)?;
    let mut text = serde_json::to_vec_pretty(&manifest).context("writing the manifest")?;
    text.push(b'\n');
    let published = staged.commit(&tarballs, &text)?;
    step.finish(&published.tarballs.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", "));
    Ok(Artifact {
        tarballs: published.tarballs,
        manifest: published.manifest,
        packages: filled.installed.len(),
        digests: tarballs,
        published: Vec::new(),
        steps: report.timings(),
        warnings: report.warnings(),
    })
}

/// A registry elsewhere, opened before the build, and what goes there with the tarball.
#[derive(Debug)]
struct Remote {
    registry: Box<dyn Registry>,
    address: Address,
    properties: BTreeMap<String, String>,
    source: Option<Source>,
    cache: PathBuf,
    kickstart: Option<Piece>,
}

impl Remote {
    fn open(recipe: &Recipe, options: &Options, report: &Report) -> Result<Option<Self>> {
        if options.output.is_some() || matches!(options.registry, Address::Directory(_)) {
            return Ok(None);
        }
        let deploy = &recipe.settings.deploy;
        let piece = |path: &Option<String>| path.as_deref().map(|path| Piece::of_file(Path::new(path), |_, _| {})).transpose();
        let registry = registry::open(&options.registry, &options.wishes, report)?;
        report.note(&registry.describe());
        Ok(Some(Self {
            registry,
            address: options.registry.clone(),
            properties: recipe.settings.image.properties.clone(),
            source: Source::of_settings(deploy)?,
            cache: options.cache.clone(),
            kickstart: piece(&deploy.kickstart)?,
        }))
    }

    /// The installer's pieces, of the release that was built.
    fn boot_pieces(&self, set: &mut Set, report: &Report) -> Result<()> {
        if let Some(source) = &self.source {
            let how = Gathering { cache: &self.cache, ca: None, mismatch: Mismatch::Refuse };
            source.gather(&ImageRelease::of_set(set), &how, report)?.join(set);
        }
        Ok(())
    }

    /// Publishes every tarball of the artifact, and writes into its manifest where it is.
    fn publish(self, mut artifact: Artifact, report: &Report) -> Result<Artifact> {
        for path in &artifact.tarballs {
            let mut set = Set::of_tarball(path, |_, _| {})?;
            set.properties.clone_from(&self.properties);
            set.kickstart.clone_from(&self.kickstart);
            let published = self.boot_pieces(&mut set, report).and_then(|()| self.registry.publish(&set, report));
            let references = published.map_err(|error| {
                Failure::new(crate::error::exit_code(&error), format!("publishing {}", path.display())).because(error).hint(format!(
                    "the artifact is whole: osimg publish {} --registry {}",
                    path.display(),
                    self.address
                ))
            })?;
            registry::record(&artifact.manifest, &references)?;
            artifact.published.push(serde_json::to_value(&references).context("writing the references")?);
        }
        artifact.steps = report.timings();
        artifact.warnings = report.warnings();
        Ok(artifact)
    }
}

/// About how large the tar will be, for the estimate: what a root in memory takes up, else what the packages say and a tenth.
fn expected_size(workdir: &Workdir, filled: &Filled) -> u64 {
    let said = filled.plans.iter().map(TransactionPlan::installed_size).sum::<u64>();
    match workdir.backing() {
        Backing::Memory => used_space(&workdir.root()).unwrap_or(said),
        Backing::Disk => said + said / 10,
    }
}

/// Only root may build for now: owners, devices and mounts are the kernel's to give.
fn be_root() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::new(ExitCode::Host, "building an image takes root: files in it belong to many users")
        .hint("run it with sudo; osimg plan needs no root")
        .into())
}

/// The output, locked, before any work: a missing folder is found in the first second.
fn stage(recipe: &Recipe, options: &Options, started: SystemTime) -> Result<Staged> {
    match &options.output {
        Some(file) => {
            let folder = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            if !folder.is_dir() {
                return Err(Failure::new(ExitCode::Space, format!("opening the output folder {}: there is none", folder.display()))
                    .hint(format!("make it: mkdir -p {}", folder.display()))
                    .into());
            }
            Directory::open(folder)?.stage(Names::of_output(file)?)
        }
        None => {
            let folder = match &options.registry {
                Address::Directory(folder) => folder.as_path(),
                // What is sent to a remote registry is kept here first: whole, with its manifest, and again there after a failed upload.
                Address::Tree(..) | Address::Glance(_) | Address::Oci(_) => Path::new(LOCAL),
            };
            let image = &recipe.settings.image;
            let version = image.version.clone().unwrap_or_else(|| date_of(options.source_date_epoch, started));
            Directory::open(folder)?.stage(Names::versioned(&recipe.name(), &version, &options.formats))
        }
    }
}

/// `YYYYMMDD` of the given time, else of today, in UTC: the version of an image whose settings give none.
fn date_of(epoch: Option<i64>, now: SystemTime) -> String {
    let today = || now.duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(0));
    calendar::date(epoch.unwrap_or_else(today))
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

/// Steps 2 and 3: the package manager fills the root inside the sandbox.
#[expect(clippy::too_many_arguments, reason = "the job's parts, each from another step")]
fn fill(
    recipe: &Recipe,
    transactions: &[Transaction],
    options: &Options,
    report: &Report,
    manager: &dyn packages::PackageManager,
    workdir: &mut Workdir,
    keys: &[PinnedKey],
    dbpath: &str,
) -> Result<Filled> {
    let (root, scratch, state) = (workdir.root(), workdir.scratch(), workdir.state());
    let settings = &recipe.settings;
    let mut job = Job {
        recipe: &recipe.path,
        root: &root,
        scratch: &scratch,
        state: &state,
        cache: &options.cache,
        settings: &settings.packages,
        keys,
        devices: options.devices,
        timeout: Some(settings.packages.timeout.unwrap_or(DEFAULT_TIMEOUT)),
        source_date_epoch: options.source_date_epoch,
        dbpath,
        report,
    };
    let mut reserved = 0;
    packages::fill(manager, &mut job, transactions, &mut |plan| {
        reserved += plan.installed_size();
        // A tenth above what the packages say: the rpmdb, the initramfs and what scriptlets make.
        workdir.reserve(reserved + reserved / 10 + (64 << 20))?;
        let cache = free_space(&options.cache)?;
        if cache < (64 << 20) {
            return Err(Failure::new(
                ExitCode::Space,
                format!("the package cache {} has only {} free", options.cache.display(), bytes(cache)),
            )
            .hint("name a larger place: --cache DIR")
            .into());
        }
        initramfs::prepare(&InstallRoot::open(&root)?, settings.finish.initramfs, contents(plan))
    })
}

/// What the initramfs step has to know of the packages to come.
fn contents(plan: &TransactionPlan) -> Contents<'_> {
    let kernel = plan.install.iter().find(|p| p.name == "kernel-core" || p.name.starts_with("linux-image-") || p.name == "kernel");
    Contents { kernel: kernel.map(|p| p.version.as_str()), zstd: plan.install.iter().any(|p| p.name == "zstd") }
}

/// Step 4: the tree becomes one that every node may start from; returns what was removed.
fn finish(
    recipe: &Recipe,
    root: &InstallRoot,
    workdir: &Workdir,
    filled: &Filled,
    options: &Options,
    report: &Report,
) -> Result<Vec<String>> {
    let step = report.step("finishing the tree");
    let settings = &recipe.settings.finish;
    files::apply(root, settings)?;
    if !settings.certificates.is_empty() {
        let store = certificates::store(root)?;
        let bodies = certificates::place(root, store, &settings.certificates)?;
        run_in_image(store.command, workdir, filled, options, report)?;
        certificates::check(root, store, &bodies)?;
    }
    initramfs::withdraw(root)?;
    machine_id::apply(root, settings.machine_id)?;
    let removed = leftovers::remove(root, &filled.dbpath)?;
    step.finish(&format!("{} leftovers removed", removed.len()));
    Ok(removed)
}

/// Runs a program of the image inside the image, without a network.
fn run_in_image(argv: &[&str], workdir: &Workdir, filled: &Filled, options: &Options, report: &Report) -> Result<()> {
    let command = CommandLine::new(argv.iter().copied())
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
        .env("LC_ALL", "C.UTF-8")
        .env("SOURCE_DATE_EPOCH", filled.source_date_epoch.to_string());
    report.command(&command.quoted());
    let plan = image_plan(&workdir.root(), &workdir.scratch(), options.devices, command);
    let mut said = process::Tail::new(4096);
    let outcome = Sandbox::run(&plan, Limits { total: Some(Duration::from_secs(600)), idle: None }, &mut |_: Stream, line| {
        said.push(line);
        report.output(line);
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

/// Where the labels of an archive come from, ready for the archiver.
#[derive(Debug)]
pub struct ChosenLabels {
    source: Chosen,
    /// What is said of it in the manifest.
    pub description: String,
}

#[derive(Debug)]
enum Chosen {
    Policy(Box<selinux::FileContexts>),
    Tree(archive::FromTree),
    Nowhere(archive::NoLabels),
}

impl ChosenLabels {
    /// For the archiver.
    #[must_use]
    pub fn as_labels(&self) -> &dyn archive::Labels {
        match &self.source {
            Chosen::Policy(contexts) => contexts.as_ref(),
            Chosen::Tree(tree) => tree,
            Chosen::Nowhere(none) => none,
        }
    }
}

impl archive::Labels for selinux::FileContexts {
    fn label(&self, path: &[u8], mode: u32) -> Option<Vec<u8>> {
        match self.lookup(path, mode) {
            selinux::Lookup::Context(context) => Some(context.to_vec()),
            selinux::Lookup::Excluded | selinux::Lookup::NoMatch => None,
        }
    }
}

/// Reads the policy that the mode names.
///
/// # Errors
/// When a policy is there and cannot be read.
pub fn labels(mode: &selinux::Mode, root: &Path, report: &Report) -> Result<ChosenLabels> {
    let policy = |contexts: selinux::FileContexts, from: &str| ChosenLabels {
        description: format!("computed from {from} ({} specs)", contexts.specs()),
        source: Chosen::Policy(Box::new(contexts)),
    };
    Ok(match mode {
        selinux::Mode::Auto => match selinux::FileContexts::load_from_tree(root)? {
            Some(contexts) => policy(contexts, "the image's own policy"),
            None => {
                report.note("the image has no SELinux policy: its files get no labels");
                ChosenLabels { source: Chosen::Nowhere(archive::NoLabels), description: "none: the image has no policy".into() }
            }
        },
        selinux::Mode::Policy(file) => policy(selinux::FileContexts::load(file)?, &file.display().to_string()),
        selinux::Mode::FromTree => ChosenLabels { source: Chosen::Tree(archive::FromTree), description: "taken from the tree".into() },
        selinux::Mode::None => ChosenLabels { source: Chosen::Nowhere(archive::NoLabels), description: "none: as asked".into() },
    })
}

#[expect(clippy::too_many_arguments, reason = "a manifest says everything that the build knows")]
fn manifest(
    recipe: &Recipe,
    options: &Options,
    report: &Report,
    root: &InstallRoot,
    filled: &Filled,
    keys: &[PinnedKey],
    summary: &archive::Summary,
    tarballs: &[artifact::Tarball],
    removed: Vec<String>,
    labels: &ChosenLabels,
    workdir: &Workdir,
    started: SystemTime,
) -> Result<Manifest> {
    let planned: HashMap<&str, _> = filled.plans.iter().flat_map(|plan| &plan.install).map(|p| (p.nevra.as_str(), p)).collect();
    let packages = filled
        .installed
        .iter()
        .map(|package| {
            let plan = planned.get(package.nevra.as_str());
            let signer = package
                .key_id
                .as_deref()
                .map(|id| packages::keys::signer(keys, id).map_or_else(|| id.to_owned(), |key| key.fingerprint.clone()));
            artifact::Package {
                nevra: package.nevra.clone(),
                checksum: plan.and_then(|p| p.checksum.clone()),
                repository: plan.map(|p| p.repo.clone()),
                location: plan.map(|p| p.location.clone()),
                signer,
                size: package.size,
                reason: plan.map(|p| p.reason.clone()),
                license: package.license.clone(),
                source: package.source.clone(),
            }
        })
        .collect();
    let version = recipe.settings.image.version.clone().unwrap_or_else(|| date_of(options.source_date_epoch, started));
    Ok(Manifest {
        manifest_version: artifact::MANIFEST_VERSION,
        name: recipe.name(),
        version,
        arch: recipe.settings.packages.arch.clone().unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        source_date_epoch: filled.source_date_epoch,
        builder: artifact::Builder { osimg: env!("CARGO_PKG_VERSION").into(), package_manager: filled.manager.clone() },
        recipe: artifact::Input {
            name: recipe.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
            text: recipe.script.source().to_owned(),
            sha256: hex(&Sha256::digest(recipe.script.source().as_bytes())),
        },
        settings: json!(recipe.settings),
        os_release: os_release(root)?,
        kernels: kernels(root)?,
        tarballs: tarballs.to_vec(),
        archive: artifact::Archive {
            entries: summary.entries,
            bytes: summary.bytes,
            level: options.level,
            labels: summary.labels,
            selinux: labels.description.clone(),
        },
        repositories: filled.plans.last().map(|plan| plan.repositories.clone()).unwrap_or_default(),
        keys: keys.to_vec(),
        packages,
        removed,
        warnings: report.warnings(),
        build: artifact::Build {
            started: started.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
            steps: report.timings(),
            workdir: workdir.backing(),
        },
    })
}

/// The image's os-release, unquoted; see os-release(5).
fn os_release(root: &InstallRoot) -> Result<BTreeMap<String, String>> {
    let text = match root.read(Path::new("etc/os-release"), 1 << 20)? {
        Some(text) => text,
        None => root.read(Path::new("usr/lib/os-release"), 1 << 20)?.unwrap_or_default(),
    };
    Ok(String::from_utf8_lossy(&text)
        .lines()
        .filter_map(|line| line.trim().split_once('='))
        .filter(|(key, _)| !key.starts_with('#'))
        .map(|(key, value)| (key.to_owned(), value.trim_matches(['"', '\'']).to_owned()))
        .collect())
}

/// Versions of the kernels that Anaconda would find: names `boot/vmlinuz-VERSION` without `-rescue-`.
fn kernels(root: &InstallRoot) -> Result<Vec<String>> {
    let names = root.names(Path::new("boot"))?;
    Ok(names
        .iter()
        .filter_map(|n| n.to_str()?.strip_prefix("vmlinuz-").map(str::to_owned))
        .filter(|v| !v.contains("-rescue-") && !v.starts_with("0-rescue"))
        .collect())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
