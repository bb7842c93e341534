//! The sets of one version: what is under its tags, and how a set joins those of other
//! architectures under one tag.

use super::connection::Oci;
use super::documents::{
    ARCH, CREATED, Document, EXTENSION, ITSELF, NAME, ROLE, SET, SHA512, TREE, VERSION, digest_of,
    text,
};
use super::entries;
use super::index::{Index, Item};
use super::occupied;
use super::reference::{as_tag, usual_tag};
use super::undo::Undo;
use crate::archive::SUFFIXES;
use crate::error::{ExitCode, Result, ResultExt};
use crate::process;
use crate::registry::options::Existing;
use crate::set::Made;
use crate::set::version::{Clash, NewFiles, shared};
use crate::set::{PublishedFile, PublishedVersion, same_arch};
use crate::set::{Role, Set};

/// A set that is there: its digest and its manifest.
pub(super) type Tagged = (String, Document);

/// The object under a tag.
enum There {
    Nothing,
    Set(Vec<u8>, Box<Document>),
    Index(Index),
    /// An object of another program, or not of a set.
    Other,
}

/// The result of comparing a set with what is there.
pub(super) struct Found {
    /// The sets of its version and architecture.
    pub sets: Vec<Tagged>,
    /// The difference to them; only if they may be replaced.
    pub clash: Option<Clash>,
}

impl Oci {
    fn there(&self, tag: &str) -> Result<There> {
        let Some(bytes) = self.manifest(tag)? else { return Ok(There::Nothing) };
        if let Ok(index) = serde_json::from_slice::<Index>(&bytes) {
            let own = !index.manifests.is_empty()
                && index.manifests.iter().all(|item| item.artifact_type == SET);
            return Ok(if own { There::Index(index) } else { There::Other });
        }
        match serde_json::from_slice::<Document>(&bytes) {
            Ok(document) if document.artifact_type == SET => {
                Ok(There::Set(bytes, Box::new(document)))
            }
            _ => Ok(There::Other),
        }
    }

    /// The sets under a tag; `None` if it has anything else.
    fn sets_at(&self, tag: &str) -> Result<Option<Vec<Tagged>>> {
        Ok(match self.there(tag)? {
            There::Nothing => Some(Vec::new()),
            There::Set(bytes, document) => Some(vec![(digest_of(&bytes), *document)]),
            There::Index(index) => Some(self.sets_in(&index)?),
            There::Other => None,
        })
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
        let usual = SUFFIXES.iter().map(|extension| usual_tag(name, version, extension));
        let mut tags: Vec<String> = self.repository.tag.clone().into_iter().chain(usual).collect();
        tags.dedup();
        let mut found: Vec<Tagged> = Vec::new();
        for tag in tags {
            for (digest, document) in self.sets_at(&tag)?.unwrap_or_default() {
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

    /// Compares a set with what is there, and refuses what would replace anything that it may not.
    pub(super) fn compare(&self, set: &Set) -> Result<Found> {
        let sets = self.sets_of(&set.name, &set.version, set.arch.as_deref())?;
        let clash = published(&sets, self)
            .and_then(|held| held.clash(&NewFiles::from_set(set, set.tree.as_deref())));
        if let Some(clash) = &clash
            && self.existing == Existing::Keep
        {
            let doing = format!("publishing to oci:{}", self.repository);
            return Err(clash.refuse(&doing, &set.stem()));
        }
        for tag in self.tags(set) {
            let Some(sets) = self.sets_at(&tag)? else { return Err(occupied::foreign(self, &tag)) };
            for (_, other) in sets {
                self.check_tag(&tag, &other, (&set.name, &set.version))?;
            }
        }
        Ok(Found { sets, clash })
    }

    /// Refuses a tag that another image has; that of the address may be moved on request.
    fn check_tag(&self, tag: &str, other: &Document, own: (&str, &str)) -> Result<()> {
        let moves = self.repository.tag.as_deref() == Some(tag) && other.usual_tag() != tag;
        if other.version() == own || (moves && self.existing == Existing::Replace) {
            return Ok(());
        }
        Err(occupied::by_image(self, tag, other, moves))
    }

    /// The digest and size of the same set, if all tags have it.
    pub(super) fn same(&self, tags: &[String], new: &Document) -> Result<Option<(String, usize)>> {
        let mut found = None;
        for tag in tags {
            let sets = self.sets_at(tag)?.unwrap_or_default();
            found = sets.into_iter().find(|(_, other)| other.same_but_for_time(new));
            if found.is_none() {
                break;
            }
        }
        let Some((digest, _)) = found else { return Ok(None) };
        let size = self.manifest(&digest)?.map_or(0, |bytes| bytes.len());
        Ok(Some((digest, size)))
    }

    /// Puts the set's manifest under its tags, with those of other architectures of the version;
    /// returns its digest and size.
    pub(super) fn tag_set(
        &self,
        tags: &[String],
        document: &Document,
        undo: &mut Vec<Undo>,
    ) -> Result<(String, Made, usize)> {
        let mut sets: Vec<Tagged> = Vec::new();
        for tag in tags {
            for (digest, other) in self.sets_at(tag)?.unwrap_or_default() {
                if other.usual_tag() != document.usual_tag() {
                    self.keep(tag, &digest, &other)?;
                } else if sets.iter().all(|(known, _)| *known != digest) {
                    sets.push((digest, other));
                }
            }
        }
        let arch = |document: &Document| document.annotations.get(ARCH).cloned();
        let (own, others): (Vec<Tagged>, Vec<Tagged>) = sets
            .into_iter()
            .partition(|(_, other)| same_arch(arch(other).as_deref(), arch(document).as_deref()));
        let same = own.into_iter().find(|(_, other)| other.same_but_for_time(document));
        let (made, document) = match &same {
            Some((_, existing)) => (Made::Reused, existing),
            None => (Made::New, document),
        };
        let bytes = match &same {
            Some((digest, _)) => self.manifest(digest)?,
            None => None,
        };
        let bytes = bytes.map_or_else(|| text(document), Ok)?;
        let itself = (digest_of(&bytes), made, bytes.len());
        process::check_stop()?;
        let named = self.with_others(tags, (document, &bytes), &others, undo)?;
        for tag in tags {
            self.put_new(tag, &named, undo)?;
        }
        Ok(itself)
    }

    /// The manifest for the tags: that of the set, or an index of it and of those of other
    /// architectures.
    fn with_others(
        &self,
        tags: &[String],
        (document, bytes): (&Document, &[u8]),
        others: &[Tagged],
        undo: &mut Vec<Undo>,
    ) -> Result<Vec<u8>> {
        let Some(tag) = tags.first().filter(|_| !others.is_empty()) else {
            return Ok(bytes.to_owned());
        };
        let mut members = vec![(document, digest_of(bytes), bytes.len() as u64)];
        self.put_member(tag, document, bytes, undo)?;
        for (digest, other) in others {
            let Some(bytes) = self.manifest(digest)? else { continue };
            self.put_member(tag, other, &bytes, undo)?;
            members.push((other, digest.clone(), bytes.len() as u64));
        }
        serde_json::to_vec(&Index::from_sets(&members))
            .or_fail(ExitCode::Unexpected, "writing an index")
    }

    /// Puts a set of an index under a separate tag, which protects it in registries that remove
    /// untagged manifests.
    fn put_member(
        &self,
        tag: &str,
        document: &Document,
        bytes: &[u8],
        undo: &mut Vec<Undo>,
    ) -> Result<()> {
        let tag = tag_for(tag, document);
        let Some(sets) = self.sets_at(&tag)? else { return Err(occupied::foreign(self, &tag)) };
        for (_, other) in sets {
            self.check_tag(&tag, &other, document.version())?;
        }
        self.put_new(&tag, bytes, undo)
    }

    /// Gives a set its usual tag before another tag is moved from it.
    fn keep(&self, tag: &str, digest: &str, document: &Document) -> Result<()> {
        let usual = document.usual_tag();
        match self.sets_at(&usual)? {
            Some(sets) if sets.iter().any(|(known, _)| known == digest) => Ok(()),
            Some(sets) if sets.is_empty() => match self.manifest(digest)? {
                Some(bytes) => self.put_manifest(&usual, &bytes),
                None => Ok(()),
            },
            _ => Err(occupied::by_image(self, tag, document, false)),
        }
    }

    /// Puts a manifest under a tag, unless it is there; a failure afterwards undoes it.
    pub(super) fn put_new(&self, tag: &str, bytes: &[u8], undo: &mut Vec<Undo>) -> Result<()> {
        let before = self.manifest(tag)?;
        if before.as_deref() == Some(bytes) {
            return Ok(());
        }
        let digest = digest_of(bytes);
        if self.manifest(&digest)?.is_none() {
            undo.push(Undo::Remove { digest, name: tag.to_owned() });
        }
        undo.extend(before.map(|before| Undo::Restore { tag: tag.to_owned(), before }));
        self.put_manifest(tag, bytes)
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
    pub(super) fn remove_others(&self, there: &[Tagged], own: &str) -> Result<Vec<String>> {
        let old: Vec<&str> = there
            .iter()
            .map(|(digest, _)| digest.as_str())
            .filter(|digest| *digest != own)
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
