//! Metadata that are older than what was seen before: replayed by someone, or a mirror that lags.
//! Signatures do not tell, time does.

use anyhow::Context;
use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::events::RepositoryState;
use crate::error::Result;
use crate::private::shown;
use crate::recipe::PackageSettings;
use crate::report::Report;

/// What the names of the files begin with that keep the newest revisions, beside a cache's views.
const PREFIX: &str = ".revision-";

/// Warns of repositories whose metadata are older than those that builds with this cache have seen,
/// and remembers newer ones.
///
/// # Errors
/// When the cache cannot be written.
pub(super) fn watch(views: &Path, settings: &PackageSettings, found: &[RepositoryState], report: &Report) -> Result<()> {
    for state in found {
        // createrepo_c's revisions are seconds since 1970; others' that are no numbers have no
        // order.
        let (Some(file), Ok(revision)) = (file(views, settings, state), state.revision.parse::<u64>()) else { continue };
        let newest = crate::files::read_text(&file, crate::files::TEXT).ok().and_then(|text| text.trim().parse::<u64>().ok());
        match newest {
            Some(newest) if newest > revision => report.warn(&format!(
                "the metadata of repository '{}' are older than they were: revision {revision}, and {newest} was seen before; \
                 its mirror lags, or someone replays old metadata; only a lock says which packages are meant",
                state.id
            )),
            Some(newest) if newest == revision => {}
            _ => keep(views, &file, revision).with_context(|| format!("writing {}", shown(&file)))?,
        }
    }
    Ok(())
}

/// The file of a repository as the settings name it: another release or address is another
/// repository.
fn file(views: &Path, settings: &PackageSettings, state: &RepositoryState) -> Option<PathBuf> {
    let repository = settings.repositories.iter().find(|repository| repository.id == state.id)?;
    let known = format!("{}\n{:?}\n{:?}\n{:?}", repository.id, repository.source, settings.releasever, settings.arch);
    Some(views.join(format!("{PREFIX}{}", hex::encode(Sha256::digest(known)))))
}

fn keep(views: &Path, file: &Path, revision: u64) -> Result<()> {
    let mut new = tempfile::NamedTempFile::new_in(views)?;
    writeln!(new, "{revision}")?;
    new.persist(file)?;
    Ok(())
}
