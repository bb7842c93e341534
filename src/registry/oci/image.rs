//! A container image in an OCI registry, whose one layer is the tgz itself.
//!
//! A tag names an index with one image for each architecture of a version. Each image has its own
//! tag too (`TAG-amd64`). The index is made of what these tags name and read again after it was
//! written, so that of two publishers at the same time none removes the other's image.

use std::collections::BTreeMap;

use super::client::Blob;
use super::connection::{Access, Oci};
use super::documents::{ARCH, CREATED, Document, EXTENSION, NAME, SHA512, VERSION, digest_of};
use super::entries::{delete, tags};
use super::image_manifest::{document_of, is_version, new_image, published};
use super::index::{Index, Item};
use super::reference::as_tag;
use super::send::{Progress, has_changed};
use super::undo::Undo;
use crate::archive::oci::{Image, Platform};
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::naming;
use crate::process;
use crate::registry::entry::newest_first;
use crate::registry::options::Existing;
use crate::registry::{Entry, Registry, Removal, State};
use crate::report::Report;
use crate::set::{Kind, Made, PublishedVersion, Reference, References, Role, Set, stem};

/// The attempts to join an index that others change at the same time.
const ATTEMPTS: usize = 10;

/// The images of a repository.
#[derive(Debug)]
pub struct ContainerImages(Oci);

/// An image that is published.
struct New<'a> {
    set: &'a Set,
    image: &'a Image,
    /// The tag of all architectures.
    tag: String,
    /// The tag of this one.
    own: String,
    item: Item,
}

impl ContainerImages {
    /// Connects to the registry of `HOST[:PORT]/NAME[:TAG]`.
    ///
    /// # Errors
    /// As [`Oci::open`].
    pub fn open(reference: &str, access: &Access) -> Result<Self> {
        Oci::open(reference, access).map(Self)
    }

    /// The same, with another rule for versions that exist with other bytes.
    #[must_use]
    pub fn with_existing(self, existing: Existing) -> Self {
        Self(self.0.with_existing(existing))
    }

    /// The tag of the address; else the version, after the image's name if the repository has
    /// another one.
    fn tag(&self, name: &str, version: &str) -> String {
        let repository = &self.0.repository;
        let same = repository.name.rsplit('/').next() == Some(name) && !version.is_empty();
        let usual = || if same { as_tag(version) } else { as_tag(&stem(name, version)) };
        repository.tag.clone().unwrap_or_else(usual)
    }

    /// The index of a version under a tag; `None` if there is none, or something else that may be
    /// replaced.
    fn index(&self, tag: &str, name: &str, version: &str) -> Result<Option<Index>> {
        let Some(bytes) = self.0.manifest(tag)? else { return Ok(None) };
        let index = serde_json::from_slice::<Index>(&bytes).ok();
        if let Some(index) = index.filter(|index| is_version(&index.annotations, name, version)) {
            return Ok(Some(index));
        }
        match self.0.existing {
            Existing::Replace => Ok(None),
            Existing::Keep => {
                Err(self.refuse(&format!("the tag {tag} names another image"), &digest_of(&bytes)))
            }
        }
    }

    fn refuse(&self, why: &str, digest: &str) -> anyhow::Error {
        let what = format!("publishing to {self}: {why}: {}", self.0.url(digest));
        Failure::new(ExitCode::Registry, what)
            .hint("give this image another tag or version: --image-version VERSION")
            .hint("or replace what the tag names: --replace")
            .into()
    }

    /// The images that the new one replaces: those of its architecture, and with `--replace` all
    /// of another version under its tags.
    fn replaced(&self, new: &New<'_>) -> Result<Vec<String>> {
        let (name, version) = (&new.set.name, &new.set.version);
        let mut there: Vec<String> = match self.index(&new.tag, name, version)? {
            Some(index) => {
                let same = index.manifests.into_iter().filter(|i| i.platform == new.item.platform);
                same.map(|item| item.digest).collect()
            }
            // What others put there has no annotations of osimg's.
            None => match self.0.manifest(&new.tag)?.map(|b| serde_json::from_slice::<Index>(&b)) {
                Some(Ok(old)) if old.annotations.contains_key(NAME) => {
                    old.manifests.into_iter().map(|item| item.digest).collect()
                }
                _ => Vec::new(),
            },
        };
        there.extend(self.0.manifest(&new.own)?.map(|bytes| digest_of(&bytes)));
        there.retain(|digest| *digest != new.item.digest);
        there.sort();
        there.dedup();
        match (there.first(), self.0.existing) {
            (Some(first), Existing::Keep) => {
                Err(self.refuse(&format!("{} exists with other bytes", new.own), first))
            }
            _ => Ok(there),
        }
    }

    fn send(&self, new: &New<'_>, report: &Report, undo: &mut Vec<Undo>) -> Result<Made> {
        let step = report.step("publishing");
        let (set, oci) = (new.set, &self.0);
        let sent = Progress::new(&step, set.tarball.piece.size);
        oci.send_piece(
            &format!("{}{}", set.stem(), set.tarball.extension),
            &set.tarball.piece,
            &sent,
        )?;
        let config = &new.image.config;
        let (digest, size) = (config.digest(), config.text.len() as u64);
        let blob = Blob { what: "the configuration", digest: &digest, size };
        oci.blob(&blob, || Ok(config.text.as_slice()))?;
        let mut made = self.put(&new.own, &new.image.manifest.text, undo)?;
        oci.attach(&new.item, &set.documents, undo)?;
        for _ in 0..ATTEMPTS {
            process::check_stop()?;
            let index = serde_json::to_vec(&self.joined(new)?)
                .or_fail(ExitCode::Unexpected, "writing an index")?;
            match self.put(&new.tag, &index, undo)? {
                Made::New => made = Made::New,
                Made::Reused => {
                    step.finish(&new.tag);
                    return Ok(made);
                }
            }
        }
        Err(Failure::new(
            ExitCode::Registry,
            format!("publishing to {self}: others change the tag {} at the same time", new.tag),
        )
        .hint("publish it again")
        .into())
    }

    /// Lets a tag name a manifest or an index.
    fn put(&self, tag: &str, text: &[u8], undo: &mut Vec<Undo>) -> Result<Made> {
        let before = self.0.manifest(tag)?;
        if before.as_deref() == Some(text) {
            return Ok(Made::Reused);
        }
        let digest = digest_of(text);
        if self.0.manifest(&digest)?.is_none() {
            undo.push(Undo::Remove { digest, name: tag.to_owned() });
        }
        undo.extend(before.map(|before| Undo::Restore { tag: tag.to_owned(), before }));
        self.0.put_manifest(tag, text)?;
        Ok(Made::New)
    }

    /// The index of the version with all images that are there, and the new one.
    fn joined(&self, new: &New<'_>) -> Result<Index> {
        let (name, version) = (&new.set.name, &new.set.version);
        let mut items: BTreeMap<Option<Platform>, Item> = BTreeMap::new();
        let there = self.index(&new.tag, name, version)?;
        for item in there.into_iter().flat_map(|index| index.manifests) {
            items.insert(item.platform.clone(), item);
        }
        for arch in naming::ARCHITECTURES {
            let Some(bytes) = self.0.manifest(&own_tag(&new.tag, arch))? else { continue };
            let Some(document) = document_of(&bytes) else { continue };
            if is_version(&document.annotations, name, version) {
                let item = Item::of_image(&bytes, arch);
                items.insert(item.platform.clone(), item);
            }
        }
        items.insert(new.item.platform.clone(), new.item.clone());
        let annotations = [(NAME, name), (VERSION, version)];
        let annotations = annotations.map(|(key, value)| (key.to_owned(), value.clone()));
        Ok(Index::new(items.into_values().collect(), annotations.into()))
    }

    /// osimg's images by digest, each with one of its tags and whether an index has it.
    fn images(&self) -> Result<BTreeMap<String, Found>> {
        let (mut found, mut indexed) = (BTreeMap::new(), Vec::new());
        for tag in tags(&self.0)? {
            let Some(bytes) = self.0.manifest(&tag)? else { continue };
            if let Ok(index) = serde_json::from_slice::<Index>(&bytes) {
                if index.annotations.contains_key(NAME) {
                    indexed.extend(index.manifests.into_iter().map(|item| (tag.clone(), item)));
                }
            } else if let Some(document) = document_of(&bytes) {
                found.insert(digest_of(&bytes), Found { document, own: tag, tags: Vec::new() });
            }
        }
        for (tag, item) in indexed {
            if let Some(found) = found.get_mut(&item.digest) {
                found.tags.push(tag);
            }
        }
        Ok(found)
    }

    /// Removes an image with what refers to it.
    fn remove_image(&self, digest: &str, name: &str) -> Result<Vec<String>> {
        let mut removed = self.0.detach(digest)?;
        delete(&self.0, digest, name)?;
        removed.insert(0, digest.to_owned());
        Ok(removed)
    }
}

/// An image that is there.
struct Found {
    document: Document,
    /// One of its own tags.
    own: String,
    /// The tags of the indexes that it is in.
    tags: Vec<String>,
}

impl Registry for ContainerImages {
    fn describe(&self) -> String {
        let how = if self.0.client.is_plain() { "plain http" } else { "https" };
        format!("{self} ({how})")
    }

    fn publish(&self, set: &Set, report: &Report) -> Result<References> {
        set.check_name()?;
        let tag = self.tag(&set.name, &set.version);
        let doing = || format!("publishing to {self}");
        if set.arch.is_none() {
            report.warn(&format!(
                "the architecture of the tarball is not known, so it is published as {}; name it \
                 NAME-VERSION.ARCH.tgz, or keep its manifest next to it",
                std::env::consts::ARCH
            ));
        }
        let arch = set.arch.as_deref().unwrap_or(std::env::consts::ARCH);
        let Some(tree) = set.tree()? else {
            if has_changed(&set.tarball.piece) {
                return Err(set.tarball.piece.changed(set.tarball.piece.size));
            }
            let what = format!("{}: the tarball cannot be unpacked", doing());
            return Err(Failure::new(ExitCode::Usage, what)
                .hint("see what is wrong with it: osimg verify TARBALL")
                .into());
        };
        let set = &Set { tree: Some(tree), ..set.clone() };
        let image = &new_image(set, arch)?;
        let item = Item::of_image(&image.manifest.text, arch);
        let new = New { set, image, own: own_tag(&tag, arch), tag, item };
        let replaced = self.replaced(&new)?;
        let mut undo = Vec::new();
        let made =
            self.send(&new, report, &mut undo).map_err(|error| self.0.roll_back(undo, error))?;
        let digest = &new.item.digest;
        let title = format!("{}{}", set.stem(), set.tarball.extension);
        let tarball = Reference::from_piece(
            &set.tarball.piece,
            &title,
            digest,
            Some(self.0.url(digest)),
            made,
        );
        let address =
            format!("oci-image:{}/{}:{}", self.0.repository.host, self.0.repository.name, new.tag);
        let mut references =
            References::from_set(set, Kind::Oci, address, vec![(Role::Tarball, tarball)])?;
        for digest in &replaced {
            // What others put there stays, without a tag.
            if self.0.manifest(digest)?.is_some_and(|bytes| document_of(&bytes).is_some()) {
                references.retired.extend(self.remove_image(digest, &new.own)?);
            }
        }
        Ok(references)
    }

    fn published_version(
        &self,
        name: &str,
        version: &str,
        arch: Option<&str>,
    ) -> Result<Option<PublishedVersion>> {
        let tag = self.tag(name, version);
        self.index(&tag, name, version)?;
        let arch = arch.unwrap_or(std::env::consts::ARCH);
        let Some(bytes) = self.0.manifest(&own_tag(&tag, arch))? else { return Ok(None) };
        Ok(document_of(&bytes)
            .filter(|document| is_version(&document.annotations, name, version))
            .map(|document| published(&document, self.0.url(&digest_of(&bytes)))))
    }

    fn list(&self) -> Result<Vec<Entry>> {
        let found = self.images()?;
        Ok(newest_first(found.iter().map(|(digest, found)| entry(digest, found)).collect()))
    }

    fn remove(&self, wanted: &Entry) -> Result<Removal> {
        let images = self.images()?;
        let Some(found) = images.get(&wanted.id) else {
            let what = format!("removing {} {} from {self}", wanted.name, wanted.version);
            return Err(Failure::new(ExitCode::Registry, format!("{what}: it is not there")).into());
        };
        for tag in &found.tags {
            let Some(bytes) = self.0.manifest(tag)? else { continue };
            let Ok(mut index) = serde_json::from_slice::<Index>(&bytes) else { continue };
            index.manifests.retain(|item| item.digest != wanted.id);
            if !index.manifests.is_empty() {
                let text =
                    serde_json::to_vec(&index).or_fail(ExitCode::Unexpected, "writing an index")?;
                self.0.put_manifest(tag, &text)?;
            }
            delete(&self.0, &digest_of(&bytes), tag)?;
        }
        self.remove_image(&wanted.id, &found.own).map(Removal::from)
    }
}

impl std::fmt::Display for ContainerImages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "oci-image:{}", self.0.repository)
    }
}

fn own_tag(tag: &str, arch: &str) -> String {
    as_tag(&format!("{tag}-{}", Platform::new(arch).architecture))
}

fn entry(digest: &str, found: &Found) -> Entry {
    let own = |key: &str| found.document.annotations.get(key).cloned();
    Entry {
        name: own(NAME).unwrap_or_default(),
        version: own(VERSION).unwrap_or_default(),
        arch: own(ARCH),
        extension: own(EXTENSION).unwrap_or_default(),
        id: digest.to_owned(),
        created: own(CREATED).unwrap_or_default(),
        size: found.document.layers.first().map(|layer| layer.size),
        sha512: own(SHA512),
        state: if found.tags.is_empty() { State::Unfinished } else { State::Current },
        visibility: None,
        owner: None,
        own: true,
        pieces: Vec::new(),
        files: found.tags.iter().chain([&found.own]).cloned().collect(),
    }
}
