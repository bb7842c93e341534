//! A recipe's text before it is parsed: included files in the place of their lines, variables by
//! their values, and what a blueprint installs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::diagnostic::{Collector, SyntaxError, SyntaxErrors};
use super::origins::Origins;
use super::variables::{self, Unset};
use crate::error::{ExitCode, Failure, Result};

/// How deep recipes may include each other.
const DEEPEST: usize = 16;

/// A text whose lines come from several files.
#[derive(Debug, Default)]
pub(super) struct Expanded {
    pub(super) text: String,
    pub(super) origins: Origins,
    lines: usize,
}

impl Expanded {
    fn push(&mut self, line: &str, file: &str, number: usize) {
        self.lines += 1;
        if self.origins.place(self.lines) != (file, number) {
            self.origins.begin(self.lines, file, number);
        }
        self.text.push_str(line);
    }
}

/// The text with what it includes. `read` reads a file.
///
/// # Errors
/// When an included file cannot be read, or includes itself.
pub(super) fn included(
    text: &str,
    path: &Path,
    read: &mut dyn FnMut(&Path) -> Result<String>,
) -> Result<Expanded> {
    let mut expanded = Expanded {
        origins: Origins::from_file(&path.display().to_string()),
        ..Expanded::default()
    };
    include(text, path, &mut vec![path.to_owned()], &mut expanded, read)?;
    Ok(expanded)
}

fn include(
    text: &str,
    path: &Path,
    open: &mut Vec<PathBuf>,
    expanded: &mut Expanded,
    read: &mut dyn FnMut(&Path) -> Result<String>,
) -> Result<()> {
    let file = path.display().to_string();
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let mut words = line.split_whitespace();
        let (Some("include"), Some(name), None) = (words.next(), words.next(), words.next()) else {
            expanded.push(line, &file, index + 1);
            continue;
        };
        let name = name.trim_matches(['"', '\'']);
        let target = path.parent().unwrap_or(Path::new("")).join(name);
        let wrong = |why: &str| {
            Failure::new(
                ExitCode::Recipe,
                format!("{file}:{}: including {}: {why}", index + 1, target.display()),
            )
        };
        if open.len() >= DEEPEST || open.contains(&target) {
            return Err(wrong("it includes itself").into());
        }
        // A recipe of someone else must not make osimg quote a file that is not meant for it.
        let real = target.canonicalize().unwrap_or_else(|_| target.clone());
        if real.extension().is_none_or(|suffix| suffix != "yum") {
            return Err(wrong("the file's name is not NAME.yum")
                .hint("only recipes can be included")
                .into());
        }
        let text = read(&target).map_err(|error| {
            Failure::new(ExitCode::Recipe, format!("{file}:{}: including {name}", index + 1))
                .because(error)
        })?;
        open.push(target.clone());
        include(&text, &target, open, expanded, read)?;
        open.pop();
        if !expanded.text.is_empty() && !expanded.text.ends_with('\n') {
            expanded.text.push('\n');
        }
    }
    Ok(())
}

/// Replaces the variables of a recipe.
///
/// # Errors
/// Every variable that is not set, with its place.
pub(super) fn with_variables(
    expanded: &mut Expanded,
    values: &BTreeMap<String, String>,
    used: &mut BTreeSet<String>,
) -> std::result::Result<(), SyntaxErrors> {
    if !expanded.text.contains("${") {
        return Ok(());
    }
    let mut errors = Collector::with_origins(expanded.origins.clone(), &expanded.text);
    let mut text = String::new();
    let mut start = 0;
    for line in expanded.text.split_inclusive('\n') {
        if line.trim_start().starts_with('#') {
            text.push_str(line);
        } else {
            match variables::expand(line, values, Unset::Refused, used) {
                Ok(expanded) => text.push_str(expanded.as_deref().unwrap_or(line)),
                Err(error) => {
                    let at = line.find("${").unwrap_or(0);
                    let span = super::diagnostic::span_of(
                        &expanded.text,
                        start + at..start + line.trim_end().len(),
                    );
                    errors.push(SyntaxError::new(span, error.message).hint(error.hint));
                }
            }
        }
        start += line.len();
    }
    errors.finish(())?;
    expanded.text = text;
    Ok(())
}

/// Adds statements of another file in front of the last `ts run`, or at the end.
pub(super) fn with_statements(
    expanded: Expanded,
    file: &str,
    statements: &[(String, usize)],
) -> Expanded {
    if statements.is_empty() {
        return expanded;
    }
    let lines: Vec<&str> = expanded.text.split_inclusive('\n').collect();
    let bare = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let last = lines
        .iter()
        .rposition(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    let run =
        |line: &str| matches!(bare(line).join(" ").as_str(), "ts run" | "transaction run" | "run");
    let at = last.filter(|at| lines.get(*at).is_some_and(|line| run(line))).unwrap_or(lines.len());
    // Modules are enabled before anything of a transaction is installed.
    let begin = lines
        .get(..at)
        .unwrap_or_default()
        .iter()
        .rposition(|line| run(line))
        .map_or(0, |before| before + 1);
    let prepares = |line: &str| match bare(line).first().map(String::as_str) {
        None | Some("config" | "repo" | "repository" | "module") => true,
        Some(word) => word.starts_with('#'),
    };
    let first = (begin..at)
        .find(|index| lines.get(*index).is_some_and(|line| !prepares(line)))
        .unwrap_or(at);
    let mut result = Expanded::default();
    let copy = |result: &mut Expanded, range: std::ops::Range<usize>| {
        for index in range {
            let (file, number) = expanded.origins.place(index + 1);
            let line = lines.get(index).copied().unwrap_or_default();
            let end = if line.ends_with('\n') { "" } else { "\n" };
            result.push(&format!("{line}{end}"), file, number);
        }
    };
    let (modules, others): (Vec<_>, Vec<_>) =
        statements.iter().partition(|(statement, _)| statement.starts_with("module "));
    let add = |result: &mut Expanded, statements: Vec<&(String, usize)>| {
        for (statement, number) in statements {
            result.push(&format!("{statement}\n"), file, *number);
        }
    };
    copy(&mut result, 0..first);
    add(&mut result, modules);
    copy(&mut result, first..at);
    add(&mut result, others);
    copy(&mut result, at..lines.len());
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> Result<String> {
        match path.to_str() {
            Some("d/base.yum") => Ok("install a\ninclude more/x.yum".to_owned()),
            Some("d/more/x.yum") => Ok("# x\ninstall b\n".to_owned()),
            Some("d/loop.yum") => Ok("include loop.yum\n".to_owned()),
            _ => Err(anyhow::anyhow!("no such file")),
        }
    }

    #[test]
    fn lines_keep_the_file_and_number_that_they_have() {
        let expanded =
            included("include base.yum\ninstall c\nts run\n", Path::new("d/main.yum"), &mut read)
                .expect("included");
        assert_eq!(expanded.text, "install a\n# x\ninstall b\ninstall c\nts run\n");
        let with = with_statements(expanded, "blueprint.toml", &[("install d".to_owned(), 7)]);
        assert_eq!(with.text, "install a\n# x\ninstall b\ninstall c\ninstall d\nts run\n");
        let places: Vec<String> = (1..=6).map(|line| with.origins.shown(line)).collect();
        assert_eq!(
            places,
            [
                "d/base.yum:1",
                "d/more/x.yum:1",
                "d/more/x.yum:2",
                "d/main.yum:2",
                "blueprint.toml:7",
                "d/main.yum:3"
            ]
        );
    }

    #[test]
    fn what_includes_itself_or_is_missing_is_an_error_with_its_line() {
        for (text, message) in [
            ("\ninclude loop.yum\n", "d/loop.yum:1: including d/loop.yum"),
            ("include none.yum\n", "d/main.yum:1: including none.yum"),
            (
                "include /etc/passwd\n",
                "d/main.yum:1: including /etc/passwd: the file's name is not NAME.yum",
            ),
        ] {
            let error = included(text, Path::new("d/main.yum"), &mut read).expect_err(text);
            assert!(format!("{error:#}").starts_with(message), "{error:#}");
        }
    }

    #[test]
    fn variables_of_comments_are_left_alone() {
        let mut expanded =
            included("# ${X}\ninstall ${A}-1\n", Path::new("m.yum"), &mut read).expect("included");
        with_variables(
            &mut expanded,
            &BTreeMap::from([("A".to_owned(), "a".to_owned())]),
            &mut BTreeSet::new(),
        )
        .expect("set");
        assert_eq!(expanded.text, "# ${X}\ninstall a-1\n");
        let error = with_variables(
            &mut Expanded { text: "install ${B}\n".into(), ..expanded },
            &BTreeMap::new(),
            &mut BTreeSet::new(),
        );
        assert!(error.expect_err("unset").to_string().contains("the variable `B` is not set"));
    }
}
