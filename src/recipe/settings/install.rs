//! `[deploy.install]`: how osimg's own kickstart template installs a node.

use super::fields::Check;
use super::raw;
use crate::recipe::diagnostic::quoted;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use toml::Spanned;

/// `[deploy.install]`. The default erases every disk of the node, as Ironic's own template does.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct InstallSettings {
    /// Which disks are erased and used.
    pub disks: Disks,
    /// How they are divided.
    pub layout: Layout,
    /// Kickstart's own lines for disks instead of `layout`: `part`, `volgroup`, `logvol`, `raid`,
    /// `clearpart`.
    pub storage: Option<String>,
    /// Further arguments of the installed kernel.
    pub kernel_arguments: Option<String>,
    /// Arguments of kickstart's `network` command, one command each; none leaves the installer's
    /// own connection.
    pub network: Vec<String>,
    /// The system's language; `en_US.UTF-8` when it is not set.
    pub language: Option<String>,
    /// The console's keyboard; `us` when it is not set.
    pub keyboard: Option<String>,
    /// The system's time zone; `UTC` when it is not set.
    pub timezone: Option<String>,
    /// SELinux in the installed system.
    pub selinux: SelinuxMode,
    /// Public keys that may log in as root, beside whom cloud-init makes. The password stays
    /// locked.
    pub root_keys: Vec<String>,
    /// Who signed the certificate of Ironic's API, where it is no public authority: a PEM file.
    pub authority: Option<PathBuf>,
    /// What is installed when the image source is an install tree.
    pub packages: Vec<String>,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
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
}

/// SELinux in the installed system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
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

impl Check<'_> {
    pub(super) fn install(&mut self, raw: raw::Install) -> InstallSettings {
        let disks = raw.disks.map_or(Disks::All, |disks| self.disks(&disks));
        let word = |c: char| c.is_ascii_alphanumeric() || "_.-+/@".contains(c);
        if let (Some(layout), Some(_)) = (&raw.layout, &raw.storage) {
            self.fail(layout.span(), "both `layout` and `storage`", "keep one of them");
        }
        let storage = raw.storage.map(Spanned::into_inner);
        let lines = |check: &mut Self, texts: raw::Texts, key: &str| -> Vec<String> {
            texts.into_iter().flatten().filter_map(|text| check.plain(Some(text), key)).collect()
        };
        InstallSettings {
            disks,
            layout: raw.layout.map(Spanned::into_inner).unwrap_or_default(),
            storage,
            kernel_arguments: self.plain(raw.kernel_arguments, "kernel_arguments"),
            network: lines(self, raw.network, "network"),
            language: self.matching(raw.language, "language", "letters, digits and `_.-@`", word),
            keyboard: self.matching(raw.keyboard, "keyboard", "letters, digits and `_.-`", word),
            timezone: self.matching(raw.timezone, "timezone", "letters, digits and `_-+/`", word),
            selinux: raw.selinux,
            root_keys: lines(self, raw.root_keys, "root_keys"),
            authority: self.path(raw.authority),
            packages: lines(self, raw.packages, "packages"),
        }
    }

    fn disks(&mut self, value: &Spanned<toml::Value>) -> Disks {
        let named = match value.get_ref() {
            toml::Value::String(word) if word == "all" => return Disks::All,
            toml::Value::String(word) if word == "smallest" => return Disks::Smallest,
            toml::Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>(),
            _ => None,
        };
        let good = |name: &String| {
            !name.is_empty() && !name.starts_with('-') && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-+:/@*".contains(c))
        };
        match named {
            Some(names) if !names.is_empty() && names.iter().all(good) => Disks::Named(names),
            Some(names) => {
                let wrong = names.iter().find(|name| !good(name)).map_or_else(|| "an empty list".to_owned(), |name| quoted(name));
                self.fail(value.span(), format!("{wrong} names no disk"), "such as \"sda\" or \"/dev/disk/by-id/wwn-0x5000c500a1b2c3d4\"");
                Disks::All
            }
            None => {
                self.fail(value.span(), "`disks` is `\"all\"`, `\"smallest\"` or a list of disks", "");
                Disks::All
            }
        }
    }
}
