//! Packages as a lock says them: taken from the cache, or fetched by their place, and let in only
//! when size, checksum, name and signer are what it says.

use anyhow::Context;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use super::cache::{CACHE, Filling, PACKAGES, entries};
use super::digest;
use super::events::{ErrorKind, GroupMatch, PlannedPackage, SpecMatch, TransactionPlan};
use super::given::{self, Given};
use super::retry::Setback;
use super::signatures::Signer;
use super::{Driver, Job, Wanted};
use crate::error::{ExitCode, Failure, Result};
use crate::nevra::Nevra;
use crate::private::VIEWS;
use crate::private::shown;
use crate::recipe::lock::GIVEN;
use crate::recipe::{Lock, LockedPackage, LockedTransaction, Transaction};
use crate::report::Step;

/// The end of the name of a directory of the cache that holds what was fetched by its place.
const FETCHED: &str = "-locked";
/// What mends a lock that no longer fits.
const AGAIN: &str = "make the lock again and look at the difference: osimg lock RECIPE";

/// Puts the packages of the lock's transaction into the view, and says them as a plan.
///
/// # Errors
/// [`ExitCode::Repository`] for packages that are gone, [`ExitCode::Trust`] for those that are not
/// what the lock says.
pub(super) fn obtain(
    manager: &Driver,
    job: &Job<'_>,
    filling: &Filling<'_>,
    (lock, number): (&Lock, usize),
    transaction: &Transaction,
    step: &Step<'_>,
) -> Result<TransactionPlan> {
    let locked = lock.transactions.get(number).ok_or_else(|| {
        let message = format!("the recipe has more transactions than the lock, which has {}", lock.transactions.len());
        Failure::new(ExitCode::Recipe, message).hint(AGAIN)
    })?;
    filling.clear()?;
    let mut found = cached(job.cache.directory(), locked)?;
    let missing: Vec<&LockedPackage> = locked.packages.iter().filter(|package| !found.contains_key(package.nevra.as_str())).collect();
    if !missing.is_empty() {
        step.item(&format!("{} packages that are not in the cache", missing.len()));
        for (package, file) in missing.iter().zip(fetch(manager, job, filling, transaction, &missing, step)?) {
            found.insert(&package.nevra, file);
        }
    }
    let mut install = Vec::new();
    for package in &locked.packages {
        let file = found.get(package.nevra.as_str()).with_context(|| format!("looking for {}", package.nevra))?;
        let below = Path::new("locked").join(&package.repository).join(package.file_name());
        filling.link(file, &below)?;
        install.push(planned(package, file, &below)?);
    }
    install.sort_by(|a, b| a.nevra.cmp(&b.nevra));
    let mut remove = locked.remove.clone();
    remove.sort();
    Ok(TransactionPlan { install, remove, ..asked(lock, locked, transaction) })
}

/// The cached files that are what the lock says, whichever build brought them.
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
            if file.is_file() && digest::holds(file, &package.checksum, package.size)? {
                found.insert(package.nevra.as_str(), file.clone());
                break;
            }
        }
    }
    Ok(found)
}

/// Fetches packages by their places; returns their files in the same order.
fn fetch(
    manager: &Driver,
    job: &Job<'_>,
    filling: &Filling<'_>,
    transaction: &Transaction,
    missing: &[&LockedPackage],
    step: &Step<'_>,
) -> Result<Vec<PathBuf>> {
    let below = |package: &LockedPackage| Path::new(&format!("{}{FETCHED}", package.repository)).join(PACKAGES).join(package.file_name());
    let files: Vec<PathBuf> = missing.iter().map(|package| job.cache.directory().join(below(package))).collect();
    let mut wanted = Vec::new();
    for (package, file) in missing.iter().zip(&files) {
        for place in [file, &job.cache.downloads().join(below(package))] {
            if let Some(directory) = place.parent() {
                fs::create_dir_all(directory).with_context(|| format!("making {}", shown(directory)))?;
            }
        }
        // A file of that name is not what the lock says, or it would have been found.
        remove(file)?;
        // A file or an address outside of all repositories is the recipe's to name, and not the
        // lock's.
        if package.repository == GIVEN
            && let Given::Here(path) = given::at(job, transaction, &package.location)?
        {
            let copying = || format!("copying {} to {}", path.display(), shown(file));
            let copied = crate::files::open(&path).and_then(|mut from| std::io::copy(&mut from, &mut fs::File::create(file)?));
            copied.with_context(copying)?;
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
        if !digest::holds(file, &package.checksum, package.size)? {
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
    let message = format!("packages are not the ones that the lock says, their checksums differ: {what}");
    Failure::new(ExitCode::Trust, message).hint(format!("find out who changed them; if the repository did, {AGAIN}"))
}

fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).with_context(|| format!("removing {}", shown(file))),
        _ => Ok(()),
    }
}

/// A failed fetch as it appears to the user of a lock.
fn explain(setback: Setback) -> anyhow::Error {
    match setback.kind {
        Some(ErrorKind::Gone | ErrorKind::Outside) => {
            let message = "packages of the lock are no longer in their repositories";
            Failure::new(ExitCode::Repository, message).because(setback.error).hint(AGAIN).into()
        }
        Some(ErrorKind::Checksum) => differ(&format!("{:#}", setback.error)).into(),
        _ => setback.error,
    }
}

/// A package whose file holds what the lock says of it, as a plan says packages.
fn planned(package: &LockedPackage, file: &Path, below: &Path) -> Result<PlannedPackage> {
    let trust = |why: String| Failure::new(ExitCode::Trust, format!("checking {} against the lock: {why}", package.nevra)).hint(AGAIN);
    let header = digest::header(file)?;
    if header.nevra != package.nevra {
        return Err(trust(format!("the file is {}", header.nevra)).into());
    }
    let nevra = Nevra::parse(&package.nevra).ok_or_else(|| trust("it is no name-epoch:version-release.arch".into()))?;
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

/// Refuses packages that others signed than the lock says.
///
/// # Errors
/// [`ExitCode::Trust`] with the first such package.
pub(super) fn compare_signers(locked: &LockedTransaction, signers: &BTreeMap<String, Signer>) -> Result<()> {
    for package in &locked.packages {
        let found = signers.get(&package.nevra).map(Signer::name);
        if let Some(signer) = &package.signer
            && found != Some(signer)
        {
            let found = found.unwrap_or("nobody");
            let message = format!("checking {} against the lock: it is signed by {found}, and the lock says {signer}", package.nevra);
            return Err(Failure::new(ExitCode::Trust, message).hint(AGAIN).into());
        }
    }
    Ok(())
}

/// What the recipe asked for, with its lines, and what the lock says that it means.
fn asked(lock: &Lock, locked: &LockedTransaction, transaction: &Transaction) -> TransactionPlan {
    let line_of_spec = |text: &str| transaction.install.iter().find(|spec| spec.text == text).map_or(transaction.line, |spec| spec.line);
    let line_of_group =
        |name: &str| transaction.groups.iter().find(|group| group.name == name).map_or(transaction.line, |group| group.line);
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
    TransactionPlan { specs: specs.collect(), groups: groups.collect(), repositories: repositories.collect(), ..TransactionPlan::default() }
}
