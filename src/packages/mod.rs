//! Package managers fill the install root, and the result is checked.
//!
//! Every transaction runs in two phases. The download has a network and runs no package code. The
//! installation runs package code and has no network. The exit status of a package manager is not
//! trusted: [`FilledRoot`] exists only after the rpmdb, the scriptlets and the groups were checked.
//!
//! dnf 4 and dnf 5 share one driver. For each there is a Python program (`drivers/`) that uses its
//! API.

mod answers;
mod cache;
mod cache_contents;
mod digest;
mod dnf4;
mod dnf5;
mod download_limits;
mod driver;
mod events;
mod hints;
mod host_keys;
mod host_repositories;
mod inputs;
mod job;
pub mod keys;
mod local;
mod locked;
mod locking;
mod owners;
mod package_files;
mod phase;
mod provenance;
mod replay;
mod repositories;
mod request;
mod retry;
mod rpm_accounts;
mod rpm_sandbox;
mod rpmdb;
mod scriptlet;
mod signatures;
mod verdict;

use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use cache::{Cache, Programs};
pub use cache_contents::{CacheContents, Limit, Pruned};
pub use digest::identify;
pub use driver::Driver;
pub use events::{
    AskedSpec, GroupMatch, PlannedPackage, RepositoryState, SpecMatch, TransactionPlan,
};
pub use host_keys::host_keys;
pub use inputs::check_inputs;
pub use job::{Extent, Failed, Job, Purpose, Wanted};
pub use keys::PinnedKey;
pub use locking::{LockRequest, Signers, lock};
pub use owners::{KnownOwners, PackagedFile, RecordedOwners};
pub use provenance::{Provenance, provenance};
pub use repositories::check_repositories;
pub use rpmdb::InstalledPackage;

use crate::error::{ExitCode, Failure, Result};
use crate::recipe::{
    Key, KeySource, ManagerChoice, PackageSettings, Transaction, Verify, checked_dbpath,
};
use crate::report::Step;
use crate::sandbox::{Ids, InstallRoot, ToolRoot};
use signatures::{Keyring, PackageFile, Signer};
use verdict::Evidence;

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
    /// Packaged files and directories in directories for temporary files.
    #[serde(skip)]
    pub packaged_temporary: Vec<String>,
    /// The owners of files, if the tree does not have them because the build has a single id.
    #[serde(skip)]
    pub owners: Option<KnownOwners>,
}

/// Chooses a package manager in the tools' tree.
///
/// # Errors
/// [`ExitCode::Host`] with the command that installs one.
pub fn open(manager: ManagerChoice, tools: &ToolRoot) -> Result<Driver> {
    let (found, missing) = match manager {
        ManagerChoice::Auto => (
            dnf4::find(tools)?.map_or_else(|| dnf5::find(tools), |found| Ok(Some(found)))?,
            dnf4::missing(tools),
        ),
        ManagerChoice::Dnf4 => (dnf4::find(tools)?, dnf4::missing(tools)),
        ManagerChoice::Dnf5 => (dnf5::find(tools)?, dnf5::missing()),
    };
    Ok(found.ok_or(missing)?)
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
    let packaged_temporary = owners::packaged_temporary(job, &root)?;
    step.finish(&format!("{} packages in the rpmdb", installed.len()));
    let rpm = plans.last().map_or("", |plan| plan.rpm.as_str());
    Ok(FilledRoot {
        manager: format!("{} with rpm {rpm}", manager.description()),
        plans,
        installed,
        signers,
        dbpath: job.dbpath.to_owned(),
        source_date_epoch: job.source_date_epoch.unwrap_or(0),
        packaged_temporary,
        owners,
    })
}

/// The packages of a bootstrap root for a release.
#[must_use]
pub fn bootstrap_packages(settings: &PackageSettings) -> Vec<String> {
    if !settings.bootstrap_packages.is_empty() {
        return settings.bootstrap_packages.clone();
    }
    let release = settings
        .releasever
        .as_deref()
        .and_then(|text| text.split(['.', '-']).next())
        .and_then(|text| text.parse::<u32>().ok());
    // Fedora's dnf is dnf 5 since release 41. Enterprise Linux has dnf 4.
    let manager = match release {
        Some(41..) => "python3-libdnf5",
        _ => "python3-dnf",
    };
    // The release package has rpm macros; scriptlets of other packages assume the last three.
    [
        manager,
        "python3-rpm",
        "rpm",
        "system-release",
        "ca-certificates",
        "coreutils",
        "findutils",
        "sed",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// The default database path of the tools' rpm.
///
/// # Errors
/// If it cannot be run.
pub fn tools_dbpath(tools: &ToolRoot, scratch: &Path, root: &Path) -> Result<Option<String>> {
    let Some(database) = rpm_sandbox::tools_database(tools, scratch, root)? else {
        return Ok(None);
    };
    checked_dbpath(&database.path).map_err(|_| {
        let path = database.path.escape_debug();
        Failure::new(
            ExitCode::Transaction,
            format!("the rpm of the bootstrap root uses the database {path}"),
        )
        .hint("set `dbpath` under [packages]")
    })?;
    Ok(Some(database.path))
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

/// Reads and checks the pinned keys of the settings and fetches those with addresses; without
/// them, uses the keys of the host's own repositories.
///
/// # Errors
/// [`ExitCode::Trust`] if a key does not match, [`ExitCode::Repository`] if one cannot be fetched.
pub fn pinned_keys(
    settings: &PackageSettings,
    transactions: &[Transaction],
) -> Result<Vec<PinnedKey>> {
    let pinned = settings.keys.iter().map(pinned).collect::<Result<Vec<_>>>()?;
    Ok(pinned.into_iter().chain(host_keys(settings, transactions)?).collect())
}

/// Reads or fetches a key, and checks it.
fn pinned(key: &Key) -> Result<PinnedKey> {
    let now = u64::try_from(crate::calendar::now()).unwrap_or(0);
    let (origin, armored) = match &key.source {
        KeySource::File(file) => (file.display().to_string(), keys::read_file(file)?),
        KeySource::Url(url) => (crate::http::shown(url), keys::fetch(url)?),
    };
    keys::pin(&origin, &armored, &key.fingerprint, now)
}

/// The path of the image's rpmdb, as far as it is known before any rpm runs.
#[must_use]
pub fn known_dbpath(settings: &PackageSettings) -> String {
    settings
        .dbpath
        .clone()
        .unwrap_or_else(|| default_dbpath(settings.releasever.as_deref()).to_owned())
}

/// The default path of the image's rpmdb: that of the host's rpm, which on EL and Fedora is also
/// the target's.
#[must_use]
pub fn default_dbpath(releasever: Option<&str>) -> &'static str {
    // EL 10 and Fedora moved it below /usr; EL 8, 9 and all others use the old path.
    match releasever
        .and_then(|version| version.split(['.', '-']).next())
        .and_then(|major| major.parse::<u32>().ok())
    {
        Some(major) if major == 10 || major >= 36 => "/usr/lib/sysimage/rpm",
        Some(_) => "/var/lib/rpm",
        None if Path::new("/usr/lib/sysimage/rpm/rpmdb.sqlite").exists() => "/usr/lib/sysimage/rpm",
        None => "/var/lib/rpm",
    }
}

/// A required program of the tools.
fn required_program(
    tools: &ToolRoot,
    name: &str,
    purpose: &str,
    packages: &str,
) -> Result<PathBuf> {
    tools.program(name).ok_or_else(|| {
        if tools.is_host() {
            Failure::new(
                ExitCode::Host,
                format!("{name} is not installed on this host; it is needed to {purpose}"),
            )
            .hint(format!("install it: apt-get install {packages}   (or: dnf install {packages})"))
            .into()
        } else {
            Failure::new(
                ExitCode::Host,
                format!("{} has no {name}, which is needed to {purpose}", tools.path().display()),
            )
            .hint("list the packages of the bootstrap root: bootstrap_packages under [packages]")
            .into()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rpmdb_is_where_the_release_expects_it() {
        assert_eq!(default_dbpath(Some("9")), "/var/lib/rpm");
        assert_eq!(default_dbpath(Some("9-stream")), "/var/lib/rpm");
        assert_eq!(default_dbpath(Some("10")), "/usr/lib/sysimage/rpm");
        assert_eq!(default_dbpath(Some("10.1")), "/usr/lib/sysimage/rpm");
        assert_eq!(default_dbpath(Some("44")), "/usr/lib/sysimage/rpm");
        assert_eq!(default_dbpath(Some("12")), "/var/lib/rpm");
    }

    #[test]
    fn a_system_with_only_microdnf_gets_the_command_that_installs_dnf_4() {
        use std::os::unix::fs::PermissionsExt;
        let tree = tempfile::tempdir().unwrap();
        let program = tree.path().join("usr/bin/microdnf");
        std::fs::create_dir_all(program.parent().unwrap()).unwrap();
        std::fs::write(&program, "").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let tools = ToolRoot::at(tree.path()).unwrap();
        for manager in [ManagerChoice::Auto, ManagerChoice::Dnf4] {
            let error = open(manager, &tools).unwrap_err();
            assert_eq!(crate::error::exit_code(&error), ExitCode::Host);
            assert!(
                crate::error::render(&error).contains("microdnf install python3-dnf"),
                "{error:#}"
            );
        }
    }

    #[test]
    fn the_tools_of_a_release_are_part_of_that_release() {
        let tools = |release: &str| {
            let settings =
                PackageSettings { releasever: Some(release.into()), ..PackageSettings::default() };
            bootstrap_packages(&settings)[..2].join(" ")
        };
        assert_eq!(tools("9-stream"), "python3-dnf python3-rpm");
        assert_eq!(tools("42"), "python3-libdnf5 python3-rpm");
    }
}
