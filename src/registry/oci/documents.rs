//! The manifests: one for each piece, and one that holds them all.
//!
//! Each piece has its own manifest, with one layer, because Ironic can use only that:
//! `oci://…@DIGEST` must name a manifest with exactly one layer
//! (`OciClient.download_blob_from_manifest`). The set's manifest has all of them as layers, so that
//! one `oras pull` brings the whole set and one tag names it.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

use super::reference::usual_tag;
use crate::archive::{Format, ImageFormat};
use crate::error::{ExitCode, Result, ResultExt};
use crate::set::{Role, Set};

/// The type of a manifest.
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The type of a set of pieces.
pub(super) const SET: &str = "application/vnd.osimg.set.v1";
/// The type of one piece.
pub(super) const PIECE: &str = "application/vnd.osimg.piece.v1";
/// The type of a publisher's claim, and of one that is over where nothing can be deleted.
pub(super) const CLAIM: &str = "application/vnd.osimg.claim.v1";
pub(super) const RELEASED: &str = "application/vnd.osimg.released.v1";
/// The config of an artifact that has none:
/// <https://github.com/opencontainers/image-spec/blob/v1.1.0/manifest.md#guidance-for-an-empty-descriptor>.
pub(super) const EMPTY: &[u8] = b"{}";
/// Its digest.
pub(super) const EMPTY_DIGEST: &str =
    "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";

/// Annotations of OCI's.
pub(super) const TITLE: &str = "org.opencontainers.image.title";
pub(super) const VERSION: &str = "org.opencontainers.image.version";
pub(super) const CREATED: &str = "org.opencontainers.image.created";
/// osimg's own annotations.
pub(super) const NAME: &str = "org.osimg.name";
pub(super) const EXTENSION: &str = "org.osimg.disk_file_extension";
pub(super) const ROLE: &str = "org.osimg.role";
pub(super) const ARCH: &str = "org.osimg.arch";
pub(super) const SHA512: &str = "org.osimg.sha512";
/// SHA-256 of the tarball before compression.
pub(super) const TREE: &str = "org.osimg.tree_sha256";
/// The digest of the piece's own manifest.
pub(super) const ITSELF: &str = "org.osimg.manifest";

/// A descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub media_type: String,
    pub digest: String,
    pub size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    pub schema_version: u32,
    pub media_type: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub artifact_type: String,
    pub config: Descriptor,
    #[serde(default)]
    pub layers: Vec<Descriptor>,
    /// The manifest that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    fn empty() -> Self {
        Self {
            media_type: EMPTY_TYPE.into(),
            digest: EMPTY_DIGEST.into(),
            size: EMPTY.len() as u64,
            annotations: BTreeMap::new(),
        }
    }
}

impl Document {
    pub(super) fn new(
        kind: &str,
        layers: Vec<Descriptor>,
        annotations: BTreeMap<String, String>,
    ) -> Self {
        Self {
            schema_version: 2,
            media_type: MANIFEST.into(),
            artifact_type: kind.into(),
            config: Descriptor::empty(),
            layers,
            subject: None,
            annotations,
        }
    }

    /// The manifest of one piece. It contains only facts about the bytes, so that equal pieces of
    /// two sets have equal manifests.
    pub(super) fn from_piece(layer: &Descriptor) -> Self {
        let mut layer = layer.clone();
        let annotations =
            layer.annotations.iter().filter(|(key, _)| [ROLE, SHA512].contains(&key.as_str()));
        layer.annotations = annotations.map(|(key, value)| (key.clone(), value.clone())).collect();
        if let Some(role) = layer.annotations.get(ROLE).cloned() {
            layer.annotations.insert(TITLE.into(), role);
        }
        Self::new(PIECE, vec![layer], BTreeMap::new())
    }

    /// A publisher's claim, or what is left of it. The id is part of it, so that no two have one
    /// digest.
    pub(super) fn from_claim(kind: &str, title: &str, id: &str) -> Self {
        let annotations = [(TITLE, title), ("org.osimg.claim", id)];
        let annotations = annotations.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Self::new(kind, vec![Descriptor::empty()], BTreeMap::from(annotations))
    }

    /// The manifest of a set.
    pub(super) fn from_set(set: &Set, layers: Vec<Descriptor>, created: String) -> Self {
        let mut annotations = BTreeMap::from([
            (TITLE.to_owned(), set.stem()),
            (CREATED.to_owned(), created),
            (NAME.to_owned(), set.name.clone()),
            (EXTENSION.to_owned(), set.tarball.extension.to_owned()),
        ]);
        let known =
            [(VERSION, Some(&set.version)), (ARCH, set.arch.as_ref()), (TREE, set.tree.as_ref())];
        let os = [
            ("org.osimg.os_distro", set.os_distro.as_ref()),
            ("org.osimg.os_version", set.os_version.as_ref()),
        ];
        for (key, value) in known.into_iter().chain(os) {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                annotations.insert(key.to_owned(), value.clone());
            }
        }
        for (key, value) in &set.properties {
            annotations.insert(format!("org.osimg.property.{key}"), value.clone());
        }
        Self::new(SET, layers, annotations)
    }

    /// The name and version of a set.
    pub(super) fn version(&self) -> (&str, &str) {
        let own = |key| self.annotations.get(key).map_or("", String::as_str);
        (own(NAME), own(VERSION))
    }

    /// The tag that the set has for its name and version.
    pub(super) fn usual_tag(&self) -> String {
        let (name, version) = self.version();
        usual_tag(name, version, self.annotations.get(EXTENSION).map_or("", String::as_str))
    }

    /// Whether two sets differ in nothing but when they were made.
    pub(super) fn same_but_for_time(&self, other: &Self) -> bool {
        let timeless = |document: &Self| {
            let mut document = document.clone();
            document.annotations.remove(CREATED);
            document.annotations.remove(TREE);
            document
        };
        timeless(self) == timeless(other)
    }
}

/// The digest of a manifest.
pub(super) fn digest_of(text: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(text)))
}

/// The kind of a piece, for clients that pull it.
pub(super) const fn media_type(role: Role, format: ImageFormat) -> &'static str {
    match (role, format) {
        (Role::Kernel | Role::Ramdisk, _) => "application/octet-stream",
        (Role::Stage2, _) | (Role::Tarball, ImageFormat::Img) => "application/vnd.squashfs",
        (Role::Kickstart, _) => "text/plain",
        (Role::Tarball, ImageFormat::Tarball(Format::Tgz)) => "application/gzip",
        (Role::Tarball, ImageFormat::Tarball(Format::Tbz)) => "application/x-bzip2",
        (Role::Tarball, ImageFormat::Tarball(Format::Txz)) => "application/x-xz",
        (Role::Tarball, ImageFormat::Tarball(Format::Tar) | ImageFormat::Oci) => {
            "application/x-tar"
        }
    }
}

pub(super) fn text(document: &Document) -> Result<Vec<u8>> {
    serde_json::to_vec(document).or_fail(ExitCode::Unexpected, "writing a manifest")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_config_has_the_digest_that_the_specification_names() {
        assert_eq!(format!("sha256:{}", hex::encode(Sha256::digest(EMPTY))), EMPTY_DIGEST);
    }

    #[test]
    fn a_piece_has_the_same_manifest_in_every_set() {
        let layer = |title: &str| Descriptor {
            media_type: "application/octet-stream".into(),
            digest: EMPTY_DIGEST.into(),
            size: 2,
            annotations: BTreeMap::from([
                (TITLE.into(), title.into()),
                (ROLE.into(), "kernel".into()),
                (SHA512.into(), "ab".into()),
            ]),
        };
        let (one, two) = (
            Document::from_piece(&layer("a-1.vmlinuz")),
            Document::from_piece(&layer("b-2.vmlinuz")),
        );
        assert_eq!(one, two);
        let text = serde_json::to_string(&one).expect("JSON");
        let fields = ["schemaVersion", "mediaType", "artifactType"].map(|name| text.find(name));
        assert!(text.starts_with(r#"{"schemaVersion":2,"mediaType":"#), "{text}");
        assert!(fields.is_sorted() && fields[0].is_some(), "{text}");
        assert_eq!(serde_json::from_str::<Document>(&text).expect("read"), one);
    }
}
