//! Step 1: the recipe, a script in `dnf shell`'s language (`NAME.yum`), with its settings (`NAME.toml`) beside it.
//!
//! [`Script::parse`] reads the language, [`Script::lower`] makes transactions of it.

mod arguments;
mod commands;
mod config_keys;
mod diagnostic;
mod lexer;
mod lower;
mod script;
mod statement;
mod suggest;
mod transaction;

pub use diagnostic::{Diagnostic, Severity, Span, SyntaxError, SyntaxErrors};
pub use lower::Lowered;
pub use script::Script;
pub use statement::{GroupAction, MarkAction, ModuleAction, RepoAction, Spec, SpecKind, Statement, StatementKind};
pub use transaction::{GroupChange, GroupScope, GroupSpec, Mark, ModuleChange, RepoChange, Swap, Transaction, Upgrade};
