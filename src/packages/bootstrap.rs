//! The packages of a bootstrap root.

use crate::recipe::PackageSettings;

/// The packages of a bootstrap root for a release.
#[must_use]
pub(crate) fn bootstrap_packages(settings: &PackageSettings) -> Vec<String> {
    if !settings.bootstrap_packages.is_empty() {
        return settings.bootstrap_packages.clone();
    }
    let release = settings
        .releasever
        .as_deref()
        .and_then(|text| text.split(['.', '-']).next())
        .and_then(|text| text.parse::<u32>().ok());
    // Fedora's dnf is dnf 5 since release 41. Enterprise Linux has dnf 4.
    let manager = match release {
        Some(41..) => "python3-libdnf5",
        _ => "python3-dnf",
    };
    // The release package has rpm macros; scriptlets of other packages assume the last three.
    [
        manager,
        "python3-rpm",
        "rpm",
        "system-release",
        "ca-certificates",
        "coreutils",
        "findutils",
        "sed",
    ]
    .map(str::to_owned)
    .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tools_of_a_release_are_part_of_that_release() {
        let tools = |release: &str| {
            let settings =
                PackageSettings { releasever: Some(release.into()), ..PackageSettings::default() };
            bootstrap_packages(&settings)[..2].join(" ")
        };
        assert_eq!(tools("9-stream"), "python3-dnf python3-rpm");
        assert_eq!(tools("42"), "python3-libdnf5 python3-rpm");
    }
}
