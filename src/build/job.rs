//! The job of a package manager: built here for every verb that needs one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::packages::{Cache, Extent, Job, Purpose, RecordedOwners};
use crate::recipe::Recipe;
use crate::report::Report;
use crate::sandbox::{Devices, ToolRoot};
use crate::workdir::Workdir;

/// The default limit on one phase of a transaction.
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// The directories that a package manager works in.
#[derive(Debug)]
pub(super) struct Directories {
    /// The install root.
    pub root: PathBuf,
    /// An empty directory for the sandbox to mount over.
    pub scratch: PathBuf,
    /// The files that the package manager keeps between transactions.
    pub state: PathBuf,
}

impl Directories {
    /// Those of the image.
    pub(crate) fn for_image(workdir: &Workdir) -> Self {
        Self { root: workdir.root(), scratch: workdir.scratch(), state: workdir.state() }
    }

    /// Those of a root for the package manager.
    pub(crate) fn for_tools(workdir: &Workdir) -> Self {
        let (root, state) = workdir.bootstrap();
        Self { root, scratch: workdir.scratch(), state }
    }

    /// Those below a directory, for showing what a build would do.
    pub(crate) fn below(directory: &Path) -> Self {
        Self {
            root: directory.join("root"),
            scratch: directory.join("scratch"),
            state: directory.join("state"),
        }
    }
}

/// The job of filling an image from a recipe. The caller adds lock, keys and the user's options.
pub(super) fn job<'a>(
    recipe: &'a Recipe,
    tools: &'a ToolRoot,
    directories: &'a Directories,
    cache: &'a Cache,
    dbpath: &'a str,
    report: &'a Report,
) -> Job<'a> {
    let settings = &recipe.settings.packages;
    Job {
        recipe: &recipe.path,
        places: recipe.script.origins(),
        tools,
        purpose: Purpose::Image,
        root: &directories.root,
        scratch: &directories.scratch,
        state: &directories.state,
        cache,
        lock: None,
        only: None,
        extent: Extent::Whole,
        settings,
        keys: Vec::new(),
        devices: Devices::Private,
        timeout: Some(settings.timeout.unwrap_or(DEFAULT_TIMEOUT)),
        idle: None,
        source_date_epoch: None,
        clock: None,
        dbpath,
        emptied: &crate::finish::leftovers::EMPTIED,
        given: RecordedOwners::default(),
        report,
    }
}
