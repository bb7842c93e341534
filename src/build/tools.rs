//! The package manager of a build: the host's, that of a directory, or that of a root which is made
//! for the build.

use anyhow::Context;
use std::path::Path;

use super::context::Build;
use super::job::{DEFAULT_TIMEOUT, Directories, job};
use super::space::room;
use crate::error::Result;
use crate::packages::{self, Cache, Job, PinnedKey, Programs, Purpose};
use crate::recipe::{Bootstrap, ManagerChoice, Origins, PackageSettings, Spec, Transaction};
use crate::sandbox::ToolRoot;
use crate::workdir::Workdir;

/// The tree and the package manager that a build begins with.
pub(super) fn tools(settings: &PackageSettings) -> Result<Tools> {
    let (root, manager) = match &settings.bootstrap {
        Bootstrap::Host => (ToolRoot::host(), settings.manager),
        Bootstrap::Root(directory) => (ToolRoot::at(directory)?, settings.manager),
        // The image's own comes later; this one makes the root that has it.
        Bootstrap::Made => (ToolRoot::host(), ManagerChoice::Auto),
    };
    let manager = packages::open(manager, &root)?;
    Ok(Tools { root, manager })
}

/// The tree and the package manager in it.
pub(super) struct Tools {
    pub root: ToolRoot,
    pub manager: packages::Driver,
}

impl Build<'_> {
    /// A root of the image's own package manager, made by the host's.
    pub(super) fn make_tools(
        &self,
        host: &Tools,
        workdir: &Workdir,
        keys: &[PinnedKey],
    ) -> Result<Tools> {
        let directories = Directories::for_tools(workdir);
        let cache = Cache::open(&self.options.cache, Programs::Trusted)?;
        let settings = &self.recipe.settings.packages;
        let names = packages::bootstrap_packages(settings);
        self.report.note(&format!("making a root for the package manager: {}", names.join(", ")));
        let place = |(index, text): (usize, &String)| Spec {
            text: text.clone(),
            line: 1,
            column: index + 1,
        };
        let transaction = Transaction {
            line: 1,
            install: names.iter().enumerate().map(place).collect(),
            ..Transaction::default()
        };
        let settings = PackageSettings {
            docs: Some(false),
            install_weak_deps: Some(false),
            languages: None,
            exclude: Vec::new(),
            ..settings.clone()
        };
        let dbpath = packages::default_dbpath(settings.releasever.as_deref());
        let origins = Origins::from_file("bootstrap_packages");
        let mut job = Job {
            recipe: Path::new("bootstrap_packages"),
            places: &origins,
            purpose: Purpose::Tools,
            settings: &settings,
            timeout: Some(settings.timeout.unwrap_or(DEFAULT_TIMEOUT)),
            keys: keys.to_vec(),
            devices: self.options.devices,
            idle: self.options.idle,
            ..job(self.recipe, &host.root, &directories, &cache, dbpath, self.report)
        };
        packages::fill(&host.manager, &mut job, &[transaction], &mut |plan| {
            room(&directories.root, plan.installed_size())
        })
        .context("making the bootstrap root")?;
        let root = ToolRoot::at(&directories.root)?;
        let manager = packages::open(self.recipe.settings.packages.manager, &root)?;
        Ok(Tools { root, manager })
    }

    /// The place of the image's rpmdb: from the settings, or from the image's own rpm, or the usual
    /// one of its release.
    pub(super) fn dbpath(&self, tools: &Tools, workdir: &Workdir) -> Result<String> {
        let settings = &self.recipe.settings.packages;
        let own = match (&settings.dbpath, tools.root.is_host()) {
            (Some(path), _) => Some(path.clone()),
            (None, true) => None,
            (None, false) => {
                packages::tools_dbpath(&tools.root, &workdir.scratch(), &workdir.root())?
            }
        };
        Ok(own.unwrap_or_else(|| packages::known_dbpath(settings)))
    }
}
