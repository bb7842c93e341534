//! What a build leaves in the tree and no clone may have: logs, caches, keys and seeds made here, databases' side files.

use std::path::Path;

use crate::error::{ExitCode, Failure, Result};
use crate::sandbox::{InstallRoot, Kind};

/// Files and folders that go, with the reason.
const REMOVED: [(&str, &str); 17] = [
    ("var/log/dnf.log", "log of the build"),
    ("var/log/dnf.librepo.log", "log of the build"),
    ("var/log/dnf.rpm.log", "log of the build"),
    ("var/log/dnf5.log", "log of the build"),
    ("var/log/hawkey.log", "log of the build"),
    ("var/log/yum.log", "log of the build"),
    ("var/log/dracut-install.log", "log of the build"),
    ("var/log/dracut.log", "log of the build"),
    ("var/cache/ldconfig/aux-cache", "inode numbers of the build's file system"),
    ("var/lib/systemd/random-seed", "a seed that all clones would share"),
    ("boot/loader/random-seed", "a seed that all clones would share"),
    ("boot/efi/loader/random-seed", "a seed that all clones would share"),
    ("var/lib/systemd/credential.secret", "a secret that all clones would share"),
    ("var/lib/NetworkManager/secret_key", "a secret that all clones would share"),
    ("root/.bash_history", "the builder's history"),
    ("root/.rpmdb", "an rpmdb in the wrong place"),
    ("etc/.pwd.lock", "a lock of the account tools"),
];

/// Folders whose content goes and that stay themselves: a package may own them. Package managers' caches and histories name
/// the build host's repositories, times and random ids.
const EMPTIED: [&str; 10] = [
    "tmp",
    "var/tmp",
    "run",
    "dev",
    "var/log/journal",
    "var/lib/dnf",
    "var/lib/yum",
    "var/cache/dnf",
    "var/cache/yum",
    "var/cache/libdnf5",
];

/// Side files of rpm's database that hold no data once it is closed.
const RPMDB_SIDE_FILES: [&str; 5] = ["rpmdb.sqlite-shm", "rpmdb.sqlite-wal", ".rpm.lock", ".dbenv.lock", ".migratedb"];

/// Removes all of it; returns what was there.
///
/// # Errors
/// When something cannot be removed, or the rpmdb was not closed properly.
pub fn remove(root: &InstallRoot, dbpath: &str) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for (path, _reason) in REMOVED {
        if root.remove(Path::new(path))? {
            removed.push(format!("/{path}"));
        }
    }
    for folder in EMPTIED {
        for name in root.names(Path::new(folder))? {
            let path = Path::new(folder).join(name);
            if root.remove(&path)? {
                removed.push(format!("/{}", path.display()));
            }
        }
    }
    for name in root.names(Path::new("etc/ssh"))? {
        let shown = name.to_string_lossy().into_owned();
        if shown.starts_with("ssh_host_") && shown.contains("_key") && root.remove(&Path::new("etc/ssh").join(&name))? {
            removed.push(format!("/etc/ssh/{shown}"));
        }
    }
    rpmdb(root, Path::new(dbpath), &mut removed)?;
    Ok(removed)
}

/// The write-ahead log may go only when it is empty: else it holds packages that the database itself lacks.
fn rpmdb(root: &InstallRoot, dbpath: &Path, removed: &mut Vec<String>) -> Result<()> {
    let log = dbpath.join("rpmdb.sqlite-wal");
    if root.kind(&log)? == Some(Kind::File) && root.read(&log, 0).is_err() {
        return Err(Failure::new(
            ExitCode::Transaction,
            format!("the image's rpmdb was not closed: {} still holds changes", log.display()),
        )
        .hint("a process of the build was ended while it wrote; build again")
        .into());
    }
    for name in RPMDB_SIDE_FILES {
        let path = dbpath.join(name);
        if root.remove(&path)? {
            removed.push(path.display().to_string());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_build_leaves_goes_and_the_rest_stays() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for (path, text) in [
            ("var/log/dnf.log", "x"),
            ("var/log/messages", "kept"),
            ("etc/ssh/ssh_host_rsa_key", "secret"),
            ("etc/ssh/sshd_config", "kept"),
            ("tmp/left", "x"),
            ("var/lib/rpm/rpmdb.sqlite", "kept"),
            ("var/lib/rpm/rpmdb.sqlite-wal", ""),
            ("var/lib/rpm/rpmdb.sqlite-shm", "x"),
            ("var/lib/dnf/history.sqlite", "x"),
        ] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
            std::fs::write(path, text).expect("file");
        }
        let root = InstallRoot::open(dir.path()).expect("root");
        let removed = remove(&root, "/var/lib/rpm").expect("removed");
        assert_eq!(removed.len(), 6, "{removed:?}");
        for kept in ["var/log/messages", "etc/ssh/sshd_config", "var/lib/rpm/rpmdb.sqlite", "tmp"] {
            assert!(dir.path().join(kept).exists(), "{kept}");
        }
        std::fs::write(dir.path().join("var/lib/rpm/rpmdb.sqlite-wal"), "pending").expect("wal");
        assert!(remove(&root, "/var/lib/rpm").is_err());
    }
}
