//! Files of the settings: copied into the image as they are.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::error::{ExitCode, Result, ResultExt};
use crate::files;
use crate::recipe::{FinishFile, FinishSettings};
use crate::sandbox::InstallRoot;

/// The most that one such file may hold; larger things belong in a package.
const LIMIT: u64 = 64 << 20;

/// Checks, before anything is built, that every file that the settings copy into the image can be
/// opened.
///
/// # Errors
/// [`ExitCode::Recipe`] with the file.
pub fn check(settings: &FinishSettings) -> Result<()> {
    let sources = settings.files.iter().map(|file| &file.source);
    sources
        .chain(&settings.certificates)
        .try_for_each(|path| files::open(path).map(drop).or_fail(ExitCode::Recipe, format!("reading {}", path.display())))
}

/// Puts the settings' files and host name into the image.
///
/// # Errors
/// When a file cannot be read, or the image has no directory for it.
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

/// The content of a file, and the mode it has unless the settings name one: only the executable bit
/// counts. The rest is the umask of whoever checked out the recipe.
fn read(file: &FinishFile) -> std::io::Result<(Vec<u8>, u32)> {
    let open = files::open(&file.source)?;
    let mode = if open.metadata()?.permissions().mode() & 0o100 != 0 { 0o755 } else { 0o644 };
    Ok((files::read_open(open, LIMIT)?, mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_umask_of_a_checkout_does_not_show_in_the_image() {
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
