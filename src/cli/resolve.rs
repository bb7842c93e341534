//! `osimg plan --resolve`: what the package manager makes of a recipe, by the real one.

use serde_json::{Value, json};

use super::overrides::Decided;
use super::shared::count;
use super::target::Target;
use crate::build::lock::{self, Places};
use crate::error::{ExitCode, Result, ResultExt};
use crate::packages::Signers;
use crate::recipe::{Lock, Transaction};
use crate::report::{Report, bytes};
use crate::workdir::Place;

/// Resolves the recipe against its repositories; reads their metadata, and no package.
pub(super) fn resolve(
    decided: &Decided,
    transactions: &[Transaction],
    target: &Target,
    report: &Report,
) -> Result<Lock> {
    // Showing a plan leaves no new cache on the host.
    let cache = target.cache()?;
    let temporary = (target.cache.is_none() && !cache.exists())
        .then(tempfile::tempdir)
        .transpose()
        .or_fail(ExitCode::Space, "creating a temporary package cache")?;
    let places = Places {
        cache: temporary.as_ref().map_or(cache, |directory| directory.path().to_owned()),
        workdir: Place::Auto,
        source_date_epoch: decided.source_date_epoch,
    };
    lock::make(&decided.recipe, transactions, (Signers::Leave, None), &places, report)
}

/// The packages as text, each with its size as a download, repository and reason.
pub(super) fn text(lock: &Lock) -> String {
    let mut text = String::new();
    for (index, transaction) in lock.transactions.iter().enumerate() {
        let size = transaction.packages.iter().map(|package| package.size).sum();
        let packages = count(transaction.packages.len(), "package");
        text.push_str(&format!(
            "\nresolved transaction {}: {packages}, {} to download\n",
            index + 1,
            bytes(size)
        ));
        for group in &transaction.groups {
            text.push_str(&format!("  group {}\n", group.id));
        }
        for nevra in &transaction.remove {
            text.push_str(&format!("  remove {nevra}\n"));
        }
        for package in &transaction.packages {
            let (size, repository, reason) =
                (bytes(package.size), &package.repository, &package.reason);
            text.push_str(&format!("  {} ({size}, {repository}, {reason})\n", package.nevra));
        }
    }
    text
}

/// The same for machines.
pub(super) fn json(lock: &Lock) -> Value {
    json!(lock.transactions)
}
