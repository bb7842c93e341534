//! Sends a set: its pieces, and then the manifest that one tag names.

use std::cell::Cell;
use std::io::Read;

use super::client::Blob;
use super::connection::Oci;
use super::documents::{
    Descriptor, Document, EMPTY, EMPTY_DIGEST, ITSELF, ROLE, SHA512, TITLE, digest_of, media_type,
    text,
};
use super::occupied;
use super::undo::Undo;
use crate::calendar;
use crate::error::Result;
use crate::naming;
use crate::process;
use crate::registry::directory::file_of;
use crate::report::{Report, Step, Unit};
use crate::set::{Kept, Kind, Made, Piece, Reference, References, Role, Set};

/// A piece on its way.
struct Outgoing<'a> {
    role: &'a str,
    piece: &'a Piece,
    title: String,
    media_type: &'a str,
}

/// A piece that is there.
struct Sent {
    /// The set's layer for it.
    layer: Descriptor,
    reference: Reference,
    /// Its own manifest, and that one's tag.
    tag: String,
    text: Vec<u8>,
}

/// A set that its tags name.
struct Committed {
    itself: String,
    made: Made,
    size: usize,
    retired: Vec<String>,
    kept: Vec<Kept>,
}

/// How much of all pieces is sent.
pub(super) struct Progress<'a> {
    step: &'a Step<'a>,
    done: Cell<u64>,
    total: u64,
}

impl<'a> Progress<'a> {
    pub(super) fn new(step: &'a Step<'a>, total: u64) -> Self {
        Self { step, done: Cell::new(0), total }
    }
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
pub(super) fn has_changed(piece: &Piece) -> bool {
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

impl Oci {
    /// Sends the bytes of a piece.
    pub(super) fn send_piece(
        &self,
        title: &str,
        piece: &Piece,
        sent: &Progress<'_>,
    ) -> Result<Made> {
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
        Ok(made)
    }

    /// A piece with its own manifest.
    fn piece(
        &self,
        what: &Outgoing<'_>,
        undo: &mut Vec<Undo>,
        sent: &Progress<'_>,
    ) -> Result<Sent> {
        let Outgoing { role, piece, title, media_type } = what;
        let made = self.send_piece(title, piece, sent)?;
        let annotations = [(TITLE, title.as_str()), (ROLE, role), (SHA512, &piece.sha512)];
        let mut layer = Descriptor {
            media_type: (*media_type).to_owned(),
            digest: format!("sha256:{}", piece.sha256),
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
        occupied::check_piece(self, &tag)?;
        self.put_new(&tag, &text, undo)?;
        layer.annotations.insert(ITSELF.to_owned(), itself.clone());
        let reference = Reference::from_piece(piece, title, &itself, Some(self.url(&itself)), made);
        Ok(Sent { layer, reference, tag, text })
    }

    pub(super) fn send(
        &self,
        set: &Set,
        report: &Report,
        undo: &mut Vec<Undo>,
    ) -> Result<References> {
        let step = report.step("publishing");
        let sent = Progress::new(&step, total(set));
        self.blob(
            &Blob { what: "an empty config", digest: EMPTY_DIGEST, size: EMPTY.len() as u64 },
            || Ok(EMPTY),
        )?;
        let (mut pieces, mut references) = (Vec::new(), Vec::new());
        for role in Role::ALL {
            let Some(piece) = set.piece(role) else { continue };
            let media_type = media_type(role, set.tarball.format);
            let piece = self.piece(
                &Outgoing {
                    role: role.word(),
                    piece,
                    title: file_of(&set.stem(), set, role),
                    media_type,
                },
                undo,
                &sent,
            )?;
            references.push((role, piece.reference.clone()));
            pieces.push(piece);
        }
        if let Some(piece) = &set.manifest {
            let title = naming::manifest(&set.stem());
            let what = Outgoing { role: "manifest", piece, title, media_type: "application/json" };
            pieces.push(self.piece(&what, undo, &sent)?);
        }
        let tags = self.tags(set);
        let layers = pieces.iter().map(|piece| piece.layer.clone()).collect();
        let document = Document::from_set(set, layers, calendar::rfc3339(calendar::now()));
        let committed = match self.same(&tags, &document)? {
            Some((itself, size)) => Committed {
                itself,
                made: Made::Reused,
                size,
                kept: Vec::new(),
                retired: Vec::new(),
            },
            None => self.commit(set, &document, &pieces, report, undo)?,
        };
        let Committed { itself, made, size, kept, retired } = committed;
        let tag = tags.last().cloned().unwrap_or_default();
        let registry = format!("oci:{}/{}:{tag}", self.repository.host, self.repository.name);
        let published = References {
            kept,
            retired,
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

    /// Names the set by its tags, after what other publishers did in the meantime was compared
    /// again.
    fn commit(
        &self,
        set: &Set,
        document: &Document,
        pieces: &[Sent],
        report: &Report,
        undo: &mut Vec<Undo>,
    ) -> Result<Committed> {
        let claim = self.claim(set, undo)?;
        let found = self.compare(set)?;
        if let Some(clash) = &found.clash {
            let (there, difference) = (clash.existing(), clash.difference());
            report.note(&format!("replacing {there}, which {difference}"));
        }
        // Another publisher that failed may have removed one.
        for piece in pieces {
            self.put_new(&piece.tag, &piece.text, undo)?;
        }
        self.check_claim(&claim)?;
        let (itself, made, size) = self.tag_set(&self.tags(set), document, undo)?;
        // From here on it is published.
        self.client.ignore_signals();
        let mut kept = Vec::new();
        let retired = match found.clash.map(|_| self.remove_others(&found.sets, &itself)) {
            Some(Ok(removed)) => removed,
            Some(Err(error)) => {
                kept.push(Kept::new(&set.stem(), &set.name, &error));
                Vec::new()
            }
            None => Vec::new(),
        };
        if let Err(error) = self.release(&claim) {
            kept.push(Kept::new(&claim.tag, &set.name, &error));
        }
        self.client.heed_signals();
        Ok(Committed { itself, made, size, kept, retired })
    }
}
