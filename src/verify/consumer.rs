//! The consumers of a tarball, and how serious a finding is for each: that follows from what the
//! consumer does, not from the archive.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

use super::severity::Severity::{self, Error, Warning};

/// A program that unpacks a tarball. `docs/consumers` has the commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Consumer {
    /// Anaconda of EL 8.
    #[value(alias = "el8")]
    AnacondaEl8,
    /// Anaconda of EL 9.
    #[value(alias = "el9")]
    AnacondaEl9,
    /// Anaconda of EL 10.
    #[value(alias = "el10")]
    AnacondaEl10,
    /// Anaconda of Fedora.
    #[value(alias = "anaconda-fedora")]
    Fedora,
    /// A program that unpacks it to a disk and makes it boot without an installer.
    Disk,
    /// MAAS, with curtin.
    Maas,
    /// Incus and LXD.
    Incus,
    /// Container templates of Proxmox VE.
    Proxmox,
    /// machinectl and importctl of systemd.
    Machinectl,
    /// Windows Subsystem for Linux.
    Wsl,
    /// Stateless nodes of xCAT.
    Xcat,
    /// podman, buildah and container registries.
    Podman,
    /// The action archive2disk of Tinkerbell.
    Tinkerbell,
}

/// What becomes of the unpacked tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// An installed node whose boot loader Anaconda sets up.
    Anaconda,
    /// A disk that boots.
    Disk,
    /// A file system in memory; the kernel comes from elsewhere.
    Memory,
    /// A container: no kernel, no boot loader, no SELinux labels of its own.
    Container,
}

impl Consumer {
    /// The installer that the image's os-release asks for; that of EL 9 when it has no known
    /// value.
    #[must_use]
    pub(crate) fn from_os_release(os_release: &BTreeMap<String, String>) -> Self {
        let value = |key: &str| os_release.get(key).map_or("", String::as_str);
        if value("ID") == "fedora" {
            return Self::Fedora;
        }
        match value("VERSION_ID").split('.').next() {
            Some("8") => Self::AnacondaEl8,
            Some("10")
                if value("ID_LIKE")
                    .split(' ')
                    .chain([value("ID")])
                    .any(|id| ["rhel", "centos", "ol"].contains(&id)) =>
            {
                Self::AnacondaEl10
            }
            _ => Self::AnacondaEl9,
        }
    }

    const fn class(self) -> Class {
        match self {
            Self::AnacondaEl8 | Self::AnacondaEl9 | Self::AnacondaEl10 | Self::Fedora => {
                Class::Anaconda
            }
            Self::Disk | Self::Maas | Self::Tinkerbell => Class::Disk,
            Self::Xcat => Class::Memory,
            Self::Incus | Self::Proxmox | Self::Machinectl | Self::Wsl | Self::Podman => {
                Class::Container
            }
        }
    }

    /// Whether it is Anaconda.
    #[must_use]
    pub(crate) fn is_anaconda(self) -> bool {
        self.class() == Class::Anaconda
    }

    /// Whether it is Anaconda of EL 9 or later.
    #[must_use]
    pub(crate) fn is_newer_anaconda(self) -> bool {
        matches!(self, Self::AnacondaEl9 | Self::AnacondaEl10 | Self::Fedora)
    }

    /// Whether it makes a container.
    pub(super) fn is_container(self) -> bool {
        self.class() == Class::Container
    }

    /// How serious a finding of the check `name` is; `None` if it does not concern this consumer.
    pub(super) fn severity(self, name: &str, usual: Severity) -> Option<Severity> {
        let class = self.class();
        match name {
            // Anaconda excludes them; Incus and Proxmox exclude /dev.
            "api-directories" if matches!(class, Class::Anaconda | Class::Container) => {
                Some(Warning)
            }
            "machine-id" if class == Class::Anaconda => Some(Warning),
            // The others are given the format, or detect it.
            "suffix" if class != Class::Anaconda && self != Self::Disk => Some(Warning),
            "member-names-unpacked" if class != Class::Anaconda => None,
            "image-file" if class != Class::Anaconda => None,
            // Anaconda multiplies the size of the tarball, others do not.
            // It writes the entries itself.
            "boot-disks" if class == Class::Anaconda => None,
            "size" if class != Class::Anaconda => None,
            // Only they pass --acls.
            "acl-records" if class != Class::Anaconda && self != Self::Proxmox => None,
            "acl-names" | "acl-ids" if self == Self::Wsl => None,
            "sparse-members" if self == Self::Podman => Some(Error),
            "hard-link-partitions" if matches!(class, Class::Container | Class::Memory) => None,
            "kernel" | "one-kernel" | "kernel-names" | "kernel-modules" | "initramfs"
            | "efi-loader" | "efi-files" | "efi-copies" | "boot-disks" | "bios-loader"
                if matches!(class, Class::Container | Class::Memory) =>
            {
                None
            }
            "kernel-names" | "one-kernel" if class != Class::Anaconda => Some(Warning),
            "selinux-policy"
            | "unlabelled"
            | "labels"
            | "foreign-labels"
            | "labels-without-policy"
            | "restorecon"
            | "two-labels" => {
                match self {
                    // The first boot labels all files.
                    Self::Maas => Some(Warning),
                    Self::Tinkerbell => None,
                    _ if class == Class::Container => None,
                    _ => Some(usual),
                }
            }
            "cloud-init-source" if class != Class::Anaconda => None,
            _ => Some(usual),
        }
    }
}

impl fmt::Display for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::AnacondaEl8 => "anaconda-el8",
            Self::AnacondaEl9 => "anaconda-el9",
            Self::AnacondaEl10 => "anaconda-el10",
            Self::Fedora => "fedora",
            Self::Disk => "disk",
            Self::Maas => "maas",
            Self::Incus => "incus",
            Self::Proxmox => "proxmox",
            Self::Machinectl => "machinectl",
            Self::Wsl => "wsl",
            Self::Xcat => "xcat",
            Self::Podman => "podman",
            Self::Tinkerbell => "tinkerbell",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn the_image_names_its_installer() {
        for (id, like, version, consumer) in [
            ("rocky", "rhel centos fedora", "8.10", Consumer::AnacondaEl8),
            ("centos", "rhel fedora", "9", Consumer::AnacondaEl9),
            ("rhel", "fedora", "10.0", Consumer::AnacondaEl10),
            ("almalinux", "rhel centos fedora", "10.1", Consumer::AnacondaEl10),
            ("ol", "fedora", "10.0", Consumer::AnacondaEl10),
            ("fedora", "", "42", Consumer::Fedora),
            ("debian", "", "10", Consumer::AnacondaEl9),
        ] {
            let os_release = [("ID", id), ("ID_LIKE", like), ("VERSION_ID", version)]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into();
            assert_eq!(Consumer::from_os_release(&os_release), consumer, "{id} {version}");
        }
        assert_eq!(Consumer::from_os_release(&BTreeMap::new()), Consumer::AnacondaEl9);
    }

    #[test]
    fn every_consumer_has_the_name_of_its_option() {
        for consumer in Consumer::value_variants() {
            assert_eq!(consumer.to_possible_value().unwrap().get_name(), consumer.to_string());
        }
    }

    #[test]
    fn what_anaconda_excludes_is_no_error_for_it() {
        assert_eq!(Consumer::AnacondaEl9.severity("machine-id", Error), Some(Warning));
        assert_eq!(Consumer::Maas.severity("machine-id", Error), Some(Error));
        assert_eq!(Consumer::Incus.severity("kernel", Error), None);
    }
}
