//! The names that commands take: which words can be one, and what was meant by those that cannot.

use super::commands::{self, Command};
use super::diagnostic::{Span, SyntaxError, quoted};
use super::lexer::{Word, quote};

/// Judges a package, provide, path, file, URL, `@group` or module spec.
pub(super) fn check_spec(word: &Word, command: Command) -> Result<(), SyntaxError> {
    check_option(word)?;
    check_shell(word)?;
    let text = word.text.as_str();
    if matches!(text, "=" | "==" | "!=" | ":" | ".") || (text == "*" && command == Command::Install) {
        let error = SyntaxError::new(word.span, format!("{} names no package", quoted(text)));
        return Err(match text {
            "*" => error.hint("name the packages or groups; everything that the repositories hold is no image"),
            _ => error.hint("a version condition is one word: write 'NAME = VERSION' in quotes, or NAME-VERSION"),
        });
    }
    if text == "@" || text == "@^" {
        return Err(SyntaxError::new(word.span, format!("{} names no group", quoted(text)))
            .hint("write the group's name right after it, such as `@core`"));
    }
    let host = text.split_once("://").and_then(|(_, rest)| rest.split('/').next());
    if host.is_some_and(|host| host.contains('@')) {
        return Err(SyntaxError::new(word.span, "a password or user name in an address ends up in logs, locks and manifests")
            .hint("make the file's directory a repository of the settings, with `username` and `password_file`"));
    }
    // Only conditions, paths and groups can have blanks inside; anything else is a group's name in
    // the wrong place.
    let condition = text.contains(['<', '>', '=']) || text.starts_with('(');
    if text.contains([' ', '\t']) && !condition && !text.starts_with(['/', '@', '.']) && !text.contains("://") {
        let error = SyntaxError::new(word.span, format!("{} is no package name", quoted(text)));
        return Err(match command {
            Command::Install => error.hint(format!("for a group write {}", quoted(&format!("group install {}", quote(text))))),
            _ => error.hint("name each package as a word of its own, without quotes around them all"),
        });
    }
    Ok(())
}

/// Judges the id or name of a group.
pub(super) fn check_group(word: &Word) -> Result<(), SyntaxError> {
    check_option(word)?;
    check_shell(word)?;
    if let Some(name) = word.text.strip_prefix('@') {
        let name = name.strip_prefix('^').unwrap_or(name);
        return Err(SyntaxError::new(word.span, "a group is named without `@` here")
            .hint(format!("write {}", quoted(&format!("group install {}", quote(name)))))
            .hint(format!("or {}", quoted(&format!("install {}", quote(&word.text))))));
    }
    Ok(())
}

/// Judges a repository id or a glob over ids.
pub(super) fn check_repo_glob(text: &str, span: Span) -> Result<(), SyntaxError> {
    if let Some(c) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || "-_.:*?[]!".contains(*c))) {
        let error = SyntaxError::new(span, format!("{} is no repository id: it contains {}", quoted(text), quoted(&c.to_string())));
        return Err(if c == ',' {
            error.hint("separate ids by blanks")
        } else {
            error.hint("ids are made of letters, digits and `-_.:`; `*` and `?` match any")
        });
    }
    if text.is_empty() {
        return Err(SyntaxError::new(span, "an empty repository id"));
    }
    Ok(())
}

/// Refuses words with a leading dash: dnf's shell takes them for options and ignores them.
pub(super) fn check_option(word: &Word) -> Result<(), SyntaxError> {
    let text = word.text.as_str();
    if !text.starts_with('-') {
        return Ok(());
    }
    if text.starts_with("--") || commands::is_short_option(text) {
        return Err(
            SyntaxError::new(word.span, format!("an option, {}, inside a recipe's line", quoted(text))).hint(commands::option_advice(text))
        );
    }
    let name = text.trim_start_matches('-');
    if name.is_empty() {
        return Err(SyntaxError::new(word.span, "a dash that stands alone").hint("leave it out"));
    }
    Err(SyntaxError::new(
        word.span,
        format!("{} looks like kickstart's way to leave a package out; dnf would take it for options", quoted(text)),
    )
    .hint(format!("write {} on a line before", quoted(&format!("config exclude {}", quote(name))))))
}

/// Quotes that word processors put where plain ones were typed.
const TYPOGRAPHIC: [char; 8] = ['\u{201c}', '\u{201d}', '\u{201e}', '\u{2018}', '\u{2019}', '\u{201a}', '\u{ab}', '\u{bb}'];

/// Refuses what a shell would act upon and dnf takes for part of a name. Quotes tell that it is
/// meant.
fn check_shell(word: &Word) -> Result<(), SyntaxError> {
    let text = word.text.as_str();
    if text.is_empty() {
        return Err(SyntaxError::new(word.span, "an empty name").hint("remove the quotes, or write the name between them"));
    }
    if text.starts_with(',') || text.ends_with(',') {
        let bare = text.trim_matches(',');
        let error =
            SyntaxError::new(word.span, format!("{} begins or ends in a comma", quoted(text))).hint("names are separated by blanks");
        return Err(if bare.is_empty() { error } else { error.replace(quote(bare)) });
    }
    if word.quoted {
        return Ok(());
    }
    if text.starts_with(TYPOGRAPHIC) || text.ends_with(TYPOGRAPHIC) {
        return Err(SyntaxError::new(word.span, format!("{} has typographic quotes, which dnf takes for part of the name", quoted(text)))
            .hint("use the plain quotes ' or \""));
    }
    let Some(c) = text.chars().find(|c| ";&|$`<>{}".contains(*c)) else {
        if text.starts_with("~/") || text == "~" {
            return Err(SyntaxError::new(word.span, "`~` is not expanded in a recipe").hint("write the whole path"));
        }
        return Ok(());
    };
    let error =
        SyntaxError::new(word.span, format!("{} contains {}, which means nothing in a recipe", quoted(text), quoted(&c.to_string())));
    Err(match c {
        ';' | '&' | '|' => error.hint("put every command on its own line"),
        '$' | '`' => error.hint("variables and commands are not expanded; write the name itself, or quote it if it is meant"),
        '{' | '}' => error.hint("braces are not expanded; write every name on its own"),
        _ => error.hint("there is no redirection in a recipe; a version condition needs quotes, such as 'NAME >= 1.2'"),
    })
}
