//! What a driver answers while it runs, and what its failures mean to the person.

use super::Failed;
use super::Job;
use super::driver::Phase;
use super::events::{DriverError, ErrorKind, Event, PlannedPackage, TransactionPlan};
use super::retry::RetryAfter;
use super::verdict::FailedScriptlet;
use crate::error::{ExitCode, Failure};
use crate::process::Tail;
use crate::report::{Step, Unit};
use std::time::Duration;

/// What the driver has answered so far.
pub(super) struct Answers<'a> {
    step: &'a Step<'a>,
    planned: Vec<PlannedPackage>,
    /// The transaction, once it is told whole.
    pub plan: Option<TransactionPlan>,
    /// Scriptlets that failed.
    pub failed: Vec<Failed>,
    /// Why the driver gave up.
    pub error: Option<DriverError>,
    /// Whether the driver reached its end.
    pub done: bool,
    /// The last lines of rpm and of scriptlets.
    pub output: Tail,
    /// The last lines of everything else.
    pub said: Tail,
    /// The package whose scriptlet runs.
    pub scriptlet: Option<String>,
}

impl<'a> Answers<'a> {
    /// Nothing is answered yet.
    pub fn new(step: &'a Step<'a>) -> Self {
        Self {
            step,
            planned: Vec::new(),
            plan: None,
            failed: Vec::new(),
            error: None,
            done: false,
            output: Tail::new(8 << 10),
            said: Tail::new(8 << 10),
            scriptlet: None,
        }
    }

    /// The packages that were announced so far.
    pub fn planned(&self) -> &[PlannedPackage] {
        self.plan.as_ref().map_or(&self.planned, |plan| &plan.install)
    }

    /// Takes one line of the driver's standard output.
    pub fn take(&mut self, line: &str) {
        let report = self.step.report();
        match serde_json::from_str(line) {
            Ok(Event::Loading { repositories }) => self.step.item(&repositories.join(", ")),
            Ok(Event::Planned { package }) => self.planned.push(package),
            Ok(Event::Plan(plan)) => self.plan = Some(TransactionPlan { install: std::mem::take(&mut self.planned), ..*plan }),
            Ok(Event::Download { done, total, item }) => {
                self.step.progress(Unit::Bytes, done, total);
                self.step.item(&item);
            }
            Ok(Event::Note { message }) => report.note(&message),
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

/// What helps when the root is not what it should be.
pub(super) const LOOK: &str = "look around in the root: build with --keep on-failure, then osimg shell";
/// What helps when packages or metadata are not what they should be.
pub(super) const CHANGED: &str =
    "packages or metadata of a repository were changed since they were signed or indexed: another mirror may have the right ones";
/// What helps when a package manager breaks down, as it does over damaged metadata.
pub(super) const BROKE: &str =
    "-v shows all that it said; damaged metadata or packages can be behind it: try another mirror, or an empty cache (--cache DIR)";

/// A driver's error as the person's: where in the recipe, what to do, which exit code.
///
/// `name` is what people call it, `cure` the command that installs it.
pub(super) fn failure(job: &Job<'_>, (name, cure): (&str, &str), answers: &Answers<'_>, error: &DriverError, phase: Phase) -> Failure {
    let place = |line: Option<usize>| match line {
        Some(line) => format!("{}:{line}: ", job.recipe.display()),
        None => String::new(),
    };
    let said = error.message.trim();
    match error.kind {
        ErrorKind::Host => Failure::new(ExitCode::Host, format!("{name} of this host does not work: {said}")).hint(cure),
        ErrorKind::Settings => Failure::new(ExitCode::Recipe, said.to_owned())
            .hint("name repositories in the settings beside the recipe ([[packages.repository]]), or on the command line: --repo ID=URL"),
        // SQLite's words and the C library's; rpm's own come as a transaction's.
        ErrorKind::Unexpected | ErrorKind::Transaction if said.contains("disk is full") || said.contains("No space left") => {
            Failure::new(ExitCode::Space, format!("no space left in the workdir: {said}")).hint("name a larger place: --workdir DIR")
        }
        ErrorKind::Repository if said.contains("GPG signature verification") => Failure::new(ExitCode::Trust, said.to_owned()).hint(
            "its signed_metadata asks for a repomd.xml.asc by a pinned key: pin that key, or the metadata is not what the repository made",
        ),
        // curl's CURLE_WRITE_ERROR: it is the cache that failed, not the network.
        ErrorKind::Repository | ErrorKind::Download if said.contains("Curl error (23)") || said.contains("No space left") => {
            Failure::new(ExitCode::Space, format!("writing into the package cache {}: {said}", job.cache.path().display()))
                .hint("name a larger place: --cache DIR")
        }
        // What is wrong with it only some of the libraries behind curl say.
        ErrorKind::Repository | ErrorKind::Download if said.contains("Curl error (60)") => {
            Failure::new(ExitCode::Repository, said.to_owned()).hint(
                "its certificate has expired, is another host's, or no authority that is trusted here made it: look at it and at this \
                 host's clock (curl -v, date), or name its authority: ca under [[packages.repository]]",
            )
        }
        ErrorKind::Repository | ErrorKind::Download => {
            let failure = Failure::new(ExitCode::Repository, said.to_owned())
                .hint("look at the repository's address and the network; --cache keeps what was downloaded");
            match error.retry_after {
                Some(seconds) => failure.because(RetryAfter(Duration::from_secs(seconds))),
                None => failure,
            }
        }
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
        ErrorKind::Dependency => Failure::new(ExitCode::Transaction, format!("dependencies cannot be satisfied: {said}")).hint(
            "name a repository that has what is missing, or another version of what asks for it; [packages] exclude leaves a package out",
        ),
        ErrorKind::Trust => Failure::new(ExitCode::Trust, said.to_owned()).hint(CHANGED),
        // A digest of the package itself, which its signature covers.
        ErrorKind::Transaction if ["digest: BAD", "Problem occurred when opening the package"].iter().any(|part| said.contains(part)) => {
            Failure::new(ExitCode::Trust, format!("rpm refuses packages that are not as they were signed: {said}")).hint(
                "the repository has a damaged package, and metadata that vouch for it: tell who makes it; another mirror may have the right one",
            )
        }
        ErrorKind::Transaction if ["does not verify", "NOKEY", "signature", "OpenPGP check"].iter().any(|part| said.contains(part)) => {
            Failure::new(ExitCode::Trust, format!("rpm refuses packages that no pinned key signed: {said}"))
                .hint("pin the repository's signing key with [[packages.key]]; a package that nobody signed cannot enter")
        }
        ErrorKind::Transaction if said.contains("more space") || said.contains("more inodes") => {
            Failure::new(ExitCode::Space, format!("the workdir is too small for the image: {said}"))
                .hint("name a larger place: --workdir DIR")
        }
        ErrorKind::Transaction => {
            let mut lines = vec![said.to_owned()];
            lines
                .extend(answers.failed.iter().map(|Failed(scriptlet)| scriptlet.message.clone()).filter(|message| !said.contains(message)));
            if !answers.output.is_empty() {
                lines.push(answers.output.last(8));
            }
            Failure::new(ExitCode::Transaction, lines.join("\n")).hint(LOOK)
        }
        ErrorKind::Unexpected => {
            let phase = match phase {
                Phase::Resolve => "resolving",
                Phase::Download | Phase::Fetch => "downloading",
                Phase::Install | Phase::InstallFiles => "installing",
            };
            Failure::new(ExitCode::Transaction, format!("{name} failed while {phase}: {said}")).hint(BROKE)
        }
    }
}
