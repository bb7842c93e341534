//! A directory that a plain web server gives out: for each image a tree that Ironic and Anaconda
//! take what they need from, and that Anaconda's `inst.stage2` and osimg's own `tree` setting
//! understand.
//!
//! ```text
//! PATH/NAME-VERSION/.treeinfo                          what the tree is, with checksums
//!                   NAME-VERSION.tgz  .sha256 .sha512  the tarball; checksums as Ironic reads them
//!                   NAME-VERSION.tgz.ks.cfg            the kickstart template
//!                   NAME-VERSION.json                  the manifest
//!                   SHA256SUMS  SHA512SUMS             of all of them
//!                   images/pxeboot/vmlinuz  initrd.img
//!                   images/install.img                 the second stage; LiveOS/squashfs.img is the same file
//! PATH/NAME-latest -> NAME-VERSION
//! ```
//!
//! Another architecture than that of the plain names has its own directory, `NAME-VERSION.ARCH`,
//! and link, `NAME-latest.ARCH`.
//!
//! The image's directory appears by one rename, and changes by one exchange of two directories: a
//! reader sees the old one or the new one.

use anyhow::Context;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::directory::{Directory, clash, file_of, holds, joined, link, sync, unlink};
use super::held::{Held, HeldFile, Neighbour, Place, held_pieces, latest};
use super::piece::Role;
use super::references::{Entry, Kind, Made, Reference, References, State};
use super::set::stem as plain_stem;
use super::set::{LARGEST_MANIFEST, Set};
use super::wishes::Existing;
use super::{Registry, Removal, manifest};
use crate::calendar;
use crate::error::{ExitCode, Failure, Result};
use crate::files;
use crate::http::WebUrl;
use crate::openat::is_single;
use crate::process;
use crate::report::{Report, Unit};
use crate::treeinfo::{Checksum, Release, TreeInfo, TreePath};

const KERNEL: &str = "images/pxeboot/vmlinuz";
const RAMDISK: &str = "images/pxeboot/initrd.img";
const STAGE2: &str = "images/install.img";
/// Where Anaconda's first stage looks when it is given a directory without a `.treeinfo`.
const STAGE2_TOO: &str = "LiveOS/squashfs.img";

/// A web server's directory.
#[derive(Debug)]
pub struct WebTree {
    directory: Directory,
    url: Option<WebUrl>,
    existing: Existing,
}

/// An image's directory, as its manifest describes it.
struct Shelf {
    stem: String,
    text: String,
    sets: Vec<References>,
}

impl Shelf {
    /// Its files, for comparing them with what is to join them.
    fn held(&self, tree: &WebTree) -> Held {
        let folder = tree.shown(&self.stem);
        let mut held = Held { created: calendar::rfc3339(tree.changed(&self.stem)), tree: manifest::tree(&self.text), files: Vec::new() };
        for set in &self.sets {
            held.files.push(HeldFile {
                role: Role::Tarball,
                extension: set.extension.clone(),
                place: folder.join(&set.tarball.id).display().to_string(),
                sha256: set.tarball.sha256.clone(),
                sha512: set.tarball.sha512.clone(),
            });
            held.files.extend(held_pieces(set, &folder));
        }
        held
    }
}

/// The place of a role in an image's directory.
fn place(stem: &str, set: &Set, role: Role) -> String {
    match role {
        Role::Kernel => KERNEL.to_owned(),
        Role::Ramdisk => RAMDISK.to_owned(),
        Role::Stage2 => STAGE2.to_owned(),
        Role::Kickstart | Role::Tarball => file_of(stem, set, role),
    }
}

impl WebTree {
    /// Opens the directory, which a web server gives out under `url`; its last component is made
    /// when it is missing.
    ///
    /// # Errors
    /// When the directory above is missing, or the URL is none that a node could be given.
    pub fn open(path: &Path, url: Option<&str>) -> Result<Self> {
        let url = url
            .map(|text| {
                WebUrl::parse(text.trim_end_matches('/')).map_err(|why| {
                    Failure::new(ExitCode::Usage, format!("reading the URL of tree:{}: {why}", path.display()))
                        .hint("write tree:PATH=URL, where URL is what the web server calls PATH")
                })
            })
            .transpose()?;
        Ok(Self { directory: Directory::open(path)?, url, existing: Existing::Keep })
    }

    /// A path that leads into the directory through its descriptor, for the calls of this process.
    fn through(&self, name: &str) -> PathBuf {
        self.directory.handle().through().join(name)
    }

    /// The path of a name, for messages.
    fn shown(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// When the image of that directory was published, in seconds since 1970.
    fn changed(&self, stem: &str) -> i64 {
        let time = self.through(stem).join(format!("{stem}.json")).metadata().and_then(|m| m.modified()).ok();
        let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        since.and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(0)
    }

    /// The same, with another rule for versions that exist with other bytes.
    #[must_use]
    pub fn with_existing(self, existing: Existing) -> Self {
        Self { existing, ..self }
    }

    fn name(&self) -> String {
        let url = self.url.as_ref().map_or(String::new(), |url| format!("={url}"));
        format!("tree:{}{url}", self.directory.path().display())
    }

    /// The image of that directory, if there is one.
    fn shelf(&self, stem: &str) -> Option<Shelf> {
        let path = self.through(stem).join(format!("{stem}.json"));
        path.symlink_metadata().ok().filter(std::fs::Metadata::is_file)?;
        let text = files::read_text(&path, LARGEST_MANIFEST).ok()?;
        let mut sets = manifest::published(&text);
        sets.retain(|set| set.kind == Kind::Http && set.registry.starts_with("tree:") && stays(set, stem));
        let arch = manifest::text(&text, "arch");
        for set in &mut sets {
            set.arch = set.arch.take().or_else(|| arch.clone());
        }
        Some(Shelf { stem: stem.to_owned(), text, sets })
    }

    fn shelves(&self) -> Result<Vec<Shelf>> {
        let open = self.directory.handle();
        let names = open.names().with_context(|| format!("listing {}", open.path().display()))?;
        let stems = names.iter().filter_map(|name| name.to_str().filter(|name| !name.starts_with('.') && !open.has_link(name)));
        Ok(stems.filter_map(|stem| self.shelf(stem)).collect())
    }

    fn references(&self, stem: &str, set: &Set) -> Result<References> {
        let mut found = Vec::new();
        for role in Role::ALL {
            let Some(piece) = set.piece(role) else { continue };
            let id = place(stem, set, role);
            let made = if holds(&self.through(stem).join(&id), piece)? { Made::Reused } else { Made::New };
            let url = self.url.as_ref().map(|url| url.join(stem).join(&id).to_string());
            found.push((role, Reference::of_piece(piece, &id, &id, url, made)));
        }
        References::of_set(set, Kind::Http, self.name(), found)
    }

    /// A new directory beside the image's, hidden until it takes its place; dropped, it goes. What
    /// killed publishers left goes now: the lock says that nobody works on it.
    fn stage(&self, stem: &str) -> Result<tempfile::TempDir> {
        let doing = || format!("making a directory in {}", self.directory.path().display());
        let prefix = format!(".{stem}.new-");
        for name in self.directory.handle().names().with_context(doing)? {
            if let Some(name) = name.to_str().filter(|name| name.starts_with(&prefix)) {
                self.discard(name)?;
            }
        }
        tempfile::Builder::new().prefix(&prefix).tempdir_in(self.through("")).with_context(doing)
    }

    /// Removes a directory of ours: out of sight first, by one rename.
    fn discard(&self, name: &str) -> Result<()> {
        let doing = || format!("removing {}", self.shown(name).display());
        let bin = tempfile::Builder::new().prefix(".bin-").tempdir_in(self.through("")).with_context(doing)?;
        std::fs::rename(self.through(name), bin.path().join("x")).with_context(doing)?;
        bin.close().with_context(doing)
    }

    /// Puts the finished directory in the image's place.
    fn appear(&self, stage: tempfile::TempDir, stem: &str) -> Result<()> {
        let home = self.through(stem);
        let doing = || format!("putting {} in its place", self.shown(stem).display());
        settle(stage.path())?;
        process::check_stop()?;
        if home.exists() {
            renameat2(AT_FDCWD, stage.path(), AT_FDCWD, &home, RenameFlags::RENAME_EXCHANGE).with_context(doing)?;
            sync(self.directory.handle())?;
            // It now holds the old one.
            stage.close().with_context(|| format!("removing the old {}", self.shown(stem).display()))
        } else {
            std::fs::rename(stage.path(), &home).with_context(doing)?;
            let _ = stage.keep();
            sync(self.directory.handle())
        }
    }

    fn write(&self, place: &Place, set: &Set, references: &References, text: &str, report: &Report) -> Result<()> {
        let stem = place.stem.as_str();
        let home = self.through(stem);
        let stage = self.stage(stem)?;
        let mut all = manifest::published(text);
        all.retain(|set| set.registry == self.name());
        let step = report.step("publishing");
        let total: u64 = Role::ALL.iter().filter_map(|role| set.piece(*role)).map(|piece| piece.size).sum();
        let mut done = 0;
        for role in Role::ALL {
            let (Some(piece), Some(reference)) = (set.piece(role), references.role(role)) else { continue };
            step.item(&reference.id);
            let target = below(stage.path(), &reference.id)?;
            match reference.made {
                Made::Reused => hard_link(&home.join(&reference.id), &target)?,
                Made::New => {
                    let mut file = File::create_new(&target).with_context(|| format!("writing {}", target.display()))?;
                    piece.copy_to(&mut file, &target, |count| step.progress(Unit::Bytes, done + count, total))?;
                }
            }
            done += piece.size;
        }
        adopt(&home, stage.path(), &all)?;
        if set.stage2.is_some() {
            hard_link(&stage.path().join(STAGE2), &below(stage.path(), STAGE2_TOO)?)?;
        }
        if let Some(info) = treeinfo(set) {
            put(&stage.path().join(".treeinfo"), &info.render())?;
        } else if set.kernel.is_some() {
            report.note("no .treeinfo: the image does not say its distribution and architecture (no manifest beside the tarball)");
        }
        sums(stage.path(), &all)?;
        put(&stage.path().join(format!("{stem}.json")), text)?;
        self.appear(stage, stem)?;
        if !set.version.is_empty() {
            link(self.directory.handle(), &place.latest, stem)?;
            sync(self.directory.handle())?;
        }
        step.finish(stem);
        Ok(())
    }
}

impl Registry for WebTree {
    fn describe(&self) -> String {
        self.name()
    }

    fn publish(&self, set: &Set, report: &Report) -> Result<References> {
        set.check()?;
        let _names = self.directory.wait_for(&format!("{}-latest", set.name))?;
        let shelves = self.shelves()?;
        let place = place_among(&shelves, &set.name, &set.version, set.arch.as_deref());
        let _lock = self.directory.lock(&place.stem)?;
        let before = shelves.iter().find(|shelf| shelf.stem == place.stem);
        let kept = match before.map(|shelf| clash(&shelf.held(self), set)).transpose()?.flatten() {
            // A manifest that names nothing of this directory is not one of ours.
            None => before.filter(|shelf| !shelf.sets.is_empty()),
            Some(clash) if self.existing == Existing::Replace => {
                report.note(&format!("replacing {}, which {}", clash.existing(), clash.difference()));
                None
            }
            Some(clash) => return Err(clash.refuse(&format!("publishing to {}", self.name()), &place.stem)),
        };
        let references = self.references(&place.stem, set)?;
        // The place is the same whatever was sent this time.
        let mut settled = references.clone();
        for reference in pieces_mut(&mut settled) {
            reference.made = Made::Reused;
        }
        let others = kept.iter().flat_map(|shelf| &shelf.sets).filter(|old| old.tarball.id != references.tarball.id);
        let here = others.map(|old| References { registry: self.name(), ..old.booting_as(&settled) }).chain([settled.clone()]).collect();
        let text = manifest::with_all_of(&joined(set, &place.stem, kept.map(|shelf| shelf.text.as_str()))?, &self.name(), here)?;
        let sent = Role::ALL.iter().filter_map(|role| references.role(*role)).any(|reference| reference.made == Made::New);
        if sent || before.is_none_or(|shelf| shelf.text != text) {
            self.write(&place, set, &references, &text, report)?;
        } else {
            report.note(&format!("{} exists already with the same bytes, in {}", place.stem, self.name()));
        }
        Ok(references)
    }

    fn held(&self, name: &str, version: &str, arch: Option<&str>) -> Result<Option<Held>> {
        let shelves = self.shelves()?;
        let stem = place_among(&shelves, name, version, arch).stem;
        Ok(shelves.iter().find(|shelf| shelf.stem == stem).map(|shelf| shelf.held(self)))
    }

    fn list(&self) -> Result<Vec<Entry>> {
        let mut found = Vec::new();
        for Shelf { stem, sets, .. } in self.shelves()? {
            let (changed, files) = (self.changed(&stem), files_in(&self.through(""), &stem));
            found.extend(sets.into_iter().map(|set| (changed, set, files.clone())));
        }
        // The newest first; the version decides among those of one second.
        found.sort_by(|(a, x, _), (b, y, _)| (b, &y.version).cmp(&(a, &x.version)));
        let mut seen = BTreeSet::new();
        let entries = found.into_iter().map(|(seconds, set, files)| Entry {
            state: if seen.insert((set.name.clone(), set.arch.clone(), set.extension.clone())) { State::Current } else { State::Older },
            created: calendar::rfc3339(seconds),
            size: Some(set.tarball.size),
            pieces: Role::ALL
                .into_iter()
                .filter(|role| *role != Role::Tarball)
                .filter_map(|role| Some((role, set.role(role)?.id.clone())))
                .collect(),
            name: set.name,
            version: set.version,
            arch: set.arch,
            extension: set.extension,
            id: set.tarball.id,
            sha512: set.tarball.sha512,
            visibility: None,
            owner: None,
            own: true,
            files,
        });
        Ok(entries.collect())
    }

    fn remove(&self, entry: &Entry) -> Result<Removal> {
        let held = self.shelves()?.into_iter().find(|shelf| shelf.sets.iter().any(|set| set.tarball.id == entry.id));
        let Some(Shelf { stem, text, mut sets }) = held else {
            return Err(Failure::new(
                ExitCode::Registry,
                format!("removing {} from {}: it is not there", entry.id, self.directory.path().display()),
            )
            .into());
        };
        let _lock = self.directory.lock(&stem)?;
        let home = self.through(&stem);
        sets.retain(|set| set.tarball.id != entry.id);
        let removed = if sets.is_empty() {
            self.discard(&stem)?;
            vec![entry.id.clone(), stem.clone()]
        } else {
            let stage = self.stage(&stem)?;
            adopt(&home, stage.path(), &sets)?;
            for path in [".treeinfo", STAGE2_TOO] {
                if home.join(path).exists() {
                    hard_link(&home.join(path), &below(stage.path(), path)?)?;
                }
            }
            sums(stage.path(), &sets)?;
            let mut tarballs = manifest::tarballs(&text);
            tarballs.retain(|tarball| tarball.file != entry.id);
            let mut left = manifest::with_tarballs(&manifest::original(&text), &tarballs, &[&text])?;
            for set in &sets {
                left = manifest::with(&left, set)?;
            }
            put(&stage.path().join(format!("{stem}.json")), &left)?;
            self.appear(stage, &stem)?;
            vec![entry.id.clone()]
        };
        let (open, latest) = (self.directory.handle(), latest(&entry.name, &stem, entry.arch.as_deref()));
        if open.has_link(&latest) && !self.through(&latest).exists() {
            let shares = |left: &Entry| (&left.name, &left.arch) == (&entry.name, &entry.arch);
            match self.list()?.into_iter().find(shares) {
                Some(newest) => link(open, &latest, newest.id.strip_suffix(&newest.extension).unwrap_or(&newest.id))?,
                None => unlink(open, &latest)?,
            }
        }
        sync(open)?;
        Ok(removed.into())
    }
}

/// The names of a version among those of the tree.
fn place_among(shelves: &[Shelf], name: &str, version: &str, arch: Option<&str>) -> Place {
    let known: Vec<(Option<String>, Option<String>)> =
        shelves.iter().map(|shelf| (manifest::text(&shelf.text, "name"), manifest::text(&shelf.text, "arch"))).collect();
    let there: Vec<Neighbour<'_>> = shelves
        .iter()
        .zip(&known)
        .filter_map(|(shelf, (name, arch))| Some(Neighbour { stem: &shelf.stem, name: name.as_deref()?, arch: arch.as_deref() }))
        .collect();
    Place::of(name, version, arch, &there)
}

/// Whether a set of a manifest is in the image's directory and all its names stay there. A manifest
/// is a file that anyone may have written.
fn stays(set: &References, stem: &str) -> bool {
    let mut pieces = Role::ALL.into_iter().filter_map(|role| set.role(role));
    let plain = plain_stem(&set.name, &set.version);
    let own = set.arch.as_ref().map(|arch| format!("{plain}.{arch}"));
    let here = plain == stem || own.as_deref() == Some(stem);
    here && is_single(&set.tarball.id) && pieces.all(|piece| TreePath::parse(&piece.id).is_ok())
}

/// Every file of an image's directory, by its path below the tree.
fn files_in(tree: &Path, stem: &str) -> Vec<String> {
    let walk = walkdir::WalkDir::new(tree.join(stem)).sort_by_file_name().into_iter().flatten();
    let files = walk.filter(|entry| entry.file_type().is_file());
    files.filter_map(|entry| Some(entry.path().strip_prefix(tree).ok()?.display().to_string())).collect()
}

fn pieces_mut(references: &mut References) -> impl Iterator<Item = &mut Reference> {
    let References { tarball, kernel, ramdisk, stage2, kickstart, .. } = references;
    std::iter::once(tarball).chain([kernel, ramdisk, stage2, kickstart].into_iter().flatten())
}

/// What the tree says of itself; nothing for one that boots nothing or does not know what it is.
fn treeinfo(set: &Set) -> Option<TreeInfo> {
    let (kernel, ramdisk) = (set.kernel.as_ref()?, set.ramdisk.as_ref()?);
    let (arch, name, version) = (set.arch.clone()?, set.os_distro.clone()?, set.os_version.clone()?);
    let path = |text: &str| TreePath::parse(text).ok();
    let images = BTreeMap::from([("kernel".to_owned(), path(KERNEL)?), ("initrd".to_owned(), path(RAMDISK)?)]);
    let files = [(KERNEL, Some(kernel)), (RAMDISK, Some(ramdisk)), (STAGE2, set.stage2.as_ref())];
    Some(TreeInfo {
        release: Release { short: Some(name.clone()), name, version },
        images: BTreeMap::from([(arch.clone(), images)]),
        arch,
        timestamp: u64::try_from(calendar::now()).ok(),
        stage2: set.stage2.as_ref().and(path(STAGE2)),
        checksums: files.into_iter().filter_map(|(path, piece)| Some((path.to_owned(), Checksum::Sha256(piece?.sha256.clone())))).collect(),
        variants: Vec::new(),
    })
}

/// Links what sets of the old directory need and the new one has not got.
fn adopt(home: &Path, stage: &Path, sets: &[References]) -> Result<()> {
    for id in sets.iter().flat_map(|set| Role::ALL.into_iter().filter_map(|role| Some(set.role(role)?.id.as_str()))) {
        let (old, new) = (home.join(id), stage.join(id));
        if old.symlink_metadata().is_ok_and(|found| found.is_file()) && !new.exists() {
            hard_link(&old, &below(stage, id)?)?;
        }
    }
    Ok(())
}

/// The checksum files, in the form that `sha256sum -c` and Ironic read: `HASH  NAME`.
fn sums(folder: &Path, sets: &[References]) -> Result<()> {
    let mut lines: [BTreeSet<String>; 2] = Default::default();
    for reference in sets.iter().flat_map(|set| Role::ALL.into_iter().filter_map(|role| set.role(role))) {
        for (lines, digest) in lines.iter_mut().zip([&reference.sha256, &reference.sha512]) {
            lines.extend(digest.as_ref().map(|digest| format!("{digest}  {}\n", reference.id)));
        }
    }
    for (lines, name) in lines.iter().zip(["SHA256SUMS", "SHA512SUMS"]) {
        put(&folder.join(name), &lines.iter().map(String::as_str).collect::<String>())?;
    }
    for tarball in sets.iter().map(|set| &set.tarball) {
        for (suffix, digest) in [("sha256", &tarball.sha256), ("sha512", &tarball.sha512)] {
            if let Some(digest) = digest {
                put(&folder.join(format!("{}.{suffix}", tarball.id)), &format!("{digest}  {}\n", tarball.id))?;
            }
        }
    }
    Ok(())
}

/// The path below the directory, whose own directories are made.
fn below(folder: &Path, relative: &str) -> Result<PathBuf> {
    let path = folder.join(relative);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
    }
    Ok(path)
}

fn hard_link(from: &Path, to: &Path) -> Result<()> {
    std::fs::hard_link(from, to).with_context(|| format!("linking {} as {}", from.display(), to.display()))
}

fn put(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// Makes all of a directory durable, and readable for a web server.
fn settle(folder: &Path) -> Result<()> {
    for entry in walkdir::WalkDir::new(folder).contents_first(true) {
        let entry = entry.with_context(|| format!("reading {}", folder.display()))?;
        let doing = || format!("writing {}", entry.path().display());
        let mode = if entry.file_type().is_dir() { 0o755 } else { 0o644 };
        anyhow::ensure!(!entry.file_type().is_symlink(), "{} is a link", entry.path().display());
        std::fs::set_permissions(entry.path(), Permissions::from_mode(mode)).with_context(doing)?;
        File::open(entry.path()).and_then(|file| file.sync_all()).with_context(doing)?;
    }
    Ok(())
}
