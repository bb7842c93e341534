//! Running a driver: Python in the sandbox that speaks a package manager's own API and answers in lines of JSON.
//!
//! The API and not the command, because its errors are truthful and its callbacks give real progress; a process of its own,
//! because package code runs in it.

use std::path::{Path, PathBuf};

use super::answers::{Answers, failure};
use super::events::TransactionPlan;
use super::{Failed, Job, request, workbench};
use crate::error::{ExitCode, Failure, Result};
use crate::process::CommandLine;
use crate::recipe::{RepositorySource, SpecKind, Transaction};
use crate::report::Step;
use crate::sandbox::{Mount, Network, OWN, Plan, Sandbox, Stream, ToolRoot};

/// What the drivers share.
const COMMON: &str = include_str!("driver.py");
/// How often a failed download phase is tried in all; dnf itself gives up after three refusals within a second.
const ATTEMPTS: u32 = 4;

/// A package manager's Python API, and the program of ours that speaks it.
#[derive(Debug)]
pub(super) struct Driver {
    /// What people call it.
    pub name: &'static str,
    /// The command that installs it.
    pub cure: &'static str,
    /// Name of the program in the sandbox.
    pub file: &'static str,
    /// The program.
    pub program: &'static str,
    /// The Python that has the API.
    pub python: PathBuf,
}

/// The two halves of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Metadata and packages come; there is a network, and no package code runs.
    Download,
    /// rpm works; there is no network.
    Install,
}

impl Driver {
    /// The sandbox of a phase; without a transaction it is only to be shown.
    pub fn sandbox(&self, job: &Job<'_>, phase: Phase, transaction: Option<&Transaction>) -> Result<Plan> {
        let network = match phase {
            Phase::Download => Network::Host,
            Phase::Install => Network::None,
        };
        let mut extra = request::mounts(job, phase, transaction)?;
        let program = format!("{OWN}/{}", self.file);
        extra.push(Mount::File { target: format!("{OWN}/driver.py").into(), content: COMMON.to_owned() });
        extra.push(Mount::File { target: program.clone().into(), content: self.program.to_owned() });
        Ok(workbench::plan(job, network, extra, CommandLine::new([&*self.python.to_string_lossy(), "-I", "-B", &program])))
    }

    /// Runs a program that tries the API; it prints nothing unless something is wrong.
    pub fn try_out(&self, program: &str, root: &Path, scratch: &Path) -> Result<()> {
        let said = workbench::run_python(&self.python, &[program], Network::None, scratch, root, &format!("trying {}", self.name))
            .map_err(|error| Failure::new(ExitCode::Host, format!("{error:#}")).hint(self.cure))?;
        if said.is_empty() {
            return Ok(());
        }
        Err(Failure::new(ExitCode::Host, said.join("\n")).hint(self.cure).into())
    }

    /// Resolves and downloads; what a network may have spoilt is tried again.
    pub fn download(&self, job: &Job<'_>, transaction: &Transaction, step: &Step<'_>) -> Result<TransactionPlan> {
        let remote = job.settings.repositories.is_empty()
            || job.settings.repositories.iter().any(|r| is_remote(&r.source))
            || transaction.install.iter().any(|spec| spec.kind() == SpecKind::Url);
        let mut attempt = 1;
        loop {
            match self.run(job, Phase::Download, transaction, step) {
                Ok((plan, _)) => return Ok(plan),
                Err(error) if remote && attempt < ATTEMPTS && may_pass(&error) => {
                    let pause = std::time::Duration::from_secs(1 << (attempt * 2 - 2));
                    job.report.note(&format!("{error:#}; trying again in {} s ({attempt} of {ATTEMPTS})", pause.as_secs()));
                    wait(pause)?;
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Installs what was planned, and nothing else.
    pub fn install(&self, job: &Job<'_>, transaction: &Transaction, plan: &TransactionPlan, step: &Step<'_>) -> Result<Vec<Failed>> {
        let (done, failed) = self.run(job, Phase::Install, transaction, step)?;
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

    /// Runs one phase of one transaction.
    fn run(&self, job: &Job<'_>, phase: Phase, transaction: &Transaction, step: &Step<'_>) -> Result<(TransactionPlan, Vec<Failed>)> {
        let plan = self.sandbox(job, phase, Some(transaction))?;
        job.report.command(&plan.command.quoted());
        let mut answers = Answers::new(step);
        let outcome = Sandbox::run(&plan, job.limits(), &mut |stream, line| {
            match stream {
                Stream::Out => answers.take(line),
                Stream::Err => {
                    answers.said.push(line);
                    job.report.output(line);
                }
            }
            Ok(())
        });
        let outcome = match (outcome, &answers.scriptlet) {
            (Err(error), Some(package)) => return Err(error.context(format!("running a scriptlet of {package}"))),
            (outcome, _) => outcome?,
        };
        if !outcome.strays.is_empty() && phase == Phase::Install {
            job.report.note(&format!("scriptlets left processes behind, which were ended: {}", outcome.strays.join(", ")));
        }
        if let Some(error) = &answers.error {
            return Err(failure(job, self, &answers, error, phase).into());
        }
        match answers.plan {
            Some(plan) if answers.done && outcome.success() => Ok((plan, answers.failed)),
            _ => Err(Failure::new(
                ExitCode::Transaction,
                format!("{} ended with {} before its work was done:\n{}", self.name, outcome.describe(), answers.said.last(12)),
            )
            .into()),
        }
    }
}

/// Whether trying again may help: a folder does not come back by itself.
fn is_remote(source: &RepositorySource) -> bool {
    match source {
        RepositorySource::Baseurl(urls) => urls.iter().any(|url| !url.starts_with("file://")),
        RepositorySource::Metalink(_) | RepositorySource::Mirrorlist(_) => true,
    }
}

/// Whether trying again may help: not where the server knows the client well and says no.
fn may_pass(error: &anyhow::Error) -> bool {
    let said = format!("{error:#}");
    let refused = ["401", "403", "404", "410"].iter().any(|status| said.contains(&format!("Status code: {status}")));
    crate::error::exit_code(error) == ExitCode::Repository && !refused
}

/// Sleeps, but not through a request to stop.
fn wait(pause: std::time::Duration) -> Result<()> {
    let end = std::time::Instant::now() + pause;
    while std::time::Instant::now() < end {
        crate::process::check_stop()?;
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    Ok(())
}

/// What a driver does not do is refused by name, before anything is downloaded.
pub(super) fn refuse(job: &Job<'_>, line: usize, what: &str, hint: &str) -> Failure {
    Failure::new(ExitCode::Recipe, format!("{}:{line}: {what}", job.recipe.display())).hint(hint)
}

/// The folders in which the tools' Pythons look for modules; nothing of them is run outside the sandbox.
pub(super) fn module_folders(tools: &ToolRoot) -> Vec<PathBuf> {
    let mut folders = vec!["/usr/lib/python3/dist-packages".to_owned()];
    for lib in ["/usr/lib", "/usr/lib64", "/usr/local/lib"] {
        let entries = tools.resolve(lib).and_then(|lib| std::fs::read_dir(lib).ok()).into_iter().flatten().filter_map(|e| e.ok());
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        folders.extend(names.filter(|name| name.starts_with("python3")).map(|name| format!("{lib}/{name}/site-packages")));
    }
    folders.iter().filter_map(|folder| tools.resolve(folder)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn the_drivers_are_python_that_compiles() -> Result<()> {
        let Some(python) = crate::process::find_program("python3") else { return Ok(()) };
        let dir = tempfile::tempdir().context("a temporary folder")?;
        for (name, program) in [("driver.py", COMMON), ("dnf4.py", super::super::dnf4::PROGRAM), ("dnf5.py", super::super::dnf5::PROGRAM)] {
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
