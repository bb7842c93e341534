//! The contract between a build and a package manager: what the one must know, and what the other does.

use serde::Serialize;
use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use super::verdict::FailedScriptlet;
use super::{Cache, GivenAway, PinnedKey, TransactionPlan};
use crate::error::Result;
use crate::recipe::{Lock, PackageSettings, Transaction};
use crate::report::{Report, Step};
use crate::sandbox::{Clock, Devices, Limits, Plan, ToolRoot};

/// Everything that a package manager needs to know of a build.
#[derive(Debug)]
pub struct Job<'a> {
    /// The recipe's file, for messages.
    pub recipe: &'a Path,
    /// The tree whose package manager does it.
    pub tools: &'a ToolRoot,
    /// What the root becomes.
    pub purpose: Purpose,
    /// The install root's folder.
    pub root: &'a Path,
    /// An empty folder for the sandbox to mount over.
    pub scratch: &'a Path,
    /// A folder of this build, where a package manager keeps what its next transaction must know.
    pub state: &'a Path,
    /// The package cache.
    pub cache: &'a Cache,
    /// The lock to go by, instead of what the repositories offer.
    pub lock: Option<&'a Lock>,
    /// The only packages that may come in, as `name-version-release.arch`; anything when there is no list.
    pub only: Option<&'a [String]>,
    /// How much of a package is installed.
    pub extent: Extent,
    /// The settings of `[packages]`.
    pub settings: &'a PackageSettings,
    /// The pinned keys.
    pub keys: &'a [PinnedKey],
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
    /// The time limits of a phase; without a limit of its own silence may last as long as the whole: scriptlets say nothing for minutes.
    pub(super) fn limits(&self) -> Limits {
        Limits { total: self.timeout, idle: self.idle }
    }
}

/// One kind of package manager.
pub trait PackageManager: Debug {
    /// Its name and version, and rpm's.
    fn description(&self) -> &str;

    /// Refuses, by name and line, what of the transaction it cannot do; asked of all before the first is begun.
    ///
    /// # Errors
    /// [`ExitCode::Recipe`](crate::error::ExitCode::Recipe) for the first such thing.
    fn check(&self, _job: &Job<'_>, _transaction: &Transaction) -> Result<()> {
        Ok(())
    }

    /// Resolves the transaction and downloads its packages; no package code runs.
    ///
    /// # Errors
    /// When a repository, a spec or the dependencies fail.
    fn download(&self, job: &Job<'_>, transaction: &Transaction, step: &Step<'_>) -> Result<TransactionPlan>;

    /// Resolves the transaction and downloads nothing but metadata.
    ///
    /// # Errors
    /// As [`PackageManager::download`].
    fn resolve(&self, job: &Job<'_>, transaction: &Transaction, step: &Step<'_>) -> Result<TransactionPlan>;

    /// Fetches files from their repositories, whatever the metadata say of them.
    ///
    /// # Errors
    /// When one of them cannot be had; the others are there.
    fn fetch(&self, job: &Job<'_>, wanted: &[Wanted<'_>], step: &Step<'_>) -> Result<()>;

    /// As [`PackageManager::install`], from the files that the plan names, without any repository.
    ///
    /// # Errors
    /// As [`PackageManager::install`].
    fn install_files(&self, job: &Job<'_>, transaction: &Transaction, plan: &TransactionPlan, step: &Step<'_>) -> Result<Vec<Failed>>;

    /// Imports the pinned keys and runs the transaction, without a network; returns the scriptlets that failed.
    ///
    /// # Errors
    /// When the transaction differs from `plan`, is refused, or fails.
    fn install(&self, job: &Job<'_>, transaction: &Transaction, plan: &TransactionPlan, step: &Step<'_>) -> Result<Vec<Failed>>;

    /// Tries, with an empty `root` and `scratch`, what some releases of it are known to lack or to do wrong.
    ///
    /// # Errors
    /// [`ExitCode::Host`] with what is wrong.
    fn try_out(&self, root: &Path, scratch: &Path) -> Result<()>;

    /// The sandboxes in which it downloads and in which it installs, for `osimg plan`.
    ///
    /// # Errors
    /// As of both phases, before anything is run.
    fn phases(&self, job: &Job<'_>, transaction: &Transaction) -> Result<[Plan; 2]>;
}

/// A scriptlet that failed, as [`PackageManager::install`] returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed(pub(super) FailedScriptlet);
