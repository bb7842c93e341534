//! Publishes a set into the tree.

use anyhow::Context;
use std::collections::BTreeMap;
use std::fs::File;

use super::entries;
use super::layout::{KERNEL, RAMDISK, STAGE2, STAGE2_TOO, place};
use super::outside::check_outside;
use super::owned::Owned;
use super::stage::{self, adopt, below, hard_link, put, reuse, sums};
use super::store::{StoredVersion, WebTree, place_among};
use crate::calendar;
use crate::error::{ExitCode, Failure, Result};
use crate::installer::treeinfo::{Checksum, Release, TreeInfo, TreePath};
use crate::naming;
use crate::openat::OpenDirectory;
use crate::registry::directory::{clash, holds, joined, same_bytes};
use crate::registry::options::Existing;
use crate::report::{Report, Unit};
use crate::set::{EXTENSIONS, Kind, Made, Place, Reference, References, Role, Set, manifest_text};

fn references(tree: &WebTree, stem: &str, set: &Set) -> Result<References> {
    let mut found = Vec::new();
    let home = tree.home(stem)?;
    for role in Role::ALL {
        let Some(piece) = set.piece(role) else { continue };
        let id = place(stem, set, role);
        let is_there = match &home {
            Some(home) => holds(home, &id, piece)?,
            None => false,
        };
        let made = if is_there { Made::Reused } else { Made::New };
        let url = tree.url.as_ref().map(|url| url.join(stem).join(&id).to_string());
        found.push((role, Reference::from_piece(piece, &id, &id, url, made)));
    }
    References::from_set(set, Kind::Http, tree.name(), found)
}

fn write(
    tree: &WebTree,
    place: &Place,
    set: &Set,
    references: &References,
    text: &str,
    kept: Option<&StoredVersion>,
    report: &Report,
) -> Result<()> {
    let stem = place.stem.as_str();
    let home = tree.home(stem)?;
    let stage = stage::new(tree, stem)?;
    let mut all = manifest_text::published(text);
    all.retain(|set| set.registry == tree.name());
    let step = report.step("publishing");
    let total: u64 =
        Role::ALL.iter().filter_map(|role| set.piece(*role)).map(|piece| piece.size).sum();
    let mut done = 0;
    for role in Role::ALL {
        let (Some(piece), Some(reference)) = (set.piece(role), references.role(role)) else {
            continue;
        };
        step.item(&reference.id);
        let target = below(&stage.path(), &reference.id)?;
        match reference.made {
            Made::Reused => {
                let home = home.as_ref().context("the directory disappeared")?;
                reuse(home, &reference.id, &target)?;
            }
            Made::New => {
                let mut file = File::create_new(&target)
                    .with_context(|| format!("writing {}", target.display()))?;
                piece.copy_to(&mut file, &target, |count| {
                    step.progress(Unit::Bytes, done + count, total)
                })?;
            }
        }
        done += piece.size;
    }
    for (name, piece) in set.documents_of(stem) {
        let target = below(&stage.path(), &name)?;
        let mut file =
            File::create_new(&target).with_context(|| format!("writing {}", target.display()))?;
        piece.copy_to(&mut file, &target, |_| {})?;
    }
    if let Some(home) = &home {
        adopt(home, &stage.path(), &all)?;
        if kept.is_some() {
            stage::adopt_documents(home, &stage.path(), stem)?;
        }
    }
    if set.stage2.is_some() {
        hard_link(&stage.path().join(STAGE2), &below(&stage.path(), STAGE2_TOO)?)?;
    }
    if let Some(info) = treeinfo(set) {
        put(&stage.path().join(".treeinfo"), &info.render())?;
    } else if set.kernel.is_some() {
        report.note(
            "no .treeinfo is written: distribution and architecture are not known (no manifest \
             next to the tarball)",
        );
    }
    sums(&stage.path(), &all)?;
    put(&stage.path().join(naming::manifest(stem)), text)?;
    stage::appear(tree, stage, stem)?;
    if !set.version.is_empty() {
        entries::relink(tree, &set.name, &place.latest)?;
    }
    step.finish(stem);
    Ok(())
}

/// As [`crate::registry::Registry::publish`].
pub(super) fn publish(tree: &WebTree, set: &Set, report: &Report) -> Result<References> {
    set.check()?;
    check_outside(tree.directory.path())?;
    let _names = tree.directory.wait_for(&format!("{}-latest", set.name))?;
    let versions = tree.stored_versions()?;
    let place = place_among(&versions, &set.name, &set.version, set.arch.as_deref());
    let _lock = tree.directory.lock(&place.stem)?;
    let before = versions.iter().find(|stored| stored.stem == place.stem);
    if let Some(stored) = before {
        stored.check_image(tree, &set.name, &set.version)?;
    }
    let kept = match before
        .map(|stored| clash(&stored.published_version(tree), set))
        .transpose()?
        .flatten()
    {
        // A manifest without references to this directory is not osimg's.
        None => before.filter(|stored| !stored.sets.is_empty()),
        Some(clash) if tree.existing == Existing::Replace => {
            report.note(&format!("replacing {}, which {}", clash.existing(), clash.difference()));
            None
        }
        Some(clash) => {
            return Err(clash.refuse(&format!("publishing to {}", tree.name()), &place.stem));
        }
    };
    if before.is_none_or(|stored| stored.sets.is_empty()) && tree.existing != Existing::Replace {
        refuse_foreign(tree, &place.stem, set)?;
    }
    tree.directory.check_link(&place.latest, &set.name)?;
    let references = references(tree, &place.stem, set)?;
    let settled = references.settled();
    let others = kept
        .iter()
        .flat_map(|stored| &stored.sets)
        .filter(|old| old.tarball.id != references.tarball.id);
    let here = others
        .map(|old| References { registry: tree.name(), ..old.booting_as(&settled) })
        .chain([settled.clone()])
        .collect();
    let text = manifest_text::with_all_of(
        &joined(set, &place.stem, kept.map(|stored| stored.text.as_str()))?,
        &tree.name(),
        here,
    )?;
    let own = before.iter().flat_map(|stored| &stored.sets).chain([&references]);
    let own = Owned::listed(&place.stem, own).with_reserved_names(&place.stem);
    let sent = Role::ALL
        .iter()
        .filter_map(|role| references.role(*role))
        .any(|reference| reference.made == Made::New)
        || lacks_document(tree, &place.stem, set)?;
    let described = before.is_some_and(|stored| stored.text == text);
    if sent || !described {
        own.check(tree, &place.stem)?;
        write(tree, &place, set, &references, &text, kept, report)?;
    }
    if !sent {
        report.note(&same_bytes(&place.stem, &tree.name(), described));
    }
    Ok(references)
}

/// Whether the directory lacks one of the set's documents.
fn lacks_document(tree: &WebTree, stem: &str, set: &Set) -> Result<bool> {
    let Some(home) = tree.home(stem)? else { return Ok(true) };
    for (name, piece) in set.documents_of(stem) {
        if !holds(&home, &name, piece)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the directory has no other tarball than the set's.
fn has_only(home: &OpenDirectory, stem: &str, set: &Set) -> Result<bool> {
    let own = place(stem, set, Role::Tarball);
    let others = EXTENSIONS.iter().map(|extension| format!("{stem}{extension}"));
    let has_other =
        others.filter(|name| *name != own).any(|name| !matches!(home.stat(&name), Ok(None)));
    Ok(!has_other && holds(home, &own, &set.tarball.piece)?)
}

/// Refuses to replace a directory, or anything else of the image's name, that is neither a version
/// nor the same tarball.
fn refuse_foreign(tree: &WebTree, stem: &str, set: &Set) -> Result<()> {
    if tree.stat(stem)?.is_none() {
        return Ok(());
    }
    if let Some(home) = tree.home(stem)?
        && (home.names().is_ok_and(|names| names.is_empty()) || has_only(&home, stem, set)?)
    {
        return Ok(());
    }
    Err(Failure::new(
        ExitCode::Registry,
        format!(
            "publishing to {}: {} exists, and is not a version that osimg published",
            tree.name(),
            tree.shown(stem).display()
        ),
    )
    .hint("move it away, use another name or version, or replace it with --replace")
    .into())
}

/// The `.treeinfo` of the tree; `None` without boot pieces or without a known distribution.
fn treeinfo(set: &Set) -> Option<TreeInfo> {
    let (kernel, ramdisk) = (set.kernel.as_ref()?, set.ramdisk.as_ref()?);
    let (arch, name, version) =
        (set.arch.clone()?, set.os_distro.clone()?, set.os_version.clone()?);
    let path = |text: &str| TreePath::parse(text).ok();
    let images = BTreeMap::from([
        ("kernel".to_owned(), path(KERNEL)?),
        ("initrd".to_owned(), path(RAMDISK)?),
    ]);
    let files = [(KERNEL, Some(kernel)), (RAMDISK, Some(ramdisk)), (STAGE2, set.stage2.as_ref())];
    Some(TreeInfo {
        release: Release { short: Some(name.clone()), name, version },
        images: BTreeMap::from([(arch.clone(), images)]),
        arch,
        timestamp: u64::try_from(calendar::now()).ok(),
        stage2: set.stage2.as_ref().and(path(STAGE2)),
        checksums: files
            .into_iter()
            .filter_map(|(path, piece)| {
                Some((path.to_owned(), Checksum::Sha256(piece?.sha256.clone())))
            })
            .collect(),
        variants: Vec::new(),
    })
}
