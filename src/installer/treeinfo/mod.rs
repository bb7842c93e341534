//! `.treeinfo`: the description of an install tree, with the places of the kernel, the ramdisk and
//! the second stage.
//!
//! The form is productmd's, versions 1.0 to 1.2
//! (<https://productmd.readthedocs.io/en/latest/treeinfo-1.1.html>); files from before it, which
//! have only `[general]`, are read too.

mod error;
mod ini;
mod path;
mod write;

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

pub use error::{Place, TreeInfoError};
use ini::{Section, sections};
pub use path::TreePath;

/// Longest text that is read: real ones have 1 to 5 kB.
pub(crate) const LONGEST: usize = 1 << 20;

/// The value of a checksum line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Checksum {
    /// 64 hexadecimal digits, in lower case.
    Sha256(String),
    /// Of a kind that osimg does not compute; the kind's name.
    Other(String),
}

/// The distribution that a tree installs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Release {
    /// Its name, such as `CentOS Stream`.
    pub name: String,
    /// Its short name, such as `CentOS-Stream`.
    pub short: Option<String>,
    /// Its version, such as `9`.
    pub version: String,
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// A part of the distribution. Its paths are for package managers and may leave the tree
/// (`../../AppStream/x86_64/os`): they are kept as text, and nothing here opens them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Variant {
    /// Its unique id, such as `BaseOS`.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// `variant`, `optional` or `addon`.
    pub kind: String,
    /// Where its packages are.
    pub packages: Option<String>,
    /// Where its repository is.
    pub repository: Option<String>,
}

/// A `.treeinfo`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TreeInfo {
    /// The release that it installs.
    pub release: Release,
    /// The architecture, as rpm names it.
    pub arch: String,
    /// When it was composed, in seconds since 1970.
    pub timestamp: Option<u64>,
    /// The images of each platform by their names: `kernel`, `initrd`, `boot.iso`.
    pub images: BTreeMap<String, BTreeMap<String, TreePath>>,
    /// Anaconda's second stage.
    pub stage2: Option<TreePath>,
    /// Promised checksums by path.
    pub checksums: BTreeMap<String, Checksum>,
    /// The parts.
    pub variants: Vec<Variant>,
}

impl TreeInfo {
    /// Parses the text of a `.treeinfo`.
    ///
    /// # Errors
    /// Names the problem and its place, if the text is not in the form, lacks what a boot needs to
    /// know, or names a file outside the tree.
    pub fn parse(text: &str) -> Result<Self, TreeInfoError> {
        if text.len() > LONGEST {
            return Err(TreeInfoError::missing(format!("it is longer than {LONGEST} bytes")));
        }
        let sections = Sections(sections(text)?);
        sections.header()?;
        let (release, arch) = (sections.release()?, sections.arch()?);
        let mut images = BTreeMap::new();
        let mut checksums = BTreeMap::new();
        for section in &sections.0 {
            if let Some(platform) = section.name.strip_prefix("images-") {
                // Old trees write [images-xen-x86_64] for the platform xen.
                let platform = platform.strip_suffix(&format!("-{arch}")).unwrap_or(platform);
                images.insert(platform.to_owned(), image_paths(section)?);
            } else if section.name == "checksums" {
                for entry in &section.entries {
                    checksums.insert(entry.key.to_owned(), checksum(entry)?);
                }
            }
        }
        let stage2 = match sections
            .entry("stage2", "mainimage")
            .or_else(|| sections.entry("stage2", "instimage"))
        {
            Some(entry) => Some(tree_path(entry)?),
            None => None,
        };
        let timestamp = sections
            .entry("tree", "build_timestamp")
            .or_else(|| sections.entry("general", "timestamp"));
        // Old ones have a fraction.
        let timestamp = timestamp.and_then(|entry| entry.value.split('.').next()?.parse().ok());
        Ok(Self {
            release,
            arch,
            timestamp,
            images,
            stage2,
            checksums,
            variants: sections.variants(),
        })
    }

    /// The kernel and the ramdisk that boot this architecture.
    ///
    /// # Errors
    /// When the tree boots nothing, or names only one of the two.
    pub fn boot(&self) -> Result<(&TreePath, &TreePath), String> {
        let Some(images) = self.images.get(&self.arch) else {
            let platforms: Vec<&str> = self.images.keys().map(String::as_str).collect();
            return Err(match platforms.as_slice() {
                [] => "it has no boot images: it is a package repository, not an install tree"
                    .to_owned(),
                _ => format!("it has no [images-{}], but {}", self.arch, platforms.join(", ")),
            });
        };
        let find = |key: &str| {
            images.get(key).ok_or_else(|| format!("[images-{}] has no {key}", self.arch))
        };
        Ok((find("kernel")?, find("initrd")?))
    }
}

/// The sections of one file.
struct Sections<'a>(Vec<Section<'a>>);

impl<'a> Sections<'a> {
    fn entry(&self, section: &str, key: &str) -> Option<&ini::Entry<'a>> {
        self.0.iter().find(|s| s.name == section)?.find(key)
    }

    /// The first of the places that has a value.
    fn text(&self, places: &[(&str, &str)]) -> Result<String, TreeInfoError> {
        places
            .iter()
            .filter_map(|(section, key)| self.entry(section, key))
            .find(|entry| !entry.value.is_empty())
            .map(|entry| entry.value.to_owned())
            .ok_or_else(|| {
                let names: Vec<String> =
                    places.iter().map(|(section, key)| format!("'{key}' in [{section}]")).collect();
                TreeInfoError::missing(format!("there is no {}", names.join(" or ")))
            })
    }

    fn header(&self) -> Result<(), TreeInfoError> {
        if let Some(kind) = self.entry("header", "type")
            && kind.value != "productmd.treeinfo"
        {
            return Err(TreeInfoError::new(
                kind.place,
                format!("it is a {}, not a productmd.treeinfo", kind.value),
            ));
        }
        if let Some(version) = self.entry("header", "version")
            && version.value.split('.').next() != Some("1")
        {
            return Err(TreeInfoError::new(
                version.place,
                format!("version {} of the form is not known", version.value),
            ));
        }
        Ok(())
    }

    fn release(&self) -> Result<Release, TreeInfoError> {
        Ok(Release {
            name: self.text(&[("release", "name"), ("general", "family")])?,
            short: self.text(&[("release", "short")]).ok(),
            version: self.text(&[("release", "version"), ("general", "version")])?,
        })
    }

    fn arch(&self) -> Result<String, TreeInfoError> {
        let arch = self.text(&[("tree", "arch"), ("general", "arch")])?;
        if arch.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            Ok(arch)
        } else {
            Err(TreeInfoError::missing(format!("{arch:?} is not an architecture")))
        }
    }

    fn variants(&self) -> Vec<Variant> {
        self.0
            .iter()
            .filter(|section| {
                section.name.starts_with("variant-") || section.name.starts_with("addon-")
            })
            .map(|section| {
                let own = |key: &str| {
                    section
                        .find(key)
                        .map(|entry| entry.value.to_owned())
                        .filter(|value| !value.is_empty())
                };
                let (kind, uid) = section.name.split_once('-').unwrap_or(("variant", section.name));
                Variant {
                    uid: own("uid").unwrap_or_else(|| uid.to_owned()),
                    name: own("name").unwrap_or_else(|| uid.to_owned()),
                    kind: own("type").unwrap_or_else(|| kind.to_owned()),
                    packages: own("packages"),
                    repository: own("repository"),
                }
            })
            .collect()
    }
}

fn tree_path(entry: &ini::Entry<'_>) -> Result<TreePath, TreeInfoError> {
    TreePath::parse(entry.value).map_err(|trick| {
        TreeInfoError::new(entry.place, format!("a path cannot be {:?}: {trick}", entry.value))
    })
}

fn image_paths(section: &Section<'_>) -> Result<BTreeMap<String, TreePath>, TreeInfoError> {
    section.entries.iter().map(|entry| Ok((entry.key.to_owned(), tree_path(entry)?))).collect()
}

fn checksum(entry: &ini::Entry<'_>) -> Result<Checksum, TreeInfoError> {
    let wrong = |why: &str| {
        TreeInfoError::new(entry.place, format!("the checksum of {:?} {why}", entry.key))
    };
    let (kind, digest) =
        entry.value.split_once(':').ok_or_else(|| wrong("is not written KIND:DIGEST"))?;
    if digest.is_empty() || !digest.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(wrong("is not hexadecimal"));
    }
    match kind {
        "sha256" if digest.len() == 64 => Ok(Checksum::Sha256(digest.to_ascii_lowercase())),
        "sha256" => Err(wrong("has not the 64 digits of a sha256")),
        _ => Ok(Checksum::Other(kind.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = include_str!("../../../fixtures/treeinfo/centos-stream-9.treeinfo");
    const OLD: &str = include_str!("../../../fixtures/treeinfo/general-only.treeinfo");

    fn wrong(text: &str) -> String {
        TreeInfo::parse(text).expect_err(text).to_string()
    }

    #[test]
    fn a_tree_of_today_says_what_it_is_and_what_boots_it() {
        let tree = TreeInfo::parse(STREAM).expect("a treeinfo");
        assert_eq!(tree.release.to_string(), "CentOS Stream 9");
        assert_eq!((tree.arch.as_str(), tree.timestamp), ("x86_64", Some(1_731_954_816)));
        let (kernel, initrd) = tree.boot().expect("boot images");
        assert_eq!(
            (kernel.as_str(), initrd.as_str()),
            ("images/pxeboot/vmlinuz", "images/pxeboot/initrd.img")
        );
        assert_eq!(tree.stage2.as_ref().map(TreePath::as_str), Some("images/install.img"));
        assert_eq!(tree.checksums["images/install.img"], Checksum::Sha256("5f".repeat(32)));
        let uids: Vec<&str> = tree.variants.iter().map(|v| v.uid.as_str()).collect();
        assert_eq!(uids, ["AppStream", "BaseOS"]);
        assert_eq!(tree.variants[0].repository.as_deref(), Some("../../../AppStream/x86_64/os"));
    }

    #[test]
    fn a_tree_from_before_productmd_is_read_from_its_general_section() {
        let tree = TreeInfo::parse(OLD).expect("a treeinfo");
        assert_eq!(
            tree.release,
            Release { name: "Fedora".into(), short: None, version: "20".into() }
        );
        assert_eq!((tree.arch.as_str(), tree.timestamp), ("x86_64", Some(1_386_857_206)));
        assert_eq!(tree.boot().expect("boot images").0.as_str(), "images/pxeboot/vmlinuz");
        assert!(tree.images.contains_key("xen"));
        assert_eq!(tree.checksums["images/macboot.img"], Checksum::Other("md5".into()));
    }

    #[test]
    fn paths_that_leave_the_tree_are_refused_with_their_line_and_column() {
        for trick in [
            "../vmlinuz",
            "a/../../vmlinuz",
            "/etc/shadow",
            "a//b",
            "a/./b",
            "http://evil.example/vmlinuz",
            "images/%2e%2e/vmlinuz",
            "images/vmlinuz?x",
            "images/vmlinuz#x",
            "images\\vmlinuz",
            "",
            "images/",
            "images/vm linuz",
        ] {
            let text =
                STREAM.replace("kernel = images/pxeboot/vmlinuz", &format!("kernel = {trick}"));
            assert_ne!(text, STREAM);
            let message = wrong(&text);
            assert!(message.contains("a path cannot be"), "{trick}: {message}");
            if !trick.is_empty() {
                assert!(message.starts_with("22:10: "), "{trick}: {message}");
            }
        }
        let message = wrong(
            &STREAM.replace("mainimage = images/install.img", "mainimage = ../../install.img"),
        );
        assert!(message.ends_with("it leaves the tree"), "{message}");
    }

    #[test]
    fn what_is_not_in_the_form_is_told_with_its_place() {
        for (text, expected) in [
            ("[general]\nname", "2:1: a line that is neither"),
            ("x = y\n", "1:1: a key before the first section"),
            ("[general\n", "1:1: a section that is not written"),
            ("[a]\n[b]\n[a]\n", "3:1: a second section [a]"),
            ("[a]\nx = 1\nx = 2\n", "3:1: 'x' a second time in [a]"),
            ("[a]\nx = 1\n  more\n", "3:1: a line that begins with a blank"),
            ("[a]\nx = a\u{1b}[31m\n", "2:6: a control character"),
            ("[a]\r\n", "1:4: a control character"),
            ("[a]\n= 1\n", "2:1: a value without a key"),
            ("[header]\ntype = productmd.images\n", "2:8: it is a productmd.images"),
            ("[header]\nversion = 2.0\n", "2:11: version 2.0"),
            ("", "there is no 'name' in [release] or 'family' in [general]"),
            ("[release]\nname = F\nversion = 1\n", "there is no 'arch' in [tree]"),
            ("[release]\nname = F\nversion = 1\n[tree]\narch = ../x\n", "is not an architecture"),
            (
                "[release]\nname=F\nversion=1\n[tree]\narch=x\n[checksums]\na = sha256:ab\n",
                "7:5: the checksum of \"a\" has not the 64",
            ),
            (
                "[release]\nname=F\nversion=1\n[tree]\narch=x\n[checksums]\na = abcd\n",
                "7:5: the checksum of \"a\" is not written",
            ),
        ] {
            let message = wrong(text);
            assert!(message.contains(expected), "{text:?}: {message}");
        }
        assert!(wrong(&"#".repeat(LONGEST + 1)).contains("longer"));
    }

    #[test]
    fn a_package_repository_is_told_from_an_install_tree() {
        let tree = TreeInfo::parse("[release]\nname=F\nversion=1\n[tree]\narch=x86_64\n")
            .expect("a treeinfo");
        assert!(tree.boot().expect_err("nothing boots").contains("package repository"));
        let tree = TreeInfo::parse(
            "[release]\nname=F\nversion=1\n[tree]\narch=x86_64\n[images-aarch64]\nkernel=k\n",
        )
        .expect("a treeinfo");
        assert!(tree.boot().expect_err("another machine").contains("[images-x86_64], but aarch64"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(
            text in "(\\[[a-z-]{0,9}\\]|[a-z]{0,4} ?= ?[a-z/.:0-9]{0,9}|.{0,9}|\n){0,30}"
        ) {
            let _ = TreeInfo::parse(&text);
        }

        #[test]
        fn a_path_that_is_taken_stays_below_its_top(text in "[a./%\\\\ :]{0,12}") {
            if let Ok(path) = TreePath::parse(&text) {
                for part in std::path::Path::new(path.as_str()).components() {
                    assert!(matches!(part, std::path::Component::Normal(_)), "{text}");
                }
            }
        }
    }
}
