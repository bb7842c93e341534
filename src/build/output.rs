//! The output of a build, and its version.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Options;
use crate::calendar;
use crate::error::Result;
use crate::recipe::{Recipe, lock};
use crate::registry::{Address, Directory, Image, Names, Numbering, Staged};
use crate::set::check_names;

/// The directory that a build leaves its artifact in before it goes to a remote registry.
const LOCAL: &str = "out";

/// The output, locked, before any work: a missing directory is found in the first second.
pub(super) fn stage(recipe: &Recipe, options: &Options, started: SystemTime) -> Result<Staged> {
    match &options.output {
        Some(file) => {
            let staged = Directory::holding(file)?.stage(Names::from_output(file)?)?;
            staged.check_neighbours()?;
            Ok(staged)
        }
        None => {
            let directory = match &options.registry {
                Address::Directory(directory) => directory.as_path(),
                // An artifact for a remote registry is kept here first: whole, with its manifest,
                // and again there after a failed upload.
                Address::Glance(_) | Address::Oci(_) | Address::OciImage(_) | Address::Tree(..) => {
                    Path::new(LOCAL)
                }
            };
            let version = version(recipe, options.packing.source_date_epoch, started);
            check_names(&recipe.name(), &version)?;
            let numbering = if recipe.settings.image.version.is_some() {
                Numbering::Fixed
            } else {
                Numbering::Daily
            };
            let image = Image {
                name: recipe.name(),
                version,
                arch: Some(lock::arch(&recipe.settings.packages)),
                numbering,
            };
            Directory::open(directory)?.stage(Names::versioned(image, &options.formats))
        }
    }
}

/// The image's version: the settings', else the day.
pub(super) fn version(recipe: &Recipe, epoch: Option<i64>, now: SystemTime) -> String {
    recipe.settings.image.version.clone().unwrap_or_else(|| date_of(epoch, now))
}

/// `YYYYMMDD` of the given time, else of today, in UTC.
fn date_of(epoch: Option<i64>, now: SystemTime) -> String {
    let today =
        || now.duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(0));
    calendar::date(epoch.unwrap_or_else(today))
}
