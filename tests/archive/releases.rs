//! Two releases of GNU tar: the host's, and 1.35 of Debian trixie. The latter is unpacked once
//! into the cache of the tests and run from there.
#![expect(clippy::disallowed_methods, reason = "tests run the independent tools that judge")]

use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The options that Anaconda's `liveimg` passes to tar
/// (pyanaconda/modules/payloads/payload/live_image), without the file and the directory.
pub const ANACONDA: &str = "--numeric-owner --selinux --acls --xattrs --xattrs-include '*' \
                            --exclude './dev/*' --exclude './proc/*' --exclude './tmp/*' \
                            --exclude './sys/*' --exclude './run/*' --exclude './boot/*rescue*' \
                            --exclude './boot/loader' --exclude './boot/efi/loader' --exclude \
                            './etc/machine-id' --exclude './etc/machine-info' -xaf";

/// The GNU tar of the host and that of trixie, as shell words. The error names what is missing.
pub fn tars() -> Result<[String; 2], String> {
    let cache = std::env::var_os("OSIMG_TEST_CACHE")
        .map_or_else(|| PathBuf::from("/var/cache/osimg-tests"), PathBuf::from);
    let tree = trixie(&cache).map_err(|error| format!("trixie's tar: {error}"))?;
    let libraries =
        find(&tree.join("usr/lib"), "libc.so.6").ok_or("trixie's tree has no C library")?;
    let loader = ["usr/lib64", "usr/lib"]
        .iter()
        .find_map(|directory| find(&tree.join(directory), "ld-linux"))
        .ok_or("trixie's tree has no loader")?;
    let newer = format!(
        "{} --library-path {} {}",
        loader.display(),
        libraries.parent().unwrap_or(Path::new("/")).display(),
        tree.join("usr/bin/tar").display()
    );
    Ok(["tar".to_owned(), newer])
}

/// A file below the directory with a name that begins like this.
fn find(directory: &Path, beginning: &str) -> Option<PathBuf> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(directory).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    entries.sort();
    let named = |path: &&PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(beginning))
    };
    entries.iter().find(named).cloned().or_else(|| {
        entries
            .iter()
            .filter(|path| path.is_dir() && !path.is_symlink())
            .find_map(|below| find(below, beginning))
    })
}

fn trixie(cache: &Path) -> Result<PathBuf, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    fs::create_dir_all(cache).map_err(|e| text(&e))?;
    let lock = File::create(cache.join("tar.lock")).map_err(|e| text(&e))?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, e)| text(&e))?;
    let (tree, part) = (cache.join("tar-trixie"), cache.join("tar-trixie.part"));
    if tree.is_dir() {
        return Ok(tree);
    }
    if part.exists() {
        fs::remove_dir_all(&part).map_err(|e| text(&e))?;
    }
    // An outdated mirror is still signed, and good enough for a test.
    let words = [
        "--quiet",
        "--variant=extract",
        "--aptopt=Acquire::Check-Valid-Until \"false\"",
        "--include=tar",
        "trixie",
    ];
    let output =
        Command::new("mmdebstrap").args(words).arg(&part).output().map_err(|e| text(&e))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    fs::rename(&part, &tree).map_err(|e| text(&e))?;
    Ok(tree)
}
