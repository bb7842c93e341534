//! The sets of one version: what is under its tags, and how a set joins those of other
//! architectures under one tag.

use super::connection::Oci;
use super::documents::{
    ARCH, CREATED, Document, EXTENSION, ITSELF, NAME, ROLE, SET, SHA512, TREE, VERSION, digest_of,
    text,
};
use super::entries;
use super::index::{Index, Item};
use super::reference::as_tag;
use super::undo::Undo;
use crate::archive::SUFFIXES;
use crate::error::{ExitCode, Result, ResultExt};
use crate::process;
use crate::set::Role;
use crate::set::stem;
use crate::set::version::shared;
use crate::set::{Made, References};
use crate::set::{PublishedFile, PublishedVersion, same_arch};

/// A set that is there: its digest and its manifest.
pub(super) type Tagged = (String, Document);

/// The object under a tag.
enum There {
    Nothing,
    Set(Vec<u8>, Box<Document>),
    Index(Vec<u8>, Index),
    /// An object of another program.
    Other(Vec<u8>),
}

impl There {
    fn into_bytes(self) -> Option<Vec<u8>> {
        match self {
            Self::Nothing => None,
            Self::Set(bytes, _) | Self::Index(bytes, _) | Self::Other(bytes) => Some(bytes),
        }
    }
}

impl Oci {
    fn there(&self, tag: &str) -> Result<There> {
        let Some(bytes) = self.manifest(tag)? else { return Ok(There::Nothing) };
        if let Ok(index) = serde_json::from_slice::<Index>(&bytes) {
            return Ok(There::Index(bytes, index));
        }
        match serde_json::from_slice::<Document>(&bytes) {
            Ok(document) if document.artifact_type == SET => {
                Ok(There::Set(bytes, Box::new(document)))
            }
            _ => Ok(There::Other(bytes)),
        }
    }

    /// The sets of an index; one that is gone is left out.
    fn sets_in(&self, index: &Index) -> Result<Vec<Tagged>> {
        let mut found = Vec::new();
        for item in &index.manifests {
            let Some(bytes) = self.manifest(&item.digest)? else { continue };
            if let Ok(document) = serde_json::from_slice::<Document>(&bytes) {
                found.push((item.digest.clone(), document));
            }
        }
        Ok(found)
    }

    /// The sets of a version and architecture, in every format, under the tags that osimg gives
    /// them.
    pub(super) fn sets_of(
        &self,
        name: &str,
        version: &str,
        arch: Option<&str>,
    ) -> Result<Vec<Tagged>> {
        let usual =
            SUFFIXES.iter().map(|extension| as_tag(&format!("{}{extension}", stem(name, version))));
        let mut tags: Vec<String> = self.repository.tag.clone().into_iter().chain(usual).collect();
        tags.dedup();
        let mut found: Vec<Tagged> = Vec::new();
        for tag in tags {
            let sets = match self.there(&tag)? {
                There::Set(bytes, document) => vec![(digest_of(&bytes), *document)],
                There::Index(_, index) => self.sets_in(&index)?,
                There::Nothing | There::Other(_) => Vec::new(),
            };
            for (digest, document) in sets {
                let own = |key: &str| document.annotations.get(key).map(String::as_str);
                let same = own(NAME) == Some(name)
                    && own(VERSION).unwrap_or_default() == version
                    && same_arch(own(ARCH), arch);
                if same && found.iter().all(|(known, _)| *known != digest) {
                    found.push((digest, document));
                }
            }
        }
        Ok(found)
    }

    /// Puts the set's manifest under its tag, with those of other architectures of the version;
    /// returns its digest and size.
    pub(super) fn tag_set(
        &self,
        tag: &str,
        document: &Document,
        undo: &mut Vec<Undo>,
    ) -> Result<(String, Made, usize)> {
        let there = self.there(tag)?;
        let arch = document.annotations.get(ARCH).map(String::as_str);
        let same_version = |other: &Document| {
            [NAME, VERSION]
                .iter()
                .all(|key| other.annotations.get(*key) == document.annotations.get(*key))
        };
        let sets = match &there {
            There::Set(bytes, other) => vec![(digest_of(bytes), (**other).clone())],
            There::Index(_, index) => self.sets_in(index)?,
            There::Nothing | There::Other(_) => Vec::new(),
        };
        let (own, others): (Vec<Tagged>, Vec<Tagged>) =
            sets.into_iter().filter(|(_, other)| same_version(other)).partition(|(_, other)| {
                same_arch(other.annotations.get(ARCH).map(String::as_str), arch)
            });
        if let Some((digest, _)) = own.iter().find(|(_, other)| other.same_but_for_time(document)) {
            let size = self.manifest(digest)?.map_or(0, |bytes| bytes.len());
            return Ok((digest.clone(), Made::Reused, size));
        }
        let bytes = text(document)?;
        let itself = (digest_of(&bytes), Made::New, bytes.len());
        undo.push(Undo::Remove { digest: itself.0.clone(), name: tag.to_owned() });
        process::check_stop()?;
        if others.is_empty() {
            undo.extend(
                there.into_bytes().map(|before| Undo::Restore { tag: tag.to_owned(), before }),
            );
            self.put_manifest(tag, &bytes)?;
            return Ok(itself);
        }
        // Separate tags protect them in registries that remove untagged manifests.
        self.put_manifest(&tag_for(tag, document), &bytes)?;
        let mut members = vec![(document, itself.0.clone(), bytes.len() as u64)];
        for (digest, other) in &others {
            let Some(bytes) = self.manifest(digest)? else { continue };
            self.put_manifest(&tag_for(tag, other), &bytes)?;
            members.push((other, digest.clone(), bytes.len() as u64));
        }
        let index = serde_json::to_vec(&Index::from_sets(&members))
            .or_fail(ExitCode::Unexpected, "writing an index")?;
        undo.push(Undo::Remove { digest: digest_of(&index), name: tag.to_owned() });
        undo.extend(there.into_bytes().map(|before| Undo::Restore { tag: tag.to_owned(), before }));
        self.put_manifest(tag, &index)?;
        Ok(itself)
    }

    /// Takes a set out of an index; the last one that is left has the tag for itself.
    pub(super) fn leave_index(&self, tag: &str, index: &Index, digest: &str) -> Result<()> {
        let left: Vec<Item> =
            index.manifests.iter().filter(|item| item.digest != digest).cloned().collect();
        let bytes = match left.as_slice() {
            [] => None,
            [only] => self.manifest(&only.digest)?,
            _ => Some(
                serde_json::to_vec(&Index { manifests: left, ..index.clone() })
                    .or_fail(ExitCode::Unexpected, "writing an index")?,
            ),
        };
        if let Some(bytes) = bytes {
            self.put_manifest(tag, &bytes)?;
        }
        Ok(())
    }

    /// Removes the sets that another one replaces.
    pub(super) fn remove_others(
        &self,
        there: &[Tagged],
        references: &References,
    ) -> Result<Vec<String>> {
        let own = references.manifest.as_ref().map(|manifest| manifest.id.as_str());
        let old: Vec<&str> = there
            .iter()
            .map(|(digest, _)| digest.as_str())
            .filter(|digest| Some(*digest) != own)
            .collect();
        entries::remove_sets(self, &old)
    }
}

/// The tag of a set in an index.
fn tag_for(tag: &str, document: &Document) -> String {
    as_tag(&format!("{tag}-{}", document.annotations.get(ARCH).map_or("unknown", String::as_str)))
}

/// The files of a version's sets, to compare them with new ones.
pub(super) fn published(sets: &[Tagged], oci: &Oci) -> Option<PublishedVersion> {
    let (_, first) = sets.first()?;
    let tree = first
        .annotations
        .get(TREE)
        .filter(|tree| sets.iter().all(|(_, set)| set.annotations.get(TREE) == Some(tree)));
    let created = first.annotations.get(CREATED).cloned().unwrap_or_default();
    let mut files = Vec::new();
    for (_, set) in sets {
        for layer in &set.layers {
            let Some(role) = layer.annotations.get(ROLE).and_then(|word| Role::from_word(word))
            else {
                continue;
            };
            let itself = layer.annotations.get(ITSELF).unwrap_or(&layer.digest);
            files.push(PublishedFile {
                role,
                extension: if shared(role) {
                    String::new()
                } else {
                    set.annotations.get(EXTENSION).cloned().unwrap_or_default()
                },
                place: oci.url(itself),
                sha256: layer.digest.strip_prefix("sha256:").map(str::to_owned),
                sha512: layer.annotations.get(SHA512).cloned(),
            });
        }
    }
    Some(PublishedVersion { created, tree: tree.cloned(), files })
}
