//! The initramfs that the kernel's scriptlets make: for the time of the build with a fast
//! compressor, generic, reproducible.
//!
//! dracut's default compressor takes more processor time than everything else in a build. Anaconda
//! makes the initramfs again on every node, with the distribution's own configuration, so nothing
//! of this choice reaches a deployed system.

use std::path::Path;

use crate::error::Result;
use crate::recipe::Initramfs;
use crate::sandbox::{InstallRoot, Kind};

/// Where dracut reads drop-ins; see dracut.conf(5).
const FOLDER: &str = "etc/dracut.conf.d";
/// Read last, so that no package's file can undo it.
const FILE: &str = "etc/dracut.conf.d/zz-osimg-build.conf";

/// What is known of the image before it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contents<'a> {
    /// The kernel's version, when one is to be installed.
    pub kernel: Option<&'a str>,
    /// Whether the zstd program will be there.
    pub zstd: bool,
}

/// Puts the drop-in into the root before anything is installed.
///
/// # Errors
/// When it cannot be written.
pub fn prepare(root: &InstallRoot, initramfs: Initramfs, contents: Contents<'_>) -> Result<()> {
    if initramfs == Initramfs::AsPackaged || contents.kernel.is_none() {
        return Ok(());
    }
    root.directory(Path::new(FOLDER), 0o755)?;
    let text = format!(
        "# for the time of the build\ncompress=\"{}\"\nhostonly=\"no\"\nhostonly_cmdline=\"no\"\nreproducible=\"yes\"\n",
        compressor(contents)
    );
    root.write(Path::new(FILE), text.as_bytes(), 0o644)
}

/// Takes the drop-in out again, and its directory where no dracut came to own it.
///
/// # Errors
/// When it cannot be removed.
pub fn withdraw(root: &InstallRoot) -> Result<()> {
    root.remove(Path::new(FILE))?;
    if root.kind(Path::new("usr/bin/dracut"))?.is_none()
        && root.kind(Path::new(FOLDER))? == Some(Kind::Directory)
        && root.names(Path::new(FOLDER))?.is_empty()
    {
        root.remove(Path::new(FOLDER))?;
    }
    Ok(())
}

/// zstd where the kernel can read it (since 5.9, <https://kernelnewbies.org/Linux_5.9>) and the
/// program is there; else a light gzip.
fn compressor(contents: Contents<'_>) -> &'static str {
    let mut numbers = contents.kernel.unwrap_or_default().split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if contents.zstd && version >= (5, 9) { "zstd -3 -q -T1" } else { "gzip -n -6" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compressor_is_one_that_the_kernel_reads() {
        let with = |kernel, zstd| compressor(Contents { kernel: Some(kernel), zstd });
        assert_eq!(with("6.1.0", true), "zstd -3 -q -T1");
        assert_eq!(with("5.14.0", true), "zstd -3 -q -T1");
        assert_eq!(with("6.1.0", false), "gzip -n -6");
        assert_eq!(with("4.18.0", true), "gzip -n -6");
    }

    #[test]
    fn nothing_of_the_drop_in_stays() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = InstallRoot::open(dir.path()).expect("root");
        prepare(&root, Initramfs::Fast, Contents { kernel: Some("6.1"), zstd: true }).expect("prepared");
        assert!(dir.path().join(FILE).exists());
        withdraw(&root).expect("withdrawn");
        assert!(!dir.path().join(FOLDER).exists());
    }
}
