//! Container images whose one layer is the tgz itself, so that no bytes are compressed again.
//!
//! An `.oci` file is an OCI layout in a tar
//! (<https://github.com/opencontainers/image-spec/blob/main/image-layout.md>), which podman, skopeo
//! and buildah call `oci-archive`. Its first member is the layer: the tgz is written in its place,
//! and its header when its size and digest are known.

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Take, Write};
use std::os::unix::fs::FileExt;

use super::written::Written;
use super::{Difference, ImageFormat, Packed};
use crate::error::{ExitCode, Result, ResultExt};

/// The media type of a tgz as a layer.
pub(crate) const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";

/// A header of a tar, and the unit of its members' sizes.
const BLOCK: usize = 512;
/// The directory of all content, named by its SHA-256.
pub(crate) const BLOBS: &str = "blobs/sha256/";

/// What a layer is made of.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    /// SHA-256 of the tgz in lower-case hexadecimal.
    pub sha256: &'a str,
    /// Its size in bytes.
    pub bytes: u64,
    /// SHA-256 of the tar in it.
    pub tar_sha256: &'a str,
}

/// What an image is described by.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// Its architecture, as rpm names it.
    pub arch: &'a str,
    /// Seconds since 1970 that it is dated by.
    pub created: i64,
    /// Labels of the configuration and annotations of the manifest.
    pub annotations: &'a [(String, String)],
}

/// A document that is stored under its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Its media type.
    pub media_type: &'static str,
    /// Its text.
    pub text: Vec<u8>,
}

impl Blob {
    /// A document.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn new(media_type: &'static str, document: &impl Serialize) -> Result<Self> {
        let text = serde_json::to_vec(document)
            .or_fail(ExitCode::Unexpected, "writing a document of an image")?;
        Ok(Self { media_type, text })
    }

    /// SHA-256 in lower-case hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> String {
        hex::encode(Sha256::digest(&self.text))
    }

    /// `sha256:` and the digest.
    #[must_use]
    pub fn digest(&self) -> String {
        format!("sha256:{}", self.sha256())
    }

    /// Its descriptor.
    #[must_use]
    pub fn descriptor(&self) -> Value {
        json!({
            "mediaType": self.media_type, "digest": self.digest(), "size": self.text.len()
        })
    }
}

/// An image without its layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The configuration.
    pub config: Blob,
    /// The manifest.
    pub manifest: Blob,
}

impl Image {
    /// The documents of the image with this one layer.
    ///
    /// # Errors
    /// When they cannot be written as JSON.
    pub fn new(layer: &Layer<'_>, about: &About<'_>) -> Result<Self> {
        let created = crate::calendar::rfc3339(about.created);
        let words: serde_json::Map<String, Value> = about
            .annotations
            .iter()
            .map(|(key, value)| (key.clone(), json!(value)))
            .chain([("org.opencontainers.image.created".to_owned(), json!(created))])
            .collect();
        let mut config = json!(Platform::new(about.arch));
        config["created"] = json!(created);
        config["config"] = json!({ "Cmd": ["/bin/sh"], "Labels": words });
        config["rootfs"] =
            json!({ "type": "layers", "diff_ids": [format!("sha256:{}", layer.tar_sha256)] });
        config["history"] = json!([{ "created": created, "created_by": "osimg" }]);
        let config = Blob::new(CONFIG_TYPE, &config)?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": config.descriptor(),
            "layers": [{
                "mediaType": LAYER_TYPE,
                "digest": format!("sha256:{}", layer.sha256),
                "size": layer.bytes,
            }],
            "annotations": words,
        });
        Ok(Self { config, manifest: Blob::new(MANIFEST_TYPE, &manifest)? })
    }
}

/// A platform in the words of OCI.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// The architecture, as Go names it.
    pub architecture: String,
    /// The kernel.
    pub os: String,
    /// The architecture's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// The platform of an architecture that is named as rpm does.
    #[must_use]
    pub fn new(arch: &str) -> Self {
        let (architecture, variant) = match arch {
            "x86_64" => ("amd64", None),
            "aarch64" => ("arm64", None),
            "i686" => ("386", None),
            "armv7hl" => ("arm", Some("v7")),
            other => (other, None),
        };
        let (architecture, variant) = (architecture.to_owned(), variant.map(str::to_owned));
        Self { architecture, os: "linux".to_owned(), variant }
    }
}

/// Makes room for the header of the layer, whose tgz is written next.
pub(super) fn start(mut file: &File) -> io::Result<()> {
    file.seek(SeekFrom::Start(BLOCK as u64)).map(drop)
}

/// Completes the archive around its tgz, under the tag `latest`.
///
/// # Errors
/// When it cannot be written.
pub(super) fn finish(
    file: &File,
    packed: &Packed,
    tar_sha256: &str,
    about: &About<'_>,
) -> Result<Written> {
    let layer = Layer { sha256: &packed.sha256, bytes: packed.bytes, tar_sha256 };
    write_around(file, &layer, about)
        .or_fail(ExitCode::Space, "writing the container image")
        .and_then(|()| Written::measured(file, ImageFormat::Oci, (packed.level, packed.block)))
}

fn write_around(mut file: &File, layer: &Layer<'_>, about: &About<'_>) -> Result<()> {
    let Image { config, manifest } = Image::new(layer, about)?;
    let mut named = manifest.descriptor();
    named["platform"] = json!(Platform::new(about.arch));
    named["annotations"] = json!({ "org.opencontainers.image.ref.name": "latest" });
    let index = Blob::new(
        INDEX_TYPE,
        &json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [named] }),
    )?;
    file.write_all_at(&header(&format!("{BLOBS}{}", layer.sha256), layer.bytes)?, 0)?;
    file.seek(SeekFrom::End(0))?;
    file.write_all(&padding(layer.bytes))?;
    let members = [
        (format!("{BLOBS}{}", config.sha256()), config.text),
        (format!("{BLOBS}{}", manifest.sha256()), manifest.text),
        ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
        ("index.json".to_owned(), index.text),
    ];
    for (name, text) in members {
        let size = text.len() as u64;
        file.write_all(&[header(&name, size)?.to_vec(), text, padding(size)].concat())?;
    }
    Ok(file.write_all(&[0; 2 * BLOCK])?)
}

fn header(name: &str, size: u64) -> Result<[u8; BLOCK]> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name)?;
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    Ok(*header.as_bytes())
}

/// What fills the last block of a member.
fn padding(size: u64) -> Vec<u8> {
    vec![0; (size.next_multiple_of(BLOCK as u64) - size) as usize]
}

/// The tgz in a file that osimg wrote as an OCI image; `None` in any other file.
///
/// # Errors
/// When the file cannot be read.
pub fn layer(file: &File) -> Result<Option<Take<File>>> {
    let mut header = tar::Header::new_ustar();
    let mut magic = [0; 2];
    if file.read_exact_at(header.as_mut_bytes(), 0).is_err()
        || file.read_exact_at(&mut magic, BLOCK as u64).is_err()
        || !header.path_bytes().starts_with(BLOBS.as_bytes())
        || magic != [0x1f, 0x8b]
    {
        return Ok(None);
    }
    let Ok(size) = header.size() else { return Ok(None) };
    let mut tgz = file.try_clone().context("reading the layer of an OCI image")?;
    tgz.seek(SeekFrom::Start(BLOCK as u64)).context("reading the layer of an OCI image")?;
    Ok(Some(tgz.take(size)))
}

/// The first difference of the layers of two images.
///
/// # Errors
/// When one of them cannot be read.
pub(crate) fn first_difference(one: &File, other: &File) -> Result<Option<Difference>> {
    let open = |file| layer(file)?.context("reading an OCI image: it has no layer of osimg's");
    osimg_tar::first_difference(open(one)?, open(other)?).context("comparing the two builds")
}
