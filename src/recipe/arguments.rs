//! Checks the names that commands accept, and suggests what was meant.

use super::commands::{self, Command};
use super::diagnostic::{Span, SyntaxError, quoted};
use super::lexer::{Word, quote};

/// Checks a spec of a package, provide, path, file, URL, `@group` or module.
pub(super) fn check_spec(word: &Word, command: Command) -> Result<(), SyntaxError> {
    check_option(word)?;
    check_shell(word)?;
    let text = word.text.as_str();
    if matches!(text, "=" | "==" | "!=" | ":" | ".") || (text == "*" && command == Command::Install)
    {
        let error = SyntaxError::new(word.span, format!("{} is not a package", quoted(text)));
        return Err(match text {
            "*" => error.hint(
                "list the packages or groups; an image cannot contain everything in the \
                 repositories",
            ),
            _ => error.hint(
                "a version condition is one word: write 'NAME = VERSION' in quotes, or \
                 NAME-VERSION",
            ),
        });
    }
    if text == "@" || text == "@^" {
        return Err(SyntaxError::new(word.span, format!("{} is not a group", quoted(text)))
            .hint("write the group's name right after it, such as `@core`"));
    }
    let host = text.split_once("://").and_then(|(_, rest)| rest.split('/').next());
    if host.is_some_and(|host| host.contains('@')) {
        return Err(SyntaxError::new(
            word.span,
            "a password or user name in an address would appear in logs, locks and manifests",
        )
        .hint(
            "declare the file's directory as a repository in the settings, with `username` and \
             `password_file`",
        ));
    }
    // Only conditions, paths and groups can contain blanks. Anything else is probably the name of a
    // group in the wrong command.
    let condition = text.contains(['<', '>', '=']) || text.starts_with('(');
    if text.contains([' ', '\t'])
        && !condition
        && !text.starts_with(['/', '@', '.'])
        && !text.contains("://")
    {
        let error = SyntaxError::new(word.span, format!("{} is not a package name", quoted(text)));
        return Err(match command {
            Command::Install => error.hint(format!(
                "for a group write {}",
                quoted(&format!("group install {}", quote(text)))
            )),
            _ => error
                .hint("write each package as a separate word, without quotes around all of them"),
        });
    }
    Ok(())
}

/// Checks the id or name of a group.
pub(super) fn check_group(word: &Word) -> Result<(), SyntaxError> {
    check_option(word)?;
    check_shell(word)?;
    if let Some(name) = word.text.strip_prefix('@') {
        let name = name.strip_prefix('^').unwrap_or(name);
        return Err(SyntaxError::new(word.span, "a group name has no `@` here")
            .hint(format!("write {}", quoted(&format!("group install {}", quote(name)))))
            .hint(format!("or {}", quoted(&format!("install {}", quote(&word.text))))));
    }
    Ok(())
}

/// Checks a repository id or glob.
pub(super) fn check_repo_glob(text: &str, span: Span) -> Result<(), SyntaxError> {
    if let Some(c) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || "-_.:*?[]!".contains(*c)))
    {
        let error = SyntaxError::new(
            span,
            format!(
                "{} is not a repository id: it contains {}",
                quoted(text),
                quoted(&c.to_string())
            ),
        );
        return Err(if c == ',' {
            error.hint("separate ids by blanks")
        } else {
            error.hint("ids consist of letters, digits and `-_.:`; `*` and `?` are wildcards")
        });
    }
    if text.is_empty() {
        return Err(SyntaxError::new(span, "an empty repository id"));
    }
    Ok(())
}

/// Refuses words with a leading dash: dnf's shell treats them as options and ignores them.
pub(super) fn check_option(word: &Word) -> Result<(), SyntaxError> {
    let text = word.text.as_str();
    if !text.starts_with('-') {
        return Ok(());
    }
    if text.starts_with("--") || commands::is_short_option(text) {
        return Err(SyntaxError::new(
            word.span,
            format!("the option {} inside a line", quoted(text)),
        )
        .hint(commands::option_advice(text)));
    }
    let name = text.trim_start_matches('-');
    if name.is_empty() {
        return Err(SyntaxError::new(word.span, "a dash without a name").hint("remove it"));
    }
    Err(SyntaxError::new(
        word.span,
        format!(
            "{} looks like kickstart's exclusion of a package; dnf would read it as options",
            quoted(text)
        ),
    )
    .hint(format!("write {} on a line before", quoted(&format!("config exclude {}", quote(name))))))
}

/// Quotation marks that word processors insert instead of plain ones.
const TYPOGRAPHIC: [char; 8] =
    ['\u{201c}', '\u{201d}', '\u{201e}', '\u{2018}', '\u{2019}', '\u{201a}', '\u{ab}', '\u{bb}'];

/// Refuses unquoted characters that a shell would interpret, but dnf would read as part of a name.
/// In quotes they are intentional.
fn check_shell(word: &Word) -> Result<(), SyntaxError> {
    let text = word.text.as_str();
    if text.is_empty() {
        return Err(SyntaxError::new(word.span, "an empty name")
            .hint("remove the quotes, or write the name between them"));
    }
    if text.starts_with(',') || text.ends_with(',') {
        let bare = text.trim_matches(',');
        let error =
            SyntaxError::new(word.span, format!("{} begins or ends with a comma", quoted(text)))
                .hint("names are separated by blanks");
        return Err(if bare.is_empty() { error } else { error.replace(quote(bare)) });
    }
    if word.quoted {
        return Ok(());
    }
    if text.starts_with(TYPOGRAPHIC) || text.ends_with(TYPOGRAPHIC) {
        return Err(SyntaxError::new(
            word.span,
            format!("{} has typographic quotes, which dnf reads as part of the name", quoted(text)),
        )
        .hint("use the plain quotes ' or \""));
    }
    let Some(c) = text.chars().find(|c| ";&|$`<>{}".contains(*c)) else {
        if text.starts_with("~/") || text == "~" {
            return Err(SyntaxError::new(word.span, "`~` is not expanded in a recipe")
                .hint("write the full path"));
        }
        return Ok(());
    };
    let error = SyntaxError::new(
        word.span,
        format!(
            "{} contains {}, which has no meaning in a recipe",
            quoted(text),
            quoted(&c.to_string())
        ),
    );
    Err(match c {
        ';' | '&' | '|' => error.hint("put every command on a separate line"),
        '$' | '`' => error.hint(
            "variables and commands are not expanded; write the value, or quote the word if it is \
             intended",
        ),
        '{' | '}' => error.hint("braces are not expanded; write every name separately"),
        _ => error.hint(
            "a recipe has no redirection; a version condition needs quotes, such as 'NAME >= 1.2'",
        ),
    })
}
