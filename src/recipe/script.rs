//! A recipe's text and its statements, with conversions in both directions.

use super::diagnostic::{Collector, Diagnostic, SyntaxErrors};
use super::lexer::{self, ByteOrderMark};
use super::origins::Origins;
use super::parser::Parser;
use super::statement::Statement;
use std::fmt;

/// A recipe's statements, in order.
///
/// `Display` writes them in canonical form, one per line. That form is parsed to the same
/// statements, except for their positions; comments are not kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    /// The statements, in order.
    pub statements: Vec<Statement>,
    pub(super) origins: Origins,
    pub(super) source: String,
    pub(super) diagnostics: Vec<Diagnostic>,
}

impl Script {
    /// The source text.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The files of its lines.
    #[must_use]
    pub(crate) fn origins(&self) -> &Origins {
        &self.origins
    }

    /// Parses a recipe's text; `file` is its name in messages.
    ///
    /// # Errors
    /// Returns all errors in the text, each with its line and column.
    pub fn parse(text: &str, file: &str) -> Result<Self, SyntaxErrors> {
        Self::parse_with_origins(text, Origins::from_file(file))
    }

    /// Parses a text that is made of several files.
    pub(super) fn parse_with_origins(text: &str, origins: Origins) -> Result<Self, SyntaxErrors> {
        let mut errors = Collector::with_origins(origins.clone(), text);
        let (lines, mark) = lexer::split(text, &mut errors);
        let mut parser = Parser { errors, diagnostics: Vec::new() };
        if mark == ByteOrderMark::Stripped {
            parser.diagnostics.push(Diagnostic::warning(
                1,
                "ignoring the byte order mark; dnf's shell would read it as part of the first \
                 command",
            ));
        }
        let statements = lines
            .iter()
            .filter_map(|line| {
                parser.statement(line).map(|kind| Statement {
                    line: line.span.line,
                    span: line.span,
                    kind,
                })
            })
            .collect();
        let diagnostics = parser.diagnostics;
        parser.errors.finish(())?;
        Ok(Self { statements, origins, source: text.to_owned(), diagnostics })
    }

    /// Notes and warnings on the text.
    #[must_use]
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.statements.iter().try_for_each(|statement| writeln!(f, "{}", statement.kind))
    }
}
