//! The OS images of a cloud, recognised by osimg's properties, and their removal.

use super::connection::Glance;
use super::draft::{ARCHITECTURE, EXTENSION, NAME, ROLE, SHA256, TREE, VERSION};
use super::images::Image;
use super::images::LINKS;
use crate::error::{ExitCode, Failure, Result};
use crate::http::Stop;
use crate::registry::entry::newest_first;
use crate::registry::removal::Removal;
use crate::registry::{Entry, State};
use crate::set::Kept;
use crate::set::Role;
use crate::set::version::shared;
use crate::set::{PublishedFile, PublishedVersion, same_arch};

/// States of an image that has no data yet.
const UNFINISHED: &str = "in:queued,saving,importing,uploading";

pub(super) fn list(glance: &Glance) -> Result<Vec<Entry>> {
    let doing = "listing the images";
    let mut images = glance.images().list(&[(ROLE, Role::Tarball.word())], doing, Stop::Heed)?;
    let unfinished = glance.images().list(&[("status", UNFINISHED)], doing, Stop::Heed)?;
    images.retain(|image| image.status == "active");
    images.extend(unfinished.into_iter().filter(|image| image.property(ROLE).is_some()));
    Ok(newest_first(images.iter().map(|image| entry(image, glance.owns(image))).collect()))
}

fn entry(image: &Image, own: bool) -> Entry {
    let name = image.property(NAME).or(image.name.as_deref()).unwrap_or_default().to_owned();
    let extension = image.property(EXTENSION).unwrap_or_default().to_owned();
    let arch = image.property(ARCHITECTURE).map(str::to_owned);
    let state = if image.status != "active" {
        State::Unfinished
    } else if !image.os_hidden {
        State::Current
    } else {
        State::Older
    };
    let mut visibility = image.visibility.clone();
    for (flag, word) in [(image.os_hidden, " hidden"), (image.protected, " protected")] {
        if flag {
            visibility.push_str(word);
        }
    }
    let pieces: Vec<(Role, String)> = LINKS
        .iter()
        .filter_map(|(role, link)| Some((*role, image.property(link)?.to_owned())))
        .collect();
    Entry {
        name,
        version: image.property(VERSION).unwrap_or_default().to_owned(),
        arch,
        extension,
        id: image.id.clone(),
        created: image.created_at.clone(),
        size: image.size,
        sha512: image
            .os_hash_value
            .clone()
            .filter(|_| image.os_hash_algo.as_deref() == Some("sha512")),
        state,
        visibility: Some(visibility),
        owner: image.owner.clone(),
        own,
        files: std::iter::once(image.id.clone())
            .chain(pieces.iter().map(|(_, id)| id.clone()))
            .collect(),
        pieces,
    }
}

/// The own images of a version; of several of one format the newest.
pub(super) fn published_version(
    glance: &Glance,
    name: &str,
    version: &str,
    arch: Option<&str>,
) -> Result<Option<PublishedVersion>> {
    let mut images = tarballs(glance, name, version, arch)?;
    images.retain(|image| image.status == "active");
    described(glance, images)
}

/// The project's own tarballs of that name and version, also those that are still being sent.
pub(super) fn tarballs(
    glance: &Glance,
    name: &str,
    version: &str,
    arch: Option<&str>,
) -> Result<Vec<Image>> {
    let doing =
        format!("looking for the version '{}' of {}", version.escape_debug(), name.escape_debug());
    let mut images =
        glance.images().list(&[(ROLE, Role::Tarball.word()), (NAME, name)], &doing, Stop::Heed)?;
    images.retain(|image| {
        let same = (image.property(NAME), image.property(VERSION).unwrap_or_default())
            == (Some(name), version);
        same && glance.owns(image) && same_arch(image.property(ARCHITECTURE), arch)
    });
    Ok(images)
}

/// The version that has these tarballs; none without a tarball.
pub(super) fn described(
    glance: &Glance,
    mut images: Vec<Image>,
) -> Result<Option<PublishedVersion>> {
    images.sort_by(|a, b| (&b.created_at, &b.id).cmp(&(&a.created_at, &a.id)));
    let Some(newest) = images.first() else { return Ok(None) };
    let tree = newest
        .property(TREE)
        .filter(|tree| images.iter().all(|image| image.property(TREE) == Some(tree)));
    let mut held = PublishedVersion {
        created: newest.created_at.clone(),
        tree: tree.map(str::to_owned),
        files: Vec::new(),
    };
    for image in &images {
        let extension = image.property(EXTENSION).unwrap_or_default();
        if held
            .files
            .iter()
            .any(|file| (file.role, file.extension.as_str()) == (Role::Tarball, extension))
        {
            continue;
        }
        held.files.push(published_file(Role::Tarball, extension, image));
        for (role, link) in LINKS {
            let extension = if shared(role) { "" } else { extension };
            let known = held
                .files
                .iter()
                .any(|file| (file.role, file.extension.as_str()) == (role, extension));
            if let Some(id) = image.property(link).filter(|_| !known)
                && let Some(piece) =
                    glance.images().find(id, "looking at a published set", Stop::Heed)?
            {
                held.files.push(published_file(role, extension, &piece));
            }
        }
    }
    Ok(Some(held))
}

fn published_file(role: Role, extension: &str, image: &Image) -> PublishedFile {
    let of = |kind: &str| {
        image.os_hash_value.clone().filter(|_| image.os_hash_algo.as_deref() == Some(kind))
    };
    PublishedFile {
        role,
        extension: extension.to_owned(),
        place: image.id.clone(),
        sha256: image.property(SHA256).map(str::to_owned).or_else(|| of("sha256")),
        sha512: of("sha512"),
    }
}

pub(super) fn remove(glance: &Glance, entry: &Entry) -> Result<Removal> {
    let images = glance.images();
    let doing = format!("removing the image {} ({})", entry.id, entry.name.escape_debug());
    let Some(image) = images.find(&entry.id, &doing, Stop::Heed)? else {
        return Ok(Removal::default());
    };
    if image.property(ROLE).is_none() {
        return Err(Failure::new(
            ExitCode::Registry,
            format!("{doing}: it is not an image of osimg"),
        )
        .into());
    }
    check_protection(&image, &doing)?;
    images.remove(&entry.id, Stop::Heed)?.expect(&[204, 404, 410], &doing)?;
    let mut removal = Removal::from(vec![entry.id.clone()]);
    for (_, id) in &entry.pieces {
        let doing = format!("removing the image {id}, which {} booted with", entry.id);
        match remove_piece(glance, &image, id, &doing) {
            Ok(true) => removal.removed.push(id.clone()),
            Ok(false) => {}
            Err(error) => removal.kept.push(Kept::new(id, &entry.name, &error)),
        }
    }
    Ok(removal)
}

/// Removes a boot piece of a removed image, if it is the same owner's and no other image uses it.
fn remove_piece(glance: &Glance, image: &Image, id: &str, doing: &str) -> Result<bool> {
    let images = glance.images();
    // A piece may also be an address.
    let Some(piece) = images.find(id, doing, Stop::Heed)? else { return Ok(false) };
    if piece.property(ROLE).is_none()
        || piece.owner != image.owner
        || !images.users(id, doing, Stop::Heed)?.is_empty()
    {
        return Ok(false);
    }
    check_protection(&piece, doing)?;
    images.remove(id, Stop::Heed)?.expect(&[204, 404, 410], doing)?;
    Ok(true)
}

fn check_protection(image: &Image, doing: &str) -> Result<()> {
    if image.protected {
        return Err(Failure::new(ExitCode::Registry, format!("{doing}: it is protected"))
            .hint(format!("openstack image set --unprotected {}", image.id))
            .into());
    }
    Ok(())
}
