//! An OCI registry: the set as an artifact that one tag names, and each piece as an artifact that
//! Ironic can take.
//!
//! All content is addressed by digest: blobs first, then a manifest for each piece, then the set's
//! manifest with the tag, which is the commit point. A publisher that fails takes its manifests
//! away again; the specification has no way to take a blob away that others may use, so those stay,
//! unnamed, until the registry's own garbage collection.

mod client;
mod credentials;
mod documents;
mod entries;
mod find;
mod index;
mod reference;
mod versions;

use sha2::{Digest, Sha256};
use std::cell::Cell;
use std::io::Read;
use std::path::PathBuf;

use super::directory::file_of;
use super::options::Existing;
use super::{Registry, Removal};
use crate::calendar;
use crate::error::{self, ExitCode, Failure, Result, ResultExt};
use crate::http::{self, Answer, Call, Redirects, Retry, Stop, Trust};
use crate::process;
use crate::registry::Entry;
use crate::report::{Report, Step, Unit};
use crate::set::version::NewFiles;
use crate::set::{Kind, Made, Piece, PublishedVersion, Reference, References, Role, Set};

use client::{Blob, Client, failed, message};
pub use find::{Deployable, find};

use documents::{
    Descriptor, Document, EMPTY, EMPTY_DIGEST, ITSELF, MANIFEST, ROLE, SHA512, TITLE, media_type,
};
use index::{INDEX, Index};
use reference::{Repository, as_tag};

/// Where docker and podman keep the authority of one registry.
const CERTIFICATES: [&str; 2] = ["/etc/containers/certs.d", "/etc/docker/certs.d"];

/// The media types that are read under a tag.
const ACCEPTED: &str =
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json";

/// A repository of an OCI registry.
#[derive(Debug)]
pub struct Oci {
    repository: Repository,
    client: Client,
    existing: Existing,
}

/// Something to be undone when a later step fails.
enum Undo {
    /// A new manifest: its digest, and its description for messages.
    Remove { digest: String, name: String },
    /// A tag that named another manifest before.
    Restore { tag: String, before: Vec<u8> },
}

/// The trust in a registry's certificate, and the login there.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// A PEM file that its certificate is checked against; else what `certs.d` of podman or docker
    /// has for it, else what the host trusts.
    pub ca: Option<PathBuf>,
    /// Files in the form of docker's `config.json`, the first that has a login for it wins.
    pub logins: Vec<PathBuf>,
}

impl Access {
    /// The logins where podman, skopeo and docker keep them.
    #[must_use]
    pub fn from_environment(ca: Option<PathBuf>) -> Self {
        Self { ca, logins: credentials::files(|name| std::env::var(name).ok()) }
    }
}

impl Oci {
    /// Connects to the registry of `HOST[:PORT]/NAME[:TAG]`.
    ///
    /// # Errors
    /// When the reference is none, or the registry cannot be reached or refuses the login.
    pub fn open(reference: &str, access: &Access) -> Result<Self> {
        let repository = Repository::parse(reference).map_err(|why| {
            // It may hold a password.
            let shown = reference.rsplit('@').next().unwrap_or_default().escape_debug().to_string();
            Failure::new(ExitCode::Usage, format!("reading the registry 'oci:{shown}': {why}"))
                .hint("write oci:HOST/NAME or oci:HOST/NAME:TAG")
        })?;
        let filed = || {
            CERTIFICATES
                .iter()
                .map(|d| PathBuf::from(d).join(&repository.host).join("ca.crt"))
                .find(|path| path.is_file())
        };
        let ca = access.ca.clone().or_else(filed);
        let http = http::Client::new(&Trust::named(ca.as_deref()), Redirects::Follow)?;
        let login = credentials::find(&access.logins, &repository.host, &repository.name)?;
        let client = Client::connect(http, repository.clone(), login)?;
        Ok(Self { repository, client, existing: Existing::Keep })
    }

    /// The same, with another rule for versions that exist with other bytes.
    #[must_use]
    pub fn with_existing(self, existing: Existing) -> Self {
        Self { existing, ..self }
    }

    fn tag(&self, set: &Set) -> String {
        self.repository
            .tag
            .clone()
            .unwrap_or_else(|| as_tag(&format!("{}{}", set.stem(), set.tarball.extension)))
    }

    /// How the manifest of that digest is named, to Ironic and to other clients.
    fn url(&self, digest: &str) -> String {
        format!("oci://{}/{}@{digest}", self.repository.host, self.repository.name)
    }

    /// A manifest by tag or digest, as it is there.
    fn manifest(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let doing = format!("reading the manifest {name} of");
        let call =
            Call::get(self.client.path(&format!("manifests/{name}"))).header("accept", ACCEPTED);
        let answer = self.client.call(&call, &doing)?;
        match answer.status {
            200 => Ok(Some(answer.body)),
            404 => Ok(None),
            _ => Err(self.client.refused(&doing, &answer)),
        }
    }

    /// Puts a manifest or an index under a tag, and compares what the registry has then with what
    /// was meant.
    fn put_manifest(&self, tag: &str, text: &[u8]) -> Result<()> {
        let doing = format!("writing the manifest {tag} to");
        let kind = if serde_json::from_slice::<Index>(text).is_ok() { INDEX } else { MANIFEST };
        let path = self.client.path(&format!("manifests/{tag}"));
        let call = Call::send("PUT", path, text).repeatable().header("content-type", kind);
        let mut answer;
        let mut retry = Retry::new(Stop::Heed);
        loop {
            answer = self.client.call(&call, &doing)?;
            // A blob that two publishers send at once is unknown for an instant to docker-registry,
            // which puts the second instead of the first.
            let unknown =
                answer.status == 400 && message(&answer).contains("MANIFEST_BLOB_UNKNOWN");
            if !unknown || !retry.again(None).map_err(|error| failed(error, &doing))? {
                break;
            }
        }
        if answer.status != 201 {
            return Err(self.client.refused(&doing, &answer));
        }
        let digest = digest_of(text);
        if self.manifest(&digest)?.as_deref() != Some(text) {
            return Err(Failure::new(
                ExitCode::Trust,
                format!("{doing} {}: what is there now is not what was sent", self.repository),
            )
            .into());
        }
        Ok(())
    }

    fn delete_manifest(&self, digest: &str) -> Result<Answer> {
        self.client.call(
            &Call::delete(self.client.path(&format!("manifests/{digest}"))),
            "removing a manifest of",
        )
    }

    /// The size of a blob, if the repository has it.
    fn blob_size(&self, digest: &str) -> Result<Option<u64>> {
        let doing = "looking for a blob of";
        let answer =
            self.client.call(&Call::head(self.client.path(&format!("blobs/{digest}"))), doing)?;
        match answer.status {
            200 => Ok(answer.length()),
            404 => Ok(None),
            _ => Err(self.client.refused(doing, &answer)),
        }
    }

    /// Sends a blob that is not there yet, and asks for it then.
    fn blob<R: Read>(&self, blob: &Blob<'_>, open: impl Fn() -> Result<R>) -> Result<Made> {
        if self.blob_size(blob.digest)? == Some(blob.size) {
            return Ok(Made::Reused);
        }
        self.client.upload(blob, open)?;
        match self.blob_size(blob.digest)? {
            Some(size) if size == blob.size => Ok(Made::New),
            have => Err(Failure::new(
                ExitCode::Trust,
                format!(
                    "sending {} to {}: the registry has {have:?} bytes of it then, not {}",
                    blob.what, self.repository, blob.size
                ),
            )
            .into()),
        }
    }

    /// A piece with its own manifest; returns the set's layer and the reference.
    fn piece(
        &self,
        what: &Outgoing<'_>,
        undo: &mut Vec<Undo>,
        sent: &Progress<'_>,
    ) -> Result<(Descriptor, Reference)> {
        let Outgoing { role, piece, title, media_type } = what;
        sent.step.item(title);
        let digest = format!("sha256:{}", piece.sha256);
        let before = sent.done.get();
        let made = self.blob(&Blob { what: title, digest: &digest, size: piece.size }, || {
            sent.done.set(before);
            Ok(Counted { reader: piece.open()?, sent })
        });
        let made = match made {
            // The registry only reports that the digest is wrong.
            Err(_) if process::stop_requested().is_none() && has_changed(piece) => {
                return Err(piece.changed(piece.size));
            }
            made => made?,
        };
        sent.done.set(before + piece.size);
        let annotations = [(TITLE, title.as_str()), (ROLE, role), (SHA512, &piece.sha512)];
        let mut layer = Descriptor {
            media_type: (*media_type).to_owned(),
            digest,
            size: piece.size,
            annotations: annotations
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        };
        let text = text(&Document::from_piece(&layer))?;
        let itself = digest_of(&text);
        // A separate tag protects it in registries that remove untagged manifests, and is the same
        // for equal pieces.
        let tag = format!("{role}-{}", piece.sha256.get(..16).unwrap_or_default());
        if self.manifest(&tag)?.as_deref() != Some(&text) {
            if self.manifest(&itself)?.is_none() {
                undo.push(Undo::Remove { digest: itself.clone(), name: tag.clone() });
            }
            self.put_manifest(&tag, &text)?;
        }
        layer.annotations.insert(ITSELF.to_owned(), itself.clone());
        let reference = Reference::from_piece(piece, title, &itself, Some(self.url(&itself)), made);
        Ok((layer, reference))
    }

    fn send(&self, set: &Set, report: &Report, undo: &mut Vec<Undo>) -> Result<References> {
        let step = report.step("publishing");
        let sent = Progress { step: &step, done: Cell::new(0), total: total(set) };
        self.blob(
            &Blob { what: "an empty config", digest: EMPTY_DIGEST, size: EMPTY.len() as u64 },
            || Ok(EMPTY),
        )?;
        let (mut layers, mut references) = (Vec::new(), Vec::new());
        for role in Role::ALL {
            let Some(piece) = set.piece(role) else { continue };
            let media_type = media_type(role, set.tarball.format);
            let (layer, reference) = self.piece(
                &Outgoing {
                    role: role.word(),
                    piece,
                    title: file_of(&set.stem(), set, role),
                    media_type,
                },
                undo,
                &sent,
            )?;
            layers.push(layer);
            references.push((role, reference));
        }
        if let Some(piece) = &set.manifest {
            let title = format!("{}.json", set.stem());
            let (layer, _) = self.piece(
                &Outgoing { role: "manifest", piece, title, media_type: "application/json" },
                undo,
                &sent,
            )?;
            layers.push(layer);
        }
        let tag = self.tag(set);
        let document = Document::from_set(set, layers, calendar::rfc3339(calendar::now()));
        let (itself, made, size) = self.tag_set(&tag, &document, undo)?;
        let registry = format!("oci:{}/{}:{tag}", self.repository.host, self.repository.name);
        let published = References {
            manifest: Some(Reference {
                name: tag.clone(),
                url: Some(self.url(&itself)),
                sha256: Some(itself.trim_start_matches("sha256:").to_owned()),
                id: itself,
                size: size as u64,
                sha512: None,
                made,
            }),
            ..References::from_set(set, Kind::Oci, registry, references)?
        };
        step.finish(&tag);
        Ok(published)
    }

    /// Removes what was made; what cannot be removed is reported with the error that made it
    /// necessary.
    fn roll_back(&self, undo: Vec<Undo>, error: anyhow::Error) -> anyhow::Error {
        self.client.ignore_signals();
        let mut left = Vec::new();
        for step in undo.into_iter().rev() {
            match step {
                Undo::Restore { tag, before } => {
                    if self.put_manifest(&tag, &before).is_err() {
                        left.push(format!("the tag {tag} in a state that is not known"));
                    }
                }
                Undo::Remove { digest, name } => match self.delete_manifest(&digest) {
                    Ok(answer) if answer.is(&[202, 404]) => {}
                    _ => left.push(format!("{name} ({digest})")),
                },
            }
        }
        if left.is_empty() {
            return error;
        }
        Failure::new(
            error::exit_code(&error),
            format!(
                "publishing to {}: it failed, and what is left there could not be removed: {}",
                self.repository,
                left.join(", ")
            ),
        )
        .hint(
            "remove it there by hand, or let the registry delete: storage.delete.enabled of \
             docker-registry",
        )
        .because(error)
        .into()
    }
}

impl Registry for Oci {
    fn describe(&self) -> String {
        let how = if self.client.is_plain() { "plain http" } else { "https" };
        format!("oci:{} ({how})", self.repository)
    }

    fn publish(&self, set: &Set, report: &Report) -> Result<References> {
        set.check()?;
        let set = &Set { tree: set.tree()?, ..set.clone() };
        let there = self.sets_of(&set.name, &set.version, set.arch.as_deref())?;
        let clash = versions::published(&there, self)
            .and_then(|held| held.clash(&NewFiles::from_set(set, set.tree.as_deref())));
        match &clash {
            Some(clash) if self.existing == Existing::Keep => {
                return Err(
                    clash.refuse(&format!("publishing to oci:{}", self.repository), &set.stem())
                );
            }
            Some(clash) => report.note(&format!(
                "replacing {}, which {}",
                clash.existing(),
                clash.difference()
            )),
            None => {}
        }
        let mut undo = Vec::new();
        let mut references =
            self.send(set, report, &mut undo).map_err(|error| self.roll_back(undo, error))?;
        if clash.is_some() {
            references.retired.extend(self.remove_others(&there, &references)?);
        }
        report.note(
            "what Ironic 39 does with oci:// references: it takes them by digest, as printed, the \
             tarball's with image_type=partition (osimg deploy sets that). Nodes fetch the \
             tarball themselves, without a login, by a URL that ends in a digest: osimg's \
             kickstart template appends the suffix; with another one Anaconda would mount it as a \
             disk",
        );
        if self.client.is_plain() {
            report.note(
                "this registry speaks plain http: the conductor needs \
                 [oci]permit_fallback_to_http_transport",
            );
        }
        Ok(references)
    }

    fn published_version(
        &self,
        name: &str,
        version: &str,
        arch: Option<&str>,
    ) -> Result<Option<PublishedVersion>> {
        Ok(versions::published(&self.sets_of(name, version, arch)?, self))
    }

    fn list(&self) -> Result<Vec<Entry>> {
        entries::list(self)
    }

    fn remove(&self, entry: &Entry) -> Result<Removal> {
        entries::remove(self, entry).map(Removal::from)
    }
}

/// A piece on its way.
struct Outgoing<'a> {
    role: &'a str,
    piece: &'a Piece,
    title: String,
    media_type: &'a str,
}

struct Progress<'a> {
    step: &'a Step<'a>,
    done: Cell<u64>,
    total: u64,
}

struct Counted<'a, R> {
    reader: R,
    sent: &'a Progress<'a>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.sent.done.set(self.sent.done.get() + count as u64);
        self.sent.step.progress(Unit::Bytes, self.sent.done.get(), self.sent.total);
        Ok(count)
    }
}

/// Whether the file's bytes are no longer those that were hashed; false when it cannot be read,
/// which is another trouble.
fn has_changed(piece: &Piece) -> bool {
    Piece::from_file(&piece.path, |_, _| {}).is_ok_and(|now| now.sha256 != piece.sha256)
}

fn total(set: &Set) -> u64 {
    Role::ALL
        .iter()
        .filter_map(|role| set.piece(*role))
        .chain(&set.manifest)
        .map(|piece| piece.size)
        .sum()
}

fn digest_of(text: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(text)))
}

fn text(document: &Document) -> Result<Vec<u8>> {
    serde_json::to_vec(document).or_fail(ExitCode::Unexpected, "writing a manifest")
}
