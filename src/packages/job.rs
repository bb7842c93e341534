//! A build as its package manager knows it.

use serde::Serialize;
use std::path::Path;
use std::time::Duration;

use super::scriptlet::FailedScriptlet;
use super::{Cache, GivenAway, PinnedKey};
use crate::recipe::{Lock, PackageSettings};
use crate::report::Report;
use crate::sandbox::{Clock, Devices, Limits, ToolRoot};

/// Everything that a package manager needs to know of a build.
#[derive(Debug)]
pub struct Job<'a> {
    /// The recipe's file, for messages.
    pub recipe: &'a Path,
    /// The tree whose package manager does it.
    pub tools: &'a ToolRoot,
    /// What the root becomes.
    pub purpose: Purpose,
    /// The install root's directory.
    pub root: &'a Path,
    /// An empty directory for the sandbox to mount over.
    pub scratch: &'a Path,
    /// A directory of this build, where a package manager keeps what its next transaction must
    /// know.
    pub state: &'a Path,
    /// The package cache.
    pub cache: &'a Cache,
    /// The lock to go by, instead of what the repositories offer.
    pub lock: Option<&'a Lock>,
    /// The only packages that may come in, as `name-version-release.arch`; anything when there is
    /// no list.
    pub only: Option<&'a [String]>,
    /// How much of a package is installed.
    pub extent: Extent,
    /// The settings of `[packages]`.
    pub settings: &'a PackageSettings,
    /// The pinned keys.
    pub keys: Vec<PinnedKey>,
    /// Which /dev scriptlets see.
    pub devices: Devices,
    /// The limit on one phase of one transaction.
    pub timeout: Option<Duration>,
    /// The limit on silence in it.
    pub idle: Option<Duration>,
    /// Seconds since 1970 that everything is dated by; `None` until the packages are known.
    pub source_date_epoch: Option<i64>,
    /// Another time of day for what the packages run.
    pub clock: Option<&'a Clock>,
    /// Where the image's rpmdb goes.
    pub dbpath: &'a str,
    /// What was given away, where a build has a single id.
    pub given: GivenAway,
    /// Where talk goes.
    pub report: &'a Report,
}

/// What an install root becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// An image.
    Image,
    /// The tools that fill one.
    Tools,
}

/// How much of a package is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// Its entry in the rpmdb alone, for a next transaction to build upon; no scriptlet runs.
    DatabaseOnly,
}

/// A file that is fetched by its place in a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wanted<'a> {
    /// The repository's id.
    pub repository: &'a str,
    /// Its place below the repository's base, or its whole address.
    pub location: &'a str,
    /// `algorithm:hex`.
    pub checksum: &'a str,
    /// Bytes.
    pub size: u64,
    /// Where it goes, as the sandbox sees it.
    pub path: String,
}

impl Job<'_> {
    /// The time limits of a phase; without a limit of its own silence may last as long as the
    /// whole: scriptlets say nothing for minutes.
    pub(super) fn limits(&self) -> Limits {
        Limits { total: self.timeout, idle: self.idle }
    }
}

/// A scriptlet that failed, as [`Driver::install`](super::Driver) returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed(pub(super) FailedScriptlet);
