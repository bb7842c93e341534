//! Splits lines into words like Python's `shlex.split`, which `dnf shell` uses, and keeps the
//! position of every word.

use super::diagnostic::{Collector, Span, SyntaxError, hidden, quoted};

/// A word of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// The word without its quotes and backslashes.
    pub text: String,
    /// Its position.
    pub span: Span,
    /// Whether any part was quoted or escaped: then special characters are intentional.
    pub quoted: bool,
}

/// A line with at least one word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// The line as written, without its end.
    pub text: &'a str,
    /// The span from its first word to its last.
    pub span: Span,
    /// At least one.
    pub words: Vec<Word>,
}

/// Whether a text began with a byte order mark, which dnf would read as part of the first command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ByteOrderMark {
    Absent,
    Stripped,
}

/// Splits a text into lines of words. Empty lines and comments are skipped; errors go to `errors`.
pub(super) fn split<'a>(
    source: &'a str,
    errors: &mut Collector<'_>,
) -> (Vec<Line<'a>>, ByteOrderMark) {
    let mut lines = Vec::new();
    let mut offset = 0;
    let mut mark = ByteOrderMark::Absent;
    for (index, raw) in source.split('\n').enumerate() {
        let start = offset;
        offset += raw.len() + 1;
        let mut text = raw.strip_suffix('\r').unwrap_or(raw);
        let mut at = start;
        if index == 0
            && let Some(rest) = text.strip_prefix('\u{feff}')
        {
            text = rest;
            at += '\u{feff}'.len_utf8();
            mark = ByteOrderMark::Stripped;
        }
        // yum and this parser accept an indented comment; dnf 4 would print its help instead.
        if text.trim_start_matches([' ', '\t']).starts_with('#') {
            if let Some(byte) = text.find('\0') {
                errors.push(nul(text, index + 1, at, byte));
            }
            continue;
        }
        match split_line(text, index + 1, at) {
            Ok(words) => {
                if let (Some(first), Some(last)) = (words.first(), words.last()) {
                    let span = Span { end: last.span.end, ..first.span };
                    lines.push(Line { text, span, words });
                }
            }
            Err(error) => errors.push(error),
        }
    }
    (lines, mark)
}

fn nul(text: &str, line: usize, start: usize, byte: usize) -> SyntaxError {
    let column = text.get(..byte).map_or(0, |before| before.chars().count()) + 1;
    SyntaxError::new(
        Span { line, column, start: start + byte, end: start + byte + 1 },
        "a NUL byte in a recipe",
    )
    .hint("a recipe is plain UTF-8 text; is this a different kind of file?")
}

/// The state of the splitter, with the terms of POSIX shells.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Between,
    Word,
    Single,
    Double,
    /// After a backslash in a word.
    Escape,
    /// After a backslash in double quotes.
    DoubleEscape,
}

fn split_line(text: &str, line: usize, offset: usize) -> Result<Vec<Word>, SyntaxError> {
    let mut words = Vec::new();
    let mut word = Word { text: String::new(), span: Span::default(), quoted: false };
    let mut state = State::Between;
    // The position of the quote or backslash that is still open.
    let mut open = Span::default();
    for (index, (byte, c)) in text.char_indices().enumerate() {
        let here = Span {
            line,
            column: index + 1,
            start: offset + byte,
            end: offset + byte + c.len_utf8(),
        };
        check_char(c, here, state)?;
        state = match (state, c) {
            (State::Between | State::Word, ' ' | '\t') => {
                if state == State::Word {
                    word.span.end = here.start;
                    words.push(std::mem::replace(
                        &mut word,
                        Word { text: String::new(), span: Span::default(), quoted: false },
                    ));
                }
                State::Between
            }
            (State::Between | State::Word, _) => {
                if state == State::Between {
                    word.span = here;
                }
                word.quoted |= matches!(c, '\'' | '"' | '\\');
                open = if matches!(c, '\'' | '"' | '\\') { here } else { open };
                match c {
                    '\'' => State::Single,
                    '"' => State::Double,
                    '\\' => State::Escape,
                    _ => {
                        word.text.push(c);
                        State::Word
                    }
                }
            }
            (State::Single, '\'') | (State::Double, '"') => State::Word,
            (State::Double, '\\') => State::DoubleEscape,
            (State::Single | State::Double, _) => {
                word.text.push(c);
                state
            }
            (State::Escape, _) => {
                word.text.push(c);
                State::Word
            }
            (State::DoubleEscape, _) => {
                // Inside double quotes a backslash escapes only itself and the quote.
                if !matches!(c, '"' | '\\') {
                    word.text.push('\\');
                }
                word.text.push(c);
                State::Double
            }
        };
    }
    match state {
        State::Between => {}
        State::Word => {
            word.span.end = offset + text.len();
            words.push(word);
        }
        State::Single | State::Double | State::DoubleEscape => {
            return Err(SyntaxError::new(open, "an unclosed quote").hint(
                "close it on the same line; to write a literal quote, put a backslash before it",
            ));
        }
        State::Escape => {
            let kept = text.trim_end_matches('\\').trim_end();
            return Err(SyntaxError::new(
                open,
                "a backslash at the end of a line; a recipe has no continuation lines",
            )
            .hint(if kept.is_empty() {
                "remove the line".to_owned()
            } else {
                format!(
                    "write {} here, and begin the next line with its own command",
                    quoted(kept.trim_start())
                )
            }));
        }
    }
    Ok(words)
}

/// Refuses characters that are invisible or look like a blank.
fn check_char(c: char, here: Span, state: State) -> Result<(), SyntaxError> {
    if c.is_ascii_graphic() || c == ' ' || c == '\t' || !hidden(c) {
        return Ok(());
    }
    let error = match c {
        '\0' => {
            return Err(SyntaxError::new(here, "a NUL byte in a recipe")
                .hint("a recipe is plain UTF-8 text; is this a different kind of file?"));
        }
        '\r' => SyntaxError::new(here, "a carriage return inside a line")
            .hint("end lines with a line feed, or with carriage return and line feed"),
        _ if c.is_whitespace() && matches!(state, State::Between | State::Word) => {
            SyntaxError::new(
                here,
                format!(
                    "the character U+{:04X} looks like a blank, but dnf does not treat it as one",
                    u32::from(c)
                ),
            )
            .hint("replace it with a plain space")
        }
        _ => SyntaxError::new(here, format!("the invisible character U+{:04X}", u32::from(c)))
            .hint("remove it"),
    };
    Err(error)
}

/// Quotes a word in the shortest way.
pub(super) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "@%+=:,./_-*?[]()!^~".contains(c);
    if !word.is_empty() && !word.starts_with('~') && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r#"'"'"'"#))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        split_line(line, 1, 0).unwrap().into_iter().map(|w| w.text).collect()
    }

    #[test]
    fn words_split_as_python_splits_them() {
        // Each right side was printed by Python 3.11: shlex.split(left).
        let table: &[(&str, &[&str])] = &[
            ("install a  b\tc ", &["install", "a", "b", "c"]),
            ("group install 'Minimal Install'", &["group", "install", "Minimal Install"]),
            (r#"group install "Minimal Install""#, &["group", "install", "Minimal Install"]),
            (r"group install Minimal\ Install", &["group", "install", "Minimal Install"]),
            (r"swap CQ\* Super\*", &["swap", "CQ*", "Super*"]),
            (r#"a "b\c\"d\\e""#, &["a", r#"b\c"d\e"#]),
            (r"a 'b\c'", &["a", r"b\c"]),
            ("a ''", &["a", ""]),
            ("a b'c d'e", &["a", "bc de"]),
            ("a # b", &["a", "#", "b"]),
            ("a;b && $c `d` ~", &["a;b", "&&", "$c", "`d`", "~"]),
            ("", &[]),
            ("  \t ", &[]),
        ];
        for (line, expected) in table {
            assert_eq!(words(line), *expected, "{line}");
        }
    }

    #[test]
    fn every_word_has_its_column_in_characters_and_its_bytes() {
        let line = "install \u{fc}\u{fc} 'a b'";
        let found = split_line(line, 7, 100).unwrap();
        let last = &found[2];
        assert_eq!((last.span.line, last.span.column), (7, 12));
        assert_eq!(&line[last.span.start - 100..last.span.end - 100], "'a b'");
        assert!(last.quoted && !found[1].quoted);
    }

    #[test]
    fn quoted_words_can_be_parsed_again() {
        for word in ["", "a", "a b", "it's", "#x", "~/x", r"a\b", "a\"b", "$x", "*.rpm", "foo >= 1"]
        {
            assert_eq!(words(&quote(word)), [word]);
        }
    }
}
