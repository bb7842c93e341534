//! The packages of a lock. They come from the cache, or are fetched by their path. They are
//! accepted only if size, checksum, name and signer match the lock.

use anyhow::Context;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use super::cache::{CACHE, FillLock, LOCKED, PACKAGES, entries};
use super::digest;
use super::events::{ErrorKind, GroupMatch, PlannedPackage, SpecMatch, TransactionPlan};
use super::package_files::{self, FileSource};
use super::retry::PhaseError;
use super::signatures::Signer;
use super::{Driver, Job, Wanted};
use crate::error::{ExitCode, Failure, Result};
use crate::nevra::Nevra;
use crate::private::VIEWS;
use crate::private::display_path;
use crate::recipe::lock::GIVEN;
use crate::recipe::{Lock, LockedPackage, LockedTransaction, Transaction};
use crate::report::Step;

/// The fix for a lock that is out of date.
const AGAIN: &str = "create the lock again and check the difference: osimg lock RECIPE";

/// Links the packages of the lock's transaction into the view, and returns them as a plan.
///
/// # Errors
/// [`ExitCode::Repository`] if packages no longer exist, [`ExitCode::Trust`] if they do not match
/// the lock.
pub(super) fn obtain(
    manager: &Driver,
    job: &Job<'_>,
    filling: &FillLock<'_>,
    (lock, number): (&Lock, usize),
    transaction: &Transaction,
    step: &Step<'_>,
) -> Result<TransactionPlan> {
    let locked = lock.transactions.get(number).ok_or_else(|| {
        let message = format!(
            "the recipe has more transactions than the lock, which has {}",
            lock.transactions.len()
        );
        Failure::new(ExitCode::Recipe, message).hint(AGAIN)
    })?;
    filling.clear()?;
    let mut found = cached(job.cache.directory(), locked)?;
    let missing: Vec<&LockedPackage> = locked
        .packages
        .iter()
        .filter(|package| !found.contains_key(package.nevra.as_str()))
        .collect();
    if !missing.is_empty() {
        step.item(&format!("{} packages that are not in the cache", missing.len()));
        for (package, file) in
            missing.iter().zip(fetch(manager, job, filling, transaction, &missing, step)?)
        {
            found.insert(&package.nevra, file);
        }
    }
    let mut install = Vec::new();
    for package in &locked.packages {
        let file = found
            .get(package.nevra.as_str())
            .with_context(|| format!("looking for {}", package.nevra))?;
        let below = Path::new("locked").join(&package.repository).join(package.file_name());
        filling.link(file, &below)?;
        install.push(planned(package, file, &below)?);
    }
    install.sort_by(|a, b| a.nevra.cmp(&b.nevra));
    let mut remove = locked.remove.clone();
    remove.sort();
    Ok(TransactionPlan { install, remove, ..asked(lock, locked, transaction) })
}

/// The cached files that match the lock, whichever build downloaded them.
fn cached<'a>(cache: &Path, locked: &'a LockedTransaction) -> Result<HashMap<&'a str, PathBuf>> {
    let mut known: HashMap<std::ffi::OsString, Vec<PathBuf>> = HashMap::new();
    for repository in entries(cache)? {
        let directory = repository.path().join(PACKAGES);
        if repository.file_name() != VIEWS && directory.is_dir() {
            for file in entries(&directory)? {
                known.entry(file.file_name()).or_default().push(file.path());
            }
        }
    }
    let mut found = HashMap::new();
    for package in &locked.packages {
        for file in known.get(std::ffi::OsStr::new(package.file_name())).into_iter().flatten() {
            if file.is_file() && digest::matches(file, &package.checksum, package.size)? {
                found.insert(package.nevra.as_str(), file.clone());
                break;
            }
        }
    }
    Ok(found)
}

/// Fetches packages by their paths; returns their files in the same order.
fn fetch(
    manager: &Driver,
    job: &Job<'_>,
    filling: &FillLock<'_>,
    transaction: &Transaction,
    missing: &[&LockedPackage],
    step: &Step<'_>,
) -> Result<Vec<PathBuf>> {
    let below = |package: &LockedPackage| {
        Path::new(&format!("{}{LOCKED}", package.repository))
            .join(PACKAGES)
            .join(package.file_name())
    };
    let files: Vec<PathBuf> =
        missing.iter().map(|package| job.cache.directory().join(below(package))).collect();
    let mut wanted = Vec::new();
    for (package, file) in missing.iter().zip(&files) {
        for place in [file, &job.cache.downloads().join(below(package))] {
            if let Some(directory) = place.parent() {
                fs::create_dir_all(directory)
                    .with_context(|| format!("creating {}", display_path(directory)))?;
            }
        }
        // An existing file does not match the lock, or it would have been found.
        remove(file)?;
        // The location of a file or address outside of all repositories comes from the recipe, not
        // from the lock.
        if package.repository == GIVEN
            && let FileSource::Local(path) =
                package_files::by_location(job, transaction, &package.location)?
        {
            let copying = || format!("copying {} to {}", path.display(), display_path(file));
            let mut from = crate::files::open(&path).with_context(copying)?;
            let mut to = fs::File::create(file).with_context(copying)?;
            crate::files::copy(&mut from, &mut to).with_context(copying)?;
            continue;
        }
        wanted.push(Wanted {
            repository: &package.repository,
            location: &package.location,
            checksum: &package.checksum,
            size: package.size,
            path: Path::new(CACHE).join(below(package)).display().to_string(),
        });
    }
    if !wanted.is_empty() {
        manager.fetch(job, &wanted, step).map_err(explain)?;
        missing.iter().try_for_each(|package| filling.take_over(&below(package)).map(|_| ()))?;
    }
    let mut wrong = Vec::new();
    for (package, file) in missing.iter().zip(&files) {
        if !file.is_file() {
            return Err(Failure::new(
                ExitCode::Repository,
                format!("{} could not be fetched from '{}'", package.nevra, package.repository),
            )
            .into());
        }
        if !digest::matches(file, &package.checksum, package.size)? {
            remove(file)?;
            wrong.push(package.nevra.as_str());
        }
    }
    if wrong.is_empty() {
        return Ok(files);
    }
    Err(differ(&wrong.join(", ")).into())
}

fn differ(what: &str) -> Failure {
    let message = format!("packages do not match the lock, their checksums differ: {what}");
    Failure::new(ExitCode::Trust, message)
        .hint(format!("find out who changed them; if the repository did, {AGAIN}"))
}

fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", display_path(file)))
        }
        _ => Ok(()),
    }
}

/// A failed fetch, in terms of the lock.
fn explain(error: PhaseError) -> anyhow::Error {
    match error.kind {
        Some(ErrorKind::Gone | ErrorKind::Outside) => {
            let message = "packages of the lock are no longer in their repositories";
            Failure::new(ExitCode::Repository, message).because(error.error).hint(AGAIN).into()
        }
        Some(ErrorKind::Checksum) => differ(&format!("{:#}", error.error)).into(),
        _ => error.error,
    }
}

/// A package for a plan, if its file matches the lock.
fn planned(package: &LockedPackage, file: &Path, below: &Path) -> Result<PlannedPackage> {
    let trust = |why: String| {
        Failure::new(ExitCode::Trust, format!("checking {} against the lock: {why}", package.nevra))
            .hint(AGAIN)
    };
    let header = digest::header(file)?;
    if header.nevra != package.nevra {
        return Err(trust(format!("the file is {}", header.nevra)).into());
    }
    let nevra = Nevra::parse(&package.nevra)
        .ok_or_else(|| trust("its name is not name-epoch:version-release.arch".into()))?;
    Ok(PlannedPackage {
        nevra: package.nevra.clone(),
        name: nevra.name.to_owned(),
        arch: nevra.arch.to_owned(),
        version: nevra.version.to_owned(),
        release: nevra.release.to_owned(),
        repo: package.repository.clone(),
        location: package.location.clone(),
        size: package.size,
        installed: header.installed,
        built: header.built,
        checksum: Some(package.checksum.clone()),
        reason: package.reason.clone(),
        path: Some(Path::new(CACHE).join(below).display().to_string()),
    })
}

/// Refuses packages with another signer than in the lock.
///
/// # Errors
/// [`ExitCode::Trust`] with the first such package.
pub(super) fn compare_signers(
    locked: &LockedTransaction,
    signers: &BTreeMap<String, Signer>,
) -> Result<()> {
    for package in &locked.packages {
        let found = signers.get(&package.nevra).map(Signer::name);
        if let Some(signer) = &package.signer
            && found != Some(signer)
        {
            let found =
                found.map_or_else(|| "not signed".to_owned(), |name| format!("signed by {name}"));
            let message = format!(
                "checking {} against the lock: it is {found}, but the lock requires {signer}",
                package.nevra
            );
            return Err(Failure::new(ExitCode::Trust, message).hint(AGAIN).into());
        }
    }
    Ok(())
}

/// The specs of the recipe, with their lines, and the packages that the lock has for them.
fn asked(lock: &Lock, locked: &LockedTransaction, transaction: &Transaction) -> TransactionPlan {
    let line_of_spec = |text: &str| {
        transaction
            .install
            .iter()
            .find(|spec| spec.text == text)
            .map_or(transaction.line, |spec| spec.line)
    };
    let line_of_group = |name: &str| {
        transaction
            .groups
            .iter()
            .find(|group| group.name == name)
            .map_or(transaction.line, |group| group.line)
    };
    let specs = locked.specs.iter().map(|spec| SpecMatch {
        text: spec.text.clone(),
        line: line_of_spec(&spec.text),
        packages: spec.packages.clone(),
    });
    let groups = locked.groups.iter().map(|group| GroupMatch {
        name: group.name.clone(),
        id: group.id.clone(),
        kind: group.kind.clone(),
        line: line_of_group(&group.name),
        mandatory: group.mandatory.clone(),
    });
    let repositories = lock.repositories.iter().map(|repository| super::RepositoryState {
        id: repository.id.clone(),
        name: repository.id.clone(),
        revision: repository.revision.clone(),
        repomd: repository.repomd.clone(),
    });
    TransactionPlan {
        specs: specs.collect(),
        groups: groups.collect(),
        repositories: repositories.collect(),
        ..TransactionPlan::default()
    }
}
