//! What a person may say about the installation: disks, boot loader, network, language, keys.

use serde::Serialize;

use crate::archive::Format;

/// How our template installs. The default erases every disk of the node, as Ironic's own template does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// The tarball that is installed; none when nodes are installed from a tree only.
    pub tarball: Option<Tarball>,
    /// Which disks are erased and used.
    pub disks: Disks,
    /// How they are divided.
    pub layout: Layout,
    /// Further arguments of the installed kernel.
    pub kernel_arguments: Option<String>,
    /// Arguments of kickstart's `network` command, one command each; none leaves the installer's own connection.
    pub network: Vec<String>,
    /// The system's language; `en_US.UTF-8` when it is not set.
    pub language: Option<String>,
    /// The console's keyboard; `us` when it is not set.
    pub keyboard: Option<String>,
    /// The system's time zone; `UTC` when it is not set.
    pub timezone: Option<String>,
    /// SELinux in the installed system.
    pub selinux: SelinuxMode,
    /// Public keys that may log in as root, beside whom cloud-init makes. The password stays locked.
    pub root_keys: Vec<String>,
    /// Who signed the certificate of Ironic's API, where it is no public authority.
    pub authority: Option<Authority>,
    /// What is installed when the image source is an install tree.
    pub packages: Vec<String>,
}

/// The tarball as Anaconda must find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tarball {
    /// The digest, in hex.
    pub sha256: String,
    /// Its format, which Anaconda tells by the end of the URL.
    pub format: Format,
}

/// Which disks of the node are erased and used.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Disks {
    /// All of them.
    #[default]
    All,
    /// The smallest one of at least 8 GiB; the others keep what is on them.
    Smallest,
    /// These: kernel names or paths below `/dev`.
    Named(Vec<String>),
}

/// How the disks are divided.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// As the distribution likes it.
    #[default]
    Automatic,
    /// Partitions.
    Plain,
    /// Logical volumes.
    Lvm,
    /// Btrfs subvolumes.
    Btrfs,
    /// Kickstart's own lines: `part`, `volgroup`, `logvol`, `raid`, `clearpart`.
    Lines(String),
}

/// SELinux in the installed system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SelinuxMode {
    /// It is enforced.
    #[default]
    Enforcing,
    /// It only complains.
    Permissive,
    /// It is off.
    Disabled,
}

/// Certificates that a node checks Ironic's API against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// PEM.
    pub pem: String,
}
