//! Which installer is to take the image: what it runs in the image differs between its versions.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// An installer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Anaconda of EL 8.
    AnacondaEl8,
    /// Anaconda of EL 9.
    AnacondaEl9,
    /// Anaconda of EL 10.
    AnacondaEl10,
    /// Anaconda of Fedora.
    Fedora,
    /// Whatever unpacks it to a disk and makes it boot by itself.
    Disk,
}

impl Profile {
    /// The one that the image's os-release asks for; that of EL 9 when it says nothing that is
    /// known.
    #[must_use]
    pub fn of(os_release: &BTreeMap<String, String>) -> Self {
        let value = |key: &str| os_release.get(key).map_or("", String::as_str);
        if value("ID") == "fedora" {
            return Self::Fedora;
        }
        match value("VERSION_ID").split('.').next() {
            Some("8") => Self::AnacondaEl8,
            Some("10") if value("ID_LIKE").split(' ').chain([value("ID")]).any(|id| ["rhel", "centos", "ol"].contains(&id)) => {
                Self::AnacondaEl10
            }
            _ => Self::AnacondaEl9,
        }
    }

    /// Whether it is Anaconda.
    #[must_use]
    pub fn is_anaconda(self) -> bool {
        self != Self::Disk
    }

    /// Whether it is Anaconda of EL 9 or later.
    #[must_use]
    pub fn is_newer_anaconda(self) -> bool {
        matches!(self, Self::AnacondaEl9 | Self::AnacondaEl10 | Self::Fedora)
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::AnacondaEl8 => "anaconda-el8",
            Self::AnacondaEl9 => "anaconda-el9",
            Self::AnacondaEl10 => "anaconda-el10",
            Self::Fedora => "fedora",
            Self::Disk => "disk",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_says_which_installer_it_is_for() {
        for (id, like, version, profile) in [
            ("rocky", "rhel centos fedora", "8.10", Profile::AnacondaEl8),
            ("centos", "rhel fedora", "9", Profile::AnacondaEl9),
            ("rhel", "fedora", "10.0", Profile::AnacondaEl10),
            ("almalinux", "rhel centos fedora", "10.1", Profile::AnacondaEl10),
            ("ol", "fedora", "10.0", Profile::AnacondaEl10),
            ("fedora", "", "42", Profile::Fedora),
            ("debian", "", "10", Profile::AnacondaEl9),
        ] {
            let os_release = [("ID", id), ("ID_LIKE", like), ("VERSION_ID", version)].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
            assert_eq!(Profile::of(&os_release), profile, "{id} {version}");
        }
        assert_eq!(Profile::of(&BTreeMap::new()), Profile::AnacondaEl9);
    }
}
