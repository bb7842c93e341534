//! Removes leftovers of the build that an image must not contain: logs, caches, side files of
//! databases, and the build machine's [`identities`].

use std::path::Path;

use super::identities;
use crate::error::{ExitCode, Failure, Result};
use crate::sandbox::{InstallRoot, Kind};

/// Files and directories to remove, with the reason.
const REMOVED: [(&str, &str); 16] = [
    ("boot/grub2/grub.cfg.new", "left by a grub2-mkconfig that failed"),
    ("var/log/dnf.log", "log of the build"),
    ("var/log/dnf.librepo.log", "log of the build"),
    ("var/log/dnf.rpm.log", "log of the build"),
    ("var/log/dnf5.log", "log of the build"),
    ("var/log/hawkey.log", "log of the build"),
    ("var/log/yum.log", "log of the build"),
    ("var/log/dracut-install.log", "log of the build"),
    ("var/log/dracut.log", "log of the build"),
    ("var/cache/ldconfig/aux-cache", "inode numbers of the build's file system"),
    ("root/.bash_history", "shell history of the build"),
    ("root/.rpmdb", "an rpmdb in the wrong place"),
    ("etc/.pwd.lock", "a lock of the account tools"),
    ("usr/lib/sysimage/libdnf5/transaction_history.sqlite", "times of the build"),
    ("usr/lib/sysimage/libdnf5/transaction_history.sqlite-shm", "times of the build"),
    ("usr/lib/sysimage/libdnf5/transaction_history.sqlite-wal", "times of the build"),
];

/// Directories that are emptied but kept, because a package may own them. What packages have below
/// them stays. Caches and histories of package managers contain the build host's repositories,
/// times and random ids.
pub(crate) const EMPTIED: [&str; 10] = [
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

/// dnf 5's own records besides the rpmdb: why packages are installed, and their groups.
const DNF5_STATE: &str = "usr/lib/sysimage/libdnf5";

/// Side files of rpm's database. They contain no data once the database is closed.
const RPMDB_SIDE_FILES: [&str; 6] = [
    "rpmdb.sqlite-shm",
    "rpmdb.sqlite-wal",
    ".rpm.lock",
    ".keyring.lock",
    ".dbenv.lock",
    ".migratedb",
];

/// Removes all leftovers, except those of `wanted`: paths of the settings, and of packages below
/// the emptied directories. Returns the removed paths.
///
/// # Errors
/// If something cannot be removed, or the rpmdb was not closed properly.
pub(crate) fn remove(root: &InstallRoot, dbpath: &str, wanted: &[String]) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for (path, _reason) in REMOVED {
        if root.remove(Path::new(path))? {
            removed.push(format!("/{path}"));
        }
    }
    for directory in EMPTIED {
        empty(root, Path::new(directory), wanted, &mut removed)?;
    }
    // It is identical for every build, and an image with dnf 5 needs it.
    if !has_dnf5(root)? && root.remove(Path::new(DNF5_STATE))? {
        removed.push(format!("/{DNF5_STATE}"));
    }
    let identities = identities::remove(root, wanted)?;
    removed.extend(identities.iter().map(|path| format!("/{}", path.display())));
    rpmdb(root, Path::new(dbpath), &mut removed)?;
    Ok(removed)
}

fn empty(
    root: &InstallRoot,
    directory: &Path,
    wanted: &[String],
    removed: &mut Vec<String>,
) -> Result<()> {
    for name in root.names(directory)? {
        let path = directory.join(name);
        if !identities::is_wanted(&path, wanted) {
            if root.remove(&path)? {
                removed.push(format!("/{}", path.display()));
            }
        } else if root.kind(&path)? == Some(Kind::Directory) {
            empty(root, &path, wanted, removed)?;
        }
    }
    Ok(())
}

fn has_dnf5(root: &InstallRoot) -> Result<bool> {
    for directory in ["usr/lib64", "usr/lib"] {
        if root
            .names(Path::new(directory))?
            .iter()
            .any(|name| name.to_string_lossy().starts_with("libdnf5.so"))
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes the side files of the rpmdb. The write-ahead log is removed only if it is empty:
/// otherwise it has packages that are missing in the database itself.
fn rpmdb(root: &InstallRoot, dbpath: &Path, removed: &mut Vec<String>) -> Result<()> {
    let log = dbpath.join("rpmdb.sqlite-wal");
    if root.kind(&log)? == Some(Kind::File) && root.read(&log, 0).is_err() {
        return Err(Failure::new(
            ExitCode::Transaction,
            format!("the image's rpmdb was not closed: {} still holds changes", log.display()),
        )
        .hint("a process was ended while it wrote to the database; build again")
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
    fn only_leftovers_of_the_build_are_removed() {
        let dir = tempfile::tempdir().expect("a temporary directory");
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
            ("usr/lib/sysimage/libdnf5/packages.toml", "x"),
        ] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().expect("parent")).expect("directory");
            std::fs::write(path, text).expect("file");
        }
        let root = InstallRoot::open(dir.path()).expect("root");
        let removed = remove(&root, "/var/lib/rpm", &[]).expect("removed");
        assert_eq!(removed.len(), 7, "{removed:?}");
        for kept in ["var/log/messages", "etc/ssh/sshd_config", "var/lib/rpm/rpmdb.sqlite", "tmp"] {
            assert!(dir.path().join(kept).exists(), "{kept}");
        }
        assert!(!dir.path().join("usr/lib/sysimage/libdnf5").exists());
        std::fs::write(dir.path().join("var/lib/rpm/rpmdb.sqlite-wal"), "pending").expect("wal");
        assert!(remove(&root, "/var/lib/rpm", &[]).is_err());
    }

    #[test]
    fn directories_of_packages_below_emptied_directories_stay_empty() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for path in [
            "var/lib/dnf/history/left",
            "var/tmp/packaged/deep/left",
            "var/tmp/other/left",
            "tmp/left",
        ] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().expect("parent")).expect("directory");
            std::fs::write(path, "x").expect("file");
        }
        let root = InstallRoot::open(dir.path()).expect("root");
        let wanted = ["/var/tmp/packaged", "/var/tmp/packaged/deep", "/var/lib/dnf/history"];
        let removed = remove(&root, "/var/lib/rpm", &wanted.map(str::to_owned)).expect("removed");
        assert_eq!(
            removed,
            [
                "/tmp/left",
                "/var/tmp/other",
                "/var/tmp/packaged/deep/left",
                "/var/lib/dnf/history/left"
            ]
        );
        assert!(wanted.iter().all(|path| dir.path().join(&path[1..]).is_dir()));
    }

    #[test]
    fn an_image_with_dnf_5_keeps_the_reasons_of_its_packages() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for path in [
            "usr/lib64/libdnf5.so.2",
            "usr/lib/sysimage/libdnf5/packages.toml",
            "usr/lib/sysimage/libdnf5/transaction_history.sqlite",
        ] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().expect("parent")).expect("directory");
            std::fs::write(path, "x").expect("file");
        }
        let removed = remove(&InstallRoot::open(dir.path()).expect("root"), "/var/lib/rpm", &[])
            .expect("removed");
        assert_eq!(removed, ["/usr/lib/sysimage/libdnf5/transaction_history.sqlite"]);
        assert!(dir.path().join("usr/lib/sysimage/libdnf5/packages.toml").exists());
    }
}
