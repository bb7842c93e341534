//! Patterns of paths: `*`, `?` and `[...]` within a name, `**` for any number of names.

/// Whether a pattern has no wildcards.
pub(super) fn is_plain(pattern: &str) -> bool {
    !pattern.contains(['*', '?', '['])
}

/// Whether a path matches. A pattern without a slash matches the last name, wherever it is, as in
/// `.gitignore`.
pub(super) fn matches(pattern: &str, path: &str) -> bool {
    let path: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if !pattern.contains('/') {
        return path.last().is_some_and(|name| name_matches(pattern, name));
    }
    let pattern: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty()).collect();
    parts_match(&pattern, &path)
}

fn parts_match(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        // What is in a directory, and not the directory.
        (Some((&"**", [])), _) => !path.is_empty(),
        (Some((&"**", rest)), _) => (0..=path.len())
            .any(|skipped| parts_match(rest, path.get(skipped..).unwrap_or_default())),
        (Some((first, rest)), Some((name, below))) => {
            name_matches(first, name) && parts_match(rest, below)
        }
        _ => false,
    }
}

/// Whether one name matches, as fnmatch(3) has it.
pub(super) fn name_matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    // Where to go on after the last star, so that no pattern takes exponential time.
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        let step = match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
                continue;
            }
            Some('?') => Some(p + 1),
            Some('[') => class(&pattern, p, name.get(n).copied().unwrap_or_default()),
            Some(c) if name.get(n) == Some(c) => Some(p + 1),
            _ => None,
        };
        match (step, star) {
            (Some(next), _) => (p, n) = (next, n + 1),
            (None, Some((at, from))) => {
                star = Some((at, from + 1));
                (p, n) = (at + 1, from + 1);
            }
            (None, None) => return false,
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|c| *c == '*')
}

/// Past a class that has the character; a class that is not closed is a plain bracket.
fn class(pattern: &[char], at: usize, c: char) -> Option<usize> {
    let body = pattern.get(at + 1..).unwrap_or_default();
    let negated = matches!(body.first(), Some('!' | '^'));
    let body = body.get(usize::from(negated)..).unwrap_or_default();
    let Some(end) = body.iter().skip(1).position(|c| *c == ']').map(|end| end + 1) else {
        return (c == '[').then_some(at + 1);
    };
    let members = body.get(..end).unwrap_or_default();
    let mut found = false;
    let mut index = 0;
    while let Some(first) = members.get(index) {
        match (members.get(index + 1), members.get(index + 2)) {
            (Some('-'), Some(last)) => {
                found |= (*first..=*last).contains(&c);
                index += 3;
            }
            _ => {
                found |= *first == c;
                index += 1;
            }
        }
    }
    (found != negated).then_some(at + 1 + usize::from(negated) + end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_those_of_a_shell() {
        for (pattern, path) in [
            ("*.md", "a/README.md"),
            (".git", "sub/.git"),
            ("usr/share/doc/*", "usr/share/doc/x"),
            ("/usr/share/**", "usr/share/a/b"),
            ("**/x.[ch]", "a/b/x.h"),
            ("**/x", "x"),
            ("a[!0-9]c", "abc"),
            ("?", "x"),
            ("a*b*c", "aXbbYc"),
            ("[", "["),
            ("[]]", "]"),
        ] {
            assert!(matches(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("*.md", "a/README.txt"),
            ("usr/*", "usr/share/doc"),
            ("a[!0-9]c", "a1c"),
            ("a*b", "a"),
            ("usr/*/x", "usr/x"),
            ("opt/**", "opt"),
            ("", "x"),
        ] {
            assert!(!matches(pattern, path), "{pattern} {path}");
        }
        // A pattern of stars takes no time.
        assert!(!name_matches(&"*a".repeat(50), &"a".repeat(49)));
    }
}
