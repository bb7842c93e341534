//! The open tree, and the versions in it.

use anyhow::Context;
use nix::sys::stat::FileStat;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::layout;
use super::outside::check_outside;
use crate::calendar;
use crate::error::{ExitCode, Failure, Result};
use crate::files;
use crate::http::WebUrl;
use crate::naming;
use crate::openat::OpenDirectory;
use crate::registry::directory::{Directory, refuse_other};
use crate::registry::options::Existing;
use crate::set::version::published_pieces;
use crate::set::{
    Kind, LARGEST_MANIFEST, Neighbour, Place, PublishedFile, PublishedVersion, References, Role,
    manifest_text, stem as plain_stem,
};

/// A web server's directory.
#[derive(Debug)]
pub struct WebTree {
    pub(super) directory: Directory,
    pub(super) url: Option<WebUrl>,
    pub(super) existing: Existing,
}

/// An image's directory, as its manifest describes it.
pub(super) struct StoredVersion {
    pub(super) stem: String,
    pub(super) text: String,
    pub(super) sets: Vec<References>,
    /// When the image was built, or else published, in seconds since 1970.
    pub(super) changed: i64,
    /// The user that the manifest belongs to.
    pub(super) owner: u32,
}

impl StoredVersion {
    /// Refuses a publication of another image: `os` 1-2 and `os-1` 2 have the same directory.
    pub(super) fn check_image(&self, tree: &WebTree, name: &str, version: &str) -> Result<()> {
        let recorded = |key| manifest_text::text(&self.text, key);
        let known = recorded("name").zip(recorded("version"));
        let published = self.sets.iter().map(|set| (set.name.clone(), set.version.clone()));
        let mut images = known.into_iter().chain(published);
        match images.find(|(own, of)| (own.as_str(), of.as_str()) != (name, version)) {
            None => Ok(()),
            Some((name, version)) => {
                let other = format!("{name} version {version}");
                Err(refuse_other(&tree.name(), &format!("{}/*", self.stem), &other))
            }
        }
    }

    /// Its files, for comparing them with what is to join them.
    pub(super) fn published_version(&self, tree: &WebTree) -> PublishedVersion {
        let place = tree.shown(&self.stem);
        let mut held = PublishedVersion {
            created: calendar::rfc3339(self.changed),
            tree: manifest_text::tree(&self.text),
            files: Vec::new(),
        };
        for set in &self.sets {
            held.files.push(PublishedFile {
                role: Role::Tarball,
                extension: set.extension.clone(),
                place: place.join(&set.tarball.id).display().to_string(),
                sha256: set.tarball.sha256.clone(),
                sha512: set.tarball.sha512.clone(),
            });
            held.files.extend(published_pieces(set, &place));
        }
        held
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
                    Failure::new(
                        ExitCode::Usage,
                        format!("reading the URL of tree:{}: {why}", path.display()),
                    )
                    .hint("write tree:PATH=URL, where URL is what the web server calls PATH")
                })
            })
            .transpose()?;
        if !path.exists()
            && let Ok(above) = std::path::absolute(path)
            && let Some(Ok(above)) = above.parent().map(Path::canonicalize)
        {
            check_outside(&above.join(path.file_name().unwrap_or_default()))?;
        }
        Ok(Self { directory: Directory::open(path)?, url, existing: Existing::Keep })
    }

    /// A path that leads into the directory through its descriptor, for the calls of this process.
    pub(super) fn through(&self, name: &str) -> PathBuf {
        self.directory.handle().through().join(name)
    }

    /// The path of a name, for messages.
    pub(super) fn shown(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The status of a name in the tree.
    pub(super) fn stat(&self, name: &str) -> Result<Option<FileStat>> {
        let found = self.directory.handle().stat(name);
        found.with_context(|| format!("examining {}", self.shown(name).display()))
    }

    /// Opens the directory of a version. All paths in it are accessed through this descriptor,
    /// without following links. `None` if there is no directory of this name.
    pub(super) fn home(&self, stem: &str) -> Result<Option<OpenDirectory>> {
        match self.directory.handle().subdirectory(stem) {
            Ok(home) => Ok(Some(home)),
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                Ok(None)
            }
            Err(error) => {
                Err(error).with_context(|| format!("opening {}", self.shown(stem).display()))
            }
        }
    }

    /// The same, with another rule for versions that exist with other bytes.
    #[must_use]
    pub fn with_existing(self, existing: Existing) -> Self {
        Self { existing, ..self }
    }

    pub(super) fn name(&self) -> String {
        let url = self.url.as_ref().map_or(String::new(), |url| format!("={url}"));
        format!("tree:{}{url}", self.directory.path().display())
    }

    /// Whether references with this address are to this very tree; its URL may have changed.
    pub(super) fn is_own(&self, registry: &str) -> bool {
        let path = format!("tree:{}", self.directory.path().display());
        registry.strip_prefix(&path).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    }

    /// The image of that directory, if there is one.
    pub(super) fn stored_version(&self, stem: &str) -> Option<StoredVersion> {
        let file = self.home(stem).ok()??.open_file(&naming::manifest(stem)).ok()?;
        let found = file.metadata().ok()?;
        let text = String::from_utf8(files::read_open(file, LARGEST_MANIFEST).ok()?).ok()?;
        let mut sets = manifest_text::published(&text);
        sets.retain(|set| {
            set.kind == Kind::Http && set.registry.starts_with("tree:") && stays(set, stem)
        });
        let mut sets = References::of_place(sets, |registry| self.is_own(registry));
        let arch = manifest_text::text(&text, "arch");
        for set in &mut sets {
            set.arch = set.arch.take().or_else(|| arch.clone());
        }
        let started = manifest_text::started(&text).and_then(|started| i64::try_from(started).ok());
        let changed = started.unwrap_or_else(|| found.mtime().max(0));
        Some(StoredVersion { stem: stem.to_owned(), text, sets, changed, owner: found.uid() })
    }

    pub(super) fn stored_versions(&self) -> Result<Vec<StoredVersion>> {
        let open = self.directory.handle();
        let names = open.names().with_context(|| format!("listing {}", open.path().display()))?;
        let stems = names.iter().filter_map(|name| {
            name.to_str().filter(|name| !name.starts_with('.') && !open.has_link(name))
        });
        Ok(stems.filter_map(|stem| self.stored_version(stem)).collect())
    }
}

/// The names of a version among those of the tree.
pub(super) fn place_among(
    versions: &[StoredVersion],
    name: &str,
    version: &str,
    arch: Option<&str>,
) -> Place {
    let known: Vec<(Option<String>, Option<String>)> = versions
        .iter()
        .map(|stored| {
            (manifest_text::text(&stored.text, "name"), manifest_text::text(&stored.text, "arch"))
        })
        .collect();
    let there: Vec<Neighbour<'_>> = versions
        .iter()
        .zip(&known)
        .filter_map(|(stored, (name, arch))| {
            Some(Neighbour { stem: &stored.stem, name: name.as_deref()?, arch: arch.as_deref() })
        })
        .collect();
    Place::of(name, version, arch, &there)
}

/// Whether a set of a manifest is in the image's directory and all its names are those that osimg
/// gives. A manifest is a file that anyone may have written.
fn stays(set: &References, stem: &str) -> bool {
    let fits = |role| set.role(role).is_none_or(|piece| layout::is_place(&piece.id, stem, role));
    let plain = plain_stem(&set.name, &set.version);
    let own = set.arch.as_ref().map(|arch| format!("{plain}.{arch}"));
    let here = plain == stem || own.as_deref() == Some(stem);
    here && Role::ALL.into_iter().all(fits)
}
