//! A set into Glance: boot pieces first, the tarball that names them last, and after any failure
//! nothing of it is left.

use anyhow::Context;
use serde_json::json;

use std::io::Read;

use super::connection::Glance;
use super::draft::{SHA256, draft, fits};
use super::images::{Draft, Image};
use super::journal::{Journal, Left, gone};
use super::send::{Origin, PublicRefused, protect, send};
use super::visibility::{Chosen, choose};
use super::{entries, signature};
use crate::error::{ExitCode, Failure, Result};
use crate::http::Stop;
use crate::process;
use crate::recipe::Visibility;
use crate::registry::Registry as _;
use crate::registry::options::{Existing, Older};
use crate::registry::removal::Removal;
use crate::registry::{Entry, State};
use crate::report::{Report, bytes};
use crate::set::Kept;
use crate::set::Set;
use crate::set::version::NewFiles;
use crate::set::{Kind, Made, Reference, References};
use crate::set::{Piece, Role};

/// A set is begun again when pieces that it uses again are removed by someone else in the meantime.
const ATTEMPTS: u32 = 3;

pub(super) fn publish(glance: &Glance, set: &Set, report: &Report) -> Result<References> {
    set.check()?;
    check_first_sector(&set.tarball.piece)?;
    let set = &Set { tree: set.tree()?, ..set.clone() };
    let held = entries::published_version(glance, &set.name, &set.version, set.arch.as_deref())?
        .unwrap_or_default();
    let replaced = match held.clash(&NewFiles::from_set(set, set.tree.as_deref())) {
        None => Vec::new(),
        Some(clash) if glance.publishing.existing == Existing::Replace => {
            report.note(&format!(
                "replacing the image {}, which {}",
                clash.existing(),
                clash.difference()
            ));
            held.files
                .into_iter()
                .filter(|file| file.role == Role::Tarball)
                .map(|file| file.place)
                .collect()
        }
        Some(clash) => {
            return Err(clash.refuse(&format!("publishing to {}", glance.address()), &set.stem()));
        }
    };
    let mut chosen = choose(glance, report)?;
    let mut attempt_number = 1;
    loop {
        let mut journal = Journal::default();
        let error = match attempt(glance, set, &chosen, &mut journal, report) {
            Ok(Some(references)) => {
                return Ok(retire(glance, without(glance, references, &replaced)));
            }
            Ok(None) => gone("publishing the set"),
            Err(error) => error,
        };
        let refused = error.downcast_ref::<PublicRefused>().is_some();
        let vanished = error.downcast_ref::<Vanished>().is_some();
        let (error, left) = journal.undo(glance.images(), &glance.session.cloud().name, error);
        if left == Left::Something {
            return Err(error);
        }
        if refused && chosen.may_fall_back {
            report.note(
                "Glance refuses public images: these are community ones, which Ironic finds as \
                 well",
            );
            chosen = Chosen {
                visibility: Visibility::Community,
                may_fall_back: false,
                members: Vec::new(),
            };
        } else if vanished && attempt_number < ATTEMPTS {
            report.note("someone removed a piece in the meantime: publishing begins again");
            attempt_number += 1;
        } else {
            return Err(error);
        }
    }
}

/// Marks that a piece which was to be used again is gone.
#[derive(Debug, Clone, Copy)]
struct Vanished;

impl std::fmt::Display for Vanished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("using a piece again that was there")
    }
}

fn attempt(
    glance: &Glance,
    set: &Set,
    chosen: &Chosen,
    journal: &mut Journal,
    report: &Report,
) -> Result<Option<References>> {
    let mut links: Vec<(Role, String)> = Vec::new();
    let mut references: Vec<(Role, Reference)> = Vec::new();
    let mut visibility = String::new();
    for role in Role::ALL {
        let Some(piece) = set.piece(role) else { continue };
        process::check_stop()?;
        let mut draft = draft(set, role, &links, &glance.publishing, chosen.visibility.word())?;
        let (image, made) = match there(glance, &draft, piece, role)? {
            Some(image) => (image, Made::Reused),
            None => {
                if let Some(key) = &glance.publishing.signature {
                    signature::add(&mut draft.properties, key, piece)?;
                }
                let step = report.step(&format!("publishing the {role}"));
                step.item(&draft.name);
                let origin = glance
                    .publishing
                    .import_from
                    .as_deref()
                    .filter(|_| role == Role::Tarball)
                    .map_or(Origin::Here, Origin::Url);
                let image = send(glance, &draft, piece, origin, journal, &step)?;
                step.finish(&format!("{} as {}", bytes(piece.size), image.shown()));
                if is_only_one(glance, &draft, piece, role, &image)? {
                    (image, Made::New)
                } else {
                    settle()?;
                    twin(glance, &draft, piece, role, image, journal)?
                }
            }
        };
        if made == Made::Reused {
            report.note(&format!("the {role} is there already: {}", image.shown()));
            if role == Role::Tarball
                && glance.owns(&image)
                && image.os_hidden != glance.publishing.hidden
            {
                let doing = format!("showing the image {} again", image.id);
                glance
                    .images()
                    .set(&image.id, "os_hidden", &json!(glance.publishing.hidden), Stop::Heed)?
                    .expect(&[200], &doing)?;
            }
        }
        if image.visibility == "shared" {
            for member in &chosen.members {
                glance.images().share(
                    &image.id,
                    member,
                    &format!("sharing the image {} with project {member}", image.id),
                )?;
            }
        }
        visibility.clone_from(&image.visibility);
        links.push((role, image.id.clone()));
        references.push((role, reference(glance, &image, piece, made)));
    }
    // A set with missing parts is not a set: other publishers may have removed what they made.
    for (_, reference) in &references {
        let found =
            glance.images().find(&reference.id, "looking at what was published", Stop::Heed)?;
        if found.is_none_or(|image| image.status != "active") {
            return Err(gone(&format!("looking at the image {}", reference.id)).context(Vanished));
        }
    }
    check_first(glance, set, &references)?;
    process::check_stop()?;
    if glance.publishing.protected {
        protect(glance, journal.ids().map(str::to_owned).collect::<Vec<_>>().into_iter())?;
    }
    let references = References::from_set(set, Kind::Glance, glance.address(), references)?;
    Ok(Some(References { visibility: Some(visibility), ..references }))
}

/// An image that is there and can be used instead of a new one: the oldest, so that all choose the
/// same.
fn there(glance: &Glance, draft: &Draft, piece: &Piece, role: Role) -> Result<Option<Image>> {
    let project = glance.project();
    let mut found = Vec::new();
    for digest in [&piece.sha512, &piece.sha256] {
        let doing = format!("looking for the {role} in Glance");
        found.extend(glance.images().list(&[("os_hash_value", digest)], &doing, Stop::Heed)?);
        if !found.is_empty() {
            break;
        }
    }
    found.retain(|image| fits(image, draft, piece, role, project.as_deref()));
    Ok(found.into_iter().min_by(|a, b| (&a.updated_at, &a.id).cmp(&(&b.updated_at, &b.id))))
}

/// Whether no other publisher makes the same, or just made it. One that begins after this check
/// finds the image in an earlier second, or with a smaller id in the same one: see `new_id`.
fn is_only_one(
    glance: &Glance,
    draft: &Draft,
    piece: &Piece,
    role: Role,
    own: &Image,
) -> Result<bool> {
    let project = glance.project();
    let doing = format!("looking for other publishers of the {role}");
    let all = glance.images().list(&[(SHA256, &piece.sha256)], &doing, Stop::Heed)?;
    Ok(!all.iter().filter(|image| image.id != own.id).any(|image| {
        matches!(image.status.as_str(), "queued" | "saving" | "uploading" | "importing")
            || fits(image, draft, piece, role, project.as_deref())
    }))
}

/// Waits until the second in which an image became active is over: Glance's times are in whole
/// seconds, and publishers that finished in the same one must see each other before they choose.
fn settle() -> Result<()> {
    process::pause(std::time::Duration::from_millis(1100))
}

/// Of two that published the same at once, the one that was done first is used, and the other is
/// removed by its publisher.
fn twin(
    glance: &Glance,
    draft: &Draft,
    piece: &Piece,
    role: Role,
    image: Image,
    journal: &mut Journal,
) -> Result<(Image, Made)> {
    match there(glance, draft, piece, role)? {
        Some(first) if first.id != image.id => {
            super::journal::remove(glance.images(), &image.id)?;
            journal.forget(&image.id);
            Ok((first, Made::Reused))
        }
        _ => Ok((image, Made::New)),
    }
}

/// Refuses the set if another publisher published different bytes as this version at the same time.
/// The one that was done first stays, as with [`is_only_one`].
fn check_first(glance: &Glance, set: &Set, references: &[(Role, Reference)]) -> Result<()> {
    let made = references.iter().find(|(role, reference)| {
        (*role, reference.made) == (Role::Tarball, Made::New)
            && glance.publishing.existing != Existing::Replace
    });
    let Some((_, own)) = made else { return Ok(()) };
    let tarballs = || entries::tarballs(glance, &set.name, &set.version, set.arch.as_deref());
    if tarballs()?.len() < 2 {
        return Ok(());
    }
    settle()?;
    let mut images = tarballs()?;
    // Protecting an image changes its time.
    let rank = |image: &Image| (!image.protected, image.updated_at.clone(), image.id.clone());
    let Some(own) = images.iter().find(|image| image.id == own.id).map(rank) else {
        return Ok(());
    };
    images.retain(|image| image.status == "active" && rank(image) < own);
    let first = entries::described(glance, images)?.unwrap_or_default();
    match first.clash(&NewFiles::from_set(set, set.tree.as_deref())) {
        None => Ok(()),
        Some(clash) => {
            Err(clash.refuse(&format!("publishing to {}", glance.address()), &set.stem()))
        }
    }
}

fn reference(glance: &Glance, image: &Image, piece: &Piece, made: Made) -> Reference {
    let endpoint = glance.session.endpoint("image").unwrap_or_default();
    let url = format!("{endpoint}/v2/images/{}/file", image.id);
    Reference::from_piece(
        piece,
        image.name.as_deref().unwrap_or_default(),
        &image.id,
        Some(url),
        made,
    )
}

/// Removes the images that the set replaces. It is published by now: one that has to stay is named
/// in the references.
fn without(glance: &Glance, mut references: References, replaced: &[String]) -> References {
    let entries = if replaced.is_empty() { Ok(Vec::new()) } else { entries::list(glance) };
    let removed = entries.and_then(|entries| {
        let old = |entry: &Entry| replaced.contains(&entry.id) && entry.id != references.tarball.id;
        glance.remove_all(&entries.into_iter().filter(old).collect::<Vec<_>>())
    });
    match removed {
        Ok(removal) => {
            references.retired.extend(removal.removed);
            references.kept.extend(removal.kept);
        }
        Err(error) => {
            references.kept.push(Kept::new(&replaced.join(", "), &references.name, &error))
        }
    }
    references
}

/// Hides or removes own older versions, if requested. The set is published by now: an older version
/// that has to stay is named in the references.
fn retire(glance: &Glance, mut references: References) -> References {
    let keep = match glance.publishing.older {
        Older::Keep => return references,
        Older::Hide => 1,
        Older::Remove(keep) => keep.max(1),
    };
    let retired = entries::list(glance).map(|all| {
        all.into_iter()
            .filter(|e| {
                e.own
                    && (&e.name, &e.arch, &e.extension)
                        == (&references.name, &references.arch, &references.extension)
            })
            .filter(|e| e.state != State::Unfinished && e.id != references.tarball.id)
            .skip(keep - 1)
            .collect::<Vec<_>>()
    });
    let retired = match retired {
        Ok(retired) => retired,
        Err(error) => {
            let doing = Failure::new(ExitCode::Registry, "looking for older versions")
                .because(error)
                .into();
            references.kept.push(Kept::new(&references.name, &references.name, &doing));
            return references;
        }
    };
    for entry in retired {
        let done = match glance.publishing.older {
            Older::Hide => {
                let doing = format!("hiding the image {}", entry.id);
                let hidden = glance
                    .images()
                    .set(&entry.id, "os_hidden", &json!(true), Stop::Heed)
                    .and_then(|a| a.expect(&[200], &doing));
                hidden.map(|_| Removal::from(vec![entry.id.clone()]))
            }
            Older::Keep | Older::Remove(_) => entries::remove(glance, &entry),
        };
        match done {
            Ok(removal) => {
                references.retired.extend(removal.removed);
                references.kept.extend(removal.kept);
            }
            Err(error) => references.kept.push(Kept::new(&entry.id, &entry.name, &error)),
        }
    }
    references
}

/// Refuses a file that the image inspection of Glance and Ironic would take for a disk.
fn check_first_sector(piece: &Piece) -> Result<()> {
    let mut start = Vec::new();
    piece
        .open()?
        .take(512)
        .read_to_end(&mut start)
        .with_context(|| format!("reading {}", piece.path.display()))?;
    if start.get(510..512) != Some(&[0x55, 0xAA]) {
        return Ok(());
    }
    Err(Failure::new(
        ExitCode::Registry,
        format!(
            "publishing {}: its bytes 510 and 511 are 55 AA, and Glance and Ironic take it for a \
             disk with a boot sector",
            piece.path.display()
        ),
    )
    .hint(
        "pack it again with osimg build or osimg pack, which shift such a file; or with another \
         compression level",
    )
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tarball_that_looks_like_a_boot_sector_is_refused_before_anything_is_sent() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("os.tgz");
        let mut bytes = vec![0_u8; 600];
        std::fs::write(&path, &bytes).expect("written");
        check_first_sector(&Piece::from_file(&path, |_, _| {}).expect("a piece"))
            .expect("harmless");
        bytes[510] = 0x55;
        bytes[511] = 0xAA;
        std::fs::write(&path, &bytes).expect("written");
        let error = check_first_sector(&Piece::from_file(&path, |_, _| {}).expect("a piece"))
            .expect_err("a boot sector");
        assert!(error.to_string().contains("55 AA"));
    }
}
