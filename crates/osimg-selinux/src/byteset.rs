//! Sets of bytes that one position of a regex matches. They are parsed from PCRE2's escapes and
//! classes, and written in Rust's syntax.

/// A set of bytes, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ByteSet([u64; 4]);

impl ByteSet {
    /// Every byte: the meaning of `.` if it also matches newlines.
    pub(crate) fn all() -> Self {
        Self([u64::MAX; 4])
    }

    /// One byte.
    pub(crate) fn single(byte: u8) -> Self {
        Self::default().with(byte)
    }

    /// Every byte except one.
    pub(crate) fn without(byte: u8) -> Self {
        Self::single(byte).inverted()
    }

    /// The byte, if the set has exactly one.
    pub(crate) fn only(&self) -> Option<u8> {
        let count: u32 = self.0.iter().map(|word| word.count_ones()).sum();
        let place: u32 = self
            .0
            .iter()
            .zip([0, 64, 128, 192])
            .filter(|(word, _)| **word > 0)
            .map(|(word, base)| base + word.trailing_zeros())
            .sum();
        u8::try_from(place).ok().filter(|_| count == 1)
    }

    fn from_predicate(test: impl Fn(u8) -> bool) -> Self {
        (0..=u8::MAX).filter(|&byte| test(byte)).fold(Self::default(), Self::with)
    }

    fn with(self, byte: u8) -> Self {
        self.union(Self(std::array::from_fn(|word| {
            if usize::from(byte) / 64 == word { 1 << (byte % 64) } else { 0 }
        })))
    }

    fn union(self, other: Self) -> Self {
        let [a, b, c, d] = self.0;
        let [e, f, g, h] = other.0;
        Self([a | e, b | f, c | g, d | h])
    }

    fn inverted(self) -> Self {
        Self(self.0.map(|word| !word))
    }

    fn has(&self, byte: u8) -> bool {
        self.0.get(usize::from(byte) / 64).is_some_and(|word| word >> (byte % 64) & 1 == 1)
    }

    fn ranges(&self) -> Vec<(u8, u8)> {
        let mut ranges: Vec<(u8, u8)> = Vec::new();
        for byte in (0..=u8::MAX).filter(|&byte| self.has(byte)) {
            match ranges.last_mut() {
                Some((_, high)) if *high == byte.wrapping_sub(1) => *high = byte,
                _ => ranges.push((byte, byte)),
            }
        }
        ranges
    }

    /// Writes the set in the syntax of Rust's `regex` with `unicode(false)` and
    /// `dot_matches_new_line(true)`.
    pub(crate) fn write(&self, out: &mut String) {
        if *self == Self::all() {
            out.push('.');
        } else if let Some(byte) = self.only() {
            write_byte(out, byte);
        } else {
            let inverted = self.inverted();
            let (sign, ranges) = if inverted.ranges().len() < self.ranges().len() {
                ("[^", inverted.ranges())
            } else {
                ("[", self.ranges())
            };
            out.push_str(sign);
            for (low, high) in ranges {
                write_byte(out, low);
                if low < high {
                    out.push('-');
                    write_byte(out, high);
                }
            }
            out.push(']');
        }
    }
}

fn write_byte(out: &mut String, byte: u8) {
    match byte {
        b'/' | b'_' | b'<' | b'>' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
            out.push(char::from(byte))
        }
        b'!'..=b'~' => out.extend(['\\', char::from(byte)]),
        _ => out.push_str(&format!("\\x{byte:02X}")),
    }
}

/// The meaning of an escape or of a part of a class.
pub(crate) enum Piece {
    One(u8),
    Set(ByteSet),
}

fn take(rest: &mut &[u8]) -> Option<u8> {
    let (&byte, after) = rest.split_first()?;
    *rest = after;
    Some(byte)
}

/// Reads an escape after its backslash.
///
/// # Errors
/// Names an escape that is incomplete, or that means more than a set of bytes.
pub(crate) fn escape(rest: &mut &[u8]) -> Result<Piece, String> {
    let byte = take(rest).ok_or("a backslash at the end")?;
    let set = match byte {
        b'd' => ByteSet::from_predicate(|b| b.is_ascii_digit()),
        b'D' => ByteSet::from_predicate(|b| !b.is_ascii_digit()),
        b'w' => ByteSet::from_predicate(is_word),
        b'W' => ByteSet::from_predicate(|b| !is_word(b)),
        b's' => ByteSet::from_predicate(is_space),
        b'S' => ByteSet::from_predicate(|b| !is_space(b)),
        b'h' => ByteSet::from_predicate(is_horizontal),
        b'H' => ByteSet::from_predicate(|b| !is_horizontal(b)),
        b'v' => ByteSet::from_predicate(is_vertical),
        b'V' => ByteSet::from_predicate(|b| !is_vertical(b)),
        b'N' if !matches!(*rest, [b'{', next, ..] if !next.is_ascii_digit()) => {
            ByteSet::without(b'\n')
        }
        b'a' => return Ok(Piece::One(0x07)),
        b'e' => return Ok(Piece::One(0x1b)),
        b'f' => return Ok(Piece::One(0x0c)),
        b'n' => return Ok(Piece::One(b'\n')),
        b'r' => return Ok(Piece::One(b'\r')),
        b't' => return Ok(Piece::One(b'\t')),
        b'x' => return hexadecimal(rest).map(Piece::One),
        b'1'..=b'9' | b'g' | b'k' => {
            return Err(format!("a back-reference or octal escape `\\{}`", char::from(byte)));
        }
        b'0' | b'A'..=b'Z' | b'a'..=b'z' => {
            return Err(format!("the escape `\\{}`", char::from(byte)));
        }
        _ => return Ok(Piece::One(byte)),
    };
    Ok(Piece::Set(set))
}

/// `\xh`, `\xhh` or `\x{h...}`; reads the part after `\x`.
fn hexadecimal(rest: &mut &[u8]) -> Result<u8, String> {
    let wrong = || "an escape `\\x` that is not a byte".to_owned();
    let digits: Vec<u8> = if let Some(after) = rest.strip_prefix(b"{") {
        let end = after.iter().position(|&b| b == b'}').ok_or_else(wrong)?;
        let (inside, after) = after.split_at(end);
        *rest = after.get(1..).unwrap_or_default();
        inside.to_vec()
    } else {
        let digits: Vec<u8> =
            rest.iter().copied().take(2).take_while(u8::is_ascii_hexdigit).collect();
        *rest = rest.get(digits.len()..).unwrap_or_default();
        digits
    };
    // PCRE2 reads a plain `\x` as a zero byte, which does not occur in paths.
    std::str::from_utf8(&digits)
        .ok()
        .and_then(|text| u8::from_str_radix(text, 16).ok())
        .filter(|_| digits.first() != Some(&b'+'))
        .ok_or_else(wrong)
}

/// Reads a class after its `[`.
///
/// # Errors
/// Names an unclosed class, an invalid range, or an escape that means more than a set of bytes.
pub(crate) fn class(rest: &mut &[u8]) -> Result<ByteSet, String> {
    if rest
        .first()
        .is_some_and(|&kind| matches!(kind, b':' | b'.' | b'=') && posix_end(rest, kind).is_some())
    {
        return Err("a class name `[: :]` outside of a class".into());
    }
    let is_inverted = rest.first() == Some(&b'^');
    if is_inverted {
        take(rest);
    }
    let mut set = ByteSet::default();
    let mut is_first = true;
    loop {
        if !is_first && rest.first() == Some(&b']') {
            take(rest);
            return Ok(if is_inverted { set.inverted() } else { set });
        }
        is_first = false;
        let low = match piece(rest)? {
            Piece::Set(more) => {
                set = set.union(more);
                if matches!(*rest, [b'-', after, ..] if *after != b']') {
                    return Err("a range in a class that begins with a set".into());
                }
                continue;
            }
            Piece::One(low) => low,
        };
        let high = match *rest {
            [b'-', b']', ..] => low,
            [b'-', ..] => {
                take(rest);
                match piece(rest)? {
                    Piece::One(high) if low <= high => high,
                    Piece::One(_) | Piece::Set(_) => {
                        return Err(
                            "a range in a class that is out of order or ends with a set".into()
                        );
                    }
                }
            }
            _ => low,
        };
        set = (low..=high).fold(set, ByteSet::with);
    }
}

fn piece(rest: &mut &[u8]) -> Result<Piece, String> {
    if let Some(after) = rest.strip_prefix(b"[")
        && let Some(kind @ (b':' | b'.' | b'=')) = after.first().copied()
        && let Some(end) = posix_end(after, kind)
    {
        let name = after.get(1..end).unwrap_or_default();
        let set =
            posix(name).filter(|_| kind == b':').ok_or("an unknown class name within `[: :]`")?;
        *rest = after.get(end + 2..).unwrap_or_default();
        return Ok(Piece::Set(set));
    }
    match take(rest).ok_or("a `[` without its `]`")? {
        b'\\' if rest.first() == Some(&b'b') => {
            take(rest);
            Ok(Piece::One(0x08))
        }
        b'\\' => escape(rest),
        byte => Ok(Piece::One(byte)),
    }
}

/// The end of the name that begins with `[:`, if `:]` follows before the class can end.
fn posix_end(after: &[u8], kind: u8) -> Option<usize> {
    let mut at = 1;
    loop {
        match after.get(at..at + 2)? {
            [b'\\', b']' | b'\\'] => at += 2,
            [b'[', next] if *next == kind => return None,
            [b']', _] => return None,
            [end, b']'] if *end == kind => return Some(at),
            _ => at += 1,
        }
    }
}

fn posix(name: &[u8]) -> Option<ByteSet> {
    let (name, is_inverted) = name.strip_prefix(b"^").map_or((name, false), |name| (name, true));
    let set = match name {
        b"alnum" => ByteSet::from_predicate(|b| b.is_ascii_alphanumeric()),
        b"alpha" => ByteSet::from_predicate(|b| b.is_ascii_alphabetic()),
        b"ascii" => ByteSet::from_predicate(|b| b.is_ascii()),
        b"blank" => ByteSet::from_predicate(|b| matches!(b, b' ' | b'\t')),
        b"cntrl" => ByteSet::from_predicate(|b| b.is_ascii_control()),
        b"digit" => ByteSet::from_predicate(|b| b.is_ascii_digit()),
        b"graph" => ByteSet::from_predicate(|b| b.is_ascii_graphic()),
        b"lower" => ByteSet::from_predicate(|b| b.is_ascii_lowercase()),
        b"print" => ByteSet::from_predicate(|b| b.is_ascii_graphic() || b == b' '),
        b"punct" => ByteSet::from_predicate(|b| b.is_ascii_punctuation()),
        b"space" => ByteSet::from_predicate(is_space),
        b"upper" => ByteSet::from_predicate(|b| b.is_ascii_uppercase()),
        b"word" => ByteSet::from_predicate(is_word),
        b"xdigit" => ByteSet::from_predicate(|b| b.is_ascii_hexdigit()),
        _ => return None,
    };
    Some(if is_inverted { set.inverted() } else { set })
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ')
}

fn is_horizontal(byte: u8) -> bool {
    matches!(byte, b'\t' | b' ' | 0xa0)
}

fn is_vertical(byte: u8) -> bool {
    matches!(byte, b'\n'..=b'\r' | 0x85)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Result<String, String> {
        let mut rest = text.as_bytes();
        let set = class(&mut rest)?;
        assert!(rest.is_empty(), "left over: {rest:?}");
        let mut out = String::new();
        set.write(&mut out);
        Ok(out)
    }

    #[test]
    fn classes_have_the_meaning_of_pcre2_and_not_of_rust() {
        assert_eq!(written("a[b]").unwrap(), r"[\[a-b]");
        assert_eq!(written("]a]").unwrap(), r"[\]a]");
        assert_eq!(written("^]]").unwrap(), r"[^\]]");
        assert_eq!(written("a&&b]").unwrap(), r"[\&a-b]");
        assert_eq!(written("a-]").unwrap(), r"[\-a]");
        assert_eq!(written("+--]").unwrap(), r"[\+-\-]");
        assert_eq!(written(r"a\]b]").unwrap(), r"[\]a-b]");
        assert_eq!(written("[:digit:]_]").unwrap(), "[0-9_]");
        assert_eq!(written("[:^digit:]]").unwrap(), "[^0-9]");
        assert_eq!(written("[:a]").unwrap(), r"[\:\[a]");
        assert_eq!(written(r"\d-]").unwrap(), r"[\-0-9]");
    }

    #[test]
    fn an_invalid_class_is_refused() {
        assert!(written("a").unwrap_err().contains("without its"));
        assert!(written("]").unwrap_err().contains("without its"));
        assert!(written("z-a]").unwrap_err().contains("out of order"));
        assert!(written(r"a-\d]").unwrap_err().contains("ends with a set"));
        assert!(written(r"\d-a]").unwrap_err().contains("begins with a set"));
        assert!(written(":alpha:]").unwrap_err().contains("outside of a class"));
        assert!(written("[:nope:]]").unwrap_err().contains("unknown class name"));
        assert!(written(r"\x{100}]").unwrap_err().contains("not a byte"));
    }
}
