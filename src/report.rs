//! Everything that osimg writes for its user: steps with their timings, progress bars, notes,
//! warnings and errors on stderr, results on stdout. Each text passes [`crate::text`] here, so that
//! nothing foreign controls the terminal.

use crate::process::Output;
use crate::{secrets, text};
use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How much is written to stderr.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors only.
    #[default]
    Quiet,
    /// Steps, warnings and, on a terminal, progress bars.
    Normal,
    /// Child commands too, ready to paste.
    Verbose,
}

/// Whether the terminal's escape sequences are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The unit of a progress bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes, shown with binary prefixes and a rate.
    Bytes,
    /// Things: packages, files.
    Items,
}

/// A finished step and how long it took.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Timing {
    /// The step's name: a gerund, as it was announced.
    pub step: String,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Seconds of CPU, of this process and its children.
    pub cpu_seconds: f64,
}

/// The only way to stdout and stderr.
#[derive(Debug, Default)]
pub struct Report {
    verbosity: Verbosity,
    terminal: bool,
    color: bool,
    timings: Mutex<Vec<Timing>>,
    warnings: Mutex<Vec<String>>,
    bar: Mutex<Option<ProgressBar>>,
    /// The result of the verb as JSON, which is printed when the verb has ended.
    document: Mutex<Option<String>>,
    /// Why the verb ends with [`crate::error::ExitCode::Findings`], in a line.
    verdict: Mutex<Option<String>>,
}

impl Report {
    /// A report to stderr; bars appear only when it is a terminal.
    #[must_use]
    pub fn new(verbosity: Verbosity, color: Color) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let color = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        };
        Self { verbosity, terminal, color, ..Self::default() }
    }

    /// A report that prints nothing, for tests and for library users.
    #[must_use]
    pub fn silent() -> Self {
        Self::default()
    }

    /// Whether commands and details are shown.
    #[must_use]
    pub(crate) fn is_verbose(&self) -> bool {
        self.verbosity >= Verbosity::Verbose
    }

    /// Begins a step; `name` is a gerund with its object, such as `installing packages`.
    pub fn step<'a>(&'a self, name: &str) -> Step<'a> {
        let bar = if self.terminal && self.verbosity >= Verbosity::Normal {
            let bar = ProgressBar::with_draw_target(None, progress_target());
            bar.set_style(spinner_style());
            bar.set_prefix(text::line(name).into_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            *lock(&self.bar) = Some(bar.clone());
            Some(bar)
        } else {
            None
        };
        Step {
            report: self,
            name: name.to_owned(),
            began: Instant::now(),
            cpu: cpu_seconds(),
            bar,
            unit: Mutex::new(None),
            closed: false,
        }
    }

    /// Writes something worth knowing.
    pub fn note(&self, text: &str) {
        if self.verbosity >= Verbosity::Normal {
            self.line("", &format!("osimg: {}", secrets::concealed(text)));
        }
    }

    /// Writes a warning, and keeps it for the manifest and the summary.
    pub fn warn(&self, text: &str) {
        let text = secrets::concealed(text);
        lock(&self.warnings).push(text.clone().into_owned());
        self.finding(&format!("warning: {text}"));
    }

    /// Writes a line of a finding, which is kept elsewhere. Its severity is at its beginning.
    pub fn finding(&self, line: &str) {
        if self.verbosity >= Verbosity::Normal {
            let line = secrets::concealed(line);
            match (line.strip_prefix("error:"), line.strip_prefix("warning:")) {
                (Some(rest), _) => self.line(&self.paint("31;1", "error"), &format!(":{rest}")),
                (_, Some(rest)) => self.line(&self.paint("33", "warning"), &format!(":{rest}")),
                _ => self.line("", &line),
            }
        }
    }

    /// With `-v`, shows a child command ready to paste.
    pub fn command(&self, line: &str) {
        if self.is_verbose() {
            self.line("", &format!("+ {}", text::line(&secrets::concealed(line))));
        }
    }

    /// With `-v`, passes on a line that a child printed.
    pub fn output(&self, line: &str) {
        if self.is_verbose() {
            self.line("", &format!("  {}", secrets::concealed(line)));
        }
    }

    /// Shows a rendered error.
    pub fn error(&self, rendered: &str) {
        let rendered = secrets::concealed(rendered);
        match rendered.strip_prefix("error:") {
            Some(rest) => self.line(&self.paint("31;1", "error"), &format!(":{rest}")),
            None => self.line("", &rendered),
        }
    }

    /// Prints a result on stdout; a closed pipe is the reader's choice, anything else an error.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn print(&self, result: &str) -> std::io::Result<()> {
        write_stdout(&text::lines(result))
    }

    /// Keeps the verb's result as JSON: [`Report::print_document`] prints it, so that a failure
    /// after it is part of the one document.
    ///
    /// # Errors
    /// When the value cannot be written as JSON.
    pub fn document(&self, value: &impl Serialize) -> serde_json::Result<()> {
        *lock(&self.document) = Some(serde_json::to_string_pretty(value)?);
        Ok(())
    }

    /// Keeps, in a line, why the verb ends with [`crate::error::ExitCode::Findings`].
    pub fn verdict(&self, text: impl Into<String>) {
        *lock(&self.verdict) = Some(text.into());
    }

    /// The line that [`Report::verdict`] kept.
    #[must_use]
    pub(crate) fn kept_verdict(&self) -> Option<String> {
        lock(&self.verdict).clone()
    }

    /// Prints the document on stdout, if there is one, with the fields of a failure if the verb
    /// failed.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn print_document(&self, failure: Option<&Failed>) -> std::io::Result<()> {
        match with_failure(lock(&self.document).take(), failure) {
            Some(document) => write_stdout(&text::json(&document)),
            None => Ok(()),
        }
    }

    /// The steps finished so far, in order.
    #[must_use]
    pub(crate) fn timings(&self) -> Vec<Timing> {
        lock(&self.timings).clone()
    }

    /// The warnings given so far, in order.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        lock(&self.warnings).clone()
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Writes a line to stderr; only `head` may have escape sequences.
    fn line(&self, head: &str, text: &str) {
        match lock(&self.bar).as_ref() {
            Some(bar) => bar.suspend(|| write_stderr(head, text)),
            None => write_stderr(head, text),
        }
    }
}

/// A step under way. Dropping it without [`Step::finish`] means that it failed.
#[derive(Debug)]
pub struct Step<'a> {
    report: &'a Report,
    name: String,
    began: Instant,
    cpu: f64,
    bar: Option<ProgressBar>,
    unit: Mutex<Option<Unit>>,
    closed: bool,
}

impl Step<'_> {
    /// The report that this step belongs to.
    #[must_use]
    pub fn report(&self) -> &Report {
        self.report
    }

    /// Moves the bar; `total` of 0 means that the end is not known yet.
    pub fn progress(&self, unit: Unit, done: u64, total: u64) {
        let Some(bar) = &self.bar else { return };
        let mut shown = lock(&self.unit);
        if *shown != Some(unit) && total > 0 {
            bar.set_style(bar_style(unit));
            bar.reset_eta();
            *shown = Some(unit);
        }
        if total > 0 {
            bar.set_length(total);
        }
        bar.set_position(done);
    }

    /// Shows the current item next to the step's name.
    pub fn item(&self, item: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text::line(&secrets::concealed(item)).into_owned());
        }
    }

    /// Ends a step that succeeded; `summary` is its outcome in a few words.
    pub fn finish(mut self, summary: &str) {
        self.close();
        let seconds = self.began.elapsed().as_secs_f64();
        let cpu = cpu_seconds() - self.cpu;
        let round = |seconds: f64| (seconds * 1000.0).round() / 1000.0;
        lock(&self.report.timings).push(Timing {
            step: self.name.clone(),
            seconds: round(seconds),
            cpu_seconds: round(cpu),
        });
        if self.report.verbosity >= Verbosity::Normal {
            let head = self.report.paint("32", "osimg");
            let dash = if summary.is_empty() { "" } else { ": " };
            write_stderr(
                &head,
                &format!(": {}{dash}{} ({seconds:.1} s)", self.name, secrets::url(summary)),
            );
        }
    }

    fn close(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
            *lock(&self.report.bar) = None;
        }
        self.closed = true;
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        if !self.closed {
            self.close();
        }
    }
}

/// A byte count with binary prefixes.
#[must_use]
pub fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

/// Seconds of CPU that this process and the children it waited for have used.
fn cpu_seconds() -> f64 {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeValLike;
    [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN]
        .into_iter()
        .filter_map(|who| getrusage(who).ok())
        .map(|usage| usage.user_time() + usage.system_time())
        .map(|time| {
            std::time::Duration::from_micros(time.num_microseconds().unsigned_abs()).as_secs_f64()
        })
        .sum()
}

fn spinner_style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {prefix} ({elapsed}) {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn bar_style(unit: Unit) -> ProgressStyle {
    let template = match unit {
        Unit::Bytes => {
            "{spinner} {prefix} [{bar:24}] {binary_bytes}/{binary_total_bytes} \
             {binary_bytes_per_sec} eta {eta} {wide_msg}"
        }
        Unit::Items => "{spinner} {prefix} [{bar:24}] {pos}/{len} ({elapsed}) eta {eta} {wide_msg}",
    };
    ProgressStyle::with_template(template)
        .map_or_else(|_| ProgressStyle::default_bar(), |s| s.progress_chars("=> "))
}

/// A failure as a document has it.
#[derive(Debug, Serialize)]
pub struct Failed {
    /// The failure and its causes.
    pub error: String,
    /// The exit code.
    pub code: u8,
    /// How to fix it; a line each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The one document of a verb: its result, a failure, or a result whose last fields are the
/// failure.
fn with_failure(document: Option<String>, failure: Option<&Failed>) -> Option<String> {
    let Some(failure) = failure.and_then(|failure| serde_json::to_string_pretty(failure).ok())
    else {
        return document;
    };
    let head = document.as_deref().and_then(|document| document.strip_suffix("\n}"));
    let tail = failure.strip_prefix("{\n");
    match head.zip(tail) {
        Some((head, tail)) => Some(format!("{head},\n{tail}")),
        None => Some(failure),
    }
}

fn write_stdout(text: &str) -> std::io::Result<()> {
    match Output::Stdout.write_all(format!("{text}\n").as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

fn write_stderr(head: &str, text: &str) {
    // Held so that no other thread writes between the parts of a text.
    let _held = std::io::stderr().lock();
    // When stderr itself is closed, no one can be informed.
    let _ = Output::Stderr.write_all(format!("{head}{}\n", text::lines(text)).as_bytes());
}

/// Bars are drawn on stderr; the terminal may be stopped.
fn progress_target() -> ProgressDrawTarget {
    /// As indicatif's own.
    const REFRESHES_PER_SECOND: u8 = 20;
    let terminal = Term::read_write_pair(std::io::stdin(), Output::Stderr);
    ProgressDrawTarget::term(terminal, REFRESHES_PER_SECOND)
}

/// A poisoned lock means that a thread panicked while it reported; what is under the lock is still
/// sound.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_and_a_failure_are_one_document() {
        let failure = Failed { error: "odd\n\"x\"".into(), code: 9, hint: None };
        let result =
            serde_json::to_string_pretty(&serde_json::json!({ "nodes": [{ "name": "a" }] }))
                .unwrap();
        for (document, both) in [
            (None, serde_json::json!({ "error": "odd\n\"x\"", "code": 9 })),
            (
                Some(result.clone()),
                serde_json::json!({ "nodes": [{ "name": "a" }], "error": "odd\n\"x\"", "code": 9 }),
            ),
            (Some("{}".to_owned()), serde_json::json!({ "error": "odd\n\"x\"", "code": 9 })),
        ] {
            let whole = with_failure(document, Some(&failure)).unwrap();
            assert_eq!(serde_json::from_str::<serde_json::Value>(&whole).unwrap(), both, "{whole}");
        }
        assert_eq!(with_failure(Some(result.clone()), None), Some(result));
        assert_eq!(with_failure(None, None), None);
    }
}
