//! The manifest of a container image: written from a set, and read again.

use std::collections::BTreeMap;

use super::documents::{ARCH, CREATED, Document, EXTENSION, NAME, SHA512, TITLE, TREE, VERSION};
use crate::archive::oci::{About, Image, LAYER_TYPE, Layer};
use crate::error::Result;
use crate::set::{PublishedFile, PublishedVersion, Role, Set};

/// The documents of a set as an image.
pub(super) fn new_image(set: &Set, arch: &str) -> Result<Image> {
    let piece = &set.tarball.piece;
    let tree = set.tree.clone().unwrap_or_default();
    let mut annotations = vec![
        (TITLE.to_owned(), set.stem()),
        (VERSION.to_owned(), set.version.clone()),
        (NAME.to_owned(), set.name.clone()),
        (ARCH.to_owned(), arch.to_owned()),
        (EXTENSION.to_owned(), set.tarball.extension.to_owned()),
        (SHA512.to_owned(), piece.sha512.clone()),
        (TREE.to_owned(), tree.clone()),
    ];
    let os = [
        ("org.osimg.os_distro", set.os_distro.as_ref()),
        ("org.osimg.os_version", set.os_version.as_ref()),
    ];
    annotations.extend(os.into_iter().filter_map(|(k, v)| Some((k.to_owned(), v?.clone()))));
    annotations
        .extend(set.properties.iter().map(|(k, v)| (format!("org.osimg.property.{k}"), v.clone())));
    let layer = Layer { sha256: &piece.sha256, bytes: piece.size, tar_sha256: &tree };
    let created = set.source_date_epoch.unwrap_or(0);
    Image::new(&layer, &About { arch, created, annotations: &annotations })
}

/// The manifest of an image that osimg published.
pub(super) fn document_of(bytes: &[u8]) -> Option<Document> {
    let document: Document = serde_json::from_slice(bytes).ok()?;
    let layer = document.layers.first()?;
    (document.annotations.contains_key(NAME) && layer.media_type == LAYER_TYPE).then_some(document)
}

pub(super) fn is_version(
    annotations: &BTreeMap<String, String>,
    name: &str,
    version: &str,
) -> bool {
    annotations.get(NAME).is_some_and(|own| own == name)
        && annotations.get(VERSION).map_or("", String::as_str) == version
}

pub(super) fn published(document: &Document, place: String) -> PublishedVersion {
    let own = |key: &str| document.annotations.get(key).cloned();
    let layer = document.layers.first();
    PublishedVersion {
        created: own(CREATED).unwrap_or_default(),
        tree: own(TREE),
        files: vec![PublishedFile {
            role: Role::Tarball,
            extension: own(EXTENSION).unwrap_or_default(),
            place,
            sha256: layer.and_then(|l| l.digest.strip_prefix("sha256:").map(str::to_owned)),
            sha512: own(SHA512),
        }],
    }
}
