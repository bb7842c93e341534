//! Statements into transactions: what waits for a `ts run`, what holds from a line on, and what dnf
//! would lose on the way.
//!
//! An image begins as an empty install root, and the rules rest on that. Where dnf's shell would
//! drop work in silence (`exit` or `repo` with pending work, `remove` of what the same transaction
//! brings in) the recipe is refused; a recipe whose last `ts run` is missing is run to its end, as
//! dnf does with a file.

use super::config_keys;
use super::diagnostic::{Collector, Diagnostic, Span, SyntaxError, quoted};
use super::script::Script;
use super::statement::{GroupAction, ModuleAction, Spec, Statement, StatementKind as Kind};
use super::transaction::{GroupChange, GroupSpec, Mark, ModuleChange, RepoChange, Swap, Transaction, Upgrade};
use crate::error::{ExitCode, Failure, Result};
use std::collections::BTreeSet;

/// A recipe's transactions, and what is worth knowing about them.
#[derive(Debug, Clone, PartialEq)]
pub struct Lowered {
    /// In the order in which they run; at least one, and at least one that installs something.
    pub transactions: Vec<Transaction>,
    /// Notes and warnings on the text and on the transactions, by line.
    pub diagnostics: Vec<Diagnostic>,
}

impl Script {
    /// The transactions of the recipe, with notes and warnings.
    ///
    /// # Errors
    /// Fails with [`ExitCode::Recipe`] on everything that the package manager would lose in
    /// silence, all places at once, and when the recipe installs nothing.
    pub fn lower(&self) -> Result<Lowered> {
        let mut lowering = Lowering {
            errors: Collector::new(&self.file, &self.source),
            diagnostics: self.diagnostics.clone(),
            context: Transaction::default(),
            pending: None,
            done: Vec::new(),
            filled: false,
            left: Left::No,
        };
        for statement in &self.statements {
            lowering.statement(statement);
        }
        if let Some(pending) = &lowering.pending {
            let text = "the end of the recipe runs what is pending; a last `ts run` would say so";
            lowering.diagnostics.push(Diagnostic::note(pending.last.line, text));
        }
        lowering.run();
        let Lowering { errors, mut diagnostics, done, filled, .. } = lowering;
        errors.finish(()).map_err(Failure::from)?;
        if !filled {
            let failure = Failure::new(ExitCode::Recipe, format!("{}: the recipe asks for nothing", crate::text::line(&self.file)));
            return Err(failure.hint("an image begins empty; write `group install 'Minimal Install'` or `install NAME`").into());
        }
        diagnostics.sort_by_key(|diagnostic| diagnostic.line);
        Ok(Lowered { transactions: done, diagnostics })
    }

    /// The transactions of the recipe.
    ///
    /// # Errors
    /// As [`Script::lower`].
    pub fn transactions(&self) -> Result<Vec<Transaction>> {
        self.lower().map(|lowered| lowered.transactions)
    }
}

/// Work that waits for a `ts run`.
struct Pending {
    transaction: Transaction,
    first: Span,
    last: Span,
    /// The first job other than a module's, which must come before all others.
    first_job: Option<Span>,
    first_mark: Option<Span>,
    statements: usize,
}

/// Whether the recipe was left with `exit`.
enum Left {
    No,
    Yes,
    /// And what comes after was told.
    Told,
}

struct Lowering<'a> {
    errors: Collector<'a>,
    diagnostics: Vec<Diagnostic>,
    /// What holds for every transaction from here on.
    context: Transaction,
    pending: Option<Pending>,
    done: Vec<Transaction>,
    /// Whether a transaction that installs something has ended: the root is no longer empty.
    filled: bool,
    left: Left,
}

impl Lowering<'_> {
    fn statement(&mut self, statement: &Statement) {
        let span = statement.span;
        if !matches!(self.left, Left::No) {
            if matches!(self.left, Left::Yes) {
                self.errors.push(
                    SyntaxError::new(span, "a command after `exit`, which nothing would run").hint("remove `exit`, or what follows it"),
                );
                self.left = Left::Told;
            }
            return;
        }
        match &statement.kind {
            Kind::Run => {
                if self.pending.is_none() {
                    self.diagnostics.push(Diagnostic::warning(span.line, "nothing waits for this `ts run`"));
                }
                self.run();
            }
            Kind::Reset => {
                if let Some(pending) = self.pending.take() {
                    let text = format!("`ts reset` forgets the {} pending lines from line {} on", pending.statements, pending.first.line);
                    self.diagnostics.push(Diagnostic::warning(span.line, text));
                }
            }
            Kind::Exit => self.exit(span),
            Kind::Repo { action, globs } => {
                self.refuse_pending(span, "`repo`");
                let changes = globs.iter().map(|glob| RepoChange { action: *action, glob: glob.text.clone(), line: glob.line });
                self.context.repos.extend(changes);
            }
            Kind::Config { repo, key, value } => self.config(span, repo.as_deref(), key, value),
            Kind::Solve | Kind::List | Kind::Query { .. } => {}
            kind => self.job(span, kind),
        }
    }

    fn exit(&mut self, span: Span) {
        if let Some(pending) = self.pending.take() {
            self.errors.push(
                SyntaxError::new(span, format!("`exit` while the work from line {} on is pending; dnf would drop it", pending.first.line))
                    .hint("write `ts run` before it, or remove `exit`"),
            );
        }
        self.left = Left::Yes;
    }

    fn refuse_pending(&mut self, span: Span, what: &str) {
        if let Some(pending) = &self.pending {
            let line = pending.first.line;
            self.errors.push(
                SyntaxError::new(span, format!("{what} while the work from line {line} on is pending; dnf would forget one or the other"))
                    .hint(format!("move this line before line {line}, or write `ts run` before it")),
            );
        }
    }

    fn config(&mut self, span: Span, repo: Option<&str>, key: &str, value: &str) {
        if config_keys::read_when_solving(repo, key) {
            if let Some(pending) = &self.pending {
                let text = format!("`config {key}` holds for the whole transaction, from line {} on", pending.first.line);
                self.diagnostics.push(Diagnostic::warning(span.line, text));
            }
        } else {
            self.refuse_pending(span, &format!("`config {key}`"));
        }
        if repo.is_none() && matches!(key, "exclude" | "excludepkgs") {
            // An empty value clears the list, as it does in a configuration file.
            if config_keys::names(value).next().is_none() {
                self.context.exclude.clear();
            }
            self.context.exclude.extend(config_keys::names(value).map(str::to_owned));
            return;
        }
        if matches!(key, "assumeyes" | "strict" | "localpkg_gpgcheck" | "debuglevel" | "errorlevel") {
            self.diagnostics.push(Diagnostic::note(span.line, format!("`config {key}` does nothing; osimg decides that")));
            return;
        }
        let key = if key == "exclude" { "excludepkgs" } else { key };
        let key = repo.map_or_else(|| key.to_owned(), |repo| format!("{repo}.{key}"));
        self.context.config.retain(|(known, _)| *known != key);
        self.context.config.push((key, value.to_owned()));
    }

    fn job(&mut self, span: Span, kind: &Kind) {
        if !self.filled
            && let Some(error) = self.without_effect(span, kind)
        {
            self.errors.push(error);
        }
        let pending = self.pending.get_or_insert_with(|| Pending {
            transaction: Transaction { line: span.line, ..Transaction::default() },
            first: span,
            last: span,
            first_job: None,
            first_mark: None,
            statements: 0,
        });
        pending.last = span;
        pending.statements += 1;
        let streams = matches!(
            kind,
            Kind::Module { action: ModuleAction::Enable | ModuleAction::Disable | ModuleAction::Reset | ModuleAction::SwitchTo, .. }
        );
        if streams && let Some(job) = pending.first_job {
            let error =
                SyntaxError::new(span, format!("a module's stream is chosen after the work of line {}, which would not see it", job.line));
            self.errors.push(error.hint(format!("move this line before line {}, or write `ts run` before it", job.line)));
        }
        if matches!(kind, Kind::Mark { .. }) {
            pending.first_mark.get_or_insert(span);
        }
        if !streams && !matches!(kind, Kind::Mark { .. }) {
            pending.first_job.get_or_insert(span);
        }
        pending.transaction.add(kind);
    }

    /// What has no effect on an empty install root, and would be passed over by dnf with a word at
    /// most.
    fn without_effect(&mut self, span: Span, kind: &Kind) -> Option<SyntaxError> {
        let nothing = |what: &str| SyntaxError::new(span, format!("{what} before anything is installed: an image begins empty"));
        match kind {
            Kind::Remove { specs } => {
                let names: Vec<&str> = specs.iter().map(|spec| spec.text.as_str()).filter(|name| !name.starts_with('@')).collect();
                let error = nothing("`remove`");
                let error = if names.is_empty() {
                    error
                } else {
                    let line = format!("config exclude {}", super::lexer::quote(&names.join(",")));
                    error.hint(format!("to leave it out write {} before the install lines", quoted(&line)))
                };
                Some(error.hint("to remove it again later write `ts run` before this line"))
            }
            Kind::Group { action: GroupAction::Remove | GroupAction::Upgrade | GroupAction::MarkRemove, .. } => {
                Some(nothing("a change to an installed group").hint("write `ts run` before this line, or leave it out"))
            }
            Kind::Module { action: ModuleAction::Remove | ModuleAction::Upgrade | ModuleAction::SwitchTo, .. } => Some(
                nothing("a change to an installed module")
                    .hint("write `ts run` before this line, or choose the stream with `module enable`"),
            ),
            Kind::Swap { install, .. } => {
                Some(nothing("`swap`").hint(format!("write {}", quoted(&format!("install {}", super::lexer::quote(&install.text))))))
            }
            Kind::Downgrade { .. } | Kind::Reinstall { .. } => {
                Some(nothing("a change to installed packages").hint("name the version wanted in the install line"))
            }
            Kind::Upgrade { specs, .. } if !specs.is_empty() => {
                Some(nothing("`upgrade`").hint("write `install` for it, or leave it out; installing takes the newest"))
            }
            Kind::DistroSync { specs } | Kind::Autoremove { specs } if !specs.is_empty() => {
                Some(nothing("a change to installed packages").hint("leave it out"))
            }
            Kind::Mark { .. } => Some(nothing("`mark`").hint("write `ts run` before this line")),
            Kind::Upgrade { .. } | Kind::DistroSync { .. } | Kind::Autoremove { .. } => {
                self.diagnostics.push(Diagnostic::note(span.line, "does nothing before anything is installed"));
                None
            }
            _ => None,
        }
    }

    /// Ends the pending transaction.
    fn run(&mut self) {
        let Some(Pending { mut transaction, first_mark, first_job, .. }) = self.pending.take() else { return };
        if let (Some(mark), Some(job)) = (first_mark, first_job) {
            self.errors.push(
                SyntaxError::new(mark, format!("`mark` in one transaction with the work of line {}", job.line))
                    .hint("write `ts run` before and after the `mark` lines"),
            );
        }
        self.refuse_contradictions(&transaction);
        transaction.repos.clone_from(&self.context.repos);
        transaction.config.clone_from(&self.context.config);
        transaction.exclude.clone_from(&self.context.exclude);
        let (files, names) = std::mem::take(&mut transaction.install).into_iter().partition(Spec::is_package_file);
        let (mut files, names): (Vec<Spec>, Vec<Spec>) = (files, names);
        files.extend(names);
        transaction.install = files;
        self.filled |= transaction.installs();
        self.done.push(transaction);
    }

    /// What is both wanted and unwanted: dnf looks only at what is installed already when it
    /// removes.
    fn refuse_contradictions(&mut self, transaction: &Transaction) {
        let wanted: BTreeSet<&str> = transaction.install.iter().map(|spec| spec.text.as_str()).collect();
        let source = transaction.remove.iter().filter(|spec| wanted.contains(spec.text.as_str()));
        let mut places: Vec<(usize, usize, &str)> = source.map(|spec| (spec.line, spec.column, spec.text.as_str())).collect();
        let groups: BTreeSet<&str> = transaction.groups.iter().map(|group| group.name.as_str()).collect();
        let removed = transaction.group_changes.iter().filter(|change| change.action == GroupAction::Remove);
        places.extend(
            removed.map(|change| &change.group).filter(|g| groups.contains(g.name.as_str())).map(|g| (g.line, g.column, g.name.as_str())),
        );
        for (line, column, name) in places {
            if self.errors.is_full() {
                break;
            }
            let span = self.errors.word_at(line, column);
            self.errors.push(
                SyntaxError::new(span, format!("{} is installed and removed by one transaction", quoted(name)))
                    .hint("leave one of the two out, or write `ts run` between them"),
            );
        }
    }
}

impl Transaction {
    /// Adds the work of a statement; those that are no work add nothing.
    fn add(&mut self, kind: &Kind) {
        match kind {
            Kind::Install { specs } => self.add_installs(specs),
            Kind::Remove { specs } => self.add_removals(specs),
            Kind::Upgrade { minimal, filters, specs } => {
                self.upgrade.push(Upgrade { minimal: *minimal, filters: filters.clone(), specs: specs.clone() });
            }
            Kind::Downgrade { specs } => self.downgrade.extend_from_slice(specs),
            Kind::Reinstall { specs } => self.reinstall.extend_from_slice(specs),
            Kind::DistroSync { specs } => widen(&mut self.distro_sync, specs),
            Kind::Autoremove { specs } => widen(&mut self.autoremove, specs),
            Kind::Swap { remove, install } => self.swap.push(Swap { remove: remove.clone(), install: install.clone() }),
            Kind::Group { action: GroupAction::Install, with_optional, groups } => {
                self.groups.extend(groups.iter().map(|group| GroupSpec::new(group, *with_optional)));
            }
            Kind::Group { action, groups, .. } => {
                self.group_changes.extend(groups.iter().map(|group| GroupChange { action: *action, group: GroupSpec::new(group, false) }));
            }
            Kind::Module { action, specs } => self.modules.push(ModuleChange { action: *action, specs: specs.clone() }),
            Kind::Mark { action, specs } => self.mark.push(Mark { action: *action, specs: specs.clone() }),
            Kind::Config { .. }
            | Kind::Repo { .. }
            | Kind::Run
            | Kind::Reset
            | Kind::Solve
            | Kind::List
            | Kind::Query { .. }
            | Kind::Exit => {}
        }
    }
}

/// Joins two selections of which an empty one means everything.
fn widen(selection: &mut Option<Vec<Spec>>, specs: &[Spec]) {
    match selection {
        Some(known) if known.is_empty() || specs.is_empty() => known.clear(),
        Some(known) => known.extend_from_slice(specs),
        None => *selection = Some(specs.to_vec()),
    }
}
