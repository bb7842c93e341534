//! Parses `file_contexts` and its sibling files into specs and substitutions, in order of
//! precedence.
//!
//! The format is `file_contexts(5)`: `PATH-REGEX [TYPE] CONTEXT`, separated by white space. A line
//! that starts with `#` is a comment.

use std::path::PathBuf;

use crate::error::Error;

/// The context for "no label".
const NONE: &[u8] = b"<<none>>";

/// The file type that a spec applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    Any,
    Regular,
    Directory,
    Character,
    Block,
    Socket,
    Fifo,
    Symlink,
}

impl FileKind {
    /// The file type from the type bits of `st_mode`. Without type bits every spec matches, as in
    /// libselinux.
    pub(crate) fn from_mode(mode: u32) -> Self {
        match mode & 0o170_000 {
            0o100_000 => Self::Regular,
            0o040_000 => Self::Directory,
            0o020_000 => Self::Character,
            0o060_000 => Self::Block,
            0o140_000 => Self::Socket,
            0o010_000 => Self::Fifo,
            0o120_000 => Self::Symlink,
            _ => Self::Any,
        }
    }

    /// Whether a spec for this type applies to a file of type `file`.
    pub(crate) fn fits(self, file: Self) -> bool {
        self == Self::Any || file == Self::Any || self == file
    }

    fn from_flag(flag: &[u8]) -> Option<Self> {
        Some(match flag {
            b"--" => Self::Regular,
            b"-d" => Self::Directory,
            b"-c" => Self::Character,
            b"-b" => Self::Block,
            b"-s" => Self::Socket,
            b"-p" => Self::Fifo,
            b"-l" => Self::Symlink,
            _ => return None,
        })
    }
}

/// One line of a `file_contexts` file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) line: usize,
    pub(crate) regex: &'a str,
    pub(crate) kind: FileKind,
    /// `None` for `<<none>>`.
    pub(crate) context: Option<&'a [u8]>,
}

/// A text, with its name in error messages.
#[derive(Debug, Clone)]
pub struct Source {
    /// The path that errors report.
    pub name: PathBuf,
    /// The content of the file.
    pub text: Vec<u8>,
}

impl Source {
    /// A text with a name.
    pub fn new(name: impl Into<PathBuf>, text: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), text: text.into() }
    }
}

/// A policy's `file_contexts` and its sibling files.
#[derive(Debug, Clone)]
pub struct Sources {
    /// `file_contexts`.
    pub base: Source,
    /// `file_contexts.homedirs`. Its regexes take precedence over those of the base.
    pub homedirs: Option<Source>,
    /// `file_contexts.local`. Its regexes take precedence over both.
    pub local: Option<Source>,
    /// `file_contexts.subs`: the administrator's path substitutions, applied first.
    pub subs: Option<Source>,
    /// `file_contexts.subs_dist`: the distribution's path substitutions, applied after those of
    /// `subs`.
    pub subs_dist: Option<Source>,
}

impl Sources {
    /// A policy that consists of one file.
    #[must_use]
    pub fn from_base(base: Source) -> Self {
        Self { base, homedirs: None, local: None, subs: None, subs_dist: None }
    }
}

/// Parses a `file_contexts` text.
///
/// # Errors
/// Names file and line of a missing field, an unknown file type, or a byte that is not ASCII.
/// libselinux refuses these as well.
pub(crate) fn parse_entries(source: &Source) -> Result<Vec<Entry<'_>>, Error> {
    let mut entries = Vec::new();
    for (line, text) in lines(&source.text) {
        let mut fields = fields(text).take(3);
        let Some(regex) = fields.next().filter(|field| !field.starts_with(b"#")) else { continue };
        let (kind, context) = match (fields.next(), fields.next()) {
            (Some(flag), Some(context)) => {
                let Some(kind) = FileKind::from_flag(flag) else {
                    return Err(wrong(
                        source,
                        line,
                        &format!("unknown file type {:?}", String::from_utf8_lossy(flag)),
                    ));
                };
                (kind, context)
            }
            (Some(context), None) => (FileKind::Any, context),
            (None, _) => return Err(wrong(source, line, "a path without a context")),
        };
        let regex = ascii(regex)
            .ok_or_else(|| wrong(source, line, "a byte in the path that is not ASCII"))?;
        let context = ascii(context)
            .ok_or_else(|| wrong(source, line, "a byte in the context that is not ASCII"))?
            .as_bytes();
        entries.push(Entry { line, regex, kind, context: (context != NONE).then_some(context) });
    }
    Ok(entries)
}

/// An alias: paths at or below `from` are looked up as if they were at or below `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Substitution {
    from: Vec<u8>,
    to: Vec<u8>,
}

/// Parses a `.subs` or `.subs_dist` text. The last line comes first, because it is tried first.
///
/// Lines without a second field are ignored, as in libselinux.
pub(crate) fn parse_substitutions(source: &Source) -> Vec<Substitution> {
    let mut list: Vec<Substitution> = lines(&source.text)
        .filter_map(|(_, text)| {
            let mut fields = fields(text);
            let from = fields.next().filter(|field| !field.starts_with(b"#"))?;
            Some(Substitution { from: from.to_vec(), to: fields.next()?.to_vec() })
        })
        .collect();
    list.reverse();
    list
}

/// Applies the first matching substitution to `path`. `None` if none matches.
pub(crate) fn substitute(list: &[Substitution], path: &[u8]) -> Option<Vec<u8>> {
    list.iter().find_map(|alias| {
        let rest = path.strip_prefix(alias.from.as_slice())?;
        let rest = match rest {
            [] => rest,
            [b'/', below @ ..] if alias.to == b"/" => below,
            [b'/', ..] => rest,
            _ => return None,
        };
        Some([&alias.to, rest].concat())
    })
}

fn wrong(source: &Source, line: usize, problem: &str) -> Error {
    Error { file: source.name.clone(), line, problem: problem.to_owned() }
}

fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    (1..).zip(text.split(|&byte| byte == b'\n'))
}

fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    // isspace() in the C locale. Rust's is_ascii_whitespace does not include the vertical tab.
    line.split(|byte| matches!(byte, b' ' | b'\t' | 0x0b | 0x0c | b'\r'))
        .filter(|field| !field.is_empty())
}

fn ascii(field: &[u8]) -> Option<&str> {
    let clean = field.iter().all(|byte| byte.is_ascii() && *byte != 0);
    std::str::from_utf8(field).ok().filter(|_| clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        parse_entries(&Source::new("fc", text)).unwrap_err().to_string()
    }

    #[test]
    fn comments_blank_lines_and_unusual_white_space_are_ignored() {
        let source = Source::new(
            "fc",
            "# c\n\n \t \n  # d\n\t/a\x0b--  s:o:a_t:s0 more words\r\n/b <<none>>",
        );
        let entries = parse_entries(&source).unwrap();
        assert_eq!(
            entries,
            [
                Entry {
                    line: 5,
                    regex: "/a",
                    kind: FileKind::Regular,
                    context: Some(b"s:o:a_t:s0")
                },
                Entry { line: 6, regex: "/b", kind: FileKind::Any, context: None },
            ]
        );
    }

    #[test]
    fn an_error_names_file_and_line() {
        assert!(refusal("/a s:o:a_t\n\n/b\n").contains("fc:3: a path without a context"));
        assert!(refusal("/a -x s:o:a_t\n").contains("fc:1: unknown file type \"-x\""));
        assert!(
            refusal("/\u{e4} s:o:a_t\n").contains("fc:1: a byte in the path that is not ASCII")
        );
        assert!(refusal("/a s:o:\0a_t\n").contains("fc:1: a byte in the context"));
    }

    #[test]
    fn the_last_substitution_is_tried_first_and_ends_at_a_slash() {
        let list = parse_substitutions(&Source::new(
            "subs",
            "#x\n/a /b\n/a/c /d\n/lonely\n/sys/root /\n/a /e",
        ));
        let becomes =
            |path: &str| substitute(&list, path.as_bytes()).map(|p| String::from_utf8(p).unwrap());
        assert_eq!(becomes("/a"), Some("/e".into()));
        assert_eq!(becomes("/a/c/x"), Some("/e/c/x".into()));
        assert_eq!(becomes("/ab"), None);
        assert_eq!(becomes("/lonely"), None);
        assert_eq!(becomes("/sys/root/etc"), Some("/etc".into()));
        assert_eq!(becomes("/sys/root"), Some("/".into()));
    }
}
