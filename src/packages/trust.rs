//! Packages looked at by this program itself, for an rpm that does not insist on signatures: its `%_pkgverify_level` came with 4.14.2.

use std::path::{Path, PathBuf};

use super::Job;
use super::cache::CACHE;
use super::digest::{self, Signer};
use super::events::{PlannedPackage, TransactionPlan};
use super::given::{self, Given};
use super::workbench::insists_on_signatures;
use crate::error::{ExitCode, Failure, Result};
use crate::recipe::Transaction;
use crate::recipe::lock::GIVEN;

/// Refuses a transaction with a package that is not what the metadata say, or that no pinned key signed.
///
/// The signature is over the header, which is all that is read here; of the payload the driver makes sure, by the tools' rpm.
///
/// # Errors
/// [`ExitCode::Trust`] with the package and what is wrong with it.
pub(super) fn check(job: &Job<'_>, transaction: &Transaction, plan: &TransactionPlan) -> Result<()> {
    for package in &plan.install {
        let wrong = |why: &str| Failure::new(ExitCode::Trust, format!("checking {}: {why}", package.nevra));
        let file = file(job, transaction, package)?.ok_or_else(|| wrong("its file is nowhere"))?;
        if let Some(checksum) = package.checksum.as_ref().filter(|checksum| checksum.starts_with("sha2") || checksum.starts_with("sha5"))
            && !digest::holds(&file, checksum, package.size)?
        {
            return Err(wrong("its file is not what the repository's metadata say").into());
        }
        let header = digest::header(&file, job.keys)?;
        if header.nevra != package.nevra {
            return Err(wrong(&format!("its file is {}", header.nevra)).into());
        }
        if insists_on_signatures(job) && !matches!(header.signer, Some(Signer::Pinned(_))) {
            let by = header.signer.as_ref().map_or("nobody", Signer::name);
            return Err(wrong(&format!("it is signed by {by}, and no pinned key signed it"))
                .hint("pin the repository's signing key with [[packages.key]]; a package that nobody signed cannot enter")
                .into());
        }
    }
    Ok(())
}

/// Where this host has a package's file as the installation will see it.
fn file(job: &Job<'_>, transaction: &Transaction, package: &PlannedPackage) -> Result<Option<PathBuf>> {
    let Some(path) = package.path.as_deref().map(Path::new) else { return Ok(None) };
    if let Ok(below) = path.strip_prefix(CACHE) {
        return Ok(Some(job.cache.view().join(below)));
    }
    if package.repo != GIVEN {
        return Ok(Some(path.to_owned()));
    }
    match given::at(job, transaction, &package.location)? {
        Given::Here(path) => Ok(Some(path)),
        Given::Address(_) => Ok(None),
    }
}
