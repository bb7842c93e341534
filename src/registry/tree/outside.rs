//! Trees inside the directory of a version of another tree.

use std::path::Path;

use crate::error::{ExitCode, Failure, Result};
use crate::files;
use crate::naming;
use crate::set::{Kind, LARGEST_MANIFEST, manifest_text};

/// Refuses a tree inside the directory of a version of another tree.
pub(super) fn check_outside(path: &Path) -> Result<()> {
    let Some(version) = path.ancestors().find(|above| is_version(above)) else { return Ok(()) };
    Err(Failure::new(
        ExitCode::Registry,
        format!(
            "publishing to tree:{}: {} is the directory of a version in another tree",
            path.display(),
            version.display()
        ),
    )
    .hint("choose a directory outside of it")
    .into())
}

fn is_version(directory: &Path) -> bool {
    let Some(stem) = directory.file_name().and_then(|name| name.to_str()) else { return false };
    let manifest = directory.join(naming::manifest(stem));
    let text = files::read_text(&manifest, LARGEST_MANIFEST).unwrap_or_default();
    let sets = manifest_text::published(&text);
    sets.iter().any(|set| set.kind == Kind::Http && set.registry.starts_with("tree:"))
}
