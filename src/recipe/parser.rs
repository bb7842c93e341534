//! Parses a line's words into a statement, strictly: errors that `dnf shell` would silently ignore
//! are reported.

use super::advice::{refused, unknown_command, unknown_subcommand, unknown_subcommand_of, written};
use super::arguments;
use super::commands::{self, Command};
use super::config_keys;
use super::diagnostic::{Collector, Diagnostic, SyntaxError, quoted};
use super::lexer::{self, Line, Word};
use super::statement::{GroupAction, MarkAction, ModuleAction, RepoAction, Spec, StatementKind};

/// The context for checking the words of one line.
pub(super) struct Parser<'a> {
    pub errors: Collector<'a>,
    pub diagnostics: Vec<Diagnostic>,
}

impl Parser<'_> {
    /// The statement of a line. Errors are recorded, and then there is no statement.
    pub(super) fn statement(&mut self, line: &Line<'_>) -> Option<StatementKind> {
        // Advice is expensive, and is not needed for the thousandth error.
        if self.errors.is_full() {
            self.errors.stop();
            return None;
        }
        let words = self.without_comment(line)?;
        let (first, rest) = words.split_first()?;
        let Some(command) = commands::find(&first.text) else {
            self.errors.push(unknown_command(line, first, rest));
            // Check the names even after a misspelled command.
            if let Some(meant) = commands::nearest(&first.text)
                .and_then(commands::find)
                .filter(|meant| meant.takes_specs())
            {
                self.specs(rest, meant);
            }
            return None;
        };
        match command {
            Command::Install | Command::Remove | Command::Downgrade | Command::Reinstall => {
                let specs = self.specs(rest, command)?;
                if specs.is_empty() {
                    self.errors.push(
                        SyntaxError::new(first.span, format!("`{}` needs a name", first.text))
                            .hint(format!("write `{} NAME`", first.text)),
                    );
                    return None;
                }
                StatementKind::from_specs(command, specs)
            }
            Command::DistroSync | Command::Autoremove => {
                StatementKind::from_specs(command, self.specs(rest, command)?)
            }
            Command::Upgrade | Command::UpgradeMinimal => self.upgrade(command, rest),
            Command::Swap => self.swap(first, rest),
            Command::Group => self.group(line, first, rest),
            Command::GroupInstall => self.group_of(line, GroupAction::Install, first, rest),
            Command::GroupRemove => self.group_of(line, GroupAction::Remove, first, rest),
            Command::GroupUpdate => {
                self.diagnostics.push(Diagnostic::warning(
                    line.span.line,
                    "`groupupdate` installs in dnf; write `group install` or `group upgrade`",
                ));
                self.group_of(line, GroupAction::Install, first, rest)
            }
            Command::Module => self.module(first, rest),
            Command::Mark => self.mark(first, rest),
            Command::Transaction => self.transaction(first, rest),
            Command::Run => self.without_arguments(StatementKind::Run, rest),
            Command::Solve => {
                self.note_of_nothing(line.span.line, &first.text, StatementKind::Solve)
            }
            Command::Repo => self.repo(first, rest),
            Command::Config => self.config(first, rest),
            Command::Query => self.query(first, rest),
            Command::Exit => self.without_arguments(StatementKind::Exit, rest),
            Command::Refused(refusal) => {
                self.errors.push(refused(first, refusal));
                None
            }
        }
    }

    /// The words before a trailing `# comment`, which dnf would read as names.
    fn without_comment<'w>(&mut self, line: &'w Line<'_>) -> Option<&'w [Word]> {
        let Some(at) =
            line.words.iter().position(|word| !word.quoted && word.text.starts_with('#'))
        else {
            return Some(&line.words);
        };
        let words = line.words.get(..at)?;
        let comment = line.words.get(at)?;
        let mut span = line.span;
        (span.start, span.column) = (comment.span.start, comment.span.column);
        let kept = written(line, words);
        self.errors.push(
            SyntaxError::new(span, "a comment after a command; dnf would read its words as names")
                .hint(format!("put the comment on a separate line and write {}", quoted(kept))),
        );
        Some(words)
    }

    fn upgrade(&mut self, command: Command, rest: &[Word]) -> Option<StatementKind> {
        let (filters, names): (Vec<&Word>, Vec<&Word>) =
            rest.iter().partition(|word| commands::is_advisory_filter(&word.text));
        let names: Vec<Word> = names.into_iter().cloned().collect();
        let specs = self.specs(&names, command)?;
        let filters = filters.into_iter().map(|word| word.text.clone()).collect();
        Some(StatementKind::Upgrade { minimal: command == Command::UpgradeMinimal, filters, specs })
    }

    fn swap(&mut self, first: &Word, rest: &[Word]) -> Option<StatementKind> {
        let specs = self.specs(rest, Command::Swap)?;
        let count = specs.len();
        let mut specs = specs.into_iter();
        if let (Some(remove), Some(install), None) = (specs.next(), specs.next(), specs.next()) {
            return Some(StatementKind::Swap { remove, install });
        }
        self.errors.push(
            SyntaxError::new(first.span, format!("`swap` needs two names but has {count}"))
                .hint("write `swap OLD NEW`; for more, use `remove` and `install` lines"),
        );
        None
    }

    fn group(&mut self, line: &Line<'_>, first: &Word, rest: &[Word]) -> Option<StatementKind> {
        let Some((action, mut names)) = rest.split_first() else {
            return self.query(first, rest);
        };
        let mut word = action.text.clone();
        if word == "mark" {
            let Some((second, remaining)) = names.split_first() else {
                self.errors.push(
                    SyntaxError::new(action.span, "`group mark` needs an action")
                        .hint("write `group mark install GROUP` or `group mark remove GROUP`"),
                );
                return None;
            };
            word = format!("mark-{}", second.text);
            names = remaining;
        }
        if matches!(word.as_str(), "list" | "info" | "summary") {
            return self.query(first, rest);
        }
        let Some(found) = GroupAction::find(&word) else {
            let known = [
                "install", "remove", "erase", "upgrade", "update", "mark", "list", "info",
                "summary",
            ];
            self.errors.push(unknown_subcommand(line, "group", action, &known));
            return None;
        };
        self.group_of(line, found, first, names)
    }

    fn group_of(
        &mut self,
        line: &Line<'_>,
        action: GroupAction,
        first: &Word,
        names: &[Word],
    ) -> Option<StatementKind> {
        let (flags, names): (Vec<&Word>, Vec<&Word>) =
            names.iter().partition(|word| word.text == "--with-optional");
        let names: Vec<Word> = names.into_iter().cloned().collect();
        let mut good = true;
        if let Some(flag) = flags.first().filter(|_| action != GroupAction::Install) {
            self.errors.push(
                SyntaxError::new(flag.span, "`--with-optional` is an option of `group install`")
                    .hint("remove it"),
            );
            good = false;
        }
        if names.is_empty() {
            self.errors.push(
                SyntaxError::new(first.span, "the group is missing")
                    .hint("for example, write `group install 'Minimal Install'`"),
            );
            return None;
        }
        let groups = self.groups(&names);
        self.warn_of_split_name(line, action, &names);
        good.then_some(StatementKind::Group {
            action,
            with_optional: !flags.is_empty(),
            groups: groups?,
        })
    }

    /// `group install Minimal Install` means two groups; the capitals suggest that one was meant.
    fn warn_of_split_name(&mut self, line: &Line<'_>, action: GroupAction, names: &[Word]) {
        let capital = |word: &Word| !word.quoted && word.text.starts_with(char::is_uppercase);
        if action == GroupAction::Install && names.len() > 1 && names.iter().all(capital) {
            let joined: Vec<&str> = names.iter().map(|word| word.text.as_str()).collect();
            let text = format!(
                "these are {} groups; if you mean one, write `group install {}`",
                names.len(),
                lexer::quote(&joined.join(" "))
            );
            self.diagnostics.push(Diagnostic::warning(line.span.line, crate::text::line(&text)));
        }
    }

    fn module(&mut self, first: &Word, rest: &[Word]) -> Option<StatementKind> {
        let Some((action, names)) = rest.split_first() else {
            self.errors.push(
                SyntaxError::new(first.span, "`module` needs an action")
                    .hint("for example, write `module enable NAME:STREAM`"),
            );
            return None;
        };
        if matches!(action.text.as_str(), "list" | "info" | "provides" | "repoquery") {
            return self.query(first, rest);
        }
        let Some(found) = ModuleAction::find(&action.text) else {
            let known = [
                "enable",
                "disable",
                "reset",
                "install",
                "remove",
                "update",
                "switch-to",
                "list",
                "info",
                "provides",
                "repoquery",
            ];
            self.errors.push(unknown_subcommand_of("module", action, &known));
            return None;
        };
        let specs = self.specs(names, Command::Module)?;
        if specs.is_empty() {
            self.errors.push(
                SyntaxError::new(action.span, "the module is missing")
                    .hint(format!("write `module {} NAME:STREAM`", action.text)),
            );
            return None;
        }
        Some(StatementKind::Module { action: found, specs })
    }

    fn mark(&mut self, first: &Word, rest: &[Word]) -> Option<StatementKind> {
        let Some((action, names)) = rest.split_first() else {
            self.errors.push(
                SyntaxError::new(first.span, "`mark` needs an action")
                    .hint("write `mark install NAME` or `mark remove NAME`"),
            );
            return None;
        };
        let Some(found) = MarkAction::find(&action.text) else {
            self.errors.push(unknown_subcommand_of(
                "mark",
                action,
                &["install", "remove", "group"],
            ));
            return None;
        };
        let specs = self.specs(names, Command::Mark)?;
        if specs.is_empty() {
            self.errors.push(
                SyntaxError::new(action.span, "the package is missing")
                    .hint(format!("write `mark {} NAME`", action.text)),
            );
            return None;
        }
        Some(StatementKind::Mark { action: found, specs })
    }

    fn transaction(&mut self, first: &Word, rest: &[Word]) -> Option<StatementKind> {
        let Some((action, extra)) = rest.split_first() else {
            return self.note_of_nothing(first.span.line, "ts list", StatementKind::List);
        };
        let kind = match action.text.as_str() {
            "run" => StatementKind::Run,
            "reset" => StatementKind::Reset,
            "solve" => StatementKind::Solve,
            "list" => StatementKind::List,
            _ => {
                self.errors.push(unknown_subcommand_of(
                    &first.text,
                    action,
                    &["run", "reset", "solve", "list"],
                ));
                return None;
            }
        };
        let kind = self.without_arguments(kind, extra)?;
        if matches!(kind, StatementKind::List | StatementKind::Solve) {
            return self.note_of_nothing(first.span.line, &format!("ts {}", action.text), kind);
        }
        Some(kind)
    }

    fn repo(&mut self, first: &Word, rest: &[Word]) -> Option<StatementKind> {
        let Some((action, names)) = rest.split_first() else {
            return self.query(first, rest);
        };
        let found = match action.text.as_str() {
            "enable" => RepoAction::Enable,
            "disable" => RepoAction::Disable,
            "list" => return self.query(first, rest),
            _ => {
                self.errors.push(unknown_subcommand_of(
                    &first.text,
                    action,
                    &["enable", "disable", "list"],
                ));
                return None;
            }
        };
        if names.is_empty() {
            self.errors.push(
                SyntaxError::new(action.span, "the repository is missing")
                    .hint(format!("write `repo {} ID`", action.text)),
            );
            return None;
        }
        Some(StatementKind::Repo { action: found, globs: self.repo_globs(names)? })
    }

    fn config(&mut self, first: &Word, rest: &[Word]) -> Option<StatementKind> {
        let Some((key, values)) = rest.split_first() else {
            self.errors.push(
                SyntaxError::new(first.span, "`config` needs a key")
                    .hint("write `config KEY VALUE`"),
            );
            return None;
        };
        if let Some((name, value)) = key.text.split_once('=') {
            let fixed = format!("config {} {}", lexer::quote(name), lexer::quote(value));
            self.errors.push(
                SyntaxError::new(key.span, "an equals sign in a `config` line")
                    .hint(format!("write {}", quoted(&fixed))),
            );
            return None;
        }
        let (repo, name) = match key.text.rsplit_once('.') {
            Some((repo, name)) => (Some(repo), name),
            None => (None, key.text.as_str()),
        };
        let Some((value, extra)) = values.split_first() else {
            self.errors.push(
                SyntaxError::new(key.span, format!("{} needs a value", quoted(&key.text)))
                    .hint("write `config KEY VALUE`"),
            );
            return None;
        };
        if let Some(second) = extra.first() {
            let all: Vec<&str> = values.iter().map(|word| word.text.as_str()).collect();
            let fixed =
                format!("config {} {}", lexer::quote(&key.text), lexer::quote(&all.join(",")));
            self.errors.push(
                SyntaxError::new(second.span, "`config` needs exactly one value")
                    .hint(format!("write {}", quoted(&fixed))),
            );
            return None;
        }
        if let Some(repo) = repo
            && let Err(error) = arguments::check_repo_glob(repo, key.span)
        {
            self.errors.push(error);
            return None;
        }
        if let Err(wrong) = config_keys::check(repo, name, &value.text) {
            let span = if wrong.part == config_keys::Part::Key { key.span } else { value.span };
            self.errors.push(SyntaxError::new(span, wrong.message).hint(wrong.hint));
            return None;
        }
        Some(StatementKind::Config {
            repo: repo.map(str::to_owned),
            key: name.to_owned(),
            value: value.text.clone(),
        })
    }

    fn query(&mut self, first: &Word, rest: &[Word]) -> Option<StatementKind> {
        let mut name = first.text.clone();
        if let Some(second) = rest.first() {
            if matches!(name.as_str(), "history" | "hist")
                && matches!(second.text.as_str(), "undo" | "redo" | "rollback" | "replay" | "store")
            {
                self.errors.push(
                    SyntaxError::new(
                        second.span,
                        format!(
                            "`{name} {}` in a recipe; an image has no history to return to",
                            second.text
                        ),
                    )
                    .hint("remove the line"),
                );
                return None;
            }
            if matches!(
                name.as_str(),
                "group" | "groups" | "grp" | "module" | "repo" | "repository"
            ) {
                name = format!("{name} {}", second.text);
            }
        }
        let shown = name.clone();
        self.note_of_nothing(first.span.line, &shown, StatementKind::Query { name })
    }

    fn note_of_nothing(
        &mut self,
        line: usize,
        command: &str,
        kind: StatementKind,
    ) -> Option<StatementKind> {
        self.diagnostics
            .push(Diagnostic::note(line, format!("{} has no effect in a recipe", quoted(command))));
        Some(kind)
    }

    /// A statement without arguments; dnf silently ignores extra words.
    fn without_arguments(&mut self, kind: StatementKind, extra: &[Word]) -> Option<StatementKind> {
        let Some(word) = extra.first() else { return Some(kind) };
        self.errors.push(
            SyntaxError::new(
                word.span,
                format!("{} after `{kind}`, which has no arguments", quoted(&word.text)),
            )
            .hint(format!("write only `{kind}` on the line")),
        );
        None
    }

    fn specs(&mut self, words: &[Word], command: Command) -> Option<Vec<Spec>> {
        self.each(words, |word| arguments::check_spec(word, command))
    }

    fn groups(&mut self, words: &[Word]) -> Option<Vec<Spec>> {
        self.each(words, arguments::check_group)
    }

    fn repo_globs(&mut self, words: &[Word]) -> Option<Vec<Spec>> {
        self.each(words, |word| {
            arguments::check_option(word)
                .and_then(|()| arguments::check_repo_glob(&word.text, word.span))
        })
    }

    /// Checks every word, so that all errors are reported.
    fn each(
        &mut self,
        words: &[Word],
        check: impl Fn(&Word) -> Result<(), SyntaxError>,
    ) -> Option<Vec<Spec>> {
        let mut good = true;
        let mut specs = Vec::with_capacity(words.len());
        for word in words {
            match check(word) {
                Ok(()) => specs.push(Spec {
                    text: word.text.clone(),
                    line: word.span.line,
                    column: word.span.column,
                }),
                Err(error) => {
                    self.errors.push(error);
                    good = false;
                }
            }
        }
        good.then_some(specs)
    }
}
