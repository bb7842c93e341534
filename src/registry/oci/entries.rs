//! The images in a repository, found by its tags; and the removal of one.

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

use super::connection::Oci;
use super::documents::{
    ARCH, CLAIM, CREATED, Document, EXTENSION, ITSELF, NAME, PIECE, ROLE, SET, SHA512, VERSION,
    digest_of,
};
use super::index::Index;
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::http::Call;
use crate::registry::entry::newest_first;
use crate::registry::{Entry, State};
use crate::set::Role;

/// No repository of images has more tags.
const MOST_TAGS: usize = 20_000;

/// osimg's manifests by digest, each with one of its tags.
#[derive(Default)]
struct Listing {
    sets: BTreeMap<String, (String, Document)>,
    pieces: BTreeMap<String, (String, Document)>,
    /// Of publishers that were killed, or are still at work.
    claims: BTreeMap<String, (String, Document)>,
    /// Each with its digest and tag.
    indexes: Vec<(String, String, Index)>,
}

pub(super) fn tags(oci: &Oci) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Tags {
        #[serde(default)]
        tags: Option<Vec<String>>,
    }
    let doing = "listing";
    let mut all = Vec::new();
    let mut next = Some(oci.client.path("tags/list?n=1000"));
    while let Some(path) = next.take() {
        let answer = oci.client.call(&Call::get(path), doing)?;
        match answer.status {
            200 => {}
            // A repository begins with its first manifest.
            404 => break,
            _ => return Err(oci.client.refused(doing, &answer)),
        }
        let page: Tags = serde_json::from_slice(&answer.body)
            .or_fail(ExitCode::Registry, format!("{doing} {}", oci.repository))?;
        let page = page.tags.unwrap_or_default();
        if page.is_empty() || all.len() > MOST_TAGS {
            break;
        }
        all.extend(page);
        // `</v2/…>; rel="next"`, RFC 8288
        let link = answer.header("link").filter(|link| link.contains("next"));
        next = link.and_then(|link| Some(link.split_once('<')?.1.split_once('>')?.0.to_owned()));
    }
    Ok(all)
}

fn read_all(oci: &Oci) -> Result<Listing> {
    let mut listing = Listing::default();
    for tag in tags(oci)? {
        // One that went in the meantime, or someone else's.
        let Some(text) = oci.manifest(&tag)? else { continue };
        if let Ok(index) = serde_json::from_slice::<Index>(&text) {
            listing.indexes.push((digest_of(&text), tag, index));
            continue;
        }
        let Ok(document) = serde_json::from_slice::<Document>(&text) else { continue };
        match document.artifact_type.as_str() {
            SET => listing.sets.insert(digest_of(&text), (tag, document)),
            PIECE => listing.pieces.insert(digest_of(&text), (tag, document)),
            CLAIM => listing.claims.insert(digest_of(&text), (tag, document)),
            _ => None,
        };
    }
    Ok(listing)
}

/// The manifests of a set's pieces, by role.
fn parts(document: &Document) -> impl Iterator<Item = (&str, &str)> {
    document.layers.iter().filter_map(|layer| {
        Some((layer.annotations.get(ROLE)?.as_str(), layer.annotations.get(ITSELF)?.as_str()))
    })
}

pub(super) fn list(oci: &Oci) -> Result<Vec<Entry>> {
    let listing = read_all(oci)?;
    let mut entries = newest_first(
        listing.sets.iter().filter_map(|(digest, (_, document))| entry(digest, document)).collect(),
    );
    let used: BTreeSet<&str> =
        listing.sets.values().flat_map(|(_, document)| parts(document)).map(|(_, id)| id).collect();
    let orphans = listing.pieces.iter().filter(|(digest, _)| !used.contains(digest.as_str()));
    entries.extend(orphans.chain(&listing.claims).map(|(digest, (tag, document))| Entry {
        name: tag.clone(),
        version: String::new(),
        arch: None,
        extension: String::new(),
        id: digest.clone(),
        created: String::new(),
        size: document.layers.first().map(|layer| layer.size),
        sha512: document.layers.first().and_then(|layer| layer.annotations.get(SHA512).cloned()),
        state: State::Unfinished,
        visibility: None,
        owner: None,
        own: true,
        pieces: Vec::new(),
        files: vec![digest.clone()],
    }));
    Ok(entries)
}

/// The pieces of all sets but these.
pub(super) fn used(oci: &Oci, except: &[&str]) -> Result<Vec<String>> {
    let sets = read_all(oci)?.sets;
    let sets = sets.iter().filter(|(digest, _)| !except.contains(&digest.as_str()));
    Ok(sets.flat_map(|(_, (_, document))| parts(document)).map(|(_, id)| id.to_owned()).collect())
}

/// The newest set with that piece, and its digest.
pub(super) fn set_of(oci: &Oci, piece: &str) -> Result<Option<(String, Document)>> {
    let sets = read_all(oci)?.sets.into_iter().map(|(digest, (_, document))| (digest, document));
    let having = sets.filter(|(_, document)| parts(document).any(|(_, id)| id == piece));
    Ok(having.max_by_key(|(_, document)| document.annotations.get(CREATED).cloned()))
}

fn entry(digest: &str, document: &Document) -> Option<Entry> {
    let own = |key: &str| document.annotations.get(key).cloned();
    let tarball = document.layers.iter().find(|layer| {
        layer.annotations.get(ROLE).is_some_and(|role| role == Role::Tarball.word())
    })?;
    Some(Entry {
        name: own(NAME)?,
        version: own(VERSION).unwrap_or_default(),
        arch: own(ARCH),
        extension: own(EXTENSION).unwrap_or_default(),
        id: digest.to_owned(),
        created: own(CREATED).unwrap_or_default(),
        size: Some(tarball.size),
        sha512: tarball.annotations.get(SHA512).cloned(),
        state: State::Current,
        visibility: None,
        owner: None,
        own: true,
        files: parts(document).map(|(_, id)| id.to_owned()).collect(),
        pieces: parts(document)
            .filter_map(|(role, id)| Some((Role::from_word(role)?, id.to_owned())))
            .filter(|(role, _)| *role != Role::Tarball)
            .collect(),
    })
}

pub(super) fn remove(oci: &Oci, wanted: &Entry) -> Result<Vec<String>> {
    let listing = read_all(oci)?;
    if wanted.state == State::Unfinished {
        delete(oci, &wanted.id, &wanted.name)?;
        return Ok(vec![wanted.id.clone()]);
    }
    if !listing.sets.contains_key(&wanted.id) {
        let failure = Failure::new(
            ExitCode::Registry,
            format!(
                "removing {} {} from {}: it is not there",
                wanted.name, wanted.version, oci.repository
            ),
        );
        return Err(failure.into());
    }
    remove_set(oci, listing, &wanted.id)
}

/// Removes sets by their digests, those that are there.
pub(super) fn remove_sets(oci: &Oci, digests: &[&str]) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for digest in digests {
        let listing = read_all(oci)?;
        match listing.sets.contains_key(*digest) {
            true => removed.extend(remove_set(oci, listing, digest)?),
            // Its tag names another one by now.
            false => delete(oci, digest, digest)?,
        }
    }
    Ok(removed)
}

fn remove_set(oci: &Oci, listing: Listing, digest: &str) -> Result<Vec<String>> {
    let Some((tag, document)) = listing.sets.get(digest) else { return Ok(Vec::new()) };
    for (itself, tag, index) in listing
        .indexes
        .iter()
        .filter(|(_, _, index)| index.manifests.iter().any(|item| item.digest == digest))
    {
        oci.leave_index(tag, index, digest)?;
        delete(oci, itself, tag)?;
    }
    // The set is removed first: without it, no one takes its pieces for a whole image.
    delete(oci, digest, tag)?;
    let mut removed = vec![digest.to_owned()];
    let others = listing.sets.iter().filter(|(other, _)| *other != digest);
    let used: BTreeSet<&str> =
        others.flat_map(|(_, (_, document))| parts(document)).map(|(_, id)| id).collect();
    for (role, id) in parts(document).filter(|(_, id)| !used.contains(id)) {
        let name =
            listing.pieces.get(id).map_or_else(|| format!("{role} {id}"), |(tag, _)| tag.clone());
        delete(oci, id, &name)?;
        removed.push(id.to_owned());
    }
    Ok(removed)
}

pub(super) fn delete(oci: &Oci, digest: &str, name: &str) -> Result<()> {
    let answer = oci.delete_manifest(digest)?;
    match answer.status {
        // Someone else removed it in the meantime.
        202 | 404 => Ok(()),
        _ => Err(oci.client.refused(&format!("removing {name} from"), &answer)),
    }
}
