//! An index: the sets of one version for several architectures under one tag. Each has a tag with
//! its architecture too.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::documents::{ARCH, Document, MANIFEST, NAME, SET, VERSION, digest_of};
use crate::archive::oci::Platform;

/// The type of an index.
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Index {
    pub schema_version: u32,
    pub media_type: String,
    pub manifests: Vec<Item>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A set of an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Item {
    pub media_type: String,
    pub digest: String,
    pub size: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub artifact_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Index {
    /// The index of these sets of one version: digest and size of each.
    pub(super) fn from_sets(sets: &[(&Document, String, u64)]) -> Self {
        let item = |(document, digest, size): &(&Document, String, u64)| {
            let arch = document.annotations.get(ARCH).cloned().unwrap_or_default();
            Item {
                media_type: MANIFEST.into(),
                digest: digest.clone(),
                size: *size,
                artifact_type: SET.into(),
                platform: Some(Platform::new(&arch)),
                annotations: BTreeMap::from([(ARCH.to_owned(), arch)]),
            }
        };
        let mut manifests: Vec<Item> = sets.iter().map(item).collect();
        manifests.sort_by(|a, b| a.annotations.cmp(&b.annotations));
        let known = sets.first().into_iter().flat_map(|(document, ..)| &document.annotations);
        let annotations = known.filter(|(key, _)| [NAME, VERSION].contains(&key.as_str()));
        let annotations = annotations.map(|(key, value)| (key.clone(), value.clone())).collect();
        Self::new(manifests, annotations)
    }

    pub(super) fn new(manifests: Vec<Item>, annotations: BTreeMap<String, String>) -> Self {
        Self { schema_version: 2, media_type: INDEX.into(), manifests, annotations }
    }
}

impl Item {
    /// A container image by its manifest.
    pub(super) fn of_image(manifest: &[u8], arch: &str) -> Self {
        Self {
            media_type: MANIFEST.into(),
            digest: digest_of(manifest),
            size: manifest.len() as u64,
            artifact_type: String::new(),
            platform: Some(Platform::new(arch)),
            annotations: BTreeMap::from([(ARCH.to_owned(), arch.to_owned())]),
        }
    }

    /// The architecture, as rpm names it.
    pub(super) fn arch(&self) -> Option<&str> {
        self.annotations.get(ARCH).map(String::as_str)
    }
}
