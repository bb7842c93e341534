//! Step 6: registries keep what builds make.
//!
//! To add a registry: one file with its type, one arm in [`Address`] and in `build.rs`, and the shared contract test.

mod directory;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

pub use directory::{Directory, Names, Staged};

/// Where a registry is, as `--registry` takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `dir:PATH`: a folder, the embedded default.
    Directory(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("dir", path)) if !path.is_empty() => Ok(Self::Directory(path.into())),
            _ => Err(format!("'{text}' is no registry: write dir:PATH")),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "dir:{}", path.display()),
        }
    }
}
