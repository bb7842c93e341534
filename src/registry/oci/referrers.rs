//! Documents that refer to an image: bills of materials, provenance and signatures.
//!
//! Each is an artifact whose `subject` is the image. A registry that does not answer the referrers
//! API of OCI 1.1 gets the list of them under the tag `sha256-DIGEST`, as the specification says.

use std::collections::BTreeMap;

use super::client::Blob;
use super::connection::Oci;
use super::documents::{Descriptor, Document, EMPTY, EMPTY_DIGEST, TITLE, digest_of, text};
use super::entries::delete;
use super::index::{Index, Item};
use super::undo::Undo;
use crate::error::{ExitCode, Result, ResultExt};
use crate::http::Call;
use crate::naming::{CYCLONEDX, PROVENANCE, SIGNATURES, SPDX};
use crate::set::Piece;

/// What refers to a manifest.
struct Referrers {
    items: Vec<Item>,
    /// The tag that lists them, where the registry does not.
    tag: Option<String>,
}

/// The media type of a document.
fn media_type(name: &str) -> &'static str {
    match name {
        _ if name.ends_with(SPDX) => "application/spdx+json",
        _ if name.ends_with(CYCLONEDX) => "application/vnd.cyclonedx+json",
        _ if name.ends_with(PROVENANCE) => "application/vnd.in-toto+json",
        _ if SIGNATURES.iter().any(|suffix| name.ends_with(suffix)) => {
            "application/vnd.osimg.signature.v1"
        }
        _ => "application/octet-stream",
    }
}

impl Oci {
    fn referrers(&self, digest: &str) -> Result<Referrers> {
        let doing = "listing what refers to an image of";
        let answer = self
            .client
            .call(&Call::get(self.client.path(&format!("referrers/{digest}"))), doing)?;
        if answer.status == 200 {
            let index: Index =
                serde_json::from_slice(&answer.body).or_fail(ExitCode::Registry, doing)?;
            return Ok(Referrers { items: index.manifests, tag: None });
        }
        let tag = digest.replace(':', "-");
        let listed = self.manifest(&tag)?;
        let index = listed.and_then(|bytes| serde_json::from_slice::<Index>(&bytes).ok());
        Ok(Referrers { items: index.map_or_else(Vec::new, |i| i.manifests), tag: Some(tag) })
    }

    /// Attaches documents to an image; one with the same name stays.
    pub(super) fn attach(
        &self,
        image: &Item,
        documents: &[Piece],
        undo: &mut Vec<Undo>,
    ) -> Result<()> {
        let mut there = self.referrers(&image.digest)?;
        let subject = Descriptor {
            media_type: image.media_type.clone(),
            digest: image.digest.clone(),
            size: image.size,
            annotations: BTreeMap::new(),
        };
        let before = there.items.len();
        for piece in documents {
            let Some(name) = piece.path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            let is_it = |item: &Item| item.annotations.get(TITLE).is_some_and(|own| own == name);
            if !there.items.iter().any(is_it) {
                there.items.push(self.document(name, piece, &subject, undo)?);
            }
        }
        match there.tag {
            Some(tag) if there.items.len() > before => {
                let index = Index::new(there.items, BTreeMap::new());
                let text =
                    serde_json::to_vec(&index).or_fail(ExitCode::Unexpected, "writing an index")?;
                undo.push(Undo::Remove { digest: digest_of(&text), name: tag.clone() });
                let old = self.manifest(&tag)?;
                undo.extend(old.map(|before| Undo::Restore { tag: tag.clone(), before }));
                self.put_manifest(&tag, &text)
            }
            _ => Ok(()),
        }
    }

    fn document(
        &self,
        name: &str,
        piece: &Piece,
        subject: &Descriptor,
        undo: &mut Vec<Undo>,
    ) -> Result<Item> {
        let empty =
            Blob { what: "an empty config", digest: EMPTY_DIGEST, size: EMPTY.len() as u64 };
        self.blob(&empty, || Ok(EMPTY))?;
        let digest = format!("sha256:{}", piece.sha256);
        self.blob(&Blob { what: name, digest: &digest, size: piece.size }, || piece.open())?;
        let annotations = BTreeMap::from([(TITLE.to_owned(), name.to_owned())]);
        let layer = Descriptor {
            media_type: media_type(name).to_owned(),
            digest,
            size: piece.size,
            annotations: annotations.clone(),
        };
        let document = Document {
            subject: Some(subject.clone()),
            ..Document::new(media_type(name), vec![layer], annotations.clone())
        };
        let text = text(&document)?;
        let digest = digest_of(&text);
        if self.manifest(&digest)?.is_none() {
            undo.push(Undo::Remove { digest: digest.clone(), name: name.to_owned() });
            self.put_manifest(&digest, &text)?;
        }
        Ok(Item {
            media_type: document.media_type,
            digest,
            size: text.len() as u64,
            artifact_type: document.artifact_type,
            platform: None,
            annotations,
        })
    }

    /// Removes osimg's documents of an image.
    pub(super) fn detach(&self, digest: &str) -> Result<Vec<String>> {
        let there = self.referrers(digest)?;
        let is_own = |item: &Item| {
            let name = item.annotations.get(TITLE);
            name.is_some_and(|name| media_type(name) == item.artifact_type)
        };
        let (own, others): (Vec<Item>, Vec<Item>) = there.items.into_iter().partition(is_own);
        if let Some(tag) = there.tag
            && let Some(list) = self.manifest(&tag)?
        {
            if !others.is_empty() {
                let index = Index::new(others, BTreeMap::new());
                let text =
                    serde_json::to_vec(&index).or_fail(ExitCode::Unexpected, "writing an index")?;
                self.put_manifest(&tag, &text)?;
            }
            delete(self, &digest_of(&list), &tag)?;
        }
        for item in &own {
            delete(self, &item.digest, item.annotations.get(TITLE).unwrap_or(&item.digest))?;
        }
        Ok(own.into_iter().map(|item| item.digest).collect())
    }
}
