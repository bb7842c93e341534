//! Package managers fill the install root, and the result is checked.
//!
//! Every transaction runs in two phases. The download has a network and runs no package code. The
//! installation runs package code and has no network. The exit status of a package manager is not
//! trusted: [`FilledRoot`] exists only after the rpmdb, the scriptlets and the groups were checked.
//!
//! dnf 4 and dnf 5 share one driver. For each there is a Python program (`drivers/`) that uses its
//! API.

mod answers;
mod bootstrap;
mod cache;
mod cache_contents;
mod dbpath;
mod digest;
mod dnf4;
mod dnf5;
mod download_limits;
mod driver;
mod events;
mod fill;
mod hints;
mod host_keys;
mod host_repositories;
mod inputs;
mod job;
pub mod keys;
mod left_behind;
mod local;
mod locked;
mod locking;
mod owners;
mod package_files;
mod phase;
mod provenance;
mod recorded_owners;
mod replay;
mod repositories;
mod request;
mod required;
mod retry;
mod rpm_accounts;
mod rpm_sandbox;
mod rpmdb;
mod scriptlet;
mod signatures;
mod verdict;

pub(crate) use bootstrap::bootstrap_packages;
pub use cache::{Cache, Programs};
pub use cache_contents::{CacheContents, Limit, Pruned};
pub(crate) use dbpath::{default_dbpath, known_dbpath, tools_dbpath};
pub use digest::identify;
pub use driver::Driver;
pub use events::{
    AskedSpec, GroupMatch, PlannedPackage, RepositoryState, SpecMatch, TransactionPlan,
};
pub use fill::{FilledRoot, fill};
pub(crate) use host_keys::host_keys;
pub(crate) use inputs::check_inputs;
pub use job::{Extent, Failed, Job, Purpose, Wanted};
pub use keys::PinnedKey;
pub use locking::{LockRequest, Signers, lock};
pub use owners::{KnownOwners, PackagedFile};
pub use provenance::{Provenance, provenance};
pub use recorded_owners::RecordedOwners;
pub(crate) use repositories::check_repositories;
pub use rpmdb::InstalledPackage;

use crate::error::Result;
use crate::recipe::{Key, KeySource, ManagerChoice, PackageSettings, Transaction};
use crate::sandbox::ToolRoot;

/// Chooses a package manager in the tools' tree.
///
/// # Errors
/// [`Host`](crate::error::ExitCode::Host) with the command that installs one.
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

/// Reads and checks the pinned keys of the settings and fetches those with addresses; without
/// them, uses the keys of the host's own repositories.
///
/// # Errors
/// [`Trust`](crate::error::ExitCode::Trust) if a key does not match,
/// [`Repository`](crate::error::ExitCode::Repository) if one cannot be fetched.
pub(crate) fn pinned_keys(
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

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(crate::error::exit_code(&error), crate::error::ExitCode::Host);
            assert!(
                crate::error::render(&error).contains("microdnf install python3-dnf"),
                "{error:#}"
            );
        }
    }
}
