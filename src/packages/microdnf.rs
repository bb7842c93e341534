//! microdnf, by its command: there is no other way to speak to it, and a host that has it may have nothing else, not even Python.
//!
//! It downloads with `tsflags=test`, with which rpm looks at the packages and runs no code of theirs, and installs with the same words
//! and no network from what is in the cache. libdnf's own check of signatures is off and rpm's is on, by keys that are imported first.

mod files;
mod said;
mod table;
mod words;

use anyhow::Context;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

use super::cache::CACHE;
use super::driver::Phase;
use super::events::TransactionPlan;
use super::retry::persist;
use super::{Failed, Job, PackageManager, Wanted, host_repositories, workbench};
use crate::error::{ExitCode, Failure, Result};
use crate::process::CommandLine;
use crate::recipe::Transaction;
use crate::report::Step;
use crate::sandbox::{Access, BUILD_ROOT, Mount, Network, Plan, Sandbox, Stream, ToolRoot};
use said::Said;
use words::Words;

/// What people call it.
const NAME: &str = "microdnf";
/// How to get it.
const CURE: &str = "install it with rpm on Enterprise Linux or Fedora: dnf install microdnf   (Debian has none)";
/// What the two of rpm's programs and microdnf are started by: the keys come first, in a step with the rest.
const SCRIPT: &str = r#"rpm --version && manager=$1 keys=$2 && shift 2 || exit
while [ "$keys" -gt 0 ]; do
    rpmkeys --root /buildroot --import "$1" || { echo "error: importing the keys failed" >&2; exit 1; }
    keys=$((keys - 1)); shift
done
exec "$manager" "$@""#;
/// While packages only come and are looked at, no key of theirs is in the root yet.
const BEFORE_KEYS: &str = "%_pkgverify_level digest\n";

/// microdnf of a tree.
#[derive(Debug)]
pub(super) struct Microdnf {
    program: PathBuf,
    /// Where a shell is.
    shell: PathBuf,
}

/// Looks for it; `None` when the tree has none.
///
/// # Errors
/// When it is there and rpm is not.
pub(super) fn find(tools: &ToolRoot) -> Result<Option<Microdnf>> {
    let Some(program) = tools.program("microdnf") else { return Ok(None) };
    for name in ["rpm", "rpmkeys"] {
        super::need(tools, name, "read the image's rpmdb", "rpm")?;
    }
    let shell = super::need(tools, "sh", "start microdnf", "bash")?;
    Ok(Some(Microdnf { program, shell }))
}

/// That there is none.
pub(super) fn missing() -> Failure {
    Failure::new(ExitCode::Host, "this host has no microdnf, which was to fill the image").hint(CURE)
}

/// What a run told.
#[derive(Debug)]
struct Told {
    table: table::Table,
    rpm: String,
    failed: Vec<Failed>,
}

impl PackageManager for Microdnf {
    fn description(&self) -> &str {
        NAME
    }

    fn download(&self, job: &Job<'_>, transaction: &Transaction, step: &Step<'_>) -> Result<TransactionPlan> {
        let words = words::of(job, transaction)?;
        words::check_repositories(job, transaction)?;
        let home = home(job);
        forget_locks(&job.cache.folder().join(&home))?;
        let told = persist(job, false, || self.run(job, Phase::Download, (transaction, &words), None, step))?;
        files::plan(job, (job.cache.folder(), &home), transaction, &words, &told.table, &told.rpm)
    }

    fn resolve(&self, job: &Job<'_>, transaction: &Transaction, _: &Step<'_>) -> Result<TransactionPlan> {
        Err(no_lock(job, transaction.line).into())
    }

    fn fetch(&self, job: &Job<'_>, _: &[Wanted<'_>], _: &Step<'_>) -> Result<()> {
        Err(no_lock(job, 1).into())
    }

    fn install_files(&self, job: &Job<'_>, transaction: &Transaction, _: &TransactionPlan, _: &Step<'_>) -> Result<Vec<Failed>> {
        Err(no_lock(job, transaction.line).into())
    }

    fn install(&self, job: &Job<'_>, transaction: &Transaction, plan: &TransactionPlan, step: &Step<'_>) -> Result<Vec<Failed>> {
        let words = words::of(job, transaction)?;
        forget_locks(&job.cache.view().join(home(job)))?;
        Ok(self.run(job, Phase::Install, (transaction, &words), Some(plan), step)?.failed)
    }

    fn try_out(&self, root: &Path, scratch: &Path) -> Result<()> {
        let program = self.program.to_string_lossy();
        let command = workbench::environment(CommandLine::new([&*program, "--help"]), None, Network::None);
        let plan = Plan::of_tools(&ToolRoot::host(), root, scratch, Network::None, command);
        let said =
            workbench::ask(&plan, "trying microdnf").map_err(|error| Failure::new(ExitCode::Host, format!("{error:#}")).hint(CURE))?;
        let help = said.join("\n");
        match ["--config", "--installroot", "varsdir=", "tsflags=nodocs/test"].iter().find(|word| !help.contains(**word)) {
            Some(word) => {
                Err(Failure::new(ExitCode::Host, format!("microdnf of this host is too old: it knows no {word}")).hint(CURE).into())
            }
            None => Ok(()),
        }
    }

    fn install_plan(&self, job: &Job<'_>) -> Result<Plan> {
        self.sandbox(job, Phase::Install, None)
    }
}

impl Microdnf {
    /// The sandbox of a phase; without a transaction it is only to be shown.
    fn sandbox(&self, job: &Job<'_>, phase: Phase, asked: Option<(&Transaction, &Words<'_>)>) -> Result<Plan> {
        let network = if phase.installs() { Network::None } else { Network::Host };
        let (mut mounts, keys) = workbench::key_files(job);
        let cache = if phase.installs() { job.cache.view() } else { job.cache.folder() };
        mounts.push(Mount::Bind { source: cache.to_owned(), target: CACHE.into(), access: Access::ReadWrite });
        mounts.extend(words::files(job, phase, asked.map(|(transaction, _)| transaction))?);
        let mut repositories = words::REPOSITORIES.to_owned();
        if job.settings.repositories.is_empty() {
            mounts.extend(if phase.installs() { host_repositories::without_secrets()? } else { host_repositories::whole() });
            repositories = "/etc/yum.repos.d,/etc/distro.repos.d".to_owned();
        }
        let keys = if phase.installs() { keys } else { Vec::new() };
        if !phase.installs() {
            mounts.push(Mount::File { target: "/root/.rpmmacros".into(), content: BEFORE_KEYS.to_owned() });
        }
        let mut argv: Vec<String> =
            [&*self.shell.to_string_lossy(), "-c", SCRIPT, "microdnf", &*self.program.to_string_lossy()].map(str::to_owned).to_vec();
        argv.push(keys.len().to_string());
        argv.extend(keys);
        argv.extend([
            format!("--config={}", words::CONFIG),
            "--noplugins".to_owned(),
            "--assumeyes".to_owned(),
            format!("--installroot={BUILD_ROOT}"),
            format!("--releasever={}", job.settings.releasever.as_deref().unwrap_or_default()),
            format!("--setopt=cachedir={CACHE}/{}", home(job)),
            format!("--setopt=reposdir={repositories}"),
            format!("--setopt=varsdir={}", words::variables(job)),
            "--setopt=keepcache=1".to_owned(),
        ]);
        if job.settings.docs == Some(false) {
            argv.push("--nodocs".to_owned());
        }
        if !phase.installs() {
            argv.extend(["--refresh".to_owned(), "--setopt=tsflags=test".to_owned()]);
        }
        if let Some((_, words)) = asked {
            argv.push(words.command.to_owned());
            argv.extend(words.specs.iter().map(|spec| spec.text.clone()));
        }
        let mut command = CommandLine::new(argv).env("COLUMNS", table::COLUMNS).env("RPM_FORCE_DEBIAN", "1");
        for (name, value) in &job.settings.vars {
            command = command.env(&format!("DNF_VAR_{name}"), value.clone());
        }
        Ok(workbench::plan(job, network, mounts, command))
    }

    /// Runs a phase; with a plan, nothing else may be done.
    fn run(
        &self,
        job: &Job<'_>,
        phase: Phase,
        (transaction, words): (&Transaction, &Words<'_>),
        plan: Option<&TransactionPlan>,
        step: &Step<'_>,
    ) -> Result<Told> {
        let sandbox = self.sandbox(job, phase, Some((transaction, words)))?;
        job.report.command(&sandbox.command.quoted());
        let mut said = Said::new(step, 0);
        let (mut rpm, mut lines, mut table) = (None, Vec::new(), None);
        let outcome = Sandbox::run(&sandbox, job.limits(), &mut |stream, line| {
            match (stream, &rpm, &table) {
                (Stream::Err, ..) => said.err(line),
                (Stream::Out, None, _) => rpm = Some(line.rsplit(' ').next().unwrap_or_default().to_owned()),
                (Stream::Out, Some(_), None) if line == table::END || line == table::NOTHING => {
                    let found = table::parse(&lines).map_err(|line| unreadable(&line))?;
                    compare(plan, &found)?;
                    said.expect(found.install.len() + found.remove.len());
                    table = Some(found);
                }
                (Stream::Out, Some(_), None) if is_table(line, &lines) => lines.push(line.to_owned()),
                (Stream::Out, ..) => said.out(line),
            }
            Ok(())
        })?;
        if !outcome.strays.is_empty() && phase.installs() {
            job.report.note(&format!("scriptlets left processes behind, which were ended: {}", outcome.strays.join(", ")));
        }
        if !outcome.success() {
            let unexplained = || {
                let how = outcome.describe();
                Failure::new(ExitCode::Transaction, format!("microdnf ended with {how} before its work was done:\n{}", said.last()))
            };
            return Err(said.failure(job, words, phase).unwrap_or_else(unexplained).into());
        }
        if let Some(failure) = said.passed_over(job, words) {
            return Err(failure.into());
        }
        let table = table.ok_or_else(|| Failure::new(ExitCode::Transaction, format!("microdnf told no plan:\n{}", said.last())))?;
        Ok(Told { table, rpm: rpm.unwrap_or_default(), failed: said.failed() })
    }
}

/// Whether the line is of the table, which begins with its heading.
fn is_table(line: &str, before: &[String]) -> bool {
    !before.is_empty() || line.split_whitespace().eq(["Package", "Repository", "Size"])
}

/// Ends a transaction before it begins when it is not the one that was downloaded.
fn compare(plan: Option<&TransactionPlan>, found: &table::Table) -> Result<()> {
    let Some(plan) = plan else { return Ok(()) };
    let mut meant: Vec<(String, String)> = plan.install.iter().map(|p| (p.nevra.clone(), p.repo.clone())).collect();
    meant.sort();
    if meant == found.install && plan.remove == found.remove {
        return Ok(());
    }
    let message = "the repositories changed between download and install: the transaction is no longer the same";
    Err(Failure::new(ExitCode::Transaction, message).hint("run the build again").into())
}

fn unreadable(line: &str) -> Failure {
    Failure::new(ExitCode::Transaction, format!("reading microdnf's table: its line '{line}' is of a form that osimg does not know"))
        .hint(words::HINT)
}

fn no_lock(job: &Job<'_>, line: usize) -> Failure {
    super::driver::refuse(job, line, "microdnf takes no part in locks", words::HINT)
}

/// microdnf's folder of a cache: its own names for repositories do not tell one address from another.
fn home(job: &Job<'_>) -> String {
    let mut hash = Sha256::new();
    for repository in &job.settings.repositories {
        hash.update(format!("{}\n{:?}\n{:?}\n", repository.id, repository.source, repository.username));
    }
    hash.update(format!("{:?}\n{:?}", job.settings.vars, job.settings.releasever));
    format!("{NAME}-{}", hex::encode(hash.finalize()).get(..16).unwrap_or_default())
}

/// Removes what a killed microdnf left: its locks are process ids of a namespace that is gone, and ours hold while it runs.
fn forget_locks(home: &Path) -> Result<()> {
    let folder = home.join("lock");
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).with_context(|| format!("removing {}", folder.display())),
        _ => Ok(()),
    }
}
