//! Turns statements into transactions: the work pending for a `ts run`, the settings that persist
//! from a line on, and the work that dnf would lose.
//!
//! An image begins as an empty install root; the rules rely on that. dnf's shell drops some work
//! silently (`exit` or `repo` with pending work, `remove` of packages that the same transaction
//! installs). Such recipes are refused. If the last `ts run` is missing, the recipe is run to its
//! end, as dnf does with a file.

use super::config_keys;
use super::diagnostic::{Collector, Diagnostic, Span, SyntaxError, quoted};
use super::script::Script;
use super::statement::{GroupAction, ModuleAction, Spec, Statement, StatementKind as Kind};
use super::transaction::{
    GroupChange, GroupSpec, Mark, ModuleChange, RepoChange, Swap, Transaction, Upgrade,
};
use crate::error::{ExitCode, Failure, Result};
use std::collections::BTreeSet;

/// A recipe's transactions, with notes and warnings.
#[derive(Debug, Clone, PartialEq)]
pub struct Lowered {
    /// The transactions in order; at least one, and at least one that installs something.
    pub transactions: Vec<Transaction>,
    /// Notes and warnings on the text and on the transactions, by line.
    pub diagnostics: Vec<Diagnostic>,
}

impl Script {
    /// The transactions of the recipe, with notes and warnings.
    ///
    /// # Errors
    /// Fails with [`ExitCode::Recipe`] if the package manager would silently lose work, reporting
    /// all such lines at once, and if the recipe installs nothing.
    pub fn lower(&self) -> Result<Lowered> {
        let mut lowering = Lowering {
            errors: Collector::with_origins(self.origins.clone(), &self.source),
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
            let text = "the pending work is run at the end of the recipe; a last `ts run` would \
                        make that explicit";
            lowering.diagnostics.push(Diagnostic::note(pending.last.line, text));
        }
        lowering.run();
        let Lowering { errors, mut diagnostics, done, filled, .. } = lowering;
        errors.finish(()).map_err(Failure::from)?;
        if !filled {
            let failure = Failure::new(
                ExitCode::Recipe,
                format!(
                    "{}: the recipe installs nothing",
                    crate::text::line(self.origins.place(1).0)
                ),
            );
            return Err(failure
                .hint(
                    "an image starts empty; write `group install 'Minimal Install'` or `install \
                     NAME`",
                )
                .into());
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

/// Work that is pending for a `ts run`.
struct Pending {
    transaction: Transaction,
    first: Span,
    last: Span,
    /// The first job that is not for a module; module changes must come first.
    first_job: Option<Span>,
    first_mark: Option<Span>,
    statements: usize,
}

/// Whether `exit` has ended the recipe.
enum Left {
    No,
    Yes,
    /// And the lines after it were reported.
    Reported,
}

struct Lowering<'a> {
    errors: Collector<'a>,
    diagnostics: Vec<Diagnostic>,
    /// The settings that apply to all transactions from here on.
    context: Transaction,
    pending: Option<Pending>,
    done: Vec<Transaction>,
    /// Whether a transaction that installs something has ended, so that the root is not empty.
    filled: bool,
    left: Left,
}

impl Lowering<'_> {
    fn statement(&mut self, statement: &Statement) {
        let span = statement.span;
        if !matches!(self.left, Left::No) {
            if matches!(self.left, Left::Yes) {
                self.errors.push(
                    SyntaxError::new(span, "a command after `exit`, which would never run")
                        .hint("remove `exit`, or the lines after it"),
                );
                self.left = Left::Reported;
            }
            return;
        }
        match &statement.kind {
            Kind::Run => {
                if self.pending.is_none() {
                    self.diagnostics.push(Diagnostic::warning(
                        span.line,
                        "nothing is pending for this `ts run`",
                    ));
                }
                self.run();
            }
            Kind::Reset => {
                if let Some(pending) = self.pending.take() {
                    let text = format!(
                        "`ts reset` drops the {} pending lines from line {} on",
                        pending.statements, pending.first.line
                    );
                    self.diagnostics.push(Diagnostic::warning(span.line, text));
                }
            }
            Kind::Exit => self.exit(span),
            Kind::Repo { action, globs } => {
                self.refuse_pending(span, "`repo`");
                let changes = globs.iter().map(|glob| RepoChange {
                    action: *action,
                    glob: glob.text.clone(),
                    line: glob.line,
                });
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
                SyntaxError::new(
                    span,
                    format!(
                        "`exit` while work is pending from line {} on; dnf would drop it",
                        pending.first.line
                    ),
                )
                .hint("write `ts run` before it, or remove `exit`"),
            );
        }
        self.left = Left::Yes;
    }

    fn refuse_pending(&mut self, span: Span, what: &str) {
        if let Some(pending) = &self.pending {
            let line = pending.first.line;
            self.errors.push(
                SyntaxError::new(
                    span,
                    format!(
                        "{what} while work is pending from line {line} on; dnf would drop one of \
                         them"
                    ),
                )
                .hint(format!("move this line before line {line}, or write `ts run` before it")),
            );
        }
    }

    fn config(&mut self, span: Span, repo: Option<&str>, key: &str, value: &str) {
        if config_keys::read_when_solving(repo, key) {
            if let Some(pending) = &self.pending {
                let text = format!(
                    "`config {key}` applies to the whole transaction, from line {} on",
                    pending.first.line
                );
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
        if matches!(key, "assumeyes" | "strict" | "localpkg_gpgcheck" | "debuglevel" | "errorlevel")
        {
            self.diagnostics.push(Diagnostic::note(
                span.line,
                format!("`config {key}` has no effect; osimg decides this"),
            ));
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
            Kind::Module {
                action: ModuleAction::Enable
                    | ModuleAction::Disable
                    | ModuleAction::Reset
                    | ModuleAction::SwitchTo,
                ..
            }
        );
        if streams && let Some(job) = pending.first_job {
            let error = SyntaxError::new(
                span,
                format!(
                    "this module stream is chosen after line {}, which would not use it",
                    job.line
                ),
            );
            self.errors.push(error.hint(format!(
                "move this line before line {}, or write `ts run` before it",
                job.line
            )));
        }
        if matches!(kind, Kind::Mark { .. }) {
            pending.first_mark.get_or_insert(span);
        }
        if !streams && !matches!(kind, Kind::Mark { .. }) {
            pending.first_job.get_or_insert(span);
        }
        pending.transaction.add(kind);
    }

    /// Finds a statement without effect on an empty install root. dnf would ignore it, at most with
    /// a message.
    fn without_effect(&mut self, span: Span, kind: &Kind) -> Option<SyntaxError> {
        let nothing = |what: &str| {
            SyntaxError::new(
                span,
                format!("{what} before anything is installed: an image starts empty"),
            )
        };
        match kind {
            Kind::Remove { specs } => {
                let names: Vec<&str> = specs
                    .iter()
                    .map(|spec| spec.text.as_str())
                    .filter(|name| !name.starts_with('@'))
                    .collect();
                let error = nothing("`remove`");
                let error = if names.is_empty() {
                    error
                } else {
                    let line = format!("config exclude {}", super::lexer::quote(&names.join(",")));
                    error.hint(format!(
                        "to exclude it write {} before the install lines",
                        quoted(&line)
                    ))
                };
                Some(error.hint("to remove it again later write `ts run` before this line"))
            }
            Kind::Group {
                action: GroupAction::Remove | GroupAction::Upgrade | GroupAction::MarkRemove,
                ..
            } => Some(
                nothing("a change to an installed group")
                    .hint("write `ts run` before this line, or remove it"),
            ),
            Kind::Module {
                action: ModuleAction::Remove | ModuleAction::Upgrade | ModuleAction::SwitchTo,
                ..
            } => Some(nothing("a change to an installed module").hint(
                "write `ts run` before this line, or choose the stream with `module enable`",
            )),
            Kind::Swap { install, .. } => Some(nothing("`swap`").hint(format!(
                "write {}",
                quoted(&format!("install {}", super::lexer::quote(&install.text)))
            ))),
            Kind::Downgrade { .. } | Kind::Reinstall { .. } => Some(
                nothing("a change to installed packages")
                    .hint("write the version in the install line"),
            ),
            Kind::Upgrade { specs, .. } if !specs.is_empty() => Some(nothing("`upgrade`").hint(
                "write `install` instead, or remove it; `install` chooses the newest version",
            )),
            Kind::DistroSync { specs } | Kind::Autoremove { specs } if !specs.is_empty() => {
                Some(nothing("a change to installed packages").hint("remove it"))
            }
            Kind::Mark { .. } => Some(nothing("`mark`").hint("write `ts run` before this line")),
            Kind::Upgrade { .. } | Kind::DistroSync { .. } | Kind::Autoremove { .. } => {
                self.diagnostics.push(Diagnostic::note(
                    span.line,
                    "has no effect before anything is installed",
                ));
                None
            }
            _ => None,
        }
    }

    /// Ends the pending transaction.
    fn run(&mut self) {
        let Some(Pending { mut transaction, first_mark, first_job, .. }) = self.pending.take()
        else {
            return;
        };
        if let (Some(mark), Some(job)) = (first_mark, first_job) {
            self.errors.push(
                SyntaxError::new(
                    mark,
                    format!("`mark` in the same transaction as line {}", job.line),
                )
                .hint("write `ts run` before and after the `mark` lines"),
            );
        }
        self.refuse_contradictions(&transaction);
        transaction.repos.clone_from(&self.context.repos);
        transaction.config.clone_from(&self.context.config);
        transaction.exclude.clone_from(&self.context.exclude);
        let (files, names) =
            std::mem::take(&mut transaction.install).into_iter().partition(Spec::is_package_file);
        let (mut files, names): (Vec<Spec>, Vec<Spec>) = (files, names);
        files.extend(names);
        transaction.install = files;
        self.filled |= transaction.installs();
        self.done.push(transaction);
    }

    /// Refuses packages that a transaction both installs and removes: when removing, dnf only
    /// considers installed packages.
    fn refuse_contradictions(&mut self, transaction: &Transaction) {
        let wanted: BTreeSet<&str> =
            transaction.install.iter().map(|spec| spec.text.as_str()).collect();
        let source = transaction.remove.iter().filter(|spec| wanted.contains(spec.text.as_str()));
        let mut places: Vec<(usize, usize, &str)> =
            source.map(|spec| (spec.line, spec.column, spec.text.as_str())).collect();
        let groups: BTreeSet<&str> =
            transaction.groups.iter().map(|group| group.name.as_str()).collect();
        let removed =
            transaction.group_changes.iter().filter(|change| change.action == GroupAction::Remove);
        places.extend(
            removed
                .map(|change| &change.group)
                .filter(|g| groups.contains(g.name.as_str()))
                .map(|g| (g.line, g.column, g.name.as_str())),
        );
        for (line, column, name) in places {
            if self.errors.is_full() {
                break;
            }
            let span = self.errors.word_at(line, column);
            self.errors.push(
                SyntaxError::new(
                    span,
                    format!("{} is installed and removed by one transaction", quoted(name)),
                )
                .hint("remove one of the two, or write `ts run` between them"),
            );
        }
    }
}

impl Transaction {
    /// Adds the work of a statement, if it has any.
    fn add(&mut self, kind: &Kind) {
        match kind {
            Kind::Install { specs } => self.add_installs(specs),
            Kind::Remove { specs } => self.add_removals(specs),
            Kind::Upgrade { minimal, filters, specs } => {
                self.upgrade.push(Upgrade {
                    minimal: *minimal,
                    filters: filters.clone(),
                    specs: specs.clone(),
                });
            }
            Kind::Downgrade { specs } => self.downgrade.extend_from_slice(specs),
            Kind::Reinstall { specs } => self.reinstall.extend_from_slice(specs),
            Kind::DistroSync { specs } => widen(&mut self.distro_sync, specs),
            Kind::Autoremove { specs } => widen(&mut self.autoremove, specs),
            Kind::Swap { remove, install } => {
                self.swap.push(Swap { remove: remove.clone(), install: install.clone() })
            }
            Kind::Group { action: GroupAction::Install, with_optional, groups } => {
                self.groups
                    .extend(groups.iter().map(|group| GroupSpec::new(group, *with_optional)));
            }
            Kind::Group { action, groups, .. } => {
                self.group_changes.extend(groups.iter().map(|group| GroupChange {
                    action: *action,
                    group: GroupSpec::new(group, false),
                }));
            }
            Kind::Module { action, specs } => {
                self.modules.push(ModuleChange { action: *action, specs: specs.clone() })
            }
            Kind::Mark { action, specs } => {
                self.mark.push(Mark { action: *action, specs: specs.clone() })
            }
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

/// Merges two selections; an empty one means everything.
fn widen(selection: &mut Option<Vec<Spec>>, specs: &[Spec]) {
    match selection {
        Some(known) if known.is_empty() || specs.is_empty() => known.clear(),
        Some(known) => known.extend_from_slice(specs),
        None => *selection = Some(specs.to_vec()),
    }
}
