//! The commands and sandboxes of a build, without running them: for `osimg plan`.

use std::path::Path;

use super::job::{Directories, job};
use super::tools::{Tools, tools};
use crate::error::Result;
use crate::packages::{self, Cache, Job, PinnedKey};
use crate::recipe::{Bootstrap, KeySource, PackageSettings, Recipe, Transaction};
use crate::report::Report;
use crate::sandbox::{Devices, Plan};

/// The placeholder for the directory that a build makes.
const WORKDIR: &str = "WORKDIR";

/// One transaction's two runs of the package manager.
#[derive(Debug)]
pub(crate) struct Outline {
    /// Resolves and downloads, with a network.
    pub download: Plan,
    /// Installs, without one.
    pub install: Plan,
}

/// The runs of each transaction. If the package manager is in a root that has yet to be made, the
/// host's is shown instead.
///
/// # Errors
/// When there is no package manager, or it refuses the request.
pub(crate) fn outline(
    recipe: &Recipe,
    transactions: &[Transaction],
    devices: Devices,
    cache: &Path,
    report: &Report,
) -> Result<Vec<Outline>> {
    let settings = &recipe.settings.packages;
    let Tools { root: tools, manager } = tools(settings)?;
    let keys = keys(settings, transactions)?;
    let (directories, cache) = (Directories::below(Path::new(WORKDIR)), Cache::unopened(cache));
    let dbpath = packages::known_dbpath(settings);
    let job = Job { keys, devices, ..job(recipe, &tools, &directories, &cache, &dbpath, report) };
    let of = |transaction| {
        manager.check(&job, transaction)?;
        let [download, install] = manager.phases(&job, transaction)?;
        Ok(Outline { download, install })
    };
    transactions.iter().map(of).collect()
}

/// The package manager that fills the image, or why there is none.
#[must_use]
pub(crate) fn package_manager(settings: &PackageSettings) -> String {
    let found = tools(settings).map_or_else(
        |error| format!("none: {error:#}"),
        |tools| tools.manager.description().to_owned(),
    );
    match &settings.bootstrap {
        Bootstrap::Host => found,
        Bootstrap::Root(directory) => format!("{found} of {}", directory.display()),
        Bootstrap::Made => {
            format!("the release's own, in a root that this host's package manager makes: {found}")
        }
    }
}

/// The keys that packages have to be signed by: of those in the settings nothing is read yet.
///
/// # Errors
/// When the host's own repositories do not name usable ones.
pub(crate) fn keys(
    settings: &PackageSettings,
    transactions: &[Transaction],
) -> Result<Vec<PinnedKey>> {
    let pinned = settings.keys.iter().map(|key| named(&key.source, &key.fingerprint));
    Ok(pinned.chain(packages::host_keys(settings, transactions)?).collect())
}

/// A key of which nothing was read yet.
fn named(source: &KeySource, fingerprint: &str) -> PinnedKey {
    let origin = match source {
        KeySource::File(file) => file.display().to_string(),
        KeySource::Url(url) => crate::secrets::url(url),
    };
    PinnedKey { origin, fingerprint: fingerprint.to_owned(), ..PinnedKey::default() }
}
