//! Settings for the initramfs that the kernel's scriptlets create during the build: a fast
//! compressor, generic, reproducible.
//!
//! dracut's default compressor needs more processor time than the rest of a build. Anaconda
//! recreates the initramfs on every node with the distribution's own configuration, so this choice
//! never reaches a deployed system.

use std::path::Path;

use crate::error::Result;
use crate::recipe::Initramfs;
use crate::sandbox::{InstallRoot, Kind};

/// The directory of dracut's drop-ins; see dracut.conf(5).
const DIRECTORY: &str = "etc/dracut.conf.d";
/// Sorts last, so that a file of a package cannot override it.
const FILE: &str = "etc/dracut.conf.d/zz-osimg-build.conf";

/// The planned contents of the image, known before the installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contents<'a> {
    /// The kernel's version, if one will be installed.
    pub kernel: Option<&'a str>,
    /// Whether the zstd program will be installed.
    pub zstd: bool,
}

/// Writes the drop-in into the root before anything is installed.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn prepare(
    root: &InstallRoot,
    initramfs: Initramfs,
    contents: Contents<'_>,
) -> Result<()> {
    if initramfs == Initramfs::AsPackaged || contents.kernel.is_none() {
        return Ok(());
    }
    root.directory(Path::new(DIRECTORY), 0o755)?;
    let text = format!(
        "# only during the \
         build\ncompress=\"{}\"\nhostonly=\"no\"\nhostonly_cmdline=\"no\"\nreproducible=\"yes\"\n",
        compressor(contents)
    );
    Ok(root.write(Path::new(FILE), text.as_bytes(), 0o644)?)
}

/// Removes the drop-in, and its directory if dracut is not installed.
///
/// # Errors
/// If it cannot be removed.
pub(crate) fn remove_drop_in(root: &InstallRoot) -> Result<()> {
    root.remove(Path::new(FILE))?;
    if root.kind(Path::new("usr/bin/dracut"))?.is_none()
        && root.kind(Path::new(DIRECTORY))? == Some(Kind::Directory)
        && root.names(Path::new(DIRECTORY))?.is_empty()
    {
        root.remove(Path::new(DIRECTORY))?;
    }
    Ok(())
}

/// zstd if the program is available and the kernel can read it (since 5.9,
/// <https://kernelnewbies.org/Linux_5.9>); otherwise a fast gzip.
fn compressor(contents: Contents<'_>) -> &'static str {
    let mut numbers = contents
        .kernel
        .unwrap_or_default()
        .split(['.', '-'])
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if contents.zstd && version >= (5, 9) { "zstd -3 -q -T1" } else { "gzip -n -6" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_can_read_the_chosen_compression() {
        let with = |kernel, zstd| compressor(Contents { kernel: Some(kernel), zstd });
        assert_eq!(with("6.1.0", true), "zstd -3 -q -T1");
        assert_eq!(with("5.14.0", true), "zstd -3 -q -T1");
        assert_eq!(with("6.1.0", false), "gzip -n -6");
        assert_eq!(with("4.18.0", true), "gzip -n -6");
    }

    #[test]
    fn the_drop_in_is_removed_completely() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = InstallRoot::open(dir.path()).expect("root");
        prepare(&root, Initramfs::Fast, Contents { kernel: Some("6.1"), zstd: true })
            .expect("prepared");
        assert!(dir.path().join(FILE).exists());
        remove_drop_in(&root).expect("removed");
        assert!(!dir.path().join(DIRECTORY).exists());
    }
}
