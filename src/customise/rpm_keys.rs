//! `rpm.import_keys`: keys for the image's own rpm.

use super::image::Image;
use crate::error::{ExitCode, Failure, Result};

const KEY: &str = "customizations.rpm.import_keys";

pub(super) fn apply(image: &Image<'_>, files: &[String]) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    let rpm = image.need("rpm", KEY, "rpm")?;
    for file in files {
        if image.read(file)?.is_none() {
            let message = format!("applying {KEY}: the image has no file `{file}`");
            return Err(Failure::new(ExitCode::Recipe, message)
                .hint("a package must bring it, or [[customizations.files]]")
                .into());
        }
        image.run(KEY, &[&rpm, "--import", file])?;
    }
    Ok(())
}
