//! dnf 4, through its Python API: truthful errors, real progress, groups by their names.

use serde_json::{Value, json};
use std::path::PathBuf;

use super::events::{DriverError, ErrorKind, Event, PlannedPackage, TransactionPlan};
use super::verdict::FailedScriptlet;
use super::workbench::{self, CACHE};
use super::{Failed, Job, PackageManager};
use crate::error::{ExitCode, Failure, Result};
use crate::process::{CommandLine, Tail};
use crate::recipe::{RepositorySource, Transaction, Verify};
use crate::report::{Step, Unit};
use crate::sandbox::{Access, BUILD_ROOT, Mount, Network, OWN, Plan, Sandbox, Stream};

/// The driver: Python that speaks dnf's API and answers in lines of JSON.
const DRIVER: &str = include_str!("dnf4.py");
/// How often a failed download phase is tried in all; dnf itself gives up after three refusals within a second.
const ATTEMPTS: u32 = 4;

/// dnf 4 of the host.
#[derive(Debug)]
pub(super) struct Dnf4 {
    python: PathBuf,
    description: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Download,
    Install,
}

impl Dnf4 {
    /// Looks for a Python that has dnf's module.
    pub fn find() -> Result<Self> {
        let missing = || {
            Failure::new(ExitCode::Host, "this host has no dnf 4, which fills the image")
                .hint("install it: apt-get install python3-dnf rpm   (on Fedora: dnf install python3-dnf)")
        };
        // EL 8 keeps dnf's Python apart from the one that people use.
        if let Some(python) = ["platform-python", "python3"].into_iter().find_map(crate::process::find_program) {
            if let Some(version) = module_version() {
                let rpm = super::need("rpm", "read the image's rpmdb", "rpm")?;
                return Ok(Self { description: format!("dnf {version} with {}", rpm.display()), python });
            }
        }
        Err(missing().into())
    }

    fn command(&self) -> CommandLine {
        CommandLine::new([&*self.python.to_string_lossy(), "-I", "-B", &format!("{OWN}/dnf4.py")])
    }

    fn sandbox(&self, job: &Job<'_>, phase: Phase, transaction: Option<&Transaction>) -> Result<Plan> {
        let network = match phase {
            Phase::Download => Network::Host,
            Phase::Install => Network::None,
        };
        let (mut extra, key_paths) = workbench::key_files(job);
        extra.push(Mount::File { target: format!("{OWN}/dnf4.py").into(), content: DRIVER.to_owned() });
        extra.push(Mount::Bind { source: job.cache.to_owned(), target: CACHE.into(), access: Access::ReadWrite });
        let (repositories, tls) = repositories(job, phase)?;
        extra.extend(tls);
        let host_repositories = job.settings.repositories.is_empty();
        if host_repositories {
            for path in ["/etc/yum.repos.d", "/etc/distro.repos.d", "/etc/dnf", "/etc/yum", "/etc/pki/rpm-gpg", "/etc/os-release"] {
                if let Ok(source) = std::path::Path::new(path).canonicalize() {
                    extra.push(Mount::Bind { source, target: path.into(), access: Access::ReadOnly });
                }
            }
        }
        if let Some(transaction) = transaction {
            let request = json!({
                "phase": match phase { Phase::Download => "download", Phase::Install => "install" },
                "offline": phase == Phase::Install,
                "installroot": BUILD_ROOT,
                "cachedir": CACHE,
                "scratch": "/var/tmp/dnf",
                "releasever": job.settings.releasever,
                "arch": job.settings.arch,
                "vars": job.settings.vars,
                "install_weak_deps": job.settings.install_weak_deps.unwrap_or(true),
                "tsflags": if job.settings.docs == Some(false) { vec!["nodocs"] } else { vec![] },
                "exclude": job.settings.exclude.iter().chain(&transaction.exclude).collect::<Vec<_>>(),
                "host_repositories": host_repositories,
                "repositories": repositories,
                "keys": key_paths,
                "transaction": transaction,
            });
            extra.push(Mount::File { target: format!("{OWN}/request.json").into(), content: request.to_string() });
        }
        Ok(workbench::plan(job, network, extra, self.command()))
    }

    /// Runs one phase of one transaction.
    fn run(&self, job: &Job<'_>, phase: Phase, transaction: &Transaction, step: &Step<'_>) -> Result<(TransactionPlan, Vec<Failed>)> {
        let plan = self.sandbox(job, phase, Some(transaction))?;
        job.report.command(&plan.command.quoted());
        let mut answers = Answers {
            step,
            planned: Vec::new(),
            plan: None,
            failed: Vec::new(),
            error: None,
            done: false,
            output: Tail::new(8 << 10),
            said: Tail::new(8 << 10),
            scriptlet: None,
        };
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
        if let Some(error) = answers.error {
            return Err(failure(job, &error, &answers.output, phase).into());
        }
        match answers.plan {
            Some(plan) if answers.done && outcome.success() => Ok((plan, answers.failed)),
            _ => Err(Failure::new(
                ExitCode::Transaction,
                format!("dnf ended with {} before its work was done:\n{}", outcome.describe(), answers.said.last(12)),
            )
            .into()),
        }
    }
}

impl PackageManager for Dnf4 {
    fn description(&self) -> &str {
        &self.description
    }

    fn download(&self, job: &Job<'_>, transaction: &Transaction, step: &Step<'_>) -> Result<TransactionPlan> {
        refuse(job, transaction)?;
        let remote = job.settings.repositories.is_empty() || job.settings.repositories.iter().any(|r| is_remote(&r.source));
        let mut attempt = 1;
        loop {
            match self.run(job, Phase::Download, transaction, step) {
                Ok((plan, _)) => return Ok(plan),
                Err(error) if remote && attempt < ATTEMPTS && crate::error::exit_code(&error) == ExitCode::Repository => {
                    let pause = std::time::Duration::from_secs(1 << (attempt * 2 - 2));
                    job.report.note(&format!("{error:#}; trying again in {} s ({attempt} of {ATTEMPTS})", pause.as_secs()));
                    wait(pause)?;
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn install(&self, job: &Job<'_>, transaction: &Transaction, plan: &TransactionPlan, step: &Step<'_>) -> Result<Vec<Failed>> {
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

    fn install_plan(&self, job: &Job<'_>) -> Result<Plan> {
        self.sandbox(job, Phase::Install, None)
    }
}

/// Whether trying again may help: a folder does not come back by itself.
fn is_remote(source: &RepositorySource) -> bool {
    match source {
        RepositorySource::Baseurl(urls) => urls.iter().any(|url| !url.starts_with("file://")),
        RepositorySource::Metalink(_) | RepositorySource::Mirrorlist(_) => true,
    }
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

/// What this driver does not do yet is refused by name, before anything is downloaded.
fn refuse(job: &Job<'_>, transaction: &Transaction) -> Result<()> {
    let what = if !transaction.modules.is_empty() {
        "module"
    } else if !transaction.mark.is_empty() {
        "mark"
    } else if !transaction.group_changes.is_empty() {
        "group remove, upgrade or mark"
    } else if transaction.upgrade.iter().any(|u| u.minimal || !u.filters.is_empty()) {
        "upgrade-minimal"
    } else {
        return Ok(());
    };
    Err(Failure::new(
        ExitCode::Recipe,
        format!("{}:{}: '{what}' is understood, but not carried out yet", job.recipe.display(), transaction.line),
    )
    .hint("an image that is built from nothing rarely needs it: install what it should hold")
    .into())
}

/// The repositories of the settings as dnf's options, and the files of theirs that the sandbox must see.
///
/// Secrets are passed to the download alone: scriptlets, which run while packages are installed, are the packages' own code.
fn repositories(job: &Job<'_>, phase: Phase) -> Result<(Vec<Value>, Vec<Mount>)> {
    let mut mounts = Vec::new();
    let mut place = |file: &Option<PathBuf>| -> Option<String> {
        let source = file.clone().filter(|_| phase == Phase::Download)?;
        let target = format!("{OWN}/tls/{}", mounts.len());
        mounts.push(Mount::Bind { source, target: target.clone().into(), access: Access::ReadOnly });
        Some(target)
    };
    let mut values = Vec::new();
    for repository in job.settings.repositories.iter().filter(|r| r.enabled) {
        let password = repository
            .password_file
            .as_deref()
            .filter(|_| phase == Phase::Download)
            .map(workbench::host_text)
            .transpose()?
            .map(|text| text.trim_end().to_owned());
        values.push(json!({
            "id": repository.id,
            "name": repository.name.as_deref().unwrap_or(&repository.id),
            "baseurl": match &repository.source { RepositorySource::Baseurl(urls) => urls.clone(), _ => Vec::new() },
            "metalink": match &repository.source { RepositorySource::Metalink(url) => Some(url), _ => None },
            "mirrorlist": match &repository.source { RepositorySource::Mirrorlist(url) => Some(url), _ => None },
            "priority": repository.priority,
            "cost": repository.cost,
            "module_hotfixes": repository.module_hotfixes,
            "excludepkgs": repository.exclude,
            "includepkgs": repository.include,
            "sslcacert": place(&repository.ca),
            "sslclientcert": place(&repository.client_cert),
            "sslclientkey": place(&repository.client_key),
            "proxy": repository.proxy.as_ref().filter(|_| phase == Phase::Download),
            "username": repository.username.as_ref().filter(|_| phase == Phase::Download),
            "password": password,
            "signed_metadata": repository.signed_metadata,
        }));
    }
    let strict_without_keys = job.settings.verify == Verify::Strict && job.keys.is_empty() && !values.is_empty();
    if strict_without_keys {
        return Err(Failure::new(ExitCode::Trust, "the settings name repositories, but no key that signs their packages")
            .hint("add [[packages.key]] with file or url and fingerprint, or verify = \"digest-only\" under [packages] to trust whoever serves them")
            .into());
    }
    Ok((values, mounts))
}

/// What the driver has answered so far.
struct Answers<'a> {
    step: &'a Step<'a>,
    planned: Vec<PlannedPackage>,
    plan: Option<TransactionPlan>,
    failed: Vec<Failed>,
    error: Option<DriverError>,
    done: bool,
    output: Tail,
    said: Tail,
    scriptlet: Option<String>,
}

impl Answers<'_> {
    fn take(&mut self, line: &str) {
        let report = self.step.report();
        match serde_json::from_str(line) {
            Ok(Event::Loading { repositories }) => self.step.item(&repositories.join(", ")),
            Ok(Event::Planned { package }) => self.planned.push(package),
            Ok(Event::Plan(plan)) => self.plan = Some(TransactionPlan { install: std::mem::take(&mut self.planned), ..*plan }),
            Ok(Event::Download { done, total, item }) => {
                self.step.progress(Unit::Bytes, done, total);
                self.step.item(&item);
            }
            Ok(Event::Retry { item, message }) => report.note(&format!("{item}: {message}; trying another mirror")),
            Ok(Event::Package { package, index, total }) => {
                self.scriptlet = None;
                self.step.progress(Unit::Items, index, total);
                self.step.item(&package);
            }
            Ok(Event::Scriptlet { package }) => {
                self.step.item(&format!("scriptlet of {package}"));
                self.scriptlet = Some(package);
            }
            Ok(Event::Posttrans) => {}
            Ok(Event::Output { line }) => {
                self.output.push(&line);
                report.output(&line);
            }
            Ok(Event::ScriptletFailed { message }) => self.failed.push(Failed(FailedScriptlet::new(&message, self.output.last(6)))),
            Ok(Event::Error(error)) => self.error = Some(error),
            Ok(Event::Done) => self.done = true,
            // A line that is no answer can only be noise of a library; what counts comes whole or not at all.
            Err(_) => self.said.push(&line.chars().take(500).collect::<String>()),
        }
    }
}

/// A driver's error as the person's: where in the recipe, what to do, which exit code.
fn failure(job: &Job<'_>, error: &DriverError, output: &Tail, phase: Phase) -> Failure {
    let place = |line: Option<usize>| match line {
        Some(line) => format!("{}:{line}: ", job.recipe.display()),
        None => String::new(),
    };
    let said = error.message.trim();
    match error.kind {
        ErrorKind::Host => Failure::new(ExitCode::Host, format!("dnf's Python module cannot be loaded: {said}"))
            .hint("install it: apt-get install python3-dnf"),
        ErrorKind::Settings => Failure::new(ExitCode::Recipe, said.to_owned())
            .hint("name repositories in the settings beside the recipe ([[packages.repository]]), or on the command line: --repo ID=URL"),
        // curl's CURLE_WRITE_ERROR: it is the cache that failed, not the network.
        ErrorKind::Repository | ErrorKind::Download if said.contains("Curl error (23)") || said.contains("No space left") => {
            Failure::new(ExitCode::Space, format!("writing into the package cache {}: {said}", job.cache.display()))
                .hint("name a larger place: --cache DIR")
        }
        ErrorKind::Repository | ErrorKind::Download => Failure::new(ExitCode::Repository, said.to_owned())
            .hint("look at the repository's address and the network; --cache keeps what was downloaded"),
        ErrorKind::Spec => {
            let mut failure = Failure::new(ExitCode::Transaction, format!("{}{said}", place(error.line)));
            if !error.known.is_empty() {
                failure = failure.hint(format!("the repositories have: {}", error.known.join(", ")));
            }
            failure
        }
        ErrorKind::Missing => {
            let mut lines = Vec::new();
            for spec in &error.specs {
                let near = error
                    .near
                    .get(&spec.text)
                    .filter(|near| !near.is_empty())
                    .map_or_else(String::new, |near| format!(" (there is: {})", near.join(", ")));
                lines.push(format!("{}no package matches '{}'{near}", place(Some(spec.line)), spec.text));
            }
            Failure::new(ExitCode::Transaction, lines.join("\n"))
                .hint("look at the spelling, and at the repositories that are enabled: osimg plan lists them")
        }
        ErrorKind::Dependency => Failure::new(ExitCode::Transaction, format!("dependencies cannot be satisfied: {said}")),
        ErrorKind::Trust => Failure::new(ExitCode::Trust, said.to_owned()),
        ErrorKind::Transaction if said.contains("does not verify") || said.contains("NOKEY") || said.contains("signature") => {
            Failure::new(ExitCode::Trust, format!("rpm refuses packages that no pinned key signed: {said}"))
                .hint("pin the repository's signing key with [[packages.key]]; a package that nobody signed cannot enter")
        }
        ErrorKind::Transaction if said.contains("more space") => {
            Failure::new(ExitCode::Space, format!("the workdir is too small for the image: {said}"))
                .hint("name a larger place: --workdir DIR")
        }
        ErrorKind::Transaction => {
            let tail = if output.is_empty() { String::new() } else { format!("\n{}", output.last(8)) };
            Failure::new(ExitCode::Transaction, format!("{said}{tail}"))
        }
        ErrorKind::Unexpected => {
            let phase = match phase {
                Phase::Download => "downloading",
                Phase::Install => "installing",
            };
            Failure::new(ExitCode::Transaction, format!("dnf failed while {phase}: {said}"))
        }
    }
}

/// The version of dnf's module, by looking where Python looks: nothing of it is run outside the sandbox.
fn module_version() -> Option<String> {
    let mut folders = vec![PathBuf::from("/usr/lib/python3/dist-packages")];
    for lib in ["/usr/lib", "/usr/lib64", "/usr/local/lib"] {
        let entries = std::fs::read_dir(lib).into_iter().flatten().filter_map(|e| e.ok());
        folders.extend(entries.filter(|e| e.file_name().to_string_lossy().starts_with("python3")).map(|e| e.path().join("site-packages")));
    }
    folders.iter().find_map(|folder| {
        let text = std::fs::read_to_string(folder.join("dnf/const.py")).ok()?;
        let version = text.lines().find_map(|line| line.trim().strip_prefix("VERSION"))?;
        Some(version.trim_matches(|c: char| !c.is_ascii_digit()).to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn the_driver_is_python_that_compiles() -> Result<()> {
        let Some(python) = crate::process::find_program("python3") else { return Ok(()) };
        let dir = tempfile::tempdir().context("a temporary folder")?;
        let file = dir.path().join("dnf4.py");
        std::fs::write(&file, DRIVER)?;
        #[expect(clippy::disallowed_methods, reason = "a test asks Python itself")]
        let status = std::process::Command::new(python)
            .args(["-I", "-c", "import ast, sys; ast.parse(open(sys.argv[1]).read())"])
            .arg(&file)
            .status()?;
        assert!(status.success());
        Ok(())
    }
}
