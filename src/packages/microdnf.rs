//! microdnf, by its command: there is no other way to speak to it, and a host that has it may have nothing else, not even Python.
//!
//! It resolves and downloads with `tsflags=test`, in which rpm looks at the packages and runs no code of theirs. Installing is the rpm
//! command's part: libdnf silences rpm whatever its configuration says (its `rpmverbosity` is read by nobody, to libdnf 0.74 at least),
//! so that a scriptlet that fails under microdnf leaves no word and an exit status of 0.

mod files;
mod said;
mod table;
mod words;

use anyhow::Context;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::cache::CACHE;
use super::driver::Phase;
use super::events::TransactionPlan;
use super::retry::persist;
use super::{Failed, Job, PackageManager, Wanted, host_repositories, workbench};
use crate::error::{ExitCode, Failure, Result};
use crate::nevra::Nevra;
use crate::process::CommandLine;
use crate::recipe::Transaction;
use crate::report::Step;
use crate::sandbox::{Access, BUILD_ROOT, Mount, Network, Plan, Sandbox, Stream, ToolRoot, remove_tree};
use said::Said;
use table::Table;
use words::Words;

/// What people call it.
const NAME: &str = "microdnf";
/// How to get it.
const CURE: &str = "install it with rpm on Enterprise Linux or Fedora: dnf install microdnf   (Debian has none)";
/// Begins both phases: rpm's version, and the keys, which come first of all.
const SCRIPT: &str = r#"rpm --version && keys=$1 && shift || exit
while [ "$keys" -gt 0 ]; do
    rpmkeys --root /buildroot --import "$1" || { echo "error: importing the keys failed" >&2; exit 1; }
    keys=$((keys - 1)); shift
done
exec "$@""#;
/// Why a package comes that is there already.
const AGAIN: &str = "reinstall";
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

impl PackageManager for Microdnf {
    fn description(&self) -> &str {
        NAME
    }

    fn check(&self, job: &Job<'_>, transaction: &Transaction) -> Result<()> {
        if job.lock.is_some() {
            return Err(no_lock(job, transaction.line).into());
        }
        words::of(job, transaction)?;
        words::check_repositories(job, transaction)
    }

    fn download(&self, job: &Job<'_>, transaction: &Transaction, step: &Step<'_>) -> Result<TransactionPlan> {
        let words = words::of(job, transaction)?;
        words::check_repositories(job, transaction)?;
        let home = home(job);
        forget_locks(&job.cache.folder().join(&home))?;
        let (table, rpm) = persist(job, false, || self.solve(job, transaction, &words, step))?;
        files::plan(job, (job.cache.folder(), &home), transaction, &words, &table, &rpm)
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
        if plan.install.is_empty() && plan.remove.is_empty() {
            return Ok(Vec::new());
        }
        let sandbox = self.install_sandbox(job, &rpm(job, plan)?);
        let packages = plan.install.iter().map(|package| &package.nevra).chain(&plan.remove).map(|nevra| name(nevra)).collect();
        let mut said = Said::new(step, packages);
        self.run(job, Phase::Install, &words, &sandbox, &mut said, &mut |_, _| Ok(()))?;
        Ok(said.failed())
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

    fn phases(&self, job: &Job<'_>, transaction: &Transaction) -> Result<[Plan; 2]> {
        let download = self.download_sandbox(job, transaction, &words::of(job, transaction)?)?;
        // Which packages it is to be given is known when they are there.
        Ok([download, self.install_sandbox(job, &["rpm", &format!("--root={BUILD_ROOT}"), "-v"].map(str::to_owned))])
    }
}

impl Microdnf {
    /// The sandbox in which packages come and are looked at.
    fn download_sandbox(&self, job: &Job<'_>, transaction: &Transaction, words: &Words<'_>) -> Result<Plan> {
        let mut mounts = words::files(job, Phase::Download, Some(transaction))?;
        mounts.push(Mount::Bind { source: job.cache.folder().to_owned(), target: CACHE.into(), access: Access::ReadWrite });
        mounts.push(Mount::File { target: "/root/.rpmmacros".into(), content: BEFORE_KEYS.to_owned() });
        let mut repositories = words::REPOSITORIES;
        if job.settings.repositories.is_empty() {
            mounts.extend(host_repositories::whole());
            repositories = "/etc/yum.repos.d,/etc/distro.repos.d";
        }
        let mut argv = vec![
            self.program.to_string_lossy().into_owned(),
            format!("--config={}", words::CONFIG),
            "--noplugins".to_owned(),
            "--assumeyes".to_owned(),
            "--refresh".to_owned(),
            format!("--installroot={BUILD_ROOT}"),
            format!("--releasever={}", job.settings.releasever.as_deref().unwrap_or_default()),
            format!("--setopt=cachedir={CACHE}/{}", home(job)),
            format!("--setopt=reposdir={repositories}"),
            format!("--setopt=varsdir={}", words::variables(job)),
            "--setopt=keepcache=1".to_owned(),
            "--setopt=tsflags=test".to_owned(),
            words.command.to_owned(),
        ];
        argv.extend(words.specs.iter().map(|spec| spec.text.clone()));
        let mut command = self.command(&[], &argv);
        for (name, value) in &job.settings.vars {
            command = command.env(&format!("DNF_VAR_{name}"), value.clone());
        }
        Ok(workbench::plan(job, Network::Host, mounts, command.env("COLUMNS", table::COLUMNS)))
    }

    /// The sandbox in which rpm works, on this build's view of the cache.
    fn install_sandbox(&self, job: &Job<'_>, rpm: &[String]) -> Plan {
        let (mut mounts, keys) = workbench::key_files(job);
        mounts.push(Mount::Bind { source: job.cache.view().to_owned(), target: CACHE.into(), access: Access::ReadOnly });
        workbench::install_plan(job, mounts, self.command(&keys, rpm))
    }

    /// A command after the keys.
    fn command(&self, keys: &[String], argv: &[String]) -> CommandLine {
        let begin = [&*self.shell.to_string_lossy(), "-c", SCRIPT, NAME, &keys.len().to_string()].map(str::to_owned);
        // Debian's rpm warns away who uses it on a Debian; the image is none.
        CommandLine::new(begin.into_iter().chain(keys.iter().cloned()).chain(argv.iter().cloned())).env("RPM_FORCE_DEBIAN", "1")
    }

    /// Resolves and downloads; returns what will be done, and rpm's version.
    fn solve(&self, job: &Job<'_>, transaction: &Transaction, words: &Words<'_>, step: &Step<'_>) -> Result<(Table, String)> {
        let sandbox = self.download_sandbox(job, transaction, words)?;
        let mut said = Said::new(step, BTreeSet::new());
        let (mut lines, mut found) = (Vec::new(), None);
        let rpm = self.run(job, Phase::Download, words, &sandbox, &mut said, &mut |said, line| {
            if found.is_some() {
                said.out(line);
            } else if line == table::END || line == table::NOTHING {
                found = Some(table::parse(&lines).map_err(|line| unreadable(&line))?);
            } else if is_table(line, &lines) {
                lines.push(line.to_owned());
            } else {
                said.out(line);
            }
            Ok(())
        })?;
        let found = found.ok_or_else(|| Failure::new(ExitCode::Transaction, format!("microdnf told no plan:\n{}", said.last())))?;
        match found.erase.first() {
            // rpm's command does one or the other.
            Some(gone) if words.command != "remove" => {
                let line = words.specs.first().map_or(transaction.line, |spec| spec.line);
                Err(super::driver::refuse(job, line, &format!("microdnf would also remove {gone}"), words::HINT).into())
            }
            _ => Ok((found, rpm)),
        }
    }

    /// Runs a phase to its good end; returns rpm's version, and gives every other line of standard output to `take`.
    fn run<'a>(
        &self,
        job: &Job<'_>,
        phase: Phase,
        words: &Words<'_>,
        sandbox: &Plan,
        said: &mut Said<'a>,
        take: &mut dyn FnMut(&mut Said<'a>, &str) -> Result<()>,
    ) -> Result<String> {
        job.report.command(&sandbox.command.quoted());
        let mut rpm = None;
        let outcome = Sandbox::run(sandbox, job.limits(), &mut |stream, line| {
            match (stream, &rpm) {
                (Stream::Err, _) => said.err(line),
                (Stream::Out, None) => rpm = Some(line.rsplit(' ').next().unwrap_or_default().to_owned()),
                (Stream::Out, Some(_)) if phase.installs() => said.out(line),
                (Stream::Out, Some(_)) => take(said, line)?,
            }
            Ok(())
        })?;
        if phase.installs() {
            workbench::installed_by(job, &outcome);
        }
        if !phase.installs()
            && let Some(failure) = said.passed_over(job, words)
        {
            return Err(failure.into());
        }
        if outcome.success() {
            return Ok(rpm.unwrap_or_default());
        }
        let program = if phase.installs() { "rpm" } else { NAME };
        let unexplained = || {
            let message = format!("{program} ended with {} before its work was done:\n{}", outcome.describe(), said.last());
            Failure::new(ExitCode::Transaction, message)
        };
        Err(said.failure(job, words, phase).unwrap_or_else(unexplained).into())
    }
}

/// The words that carry out the plan: rpm replaces what the new packages obsolete by itself, as its own test found.
fn rpm(job: &Job<'_>, plan: &TransactionPlan) -> Result<Vec<String>> {
    let mut words = vec!["rpm".to_owned(), format!("--root={BUILD_ROOT}"), "-v".to_owned()];
    if plan.install.is_empty() {
        words.push("-e".to_owned());
        words.extend(plan.remove.iter().map(|nevra| name(nevra)));
        return Ok(words);
    }
    // `-U` would take the older one of packages that stand side by side, such as kernels.
    let replaces = !plan.remove.is_empty() || plan.install.iter().any(|package| package.reason == AGAIN);
    words.extend(if replaces { ["-U", "--oldpackage", "--replacepkgs"].map(str::to_owned).to_vec() } else { vec!["-i".to_owned()] });
    if job.settings.docs == Some(false) {
        words.push("--excludedocs".to_owned());
    }
    for package in &plan.install {
        let path = package.path.clone().ok_or_else(|| Failure::new(ExitCode::Transaction, format!("{} has no file", package.nevra)))?;
        words.push(path);
    }
    Ok(words)
}

/// What rpm calls a package.
fn name(nevra: &str) -> String {
    let parts = Nevra::lenient(nevra);
    format!("{}-{}.{}", parts.name, parts.version_release(), parts.arch)
}

/// Whether the line is of the table, which begins with its heading.
fn is_table(line: &str, before: &[String]) -> bool {
    !before.is_empty() || line.split_whitespace().eq(["Package", "Repository", "Size"])
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
    if folder.is_dir() { remove_tree(&folder).with_context(|| format!("removing {}", folder.display())) } else { Ok(()) }
}
