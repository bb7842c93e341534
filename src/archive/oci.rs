//! OCI image layouts (<https://github.com/opencontainers/image-spec/blob/main/image-layout.md>).
//! The one layer is the tgz itself, so that no bytes are compressed again.

use anyhow::Context;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::process;

/// The suffix of a layout's directory.
pub const SUFFIX: &str = ".oci";
/// The name of the tgz in a layout that is being written.
pub const LAYER: &str = "layer.tgz";

const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";

/// What a layer is made of.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    /// SHA-256 of the tgz in lower-case hexadecimal.
    pub sha256: &'a str,
    /// Its size in bytes.
    pub bytes: u64,
    /// SHA-256 of the tar in it.
    pub tar_sha256: &'a str,
    /// Seconds since 1970 that the image is dated by.
    pub created: i64,
}

/// Whether the name is that of a layout.
#[must_use]
pub fn is_layout_name(path: &Path) -> bool {
    path.to_str().is_some_and(|name| name.ends_with(SUFFIX))
}

/// The architecture of this host in the words of OCI.
#[must_use]
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// Completes the layout in `directory`, where the tgz is [`LAYER`], under the tag `latest`.
/// Messages name it `layout`.
///
/// # Errors
/// When a file cannot be written.
pub fn complete(
    (layout, directory): (&Path, &Path),
    layer: &Layer<'_>,
    architecture: &str,
) -> Result<()> {
    let blobs = directory.join("blobs/sha256");
    let doing = || format!("writing the OCI layout {}", layout.display());
    fs::create_dir_all(&blobs).or_fail(ExitCode::Space, doing())?;
    fs::rename(directory.join(LAYER), blobs.join(layer.sha256))
        .or_fail(ExitCode::Space, doing())?;
    let created = crate::calendar::rfc3339(layer.created);
    let config = json!({
        "created": created,
        "architecture": architecture,
        "os": "linux",
        "config": { "Cmd": ["/bin/sh"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", layer.tar_sha256)] },
        "history": [{ "created": created, "created_by": "osimg pack" }],
    });
    let config = blob(&blobs, CONFIG_TYPE, &config).with_context(doing)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": config,
        "layers": [{ "mediaType": LAYER_TYPE, "digest": format!("sha256:{}", layer.sha256),
            "size": layer.bytes }],
        "annotations": { "org.opencontainers.image.created": created },
    });
    let mut manifest = blob(&blobs, MANIFEST_TYPE, &manifest).with_context(doing)?;
    manifest["platform"] = json!({ "architecture": architecture, "os": "linux" });
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "latest" });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [manifest] });
    write(
        &directory.join("oci-layout"),
        json!({ "imageLayoutVersion": "1.0.0" }).to_string().as_bytes(),
    )
    .with_context(doing)?;
    // The index is last: without it there is no layout.
    write(&directory.join("index.json"), index.to_string().as_bytes()).with_context(doing)?;
    process::check_stop()
}

/// Fails if there is something at the place of a new layout.
///
/// # Errors
/// When there is.
pub fn check_new(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    Err(Failure::new(
        ExitCode::Usage,
        format!("writing the OCI layout {}: it exists already", path.display()),
    )
    .hint("remove it first, or choose another name")
    .into())
}

/// Writes a document under its digest; returns its descriptor.
fn blob(blobs: &Path, media_type: &str, document: &Value) -> Result<Value> {
    let text = document.to_string();
    let digest = hex::encode(Sha256::digest(text.as_bytes()));
    write(&blobs.join(&digest), text.as_bytes())?;
    Ok(json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": text.len() }))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    Ok(file.sync_all()?)
}
