//! The options that name the result of a build. `plan` accepts them too, so that the command line
//! of a build can be copied.

use clap::Args;
use std::path::PathBuf;

use super::shared::default_cache;
use crate::error::{ExitCode, Failure, Result};
use crate::recipe::{Settings, checked_image_word};
use crate::registry::Address;

#[derive(Debug, Args)]
pub(super) struct Target {
    /// Write this file; its suffix chooses the format
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["registry", "formats"])]
    pub output: Option<PathBuf>,
    /// The image's name [default: name under [image], or the recipe's]
    #[arg(long, value_name = "NAME", value_parser = checked_image_word)]
    name: Option<String>,
    /// The image's version [default: version under [image], or the date]
    #[arg(long, value_name = "VERSION", value_parser = checked_image_word)]
    image_version: Option<String>,
    /// Registry to publish to [default: dir:out, or url under [registry] in the settings]
    #[arg(long, value_name = "ADDRESS")]
    registry: Option<Address>,
    /// Directory for downloaded packages and metadata [default: /var/cache/osimg for root,
    /// otherwise $XDG_CACHE_HOME/osimg]
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
}

impl Target {
    /// Applies name and version to the settings.
    pub(super) fn apply(&self, settings: &mut Settings) {
        let image = &mut settings.image;
        image.name = self.name.clone().or(image.name.take());
        image.version = self.image_version.clone().or(image.version.take());
    }

    /// The package cache.
    pub(super) fn cache(&self) -> Result<PathBuf> {
        self.cache.clone().map_or_else(default_cache, Ok)
    }

    /// The registry.
    pub(super) fn registry(&self, settings: &Settings) -> Result<Address> {
        match (&self.registry, &settings.registry.url) {
            (Some(address), _) => Ok(address.clone()),
            (None, Some(url)) => url.parse().map_err(|why: String| {
                Failure::new(ExitCode::Recipe, format!("reading url under [registry]: {why}"))
                    .into()
            }),
            (None, None) => Ok(Address::Directory("out".into())),
        }
    }
}
