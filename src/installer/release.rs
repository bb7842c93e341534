//! Whether installer and image are of one distribution and release: the installer writes the boot
//! loader's EFI directory and runs the image's own tools, and both are named and made by the
//! distribution.

use std::path::Path;

use crate::installer::treeinfo::Release;
use crate::set::{LARGEST_MANIFEST, Set, manifest_text};
use crate::{files, naming};

/// The image's side: `ID` and `VERSION_ID` of its os-release, and its architecture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageRelease {
    /// `ID`, such as `centos`.
    pub id: Option<String>,
    /// `VERSION_ID`, such as `9` or `9.4`.
    pub version: Option<String>,
    /// The architecture, as rpm names it.
    pub arch: Option<String>,
}

impl ImageRelease {
    /// The release from a set's properties.
    #[must_use]
    pub(crate) fn from_set(set: &Set) -> Self {
        Self { id: set.os_distro.clone(), version: set.os_version.clone(), arch: set.arch.clone() }
    }

    /// The release in a manifest: `path`, or the one next to the tarball `path`. Empty if there is
    /// none.
    pub(crate) fn recorded(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let manifest = match naming::suffix(&name) {
            Some(suffix) => {
                path.with_file_name(naming::manifest(name.strip_suffix(suffix).unwrap_or(&name)))
            }
            None => path.to_owned(),
        };
        let Ok(text) = files::read_text(&manifest, LARGEST_MANIFEST) else {
            return Self::default();
        };
        let (id, version) = manifest_text::os_release(&text);
        Self { id, version, arch: manifest_text::arch(&text) }
    }
}

/// The result of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Comparison {
    /// One and the same.
    Same,
    /// They differ in a way that does no harm, or one side is not known; a note for the user.
    Note(String),
    /// They do not belong together.
    Differs(String),
}

/// Names in `.treeinfo` that do not begin with the `ID` of os-release.
const OTHER_NAMES: [(&str, &[&str]); 3] = [
    ("rhel", &["redhatenterpriselinux"]),
    ("ol", &["oraclelinux", "oraclelinuxserver"]),
    ("sles", &["suselinuxenterprise"]),
];

/// Compares an install tree's release with the image's.
#[must_use]
pub(super) fn compare(tree: &Release, image: &ImageRelease) -> Comparison {
    let (Some(id), Some(version)) = (&image.id, &image.version) else {
        return Comparison::Note(format!(
            "the image's distribution is not known (no manifest next to it): it must be {tree}, \
             as the boot pieces are"
        ));
    };
    if !same_distribution(tree, id) {
        return Comparison::Differs(format!(
            "the boot pieces are {tree}'s, the image is {id} {version}"
        ));
    }
    let major = |text: &str| text.split('.').next().unwrap_or_default().to_ascii_lowercase();
    if major(&tree.version) != major(version) {
        return Comparison::Differs(format!(
            "the boot pieces are {tree}'s, the image is {id} {version}"
        ));
    }
    if tree.version == *version {
        Comparison::Same
    } else {
        Comparison::Note(format!(
            "the boot pieces are {tree}'s, the image is {id} {version}: of one major release, \
             which does"
        ))
    }
}

fn same_distribution(tree: &Release, id: &str) -> bool {
    let id = letters(id);
    let others =
        OTHER_NAMES.iter().find(|(name, _)| *name == id).map_or(&[] as &[&str], |(_, names)| names);
    [tree.short.as_deref().unwrap_or_default(), tree.name.as_str()].into_iter().map(letters).any(
        |name| {
            // "CentOS Stream" and "Fedora-Server" begin with the id; a short id such as "ol" must
            // be all of the name.
            name == id
                || id.len() >= 5 && name.starts_with(&id)
                || others.iter().any(|other| name.starts_with(other))
        },
    )
}

fn letters(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(name: &str, short: Option<&str>, version: &str) -> Release {
        Release { name: name.into(), short: short.map(Into::into), version: version.into() }
    }

    fn image(id: &str, version: &str) -> ImageRelease {
        ImageRelease { id: Some(id.into()), version: Some(version.into()), arch: None }
    }

    #[test]
    fn the_names_of_distributions_in_trees_and_images_are_brought_together() {
        for (name, short, version, id, image_version) in [
            ("CentOS Stream", Some("CentOS-Stream"), "10", "centos", "10"),
            ("Red Hat Enterprise Linux", Some("RHEL"), "9.4", "rhel", "9.4"),
            ("Red Hat Enterprise Linux", None, "9.4", "rhel", "9.4"),
            ("Fedora", Some("Fedora"), "43", "fedora", "43"),
            ("Fedora-Server", None, "21", "fedora", "21"),
            ("Rocky Linux", Some("Rocky"), "9.6", "rocky", "9.6"),
            ("AlmaLinux", Some("AlmaLinux"), "10.0", "almalinux", "10.0"),
            ("Oracle Linux Server", Some("OL"), "9.4", "ol", "9.4"),
            ("osimg demo distribution", None, "12", "osimg-demo", "12"),
        ] {
            assert_eq!(
                compare(&tree(name, short, version), &image(id, image_version)),
                Comparison::Same,
                "{name}"
            );
        }
    }

    #[test]
    fn another_distribution_or_major_release_differs_and_a_minor_one_is_told() {
        let rocky = tree("Rocky Linux", Some("Rocky"), "9.6");
        assert!(matches!(compare(&rocky, &image("rocky", "9.4")), Comparison::Note(_)));
        for (id, version) in
            [("rocky", "10.0"), ("almalinux", "9.6"), ("rhel", "9.6"), ("ro", "9.6")]
        {
            assert!(
                matches!(compare(&rocky, &image(id, version)), Comparison::Differs(_)),
                "{id} {version}"
            );
        }
        assert!(matches!(
            compare(&tree("Olive", None, "9"), &image("ol", "9")),
            Comparison::Differs(_)
        ));
        assert!(matches!(compare(&rocky, &ImageRelease::default()), Comparison::Note(_)));
    }
}
