//! GNU tar of more than one release: the host's, and Debian trixie's 1.35, which is unpacked once
//! into the cache of the tests and run in place.
#![expect(clippy::disallowed_methods, reason = "tests run the independent tools that judge")]

use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What Anaconda's `liveimg` gives to tar (pyanaconda/modules/payloads/payload/live_image), the
/// file and the directory left out.
pub const ANACONDA: &str = "--numeric-owner --selinux --acls --xattrs --xattrs-include '*' \
    --exclude './dev/*' --exclude './proc/*' --exclude './tmp/*' --exclude './sys/*' \
    --exclude './run/*' --exclude './boot/*rescue*' --exclude './boot/loader' --exclude './boot/efi/loader' \
    --exclude './etc/machine-id' --exclude './etc/machine-info' \
    -xaf";

/// The host's GNU tar and that of trixie, as shell words; says what it lacks.
pub fn tars() -> Result<[String; 2], String> {
    let cache = std::env::var_os("OSIMG_TEST_CACHE").map_or_else(|| PathBuf::from("/var/cache/osimg-tests"), PathBuf::from);
    let tree = trixie(&cache).map_err(|error| format!("trixie's tar: {error}"))?;
    let libraries = find(&tree.join("usr/lib"), "libc.so.6").ok_or("trixie's tree has no C library")?;
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

/// A file below the directory whose name begins so.
fn find(directory: &Path, beginning: &str) -> Option<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(directory).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    entries.sort();
    let named = |path: &&PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(beginning));
    entries
        .iter()
        .find(named)
        .cloned()
        .or_else(|| entries.iter().filter(|path| path.is_dir() && !path.is_symlink()).find_map(|below| find(below, beginning)))
}

fn trixie(cache: &Path) -> Result<PathBuf, String> {
    let told = |error: &dyn std::fmt::Display| error.to_string();
    fs::create_dir_all(cache).map_err(|e| told(&e))?;
    let lock = File::create(cache.join("tar.lock")).map_err(|e| told(&e))?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, e)| told(&e))?;
    let (tree, part) = (cache.join("tar-trixie"), cache.join("tar-trixie.part"));
    if tree.is_dir() {
        return Ok(tree);
    }
    if part.exists() {
        fs::remove_dir_all(&part).map_err(|e| told(&e))?;
    }
    // A mirror that lags behind is still signed, and as good for a test.
    let words = ["--quiet", "--variant=extract", "--aptopt=Acquire::Check-Valid-Until \"false\"", "--include=tar", "trixie"];
    let output = Command::new("mmdebstrap").args(words).arg(&part).output().map_err(|e| told(&e))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    fs::rename(&part, &tree).map_err(|e| told(&e))?;
    Ok(tree)
}
