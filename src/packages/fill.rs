//! Fills the install root: transaction by transaction, and then checks the result.

use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

use super::driver::Driver;
use super::events::{PlannedPackage, TransactionPlan};
use super::job::{Failed, Job, Purpose};
use super::owners::KnownOwners;
use super::rpmdb::InstalledPackage;
use super::signatures::{Keyring, PackageFile, Signer};
use super::verdict::Evidence;
use super::{
    cache, hints, left_behind, locked, owners, package_files, replay, rpm_accounts, rpm_sandbox,
    verdict,
};
use crate::error::{ExitCode, Failure, Result};
use crate::recipe::{Transaction, Verify};
use crate::report::Step;
use crate::sandbox::{Ids, InstallRoot};

/// An install root with the packages of the recipe.
#[derive(Debug, Clone, Serialize)]
pub struct FilledRoot {
    /// The package manager's name and version.
    pub manager: String,
    /// The result of each transaction.
    pub plans: Vec<TransactionPlan>,
    /// The packages in the rpmdb, sorted.
    pub installed: Vec<InstalledPackage>,
    /// The signer of each package, by NEVRA: the fingerprint of a pinned key, or else a key id.
    pub signers: BTreeMap<String, String>,
    /// The path of the rpmdb.
    pub dbpath: String,
    /// The timestamp of everything, in seconds since 1970.
    pub source_date_epoch: i64,
    /// Packaged files and directories in the directories that are emptied.
    #[serde(skip)]
    pub packaged_in_emptied: Vec<String>,
    /// The owners of files, if the tree does not have them because the build has a single id.
    #[serde(skip)]
    pub owners: Option<KnownOwners>,
}

/// Runs all transactions in order and checks the result.
///
/// # Errors
/// If a phase or the check fails. The install root must then be discarded.
pub fn fill(
    manager: &Driver,
    job: &mut Job<'_>,
    transactions: &[Transaction],
    on_planned: &mut dyn FnMut(&TransactionPlan) -> Result<()>,
) -> Result<FilledRoot> {
    transactions.iter().try_for_each(|transaction| manager.check(job, transaction))?;
    // Not kept open: the root may move to another file system if a plan turns out to be large.
    rpm_sandbox::prepare_root(&InstallRoot::open(job.root)?, job.dbpath)?;
    let keyring = Keyring::open(job)?;
    let (mut plans, mut failed, mut signers) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (number, transaction) in transactions.iter().enumerate() {
        if number > 0 {
            left_behind::check(job.root, job.dbpath, job.state)?;
        }
        let step = job.report.step("downloading packages");
        let mut plan = obtain(manager, job, number, transaction, &step)?;
        step.finish(&format!(
            "{} packages, {}",
            plan.install.len(),
            crate::report::bytes(plan.download_size())
        ));
        if job.purpose == Purpose::Image {
            rpm_accounts::check(&plan)?;
        }
        on_planned(&plan)?;
        if job.source_date_epoch.is_none() {
            job.source_date_epoch = plan.newest_build();
        }
        let step = job.report.step("installing packages");
        let mut done = install(manager, job, &keyring, (transaction, number), &plan, &step);
        // rpm checks all packages before it installs the first. Packages that it refuses because
        // the cache was damaged are fetched again.
        if done.as_ref().is_err_and(cache::may_be_damage)
            && job.cache.discard_damaged(&plan, job.report)? > 0
        {
            plan = obtain(manager, job, number, transaction, &step)?;
            done = install(manager, job, &keyring, (transaction, number), &plan, &step);
        }
        let (scriptlets, signed) = done?;
        failed.extend(scriptlets.into_iter().map(|Failed(scriptlet)| scriptlet));
        signers.extend(signed.into_iter().map(|(nevra, signer)| (nevra, signer.name().to_owned())));
        step.finish(&format!(
            "{} packages, {}",
            plan.install.len(),
            crate::report::bytes(plan.installed_size())
        ));
        plans.push(plan);
    }
    let step = job.report.step("checking the transaction");
    let root = InstallRoot::open(job.root)?;
    let (installed, keys_found) = rpm_sandbox::installed(job)?;
    let target_database = match job.purpose {
        Purpose::Image => rpm_sandbox::target_database(job, &root)?,
        // The rpm of a bootstrap root is never used with that root's own rpmdb.
        Purpose::Tools => None,
    };
    let backend = match &target_database {
        _ if job.tools.is_host() => Some("sqlite".to_owned()),
        Some(_) => rpm_sandbox::tools_database(job.tools, job.scratch, job.root)?
            .map(|database| database.backend),
        None => None,
    };
    let evidence = Evidence {
        plans: &plans,
        installed: &installed,
        keys_found: &keys_found,
        keys_pinned: (!job.settings.repositories.is_empty()
            || job.settings.verify == Verify::Strict)
            .then_some(&job.keys),
        failed_scriptlets: &failed,
        allowed_failures: &job.settings.allow_failed_scriptlets,
        dbpath: job.dbpath,
        target_database: target_database.as_ref(),
        backend: backend.as_deref(),
    };
    verdict::judge(&evidence, &root)?;
    let owners = if Ids::current()? == Ids::Single { Some(owners::known(job)?) } else { None };
    let packaged_in_emptied = owners::packaged_in_emptied(job, &root)?;
    step.finish(&format!("{} packages in the rpmdb", installed.len()));
    let rpm = plans.last().map_or("", |plan| plan.rpm.as_str());
    Ok(FilledRoot {
        manager: format!("{} with rpm {rpm}", manager.description()),
        plans,
        installed,
        signers,
        dbpath: job.dbpath.to_owned(),
        source_date_epoch: job.source_date_epoch.unwrap_or(0),
        packaged_in_emptied,
        owners,
    })
}

/// Obtains the packages of one transaction into this build's view of the cache.
fn obtain(
    manager: &Driver,
    job: &Job<'_>,
    number: usize,
    transaction: &Transaction,
    step: &Step<'_>,
) -> Result<TransactionPlan> {
    let filling = job.cache.fill(job.report)?;
    match job.lock {
        Some(lock) => locked::obtain(manager, job, &filling, (lock, number), transaction, step),
        None => {
            let plan = manager.download(job, transaction, step)?;
            replay::watch(
                &job.cache.directory().join(crate::private::VIEWS),
                job.settings,
                &plan.repositories,
                job.report,
            )?;
            filling.share(&plan)?;
            Ok(plan)
        }
    }
}

/// Checks the packages' signatures, and then installs them.
fn install(
    manager: &Driver,
    job: &Job<'_>,
    keyring: &Keyring,
    (transaction, number): (&Transaction, usize),
    plan: &TransactionPlan,
    step: &Step<'_>,
) -> Result<(Vec<Failed>, BTreeMap<String, Signer>)> {
    let signers = keyring.judge(job, &files(job, transaction, plan)?)?;
    if let Some(locked) = job.lock.and_then(|lock| lock.transactions.get(number)) {
        locked::compare_signers(locked, &signers)?;
    }
    let failed = match job.lock {
        // Such a transaction can be empty: it only marked packages, or changed none.
        Some(_) if plan.install.is_empty() && plan.remove.is_empty() => Ok(Vec::new()),
        Some(_) => manager.install_files(job, transaction, plan, step),
        None => manager.install(job, transaction, plan, step),
    };
    Ok((failed?, signers))
}

/// The files of a plan's packages, as the installation uses them.
fn files(
    job: &Job<'_>,
    transaction: &Transaction,
    plan: &TransactionPlan,
) -> Result<Vec<PackageFile>> {
    let file = |package: &PlannedPackage| {
        let path = match package.path.as_deref() {
            Some(path) => match (
                cache::below(Path::new(path)),
                package_files::host_file(job, transaction, path)?,
            ) {
                (Some(below), _) => Some(job.cache.view().join(below)),
                (None, Some(source)) => Some(source),
                // A repository in a directory of this host.
                (None, None) => Some(path.into()),
            },
            None => None,
        };
        let Some(path) = path else {
            let message =
                format!("checking the signature of {}: its file was not downloaded", package.nevra);
            return Err(Failure::new(ExitCode::Transaction, message).hint(hints::BROKE).into());
        };
        Ok(PackageFile { nevra: package.nevra.clone(), path })
    };
    plan.install.iter().map(file).collect()
}
