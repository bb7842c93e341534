//! Reads `file_contexts` and its siblings: lines of text become specs and substitutions, in the order that decides between them.
//!
//! The format is `file_contexts(5)`: `PATH-REGEX [TYPE] CONTEXT`, fields apart by white space, `#` begins a comment line.

use std::path::{Path, PathBuf};

use crate::error::{ExitCode, Failure, Result};

/// The context that means "leave this path without a label".
const NONE: &[u8] = b"<<none>>";

/// The kind of file a spec is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
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
    /// The kind that the type bits of `st_mode` say; without type bits every spec fits, as in libselinux.
    pub(super) fn of_mode(mode: u32) -> Self {
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

    /// Whether a spec for this kind speaks of a file of kind `file`.
    pub(super) fn fits(self, file: Self) -> bool {
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
pub(super) struct Entry<'a> {
    pub(super) line: usize,
    pub(super) regex: &'a str,
    pub(super) kind: FileKind,
    /// `None` for `<<none>>`.
    pub(super) context: Option<&'a [u8]>,
}

/// A text with the name that errors call it by.
#[derive(Debug, Clone)]
pub struct Source {
    /// The path that errors name.
    pub name: PathBuf,
    /// The content of the file.
    pub text: Vec<u8>,
}

impl Source {
    /// A text under a name.
    pub fn new(name: impl Into<PathBuf>, text: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), text: text.into() }
    }
}

/// A policy's `file_contexts` and the files that stand beside it.
#[derive(Debug, Clone)]
pub struct Sources {
    /// `file_contexts`.
    pub base: Source,
    /// `file_contexts.homedirs`; its regexes win over the base's.
    pub homedirs: Option<Source>,
    /// `file_contexts.local`; its regexes win over both.
    pub local: Option<Source>,
    /// `file_contexts.subs`: the administrator's path substitutions, applied first.
    pub subs: Option<Source>,
    /// `file_contexts.subs_dist`: the distribution's, applied to what `subs` made.
    pub subs_dist: Option<Source>,
}

impl Sources {
    /// A policy of one file.
    #[must_use]
    pub fn of(base: Source) -> Self {
        Self { base, homedirs: None, local: None, subs: None, subs_dist: None }
    }
}

/// Parses a `file_contexts` text.
///
/// # Errors
/// Names file and line of a missing field, an unknown type, or a byte outside printable ASCII (libselinux refuses those too).
pub(super) fn parse_entries(source: &Source) -> Result<Vec<Entry<'_>>> {
    let mut entries = Vec::new();
    for (line, text) in lines(&source.text) {
        let mut fields = fields(text).take(3);
        let Some(regex) = fields.next().filter(|field| !field.starts_with(b"#")) else { continue };
        let (kind, context) = match (fields.next(), fields.next()) {
            (Some(flag), Some(context)) => {
                let Some(kind) = FileKind::from_flag(flag) else {
                    return Err(wrong(&source.name, line, &format!("unknown file type {:?}", String::from_utf8_lossy(flag))));
                };
                (kind, context)
            }
            (Some(context), None) => (FileKind::Any, context),
            (None, _) => return Err(wrong(&source.name, line, "a path without a context")),
        };
        let regex = ascii(regex).ok_or_else(|| wrong(&source.name, line, "a byte in the path that is not ASCII"))?;
        let context = ascii(context).ok_or_else(|| wrong(&source.name, line, "a byte in the context that is not ASCII"))?.as_bytes();
        entries.push(Entry { line, regex, kind, context: (context != NONE).then_some(context) });
    }
    Ok(entries)
}

/// An alias: paths at or below `from` are looked up as if they were at or below `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Substitution {
    from: Vec<u8>,
    to: Vec<u8>,
}

/// Parses a `.subs` or `.subs_dist` text; the last line comes first, since it is tried first.
///
/// Lines without a second field say nothing, as in libselinux.
pub(super) fn parse_substitutions(source: &Source) -> Vec<Substitution> {
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

/// The path that the first fitting substitution makes of `path`, if any fits.
pub(super) fn substitute(list: &[Substitution], path: &[u8]) -> Option<Vec<u8>> {
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

/// A failure at a line of a policy file.
pub(super) fn wrong(file: &Path, line: usize, what: &str) -> anyhow::Error {
    Failure::new(ExitCode::Unexpected, format!("reading SELinux file contexts {}:{line}: {what}", file.display()))
        .hint("mend the policy, or name another one: --selinux policy=FILE_CONTEXTS")
        .into()
}

fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    (1..).zip(text.split(|&byte| byte == b'\n'))
}

fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    // isspace() of the C locale; Rust's is_ascii_whitespace leaves the vertical tab out.
    line.split(|byte| matches!(byte, b' ' | b'\t' | 0x0b | 0x0c | b'\r')).filter(|field| !field.is_empty())
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
    fn comments_blank_lines_and_odd_white_space_are_no_specs() {
        let source = Source::new("fc", "# c\n\n \t \n  # d\n\t/a\x0b--  s:o:a_t:s0 more words\r\n/b <<none>>");
        let entries = parse_entries(&source).unwrap();
        assert_eq!(
            entries,
            [
                Entry { line: 5, regex: "/a", kind: FileKind::Regular, context: Some(b"s:o:a_t:s0") },
                Entry { line: 6, regex: "/b", kind: FileKind::Any, context: None },
            ]
        );
    }

    #[test]
    fn a_wrong_line_is_named_with_its_file() {
        assert!(refusal("/a s:o:a_t\n\n/b\n").contains("fc:3: a path without a context"));
        assert!(refusal("/a -x s:o:a_t\n").contains("fc:1: unknown file type \"-x\""));
        assert!(refusal("/\u{e4} s:o:a_t\n").contains("fc:1: a byte in the path that is not ASCII"));
        assert!(refusal("/a s:o:\0a_t\n").contains("fc:1: a byte in the context"));
    }

    #[test]
    fn the_last_substitution_is_tried_first_and_ends_at_a_slash() {
        let list = parse_substitutions(&Source::new("subs", "#x\n/a /b\n/a/c /d\n/lonely\n/sys/root /\n/a /e"));
        let becomes = |path: &str| substitute(&list, path.as_bytes()).map(|p| String::from_utf8(p).unwrap());
        assert_eq!(becomes("/a"), Some("/e".into()));
        assert_eq!(becomes("/a/c/x"), Some("/e/c/x".into()));
        assert_eq!(becomes("/ab"), None);
        assert_eq!(becomes("/lonely"), None);
        assert_eq!(becomes("/sys/root/etc"), Some("/etc".into()));
        assert_eq!(becomes("/sys/root"), Some("/".into()));
    }
}
