//! What microdnf and rpm say while they work: which step it is, which scriptlet failed, and why they gave up.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

use super::super::answers::{Answers, failure};
use super::super::driver::Phase;
use super::super::events::{AskedSpec, DriverError, ErrorKind};
use super::super::verdict::FailedScriptlet;
use super::super::{Failed, Job};
use super::words::Words;
use super::{CURE, NAME};
use crate::error::{ExitCode, Failure};
use crate::report::{Step, Unit};

/// What Debian's rpm says to everybody who installs packages with it.
const OF_DEBIAN: [&str; 2] = ["rpm: RPM should not be used directly", "rpm: However assuming you know what you are doing"];

/// What has been said so far.
pub(super) struct Said<'a> {
    step: &'a Step<'a>,
    /// What goes into the words of a failure.
    answers: Answers<'a>,
    /// What rpm calls the packages of the plan.
    packages: BTreeSet<String>,
    /// How many of them it has named.
    come: u64,
    /// The error that ended it, which may have several lines.
    error: String,
}

impl<'a> Said<'a> {
    /// Nothing was said yet; these packages will come or go, by rpm's names.
    pub fn new(step: &'a Step<'a>, packages: BTreeSet<String>) -> Self {
        Self { step, answers: Answers::new(step), packages, come: 0, error: String::new() }
    }

    /// Takes a line of standard output that is not of the table.
    pub fn out(&mut self, line: &str) {
        if self.packages.contains(line) {
            self.come += 1;
            self.step.progress(Unit::Items, self.come, self.packages.len() as u64);
            return self.step.item(line);
        }
        if matches!(line, "Downloading metadata..." | "Downloading packages..." | "Running transaction test...") {
            return self.step.item(line.trim_end_matches('.'));
        }
        let summary = line.starts_with(' ') && line.ends_with(" packages") || line.starts_with("Test mode enabled: ");
        if !summary {
            self.answers.output.push(line);
        }
        self.step.report().output(line);
    }

    /// Takes a line of standard error.
    pub fn err(&mut self, line: &str) {
        if OF_DEBIAN.iter().any(|part| line.starts_with(part)) {
            return;
        }
        self.step.report().output(line);
        if let Some(message) = failed(line) {
            let failed = FailedScriptlet::new(&message, self.answers.output.last(6));
            if !self.answers.failed.iter().any(|Failed(known)| known.message == failed.message) {
                self.answers.failed.push(Failed(failed));
            }
            return;
        }
        match line.strip_prefix("error: ") {
            Some(error) if !self.error.is_empty() => self.error.push_str(&format!("\n{error}")),
            Some(error) => self.error.push_str(error),
            // A problem of rpm's: it has them one a line, under no heading.
            None if line.starts_with('\t') && self.error.is_empty() => self.error.push_str(line.trim_start()),
            None if !self.error.is_empty() => self.error.push_str(&format!("\n{line}")),
            None => self.answers.output.push(line),
        }
    }

    /// The scriptlets that failed.
    pub fn failed(self) -> Vec<Failed> {
        self.answers.failed
    }

    /// The last lines of everything.
    pub fn last(&self) -> String {
        format!("{}\n{}", self.answers.output.last(8), self.error).trim().to_owned()
    }

    /// Why it was given up, to the person; `None` when no reason was given.
    pub fn failure(&self, job: &Job<'_>, words: &Words<'_>, phase: Phase) -> Option<Failure> {
        let said = self.error.trim();
        let asked =
            |text: &str| words.specs.iter().find(|spec| spec.text == text).map(|s| AskedSpec { text: s.text.clone(), line: s.line });
        if let Some(missing) = said.strip_prefix("No package matches '").and_then(|rest| rest.strip_suffix('\'')) {
            return Some(failure(job, (NAME, CURE), &self.answers, &error(ErrorKind::Missing, said, asked(missing)), phase));
        }
        if let Some(missing) = said.strip_prefix("No installed package matches '").and_then(|rest| rest.strip_suffix('\'')) {
            return Some(not_installed(job, asked(missing), missing));
        }
        let said = if said.is_empty() && !self.answers.failed.is_empty() { "rpm could not carry out the transaction" } else { said };
        let said = said.replace("Checksum mismatch in local repository", "not what the repository's metadata say:");
        let said = said.as_str();
        (!said.is_empty()).then(|| failure(job, (NAME, CURE), &self.answers, &error(kind(said), said, None), phase))
    }

    /// What microdnf passes over with exit status 0: what it should install once more, and does not find.
    pub fn passed_over(&self, job: &Job<'_>, words: &Words<'_>) -> Option<Failure> {
        let said = self.answers.output.last(usize::MAX);
        let spec = words.specs.iter().find(|spec| {
            let line = |line: &str| {
                line == format!("No match for argument: {}", spec.text)
                    || line == format!("Package for argument {} available, but not installed.", spec.text)
            };
            said.lines().any(line)
        });
        if let Some(spec) = spec {
            return Some(not_installed(job, Some(AskedSpec { text: spec.text.clone(), line: spec.line }), &spec.text));
        }
        let gone = said.lines().find_map(|line| line.strip_prefix("Installed package ")?.strip_suffix(" not available."))?;
        let line = words.specs.first().map_or(1, |spec| spec.line);
        let message = format!("{}:{line}: {gone} is installed and in no repository that is enabled", job.recipe.display());
        Some(Failure::new(ExitCode::Transaction, message))
    }
}

fn not_installed(job: &Job<'_>, asked: Option<AskedSpec>, text: &str) -> Failure {
    let place = asked.map_or_else(String::new, |spec| format!("{}:{}: ", job.recipe.display(), spec.line));
    Failure::new(ExitCode::Transaction, format!("{place}no installed package matches '{text}'"))
}

fn error(kind: ErrorKind, message: &str, spec: Option<AskedSpec>) -> DriverError {
    DriverError {
        kind,
        message: message.to_owned(),
        line: None,
        specs: spec.into_iter().collect(),
        near: std::collections::BTreeMap::new(),
        known: Vec::new(),
        retry_after: None,
    }
}

/// What kind of failure the words of libdnf are.
fn kind(said: &str) -> ErrorKind {
    let has = |parts: &[&str]| parts.iter().any(|part| said.contains(part));
    if has(&["Could not depsolve"]) {
        ErrorKind::Dependency
    } else if has(&["not what the repository's metadata say", "cannot be verified"]) {
        ErrorKind::Trust
    } else if has(&["File missing in local repository"]) {
        ErrorKind::Download
    } else if has(&["Error running transaction", "importing the keys"]) {
        ErrorKind::Transaction
    } else if has(&[
        "cannot update repo",
        "Cannot download",
        "cannot download",
        "Curl error",
        "Status code",
        "repomd.xml",
        "mirror",
        "Librepo",
    ]) {
        ErrorKind::Repository
    } else {
        ErrorKind::Transaction
    }
}

/// A failed scriptlet in the words of dnf, when the line is rpm's about one.
fn failed(line: &str) -> Option<String> {
    static FAILED: LazyLock<[Option<Regex>; 2]> = LazyLock::new(|| {
        [r"(?:warning|error): %(\w+)\(([^)]+)\) scriptlet failed", r#"lua script failed: \[string "%(\w+)\(([^)]+)\)"\]"#]
            .map(|pattern| Regex::new(pattern).ok())
    });
    let found = FAILED.iter().flatten().find_map(|pattern| pattern.captures(line))?;
    let (kind, package) = (found.get(1)?.as_str(), found.get(2)?.as_str());
    let kind = match kind {
        "prein" | "pre" => "PREIN".to_owned(),
        "post" => "POSTIN".to_owned(),
        other => other.to_ascii_uppercase(),
    };
    let name = crate::nevra::Nevra::lenient(package).name;
    Some(format!("Error in {kind} scriptlet in rpm package {}", if name.is_empty() { package } else { name }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_scriptlet_is_found_behind_what_it_printed_itself() {
        for (line, means) in [
            (
                "warning: %post(fails-post-1.0-1.noarch) scriptlet failed, exit status 4",
                "Error in POSTIN scriptlet in rpm package fails-post",
            ),
            ("no newlineerror: %prein(a-b-1.0-1.noarch) scriptlet failed, signal 9", "Error in PREIN scriptlet in rpm package a-b"),
            ("error: lua script failed: [string \"%posttrans(lua-1.0-1.noarch)\"]:1: x", "Error in POSTTRANS scriptlet in rpm package lua"),
        ] {
            assert_eq!(failed(line).as_deref(), Some(means));
        }
        assert_eq!(failed("warning: nothing"), None);
    }

    #[test]
    fn the_kinds_of_failure_are_told_apart() {
        assert_eq!(kind("Could not depsolve transaction; 1 problem detected:\n Problem: conflicting requests"), ErrorKind::Dependency);
        assert_eq!(kind("package a cannot be verified and repo r is GPG enabled: SIGNATURE: NOT OK"), ErrorKind::Trust);
        assert_eq!(kind("File missing in local repository /a/b.rpm"), ErrorKind::Download);
        assert_eq!(kind("cannot update repo 'tiny': Cannot download repomd.xml"), ErrorKind::Repository);
        assert_eq!(kind("Error running transaction: package a does not verify: NOKEY"), ErrorKind::Transaction);
    }
}
