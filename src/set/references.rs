//! References: the names and addresses of a published set's pieces in a registry.

use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

use super::Set;
use super::kept::Kept;
use super::piece::{Piece, Role};
use crate::error::Result;

/// Which kind of registry a reference belongs to: what Ironic can do with it depends on that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A directory; ids are file names, URLs are `file://`.
    Directory,
    /// Glance; ids are UUIDs.
    Glance,
    /// An OCI registry; ids are digests, URLs are `oci://HOST/NAME@DIGEST`.
    Oci,
    /// A plain web server; ids are file names.
    Http,
}

/// Whether a piece was sent, or was there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Made {
    /// It was sent.
    New,
    /// It was there, byte for byte, and is used again.
    Reused,
}

/// One piece as the registry names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Its name there, for messages.
    pub name: String,
    /// The id for Ironic, or another client of the registry: a Glance UUID, a file name, an OCI
    /// digest.
    pub id: String,
    /// Where it can be fetched from, where a plain client can.
    pub url: Option<String>,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256 in lower-case hexadecimal; only known to the sender if the registry does not
    /// keep it.
    pub sha256: Option<String>,
    /// Its SHA-512 in lower-case hexadecimal.
    pub sha512: Option<String>,
    /// Whether it was sent or reused.
    pub made: Made,
}

/// A published set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct References {
    /// The kind of registry.
    pub kind: Kind,
    /// The registry's address, as `--registry` takes it.
    pub registry: String,
    /// The image's name.
    pub name: String,
    /// The image's version.
    pub version: String,
    /// The image's architecture, as rpm names it, when it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// The suffix with its dot, as Ironic's `disk_file_extension` wants it.
    pub extension: String,
    /// Who may see it, in the registry's words.
    pub visibility: Option<String>,
    /// The OS tarball.
    pub tarball: Reference,
    /// The installer's kernel.
    pub kernel: Option<Reference>,
    /// The installer's initramfs.
    pub ramdisk: Option<Reference>,
    /// The installer's second stage.
    pub stage2: Option<Reference>,
    /// The kickstart template.
    pub kickstart: Option<Reference>,
    /// The manifest, where the registry keeps it as a separate object.
    pub manifest: Option<Reference>,
    /// Names of older versions that were hidden or removed, as asked.
    pub retired: Vec<String>,
    /// Older versions that were to be hidden or removed, and were not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<Kept>,
}

impl References {
    /// As a manifest has them: it is the same, no matter which pieces were sent this time.
    #[must_use]
    pub(crate) fn settled(&self) -> Self {
        let mut settled = self.clone();
        let Self { tarball, kernel, ramdisk, stage2, kickstart, .. } = &mut settled;
        let pieces = [kernel, ramdisk, stage2, kickstart].into_iter().flatten();
        for piece in std::iter::once(tarball).chain(pieces) {
            piece.made = Made::Reused;
        }
        settled
    }
}

impl Reference {
    /// A piece by the name and id that it has there.
    #[must_use]
    pub(crate) fn from_piece(
        piece: &Piece,
        name: &str,
        id: &str,
        url: Option<String>,
        made: Made,
    ) -> Self {
        let digest = |text: &String| Some(text.clone());
        let (sha256, sha512) = (digest(&piece.sha256), digest(&piece.sha512));
        Self {
            name: name.to_owned(),
            id: id.to_owned(),
            url,
            size: piece.size,
            sha256,
            sha512,
            made,
        }
    }
}

impl References {
    /// The references of a set's pieces; `registry` is the address as `--registry` takes it.
    ///
    /// # Errors
    /// When the tarball is not among them.
    pub(crate) fn from_set(
        set: &Set,
        kind: Kind,
        registry: String,
        pieces: Vec<(Role, Reference)>,
    ) -> Result<Self> {
        let mut pieces: BTreeMap<Role, Reference> = pieces.into_iter().collect();
        Ok(Self {
            kind,
            registry,
            name: set.name.clone(),
            version: set.version.clone(),
            arch: set.arch.clone(),
            extension: set.tarball.extension.to_owned(),
            visibility: None,
            tarball: pieces.remove(&Role::Tarball).context("a set without a tarball")?,
            kernel: pieces.remove(&Role::Kernel),
            ramdisk: pieces.remove(&Role::Ramdisk),
            stage2: pieces.remove(&Role::Stage2),
            kickstart: pieces.remove(&Role::Kickstart),
            manifest: None,
            retired: Vec::new(),
            kept: Vec::new(),
        })
    }

    /// The references to one place among those of a manifest. If none is to that place, it was
    /// moved, and all count. Of several of one tarball, the last one counts.
    pub(crate) fn of_place(mut all: Vec<Self>, is_own: impl Fn(&str) -> bool) -> Vec<Self> {
        if all.iter().any(|set| is_own(&set.registry)) {
            all.retain(|set| is_own(&set.registry));
        }
        let mut seen = BTreeSet::new();
        all.reverse();
        all.retain(|set| seen.insert(set.tarball.id.clone()));
        all.reverse();
        all
    }

    /// The ids of all pieces.
    #[must_use]
    pub fn ids(&self) -> Vec<&str> {
        Role::ALL.into_iter().filter_map(|role| Some(self.role(role)?.id.as_str())).collect()
    }

    /// Another tarball of the same version, which boots with the same pieces as `other`.
    #[must_use]
    pub(crate) fn booting_as(&self, other: &Self) -> Self {
        let either =
            |new: &Option<Reference>, old: &Option<Reference>| new.clone().or_else(|| old.clone());
        Self {
            kernel: either(&other.kernel, &self.kernel),
            ramdisk: either(&other.ramdisk, &self.ramdisk),
            stage2: either(&other.stage2, &self.stage2),
            ..self.clone()
        }
    }

    /// The reference of a role, if the set has it.
    #[must_use]
    pub fn role(&self, role: Role) -> Option<&Reference> {
        match role {
            Role::Kernel => self.kernel.as_ref(),
            Role::Ramdisk => self.ramdisk.as_ref(),
            Role::Stage2 => self.stage2.as_ref(),
            Role::Kickstart => self.kickstart.as_ref(),
            Role::Tarball => Some(&self.tarball),
        }
    }
}
