//! Creates a lock: the package manager resolves the recipe, and the data of every package are
//! recorded, including its signer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::cache::CACHE;
use super::digest;
use super::events::{PlannedPackage, TransactionPlan};
use super::package_files::{self, FileSource};
use super::rpm_sandbox;
use super::signatures::{Keyring, PackageFile, Signer};
use super::{Driver, Extent, Job};
use crate::error::{ExitCode, Failure, Result};
use crate::nevra::Nevra;
use crate::recipe::lock::foreign::ListedPackage;
use crate::recipe::lock::{self, GIVEN, LOCK_VERSION, LockedGroup, LockedRepository, LockedSpec};
use crate::recipe::{Lock, LockedPackage, LockedTransaction, Recipe, Transaction};
use crate::sandbox::InstallRoot;

/// Whether packages are downloaded to find their signers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signers {
    /// They are downloaded; a build finds them in the cache.
    Read,
    /// They are not downloaded, and the lock has no signers.
    Leave,
}

/// The input for a lock.
#[derive(Debug, Clone, Copy)]
pub struct LockRequest<'a> {
    /// The recipe.
    pub recipe: &'a Recipe,
    /// Its transactions.
    pub transactions: &'a [Transaction],
    /// Whether signers are recorded.
    pub signers: Signers,
    /// Another tool's list; only its packages may be installed.
    pub listed: Option<&'a [ListedPackage]>,
}

/// Resolves all transactions and returns the lock.
///
/// A transaction is resolved against the result of the previous ones. All but the last are carried
/// out, but only in the install root's rpmdb.
///
/// # Errors
/// If the recipe has statements that cannot be locked, does not resolve, or a package is not signed
/// as the settings require.
pub fn lock(manager: &Driver, job: &mut Job<'_>, request: &LockRequest<'_>) -> Result<Lock> {
    request.transactions.iter().try_for_each(|transaction| lockable(job.recipe, transaction))?;
    request.transactions.iter().try_for_each(|transaction| manager.check(job, transaction))?;
    let root = InstallRoot::open(job.root)?;
    rpm_sandbox::prepare_root(&root, job.dbpath)?;
    job.extent = Extent::DatabaseOnly;
    let keyring = match request.signers {
        Signers::Read => Some(Keyring::open(job)?),
        Signers::Leave => None,
    };
    let mut repositories = BTreeMap::new();
    let mut transactions = Vec::new();
    for (number, transaction) in request.transactions.iter().enumerate() {
        let last = number + 1 == request.transactions.len();
        let step = job.report.step("resolving packages");
        let filling = job.cache.fill(job.report)?;
        let plan = match request.signers {
            Signers::Leave if last => manager.resolve(job, transaction, &step)?,
            Signers::Leave | Signers::Read => manager.download(job, transaction, &step)?,
        };
        let mut packages = Vec::new();
        let mut files = Vec::new();
        for package in &plan.install {
            let (package, file) = locked(job, transaction, package, request.signers)?;
            files.extend(file.map(|path| PackageFile { nevra: package.nevra.clone(), path }));
            packages.push(package);
        }
        if let Some(keyring) = &keyring {
            let signers = keyring.judge(job, &files)?;
            for package in &mut packages {
                package.signer = signers.get(&package.nevra).map(Signer::name).map(str::to_owned);
            }
        }
        if !last {
            filling.share(&plan)?;
            drop(filling);
            manager.install(job, transaction, &plan, &step)?;
        }
        step.finish(&format!(
            "{} packages, {}",
            plan.install.len(),
            crate::report::bytes(plan.download_size())
        ));
        repositories.extend(
            plan.repositories.iter().map(|repository| (repository.id.clone(), repository.clone())),
        );
        transactions.push(transaction_of(plan, packages));
    }
    let settings = job.settings;
    let made = Lock {
        version: LOCK_VERSION,
        recipe: lock::digest(&request.recipe.script),
        arch: lock::arch(settings),
        releasever: settings.releasever.clone(),
        install_weak_deps: settings.install_weak_deps,
        exclude: {
            let mut exclude = settings.exclude.clone();
            exclude.sort();
            exclude
        },
        keys: job.keys.iter().map(|key| key.fingerprint.clone()).collect(),
        repositories: repositories
            .into_values()
            .map(|r| LockedRepository { id: r.id, revision: r.revision, repomd: r.repomd })
            .collect(),
        transactions,
    };
    if let Some(listed) = request.listed {
        compare(job, &made, listed)?;
    }
    Ok(made)
}

/// Refuses statements that change more than packages: a lock cannot express them.
fn lockable(recipe: &Path, transaction: &Transaction) -> Result<()> {
    let line = |number: usize| format!("{}:{number}: ", recipe.display());
    if let Some(spec) = transaction
        .reinstall
        .iter()
        .chain(&transaction.downgrade)
        .find(|spec| spec.is_package_file())
    {
        return Err(Failure::new(
            ExitCode::Recipe,
            format!(
                "{}a lock cannot record the origin of the file '{}'",
                line(spec.line),
                spec.text
            ),
        )
        .hint(
            "use the file in an `install` line, or put it into a repository: createrepo_c \
             DIRECTORY, and [[packages.repository]]",
        )
        .into());
    }
    if !transaction.modules.is_empty() {
        let number = transaction
            .modules
            .iter()
            .flat_map(|m| &m.specs)
            .map(|s| s.line)
            .next()
            .unwrap_or(transaction.line);
        let message = "a lock records packages only, but a module stream is also written into the \
                       image, where it affects later updates";
        return Err(Failure::new(ExitCode::Recipe, format!("{}{message}", line(number)))
            .hint("build without a lock; the manifest lists the installed packages")
            .into());
    }
    Ok(())
}

/// A package of a plan without its signer, and the file for checking the signature if it is
/// required.
fn locked(
    job: &Job<'_>,
    transaction: &Transaction,
    package: &PlannedPackage,
    signers: Signers,
) -> Result<(LockedPackage, Option<PathBuf>)> {
    let trust =
        |why: &str| Failure::new(ExitCode::Trust, format!("locking {}: {why}", package.nevra));
    let mut file = host_path(job, package);
    let (mut location, mut size) = (package.location.clone(), package.size);
    let checksum = if package.repo == GIVEN {
        let named =
            package.path.as_deref().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
        let given = package_files::by_location(job, transaction, named)?;
        location = given.location();
        if let FileSource::Local(path) = given {
            file = Some(path);
        }
        let (checksum, bytes) =
            digest::sha256(file.as_deref().ok_or_else(|| trust("it was not downloaded"))?)?;
        size = bytes;
        checksum
    } else {
        package.checksum.clone().ok_or_else(|| trust("its repository provides no checksum"))?
    };
    let file = match signers {
        Signers::Leave => None,
        Signers::Read => {
            let file = file.ok_or_else(|| trust("it was not downloaded"))?;
            if !digest::matches(&file, &checksum, size)? {
                return Err(trust("its file does not match the repository's metadata")
                    .hint(
                        "the checksum must be SHA-2: sha256 or longer; empty the cache if it is \
                         damaged: osimg cache --prune --max 0",
                    )
                    .into());
            }
            Some(file)
        }
    };
    let package = LockedPackage {
        nevra: package.nevra.clone(),
        repository: package.repo.clone(),
        location,
        checksum,
        size,
        signer: None,
        reason: package.reason.clone(),
    };
    Ok((package, file))
}

/// The path on this host for a file that the package manager names by its path in the sandbox.
fn host_path(job: &Job<'_>, package: &PlannedPackage) -> Option<PathBuf> {
    let path = Path::new(package.path.as_deref()?);
    Some(
        path.strip_prefix(CACHE)
            .map_or_else(|_| path.to_owned(), |below| job.cache.directory().join(below)),
    )
}

fn transaction_of(plan: TransactionPlan, packages: Vec<LockedPackage>) -> LockedTransaction {
    let groups = plan.groups.into_iter().map(|g| LockedGroup {
        name: g.name,
        id: g.id,
        kind: g.kind,
        mandatory: g.mandatory,
    });
    let specs = plan.specs.into_iter().map(|s| LockedSpec { text: s.text, packages: s.packages });
    LockedTransaction {
        remove: plan.remove,
        groups: groups.collect(),
        specs: specs.collect(),
        packages,
    }
}

/// Checks the packages against another tool's list, and warns of entries that were not needed.
fn compare(job: &Job<'_>, made: &Lock, listed: &[ListedPackage]) -> Result<()> {
    let known: BTreeMap<String, &ListedPackage> =
        listed.iter().map(|entry| (entry.nvra.clone(), entry)).collect();
    let mut used = BTreeSet::new();
    for package in made.packages() {
        let Some(name) = nvra(&package.nevra) else { continue };
        let Some(entry) = known.get(&name) else { continue };
        if entry.checksum.as_ref().is_some_and(|checksum| *checksum != package.checksum)
            || entry.size.is_some_and(|size| size != package.size)
        {
            return Err(Failure::new(
                ExitCode::Trust,
                format!(
                    "{} in the repository does not match the list: its checksum or size differs",
                    package.nevra
                ),
            )
            .hint("create the list again with the same tool")
            .into());
        }
        used.insert(name);
    }
    let unused: Vec<&str> =
        known.keys().filter(|name| !used.contains(*name)).map(String::as_str).collect();
    if !unused.is_empty() {
        let shown = unused.iter().take(10).copied().collect::<Vec<_>>().join(", ");
        job.report.warn(&format!(
            "{} packages of the list are not needed by the recipe and not in the lock: {shown}",
            unused.len()
        ));
    }
    Ok(())
}

fn nvra(nevra: &str) -> Option<String> {
    let parts = Nevra::parse(nevra)?;
    Some(format!("{}-{}-{}.{}", parts.name, parts.version, parts.release, parts.arch))
}
