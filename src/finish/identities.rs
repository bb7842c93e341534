//! The files that must differ between nodes: ids, keys, leases and seeds. If an image contains
//! those of the build machine, all nodes share them.
//!
//! The same table serves two purposes. Finishing removes the files that a node recreates by
//! itself. `verify` reports all of them.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::sandbox::{InstallRoot, Kind};

/// Whether a node recreates the file if it is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recreated {
    /// Always, or it is not needed.
    Always,
    /// If the image has this file: the unit or program that creates it.
    By(&'static str),
    /// Never: the file is kept and reported.
    Never,
}

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Identity {
    /// The path of the file; the last component may contain one `*`.
    pub(crate) path: &'static str,
    recreated: Recreated,
    /// The package that it belongs to.
    pub(crate) package: &'static str,
    /// Why nodes must not share it.
    pub(crate) reason: &'static str,
}

const fn identity(
    path: &'static str,
    recreated: Recreated,
    package: &'static str,
    reason: &'static str,
) -> Identity {
    Identity { path, recreated, package, reason }
}

use Recreated::{Always, By, Never};

/// SSH host keys, for the check of the same name.
pub(crate) const SSH_HOST_KEYS: Identity =
    identity("etc/ssh/ssh_host_*", Always, "openssh-server", "private keys of one host");

/// Random seeds, for the check of the same name.
pub(crate) const SEEDS: [Identity; 3] = [
    identity("var/lib/systemd/random-seed", Always, "systemd", "a seed that all nodes would share"),
    identity(
        "boot/loader/random-seed",
        Always,
        "systemd-boot",
        "a seed that all nodes would share",
    ),
    identity(
        "boot/efi/loader/random-seed",
        Always,
        "systemd-boot",
        "a seed that all nodes would share",
    ),
];

/// All others.
pub(crate) const IDENTITIES: [Identity; 51] = [
    identity(
        "var/lib/systemd/credential.secret",
        Always,
        "systemd",
        "a secret that all nodes would share",
    ),
    identity(
        "var/lib/NetworkManager/secret_key",
        Always,
        "NetworkManager",
        "a secret that all nodes would share",
    ),
    identity(
        "var/lib/NetworkManager/seen-bssids",
        Always,
        "NetworkManager",
        "networks of the build machine",
    ),
    identity(
        "var/lib/NetworkManager/timestamps",
        Always,
        "NetworkManager",
        "networks of the build machine",
    ),
    identity(
        "var/lib/NetworkManager/*.lease",
        Always,
        "NetworkManager",
        "an address of the build machine",
    ),
    identity(
        "etc/NetworkManager/system-connections/*",
        Never,
        "NetworkManager",
        "a connection of one machine, perhaps with a password",
    ),
    identity("var/lib/dhclient/*.leases", Always, "dhcp-client", "an address of the build machine"),
    identity("var/lib/dhcp/*.leases", Always, "dhcp-client", "an address of the build machine"),
    identity(
        "etc/udev/rules.d/70-persistent-net.rules",
        Never,
        "systemd-udev",
        "hardware addresses of one machine",
    ),
    // nvme derives both from the machine's DMI data if they are missing.
    identity(
        "etc/nvme/hostnqn",
        Always,
        "nvme-cli",
        "two nodes with one host NQN lose data on shared storage",
    ),
    identity(
        "etc/nvme/hostid",
        Always,
        "nvme-cli",
        "two nodes with one host id lose data on shared storage",
    ),
    // EL 8 creates it only when the package is installed, later releases at boot.
    identity(
        "etc/iscsi/initiatorname.iscsi",
        By("usr/lib/systemd/system/iscsi-init.service"),
        "iscsi-initiator-utils",
        "two nodes with one initiator name lose data on shared storage",
    ),
    identity(
        "etc/lvm/devices/system.devices",
        Always,
        "lvm2",
        "ids of the build machine's disks hide those of a node",
    ),
    identity("etc/lvm/archive/*", Always, "lvm2", "volume groups of the build machine"),
    identity("etc/lvm/backup/*", Always, "lvm2", "volume groups of the build machine"),
    identity("etc/lvm/cache/*", Always, "lvm2", "disks of the build machine"),
    identity(
        "etc/multipath/wwids",
        Always,
        "device-mapper-multipath",
        "ids of the build machine's disks",
    ),
    identity(
        "etc/multipath/bindings",
        Always,
        "device-mapper-multipath",
        "ids of the build machine's disks",
    ),
    identity("etc/zfs/zpool.cache", Always, "zfs", "pools of the build machine"),
    identity("etc/hostid", Never, "coreutils", "the host id of one machine"),
    identity("etc/machine-info", Never, "systemd", "may contain the name or id of one machine"),
    identity(
        "etc/kernel/entry-token",
        Never,
        "systemd-udev",
        "names the boot entries of all nodes, perhaps by a machine-id",
    ),
    identity(
        "var/lib/cloud/instance",
        Always,
        "cloud-init",
        "cloud-init treats a new node as already configured",
    ),
    identity(
        "var/lib/cloud/instances/*",
        Always,
        "cloud-init",
        "cloud-init treats a new node as already configured",
    ),
    identity(
        "var/lib/cloud/data/*",
        Always,
        "cloud-init",
        "cloud-init treats a new node as already configured",
    ),
    identity(
        "var/lib/cloud/sem/*",
        Always,
        "cloud-init",
        "cloud-init treats a new node as already configured",
    ),
    identity(
        "etc/pki/consumer/*",
        Never,
        "subscription-manager",
        "the registration of one machine, with its private key",
    ),
    identity(
        "etc/pki/entitlement/*",
        Never,
        "subscription-manager",
        "a subscription's private key",
    ),
    identity("var/lib/rhsm/facts/*", Always, "subscription-manager", "facts of the build machine"),
    identity("var/log/rhsm/*", Always, "subscription-manager", "log of the build machine"),
    // subscription-manager writes it for the registered machine.
    identity(
        "etc/yum.repos.d/redhat.repo",
        Always,
        "subscription-manager",
        "repositories of one machine's subscription",
    ),
    identity("var/lib/insights/*", Always, "insights-client", "results of the build machine"),
    identity("etc/insights-client/machine-id", Always, "insights-client", "the id of one machine"),
    identity(
        "etc/insights-client/.registered",
        Always,
        "insights-client",
        "the registration of one machine",
    ),
    identity(
        "etc/cockpit/ws-certs.d/0-self-signed*",
        Always,
        "cockpit-ws",
        "a private key that all nodes would share",
    ),
    identity(
        "etc/pki/tls/private/localhost.key",
        By("usr/lib/systemd/system/httpd-init.service"),
        "mod_ssl",
        "a private key that all nodes would share",
    ),
    identity(
        "etc/unbound/*.key",
        By("usr/lib/systemd/system/unbound-keygen.service"),
        "unbound",
        "a private key that all nodes would share",
    ),
    identity(
        "etc/munge/munge.key",
        Never,
        "munge",
        "a secret; correct only if all nodes form one cluster",
    ),
    identity(
        "etc/corosync/authkey",
        Never,
        "corosync",
        "a secret; correct only if all nodes form one cluster",
    ),
    // Only its scriptlet makes them.
    identity(
        "etc/pki/tls/private/postfix.key",
        Never,
        "postfix",
        "a private key that all nodes would share",
    ),
    identity("root/anaconda-ks.cfg", Never, "anaconda", "an installation, with its passwords"),
    identity("root/original-ks.cfg", Never, "anaconda", "an installation, with its passwords"),
    identity("etc/krb5.keytab", Never, "krb5", "keys of one host"),
    identity("var/lib/sss/secrets/*", Always, "sssd-common", "secrets of the build machine"),
    identity("var/lib/sss/db/*", Always, "sssd-common", "accounts cached on the build machine"),
    // Backups by the account tools, with older contents and dates.
    identity("etc/passwd-", Always, "shadow-utils", "an older state of the accounts"),
    identity("etc/shadow-", Always, "shadow-utils", "an older state of the passwords"),
    identity("etc/group-", Always, "shadow-utils", "an older state of the accounts"),
    identity("etc/gshadow-", Always, "shadow-utils", "an older state of the accounts"),
    identity("etc/subuid-", Always, "shadow-utils", "an older state of the accounts"),
    identity("etc/subgid-", Always, "shadow-utils", "an older state of the accounts"),
];

impl Identity {
    /// The directory, and the pattern of names in it.
    pub(crate) fn place(&self) -> (&'static str, &'static str) {
        self.path.rsplit_once('/').unwrap_or(("", self.path))
    }

    /// Whether the pattern matches a name in the directory.
    pub(crate) fn has_name(&self, name: &str) -> bool {
        let pattern = self.place().1;
        match pattern.split_once('*') {
            Some((start, end)) => {
                name.len() >= start.len() + end.len()
                    && name.starts_with(start)
                    && name.ends_with(end)
            }
            None => name == pattern,
        }
    }
}

/// Whether a path in the root is one of `wanted`, or above one.
pub(super) fn is_wanted(path: &Path, wanted: &[String]) -> bool {
    wanted.iter().any(|file| Path::new(file.trim_start_matches('/')).starts_with(path))
}

/// Removes the files that a node recreates by itself, except those of `wanted`. Returns the
/// removed paths.
///
/// # Errors
/// If something cannot be read or removed.
pub(super) fn remove(root: &InstallRoot, wanted: &[String]) -> Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    for row in SEEDS.iter().chain(&IDENTITIES).chain([&SSH_HOST_KEYS]) {
        let recreated = match row.recreated {
            Always => true,
            By(program) => root.kind(Path::new(program))? == Some(Kind::File),
            Never => false,
        };
        if !recreated {
            continue;
        }
        let directory = Path::new(row.place().0);
        for name in root.names(directory)? {
            let path = directory.join(&name);
            if is_wanted(&path, wanted) {
                continue;
            }
            if name.to_str().is_some_and(|name| row.has_name(name)) && root.remove(&path)? {
                removed.push(path);
            }
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_that_a_node_recreates_are_removed() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let example = |row: &Identity| dir.path().join(row.path.replace('*', "x"));
        for row in SEEDS.iter().chain(&IDENTITIES).chain([&SSH_HOST_KEYS]) {
            std::fs::create_dir_all(example(row).parent().expect("parent")).expect("directory");
            std::fs::write(example(row), "id").expect("file");
        }
        std::fs::write(dir.path().join("etc/ssh/sshd_config"), "kept").expect("file");
        let root = InstallRoot::open(dir.path()).expect("root");
        remove(&root, &[]).expect("removed");
        let kept = |recreated: fn(Recreated) -> bool| {
            let rows = SEEDS
                .iter()
                .chain(&IDENTITIES)
                .chain([&SSH_HOST_KEYS])
                .filter(move |row| recreated(row.recreated));
            rows.map(|row| (row.path, example(row).exists())).collect::<Vec<_>>()
        };
        assert!(
            kept(|r| r == Always).iter().all(|(_, exists)| !exists),
            "{:?}",
            kept(|r| r == Always)
        );
        assert!(
            kept(|r| r != Always).iter().all(|(_, exists)| *exists),
            "{:?}",
            kept(|r| r != Always)
        );
        assert!(dir.path().join("etc/ssh/sshd_config").exists());
        // Once the image has the unit that creates it.
        for row in &IDENTITIES {
            if let By(program) = row.recreated {
                let program = dir.path().join(program);
                std::fs::create_dir_all(program.parent().expect("parent")).expect("directory");
                std::fs::write(program, "[Unit]").expect("unit");
            }
        }
        remove(&root, &[]).expect("removed");
        assert!(kept(|r| matches!(r, By(_))).iter().all(|(_, exists)| !exists));
        assert!(kept(|r| r == Never).iter().all(|(_, exists)| *exists));
    }
}
