//! Step 4: what the image has besides packages: `[customizations]` of the settings, with the names
//! of image-builder's blueprints; one small file a customization.
//!
//! [`check`] finds what is wrong before anything is downloaded, [`apply`] does it after the
//! packages, [`complete`] what comes after the scripts.

mod accounts;
mod certificates;
mod content;
mod fips;
mod firewall;
mod glob;
mod hostname;
mod image;
mod kernel;
mod locale;
mod openscap;
mod owner;
mod remove;
mod repositories;
mod rpm_keys;
pub(crate) mod scripts;
mod services;
mod time;
mod tree;

pub(crate) use image::{Image, Workplace};

use crate::error::Result;
use crate::recipe::{Customizations, Settings};

/// What the customizations left behind for the artifact.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// Paths that were removed on demand.
    pub removed: Vec<String>,
    /// Reports to keep next to the tarball: a suffix of the name, and the content.
    pub reports: Vec<(&'static str, Vec<u8>)>,
}

/// Checks everything of the build host that the customizations and scripts name.
///
/// # Errors
/// [`crate::error::ExitCode::Recipe`] with the file, and the place in the settings.
pub(crate) fn check(settings: &Settings) -> Result<()> {
    let Settings { customizations, scripts, .. } = settings;
    content::check(&customizations.files)?;
    customizations.trees.iter().try_for_each(tree::check)?;
    certificates::check(&customizations.cacerts)?;
    scripts::records(scripts).map(drop)
}

/// The paths that the settings put into the image: no leftovers, even where one has such a name.
#[must_use]
pub(crate) fn placed(settings: &Customizations) -> Vec<String> {
    let files = settings.files.iter().map(|file| file.path.clone());
    let directories = settings.directories.iter().map(|directory| directory.path.clone());
    files.chain(directories).chain(settings.trees.iter().flat_map(tree::paths)).collect()
}

/// Warns of units that presets enable and that scriptlets did not enable.
///
/// # Errors
/// If the image's systemctl cannot be started.
pub(crate) fn check_presets(image: &Image<'_>) -> Result<()> {
    let units = services::unapplied_presets(image)?;
    if !units.is_empty() {
        let more = units.len().saturating_sub(5);
        let shown = units.get(..5).unwrap_or(&units).join(", ");
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        image.report().warn(&format!(
            "units are not enabled although presets enable them: {shown}{more}; a scriptlet \
             failed, or its package does not apply presets: [customizations.services] enabled \
             switches them on"
        ));
    }
    Ok(())
}

/// Does all that scripts may build upon.
///
/// # Errors
/// With the key of the customization that cannot be done, and why.
pub(crate) fn apply(image: &Image<'_>, settings: &Customizations) -> Result<()> {
    accounts::apply(image, settings)?;
    hostname::apply(image, settings.hostname.as_deref())?;
    time::apply(image, &settings.timezone)?;
    locale::apply(image, &settings.locale)?;
    settings.trees.iter().try_for_each(|tree| tree::apply(image, tree))?;
    content::apply(image, settings)?;
    repositories::apply(image, &settings.repositories)?;
    rpm_keys::apply(image, &settings.rpm_keys)?;
    certificates::apply(image, &settings.cacerts)?;
    firewall::apply(image, &settings.firewall)?;
    fips::apply(image, settings.fips)?;
    kernel::apply(image, settings.kernel_arguments().as_deref())?;
    // Last: files and trees may bring the units.
    services::apply(image, &settings.services)
}

/// Does what comes after the last script.
///
/// # Errors
/// As [`apply`].
pub(crate) fn complete(image: &Image<'_>, settings: &Customizations) -> Result<Results> {
    let mut results = Results::default();
    if let Some(profile) = &settings.openscap {
        results.reports = openscap::apply(image, profile)?;
    }
    results.removed = remove::apply(image, &settings.remove)?;
    Ok(results)
}
