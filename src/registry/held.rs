//! A version never changes its bytes: what a registry holds of a version, and whether more may join
//! it.
//!
//! All tarballs of a version come from one tree, and all boot with the same pieces. A registry
//! compares before it sends anything.

use std::path::Path;

use super::piece::Role;
use super::references::References;
use super::set::{Set, extension_of, stem};
use crate::artifact::Tarball;
use crate::error::{ExitCode, Failure};

/// A file of a version that a registry holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldFile {
    /// Its role.
    pub role: Role,
    /// The suffix of the tarball that it is, or that it belongs to; boot pieces belong to all and
    /// have none.
    pub extension: String,
    /// Where it is: a path, or what the registry calls it.
    pub place: String,
    /// Its SHA-256, where it is known.
    pub sha256: Option<String>,
    /// Its SHA-512, where it is known.
    pub sha512: Option<String>,
}

/// What a registry holds under a name, version and architecture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// When it was made: RFC 3339, in UTC.
    pub created: String,
    /// SHA-256 of its tarballs before compression, where it is recorded.
    pub tree: Option<String>,
    /// Its files.
    pub files: Vec<HeldFile>,
}

/// What is to join it.
#[derive(Debug, Clone)]
pub(super) struct Arriving<'a> {
    /// SHA-256 of the tarballs before compression, where it is known.
    pub tree: Option<&'a str>,
    pub files: Vec<ArrivingFile<'a>>,
}

/// A file that is to join a version.
#[derive(Debug, Clone, Copy)]
pub(super) struct ArrivingFile<'a> {
    pub role: Role,
    pub extension: &'a str,
    pub sha256: &'a str,
    pub sha512: &'a str,
}

impl<'a> Arriving<'a> {
    pub fn from_set(set: &'a Set, tree: Option<&'a str>) -> Self {
        let files = Role::ALL.into_iter().filter_map(|role| {
            let (piece, extension) = (set.piece(role)?, if shared(role) { "" } else { set.tarball.extension });
            Some(ArrivingFile { role, extension, sha256: &piece.sha256, sha512: &piece.sha512 })
        });
        Self { tree, files: files.collect() }
    }

    pub fn from_tarballs(tarballs: &'a [Tarball], tree: &'a str) -> Self {
        let file = |tarball: &'a Tarball| ArrivingFile {
            role: Role::Tarball,
            extension: extension_of(&tarball.file),
            sha256: &tarball.sha256,
            sha512: &tarball.sha512,
        };
        Self { tree: Some(tree), files: tarballs.iter().map(file).collect() }
    }
}

/// The boot pieces and the kickstart of a published set; `directory` is where they are.
pub(super) fn held_pieces(references: &References, directory: &Path) -> Vec<HeldFile> {
    let file = |role: Role| {
        let reference = references.role(role).filter(|_| role != Role::Tarball)?;
        Some(HeldFile {
            role,
            extension: if shared(role) { String::new() } else { references.extension.clone() },
            place: directory.join(&reference.id).display().to_string(),
            sha256: reference.sha256.clone(),
            sha512: reference.sha512.clone(),
        })
    };
    Role::ALL.into_iter().filter_map(file).collect()
}

/// Whether all tarballs of a version share the piece.
pub(super) const fn shared(role: Role) -> bool {
    matches!(role, Role::Kernel | Role::Ramdisk | Role::Stage2)
}

/// What keeps a set from joining a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clash {
    /// The file that is there.
    pub held: HeldFile,
    created: String,
    why: Why,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    OtherBytes,
    OtherTree,
    /// It is not recorded of which tree they are.
    UnknownTree,
}

impl Held {
    /// The first thing that differs from what is to join; nothing when it may.
    pub(super) fn clash(&self, arriving: &Arriving<'_>) -> Option<Clash> {
        let clash = |held: &HeldFile, why| Some(Clash { held: held.clone(), created: self.created.clone(), why });
        for held in &self.files {
            let same_place = |file: &&ArrivingFile<'_>| (file.role, file.extension) == (held.role, held.extension.as_str());
            match arriving.files.iter().find(same_place) {
                Some(file) if !held.is(file) => return clash(held, Why::OtherBytes),
                Some(_) => {}
                None if held.role != Role::Tarball || arriving.files.iter().any(|file| held.is(file)) => {}
                None => match (self.tree.as_deref(), arriving.tree) {
                    (Some(there), Some(here)) if there == here => {}
                    (Some(_), Some(_)) => return clash(held, Why::OtherTree),
                    _ => return clash(held, Why::UnknownTree),
                },
            }
        }
        None
    }

    /// Whether all tarballs of what is to join are there already.
    pub(super) fn has_all(&self, arriving: &Arriving<'_>) -> bool {
        arriving.files.iter().all(|file| self.files.iter().any(|held| held.role == file.role && held.extension == file.extension))
    }
}

impl HeldFile {
    fn is(&self, file: &ArrivingFile<'_>) -> bool {
        match (&self.sha512, &self.sha256) {
            (Some(sha512), _) => sha512 == file.sha512,
            (None, Some(sha256)) => sha256 == file.sha256,
            (None, None) => false,
        }
    }
}

impl Clash {
    /// What exists, in a few words: the place, its digest and its date.
    pub fn existing(&self) -> String {
        let digest = match (&self.held.sha256, &self.held.sha512) {
            (Some(sha256), _) => format!("sha256 {sha256}"),
            (None, Some(sha512)) => format!("sha512 {sha512}"),
            (None, None) => "digest unknown".to_owned(),
        };
        let date = if self.created.is_empty() { String::new() } else { format!(", of {}", self.created) };
        format!("{} ({digest}{date})", self.held.place)
    }

    /// The difference, in a few words.
    pub const fn difference(&self) -> &'static str {
        match self.why {
            Why::OtherBytes => "exists with other bytes",
            Why::OtherTree => "exists with other content",
            Why::UnknownTree => "exists, and whether its content is the same is not recorded",
        }
    }

    /// The failure of a publication that may not replace anything. `doing` names what was being
    /// published, and where.
    pub fn refuse(&self, doing: &str, stem: &str) -> anyhow::Error {
        Failure::new(ExitCode::Registry, format!("{doing}: {stem} {}: {}", self.difference(), self.existing()))
            .hint("give this image another version: --image-version VERSION")
            .hint("or replace all files of that version: --replace")
            .into()
    }
}

/// The names of a version in a directory or a web server's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// What the names of its files begin with.
    pub stem: String,
    /// The link to the newest version, without suffix.
    pub latest: String,
}

/// An image that a directory or tree holds, as far as its names matter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Neighbour<'a> {
    pub stem: &'a str,
    pub name: &'a str,
    pub arch: Option<&'a str>,
}

impl Place {
    /// The names of a version among those that are there: `NAME-VERSION`, and `NAME-VERSION.ARCH`
    /// where another architecture has the plain names. The first architecture of a name gets the
    /// plain ones, and keeps them.
    pub fn of(name: &str, version: &str, arch: Option<&str>, there: &[Neighbour<'_>]) -> Self {
        let plain = stem(name, version);
        let latest = format!("{name}-latest");
        let Some(arch) = arch else { return Self { stem: plain, latest } };
        let own = Self { stem: format!("{plain}.{arch}"), latest: format!("{latest}.{arch}") };
        if there.iter().any(|other| other.stem == own.stem) {
            return own;
        }
        let is_plain = |other: &&Neighbour<'_>| other.name == name && other.arch.is_some_and(|a| !other.stem.ends_with(&format!(".{a}")));
        let taken = match there.iter().find(|other| other.stem == plain) {
            Some(other) => other.arch.is_some_and(|other| other != arch),
            None => {
                let mut owners = there.iter().filter(is_plain).filter_map(|other| other.arch).peekable();
                owners.peek().is_some() && owners.all(|owner| owner != arch)
            }
        };
        if taken { own } else { Self { stem: plain, latest } }
    }
}

/// The link to the newest of the images that share its names.
pub(super) fn latest(name: &str, stem: &str, arch: Option<&str>) -> String {
    match arch {
        Some(arch) if stem.ends_with(&format!(".{arch}")) => format!("{name}-latest.{arch}"),
        _ => format!("{name}-latest"),
    }
}

/// Whether two architectures may be the same: one that is not known may be any.
pub(super) fn same_arch(one: Option<&str>, other: Option<&str>) -> bool {
    one.is_none() || other.is_none() || one == other
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(tree: Option<&str>, files: &[(Role, &str, &str)]) -> Held {
        let files = files.iter().map(|(role, extension, digest)| HeldFile {
            role: *role,
            extension: (*extension).to_owned(),
            place: format!("os-1{extension}"),
            sha256: Some((*digest).to_owned()),
            sha512: Some((*digest).to_owned()),
        });
        Held { created: "2026-11-30T00:00:00Z".into(), tree: tree.map(str::to_owned), files: files.collect() }
    }

    fn arriving<'a>(tree: Option<&'a str>, files: &[(Role, &'a str, &'a str)]) -> Arriving<'a> {
        let file =
            |(role, extension, digest): &(Role, &'a str, &'a str)| ArrivingFile { role: *role, extension, sha256: digest, sha512: digest };
        Arriving { tree, files: files.iter().map(file).collect() }
    }

    #[test]
    fn only_the_same_bytes_and_other_formats_of_the_same_tree_join_a_version() {
        use Role::{Kernel, Tarball};
        let there = held(Some("t"), &[(Tarball, ".tgz", "a"), (Kernel, "", "k")]);
        for (tree, files, fits) in [
            (Some("t"), &[(Tarball, ".tgz", "a")][..], true),
            (None, &[(Tarball, ".tgz", "a"), (Kernel, "", "k")], true),
            (Some("t"), &[(Tarball, ".tgz", "b")], false),
            (Some("t"), &[(Tarball, ".txz", "b")], true),
            (Some("u"), &[(Tarball, ".txz", "b")], false),
            (None, &[(Tarball, ".txz", "b")], false),
            // The same file by another suffix.
            (None, &[(Tarball, ".tar.gz", "a")], true),
            (Some("t"), &[(Tarball, ".tgz", "a"), (Kernel, "", "l")], false),
            (Some("t"), &[(Tarball, ".tgz", "a"), (Role::Stage2, "", "s")], true),
        ] {
            let clash = there.clash(&arriving(tree, files));
            assert_eq!(clash.is_none(), fits, "{files:?}: {clash:?}");
        }
        let clash = there.clash(&arriving(Some("t"), &[(Tarball, ".tgz", "b")])).expect("other bytes");
        let error = clash.refuse("publishing os-1 to dir:/srv", "os-1");
        assert_eq!(crate::error::exit_code(&error), ExitCode::Registry);
        let text = crate::error::render(&error);
        for part in ["os-1.tgz", "sha256 a", "2026-11-30T00:00:00Z", "--replace", "--image-version"] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }

    #[test]
    fn the_first_architecture_keeps_the_plain_names() {
        let there = [("os-1", Some("x86_64")), ("other-1", Some("s390x")), ("os-2.aarch64", Some("aarch64")), ("os-0", None)];
        let there = there.map(|(stem, arch)| Neighbour { stem, name: if stem == "other-1" { "other" } else { "os" }, arch });
        for (version, arch, among, stem) in [
            ("1", Some("x86_64"), &[][..], "os-1"),
            ("1", Some("x86_64"), &there[..], "os-1"),
            ("2", Some("x86_64"), &there, "os-2"),
            ("1", Some("aarch64"), &there, "os-1.aarch64"),
            ("3", Some("aarch64"), &there, "os-3.aarch64"),
            ("2", Some("aarch64"), &there, "os-2.aarch64"),
            ("1", None, &there, "os-1"),
            ("0", Some("aarch64"), &there, "os-0"),
            ("9", Some("aarch64"), &there[1..2], "os-9"),
        ] {
            let place = Place::of("os", version, arch, among);
            assert_eq!(place.stem, stem, "{version} {arch:?}");
            assert_eq!(place.latest == "os-latest", !stem.ends_with("aarch64"), "{place:?}");
        }
    }
}
