//! What must differ from node to node: ids, keys, leases and seeds. A clone that carries the build
//! machine's gives all nodes the same ones.
//!
//! One table for finishing, which removes what a node makes again by itself, and for `verify`, which
//! reports all of it.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::recipe::FinishFile;
use crate::sandbox::{InstallRoot, Kind};

/// Whether a node makes the file again when it is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recreated {
    /// Always, or nothing needs it.
    Always,
    /// If the image has this file, the unit or program that makes it.
    By(&'static str),
    /// Never: it stays, and is reported.
    Never,
}

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Identity {
    /// The file, or a directory and a pattern with one `*` for names in it.
    pub(crate) path: &'static str,
    recreated: Recreated,
    /// The package that it belongs to.
    pub(crate) package: &'static str,
    /// Why nodes must not share it.
    pub(crate) reason: &'static str,
}

const fn identity(path: &'static str, recreated: Recreated, package: &'static str, reason: &'static str) -> Identity {
    Identity { path, recreated, package, reason }
}

use Recreated::{Always, By, Never};

/// SSH host keys, for the check of that name.
pub(crate) const SSH_HOST_KEYS: Identity = identity("etc/ssh/ssh_host_*", Always, "openssh-server", "private keys of one host");

/// Random seeds, for the check of that name.
pub(crate) const SEEDS: [Identity; 3] = [
    identity("var/lib/systemd/random-seed", Always, "systemd", "a seed that all nodes would share"),
    identity("boot/loader/random-seed", Always, "systemd-boot", "a seed that all nodes would share"),
    identity("boot/efi/loader/random-seed", Always, "systemd-boot", "a seed that all nodes would share"),
];

/// All others.
pub(crate) const IDENTITIES: [Identity; 45] = [
    identity("var/lib/systemd/credential.secret", Always, "systemd", "a secret that all nodes would share"),
    identity("var/lib/NetworkManager/secret_key", Always, "NetworkManager", "a secret that all nodes would share"),
    identity("var/lib/NetworkManager/seen-bssids", Always, "NetworkManager", "the build machine's networks"),
    identity("var/lib/NetworkManager/timestamps", Always, "NetworkManager", "the build machine's networks"),
    identity("var/lib/NetworkManager/*.lease", Always, "NetworkManager", "an address of the build machine"),
    identity("etc/NetworkManager/system-connections/*", Never, "NetworkManager", "a connection of one machine, perhaps with a password"),
    identity("var/lib/dhclient/*.leases", Always, "dhcp-client", "an address of the build machine"),
    identity("var/lib/dhcp/*.leases", Always, "dhcp-client", "an address of the build machine"),
    identity("etc/udev/rules.d/70-persistent-net.rules", Never, "systemd-udev", "hardware addresses of one machine"),
    // nvme derives both from the machine's DMI data where they are missing.
    identity("etc/nvme/hostnqn", Always, "nvme-cli", "two nodes with one host NQN lose data on shared storage"),
    identity("etc/nvme/hostid", Always, "nvme-cli", "two nodes with one host id lose data on shared storage"),
    // EL 8 makes it only when the package is installed, later releases at boot.
    identity(
        "etc/iscsi/initiatorname.iscsi",
        By("usr/lib/systemd/system/iscsi-init.service"),
        "iscsi-initiator-utils",
        "two nodes with one initiator name lose data on shared storage",
    ),
    identity("etc/lvm/devices/system.devices", Always, "lvm2", "ids of the build machine's disks hide those of a node"),
    identity("etc/lvm/archive/*", Always, "lvm2", "volume groups of the build machine"),
    identity("etc/lvm/backup/*", Always, "lvm2", "volume groups of the build machine"),
    identity("etc/lvm/cache/*", Always, "lvm2", "disks of the build machine"),
    identity("etc/multipath/wwids", Always, "device-mapper-multipath", "ids of the build machine's disks"),
    identity("etc/multipath/bindings", Always, "device-mapper-multipath", "ids of the build machine's disks"),
    identity("etc/zfs/zpool.cache", Always, "zfs", "pools of the build machine"),
    identity("etc/hostid", Never, "coreutils", "the host id of one machine"),
    identity("etc/machine-info", Never, "systemd", "may name one machine, or hold its id"),
    identity("etc/kernel/entry-token", Never, "systemd-udev", "boot entries of all nodes get this name, perhaps a machine-id"),
    identity("var/lib/cloud/instance", Always, "cloud-init", "cloud-init takes a node for one that it has already set up"),
    identity("var/lib/cloud/instances/*", Always, "cloud-init", "cloud-init takes a node for one that it has already set up"),
    identity("var/lib/cloud/data/*", Always, "cloud-init", "cloud-init takes a node for one that it has already set up"),
    identity("var/lib/cloud/sem/*", Always, "cloud-init", "cloud-init takes a node for one that it has already set up"),
    identity("etc/pki/consumer/*", Never, "subscription-manager", "the registration of one machine, with its private key"),
    identity("etc/pki/entitlement/*", Never, "subscription-manager", "a subscription's private key"),
    identity("var/lib/rhsm/facts/*", Always, "subscription-manager", "facts of the build machine"),
    identity("etc/insights-client/machine-id", Always, "insights-client", "the id of one machine"),
    identity("etc/insights-client/.registered", Always, "insights-client", "the registration of one machine"),
    identity("etc/cockpit/ws-certs.d/0-self-signed*", Always, "cockpit-ws", "a private key that all nodes would share"),
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
    identity("etc/munge/munge.key", Never, "munge", "a secret: right only if all nodes are of one cluster"),
    identity("etc/corosync/authkey", Never, "corosync", "a secret: right only if all nodes are of one cluster"),
    identity("etc/krb5.keytab", Never, "krb5", "keys of one host"),
    identity("var/lib/sss/secrets/*", Always, "sssd-common", "secrets of the build machine"),
    identity("var/lib/sss/db/*", Always, "sssd-common", "accounts that the build machine has seen"),
    // Copies that the account tools make; they hold an older state, with its dates.
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

    /// Whether a name in the directory is meant.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        let pattern = self.place().1;
        match pattern.split_once('*') {
            Some((start, end)) => name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end),
            None => name == pattern,
        }
    }
}

/// Removes what a node makes again by itself, except the files that the settings put there; returns
/// what was there.
///
/// # Errors
/// When something cannot be read or removed.
pub(super) fn remove(root: &InstallRoot, given: &[FinishFile]) -> Result<Vec<PathBuf>> {
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
            if given.iter().any(|file| Path::new(file.path.trim_start_matches('/')).starts_with(&path)) {
                continue;
            }
            if name.to_str().is_some_and(|name| row.is_named(name)) && root.remove(&path)? {
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
    fn what_a_node_makes_again_goes_and_the_rest_stays() {
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
            let rows = SEEDS.iter().chain(&IDENTITIES).chain([&SSH_HOST_KEYS]).filter(move |row| recreated(row.recreated));
            rows.map(|row| (row.path, example(row).exists())).collect::<Vec<_>>()
        };
        assert!(kept(|r| r == Always).iter().all(|(_, exists)| !exists), "{:?}", kept(|r| r == Always));
        assert!(kept(|r| r != Always).iter().all(|(_, exists)| *exists), "{:?}", kept(|r| r != Always));
        assert!(dir.path().join("etc/ssh/sshd_config").exists());
        // Once the image has the unit that makes it.
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
