//! The checks before a build: everything that needs neither a network nor programs of the host.
//! `osimg plan` makes the same.

use std::path::Path;

use super::labels;
use crate::archive::{ImageFormat, Level};
use crate::customise;
use crate::error::{ExitCode, Result, ResultExt};
use crate::installer::kickstart;
use crate::installer::pieces::Source;
use crate::packages;
use crate::recipe::{DeploySettings, Recipe, SelinuxChoice, Transaction};
use crate::registry::Address;

/// What is built, and where to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    /// The recipe with its settings.
    pub recipe: &'a Recipe,
    /// Its transactions.
    pub transactions: &'a [Transaction],
    /// One file instead of the registry's own names.
    pub output: Option<&'a Path>,
    /// The formats, unless the output's name decides.
    pub formats: &'a [ImageFormat],
    /// The compression level.
    pub level: Level,
    /// Where labels come from.
    pub selinux: &'a SelinuxChoice,
    /// The registry for the artifact.
    pub registry: &'a Address,
}

impl Request<'_> {
    /// Checks every file that the settings name, and the values that belong together.
    ///
    /// # Errors
    /// As the build would fail before its first download.
    pub(crate) fn check(&self) -> Result<()> {
        let settings = &self.recipe.settings;
        customise::check(settings)?;
        packages::check_inputs(self.recipe, self.transactions)?;
        labels::check(self.selinux)?;
        check_deploy(&settings.deploy)?;
        self.check_formats()
    }

    /// Checks that each format has the compression level, and that the registry takes it.
    fn check_formats(&self) -> Result<()> {
        for format in written_formats(self.output, self.formats)? {
            format.level(self.level).or_fail(
                ExitCode::Usage,
                format!("choosing the compression level {}", self.level),
            )?;
            if self.output.is_none() {
                self.registry.check_format(format)?;
            }
        }
        Ok(())
    }
}

/// The formats that are written: that of the output, if it is named.
///
/// # Errors
/// When the output's name is that of no format.
pub(super) fn written_formats(
    output: Option<&Path>,
    formats: &[ImageFormat],
) -> Result<Vec<ImageFormat>> {
    match output {
        Some(file) => Ok(vec![ImageFormat::from_name(file)?]),
        None => Ok(formats.to_vec()),
    }
}

/// Checks the files that a deployment needs besides the tarball.
fn check_deploy(settings: &DeploySettings) -> Result<()> {
    if let Some(source) = Source::from_settings(settings)? {
        source.check_files()?;
    }
    match &settings.kickstart {
        Some(path) => kickstart::load(Path::new(path), None, None).map(drop),
        None => {
            let options = kickstart::Options::from_settings(&settings.install, None)?;
            kickstart::Template::ours(&options).map(drop)
        }
    }
}
