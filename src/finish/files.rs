//! Files of the settings: copied into the image as they are.

use anyhow::Context;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::{ExitCode, Failure, Result};
use crate::recipe::FinishSettings;
use crate::sandbox::InstallRoot;

/// The most that one such file may hold; larger things belong into a package.
const LIMIT: u64 = 64 << 20;

/// Puts the settings' files and host name into the image.
///
/// # Errors
/// When a file cannot be read, or the image has no folder for it.
pub fn apply(root: &InstallRoot, settings: &FinishSettings) -> Result<()> {
    for file in &settings.files {
        let source = file.source.metadata().with_context(|| format!("reading {}", file.source.display()))?;
        if source.len() > LIMIT {
            return Err(Failure::new(ExitCode::Recipe, format!("{} is larger than {LIMIT} bytes", file.source.display()))
                .hint("put it into a package")
                .into());
        }
        let content = std::fs::read(&file.source).with_context(|| format!("reading {}", file.source.display()))?;
        let path = Path::new(&file.path);
        if let Some(parent) = path.parent() {
            root.folder(parent, 0o755)?;
        }
        root.write(path, &content, file.mode.unwrap_or(source.mode() & 0o7777))?;
        if let Some(owner) = &file.owner {
            root.give(path, owner)?;
        }
    }
    if let Some(hostname) = &settings.hostname {
        root.write(Path::new("etc/hostname"), format!("{hostname}\n").as_bytes(), 0o644)?;
    }
    Ok(())
}
