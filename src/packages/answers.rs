//! The answers of a running driver, and its failures in the user's terms.

use super::Failed;
use super::Job;
use super::events::{DriverError, ErrorKind, Event, PlannedPackage, SpecMatch, TransactionPlan};
use super::hints::{BROKE, CHANGED, LOOK};
use super::phase::Phase;
use super::repositories::{no_repository, release_hint};
use super::retry::RetryAfter;
use super::scriptlet::FailedScriptlet;
use crate::error::{ExitCode, Failure};
use crate::process::Tail;
use crate::report::{Step, Unit};
use std::time::Duration;

/// The driver's answers so far.
pub(super) struct Answers<'a> {
    step: &'a Step<'a>,
    planned: Vec<PlannedPackage>,
    specs: Vec<SpecMatch>,
    /// The transaction, once it has been received completely.
    pub plan: Option<TransactionPlan>,
    /// Scriptlets that failed.
    pub failed: Vec<Failed>,
    /// The reason why the driver failed.
    pub error: Option<DriverError>,
    /// Whether the driver finished.
    pub done: bool,
    /// The last lines of rpm and of scriptlets.
    pub output: Tail,
    /// The last lines of all other output.
    pub other_output: Tail,
    /// The package with a running scriptlet.
    pub scriptlet: Option<String>,
    /// The item being read, if damage in it can crash the process.
    pub reading: Option<String>,
}

impl<'a> Answers<'a> {
    /// The state before the first answer.
    pub(super) fn new(step: &'a Step<'a>) -> Self {
        Self {
            step,
            planned: Vec::new(),
            specs: Vec::new(),
            plan: None,
            failed: Vec::new(),
            error: None,
            done: false,
            output: Tail::new(8 << 10),
            other_output: Tail::new(8 << 10),
            scriptlet: None,
            reading: None,
        }
    }

    /// The packages announced so far.
    pub(super) fn planned(&self) -> &[PlannedPackage] {
        self.plan.as_ref().map_or(&self.planned, |plan| &plan.install)
    }

    /// Processes one line of the driver's standard output.
    pub(super) fn take(&mut self, line: &str) {
        let report = self.step.report();
        match serde_json::from_str(line) {
            Ok(Event::Loading { repositories }) => self.step.item(&repositories.join(", ")),
            Ok(Event::Planned { package }) => self.planned.push(package),
            Ok(Event::Spec { spec }) => self.specs.push(spec),
            Ok(Event::Plan(plan)) => {
                let (install, specs) =
                    (std::mem::take(&mut self.planned), std::mem::take(&mut self.specs));
                self.plan = Some(TransactionPlan { install, specs, ..*plan });
            }
            Ok(Event::Download { done, total, item }) => {
                self.step.progress(Unit::Bytes, done, total);
                self.step.item(&item);
            }
            Ok(Event::Reading { what }) => self.reading = what,
            Ok(Event::Note { message }) => report.note(&message),
            Ok(Event::Retry { item, message }) => {
                report.note(&format!("{item}: {message}; trying another mirror"))
            }
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
            Ok(Event::ScriptletFailed { message }) => {
                self.failed.push(Failed(FailedScriptlet::new(&message, self.output.last(6))))
            }
            Ok(Event::Error(error)) => self.error = Some(error),
            Ok(Event::Done) => self.done = true,
            // A line that is not an answer is output of a library. Answers always arrive as
            // complete lines.
            Err(_) => self.other_output.push(&line.chars().take(500).collect::<String>()),
        }
    }
}

/// A driver's error for the user, with the line in the recipe, a hint and the exit code.
///
/// `name` is the package manager's name, `install_hint` the command that installs it.
pub(super) fn failure(
    job: &Job<'_>,
    (name, install_hint): (&str, &str),
    answers: &Answers<'_>,
    error: &DriverError,
    phase: Phase,
) -> Failure {
    let place = |line: Option<usize>| match line {
        Some(line) => format!("{}: ", job.places.shown(line)),
        None => String::new(),
    };
    let message = error.message.trim();
    let address = |failure: Failure| match release_hint(job.settings) {
        Some(hint) => failure.hint(hint),
        None => failure,
    };
    let plain = |code: ExitCode, hint: &str| Failure::new(code, message.to_owned()).hint(hint);
    match error.kind {
        ErrorKind::Host => {
            Failure::new(ExitCode::Host, format!("{name} does not work on this host: {message}"))
                .hint(install_hint)
        }
        ErrorKind::Settings => no_repository(message),
        ErrorKind::UnknownRepository => {
            Failure::new(ExitCode::Recipe, format!("{}{message}", place(error.line)))
                .hint(format!("the repositories are: {}", error.known.join(", ")))
        }
        ErrorKind::NoSpace => {
            Failure::new(ExitCode::Space, format!("no space left in the workdir: {message}"))
                .hint("use a directory with more space: --workdir DIR")
        }
        ErrorKind::TooLarge => {
            plain(ExitCode::Repository, "the server is broken or hostile: use another mirror")
        }
        ErrorKind::CacheFull => Failure::new(
            ExitCode::Space,
            format!("writing into the package cache {}: {message}", job.cache.path().display()),
        )
        .hint("use a directory with more space: --cache DIR"),
        ErrorKind::UnsignedMetadata => plain(
            ExitCode::Trust,
            "signed_metadata requires a repomd.xml.asc by a pinned key: pin that key; or remove \
             signed_metadata if only the repository's packages are signed",
        ),
        // Only some TLS libraries below curl report what is wrong with the certificate.
        ErrorKind::Certificate => plain(
            ExitCode::Repository,
            "the certificate is expired, for another host, or not signed by a trusted authority: \
             check it and this host's clock (curl -v, date), or set its authority: ca under \
             [[packages.repository]]",
        ),
        ErrorKind::Network => {
            let failure = plain(
                ExitCode::Repository,
                "check the repository's address and the network; downloaded packages stay in the \
                 cache",
            );
            let failure = address(failure);
            match error.retry_after {
                Some(seconds) => failure.because(RetryAfter(Duration::from_secs(seconds))),
                None => failure,
            }
        }
        ErrorKind::Refused => plain(
            ExitCode::Repository,
            "the server denies access: check username, password_file and client_cert under \
             [[packages.repository]]",
        ),
        ErrorKind::NoRepository => address(plain(
            ExitCode::Repository,
            "check the repository's address: repodata/repomd.xml must be below it",
        )),
        ErrorKind::Gone | ErrorKind::Outside => plain(
            ExitCode::Repository,
            "the repository's metadata refer to a missing file: run the build again later, or use \
             another mirror",
        ),
        ErrorKind::Metadata => plain(
            ExitCode::Repository,
            "the repository's metadata are damaged: use another mirror or an empty cache (--cache \
             DIR), or report it to the repository's maintainers",
        ),
        ErrorKind::Checksum => plain(ExitCode::Trust, CHANGED),
        ErrorKind::Key => plain(
            ExitCode::Trust,
            "check the key's algorithm: rpm must support it, and the system's crypto policy must \
             allow it",
        ),
        ErrorKind::Spec => {
            let mut failure =
                Failure::new(ExitCode::Transaction, format!("{}{message}", place(error.line)));
            if !error.known.is_empty() {
                failure =
                    failure.hint(format!("the repositories have: {}", error.known.join(", ")));
            }
            failure
        }
        ErrorKind::Missing => {
            let mut lines = Vec::new();
            for spec in &error.specs {
                let text = &spec.text;
                if error.excluded.contains(text) {
                    lines.push(format!(
                        "{}'{text}' is excluded by the recipe or the settings",
                        place(Some(spec.line))
                    ));
                    continue;
                }
                let near = error.near.get(text).filter(|near| !near.is_empty());
                let near = near
                    .map_or_else(String::new, |near| format!(" (there is: {})", near.join(", ")));
                lines.push(format!("{}no package matches '{text}'{near}", place(Some(spec.line))));
            }
            if error.more > 0 {
                lines.push(format!("and {} more", error.more));
            }
            Failure::new(ExitCode::Transaction, lines.join("\n")).hint(
                "check the spelling, and which repositories are enabled: osimg plan lists them",
            )
        }
        ErrorKind::Dependency => Failure::new(
            ExitCode::Transaction,
            format!("{}dependencies cannot be satisfied: {message}", place(error.line)),
        )
        .hint(
            "add a repository that has the missing package, or choose another version of the \
             package that needs it; [packages] exclude excludes a package",
        ),
        ErrorKind::Member => {
            let failure =
                Failure::new(ExitCode::Transaction, format!("{}{message}", place(error.line)));
            match error.known.as_slice() {
                [] => failure,
                others => failure.hint(format!(
                    "instead of the group, list the packages that you want: install {}",
                    others.join(" ")
                )),
            }
        }
        ErrorKind::DamagedPackage => Failure::new(
            ExitCode::Trust,
            format!("rpm refuses packages that were changed after signing: {message}"),
        )
        .hint(
            "a package in the repository is damaged, with matching metadata: report it to the \
             repository's maintainers; another mirror may have a good copy",
        ),
        ErrorKind::UnsignedPackage => Failure::new(
            ExitCode::Trust,
            format!("rpm refuses packages that are not signed by a pinned key: {message}"),
        )
        .hint(
            "pin the repository's signing key with [[packages.key]]; an unsigned package cannot \
             be installed",
        ),
        ErrorKind::Transaction => {
            let mut lines = vec![message.to_owned()];
            lines.extend(
                answers
                    .failed
                    .iter()
                    .map(|Failed(scriptlet)| scriptlet.message.clone())
                    .filter(|failed| !message.contains(failed)),
            );
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
            Failure::new(ExitCode::Transaction, format!("{name} failed while {phase}: {message}"))
                .hint(BROKE)
        }
    }
}
