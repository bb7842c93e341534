//! Runs a driver: Python in the sandbox that uses a package manager's API and answers in lines of
//! JSON.
//!
//! The API instead of the command, because its errors are precise and its callbacks report
//! progress. A separate process, because package code runs in it.

use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::answers::{Answers, failure};
use super::download_limits::{self, Watch};
use super::events::{ErrorKind, TransactionPlan};
use super::hints::BROKE;
use super::phase::{ISOLATED, Phase};
use super::retry::{PhaseError, with_retries};
use super::{Failed, Job, Wanted, local, request, rpm_sandbox};
use crate::error::{ExitCode, Failure, Result};
use crate::process::CommandLine;
use crate::recipe::{SpecKind, Transaction};
use crate::report::Step;
use crate::sandbox::{self, Mount, Network, OWN, Plan, Stream, ToolRoot};

/// The common part of the drivers.
const COMMON: &[(&str, &str)] = &[
    ("comps.py", include_str!("drivers/comps.py")),
    ("driver.py", include_str!("drivers/driver.py")),
    ("failures.py", include_str!("drivers/failures.py")),
];

/// A package manager's Python API, and the osimg program that uses it.
#[derive(Debug)]
pub struct Driver {
    /// The name in messages.
    pub(super) name: &'static str,
    /// The command that installs it.
    pub(super) install_hint: &'static str,
    /// The program and its modules, each with its name in the sandbox. The program comes first.
    pub(super) files: &'static [(&'static str, &'static str)],
    /// The Python interpreter that has the API.
    pub(super) python: PathBuf,
    /// Name and version.
    pub(super) description: String,
    /// A program that tests the API. It prints nothing unless something is wrong.
    pub(super) trial: &'static str,
    /// Refuses unsupported statements by name and line, before anything is downloaded.
    pub(super) check: fn(&Job<'_>, &Transaction) -> Result<()>,
    /// Directories with packages outside those of the local repositories, as the repositories
    /// reported them.
    pub(super) outside: Mutex<BTreeSet<PathBuf>>,
}

impl Driver {
    /// Name and version.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Refuses the statements of the transaction that it does not support, by name and line. All
    /// transactions are checked before the first begins.
    ///
    /// # Errors
    /// [`ExitCode::Recipe`] for the first such statement.
    pub fn check(&self, job: &Job<'_>, transaction: &Transaction) -> Result<()> {
        (self.check)(job, transaction)
    }

    /// Resolves the transaction and downloads its packages; no package code runs.
    ///
    /// # Errors
    /// If a repository, a spec or a dependency fails.
    pub(super) fn download(
        &self,
        job: &Job<'_>,
        transaction: &Transaction,
        step: &Step<'_>,
    ) -> Result<TransactionPlan> {
        self.solve(job, Phase::Download, transaction, step)
    }

    /// Resolves the transaction and downloads only metadata.
    ///
    /// # Errors
    /// As [`Driver::download`].
    pub(super) fn resolve(
        &self,
        job: &Job<'_>,
        transaction: &Transaction,
        step: &Step<'_>,
    ) -> Result<TransactionPlan> {
        self.solve(job, Phase::Resolve, transaction, step)
    }

    /// Fetches files from their repositories, without their metadata.
    ///
    /// # Errors
    /// If one of them is not available; the others have been fetched.
    pub(super) fn fetch(
        &self,
        job: &Job<'_>,
        wanted: &[Wanted<'_>],
        step: &Step<'_>,
    ) -> Result<(), PhaseError> {
        let detail = json!({ "files": wanted });
        with_retries(job, false, || {
            self.with_outside(|| self.run(job, Phase::Fetch, None, &detail, step).map(|_| ()))
        })
    }

    /// Imports the pinned keys and runs the transaction without a network; returns the failed
    /// scriptlets.
    ///
    /// # Errors
    /// If the transaction differs from `plan`, is refused, or fails.
    pub(super) fn install(
        &self,
        job: &Job<'_>,
        transaction: &Transaction,
        plan: &TransactionPlan,
        step: &Step<'_>,
    ) -> Result<Vec<Failed>> {
        let (done, failed) =
            self.planned(job, Phase::Install, transaction, &json!({ "only": job.only }), step)?;
        if done.install != plan.install || done.remove != plan.remove {
            return Err(Failure::new(
                ExitCode::Transaction,
                "the repositories changed between download and installation: the transaction is \
                 different now",
            )
            .hint("run the build again")
            .into());
        }
        Ok(failed)
    }

    /// As [`Driver::install`], but from the plan's files and without repositories.
    ///
    /// # Errors
    /// As [`Driver::install`].
    pub(super) fn install_files(
        &self,
        job: &Job<'_>,
        transaction: &Transaction,
        plan: &TransactionPlan,
        step: &Step<'_>,
    ) -> Result<Vec<Failed>> {
        let files: Vec<&str> =
            plan.install.iter().filter_map(|package| package.path.as_deref()).collect();
        let detail = json!({ "files": files, "remove": plan.remove });
        let (done, failed) = self.planned(job, Phase::InstallFiles, transaction, &detail, step)?;
        let names = |plan: &TransactionPlan| {
            plan.install.iter().map(|p| p.nevra.clone()).collect::<BTreeSet<_>>()
        };
        let (meant, found) = (names(plan), names(&done));
        if meant != found || done.remove != plan.remove {
            let list = |a: &BTreeSet<String>, b: &BTreeSet<String>| {
                a.difference(b).take(10).cloned().collect::<Vec<_>>().join(", ")
            };
            return Err(Failure::new(
                ExitCode::Transaction,
                format!(
                    "the lock's packages result in a different transaction (missing: {}; added: \
                     {})",
                    list(&meant, &found),
                    list(&found, &meant)
                ),
            )
            .hint("create the lock again: osimg lock RECIPE")
            .into());
        }
        Ok(failed)
    }

    /// Tests functions that are missing or broken in some releases, with an empty `root` and
    /// `scratch`.
    ///
    /// # Errors
    /// [`ExitCode::Host`] with the reason.
    pub(crate) fn try_out(&self, root: &Path, scratch: &Path) -> Result<()> {
        let output = rpm_sandbox::run_python(
            &self.python,
            &[self.trial],
            Network::None,
            scratch,
            root,
            &format!("trying {}", self.name),
        )
        .map_err(|error| {
            Failure::new(ExitCode::Host, format!("{error:#}")).hint(self.install_hint)
        })?;
        if output.is_empty() {
            return Ok(());
        }
        Err(Failure::new(ExitCode::Host, output.join("\n")).hint(self.install_hint).into())
    }

    /// The sandboxes of the download and the installation, for `osimg plan`.
    ///
    /// # Errors
    /// As for both phases, before anything runs.
    pub fn phases(&self, job: &Job<'_>, transaction: &Transaction) -> Result<[Plan; 2]> {
        let sandbox = |phase| self.sandbox(job, phase, Some(transaction), &Value::Null);
        Ok([sandbox(Phase::Download)?, sandbox(Phase::Install)?])
    }

    /// The sandbox of a phase; without a transaction it is only displayed.
    fn sandbox(
        &self,
        job: &Job<'_>,
        phase: Phase,
        transaction: Option<&Transaction>,
        detail: &Value,
    ) -> Result<Plan> {
        let mut extra = request::mounts(job, phase, transaction, detail)?;
        extra.extend(local::mounts(job, &self.outside()));
        let files = COMMON.iter().chain(self.files);
        extra.extend(files.map(|(name, text)| Mount::File {
            target: format!("{OWN}/{name}").into(),
            content: (*text).to_owned(),
        }));
        let program = format!("{OWN}/{}", self.files.first().map_or("", |(name, _)| *name));
        let python = self.python.to_string_lossy();
        let command = CommandLine::new([&*python, ISOLATED, "-B", &program]);
        Ok(if phase.installs() {
            rpm_sandbox::install_plan(job, extra, command)
        } else {
            rpm_sandbox::plan(job, Network::Host, extra, command)
        })
    }

    /// Resolves, and downloads if `phase` includes it. Network errors are retried.
    fn solve(
        &self,
        job: &Job<'_>,
        phase: Phase,
        transaction: &Transaction,
        step: &Step<'_>,
    ) -> Result<TransactionPlan> {
        let detail = json!({ "only": job.only });
        let fetches = transaction.install.iter().any(|spec| spec.kind() == SpecKind::Url);
        Ok(with_retries(job, fetches, || {
            self.with_outside(|| Ok(self.planned(job, phase, transaction, &detail, step)?.0))
        })?)
    }

    fn outside(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.outside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work`. Repeats it as long as it reports directories of this machine that the sandbox
    /// should see and does not.
    fn with_outside<T>(&self, work: impl Fn() -> Result<T, PhaseError>) -> Result<T, PhaseError> {
        loop {
            let known = self.outside().len();
            match work() {
                Err(PhaseError { kind: Some(ErrorKind::Outside), .. })
                    if self.outside().len() > known => {}
                done => return done,
            }
        }
    }

    /// Runs a phase that reports a plan.
    fn planned(
        &self,
        job: &Job<'_>,
        phase: Phase,
        transaction: &Transaction,
        detail: &Value,
        step: &Step<'_>,
    ) -> Result<(TransactionPlan, Vec<Failed>), PhaseError> {
        let (plan, failed) = self.run(job, phase, Some(transaction), detail, step)?;
        let plan = plan.ok_or_else(|| {
            Failure::new(ExitCode::Transaction, format!("{} did not report a plan", self.name))
        })?;
        Ok((plan, failed))
    }

    /// Runs one phase of one transaction.
    fn run(
        &self,
        job: &Job<'_>,
        phase: Phase,
        transaction: Option<&Transaction>,
        detail: &Value,
        step: &Step<'_>,
    ) -> Result<(Option<TransactionPlan>, Vec<Failed>), PhaseError> {
        let plan = self.sandbox(job, phase, transaction, detail)?;
        job.report.command(&plan.command.quoted());
        for statement in transaction.iter().flat_map(|transaction| transaction.statements()) {
            job.report.output(&format!("{}: {statement}", phase.name()));
        }
        let answers = RefCell::new(Answers::new(step));
        let mut on_line = |stream, line: &str| {
            match stream {
                Stream::Out => answers.borrow_mut().take(line),
                Stream::Err => {
                    answers.borrow_mut().other_output.push(line);
                    job.report.output(line);
                }
            }
            Ok(())
        };
        let outcome = if phase.installs() {
            sandbox::run(&plan, job.limits(), &mut on_line)
        } else {
            let mut watch = Watch::new(job, detail)?;
            sandbox::run_watched(
                &plan,
                job.limits(),
                &mut || watch.check(answers.borrow().planned()),
                &mut on_line,
            )
        };
        let answers = answers.into_inner();
        let outcome = match (outcome, &answers.scriptlet) {
            (Err(error), Some(package)) => {
                return Err(error.context(format!("running a scriptlet of {package}")).into());
            }
            (outcome, _) => outcome?,
        };
        if phase.installs() {
            rpm_sandbox::record_outcome(job, &outcome);
        }
        if let Some(error) = &answers.error {
            self.outside().extend(
                error.directories.iter().map(PathBuf::from).filter(|path| local::is_usable(path)),
            );
            let failed =
                failure(job, (self.name, self.install_hint), &answers, error, phase).into();
            // Both can be the result of a memory limit.
            let broke = matches!(error.kind, ErrorKind::Unexpected | ErrorKind::Metadata)
                && !phase.installs();
            return Err(PhaseError {
                error: if broke { download_limits::explain(job, failed) } else { failed },
                kind: Some(error.kind),
            });
        }
        if answers.done && outcome.success() && (answers.plan.is_some() || phase == Phase::Fetch) {
            return Ok((answers.plan, answers.failed));
        }
        let end = format!(
            "{} ended with {} before it was finished:\n{}",
            self.name,
            outcome.describe(),
            answers.other_output.last(12)
        );
        let (failure, kind) = match &answers.reading {
            Some(what) => (
                Failure::new(ExitCode::Repository, format!("reading {what}: {end}")),
                Some(ErrorKind::Metadata),
            ),
            None => (Failure::new(ExitCode::Transaction, end), None),
        };
        let error = failure.hint(BROKE).into();
        Err(PhaseError {
            error: if phase.installs() { error } else { download_limits::explain(job, error) },
            kind,
        })
    }
}

/// A failure for an unsupported statement, with the recipe's line.
pub(super) fn refuse(job: &Job<'_>, line: usize, what: &str, hint: &str) -> Failure {
    Failure::new(ExitCode::Recipe, format!("{}: {what}", job.places.shown(line))).hint(hint)
}

/// The directories in which the tools' Python looks for modules. They are only read: nothing in
/// them runs outside the sandbox.
pub(super) fn module_directories(tools: &ToolRoot) -> Vec<PathBuf> {
    let mut directories = vec!["/usr/lib/python3/dist-packages".to_owned()];
    for lib in ["/usr/lib", "/usr/lib64", "/usr/local/lib"] {
        let entries = tools
            .resolve(lib)
            .and_then(|lib| std::fs::read_dir(lib).ok())
            .into_iter()
            .flatten()
            .filter_map(|e| e.ok());
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        directories.extend(
            names
                .filter(|name| name.starts_with("python3"))
                .map(|name| format!("{lib}/{name}/site-packages")),
        );
    }
    directories.iter().filter_map(|directory| tools.resolve(directory)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn the_drivers_are_valid_python() -> Result<()> {
        let Some(python) = crate::process::find_program("python3") else { return Ok(()) };
        let dir = tempfile::tempdir().context("a temporary directory")?;
        use super::super::{dnf4, dnf5};
        for (name, program) in COMMON.iter().chain(dnf4::FILES).chain(dnf5::FILES) {
            let file = dir.path().join(name);
            std::fs::write(&file, program)?;
            #[expect(clippy::disallowed_methods, reason = "a test asks Python itself")]
            let status = std::process::Command::new(&python)
                .args(["-I", "-c", "import ast, sys; ast.parse(open(sys.argv[1]).read())"])
                .arg(&file)
                .status()?;
            assert!(status.success(), "{name}");
        }
        Ok(())
    }
}
