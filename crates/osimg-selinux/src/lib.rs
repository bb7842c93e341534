//! SELinux labels from a policy's `file_contexts`, on any host. The results are those of
//! libselinux.
//!
//! The rules of `selabel_file(5)`, in the order in which they apply:
//!
//! 1. Repeated slashes become one, a trailing slash is removed, then `.subs` and after it
//!    `.subs_dist` may rename the path.
//! 2. A spec without meta characters (a literal) takes precedence over every regex. Of several, the
//!    last one with a matching file type.
//! 3. Otherwise the last regex with a matching file type: `.local` after `.homedirs` after
//!    `file_contexts`, lines in their order.
//! 4. `<<none>>` means: no label.
#![warn(unreachable_pub)]
#![doc = include_str!("../README.md")]

mod byteset;
mod contexts;
mod error;
mod index;
mod matcher;
mod parser;
mod pattern;

use std::borrow::Cow;
use std::collections::HashMap;

pub use contexts::{Source, Sources};
pub use error::Error;

use contexts::{FileKind, Substitution, parse_entries, parse_substitutions, substitute};
use index::{Builder, Index};

/// The result of a lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// The label, without a final NUL.
    Context(&'a [u8]),
    /// `<<none>>`: the path must have no label.
    Excluded,
    /// No spec matches the path.
    NoMatch,
}

/// A policy's file contexts, ready for lookups from any number of threads.
#[derive(Debug)]
pub struct FileContexts {
    index: Index,
    contexts: Vec<Box<[u8]>>,
    subs: Vec<Substitution>,
    subs_dist: Vec<Substitution>,
    specs: usize,
}

impl FileContexts {
    /// Parses and compiles the texts of a policy.
    ///
    /// # Errors
    /// Names file, line and problem of a malformed spec, or of a regex that has no equivalent in
    /// Rust's `regex`.
    pub fn parse(sources: &Sources) -> Result<Self, Error> {
        let mut builder = Builder::default();
        let mut contexts: Vec<Box<[u8]>> = Vec::new();
        let mut numbers: HashMap<&[u8], u32> = HashMap::new();
        let mut specs = 0;
        for source in [Some(&sources.base), sources.homedirs.as_ref(), sources.local.as_ref()]
            .into_iter()
            .flatten()
        {
            for entry in parse_entries(source)? {
                let verdict = entry.context.map(|context| {
                    *numbers.entry(context).or_insert_with(|| {
                        contexts.push(context.into());
                        u32::try_from(contexts.len() - 1).unwrap_or(u32::MAX)
                    })
                });
                builder.add(entry.regex, entry.kind, verdict).map_err(|construct| Error {
                    file: source.name.clone(),
                    line: entry.line,
                    problem: format!("{construct} in {:?}", entry.regex),
                })?;
                specs += 1;
            }
        }
        let substitutions =
            |source: &Option<Source>| source.as_ref().map(parse_substitutions).unwrap_or_default();
        Ok(Self {
            index: builder.finish(),
            contexts,
            subs: substitutions(&sources.subs),
            subs_dist: substitutions(&sources.subs_dist),
            specs,
        })
    }

    /// The label for `path` (absolute inside the image) of a file with the `st_mode` `mode`.
    /// Without type bits, every file type matches.
    #[must_use]
    pub fn lookup(&self, path: &[u8], mode: u32) -> Lookup<'_> {
        let path = tidy(path);
        let renamed = substitute(&self.subs, &path);
        let renamed = substitute(&self.subs_dist, renamed.as_deref().unwrap_or(&path)).or(renamed);
        match self.index.lookup(renamed.as_deref().unwrap_or(&path), FileKind::from_mode(mode)) {
            None => Lookup::NoMatch,
            Some(None) => Lookup::Excluded,
            Some(Some(number)) => usize::try_from(number)
                .ok()
                .and_then(|number| self.contexts.get(number))
                .map_or(Lookup::NoMatch, |c| Lookup::Context(c)),
        }
    }

    /// The number of specs in the policy.
    #[must_use]
    pub fn specs(&self) -> usize {
        self.specs
    }
}

/// The path without repeated slashes and without a trailing slash, except for the root.
fn tidy(path: &[u8]) -> Cow<'_, [u8]> {
    let mut path = Cow::Borrowed(path);
    if path.windows(2).any(|pair| pair == b"//") {
        path.to_mut().dedup_by(|a, b| *a == b'/' && *b == b'/');
    }
    if path.len() > 1 && path.ends_with(b"/") {
        match &mut path {
            Cow::Borrowed(path) => *path = path.strip_suffix(b"/").unwrap_or(path),
            Cow::Owned(path) => path.truncate(path.len() - 1),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_and_trailing_slashes_are_ignored() {
        for (path, tidied) in [
            ("/", "/"),
            ("//", "/"),
            ("///", "/"),
            ("/a//b///", "/a/b"),
            ("/a/", "/a"),
            ("/a", "/a"),
            ("", ""),
        ] {
            assert_eq!(tidy(path.as_bytes()), tidied.as_bytes(), "{path}");
        }
    }
}
