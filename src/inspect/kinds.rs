//! The purpose of a file, derived from its path, for "what uses the space?".

use serde::Serialize;
use std::fmt;

/// The purpose of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ContentKind {
    /// Kernels, initramfs and modules.
    Kernel,
    /// Firmware of devices.
    Firmware,
    /// Programs.
    Programs,
    /// Shared libraries and other files in the library directories.
    Libraries,
    /// Python modules.
    Python,
    /// Translations and locales.
    Locales,
    /// Manual pages, documentation and licences.
    Documentation,
    /// Files in /etc.
    Configuration,
    /// Files in /usr/share.
    Data,
    /// The rpmdb and the package manager's own data.
    PackageDatabase,
    /// Files in /var.
    State,
    /// Anything else.
    Other,
}

impl ContentKind {
    /// All kinds, in the order of the page's legend.
    pub(crate) const ALL: [Self; 12] = [
        Self::Kernel,
        Self::Firmware,
        Self::Programs,
        Self::Libraries,
        Self::Python,
        Self::Locales,
        Self::Documentation,
        Self::Configuration,
        Self::Data,
        Self::PackageDatabase,
        Self::State,
        Self::Other,
    ];

    /// The kind for a path in the image, without a leading slash.
    #[must_use]
    pub(crate) fn from_path(path: &[u8]) -> Self {
        let path = String::from_utf8_lossy(path);
        let parts: Vec<&str> = path.split('/').collect();
        let below_usr = parts.strip_prefix(&["usr"]).unwrap_or(&parts);
        let name = parts.last().copied().unwrap_or_default();
        match below_usr {
            ["boot", ..] | ["lib", "modules", ..] => Self::Kernel,
            ["lib", "firmware", ..] => Self::Firmware,
            ["var", "lib", "rpm" | "dnf", ..]
            | ["lib", "sysimage", ..]
            | ["var", "cache", "dnf", ..] => Self::PackageDatabase,
            ["lib" | "lib64", directory, ..] if directory.starts_with("python") => Self::Python,
            ["share", "locale", ..] | ["share", "i18n", ..] | ["lib", "locale", ..] => {
                Self::Locales
            }
            ["share", "doc" | "man" | "info" | "licenses" | "gtk-doc" | "help", ..] => {
                Self::Documentation
            }
            ["bin" | "sbin" | "libexec", ..] | ["local", "bin" | "sbin", ..] => Self::Programs,
            ["lib" | "lib64" | "lib32" | "libx32", ..] => Self::Libraries,
            _ if name.ends_with(".so") || name.contains(".so.") => Self::Libraries,
            ["share", ..] => Self::Data,
            ["etc", ..] => Self::Configuration,
            ["var", ..] => Self::State,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for ContentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Kernel => "kernel and modules",
            Self::Firmware => "firmware",
            Self::Programs => "programs",
            Self::Libraries => "libraries",
            Self::Python => "Python",
            Self::Locales => "locales",
            Self::Documentation => "documentation",
            Self::Configuration => "configuration",
            Self::Data => "shared data",
            Self::PackageDatabase => "package database",
            Self::State => "state in /var",
            Self::Other => "other",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_purpose_of_a_file_follows_from_its_path() {
        for (path, kind) in [
            ("boot/vmlinuz-6.1", ContentKind::Kernel),
            ("usr/lib/modules/6.1/kernel/a.ko.xz", ContentKind::Kernel),
            ("lib/firmware/a.bin", ContentKind::Firmware),
            ("usr/lib64/libc.so.6", ContentKind::Libraries),
            ("usr/lib/python3.9/os.py", ContentKind::Python),
            ("usr/share/locale/de/x.mo", ContentKind::Locales),
            ("usr/share/man/man1/ls.1", ContentKind::Documentation),
            ("usr/share/zoneinfo/UTC", ContentKind::Data),
            ("etc/passwd", ContentKind::Configuration),
            ("var/lib/rpm/rpmdb.sqlite", ContentKind::PackageDatabase),
            ("var/lib/x", ContentKind::State),
            ("opt/x/libx.so.1", ContentKind::Libraries),
            ("opt/x/y", ContentKind::Other),
            ("", ContentKind::Other),
        ] {
            assert_eq!(ContentKind::from_path(path.as_bytes()), kind, "{path}");
        }
    }
}
