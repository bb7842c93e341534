//! A build, as its package manager sees it.

use serde::Serialize;
use std::path::Path;
use std::time::Duration;

use super::cache::Cache;
use super::keys::PinnedKey;
use super::recorded_owners::RecordedOwners;
use super::scriptlet::FailedScriptlet;
use crate::recipe::{Lock, Origins, PackageSettings};
use crate::report::Report;
use crate::sandbox::{Clock, Devices, Limits, ToolRoot};

/// Everything that a package manager needs for a build.
#[derive(Debug)]
pub struct Job<'a> {
    /// The recipe's file, for messages.
    pub recipe: &'a Path,
    /// The files of the recipe's lines, for messages.
    pub places: &'a Origins,
    /// The tree with the package manager.
    pub tools: &'a ToolRoot,
    /// The purpose of the root.
    pub purpose: Purpose,
    /// The install root's directory.
    pub root: &'a Path,
    /// An empty directory for the sandbox to mount over.
    pub scratch: &'a Path,
    /// A directory of this build, in which a package manager keeps state for its next transaction.
    pub state: &'a Path,
    /// The package cache.
    pub cache: &'a Cache,
    /// The lock to follow instead of the repositories.
    pub lock: Option<&'a Lock>,
    /// The only packages that may be installed, as `name-version-release.arch`; `None` allows all.
    pub only: Option<&'a [String]>,
    /// How much of a package is installed.
    pub extent: Extent,
    /// The settings of `[packages]`.
    pub settings: &'a PackageSettings,
    /// The pinned keys.
    pub keys: Vec<PinnedKey>,
    /// The /dev that scriptlets see.
    pub devices: Devices,
    /// The time limit of one phase of one transaction.
    pub timeout: Option<Duration>,
    /// The time limit on silence during a phase.
    pub idle: Option<Duration>,
    /// The timestamp of everything, in seconds since 1970; `None` until the packages are known.
    pub source_date_epoch: Option<i64>,
    /// The time of day that package code sees, if it differs from the host's.
    pub clock: Option<&'a Clock>,
    /// The path of the image's rpmdb.
    pub dbpath: &'a str,
    /// Directories that are emptied after the installation. Packaged files in them stay.
    pub emptied: &'a [&'a str],
    /// The recorded owners of files, for a build with a single id.
    pub given: RecordedOwners,
    /// The destination of messages.
    pub report: &'a Report,
}

/// The purpose of an install root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// An image.
    Image,
    /// The tools that fill an image.
    Tools,
}

/// How much of a package is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// Only its entry in the rpmdb, for the next transaction; no scriptlet runs.
    DatabaseOnly,
}

/// A file that is fetched by its path in a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wanted<'a> {
    /// The repository's id.
    pub repository: &'a str,
    /// Its path below the repository's base, or its full address.
    pub location: &'a str,
    /// `algorithm:hex`.
    pub checksum: &'a str,
    /// Bytes.
    pub size: u64,
    /// Its destination in the sandbox.
    pub path: String,
}

impl Job<'_> {
    /// The time limits of a phase. By default silence may last as long as the whole phase, because
    /// scriptlets can be silent for minutes.
    pub(super) fn limits(&self) -> Limits {
        Limits { total: self.timeout, idle: self.idle }
    }
}

/// A scriptlet that failed, as [`Driver::install`](super::Driver) returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed(pub(super) FailedScriptlet);
