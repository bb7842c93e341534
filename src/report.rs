//! Talk to the person: steps with their timings, progress bars with rate and estimate, notes and warnings, all on stderr.

use crate::secrets;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How much is said on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors only.
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

/// What a bar counts.
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

/// Where everything that osimg says to a person goes.
#[derive(Debug)]
pub struct Report {
    verbosity: Verbosity,
    terminal: bool,
    color: bool,
    timings: Mutex<Vec<Timing>>,
    warnings: Mutex<Vec<String>>,
    bar: Mutex<Option<ProgressBar>>,
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
        Self { verbosity, terminal, color, timings: Mutex::default(), warnings: Mutex::default(), bar: Mutex::default() }
    }

    /// A report that says nothing, for tests and for library users.
    #[must_use]
    pub fn silent() -> Self {
        Self {
            verbosity: Verbosity::Quiet,
            terminal: false,
            color: false,
            timings: Mutex::default(),
            warnings: Mutex::default(),
            bar: Mutex::default(),
        }
    }

    /// Begins a step; `name` is a gerund with its object, such as `installing packages`.
    pub fn step<'a>(&'a self, name: &str) -> Step<'a> {
        let bar = if self.terminal && self.verbosity >= Verbosity::Normal {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(spinner_style());
            bar.set_prefix(name.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            *lock(&self.bar) = Some(bar.clone());
            Some(bar)
        } else {
            None
        };
        Step { report: self, name: name.to_owned(), began: Instant::now(), cpu: cpu_seconds(), bar, unit: Mutex::new(None), closed: false }
    }

    /// Says something worth knowing that is no trouble.
    pub fn note(&self, text: &str) {
        if self.verbosity >= Verbosity::Normal {
            self.line(&format!("osimg: {text}"));
        }
    }

    /// Says, and keeps for the summary, what the person should look at though the build goes on.
    pub fn warn(&self, text: &str) {
        lock(&self.warnings).push(secrets::concealed(text).into_owned());
        self.caution(text);
    }

    /// Says a warning that is kept elsewhere.
    pub fn caution(&self, text: &str) {
        if self.verbosity >= Verbosity::Normal {
            let word = self.paint("33", "warning");
            self.line(&format!("{word}: {text}"));
        }
    }

    /// With `-v`, shows a child command ready to paste.
    pub fn command(&self, line: &str) {
        if self.verbosity >= Verbosity::Verbose {
            self.line(&format!("+ {line}"));
        }
    }

    /// With `-v`, passes on a line that a child printed.
    pub fn output(&self, line: &str) {
        if self.verbosity >= Verbosity::Verbose {
            self.line(&format!("  {line}"));
        }
    }

    /// Shows a rendered error.
    pub fn error(&self, rendered: &str) {
        let text = match rendered.strip_prefix("error:") {
            Some(rest) if self.color => format!("{}:{rest}", self.paint("31;1", "error")),
            _ => rendered.to_owned(),
        };
        self.line(&text);
    }

    /// The steps finished so far, in order.
    #[must_use]
    pub fn timings(&self) -> Vec<Timing> {
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

    fn line(&self, text: &str) {
        match lock(&self.bar).as_ref() {
            Some(bar) => bar.suspend(|| write_stderr(text)),
            None => write_stderr(text),
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

    /// Names the thing in hand beside the step's name.
    pub fn item(&self, item: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(secrets::concealed(item).into_owned());
        }
    }

    /// Ends the step well; `summary` says in a few words what it came to.
    pub fn finish(mut self, summary: &str) {
        self.close();
        let seconds = self.began.elapsed().as_secs_f64();
        let cpu = cpu_seconds() - self.cpu;
        let round = |seconds: f64| (seconds * 1000.0).round() / 1000.0;
        lock(&self.report.timings).push(Timing { step: self.name.clone(), seconds: round(seconds), cpu_seconds: round(cpu) });
        if self.report.verbosity >= Verbosity::Normal {
            let head = self.report.paint("32", "osimg");
            let dash = if summary.is_empty() { "" } else { ": " };
            write_stderr(&format!("{head}: {}{dash}{summary} ({seconds:.1} s)", self.name));
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

/// A byte count for people, with binary prefixes.
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
        .map(|time| std::time::Duration::from_micros(time.num_microseconds().unsigned_abs()).as_secs_f64())
        .sum()
}

fn spinner_style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {prefix} ({elapsed}) {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn bar_style(unit: Unit) -> ProgressStyle {
    let template = match unit {
        Unit::Bytes => "{spinner} {prefix} [{bar:24}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} eta {eta} {wide_msg}",
        Unit::Items => "{spinner} {prefix} [{bar:24}] {pos}/{len} ({elapsed}) eta {eta} {wide_msg}",
    };
    ProgressStyle::with_template(template).map_or_else(|_| ProgressStyle::default_bar(), |s| s.progress_chars("=> "))
}

fn write_stderr(text: &str) {
    use std::io::Write;
    // Nobody is left to tell when stderr itself is closed.
    let _ = writeln!(std::io::stderr().lock(), "{}", secrets::concealed(text));
}

/// A poisoned lock means that a thread died while talking; the talk itself is still sound.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
