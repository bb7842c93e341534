//! Makes paths from a policy's regexes: some match, some nearly match, some are unusual. It does
//! not implement any matching.

/// A small pseudo-random generator, the same in every run.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound.max(1)
    }

    fn pick<'a>(&mut self, from: &'a [&'a [u8]]) -> &'a [u8] {
        from[self.below(from.len())]
    }
}

/// A path that probably matches `regex`.
pub fn matching(regex: &str, random: &mut Random) -> Vec<u8> {
    let mut rest = regex.as_bytes();
    alternatives(&mut rest, random)
}

/// `path` with one change.
pub fn changed(mut path: Vec<u8>, random: &mut Random) -> Vec<u8> {
    let at = 1 + random.below(path.len());
    match random.below(8) {
        0 => path.truncate(at.min(path.len())),
        1 => path.extend_from_slice(b"/"),
        2 => path.extend_from_slice(random.pick(&[
            b"/x",
            b".",
            b"/a b/\xff\xfe",
            b"~",
            b"/.*",
            b"-",
            b"/x/y/z.so.1",
        ])),
        3 => path.splice(at.min(path.len())..at.min(path.len()), *b"//").for_each(drop),
        4 => path.splice(at.min(path.len())..at.min(path.len()), [0xc3, 0xa4]).for_each(drop),
        5 => path
            .splice(
                0..0,
                random
                    .pick(&[b"/sysroot", b"/export", b"/altbin", b"/usr", b"/lib64", b"/"])
                    .to_vec(),
            )
            .for_each(drop),
        6 if path.len() > 2 => drop(path.remove(at.min(path.len() - 1))),
        _ => path.make_ascii_uppercase(),
    }
    path
}

fn alternatives(rest: &mut &[u8], random: &mut Random) -> Vec<u8> {
    let mut all = vec![sequence(rest, random)];
    while let Some(after) = rest.strip_prefix(b"|") {
        *rest = after;
        all.push(sequence(rest, random));
    }
    all.swap_remove(random.below(all.len()))
}

fn sequence(rest: &mut &[u8], random: &mut Random) -> Vec<u8> {
    let mut out = Vec::new();
    while !matches!(rest.first(), None | Some(b'|' | b')')) {
        let before = *rest;
        let first = atom(rest, random);
        let atom_text = before;
        let count = quantifier(rest, random);
        for turn in 0..count {
            let mut again = atom_text;
            out.extend(if turn == 0 { first.clone() } else { atom(&mut again, random) });
        }
    }
    out
}

fn atom(rest: &mut &[u8], random: &mut Random) -> Vec<u8> {
    let (&byte, after) = rest.split_first().expect("an atom");
    *rest = after;
    match byte {
        b'(' => {
            for kind in [&b"?<one>"[..], b"?:"] {
                *rest = rest.strip_prefix(kind).unwrap_or(rest);
            }
            if rest.starts_with(b"?#") || rest.starts_with(b"?i)") {
                let end = rest.iter().position(|&b| b == b')').expect("the end of a group");
                *rest = &rest[end + 1..];
                return Vec::new();
            }
            let inner = alternatives(rest, random);
            *rest = rest.strip_prefix(b")").unwrap_or(rest);
            inner
        }
        b'[' => class(rest, random),
        b'.' => random.pick(&[b"a", b"/", b".", b"7", b" ", b"\xe9", b"_x", b"b/c", b"-"]).to_vec(),
        b'^' | b'$' => Vec::new(),
        b'\\' if rest.starts_with(b"x41") => {
            *rest = &rest[3..];
            b"A".to_vec()
        }
        b'\\' => {
            let (&escaped, after) = rest.split_first().expect("an escape");
            *rest = after;
            vec![escaped]
        }
        _ => vec![byte],
    }
}

fn class(rest: &mut &[u8], random: &mut Random) -> Vec<u8> {
    if let Some(after) = rest.strip_prefix(b"[:upper:][:digit:]_]") {
        *rest = after;
        return random.pick(&[b"A", b"7", b"_", b"Z"]).to_vec();
    }
    let is_inverted = rest.first() == Some(&b'^');
    let body: &[u8] = if is_inverted { &rest[1..] } else { rest };
    let mut end = 1;
    while body[end] != b']' || body[end - 1] == b'\\' {
        end += 1;
    }
    let members = &body[..end];
    *rest = &body[end + 1..];
    if is_inverted {
        return random.pick(&[b"q", b"Q", b"5", b"=", b"\xf0", b"w"]).to_vec();
    }
    let at = random.below(members.len());
    match members[at] {
        b'-' if at > 0 && at + 1 < members.len() => {
            vec![members[at - 1] + (members[at + 1] - members[at - 1]) / 2]
        }
        b'\\' => vec![members[at + 1]],
        byte => vec![byte],
    }
}

fn quantifier(rest: &mut &[u8], random: &mut Random) -> usize {
    let (length, low, high) = match rest.first() {
        Some(b'*') => (1, 0, 3),
        Some(b'+') => (1, 1, 3),
        Some(b'?') => (1, 0, 1),
        Some(b'{') if rest.starts_with(b"{2,3}") => (5, 2, 3),
        _ => return 1,
    };
    *rest = &rest[length..];
    *rest = rest.strip_prefix(b"?").unwrap_or(rest);
    low + random.below(high - low + 1)
}
