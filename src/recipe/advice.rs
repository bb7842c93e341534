//! What to tell about lines whose first words are no command: what was meant, and the line as it
//! should be.

use super::commands::{self, Refusal};
use super::diagnostic::{SyntaxError, quoted};
use super::lexer::{self, Line, Word};
use super::suggest;

/// Some words of a line as they were written.
pub(super) fn written<'a>(line: &Line<'a>, words: &[Word]) -> &'a str {
    let (Some(first), Some(last)) = (words.first(), words.last()) else { return "" };
    // The spans count from the start of the file; the line's first word tells where the line begins
    // in it.
    let indent = line.text.len() - line.text.trim_start_matches([' ', '\t']).len();
    let offset = line.span.start.saturating_sub(indent);
    line.text.get(first.span.start.saturating_sub(offset)..last.span.end.saturating_sub(offset)).unwrap_or_default()
}

pub(super) fn refused(first: &Word, refusal: Refusal) -> SyntaxError {
    match refusal {
        Refusal::Shell => {
            SyntaxError::new(first.span, "a shell inside a recipe").hint("leave it out; the recipe itself is what dnf's shell would read")
        }
        Refusal::Metadata => {
            SyntaxError::new(first.span, format!("`{}` in a recipe; dnf's shell would forget the pending work there", first.text))
                .hint("leave it out; osimg fetches the metadata before the first transaction")
        }
        Refusal::Plugin(hint) => SyntaxError::new(first.span, format!("`{}` has no place in a recipe", first.text)).hint(hint),
    }
}

pub(super) fn unknown_command(line: &Line<'_>, first: &Word, rest: &[Word]) -> SyntaxError {
    let after = |words: &[Word]| written(line, words).to_owned();
    let tail = if rest.is_empty() { String::new() } else { format!(" {}", after(rest)) };
    let text = first.text.as_str();
    if matches!(text, "dnf" | "dnf4" | "dnf5" | "dnf-3" | "yum" | "microdnf" | "sudo") {
        let skip = rest.iter().take_while(|word| matches!(word.text.as_str(), "dnf" | "yum")).count();
        let kept = rest.get(skip..).unwrap_or_default().iter().filter(|word| !matches!(word.text.as_str(), "-y" | "--assumeyes"));
        let kept = kept.map(|word| written(line, std::slice::from_ref(word))).collect::<Vec<_>>().join(" ");
        return SyntaxError::new(
            first.span,
            format!("{} begins a line; the lines of a recipe are what follows it on a command line", quoted(text)),
        )
        .hint(format!("write {}", quoted(&kept)));
    }
    if text == "rpm" {
        let files: Vec<&str> = rest.iter().map(|word| word.text.as_str()).filter(|word| word.ends_with(".rpm")).collect();
        let error = SyntaxError::new(first.span, "`rpm` begins a line; a recipe speaks dnf's language");
        return if files.is_empty() {
            error.hint("packages and package files are installed by `install`; keys are pinned in the settings: [[packages.key]]")
        } else {
            error.hint(format!("write {}", quoted(&format!("install {}", files.join(" ")))))
        };
    }
    if text.starts_with('-') {
        return SyntaxError::new(first.span, format!("an option, {}, where a command belongs", quoted(text)))
            .hint(commands::option_advice(text));
    }
    if text.starts_with('%') {
        return SyntaxError::new(first.span, format!("{} is kickstart's language", quoted(text)))
            .hint("a recipe has one command a line, such as `install NAME`, `group install 'NAME'` or `ts run`");
    }
    if text.starts_with('@') {
        return SyntaxError::new(first.span, format!("a name, {}, where a command belongs", quoted(text)))
            .hint(format!("write {}", quoted(&format!("install {}{tail}", lexer::quote(text)))));
    }
    let error = SyntaxError::new(first.span, format!("unknown command {}", quoted(text)));
    if matches!(text, "EOF" | "EOT" | "END") && rest.is_empty() {
        return error.hint("remove the line; it ends a here-document of a shell, not a recipe");
    }
    let lower = text.to_lowercase();
    if commands::find(&lower).is_some() {
        let mut tail = tail;
        // `TS RUN`: the second word is a command's too.
        if matches!(lower.as_str(), "ts" | "transaction" | "repo" | "repository" | "group" | "groups" | "grp" | "module" | "mark")
            && let Some((second, others)) = rest.split_first()
        {
            let others = if others.is_empty() { String::new() } else { format!(" {}", after(others)) };
            tail = format!(" {}{others}", second.text.to_lowercase());
        }
        return error.hint("commands are lower case").hint(format!("write {}", quoted(&format!("{lower}{tail}"))));
    }
    match commands::nearest(text) {
        Some(near) => error.hint(format!("did you mean {}?", quoted(&format!("{near}{tail}")))),
        None => error.hint(format!(
            "a line begins with a command; to install a package of that name write {}",
            quoted(&format!("install {}", written(line, &line.words)))
        )),
    }
}

pub(super) fn unknown_subcommand(line: &Line<'_>, command: &str, word: &Word, known: &[&str]) -> SyntaxError {
    let error = unknown_subcommand_of(command, word, known);
    // `group 'Minimal Install'` lacks its verb.
    if word.quoted || suggest::nearest(&word.text, known.iter().copied()).is_none() {
        let rest: Vec<Word> = line.words.iter().skip(1).cloned().collect();
        return error.hint(format!("to install it write {}", quoted(&format!("{command} install {}", written(line, &rest)))));
    }
    error
}

pub(super) fn unknown_subcommand_of(command: &str, word: &Word, known: &[&str]) -> SyntaxError {
    let error = SyntaxError::new(word.span, format!("unknown word {} after `{command}`", quoted(&word.text)));
    match suggest::nearest(&word.text, known.iter().copied()) {
        Some(near) => error.hint(format!("did you mean `{command} {near}`?")),
        None => error.hint(format!("`{command}` is followed by {}", known.join(", "))),
    }
}
