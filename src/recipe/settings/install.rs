//! `[deploy.install]`: how osimg's own kickstart template installs a node.

use super::customizations::Customizations;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `[deploy.install]`. By default all disks of the node are erased, as by Ironic's own template.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct InstallSettings {
    /// Which disks are erased and used.
    pub disks: Disks,
    /// How the disks are partitioned.
    pub layout: Layout,
    /// Kickstart lines for storage instead of `layout`: `part`, `volgroup`, `logvol`, `raid`,
    /// `clearpart`.
    pub storage: Option<String>,
    /// Additional arguments of the installed kernel.
    pub kernel_arguments: Option<String>,
    /// Arguments of kickstart's `network` command, one command each; empty keeps the installer's
    /// own connection.
    pub network: Vec<String>,
    /// The system's language; `None` means `en_US.UTF-8`.
    pub language: Option<String>,
    /// The console's keyboard; `None` means `us`.
    pub keyboard: Option<String>,
    /// The system's time zone; `None` means `UTC`.
    pub timezone: Option<String>,
    /// SELinux in the installed system.
    pub selinux: SelinuxMode,
    /// Public keys that may log in as root, besides users that cloud-init creates. The password
    /// stays locked.
    pub root_keys: Vec<String>,
    /// The authority that signed the certificate of Ironic's API, if it is not public: a PEM file.
    pub authority: Option<PathBuf>,
    /// The packages to install if the image source is an install tree.
    pub packages: Vec<String>,
}

/// Which disks of the node are erased and used.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Disks {
    /// All of them.
    #[default]
    All,
    /// The smallest one of at least 8 GiB; other disks keep their data.
    Smallest,
    /// The listed disks: kernel names or paths below `/dev`.
    Named(Vec<String>),
}

/// How the disks are partitioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// The distribution's default.
    #[default]
    Automatic,
    /// Partitions.
    Plain,
    /// Logical volumes.
    Lvm,
    /// Btrfs subvolumes.
    Btrfs,
}

/// SELinux in the installed system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SelinuxMode {
    /// Enforcing.
    #[default]
    Enforcing,
    /// Permissive.
    Permissive,
    /// Disabled.
    Disabled,
}

impl InstallSettings {
    /// The installer replaces the image's language, keyboard, time zone and kernel arguments with
    /// those of the kickstart. So the kickstart repeats the image's values, unless the settings set
    /// others.
    pub(super) fn follow(&mut self, image: &Customizations) {
        let first = image.locale.languages.first().cloned();
        self.language = self.language.take().or(first);
        self.keyboard = self.keyboard.take().or_else(|| image.locale.keyboard.clone());
        self.timezone = self.timezone.take().or_else(|| image.timezone.timezone.clone());
        let arguments: Vec<String> =
            image.kernel_arguments().into_iter().chain(self.kernel_arguments.take()).collect();
        self.kernel_arguments = (!arguments.is_empty()).then(|| arguments.join(" "));
    }
}
