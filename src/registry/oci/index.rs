//! An index: the sets of one version for several architectures under one tag. Each has a tag with
//! its architecture too.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::documents::{ARCH, Document, MANIFEST, NAME, SET, VERSION};

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
    pub platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// The platform of a set, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Platform {
    pub architecture: String,
    pub os: String,
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
                platform: Some(Platform {
                    architecture: platform(&arch).to_owned(),
                    os: "linux".into(),
                }),
                annotations: BTreeMap::from([(ARCH.to_owned(), arch)]),
            }
        };
        let mut manifests: Vec<Item> = sets.iter().map(item).collect();
        manifests.sort_by(|a, b| a.annotations.cmp(&b.annotations));
        let known = sets.first().into_iter().flat_map(|(document, ..)| &document.annotations);
        let annotations = known.filter(|(key, _)| [NAME, VERSION].contains(&key.as_str()));
        let annotations = annotations.map(|(key, value)| (key.clone(), value.clone())).collect();
        Self { schema_version: 2, media_type: INDEX.into(), manifests, annotations }
    }
}

impl Item {
    /// The architecture, as rpm names it.
    pub(super) fn arch(&self) -> Option<&str> {
        self.annotations.get(ARCH).map(String::as_str)
    }
}

/// Go's word for an architecture that rpm names; most are the same.
fn platform(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "i686" => "386",
        "armv7hl" => "arm",
        other => other,
    }
}
