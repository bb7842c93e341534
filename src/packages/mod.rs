//! Package managers fill the install root; the verdict says whether they did.
//!
//! Every transaction runs in two phases: download, with a network and no package code, then install, with package code and
//! no network. What a package manager's exit status says is never believed: [`Filled`] exists only after the rpmdb, the
//! scriptlets and the groups were judged.
//!
//! To add a package manager: one file with a type that implements [`PackageManager`], one arm in [`open`].

mod answers;
mod dnf4;
mod dnf5;
mod driver;
mod events;
pub mod keys;
mod request;
mod rpmdb;
mod verdict;
mod workbench;

use serde::Serialize;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use events::{AskedSpec, GroupMatch, PlannedPackage, RepositoryState, SpecMatch, TransactionPlan};
pub use keys::PinnedKey;
pub use rpmdb::InstalledPackage;

use crate::error::{ExitCode, Failure, Result};
use crate::recipe::{KeySource, ManagerChoice, PackageSettings, Transaction, Verify};
use crate::report::{Report, Step};
use crate::sandbox::{Devices, InstallRoot, Limits, Plan, ToolRoot};
use verdict::{Evidence, FailedScriptlet};

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
    /// The package cache's folder.
    pub cache: &'a Path,
    /// The settings of `[packages]`.
    pub settings: &'a PackageSettings,
    /// The pinned keys.
    pub keys: &'a [PinnedKey],
    /// Which /dev scriptlets see.
    pub devices: Devices,
    /// The limit on one phase of one transaction.
    pub timeout: Option<Duration>,
    /// Seconds since 1970 that everything is dated by; `None` until the packages are known.
    pub source_date_epoch: Option<i64>,
    /// Where the image's rpmdb goes.
    pub dbpath: &'a str,
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

impl Job<'_> {
    /// The time limits of a phase; silence is allowed for as long as the whole, scriptlets say nothing for minutes.
    fn limits(&self) -> Limits {
        Limits { total: self.timeout, idle: None }
    }
}

/// One kind of package manager.
pub trait PackageManager: Debug {
    /// Its name and version, and rpm's.
    fn description(&self) -> &str;

    /// Resolves the transaction and downloads its packages; no package code runs.
    ///
    /// # Errors
    /// When a repository, a spec or the dependencies fail.
    fn download(&self, job: &Job<'_>, transaction: &Transaction, step: &Step<'_>) -> Result<TransactionPlan>;

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

    /// The sandbox of the install phase, for `osimg plan`.
    fn install_plan(&self, job: &Job<'_>) -> Result<Plan>;
}

/// A scriptlet that failed, as [`PackageManager::install`] returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed(FailedScriptlet);

/// An install root that holds what the recipe asks for.
#[derive(Debug, Clone, Serialize)]
pub struct Filled {
    /// The package manager's name and version.
    pub manager: String,
    /// What each transaction did.
    pub plans: Vec<TransactionPlan>,
    /// What the rpmdb holds now, sorted.
    pub installed: Vec<InstalledPackage>,
    /// Where the rpmdb is.
    pub dbpath: String,
    /// The time that everything is dated by, in seconds since 1970.
    pub source_date_epoch: i64,
}

/// Chooses a package manager that the tools' tree has.
///
/// # Errors
/// [`ExitCode::Host`] with the command that installs one.
pub fn open(manager: ManagerChoice, tools: &ToolRoot) -> Result<Box<dyn PackageManager>> {
    let dnf4 = || -> Result<Option<Box<dyn PackageManager>>> {
        Ok(dnf4::Dnf4::find(tools)?.map(|found| Box::new(found) as Box<dyn PackageManager>))
    };
    let dnf5 = || -> Result<Option<Box<dyn PackageManager>>> {
        Ok(dnf5::Dnf5::find(tools)?.map(|found| Box::new(found) as Box<dyn PackageManager>))
    };
    let (found, missing) = match manager {
        // The one whose language the recipe is goes first.
        ManagerChoice::Auto => (dnf4()?.map_or_else(dnf5, |found| Ok(Some(found)))?, dnf4::Dnf4::missing()),
        ManagerChoice::Dnf4 => (dnf4()?, dnf4::Dnf4::missing()),
        ManagerChoice::Dnf5 => (dnf5()?, dnf5::Dnf5::missing()),
        ManagerChoice::Yum => (None, not_driven("yum 3")),
        ManagerChoice::Microdnf => (None, not_driven("microdnf")),
    };
    Ok(found.ok_or(missing)?)
}

fn not_driven(name: &str) -> Failure {
    Failure::new(ExitCode::Host, format!("{name} is not driven: it tells neither its errors nor its progress to other programs"))
        .hint("leave manager out under [packages], and install python3-dnf or python3-libdnf5")
}

/// Carries out all transactions in order and judges the result.
///
/// # Errors
/// Whatever a phase or the verdict fails with; the install root is then to be thrown away.
pub fn fill(
    manager: &dyn PackageManager,
    job: &mut Job<'_>,
    transactions: &[Transaction],
    on_planned: &mut dyn FnMut(&TransactionPlan) -> Result<()>,
) -> Result<Filled> {
    let root = InstallRoot::open(job.root)?;
    workbench::prepare(&root, job.dbpath)?;
    let (mut plans, mut failed) = (Vec::new(), Vec::new());
    for transaction in transactions {
        let step = job.report.step("downloading packages");
        let plan = manager.download(job, transaction, &step)?;
        step.finish(&format!("{} packages, {}", plan.install.len(), crate::report::bytes(plan.download_size())));
        on_planned(&plan)?;
        if job.source_date_epoch.is_none() {
            job.source_date_epoch = plan.newest_build();
        }
        let step = job.report.step("installing packages");
        failed.extend(manager.install(job, transaction, &plan, &step)?.into_iter().map(|Failed(scriptlet)| scriptlet));
        step.finish(&format!("{} packages, {}", plan.install.len(), crate::report::bytes(plan.installed_size())));
        plans.push(plan);
    }
    let step = job.report.step("judging the transaction");
    let (installed, keys_found) = workbench::installed(job)?;
    let database_of_target = match job.purpose {
        Purpose::Image => workbench::database_of_target(job, &root)?,
        // Nobody will ask the rpm of a bootstrap root for what is in it.
        Purpose::Tools => None,
    };
    let evidence = Evidence {
        plans: &plans,
        installed: &installed,
        keys_found: &keys_found,
        keys_pinned: (!job.settings.repositories.is_empty()).then_some(job.keys),
        failed_scriptlets: &failed,
        allowed_failures: &job.settings.allow_failed_scriptlets,
        dbpath: job.dbpath,
        database_of_target: database_of_target.as_ref(),
        backend: job.tools.is_host().then_some("sqlite"),
        strict: job.settings.verify == Verify::Strict,
    };
    verdict::judge(&evidence, &root)?;
    step.finish(&format!("{} packages in the rpmdb", installed.len()));
    let rpm = plans.last().map_or("", |plan| plan.rpm.as_str());
    Ok(Filled {
        manager: format!("{} with rpm {rpm}", manager.description()),
        plans,
        installed,
        dbpath: job.dbpath.to_owned(),
        source_date_epoch: job.source_date_epoch.unwrap_or(0),
    })
}

/// What a bootstrap root of a release is made of.
#[must_use]
pub fn bootstrap_packages(settings: &PackageSettings) -> Vec<String> {
    if !settings.bootstrap_packages.is_empty() {
        return settings.bootstrap_packages.clone();
    }
    // Fedora's dnf is dnf 5 since release 41; Enterprise Linux has not come that far.
    let release = settings.releasever.as_deref().and_then(|text| text.split(['.', '-']).next()).and_then(|text| text.parse::<u32>().ok());
    let dnf = if release.is_some_and(|release| release >= 41) { "python3-libdnf5" } else { "python3-dnf" };
    // The release has macros of rpm; the last three are what scriptlets of the others take for granted.
    [dnf, "python3-rpm", "rpm", "system-release", "ca-certificates", "coreutils", "findutils", "sed"].map(str::to_owned).to_vec()
}

/// Where the rpm of the tools puts a database by itself.
///
/// # Errors
/// When it cannot be run.
pub fn dbpath_of_tools(tools: &ToolRoot, scratch: &Path, root: &Path) -> Result<Option<String>> {
    workbench::dbpath_of_tools(tools, scratch, root)
}

/// Reads and checks the keys that the settings pin, fetching those that are addresses.
///
/// # Errors
/// [`ExitCode::Trust`] for a key that is not what was agreed, [`ExitCode::Repository`] for one that cannot be fetched.
pub fn pinned_keys(settings: &PackageSettings, scratch: &Path, root: &Path) -> Result<Vec<PinnedKey>> {
    let now = std::time::SystemTime::now();
    settings
        .keys
        .iter()
        .map(|key| {
            let (origin, armored) = match &key.source {
                KeySource::File(file) => (file.display().to_string(), keys::read_file(file)?),
                KeySource::Url(url) => (url.clone(), workbench::fetch(url, scratch, root)?),
            };
            keys::pin(&origin, &armored, &key.fingerprint, now)
        })
        .collect()
}

/// Where the image's rpmdb goes when the settings do not say: by the host's rpm, which is the target's on EL and Fedora.
#[must_use]
pub fn default_dbpath(releasever: Option<&str>) -> &'static str {
    // EL 10 and Fedora moved it below /usr; EL 8, 9 and everything else keep the old place.
    match releasever.and_then(|version| version.split(['.', '-']).next()).and_then(|major| major.parse::<u32>().ok()) {
        Some(major) if major == 10 || major >= 36 => "/usr/lib/sysimage/rpm",
        Some(_) => "/var/lib/rpm",
        None if Path::new("/usr/lib/sysimage/rpm/rpmdb.sqlite").exists() => "/usr/lib/sysimage/rpm",
        None => "/var/lib/rpm",
    }
}

/// A program of the tools that must be there.
fn need(tools: &ToolRoot, name: &str, purpose: &str, packages: &str) -> Result<PathBuf> {
    tools.program(name).ok_or_else(|| {
        if tools.is_host() {
            Failure::new(ExitCode::Host, format!("this host has no {name}, which is needed to {purpose}"))
                .hint(format!("install it: apt-get install {packages}   (or: dnf install {packages})"))
                .into()
        } else {
            Failure::new(ExitCode::Host, format!("{} has no {name}, which is needed to {purpose}", tools.path().display()))
                .hint("name the packages of the bootstrap root: bootstrap_packages under [packages]")
                .into()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rpmdb_goes_where_the_release_expects_it() {
        assert_eq!(default_dbpath(Some("9")), "/var/lib/rpm");
        assert_eq!(default_dbpath(Some("9-stream")), "/var/lib/rpm");
        assert_eq!(default_dbpath(Some("10")), "/usr/lib/sysimage/rpm");
        assert_eq!(default_dbpath(Some("10.1")), "/usr/lib/sysimage/rpm");
        assert_eq!(default_dbpath(Some("44")), "/usr/lib/sysimage/rpm");
        assert_eq!(default_dbpath(Some("12")), "/var/lib/rpm");
    }
}
