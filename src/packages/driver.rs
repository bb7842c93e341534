//! Running a driver: Python in the sandbox that speaks a package manager's own API and answers in
//! lines of JSON.
//!
//! The API and not the command, because its errors are truthful and its callbacks give real
//! progress; a process of its own, because package code runs in it.

use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::answers::{Answers, failure};
use super::bounds::{self, Watch};
use super::events::{ErrorKind, TransactionPlan};
use super::hints::BROKE;
use super::phase::{ISOLATED, Phase};
use super::retry::{Setback, persist};
use super::{Failed, Job, Wanted, local, request, workbench};
use crate::error::{ExitCode, Failure, Result};
use crate::process::CommandLine;
use crate::recipe::{SpecKind, Transaction};
use crate::report::Step;
use crate::sandbox::{Mount, Network, OWN, Plan, Sandbox, Stream, ToolRoot};

/// The common part of the drivers.
const COMMON: &[(&str, &str)] = &[
    ("comps.py", include_str!("drivers/comps.py")),
    ("driver.py", include_str!("drivers/driver.py")),
    ("failures.py", include_str!("drivers/failures.py")),
];

/// A package manager's Python API, and the program of ours that speaks it.
#[derive(Debug)]
pub struct Driver {
    /// Its name in messages.
    pub(super) name: &'static str,
    /// The command that installs it.
    pub(super) cure: &'static str,
    /// The program and its modules, each with its name in the sandbox. The program comes first.
    pub(super) files: &'static [(&'static str, &'static str)],
    /// The Python that has the API.
    pub(super) python: PathBuf,
    /// Its name and version.
    pub(super) description: String,
    /// A program that tries the API. It prints nothing unless something is wrong.
    pub(super) trial: &'static str,
    /// Refuses, by name and line and before anything is downloaded, what it cannot do.
    pub(super) check: fn(&Job<'_>, &Transaction) -> Result<()>,
    /// Directories outside those of local repositories in which these keep packages.
    pub(super) outside: Mutex<BTreeSet<PathBuf>>,
}

impl Driver {
    /// Its name and version.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Refuses, by name and line, what of the transaction it cannot do; asked of all transactions
    /// before the first begins.
    ///
    /// # Errors
    /// [`ExitCode::Recipe`] for the first such statement.
    pub fn check(&self, job: &Job<'_>, transaction: &Transaction) -> Result<()> {
        (self.check)(job, transaction)
    }

    /// Resolves the transaction and downloads its packages; no package code runs.
    ///
    /// # Errors
    /// When a repository, a spec or the dependencies fail.
    pub(super) fn download(&self, job: &Job<'_>, transaction: &Transaction, step: &Step<'_>) -> Result<TransactionPlan> {
        self.solve(job, Phase::Download, transaction, step)
    }

    /// Resolves the transaction and downloads only metadata.
    ///
    /// # Errors
    /// As [`Driver::download`].
    pub(super) fn resolve(&self, job: &Job<'_>, transaction: &Transaction, step: &Step<'_>) -> Result<TransactionPlan> {
        self.solve(job, Phase::Resolve, transaction, step)
    }

    /// Fetches files from their repositories, without their metadata.
    ///
    /// # Errors
    /// When one of them is not available; the others have been fetched.
    pub(super) fn fetch(&self, job: &Job<'_>, wanted: &[Wanted<'_>], step: &Step<'_>) -> Result<(), Setback> {
        let detail = json!({ "files": wanted });
        persist(job, false, || self.with_outside(|| self.run(job, Phase::Fetch, None, &detail, step).map(|_| ())))
    }

    /// Imports the pinned keys and runs the transaction, without a network; returns the scriptlets
    /// that failed.
    ///
    /// # Errors
    /// When the transaction differs from `plan`, is refused, or fails.
    pub(super) fn install(&self, job: &Job<'_>, transaction: &Transaction, plan: &TransactionPlan, step: &Step<'_>) -> Result<Vec<Failed>> {
        let (done, failed) = self.planned(job, Phase::Install, transaction, &json!({ "only": job.only }), step)?;
        if done.install != plan.install || done.remove != plan.remove {
            return Err(Failure::new(
                ExitCode::Transaction,
                "the repositories changed between download and install: the transaction is no longer the same",
            )
            .hint("run the build again")
            .into());
        }
        Ok(failed)
    }

    /// As [`Driver::install`], from the files that the plan names, without any repository.
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
        let files: Vec<&str> = plan.install.iter().filter_map(|package| package.path.as_deref()).collect();
        let detail = json!({ "files": files, "remove": plan.remove });
        let (done, failed) = self.planned(job, Phase::InstallFiles, transaction, &detail, step)?;
        let names = |plan: &TransactionPlan| plan.install.iter().map(|p| p.nevra.clone()).collect::<BTreeSet<_>>();
        let (meant, found) = (names(plan), names(&done));
        if meant != found || done.remove != plan.remove {
            let list = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).take(10).cloned().collect::<Vec<_>>().join(", ");
            return Err(Failure::new(
                ExitCode::Transaction,
                format!(
                    "the packages of the lock make another transaction than it says (left out: {}; added: {})",
                    list(&meant, &found),
                    list(&found, &meant)
                ),
            )
            .hint("make the lock again: osimg lock RECIPE")
            .into());
        }
        Ok(failed)
    }

    /// Tries, with an empty `root` and `scratch`, functions that some releases are known to lack or
    /// to get wrong.
    ///
    /// # Errors
    /// [`ExitCode::Host`] with the reason.
    pub fn try_out(&self, root: &Path, scratch: &Path) -> Result<()> {
        let said = workbench::run_python(&self.python, &[self.trial], Network::None, scratch, root, &format!("trying {}", self.name))
            .map_err(|error| Failure::new(ExitCode::Host, format!("{error:#}")).hint(self.cure))?;
        if said.is_empty() {
            return Ok(());
        }
        Err(Failure::new(ExitCode::Host, said.join("\n")).hint(self.cure).into())
    }

    /// The sandboxes in which it downloads and in which it installs, for `osimg plan`.
    ///
    /// # Errors
    /// As of both phases, before anything is run.
    pub fn phases(&self, job: &Job<'_>, transaction: &Transaction) -> Result<[Plan; 2]> {
        let sandbox = |phase| self.sandbox(job, phase, Some(transaction), &Value::Null);
        Ok([sandbox(Phase::Download)?, sandbox(Phase::Install)?])
    }

    /// The sandbox of a phase; without a transaction it is only to be shown.
    fn sandbox(&self, job: &Job<'_>, phase: Phase, transaction: Option<&Transaction>, detail: &Value) -> Result<Plan> {
        let mut extra = request::mounts(job, phase, transaction, detail)?;
        extra.extend(local::mounts(job, &self.outside()));
        let files = COMMON.iter().chain(self.files);
        extra.extend(files.map(|(name, text)| Mount::File { target: format!("{OWN}/{name}").into(), content: (*text).to_owned() }));
        let program = format!("{OWN}/{}", self.files.first().map_or("", |(name, _)| *name));
        let python = self.python.to_string_lossy();
        let command = CommandLine::new([&*python, ISOLATED, "-B", &program]);
        Ok(if phase.installs() {
            workbench::install_plan(job, extra, command)
        } else {
            workbench::plan(job, Network::Host, extra, command)
        })
    }

    /// Resolves, and downloads as `phase` says; what a network may have spoilt is tried again.
    fn solve(&self, job: &Job<'_>, phase: Phase, transaction: &Transaction, step: &Step<'_>) -> Result<TransactionPlan> {
        let detail = json!({ "only": job.only });
        let fetches = transaction.install.iter().any(|spec| spec.kind() == SpecKind::Url);
        Ok(persist(job, fetches, || self.with_outside(|| Ok(self.planned(job, phase, transaction, &detail, step)?.0)))?)
    }

    fn outside(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.outside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work`, and again as long as it finds directories of this machine that the sandbox does
    /// not see and can.
    fn with_outside<T>(&self, work: impl Fn() -> Result<T, Setback>) -> Result<T, Setback> {
        loop {
            let known = self.outside().len();
            match work() {
                Err(Setback { kind: Some(ErrorKind::Outside), .. }) if self.outside().len() > known => {}
                done => return done,
            }
        }
    }

    /// Runs a phase that tells a plan.
    fn planned(
        &self,
        job: &Job<'_>,
        phase: Phase,
        transaction: &Transaction,
        detail: &Value,
        step: &Step<'_>,
    ) -> Result<(TransactionPlan, Vec<Failed>), Setback> {
        let (plan, failed) = self.run(job, phase, Some(transaction), detail, step)?;
        let plan = plan.ok_or_else(|| Failure::new(ExitCode::Transaction, format!("{} told no plan", self.name)))?;
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
    ) -> Result<(Option<TransactionPlan>, Vec<Failed>), Setback> {
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
                    answers.borrow_mut().said.push(line);
                    job.report.output(line);
                }
            }
            Ok(())
        };
        let outcome = if phase.installs() {
            Sandbox::run(&plan, job.limits(), &mut on_line)
        } else {
            let mut watch = Watch::new(job, detail)?;
            Sandbox::run_watched(&plan, job.limits(), &mut || watch.look(answers.borrow().planned()), &mut on_line)
        };
        let answers = answers.into_inner();
        let outcome = match (outcome, &answers.scriptlet) {
            (Err(error), Some(package)) => return Err(error.context(format!("running a scriptlet of {package}")).into()),
            (outcome, _) => outcome?,
        };
        if phase.installs() {
            workbench::installed_by(job, &outcome);
        }
        if let Some(error) = &answers.error {
            self.outside().extend(error.directories.iter().map(PathBuf::from).filter(|path| local::is_usable(path)));
            let failed = failure(job, (self.name, self.cure), &answers, error, phase).into();
            // Memory that is refused ends in either of these.
            let broke = matches!(error.kind, ErrorKind::Unexpected | ErrorKind::Metadata) && !phase.installs();
            return Err(Setback { error: if broke { bounds::explain(job, failed) } else { failed }, kind: Some(error.kind) });
        }
        if answers.done && outcome.success() && (answers.plan.is_some() || phase == Phase::Fetch) {
            return Ok((answers.plan, answers.failed));
        }
        let end = format!("{} ended with {} before its work was done:\n{}", self.name, outcome.describe(), answers.said.last(12));
        let (failure, kind) = match &answers.reading {
            Some(what) => (Failure::new(ExitCode::Repository, format!("reading {what}: {end}")), Some(ErrorKind::Metadata)),
            None => (Failure::new(ExitCode::Transaction, end), None),
        };
        let error = failure.hint(BROKE).into();
        Err(Setback { error: if phase.installs() { error } else { bounds::explain(job, error) }, kind })
    }
}

/// That a driver does not do something, with the recipe's line.
pub(super) fn refuse(job: &Job<'_>, line: usize, what: &str, hint: &str) -> Failure {
    Failure::new(ExitCode::Recipe, format!("{}:{line}: {what}", job.recipe.display())).hint(hint)
}

/// The directories in which the tools' Python looks for modules; nothing in them is run outside the
/// sandbox.
pub(super) fn module_directories(tools: &ToolRoot) -> Vec<PathBuf> {
    let mut directories = vec!["/usr/lib/python3/dist-packages".to_owned()];
    for lib in ["/usr/lib", "/usr/lib64", "/usr/local/lib"] {
        let entries = tools.resolve(lib).and_then(|lib| std::fs::read_dir(lib).ok()).into_iter().flatten().filter_map(|e| e.ok());
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        directories.extend(names.filter(|name| name.starts_with("python3")).map(|name| format!("{lib}/{name}/site-packages")));
    }
    directories.iter().filter_map(|directory| tools.resolve(directory)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn the_drivers_are_python_that_compiles() -> Result<()> {
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
