//! Makes foreign text safe to display. Names, fields, answers and output that others wrote may
//! try to control a terminal.
//!
//! Two rules hold for every byte that osimg writes to stdout and stderr. Both are applied where
//! it is written: [`lines`] for text and [`json`] for documents. [`line()`] is for a field inside a
//! line that osimg composes: the field cannot start a new line.

use std::borrow::Cow;

/// Whether a character is invisible or changes how a terminal or a browser shows others: control
/// characters (C0, DEL, C1), separators of lines, bidirectional marks, overrides and isolates,
/// zero-width characters, and tags. Line feed and tab are among them.
#[must_use]
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Text of several lines: every hidden character except line feed and tab is escaped, as in
/// `\u{1b}`. The carriage return of a CR LF line ending is dropped.
#[must_use]
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    let escaped = |c: char| is_hidden(c) && c != '\n' && c != '\t';
    if !text.contains(escaped) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\r' if rest.peek().is_none_or(|next| *next == '\n') => {}
            c if escaped(c) => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// Text for a single line: every hidden character is escaped, including line feed and tab.
#[must_use]
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hidden(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    Cow::Owned(shown)
}

/// Bytes, such as a name in an archive, for a single line. Invalid UTF-8 is replaced.
#[must_use]
pub(crate) fn bytes(bytes: &[u8]) -> String {
    line(&String::from_utf8_lossy(bytes)).into_owned()
}

/// A JSON document with its hidden characters written as JSON escapes. Every JSON reader sees the
/// same document.
#[must_use]
pub(crate) fn json(document: &str) -> Cow<'_, str> {
    // Outside of strings, line feeds are the only hidden characters. Inside, a serializer has
    // escaped C0 already.
    let escaped = |c: char| is_hidden(c) && c != '\n';
    if !document.contains(escaped) {
        return Cow::Borrowed(document);
    }
    let mut shown = String::with_capacity(document.len() + 16);
    for c in document.chars() {
        if escaped(c) {
            let mut units = [0; 2];
            shown.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_escaped_and_all_others_are_kept() {
        for (text, one, many) in [
            ("plain, ünïcode, 日本", "plain, ünïcode, 日本", "plain, ünïcode, 日本"),
            ("\u{1b}[31mred", r"\u{1b}[31mred", r"\u{1b}[31mred"),
            ("a\nb\tc", r"a\nb\tc", "a\nb\tc"),
            ("a\r\nb\rc\r", r"a\r\nb\rc\r", "a\nb\\rc"),
            ("\u{9b}2J\u{7f}\0", r"\u{9b}2J\u{7f}\u{0}", r"\u{9b}2J\u{7f}\u{0}"),
            (
                "user\u{202e}gpj.exe\u{2066}",
                r"user\u{202e}gpj.exe\u{2066}",
                r"user\u{202e}gpj.exe\u{2066}",
            ),
            (
                "zero\u{200b}width\u{feff}",
                r"zero\u{200b}width\u{feff}",
                r"zero\u{200b}width\u{feff}",
            ),
        ] {
            assert_eq!(line(text), one);
            assert_eq!(lines(text), many);
        }
        assert_eq!(bytes(b"a\xff\x1b"), "a\u{fffd}\\u{1b}");
    }

    #[test]
    fn an_escaped_document_has_the_same_value() {
        let value =
            serde_json::json!({ "\u{9b}key": "a\n\u{1b}\u{7f}\u{202e}\u{e0041}日", "n": [1, 2] });
        let text = serde_json::to_string_pretty(&value).unwrap();
        let shown = json(&text);
        assert!(!shown.contains(|c: char| is_hidden(c) && c != '\n'), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
