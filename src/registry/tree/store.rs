//! The open tree, and the versions in it.

use anyhow::Context;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::outside::check_outside;
use crate::calendar;
use crate::error::{ExitCode, Failure, Result};
use crate::files;
use crate::http::WebUrl;
use crate::installer::treeinfo::TreePath;
use crate::naming;
use crate::openat::is_single;
use crate::registry::directory::Directory;
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
}

impl StoredVersion {
    /// Its files, for comparing them with what is to join them.
    pub(super) fn published_version(&self, tree: &WebTree) -> PublishedVersion {
        let place = tree.shown(&self.stem);
        let mut held = PublishedVersion {
            created: calendar::rfc3339(tree.changed(&self.stem, &self.text)),
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

    /// When the image of that directory was built or else published, in seconds since 1970.
    pub(super) fn changed(&self, stem: &str, manifest: &str) -> i64 {
        if let Some(started) = manifest_text::started(manifest) {
            return i64::try_from(started).unwrap_or(0);
        }
        let time = self
            .through(stem)
            .join(naming::manifest(stem))
            .metadata()
            .and_then(|m| m.modified())
            .ok();
        let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        since.and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(0)
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
        let path = self.through(stem).join(naming::manifest(stem));
        path.symlink_metadata().ok().filter(std::fs::Metadata::is_file)?;
        let text = files::read_text(&path, LARGEST_MANIFEST).ok()?;
        let mut sets = manifest_text::published(&text);
        sets.retain(|set| {
            set.kind == Kind::Http && set.registry.starts_with("tree:") && stays(set, stem)
        });
        let mut sets = References::of_place(sets, |registry| self.is_own(registry));
        let arch = manifest_text::text(&text, "arch");
        for set in &mut sets {
            set.arch = set.arch.take().or_else(|| arch.clone());
        }
        Some(StoredVersion { stem: stem.to_owned(), text, sets })
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

/// Whether a set of a manifest is in the image's directory and all its names stay there. A manifest
/// is a file that anyone may have written.
fn stays(set: &References, stem: &str) -> bool {
    let mut pieces = Role::ALL.into_iter().filter_map(|role| set.role(role));
    let plain = plain_stem(&set.name, &set.version);
    let own = set.arch.as_ref().map(|arch| format!("{plain}.{arch}"));
    let here = plain == stem || own.as_deref() == Some(stem);
    here && is_single(&set.tarball.id) && pieces.all(|piece| TreePath::parse(&piece.id).is_ok())
}
