//! Finds the spec for a path: the last literal that is equal to it, or else the last regex that
//! matches it.

use std::collections::HashMap;

use crate::contexts::FileKind;
use crate::matcher::Matcher;

/// The result of a spec: the number of a context, or `None` for `<<none>>`.
pub(crate) type Verdict = Option<u32>;

#[derive(Debug)]
struct Literal {
    kind: FileKind,
    verdict: Verdict,
}

#[derive(Debug)]
struct Spec {
    /// The position among all specs; the greatest wins.
    order: usize,
    kind: FileKind,
    verdict: Verdict,
    matcher: Matcher,
}

/// The regex specs with the same fixed prefix.
#[derive(Debug)]
struct Node {
    prefix: Box<[u8]>,
    /// The node with the longest prefix that is a prefix of this one's.
    parent: Option<usize>,
    /// In reverse order: the last spec comes first.
    specs: Vec<Spec>,
}

/// All specs of a policy, indexed for lookups.
#[derive(Debug, Default)]
pub(crate) struct Index {
    literals: HashMap<Box<[u8]>, Vec<Literal>>,
    /// Sorted by prefix.
    nodes: Vec<Node>,
}

/// Collects specs in the order of the input.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    literals: HashMap<Box<[u8]>, Vec<Literal>>,
    specs: Vec<Spec>,
}

impl Builder {
    /// Adds the next spec.
    ///
    /// # Errors
    /// Names the construct of the regex that is invalid, or that has no equivalent in Rust's
    /// `regex`.
    pub(crate) fn add(
        &mut self,
        regex: &str,
        kind: FileKind,
        verdict: Verdict,
    ) -> Result<(), String> {
        if let Some(path) = literal(regex) {
            self.literals.entry(path.into()).or_default().push(Literal { kind, verdict });
        } else {
            self.specs.push(Spec {
                order: self.specs.len(),
                kind,
                verdict,
                matcher: Matcher::new(regex)?,
            });
        }
        Ok(())
    }

    /// Builds the index.
    pub(crate) fn finish(self) -> Index {
        let mut specs = self.specs;
        specs
            .sort_by(|a, b| a.matcher.prefix().cmp(b.matcher.prefix()).then(b.order.cmp(&a.order)));
        let mut nodes: Vec<Node> = Vec::new();
        for spec in specs {
            match nodes.last_mut() {
                Some(last) if *last.prefix == *spec.matcher.prefix() => last.specs.push(spec),
                _ => {
                    let prefix: Box<[u8]> = spec.matcher.prefix().into();
                    let parent = last_beginning(&nodes, nodes.len().checked_sub(1), &prefix);
                    nodes.push(Node { prefix, parent, specs: vec![spec] });
                }
            }
        }
        Index { literals: self.literals, nodes }
    }
}

impl Index {
    /// The result of the spec for `path`, if one matches.
    pub(crate) fn lookup(&self, path: &[u8], file: FileKind) -> Option<Verdict> {
        let literal = self
            .literals
            .get(path)
            .and_then(|all| all.iter().rfind(|literal| literal.kind.fits(file)));
        if let Some(literal) = literal {
            return Some(literal.verdict);
        }
        let mut best: Option<&Spec> = None;
        let after = self.nodes.partition_point(|node| *node.prefix <= *path);
        let mut at = last_beginning(&self.nodes, after.checked_sub(1), path);
        while let Some(node) = at.and_then(|at| self.nodes.get(at)) {
            let later = node
                .specs
                .iter()
                .take_while(|spec| best.is_none_or(|best| best.order < spec.order));
            best = later
                .filter(|spec| spec.kind.fits(file))
                .find(|spec| spec.matcher.matches(path))
                .or(best);
            at = node.parent;
        }
        best.map(|spec| spec.verdict)
    }
}

/// The longest prefix of `path` among a node and its ancestors.
///
/// The search starts at the last node that sorts at or before `path`, and finds the longest prefix
/// of all. Everything that sorts between a prefix of `path` and `path` itself begins with that
/// prefix. So the prefix is among its ancestors.
fn last_beginning(nodes: &[Node], from: Option<usize>, path: &[u8]) -> Option<usize> {
    let mut at = from;
    while let Some((number, node)) = at.and_then(|at| Some((at, nodes.get(at)?))) {
        if path.starts_with(&node.prefix) {
            return Some(number);
        }
        at = node.parent;
    }
    None
}

/// The only path that a spec matches, if its regex has no meta characters.
///
/// Escaped letters and digits have a meaning in a regex, so such a regex is not a literal.
fn literal(regex: &str) -> Option<Vec<u8>> {
    let mut path = Vec::with_capacity(regex.len());
    let mut bytes = regex.bytes();
    while let Some(byte) = bytes.next() {
        path.push(match byte {
            b'.' | b'^' | b'$' | b'?' | b'*' | b'+' | b'|' | b'[' | b'(' | b'{' | b')' => {
                return None;
            }
            b'\\' => bytes.next().filter(|escaped| !escaped.is_ascii_alphanumeric())?,
            _ => byte,
        });
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(regexes: &[&str]) -> Index {
        let mut builder = Builder::default();
        for (number, regex) in (0..).zip(regexes) {
            builder.add(regex, FileKind::Any, Some(number)).unwrap();
        }
        builder.finish()
    }

    #[test]
    fn the_last_matching_regex_wins_regardless_of_its_prefix() {
        let index = index(&["/.*", "/usr/lib/.*", "/usr/.*x", "/usr/li.*", "/usrlocal.*"]);
        let number = |path: &str| index.lookup(path.as_bytes(), FileKind::Any);
        assert_eq!(number("/usr/lib/a"), Some(Some(3)));
        assert_eq!(number("/usr/bin/x"), Some(Some(2)));
        assert_eq!(number("/usr/bin/y"), Some(Some(0)));
        assert_eq!(number("/usrlocal"), Some(Some(4)));
        assert_eq!(number("no slash"), None);
    }

    #[test]
    fn a_regex_with_an_escaped_letter_is_not_a_literal() {
        assert_eq!(literal(r"/a\.b\+\-c"), Some(b"/a.b+-c".to_vec()));
        assert_eq!(literal(r"/a\d"), None);
        assert_eq!(index(&[r"/a\d"]).lookup(b"/a7", FileKind::Any), Some(Some(0)));
        assert_eq!(literal("/a\\"), None);
    }
}
