//! SELinux labels, computed from a policy's `file_contexts` as libselinux would, on any host, with or without SELinux.
//!
//! The rules of `selabel_file(5)`, in the order they decide:
//!
//! 1. Doubled slashes are squeezed, a slash at the end is cut, then `.subs` and after it `.subs_dist` may rename the path.
//! 2. A spec without meta characters (a literal) wins over every regex; the last one whose file type fits wins.
//! 3. Else the last regex whose file type fits: `.local` after `.homedirs` after `file_contexts`, lines in their order.
//! 4. `<<none>>` means: no label.

mod byteset;
mod contexts;
mod index;
mod matcher;
mod parser;
mod pattern;
mod policy;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::{ExitCode, Failure, Result};

pub use contexts::{Source, Sources};

use contexts::{FileKind, Substitution, parse_entries, parse_substitutions, substitute, wrong};
use index::{Builder, Index};

/// Where an archive's labels come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Computed from the image's own policy; none if the image has no policy.
    Auto,
    /// The labels that the files of the tree carry.
    FromTree,
    /// No labels.
    None,
    /// Computed from a `file_contexts` of the host and the siblings beside it.
    Policy(PathBuf),
}

impl FromStr for Mode {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        match text {
            "auto" => Ok(Self::Auto),
            "from-tree" => Ok(Self::FromTree),
            "none" => Ok(Self::None),
            _ => match text.strip_prefix("policy=") {
                Some(file) if !file.is_empty() => Ok(Self::Policy(file.into())),
                _ => Err(Failure::new(ExitCode::Usage, format!("reading the SELinux mode {text:?}"))
                    .hint("one of: auto, from-tree, none, policy=FILE_CONTEXTS")),
            },
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::FromTree => f.write_str("from-tree"),
            Self::None => f.write_str("none"),
            Self::Policy(file) => write!(f, "policy={}", file.display()),
        }
    }
}

/// What a policy says of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// The label, without a NUL at its end.
    Context(&'a [u8]),
    /// `<<none>>`: the path is to have no label.
    Excluded,
    /// No spec speaks of the path.
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
    /// Reads the policy of the image whose root is `tree`; `None` if the image has no SELinux policy.
    ///
    /// # Errors
    /// Fails if the image's configuration asks for a policy that cannot be read, and as [`FileContexts::parse`] does.
    pub fn load_from_tree(tree: &Path) -> Result<Option<Self>> {
        policy::sources_of_tree(tree)?.map(|sources| Self::parse(&sources)).transpose()
    }

    /// Reads the policy of an image whose files `read` reads by their paths inside it; `None` if the image has no SELinux policy.
    ///
    /// # Errors
    /// As [`FileContexts::load_from_tree`].
    pub fn load_from(read: &dyn Fn(&str) -> Result<Option<Source>>) -> Result<Option<Self>> {
        let read = |path: &Path| path.to_str().map_or(Ok(None), read);
        policy::sources_of(read, "the image")?.map(|sources| Self::parse(&sources)).transpose()
    }

    /// Reads a `file_contexts` of the host and the siblings beside it.
    ///
    /// # Errors
    /// Fails if the file cannot be read or has only its compiled form, and as [`FileContexts::parse`] does.
    pub fn load(file: &Path) -> Result<Self> {
        Self::parse(&policy::sources_beside(file)?)
    }

    /// Prepares the texts of a policy.
    ///
    /// # Errors
    /// Names file, line and fault of a spec that is wrong, or whose regex has no equal in Rust's `regex`.
    pub fn parse(sources: &Sources) -> Result<Self> {
        let mut builder = Builder::default();
        let mut contexts: Vec<Box<[u8]>> = Vec::new();
        let mut numbers: HashMap<&[u8], u32> = HashMap::new();
        let mut specs = 0;
        for source in [Some(&sources.base), sources.homedirs.as_ref(), sources.local.as_ref()].into_iter().flatten() {
            for entry in parse_entries(source)? {
                let verdict = entry.context.map(|context| {
                    *numbers.entry(context).or_insert_with(|| {
                        contexts.push(context.into());
                        u32::try_from(contexts.len() - 1).unwrap_or(u32::MAX)
                    })
                });
                builder
                    .add(entry.regex, entry.kind, verdict)
                    .map_err(|construct| wrong(&source.name, entry.line, &format!("{construct} in {:?}", entry.regex)))?;
                specs += 1;
            }
        }
        let substitutions = |source: &Option<Source>| source.as_ref().map(parse_substitutions).unwrap_or_default();
        Ok(Self {
            index: builder.finish(),
            contexts,
            subs: substitutions(&sources.subs),
            subs_dist: substitutions(&sources.subs_dist),
            specs,
        })
    }

    /// What the policy says of `path`, absolute inside the image, for a file of `st_mode` `mode`.
    #[must_use]
    pub fn lookup(&self, path: &[u8], mode: u32) -> Lookup<'_> {
        let path = tidy(path);
        let renamed = substitute(&self.subs, &path);
        let renamed = substitute(&self.subs_dist, renamed.as_deref().unwrap_or(&path)).or(renamed);
        match self.index.lookup(renamed.as_deref().unwrap_or(&path), FileKind::of_mode(mode)) {
            None => Lookup::NoMatch,
            Some(None) => Lookup::Excluded,
            Some(Some(number)) => {
                usize::try_from(number).ok().and_then(|number| self.contexts.get(number)).map_or(Lookup::NoMatch, |c| Lookup::Context(c))
            }
        }
    }

    /// How many specs the policy has.
    #[must_use]
    pub fn specs(&self) -> usize {
        self.specs
    }
}

/// The path with single slashes and none at the end, but for the root's.
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
    fn modes_are_read_as_they_are_written() {
        for text in ["auto", "from-tree", "none", "policy=/a b/file_contexts"] {
            assert_eq!(text.parse::<Mode>().unwrap().to_string(), text);
        }
        assert!("policy=".parse::<Mode>().is_err());
        assert!("Auto".parse::<Mode>().is_err());
    }

    #[test]
    fn doubled_and_last_slashes_do_not_count() {
        for (path, tidied) in [("/", "/"), ("//", "/"), ("///", "/"), ("/a//b///", "/a/b"), ("/a/", "/a"), ("/a", "/a"), ("", "")] {
            assert_eq!(tidy(path.as_bytes()), tidied.as_bytes(), "{path}");
        }
    }
}
