//! Copies the files of the settings into the image, unchanged.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::error::{ExitCode, Result, ResultExt};
use crate::files;
use crate::recipe::{FinishFile, FinishSettings};
use crate::sandbox::InstallRoot;

/// The maximum size of such a file; larger ones belong in a package.
const LIMIT: u64 = 64 << 20;

/// Checks before the build that every file to be copied into the image can be opened.
///
/// # Errors
/// [`ExitCode::Recipe`], naming the file.
pub fn check(settings: &FinishSettings) -> Result<()> {
    let sources = settings.files.iter().map(|file| &file.source);
    sources
        .chain(&settings.certificates)
        .try_for_each(|path| files::open(path).map(drop).or_fail(ExitCode::Recipe, format!("reading {}", path.display())))
}

/// Writes the settings' files and host name into the image.
///
/// # Errors
/// If a file cannot be read, or the image has no directory for it.
pub fn apply(root: &InstallRoot, settings: &FinishSettings) -> Result<()> {
    for file in &settings.files {
        let (content, mode) =
            read(file).or_fail_hint(ExitCode::Recipe, format!("reading {}", file.source.display()), "a large file belongs in a package")?;
        let path = Path::new(&file.path);
        if let Some(parent) = path.parent() {
            root.directory(parent, 0o755)?;
        }
        root.write(path, &content, file.mode.unwrap_or(mode))?;
        if let Some(owner) = &file.owner {
            root.give(path, owner)?;
        }
    }
    if let Some(hostname) = &settings.hostname {
        root.write(Path::new("etc/hostname"), format!("{hostname}\n").as_bytes(), 0o644)?;
    }
    Ok(())
}

/// The content of a file, and its mode if the settings do not set one. Only the executable bit of
/// the source is used: the other bits depend on the umask of the checkout.
fn read(file: &FinishFile) -> std::io::Result<(Vec<u8>, u32)> {
    let open = files::open(&file.source)?;
    let mode = if open.metadata()?.permissions().mode() & 0o100 != 0 { 0o755 } else { 0o644 };
    Ok((files::read_open(open, LIMIT)?, mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_umask_of_a_checkout_does_not_affect_the_image() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let source = dir.path().join("source");
        std::fs::write(&source, "text").expect("a file");
        for (mode, expected) in [(0o600, 0o644), (0o664, 0o644), (0o700, 0o755), (0o775, 0o755)] {
            std::fs::set_permissions(&source, PermissionsExt::from_mode(mode)).expect("a mode");
            let file = FinishFile { source: source.clone(), path: "/etc/x".into(), mode: None, owner: None };
            assert_eq!(read(&file).expect("read").1, expected, "{mode:o}");
        }
    }
}
