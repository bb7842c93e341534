//! The PCRE2 regex of a spec as a tree, and its translation to Rust's `regex`.
//!
//! The two dialects look alike but often differ in meaning (`a*+`, `[a[b]`, `[a&&b]`, `\<`).
//! Therefore nothing is copied: a pattern is parsed by PCRE2's rules (`pcre2pattern(3)`) and
//! written again, with sets of bytes spelled out.

use crate::byteset::ByteSet;

/// A sequence of items; alternatives are several sequences.
pub(crate) type Sequence = Vec<Item>;

/// An atom with its number of repetitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) atom: Atom,
    pub(crate) repeat: Repeat,
}

/// The number of repetitions: the minimum, and the maximum if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Repeat {
    pub(crate) min: u32,
    pub(crate) max: Option<u32>,
}

impl Repeat {
    /// Exactly once: no quantifier.
    pub(crate) const ONCE: Self = Self { min: 1, max: Some(1) };
    pub(crate) const OPTIONAL: Self = Self { min: 0, max: Some(1) };
    pub(crate) const ANY: Self = Self { min: 0, max: None };
    pub(crate) const SOME: Self = Self { min: 1, max: None };

    /// Whether it is a quantifier with numbers.
    pub(crate) fn is_counted(self) -> bool {
        !matches!(self, Self::ONCE | Self::OPTIONAL | Self::ANY | Self::SOME)
    }
}

/// The operand of a quantifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Atom {
    /// One byte of a set.
    Byte(Box<ByteSet>),
    Group(Vec<Sequence>),
    /// An assertion about the position, or a flag from here on, in the syntax of Rust's `regex`.
    Zero(&'static str),
}

/// A parsed pattern, without the `^` and `$` that libselinux puts around it.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    pub(crate) alternatives: Vec<Sequence>,
    /// Whether all bytes are literal: no flags, no assertions such as `^` or `\b`.
    pub(crate) is_plain: bool,
    /// Whether a counted quantifier may make the compiled form much larger than the text.
    pub(crate) is_counted: bool,
}

/// Writes alternatives in the syntax of Rust's `regex` with `unicode(false)` and
/// `dot_matches_new_line(true)`.
pub(crate) fn write_alternatives(out: &mut String, alternatives: &[Sequence]) {
    for (number, sequence) in alternatives.iter().enumerate() {
        if number > 0 {
            out.push('|');
        }
        write_sequence(out, sequence);
    }
}

/// Writes one sequence, as [`write_alternatives`] does.
pub(crate) fn write_sequence(out: &mut String, items: &[Item]) {
    for item in items {
        match &item.atom {
            Atom::Byte(set) => set.write(out),
            Atom::Zero(rust) => out.push_str(rust),
            Atom::Group(alternatives) => {
                out.push_str("(?:");
                write_alternatives(out, alternatives);
                out.push(')');
            }
        }
        match item.repeat {
            Repeat::ONCE => {}
            Repeat::OPTIONAL => out.push('?'),
            Repeat::ANY => out.push('*'),
            Repeat::SOME => out.push('+'),
            Repeat { min, max: None } => out.push_str(&format!("{{{min},}}")),
            Repeat { min, max: Some(max) } => out.push_str(&format!("{{{min},{max}}}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rust(text: &str) -> String {
        let mut out = String::new();
        write_alternatives(&mut out, &crate::parser::parse(text).unwrap().alternatives);
        out
    }

    fn refusal(text: &str) -> String {
        crate::parser::parse(text).unwrap_err()
    }

    #[test]
    fn constructs_of_both_dialects_are_written_in_the_syntax_of_rust() {
        assert_eq!(rust(r"/a\.b(/.*)?"), r"/a\.b(?:/.*)?");
        assert_eq!(rust(r"/(?<n>x)(?#c)(?:y|)+?z{2}{"), r"/(?:x)(?:y|)+z{2,2}\{");
        assert_eq!(rust("/(?i)a(?s:b)(?i:)+"), "/(?i)a(?:(?s)b)(?:(?i))+");
        assert_eq!(rust("/a(?#c)*(?#)"), "/a*");
        assert_eq!(rust(r"^/x\b$\z"), r"^/x\b$\z");
        assert_eq!(rust(r"/\x41\x{2d}[^/]\<"), r"/A\-[^/]<");
    }

    #[test]
    fn errors_name_constructs_without_an_equivalent_in_rust() {
        for (text, name) in [
            ("/(?=a)", "lookahead"),
            ("/(?!a)", "negative lookahead"),
            ("/(?<=a)", "lookbehind"),
            ("/(?<!a)", "negative lookbehind"),
            ("/(?>a)", "atomic"),
            ("/(?(1)a)", "conditional"),
            ("/(?R)", "recursion"),
            ("/(?x)a b", "flags at `(?x)a b`"),
            ("/(*UTF)", "verb"),
            ("/a*+", "possessive"),
            ("/a{2}{3}", "a quantifier after a quantifier"),
            ("/a{,3}", "versions of PCRE2"),
            ("/a{3,2}", "out of order"),
            (r"/(a)\1", "back-reference"),
            (r"/\k<n>", "back-reference"),
            (r"/a\Kb", r"`\K`"),
            ("/a|*b", "nothing before it"),
            ("/(a", "without its `)`"),
            ("/a)", "without its `(`"),
            ("/[a", "without its `]`"),
            ("/[z-a]", "range"),
            ("/^*", "assertion"),
        ] {
            assert!(refusal(text).contains(name), "{text}: {}", refusal(text));
        }
        assert!(refusal(&"(".repeat(300)).contains("nested groups"));
        assert!(refusal(&"a".repeat(5000)).contains("4095"));
    }
}
