//! Tags that a publication does not replace.

use super::connection::Oci;
use super::documents::{Document, PIECE};
use crate::error::{ExitCode, Failure, Result};

fn refused(oci: &Oci, tag: &str, why: &str) -> Failure {
    let text = format!("publishing to oci:{}: the tag {tag} {why}", oci.repository);
    Failure::new(ExitCode::Registry, text)
}

/// The failure for a tag of another program.
pub(super) fn foreign(oci: &Oci, tag: &str) -> anyhow::Error {
    refused(oci, tag, "exists, and osimg did not publish it as an image")
        .hint("publish to another repository, or remove the tag with the program that made it")
        .into()
}

/// The failure for a tag of another image; `moves` if it may be moved on request.
pub(super) fn by_image(oci: &Oci, tag: &str, other: &Document, moves: bool) -> anyhow::Error {
    let (name, version) = other.version();
    let (name, version) = (name.escape_debug(), version.escape_debug());
    let failure = refused(oci, tag, &format!("belongs to the image {name} version {version}"));
    match moves {
        true => failure.hint(format!(
            "move the tag to this image: --replace (the other one keeps the tag {})",
            other.usual_tag()
        )),
        false => failure.hint(
            "give this image another name or version (--name NAME, --image-version VERSION), or \
             publish it to another repository",
        ),
    }
    .into()
}

/// Refuses the tag of a piece that has anything but a piece.
pub(super) fn check_piece(oci: &Oci, tag: &str) -> Result<()> {
    match oci.manifest(tag)?.map(|text| serde_json::from_slice::<Document>(&text)) {
        None => Ok(()),
        Some(Ok(document)) if document.artifact_type == PIECE => Ok(()),
        Some(_) => Err(foreign(oci, tag)),
    }
}
