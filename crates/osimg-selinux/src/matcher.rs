//! Tests one path against one spec, as cheaply as the spec's regex allows.
//!
//! Most regexes of a policy are a fixed prefix with a simple ending, such as `/usr/lib(/.*)?`. They
//! need no regex engine. The others are compiled when they are first needed: of thousands, an
//! image's paths need a few hundred.

use std::sync::OnceLock;

use regex::bytes::{Regex, RegexBuilder};

use crate::byteset::ByteSet;
use crate::parser::parse;
use crate::pattern::{Atom, Item, Pattern, Repeat, write_alternatives, write_sequence};

/// The limit on the size of a compiled regex. The text of a pattern is limited, so only counted
/// quantifiers can reach it.
const COMPILED_LIMIT: usize = 64 << 20;

/// Decides whether a path matches a regex spec.
#[derive(Debug)]
pub(crate) struct Matcher {
    /// The fixed prefix of every matching path.
    prefix: Box<[u8]>,
    tail: Tail,
}

/// The part after the prefix.
#[derive(Debug)]
enum Tail {
    /// `.*` or `.+`: at least this many bytes.
    Anything { at_least: usize },
    /// `[^/]*` or `[^/]+`: at least this many bytes, none of them a slash.
    Name { at_least: usize },
    /// `(/.*)?`: the directory itself and everything below it.
    Subtree,
    /// A regex for the bytes after the prefix.
    Rest(Lazy),
    /// A regex for the full path.
    Whole(Lazy),
}

#[derive(Debug)]
struct Lazy {
    /// Bytes that every matching path contains. Searching for them is faster than the regex.
    needle: Box<[u8]>,
    text: Box<str>,
    compiled: OnceLock<Option<Regex>>,
}

impl Matcher {
    /// Prepares the regex of a spec.
    ///
    /// # Errors
    /// Names the construct that is invalid, or that has no equivalent in Rust's `regex`.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        let pattern = parse(text)?;
        let matcher = Self::from_pattern(text, &pattern);
        if pattern.is_counted
            && let Tail::Rest(lazy) | Tail::Whole(lazy) = &matcher.tail
            && lazy.regex().is_none()
        {
            return Err("counted quantifiers that make the regex too large".into());
        }
        Ok(matcher)
    }

    fn from_pattern(text: &str, pattern: &Pattern) -> Self {
        if let [items] = &pattern.alternatives[..]
            && pattern.is_plain
        {
            let prefix: Vec<u8> = items.iter().map_while(fixed_byte).collect();
            // libselinux compares the first component of path and spec before the regex, so
            // `/usr/?` never matches `/usr`.
            if stem(text).is_none_or(|stem| prefix.starts_with(stem)) {
                let tail = Tail::from_items(items.get(prefix.len()..).unwrap_or_default());
                return Self { prefix: prefix.into(), tail };
            }
        }
        let mut whole = String::from("^");
        write_alternatives(&mut whole, &pattern.alternatives);
        Self {
            prefix: stem(text).unwrap_or_default().into(),
            tail: Tail::Whole(Lazy::new(whole, Box::default())),
        }
    }

    /// The fixed prefix of every matching path.
    pub(crate) fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// Whether `path`, which must begin with the prefix, matches.
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        let rest = path.get(self.prefix.len()..).unwrap_or_default();
        match &self.tail {
            Tail::Anything { at_least } => rest.len() >= *at_least,
            Tail::Name { at_least } => rest.len() >= *at_least && !rest.contains(&b'/'),
            Tail::Subtree => matches!(rest, [] | [b'/', ..] | [b'\n']),
            Tail::Rest(lazy) => lazy.matches(rest),
            Tail::Whole(lazy) => lazy.matches(path),
        }
    }
}

impl Tail {
    fn from_items(items: &[Item]) -> Self {
        let bytes_repeated = |item: &Item, set: ByteSet| {
            let is_open = matches!(item.repeat, Repeat { min: 0 | 1, max: None });
            (is_open && item.atom == Atom::Byte(Box::new(set)))
                .then_some(usize::from(item.repeat.min == 1))
        };
        if let [item] = items {
            if let Some(at_least) = bytes_repeated(item, ByteSet::all()) {
                return Self::Anything { at_least };
            }
            if let Some(at_least) = bytes_repeated(item, ByteSet::without(b'/')) {
                return Self::Name { at_least };
            }
            if let Atom::Group(alternatives) = &item.atom
                && item.repeat == Repeat::OPTIONAL
                && let [inner] = &alternatives[..]
                && let [slash, any] = &inner[..]
                && fixed_byte(slash) == Some(b'/')
                && bytes_repeated(any, ByteSet::all()) == Some(0)
            {
                return Self::Subtree;
            }
        }
        let mut rest = String::from("^");
        write_sequence(&mut rest, items);
        Self::Rest(Lazy::new(rest, needle(items)))
    }
}

impl Lazy {
    fn new(mut text: String, needle: Box<[u8]>) -> Self {
        // PCRE2's `$` also matches before a newline at the end of the path.
        text.push_str(r"\n?\z");
        Self { needle, text: text.into(), compiled: OnceLock::new() }
    }

    fn regex(&self) -> Option<&Regex> {
        self.compiled
            .get_or_init(|| {
                RegexBuilder::new(&self.text)
                    .unicode(false)
                    .dot_matches_new_line(true)
                    .size_limit(COMPILED_LIMIT)
                    .dfa_size_limit(256 << 10)
                    .build()
                    .ok()
            })
            .as_ref()
    }

    fn matches(&self, text: &[u8]) -> bool {
        contains(text, &self.needle) && self.regex().is_some_and(|regex| regex.is_match(text))
    }
}

fn fixed_byte(item: &Item) -> Option<u8> {
    match &item.atom {
        Atom::Byte(set) if item.repeat == Repeat::ONCE => set.only(),
        Atom::Byte(_) | Atom::Group(_) | Atom::Zero(_) => None,
    }
}

/// The longest run of fixed bytes.
fn needle(items: &[Item]) -> Box<[u8]> {
    items
        .split(|item| fixed_byte(item).is_none())
        .max_by_key(|run| run.len())
        .map(|run| run.iter().filter_map(fixed_byte).collect())
        .unwrap_or_default()
}

fn contains(text: &[u8], needle: &[u8]) -> bool {
    let Some((&first, more)) = needle.split_first() else { return true };
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&byte| byte == first) {
        rest = rest.get(at + 1..).unwrap_or_default();
        if rest.starts_with(more) {
            return true;
        }
    }
    false
}

/// The first component of a spec including its slash, if it is fixed text. libselinux calls it the
/// stem.
fn stem(text: &str) -> Option<&[u8]> {
    let bytes = text.as_bytes();
    let end = bytes.iter().skip(1).position(|&byte| byte == b'/')? + 1;
    // libselinux does not treat a backslash as a meta character here, so the stem matches no path.
    // Newer versions fixed this bug.
    let is_fixed = !bytes.iter().take(end).any(|byte| br".^$?*+|[({\".contains(byte));
    bytes.get(..=end).filter(|_| is_fixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(regex: &str, path: &str) -> bool {
        let matcher = Matcher::new(regex).unwrap();
        path.as_bytes().starts_with(matcher.prefix()) && matcher.matches(path.as_bytes())
    }

    #[test]
    fn simple_endings_need_no_regex_engine() {
        assert!(matches!(Matcher::new("/a(/.*)?").unwrap().tail, Tail::Subtree));
        assert!(matches!(Matcher::new("/a/.+").unwrap().tail, Tail::Anything { at_least: 1 }));
        assert!(matches!(Matcher::new("/a/[^/]*").unwrap().tail, Tail::Name { at_least: 0 }));
        for (regex, yes, no) in [
            ("/a(/.*)?", ["/a", "/a/", "/a/b/c"], ["/ab", "/", "/b/a"]),
            ("/a/.+", ["/a/b", "/a//", "/a/b/c"], ["/a/", "/a", "/a."]),
            ("/a/[^/]*", ["/a/", "/a/b", "/a/.b"], ["/a/b/", "/a", "/a/b/c"]),
            ("/a/[^/]+", ["/a/x", "/a/b", "/a/.b"], ["/a/b/", "/a/", "/a/b/c"]),
        ] {
            assert!(yes.iter().all(|path| matches(regex, path)), "{regex}");
            assert!(!no.iter().any(|path| matches(regex, path)), "{regex}");
        }
    }

    #[test]
    fn the_prefix_ends_before_an_item_with_a_quantifier() {
        assert_eq!(Matcher::new("/abc?d").unwrap().prefix(), b"/ab");
        assert_eq!(Matcher::new(r"/a\+b.*").unwrap().prefix(), b"/a+b");
        assert_eq!(Matcher::new("/a|/b").unwrap().prefix(), b"");
        assert_eq!(Matcher::new("/usr/a|/b").unwrap().prefix(), b"/usr/");
        assert_eq!(Matcher::new("/(?i)abc").unwrap().prefix(), b"");
    }

    #[test]
    fn the_first_component_is_compared_before_the_regex() {
        assert!(!matches("/srv/?", "/srv"));
        assert!(matches("/srv/?x", "/srv/x"));
        assert!(!matches("/srv/?x", "/srvx"));
        assert!(matches("/srv/www/?", "/srv/www"));
    }

    #[test]
    fn accepted_patterns_without_counted_quantifiers_always_compile() {
        let deep = format!("/{}a{}", "(x|".repeat(50), ")*b".repeat(50));
        for regex in [
            format!("/{}", "[a-zA-Z0-9]?".repeat(300)),
            format!("/{}", ".*".repeat(2000)),
            format!("/{}", "(.|)+".repeat(800)),
            deep,
        ] {
            let (Tail::Rest(lazy) | Tail::Whole(lazy)) = Matcher::new(&regex).unwrap().tail else {
                panic!("{regex} needs no engine")
            };
            assert!(lazy.regex().is_some(), "{regex}");
        }
    }
}
