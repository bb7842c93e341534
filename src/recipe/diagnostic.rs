//! Errors in a recipe or its settings, displayed like compiler errors: position, line, underline,
//! hints.

use super::origins::Origins;
use crate::error::{ExitCode, Failure};
use crate::text;
use serde::Serialize;
use std::fmt;
use unicode_width::UnicodeWidthChar;

/// After this many errors the rest of a recipe is not read.
const SHOWN_ERRORS: usize = 50;
/// The number of characters of a long line that are shown before and after an error.
const SHOWN_BEFORE: usize = 80;
const SHOWN_AFTER: usize = 100;

/// A position in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The first byte, from 0.
    pub start: usize,
    /// The byte after the last one.
    pub end: usize,
}

/// An error with its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// Its position.
    pub span: Span,
    /// What is wrong: a lower-case fragment without a final period.
    pub message: String,
    /// How to fix it; each hint is one line.
    pub hints: Vec<String>,
    /// The replacement for the span; the collector builds the corrected line from it.
    replacement: Option<String>,
}

impl SyntaxError {
    /// An error at a position.
    pub fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), hints: Vec::new(), replacement: None }
    }

    /// Adds the corrected line, with `replacement` at this position.
    #[must_use]
    pub(in crate::recipe) fn replace(mut self, replacement: impl Into<String>) -> Self {
        self.replacement = Some(replacement.into());
        self
    }

    /// Adds a hint how to fix it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

/// All errors of one file; `Display` writes the complete text for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxErrors {
    origins: Origins,
    errors: Vec<(SyntaxError, Excerpt)>,
    more: bool,
}

impl SyntaxErrors {
    /// The errors in the order of their positions; at most fifty.
    pub fn iter(&self) -> impl Iterator<Item = &SyntaxError> {
        self.errors.iter().map(|(error, _)| error)
    }

    fn place(&self, error: &SyntaxError) -> String {
        format!("{}:{}", self.origins.shown(error.span.line), error.span.column)
    }

    /// An error with its line, without its hints.
    fn lines(&self, error: &SyntaxError, excerpt: &Excerpt) -> Vec<String> {
        let shown = [&excerpt.line, &excerpt.underline].into_iter().filter(|line| !line.is_empty());
        std::iter::once(format!("{}: {}", self.place(error), error.message))
            .chain(shown.map(|line| format!("  {line}")))
            .collect()
    }

    /// The line after the last error if there are more.
    fn end(&self) -> Option<String> {
        let last = self.errors.last().map_or(1, |(error, _)| error.span.line);
        let file = text::line(self.origins.place(last).0);
        self.more.then(|| format!("{file}: stopped after {} errors", self.errors.len()))
    }
}

impl fmt::Display for SyntaxErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self
            .errors
            .iter()
            .flat_map(|(error, excerpt)| {
                let hints = error.hints.iter().map(|hint| format!("hint: {hint}"));
                self.lines(error, excerpt).into_iter().chain(hints)
            })
            .chain(self.end())
            .collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for SyntaxErrors {}

impl From<SyntaxErrors> for Failure {
    fn from(errors: SyntaxErrors) -> Self {
        let lines = errors.errors.iter().flat_map(|(error, excerpt)| errors.lines(error, excerpt));
        let text = lines.chain(errors.end()).collect::<Vec<_>>().join("\n");
        let several = errors.errors.len() > 1;
        let hints =
            errors.iter().flat_map(|error| error.hints.iter().map(move |hint| (error, hint)));
        hints.fold(Self::new(ExitCode::Recipe, text), |failure, (error, hint)| {
            // With several errors a hint names its own.
            let place = if several { format!("{}: ", errors.place(error)) } else { String::new() };
            failure.hint(format!("{place}{hint}"))
        })
    }
}

/// Collects the errors of one file, so that the user sees all of them at once.
#[derive(Debug)]
pub(in crate::recipe) struct Collector<'a> {
    origins: Origins,
    source: &'a str,
    errors: Vec<SyntaxError>,
    more: bool,
    /// The keys that are shown; if there are none, whole lines are shown.
    keys: Vec<&'static str>,
}

impl<'a> Collector<'a> {
    #[cfg(test)]
    pub(in crate::recipe) fn new(file: &str, source: &'a str) -> Self {
        Self::with_origins(Origins::from_file(file), source)
    }

    /// Of a text that is made of several files.
    pub(in crate::recipe) fn with_origins(origins: Origins, source: &'a str) -> Self {
        Self { origins, source, errors: Vec::new(), more: false, keys: Vec::new() }
    }

    /// Of a text with values that may be secret: of a line only its key is shown, if it is one of
    /// these. Any other text may be a part of a secret, or of a file that is not meant for osimg.
    pub(in crate::recipe) fn only_keys(mut self, keys: Vec<&'static str>) -> Self {
        self.keys = keys;
        self
    }

    /// The file and line of a line of the text.
    pub(in crate::recipe) fn place(&self, line: usize) -> String {
        self.origins.shown(line)
    }

    pub(in crate::recipe) fn push(&mut self, mut error: SyntaxError) {
        if self.errors.len() < SHOWN_ERRORS {
            if let Some(replacement) = error.replacement.take() {
                let before = self.source.get(..error.span.start).unwrap_or_default();
                let before =
                    before.get(before.rfind('\n').map_or(0, |at| at + 1)..).unwrap_or_default();
                let after = self
                    .source
                    .get(error.span.end..)
                    .unwrap_or_default()
                    .split('\n')
                    .next()
                    .unwrap_or_default();
                let line = format!("{before}{replacement}{after}");
                error.hints.push(format!("write {}", quoted(line.trim())));
            }
            self.errors.push(error);
        } else {
            self.more = true;
        }
    }

    /// Records that there may be more errors than those collected.
    pub(in crate::recipe) fn stop(&mut self) {
        self.more = true;
    }

    /// Whether there are no errors so far.
    pub(in crate::recipe) fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// Whether further errors would not be shown.
    pub(in crate::recipe) fn is_full(&self) -> bool {
        self.errors.len() >= SHOWN_ERRORS
    }

    /// The span of the word at a line and column, for an underline. Quotes are ignored.
    pub(in crate::recipe) fn word_at(&self, line: usize, column: usize) -> Span {
        let mut offset = 0;
        let mut text = "";
        for (index, candidate) in self.source.split_inclusive('\n').enumerate() {
            if index + 1 == line {
                text = candidate.trim_end_matches(['\n', '\r']);
                break;
            }
            offset += candidate.len();
        }
        if let Some(rest) = text.strip_prefix('\u{feff}') {
            offset += text.len() - rest.len();
            text = rest;
        }
        let start =
            text.char_indices().nth(column.saturating_sub(1)).map_or(text.len(), |(at, _)| at);
        let len = text.get(start..).map_or(0, |rest| rest.find([' ', '\t']).unwrap_or(rest.len()));
        Span { line, column, start: offset + start, end: offset + start + len }
    }

    /// The collected errors, if any.
    pub(in crate::recipe) fn finish<T>(self, value: T) -> Result<T, SyntaxErrors> {
        if self.errors.is_empty() {
            return Ok(value);
        }
        let mut errors: Vec<_> = self
            .errors
            .into_iter()
            .map(|error| {
                let excerpt = match self.keys.as_slice() {
                    [] => Excerpt::new(self.source, error.span),
                    keys => Excerpt::from_key(self.source, error.span, keys),
                };
                (error, excerpt)
            })
            .collect();
        errors.sort_by_key(|(error, _)| (error.span.line, error.span.column));
        Err(SyntaxErrors { origins: self.origins, errors, more: self.more })
    }
}

/// The line of an error as the terminal shows it, and the matching underline.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Excerpt {
    line: String,
    underline: String,
}

impl Excerpt {
    /// The key of a line, without its value.
    fn from_key(source: &str, span: Span, keys: &[&str]) -> Self {
        let line = source.lines().nth(span.line.saturating_sub(1)).unwrap_or_default();
        let key = line.split('=').next().unwrap_or_default().trim();
        let known = key.split('.').all(|part| keys.contains(&part));
        let line = if known { format!("{key} = ...") } else { String::new() };
        Self { line, underline: String::new() }
    }

    fn new(source: &str, span: Span) -> Self {
        let (before, after) = source.split_at_checked(span.start).unwrap_or((source, ""));
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let before = before.get(line_start..).unwrap_or_default();
        let after = after.split('\n').next().unwrap_or_default().trim_end_matches('\r');
        // Long lines are cut to a window; otherwise a line of 1 MB would be the message.
        let cut =
            before.char_indices().rev().nth(SHOWN_BEFORE).map_or(0, |(at, c)| at + c.len_utf8());
        let mut line = if cut > 0 { String::from("...") } else { String::new() };
        let mut width = line.len();
        for c in before.get(cut..).unwrap_or_default().chars() {
            width += push_shown(&mut line, c, width);
        }
        let mut underline = " ".repeat(width);
        let marked = span.end.saturating_sub(span.start);
        let mut marks = 0;
        for (index, (at, c)) in after.char_indices().enumerate() {
            if index == SHOWN_AFTER {
                line.push_str("...");
                break;
            }
            let shown = push_shown(&mut line, c, width);
            width += shown;
            if at < marked {
                marks += shown;
            }
        }
        underline.push_str(&"^".repeat(marks.max(1)));
        Self { line, underline }
    }
}

/// Appends a character in displayable form and returns its width in columns.
fn push_shown(line: &mut String, c: char, column: usize) -> usize {
    if c == '\t' {
        let width = 8 - column % 8;
        line.push_str(&" ".repeat(width));
        return width;
    }
    if hidden(c) {
        let text = c.escape_unicode().to_string();
        line.push_str(&text);
        return text.len();
    }
    line.push(c);
    c.width().unwrap_or(1)
}

/// Whether a character is not allowed in a recipe, because it is invisible or looks like a space.
pub(in crate::recipe) fn hidden(c: char) -> bool {
    text::is_hidden(c) || (c.is_whitespace() && c != ' ')
}

/// A text in backticks for a message; long texts are shortened.
pub(in crate::recipe) fn quoted(text: &str) -> String {
    match text.char_indices().nth(SHOWN_BEFORE) {
        Some((at, _)) => format!("`{}...`", text::line(text.get(..at).unwrap_or_default())),
        None => format!("`{}`", text::line(text)),
    }
}

/// The severity of a remark that does not stop the build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// For information.
    Note,
    /// Probably a mistake.
    Warning,
}

/// A remark on a line of a recipe that does not stop the build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The line, from 1.
    pub line: usize,
    /// The severity.
    pub severity: Severity,
    /// The text: a lower-case fragment without a final period.
    pub text: String,
}

impl Diagnostic {
    pub(in crate::recipe) fn note(line: usize, text: impl Into<String>) -> Self {
        Self { line, severity: Severity::Note, text: text.into() }
    }

    pub(in crate::recipe) fn warning(line: usize, text: impl Into<String>) -> Self {
        Self { line, severity: Severity::Warning, text: text.into() }
    }
}

/// The span for a byte range, for parsers that report only bytes.
pub(in crate::recipe) fn span_of(source: &str, range: std::ops::Range<usize>) -> Span {
    let before = source.get(..range.start).unwrap_or(source);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before.matches('\n').count() + 1;
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    // A span of several lines is underlined only on its first line.
    let len =
        source.get(range.clone()).map_or(0, |s| s.split('\n').next().unwrap_or_default().len());
    Span { line, column, start: before.len(), end: before.len() + len }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(source: &str, start: usize, end: usize) -> String {
        let mut errors = Collector::new("a.yum", source);
        errors.push(SyntaxError::new(span_of(source, start..end), "odd").hint("fix it"));
        errors.finish(()).unwrap_err().to_string()
    }

    #[test]
    fn the_underline_is_correct_after_a_tab_or_a_wide_character() {
        assert_eq!(
            shown("a\n\tx \u{6f22} bad", 9, 12),
            "a.yum:2:6: odd\n          x \u{6f22} bad\n               ^^^\nhint: fix it"
        );
    }

    #[test]
    fn hidden_characters_are_never_displayed() {
        let text = shown("\u{1b}[31m\u{202e} bad", 9, 12);
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text}");
        assert!(text.contains("\\u{1b}[31m\\u{202e} bad"), "{text}");
    }

    #[test]
    fn only_the_part_around_the_error_is_shown_of_a_long_line() {
        let source = format!("{} bad {}", "x".repeat(100_000), "y".repeat(100_000));
        let text = shown(&source, 100_001, 100_004);
        assert!(text.len() < 700, "{}", text.len());
        let mut lines = text.lines().skip(1);
        let (line, mark) = (lines.next().unwrap(), lines.next().unwrap());
        assert_eq!(line.find("bad"), mark.find('^'));
    }

    #[test]
    fn errors_beyond_the_fiftieth_are_not_shown() {
        let mut errors = Collector::new("a.yum", "x");
        for _ in 0..60 {
            errors.push(SyntaxError::new(Span { line: 1, column: 1, start: 0, end: 1 }, "odd"));
        }
        let errors = errors.finish(()).unwrap_err();
        assert_eq!(errors.iter().count(), 50);
        assert!(errors.to_string().ends_with("a.yum: stopped after 50 errors"));
    }
}
