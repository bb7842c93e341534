//! A version never changes its bytes: the files that a registry has of a version, and whether more
//! may be added.
//!
//! All tarballs of a version come from one tree, and all boot with the same pieces. A registry
//! compares before it sends anything.

use std::path::Path;

use super::manifest::Tarball;
use super::piece::Role;
use super::references::References;
use super::{Set, extension_of};
use crate::error::{ExitCode, Failure};

/// A file of a version that a registry holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedFile {
    /// Its role.
    pub role: Role,
    /// The suffix of the tarball that it is, or that it belongs to; boot pieces belong to all and
    /// have none.
    pub extension: String,
    /// Where it is: a path, or the registry's name for it.
    pub place: String,
    /// Its SHA-256, where it is known.
    pub sha256: Option<String>,
    /// Its SHA-512, where it is known.
    pub sha512: Option<String>,
}

/// The files that a registry has under a name, version and architecture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublishedVersion {
    /// When it was made: RFC 3339, in UTC.
    pub created: String,
    /// SHA-256 of its tarballs before compression, where it is recorded.
    pub tree: Option<String>,
    /// Its files.
    pub files: Vec<PublishedFile>,
}

/// The files that are to be added.
#[derive(Debug, Clone)]
pub(crate) struct NewFiles<'a> {
    /// SHA-256 of the tarballs before compression, where it is known.
    pub tree: Option<&'a str>,
    pub files: Vec<NewFile<'a>>,
}

/// A file that is to be added to a version.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewFile<'a> {
    pub role: Role,
    pub extension: &'a str,
    pub sha256: &'a str,
    pub sha512: &'a str,
}

impl<'a> NewFiles<'a> {
    pub(crate) fn from_set(set: &'a Set, tree: Option<&'a str>) -> Self {
        let files = Role::ALL.into_iter().filter_map(|role| {
            let (piece, extension) =
                (set.piece(role)?, if shared(role) { "" } else { set.tarball.extension });
            Some(NewFile { role, extension, sha256: &piece.sha256, sha512: &piece.sha512 })
        });
        Self { tree, files: files.collect() }
    }

    pub(crate) fn from_tarballs(tarballs: &'a [Tarball], tree: &'a str) -> Self {
        let file = |tarball: &'a Tarball| NewFile {
            role: Role::Tarball,
            extension: extension_of(&tarball.file),
            sha256: &tarball.sha256,
            sha512: &tarball.sha512,
        };
        Self { tree: Some(tree), files: tarballs.iter().map(file).collect() }
    }
}

/// The boot pieces and the kickstart of a published set; `directory` is where they are.
pub(crate) fn published_pieces(references: &References, directory: &Path) -> Vec<PublishedFile> {
    let file = |role: Role| {
        let reference = references.role(role).filter(|_| role != Role::Tarball)?;
        Some(PublishedFile {
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
pub(crate) const fn shared(role: Role) -> bool {
    matches!(role, Role::Kernel | Role::Ramdisk | Role::Stage2)
}

/// The reason why a set cannot be added to a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clash {
    /// The file that is there.
    pub file: PublishedFile,
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

impl PublishedVersion {
    /// The first difference to the new files; `None` if they may be added.
    pub(crate) fn clash(&self, new: &NewFiles<'_>) -> Option<Clash> {
        let clash = |existing: &PublishedFile, why| {
            Some(Clash { file: existing.clone(), created: self.created.clone(), why })
        };
        for existing in &self.files {
            let same_place = |file: &&NewFile<'_>| {
                (file.role, file.extension) == (existing.role, existing.extension.as_str())
            };
            match new.files.iter().find(same_place) {
                Some(file) if !existing.is(file) => return clash(existing, Why::OtherBytes),
                Some(_) => {}
                None if existing.role != Role::Tarball
                    || new.files.iter().any(|file| existing.is(file)) => {}
                None => match (self.tree.as_deref(), new.tree) {
                    (Some(there), Some(here)) if there == here => {}
                    (Some(_), Some(_)) => return clash(existing, Why::OtherTree),
                    _ => return clash(existing, Why::UnknownTree),
                },
            }
        }
        None
    }

    /// Whether all new tarballs exist already.
    pub(crate) fn has_all(&self, new: &NewFiles<'_>) -> bool {
        new.files.iter().all(|file| {
            self.files
                .iter()
                .any(|existing| existing.role == file.role && existing.extension == file.extension)
        })
    }
}

impl PublishedFile {
    fn is(&self, file: &NewFile<'_>) -> bool {
        match (&self.sha512, &self.sha256) {
            (Some(sha512), _) => sha512 == file.sha512,
            (None, Some(sha256)) => sha256 == file.sha256,
            (None, None) => false,
        }
    }
}

impl Clash {
    /// A short description of the existing file: its place, digest and date.
    pub(crate) fn existing(&self) -> String {
        let digest = match (&self.file.sha256, &self.file.sha512) {
            (Some(sha256), _) => format!("sha256 {sha256}"),
            (None, Some(sha512)) => format!("sha512 {sha512}"),
            (None, None) => "digest unknown".to_owned(),
        };
        let date =
            if self.created.is_empty() { String::new() } else { format!(", of {}", self.created) };
        format!("{} ({digest}{date})", self.file.place)
    }

    /// The difference, in a few words.
    pub(crate) const fn difference(&self) -> &'static str {
        match self.why {
            Why::OtherBytes => "exists with other bytes",
            Why::OtherTree => "exists with other content",
            Why::UnknownTree => "exists, and whether its content is the same is not recorded",
        }
    }

    /// The failure of a publication that may not replace anything. `doing` names what was being
    /// published, and where.
    pub(crate) fn refuse(&self, doing: &str, stem: &str) -> anyhow::Error {
        Failure::new(
            ExitCode::Registry,
            format!("{doing}: {stem} {}: {}", self.difference(), self.existing()),
        )
        .hint("give this image another version: --image-version VERSION")
        .hint("or replace all files of that version: --replace")
        .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn existing(tree: Option<&str>, files: &[(Role, &str, &str)]) -> PublishedVersion {
        let files = files.iter().map(|(role, extension, digest)| PublishedFile {
            role: *role,
            extension: (*extension).to_owned(),
            place: format!("os-1{extension}"),
            sha256: Some((*digest).to_owned()),
            sha512: Some((*digest).to_owned()),
        });
        PublishedVersion {
            created: "2026-11-30T00:00:00Z".into(),
            tree: tree.map(str::to_owned),
            files: files.collect(),
        }
    }

    fn new<'a>(tree: Option<&'a str>, files: &[(Role, &'a str, &'a str)]) -> NewFiles<'a> {
        let file = |(role, extension, digest): &(Role, &'a str, &'a str)| NewFile {
            role: *role,
            extension,
            sha256: digest,
            sha512: digest,
        };
        NewFiles { tree, files: files.iter().map(file).collect() }
    }

    #[test]
    fn only_the_same_bytes_and_other_formats_of_the_same_tree_join_a_version() {
        use Role::{Kernel, Tarball};
        let there = existing(Some("t"), &[(Tarball, ".tgz", "a"), (Kernel, "", "k")]);
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
            let clash = there.clash(&new(tree, files));
            assert_eq!(clash.is_none(), fits, "{files:?}: {clash:?}");
        }
        let clash = there.clash(&new(Some("t"), &[(Tarball, ".tgz", "b")])).expect("other bytes");
        let error = clash.refuse("publishing os-1 to dir:/srv", "os-1");
        assert_eq!(crate::error::exit_code(&error), ExitCode::Registry);
        let text = crate::error::render(&error);
        for part in ["os-1.tgz", "sha256 a", "2026-11-30T00:00:00Z", "--replace", "--image-version"]
        {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }
}
