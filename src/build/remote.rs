//! The remote registry of a build, if the settings or the command line name one.

use anyhow::Context;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::Artifact;
use super::{Options, unfit};
use crate::archive::ImageFormat;
use crate::error::{Failure, Result};
use crate::installer::pieces::{Gathering, Mismatch, Source};
use crate::installer::{ImageRelease, kickstart};
use crate::recipe::{InstallSettings, Recipe};
use crate::registry::{self, Address, Registry};
use crate::report::Report;
use crate::set::Set;

/// A remote registry, opened before the build, and the boot files that are published with the
/// tarball.
#[derive(Debug)]
pub(super) struct Remote {
    registry: Box<dyn Registry>,
    address: Address,
    properties: BTreeMap<String, String>,
    source: Option<Source>,
    cache: PathBuf,
    /// The user's own kickstart template.
    kickstart: Option<PathBuf>,
    install: InstallSettings,
    /// Names of findings about boot pieces that do not count.
    allow: BTreeSet<String>,
}

impl Remote {
    pub(super) fn open(
        recipe: &Recipe,
        options: &Options,
        report: &Report,
    ) -> Result<Option<Self>> {
        if options.output.is_some() || matches!(options.registry, Address::Directory(_)) {
            return Ok(None);
        }
        let deploy = &recipe.settings.deploy;
        let kickstart = deploy.kickstart.as_ref().map(PathBuf::from);
        let registry = registry::open(&options.registry, &options.publishing, report)?;
        report.note(&registry.describe());
        Ok(Some(Self {
            registry,
            address: options.registry.clone(),
            properties: recipe.settings.image.properties.clone(),
            source: Source::from_settings(deploy)?,
            cache: options.cache.clone(),
            kickstart,
            install: deploy.install.clone(),
            allow: options.allow_pieces.clone(),
        }))
    }

    pub(super) fn registry(&self) -> &dyn Registry {
        self.registry.as_ref()
    }

    /// The installer's pieces, of the release that was built.
    fn boot_pieces(&self, set: &mut Set, report: &Report) -> Result<()> {
        if let Some(source) = &self.source {
            let how = Gathering {
                cache: &self.cache,
                ca: None,
                mismatch: Mismatch::Refuse,
                allow: &self.allow,
            };
            source.gather(&ImageRelease::from_set(set), &how, report)?.join(set);
        }
        Ok(())
    }

    /// The kickstart template with the tarball's checksum, if there is an installer that follows
    /// it.
    fn kickstart(&self, set: &mut Set, directory: &Path, report: &Report) -> Result<()> {
        if self.kickstart.is_some() || set.kernel.is_some() {
            set.kickstart = Some(kickstart::for_set(
                set,
                self.kickstart.as_deref(),
                &self.install,
                directory,
                report,
            )?);
        }
        Ok(())
    }

    /// Publishes every tarball of the artifact, and records the references in its manifest.
    pub(super) fn publish(self, mut artifact: Artifact, report: &Report) -> Result<Artifact> {
        // Nodes are installed from there.
        if artifact.errors() > 0 {
            let paths: Vec<String> =
                artifact.tarballs.iter().map(|path| path.display().to_string()).collect();
            return Err(unfit(
                &format!("publishing to {}", self.registry.describe()),
                &artifact.findings,
            )
            .hint(format!("nothing was sent; the artifact is whole here: {}", paths.join(", ")))
            .into());
        }
        for path in &artifact.tarballs {
            let mut set = Set::from_tarball(path, |_, _| {})?;
            set.properties.clone_from(&self.properties);
            let directory = tempfile::tempdir().context("making a temporary directory")?;
            let prepared = match set.tarball.format {
                ImageFormat::Tarball(_) => self
                    .boot_pieces(&mut set, report)
                    .and_then(|()| self.kickstart(&mut set, directory.path(), report)),
                // Anaconda is given a tarball.
                ImageFormat::Img | ImageFormat::Oci => Ok(()),
            };
            let published = prepared.and_then(|()| self.registry.publish(&set, report));
            let references = published.map_err(|error| {
                Failure::new(
                    crate::error::exit_code(&error),
                    format!("publishing {}", path.display()),
                )
                .because(error)
                .hint(format!(
                    "the artifact is whole: osimg publish {} --registry {}",
                    path.display(),
                    self.address
                ))
            })?;
            registry::record(&artifact.manifest, &references)?;
            artifact
                .published
                .push(serde_json::to_value(&references).context("writing the references")?);
        }
        artifact.steps = report.timings();
        artifact.warnings = report.warnings();
        Ok(artifact)
    }
}
