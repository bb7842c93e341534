//! Detects metadata that are older than before: a replay attack, or a mirror that lags behind.
//! Signatures cannot show this, but times can.

use anyhow::Context;
use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::events::RepositoryState;
use crate::error::Result;
use crate::private::display_path;
use crate::recipe::PackageSettings;
use crate::report::Report;

/// The prefix of the files with the newest revisions, next to a cache's views.
const PREFIX: &str = ".revision-";

/// Warns of repositories with metadata older than those that earlier builds with this cache have
/// seen, and records newer ones.
///
/// # Errors
/// If the cache cannot be written.
pub(super) fn watch(
    views: &Path,
    settings: &PackageSettings,
    found: &[RepositoryState],
    report: &Report,
) -> Result<()> {
    for state in found {
        // createrepo_c's revisions are seconds since 1970. Revisions that are not numbers cannot be
        // compared.
        let (Some(file), Ok(revision)) =
            (file(views, settings, state), state.revision.parse::<u64>())
        else {
            continue;
        };
        let newest = crate::files::read_text(&file, crate::files::TEXT)
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok());
        match newest {
            Some(newest) if newest > revision => report.warn(&format!(
                "the metadata of repository '{}' are older than before: revision {revision}, but \
                 {newest} was seen earlier; the mirror lags behind, or it is a replay attack; \
                 only a lock fixes the packages",
                state.id
            )),
            Some(newest) if newest == revision => {}
            _ => keep(views, &file, revision)
                .with_context(|| format!("writing {}", display_path(&file)))?,
        }
    }
    Ok(())
}

/// The file for a repository, as the settings describe it. A different release or address means a
/// different repository.
fn file(views: &Path, settings: &PackageSettings, state: &RepositoryState) -> Option<PathBuf> {
    let repository = settings.repositories.iter().find(|repository| repository.id == state.id)?;
    let known = format!(
        "{}\n{:?}\n{:?}\n{:?}",
        repository.id, repository.source, settings.releasever, settings.arch
    );
    Some(views.join(format!("{PREFIX}{}", hex::encode(Sha256::digest(known)))))
}

fn keep(views: &Path, file: &Path, revision: u64) -> Result<()> {
    let mut new = tempfile::NamedTempFile::new_in(views)?;
    writeln!(new, "{revision}")?;
    new.persist(file)?;
    Ok(())
}
