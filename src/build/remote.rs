//! The registry elsewhere that a build ends in, when the settings or the command line name one.

use anyhow::Context;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Options;
use crate::artifact::Artifact;
use crate::deploy::ImageRelease;
use crate::deploy::pieces::{Gathering, Mismatch, Source};
use crate::error::{Failure, Result};
use crate::recipe::Recipe;
use crate::registry::{self, Address, Piece, Registry, Set};
use crate::report::Report;

/// A registry elsewhere, opened before the build, and what goes there with the tarball.
#[derive(Debug)]
pub(super) struct Remote {
    registry: Box<dyn Registry>,
    address: Address,
    properties: BTreeMap<String, String>,
    source: Option<Source>,
    cache: PathBuf,
    kickstart: Option<Piece>,
}

impl Remote {
    pub(super) fn open(recipe: &Recipe, options: &Options, report: &Report) -> Result<Option<Self>> {
        if options.output.is_some() || matches!(options.registry, Address::Directory(_)) {
            return Ok(None);
        }
        let deploy = &recipe.settings.deploy;
        let piece = |path: &Option<String>| path.as_deref().map(|path| Piece::of_file(Path::new(path), |_, _| {})).transpose();
        let registry = registry::open(&options.registry, &options.wishes, report)?;
        report.note(&registry.describe());
        Ok(Some(Self {
            registry,
            address: options.registry.clone(),
            properties: recipe.settings.image.properties.clone(),
            source: Source::of_settings(deploy)?,
            cache: options.cache.clone(),
            kickstart: piece(&deploy.kickstart)?,
        }))
    }

    /// The installer's pieces, of the release that was built.
    fn boot_pieces(&self, set: &mut Set, report: &Report) -> Result<()> {
        if let Some(source) = &self.source {
            let how = Gathering { cache: &self.cache, ca: None, mismatch: Mismatch::Refuse };
            source.gather(&ImageRelease::of_set(set), &how, report)?.join(set);
        }
        Ok(())
    }

    /// Publishes every tarball of the artifact, and writes into its manifest where it is.
    pub(super) fn publish(self, mut artifact: Artifact, report: &Report) -> Result<Artifact> {
        for path in &artifact.tarballs {
            let mut set = Set::of_tarball(path, |_, _| {})?;
            set.properties.clone_from(&self.properties);
            set.kickstart.clone_from(&self.kickstart);
            let published = self.boot_pieces(&mut set, report).and_then(|()| self.registry.publish(&set, report));
            let references = published.map_err(|error| {
                Failure::new(crate::error::exit_code(&error), format!("publishing {}", path.display())).because(error).hint(format!(
                    "the artifact is whole: osimg publish {} --registry {}",
                    path.display(),
                    self.address
                ))
            })?;
            registry::record(&artifact.manifest, &references)?;
            artifact.published.push(serde_json::to_value(&references).context("writing the references")?);
        }
        artifact.steps = report.timings();
        artifact.warnings = report.warnings();
        Ok(artifact)
    }
}
