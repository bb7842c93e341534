//! The source of the SELinux labels: `selinux` under `[finish]`, and `--selinux`.

use serde::{Serialize, Serializer};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{ExitCode, Failure};

/// The source of SELinux labels.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SelinuxChoice {
    /// The image's own policy. Without a policy there are no labels.
    #[default]
    Auto,
    /// The `security.selinux` attributes of the files in the tree.
    FromTree,
    /// No labels.
    None,
    /// A `file_contexts` of the host and its sibling files.
    Policy(PathBuf),
}

impl FromStr for SelinuxChoice {
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

impl fmt::Display for SelinuxChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::FromTree => f.write_str("from-tree"),
            Self::None => f.write_str("none"),
            Self::Policy(file) => write!(f, "policy={}", file.display()),
        }
    }
}

impl Serialize for SelinuxChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_as_they_are_written() {
        for text in ["auto", "from-tree", "none", "policy=/a b/file_contexts"] {
            assert_eq!(text.parse::<SelinuxChoice>().unwrap().to_string(), text);
        }
        assert!("policy=".parse::<SelinuxChoice>().is_err());
        assert!("Auto".parse::<SelinuxChoice>().is_err());
    }
}
