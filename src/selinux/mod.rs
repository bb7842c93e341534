//! The labels of an image: which policy they come from. The matcher is `osimg-selinux`.

mod policy;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use osimg_selinux::{FileContexts, Lookup, Source, Sources};

use crate::error::{ExitCode, Failure, Result};

/// Where the labels of an archive come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// The image's own policy. Without a policy there are no labels.
    Auto,
    /// The `security.selinux` attributes of the files in the tree.
    FromTree,
    /// No labels.
    None,
    /// A `file_contexts` of the host and its sibling files.
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
                _ => Err(Failure::new(ExitCode::Usage, format!("unknown SELinux mode {text:?}"))
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

/// Reads the policy of the image whose root is `tree`; `None` if the image has no SELinux policy.
///
/// # Errors
/// Fails if the image's configuration names a policy that cannot be read, and as [`parse`] does.
pub fn load_from_tree(tree: &Path) -> Result<Option<FileContexts>> {
    policy::sources_of_tree(tree)?.map(|sources| parse(&sources)).transpose()
}

/// As [`load_from_tree`], with a function that reads the image's files by their paths inside the
/// image.
///
/// # Errors
/// As [`load_from_tree`].
pub fn load_from(read: &dyn Fn(&str) -> Result<Option<Source>>) -> Result<Option<FileContexts>> {
    let read = |path: &Path| path.to_str().map_or(Ok(None), read);
    policy::sources_of(read, "the image")?.map(|sources| parse(&sources)).transpose()
}

/// Reads a `file_contexts` of the host and its sibling files.
///
/// # Errors
/// Fails if the file cannot be read or exists only in its compiled form, and as [`parse`] does.
pub fn load(file: &Path) -> Result<FileContexts> {
    parse(&policy::sources_beside(file)?)
}

/// Parses and compiles the texts of a policy.
///
/// # Errors
/// Names file, line and problem of a spec that cannot be used.
fn parse(sources: &Sources) -> Result<FileContexts> {
    FileContexts::parse(sources).map_err(|error| {
        Failure::new(ExitCode::Unexpected, format!("reading SELinux file contexts {error}"))
            .hint("fix the policy, or name another one: --selinux policy=FILE_CONTEXTS")
            .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_round_trip() {
        for text in ["auto", "from-tree", "none", "policy=/a b/file_contexts"] {
            assert_eq!(text.parse::<Mode>().unwrap().to_string(), text);
        }
        assert!("policy=".parse::<Mode>().is_err());
        assert!("Auto".parse::<Mode>().is_err());
    }
}
