//! Locks: made by the pipeline's own first steps, and recorded in the manifest of an image that is
//! built from one.

use std::path::PathBuf;

use super::job::{Directories, job};
use super::privileges::require_root;
use super::tools::{Tools, tools};
use crate::error::Result;
use crate::packages::{self, Cache, Job, LockRequest, Programs, Signers};
use crate::recipe::lock::foreign::ListedPackage;
use crate::recipe::{Lock, Recipe, Transaction};
use crate::report::Report;
use crate::workdir::{Keep, Place, Workdir};

/// Where a recipe is resolved.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// The package cache.
    pub cache: PathBuf,
    /// Where the workdir is made.
    pub workdir: Place,
    /// Seconds since 1970 that everything is dated by.
    pub source_date_epoch: Option<i64>,
}

/// Resolves the recipe and returns its lock.
///
/// # Errors
/// The failure of resolving.
pub(crate) fn make(
    recipe: &Recipe,
    transactions: &[Transaction],
    (signers, listed): (Signers, Option<&[ListedPackage]>),
    places: &Places,
    report: &Report,
) -> Result<Lock> {
    require_root()?;
    packages::check_inputs(recipe, transactions)?;
    packages::check_repositories(&recipe.settings.packages, transactions)?;
    let Tools { root: tools, manager } = tools(&recipe.settings.packages)?;
    crate::sandbox::enter_private_mounts()?;
    let workdir = Workdir::create(&places.workdir, Keep::Never)?;
    let settings = &recipe.settings.packages;
    let directories = Directories::for_image(&workdir);
    let dbpath = packages::known_dbpath(settings);
    let cache = Cache::open(&places.cache, Programs::Trusted)?;
    let only: Option<Vec<String>> =
        listed.map(|listed| listed.iter().map(|entry| entry.nvra.clone()).collect());
    let mut job = Job {
        only: only.as_deref(),
        keys: packages::pinned_keys(settings, transactions)?,
        source_date_epoch: places.source_date_epoch,
        ..job(recipe, &tools, &directories, &cache, &dbpath, report)
    };
    let made =
        packages::lock(&manager, &mut job, &LockRequest { recipe, transactions, signers, listed });
    drop(cache);
    let removed = workdir.finish(made.is_err());
    let made = made?;
    removed?;
    Ok(made)
}
