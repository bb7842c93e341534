//! Errors for lines that do not begin with a command: what was probably meant, and the corrected
//! line.

use super::commands::{self, Refusal};
use super::diagnostic::{SyntaxError, quoted};
use super::lexer::{self, Line, Word};
use crate::suggest;

/// A part of a line, as it was written.
pub(super) fn written<'a>(line: &Line<'a>, words: &[Word]) -> &'a str {
    let (Some(first), Some(last)) = (words.first(), words.last()) else { return "" };
    // Spans count from the start of the file. The span of the first word shows where the line
    // starts.
    let indent = line.text.len() - line.text.trim_start_matches([' ', '\t']).len();
    let offset = line.span.start.saturating_sub(indent);
    line.text
        .get(first.span.start.saturating_sub(offset)..last.span.end.saturating_sub(offset))
        .unwrap_or_default()
}

pub(super) fn refused(first: &Word, refusal: Refusal) -> SyntaxError {
    match refusal {
        Refusal::Shell => SyntaxError::new(first.span, "a shell inside a recipe")
            .hint("remove it; the recipe itself is the input of dnf's shell"),
        Refusal::Metadata => SyntaxError::new(
            first.span,
            format!("`{}` in a recipe; dnf's shell would drop the pending work there", first.text),
        )
        .hint("remove it; osimg fetches the metadata before the first transaction"),
        Refusal::Plugin(hint) => {
            SyntaxError::new(first.span, format!("`{}` is not allowed in a recipe", first.text))
                .hint(hint)
        }
    }
}

pub(super) fn unknown_command(line: &Line<'_>, first: &Word, rest: &[Word]) -> SyntaxError {
    let after = |words: &[Word]| written(line, words).to_owned();
    let tail = if rest.is_empty() { String::new() } else { format!(" {}", after(rest)) };
    let text = first.text.as_str();
    if matches!(text, "dnf" | "dnf4" | "dnf5" | "dnf-3" | "yum" | "microdnf" | "sudo") {
        let skip =
            rest.iter().take_while(|word| matches!(word.text.as_str(), "dnf" | "yum")).count();
        let kept = rest
            .get(skip..)
            .unwrap_or_default()
            .iter()
            .filter(|word| !matches!(word.text.as_str(), "-y" | "--assumeyes"));
        let kept = kept
            .map(|word| written(line, std::slice::from_ref(word)))
            .collect::<Vec<_>>()
            .join(" ");
        return SyntaxError::new(
            first.span,
            format!(
                "a line begins with {}; a recipe contains only the words after it on a command \
                 line",
                quoted(text)
            ),
        )
        .hint(format!("write {}", quoted(&kept)));
    }
    if text == "rpm" {
        let files: Vec<&str> = rest
            .iter()
            .map(|word| word.text.as_str())
            .filter(|word| word.ends_with(".rpm"))
            .collect();
        let error =
            SyntaxError::new(first.span, "a line begins with `rpm`; a recipe uses dnf's commands");
        return if files.is_empty() {
            error.hint(
                "use `install` for packages and package files, and [[packages.key]] in the \
                 settings for keys",
            )
        } else {
            error.hint(format!("write {}", quoted(&format!("install {}", files.join(" ")))))
        };
    }
    if text.starts_with('-') {
        return SyntaxError::new(
            first.span,
            format!("the line begins with the option {} instead of a command", quoted(text)),
        )
        .hint(commands::option_advice(text));
    }
    if text.starts_with('%') {
        return SyntaxError::new(first.span, format!("{} is kickstart syntax", quoted(text))).hint(
            "a recipe has one command per line, such as `install NAME`, `group install 'NAME'` or \
             `ts run`",
        );
    }
    if text.starts_with('@') {
        return SyntaxError::new(
            first.span,
            format!("the line begins with the name {} instead of a command", quoted(text)),
        )
        .hint(format!("write {}", quoted(&format!("install {}{tail}", lexer::quote(text)))));
    }
    let error = SyntaxError::new(first.span, format!("unknown command {}", quoted(text)));
    if matches!(text, "EOF" | "EOT" | "END") && rest.is_empty() {
        return error.hint("remove the line; it ends a here-document in a shell, not a recipe");
    }
    let lower = text.to_lowercase();
    if commands::find(&lower).is_some() {
        let mut tail = tail;
        // `TS RUN`: the second word is also part of the command.
        if matches!(
            lower.as_str(),
            "ts" | "transaction"
                | "repo"
                | "repository"
                | "group"
                | "groups"
                | "grp"
                | "module"
                | "mark"
        ) && let Some((second, others)) = rest.split_first()
        {
            let others =
                if others.is_empty() { String::new() } else { format!(" {}", after(others)) };
            tail = format!(" {}{others}", second.text.to_lowercase());
        }
        return error
            .hint("commands are lower case")
            .hint(format!("write {}", quoted(&format!("{lower}{tail}"))));
    }
    match commands::nearest(text) {
        Some(near) => error.hint(format!("did you mean {}?", quoted(&format!("{near}{tail}")))),
        None => error.hint(format!(
            "a line begins with a command; to install a package with that name write {}",
            quoted(&format!("install {}", written(line, &line.words)))
        )),
    }
}

pub(super) fn unknown_subcommand(
    line: &Line<'_>,
    command: &str,
    word: &Word,
    known: &[&str],
) -> SyntaxError {
    let error = unknown_subcommand_of(command, word, known);
    // `group 'Minimal Install'` has no verb.
    if word.quoted || suggest::nearest(&word.text, known.iter().copied()).is_none() {
        let rest: Vec<Word> = line.words.iter().skip(1).cloned().collect();
        return error.hint(format!(
            "to install it write {}",
            quoted(&format!("{command} install {}", written(line, &rest)))
        ));
    }
    error
}

pub(super) fn unknown_subcommand_of(command: &str, word: &Word, known: &[&str]) -> SyntaxError {
    let error = SyntaxError::new(
        word.span,
        format!("unknown word {} after `{command}`", quoted(&word.text)),
    );
    match suggest::nearest(&word.text, known.iter().copied()) {
        Some(near) => error.hint(format!("did you mean `{command} {near}`?")),
        None => error.hint(format!("after `{command}`, use one of: {}", known.join(", "))),
    }
}
