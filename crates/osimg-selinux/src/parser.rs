//! Parses a spec's regex by the rules of `pcre2pattern(3)`. The error names a construct that has no
//! equivalent in Rust's `regex`.

use crate::byteset::{ByteSet, Piece, class, escape};
use crate::pattern::{Atom, Item, Pattern, Repeat, Sequence};

/// The limit on nested groups. Rust's `regex` allows 250 levels, and one group with its quantifier
/// and content may use four.
const MAX_DEPTH: usize = 50;

/// libselinux refuses longer patterns as well (3.8 and later).
const MAX_LENGTH: usize = 4095;

/// Parses a pattern.
///
/// # Errors
/// Names the construct that is invalid, or that has no equivalent in Rust's `regex`.
pub(crate) fn parse(text: &str) -> Result<Pattern, String> {
    if text.len() > MAX_LENGTH {
        return Err(format!("a regex of more than {MAX_LENGTH} bytes"));
    }
    Parser::new(text.as_bytes()).pattern()
}

/// The meaning of `(?`.
enum Kind {
    /// A group, captured or not.
    Plain,
    /// A group with a flag, in Rust's syntax.
    Flagged(&'static str),
    /// Not a group, but a flag for the rest.
    Setting(&'static str),
}

/// Parses a pattern from start to end.
struct Parser<'a> {
    rest: &'a [u8],
    depth: usize,
    is_plain: bool,
    is_counted: bool,
}

impl<'a> Parser<'a> {
    /// A parser at the start of `text`.
    fn new(text: &'a [u8]) -> Self {
        Self { rest: text, depth: 0, is_plain: true, is_counted: false }
    }

    /// Parses the whole pattern.
    ///
    /// # Errors
    /// Names the construct that is invalid, or that has no equivalent in Rust's `regex`.
    fn pattern(mut self) -> Result<Pattern, String> {
        let alternatives = self.alternatives()?;
        match self.rest {
            [] => {
                Ok(Pattern { alternatives, is_plain: self.is_plain, is_counted: self.is_counted })
            }
            _ => Err("a `)` without its `(`".into()),
        }
    }

    fn eat(&mut self, token: &[u8]) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn next(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    fn alternatives(&mut self) -> Result<Vec<Sequence>, String> {
        let mut all = vec![self.sequence()?];
        while self.eat(b"|") {
            all.push(self.sequence()?);
        }
        Ok(all)
    }

    fn sequence(&mut self) -> Result<Sequence, String> {
        let mut items = Sequence::new();
        loop {
            self.skip_comments()?;
            if matches!(self.rest.first(), None | Some(b'|' | b')')) {
                return Ok(items);
            }
            let atom = self.atom()?;
            self.skip_comments()?;
            let repeat = self.repeat()?;
            self.is_counted |= repeat.is_counted();
            if repeat != Repeat::ONCE && matches!(atom, Atom::Zero(_)) {
                return Err("a quantifier after an assertion or flag".into());
            }
            items.push(Item { atom, repeat });
        }
    }

    fn skip_comments(&mut self) -> Result<(), String> {
        while self.eat(b"(?#") {
            while self.next().ok_or("a comment without its `)`")? != b')' {}
        }
        Ok(())
    }

    fn atom(&mut self) -> Result<Atom, String> {
        let byte = self.next().ok_or("an unexpected end")?;
        let set = match byte {
            b'(' => return self.group(),
            b'^' => return Ok(self.place("^")),
            b'$' => return Ok(self.place("$")),
            b'.' => ByteSet::all(),
            b'[' => self.class()?,
            b'\\' => match self.rest.first() {
                Some(b'b') => return Ok(self.escaped_place(r"\b")),
                Some(b'B') => return Ok(self.escaped_place(r"\B")),
                Some(b'A') => return Ok(self.escaped_place(r"\A")),
                Some(b'z' | b'Z') => return Ok(self.escaped_place(r"\z")),
                _ => self.escape()?,
            },
            b'*' | b'+' | b'?' => return Err("a quantifier with nothing before it".into()),
            b'{' if counted(self.rest)?.is_some() => {
                return Err("a quantifier with nothing before it".into());
            }
            _ => ByteSet::single(byte),
        };
        Ok(Atom::Byte(Box::new(set)))
    }

    fn place(&mut self, rust: &'static str) -> Atom {
        self.is_plain = false;
        Atom::Zero(rust)
    }

    fn escaped_place(&mut self, rust: &'static str) -> Atom {
        self.next();
        self.place(rust)
    }

    fn repeat(&mut self) -> Result<Repeat, String> {
        let Some(repeat) = self.quantifier()? else { return Ok(Repeat::ONCE) };
        if self.eat(b"+") {
            return Err("a possessive quantifier".into());
        }
        // Lazy and greedy do not differ for the question whether the whole path matches.
        self.eat(b"?");
        if self.quantifier()?.is_some() {
            return Err("a quantifier after a quantifier".into());
        }
        Ok(repeat)
    }

    fn quantifier(&mut self) -> Result<Option<Repeat>, String> {
        Ok(Some(match self.rest.first() {
            Some(b'*') => self.taken(1, Repeat::ANY),
            Some(b'+') => self.taken(1, Repeat::SOME),
            Some(b'?') => self.taken(1, Repeat::OPTIONAL),
            Some(b'{') => match counted(self.rest.get(1..).unwrap_or_default())? {
                Some((length, repeat)) => self.taken(1 + length, repeat),
                None => return Ok(None),
            },
            _ => return Ok(None),
        }))
    }

    fn taken(&mut self, length: usize, repeat: Repeat) -> Repeat {
        self.rest = self.rest.get(length..).unwrap_or_default();
        repeat
    }

    fn group(&mut self) -> Result<Atom, String> {
        let mut flag = None;
        if self.eat(b"*") {
            return Err("a verb `(*...)`".into());
        } else if self.eat(b"?") {
            match self.group_kind()? {
                Kind::Plain => {}
                Kind::Flagged(rust) => flag = Some(rust),
                Kind::Setting(rust) => return Ok(Atom::Zero(rust)),
            }
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} nested groups"));
        }
        let mut inner = self.alternatives()?;
        self.depth -= 1;
        if !self.eat(b")") {
            return Err("a `(` without its `)`".into());
        }
        if let Some((flag, first)) = flag.zip(inner.first_mut()) {
            first.insert(0, Item { atom: Atom::Zero(flag), repeat: Repeat::ONCE });
        }
        Ok(Atom::Group(inner))
    }

    /// The part between `(?` and the group's content.
    fn group_kind(&mut self) -> Result<Kind, String> {
        for (token, name) in [
            (&b"="[..], "lookahead `(?=...)`"),
            (b"!", "negative lookahead `(?!...)`"),
            (b"<=", "lookbehind `(?<=...)`"),
            (b"<!", "negative lookbehind `(?<!...)`"),
            (b">", "an atomic group `(?>...)`"),
            (b"(", "a conditional group `(?(...)...)`"),
            (b"R", "recursion `(?R)`"),
            (b"&", "recursion `(?&...)`"),
            (b"P>", "recursion `(?P>...)`"),
            (b"P=", "a back-reference `(?P=...)`"),
            (b"C", "a callout `(?C...)`"),
        ] {
            if self.eat(token) {
                return Err(name.into());
            }
        }
        // Without back-references, captures and branch resets are plain groups.
        if self.eat(b":") || self.eat(b"|") {
            return Ok(Kind::Plain);
        }
        for (open, close) in [(&b"P<"[..], b'>'), (b"<", b'>'), (b"'", b'\'')] {
            if self.eat(open) {
                while self.next().ok_or("an unclosed group name")? != close {}
                return Ok(Kind::Plain);
            }
        }
        self.is_plain = false;
        for (setting, flagged, rust) in
            [(&b"i)"[..], &b"i:"[..], "(?i)"), (b"-i)", b"-i:", "(?-i)"), (b"s)", b"s:", "(?s)")]
        {
            if self.eat(setting) {
                return Ok(Kind::Setting(rust));
            }
            if self.eat(flagged) {
                return Ok(Kind::Flagged(rust));
            }
        }
        let shown: String = self.rest.iter().take(8).map(|&byte| char::from(byte)).collect();
        Err(format!("the group or flags at `(?{shown}`"))
    }

    /// The set after a backslash outside a class.
    fn escape(&mut self) -> Result<ByteSet, String> {
        match escape(&mut self.rest)? {
            Piece::One(byte) => Ok(ByteSet::single(byte)),
            Piece::Set(set) => Ok(set),
        }
    }

    fn class(&mut self) -> Result<ByteSet, String> {
        class(&mut self.rest)
    }
}

/// The counted quantifier that begins after `{`, and its length including `}`. Without a
/// quantifier, the brace is literal.
fn counted(rest: &[u8]) -> Result<Option<(usize, Repeat)>, String> {
    let Some(end) = rest.iter().position(|&byte| byte == b'}') else { return Ok(None) };
    let inside = rest.get(..end).unwrap_or_default();
    let number = |digits: &[u8]| -> Option<u32> {
        let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
    };
    let mut parts = inside.splitn(2, |&byte| byte == b',');
    let (low, high) = (parts.next().unwrap_or_default(), parts.next());
    if low.is_empty() && high.and_then(number).is_some() {
        return Err("`{,n}`, which has different meanings in different versions of PCRE2".into());
    }
    let Some(min) = number(low) else { return Ok(None) };
    let max = match high {
        None => Some(min),
        Some([]) => None,
        Some(digits) => match number(digits) {
            Some(max) => Some(max),
            None => return Ok(None),
        },
    };
    if max.is_some_and(|max| max < min) || min > 65_535 || max.is_some_and(|max| max > 65_535) {
        return Err("a quantifier with numbers that are out of order or too large".into());
    }
    Ok(Some((end + 1, Repeat { min, max })))
}
