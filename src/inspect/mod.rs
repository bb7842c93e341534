//! The facts about an image and its contents, read from a tarball, a tree, or instantly from the
//! manifest of a build.
//!
//! [`Image`] is the result. [`facts`] builds it from the contents, [`recorded`] from a manifest.
//! [`text()`] prints it for a terminal, and [`html()`] as a page.

mod accounts;
mod capability;
mod facts;
mod html;
mod image;
mod kinds;
mod recorded;
mod services;
mod text;

use std::io::Read;
use std::path::Path;

use crate::archive::FromTree;
use crate::contents::{Contents, Digests, Options};
use crate::error::{Failure, Result};

pub(crate) use accounts::User;
pub(crate) use capability::capability_text;
pub(crate) use html::{Finding, html};
pub(crate) use image::{
    Built, Change, File, Image, Key, Names, Origin, OriginKind, Package, Policy, Privileged, Share,
    Totals, shown,
};
pub(crate) use kinds::ContentKind;
pub(crate) use text::{TextOptions, text};

/// Options for reading an image.
pub(crate) struct Reading<'a> {
    /// Receives the number of bytes read and the total size of a tarball.
    pub progress: &'a dyn Fn(u64, u64),
    /// Called often; an error stops the reading.
    pub check: &'a dyn Fn() -> Result<()>,
}

impl std::fmt::Debug for Reading<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").finish_non_exhaustive()
    }
}

/// Reads the tarball, tree or manifest at `path`.
///
/// # Errors
/// If it is none of these, or cannot be read completely.
pub(crate) fn open(path: &Path, reading: &Reading<'_>) -> Result<(Image, Option<Contents>)> {
    let opening = || format!("opening {}", path.display());
    let failed = |error: std::io::Error| {
        Failure::of_argument(opening(), error)
            .hint("use a tarball, a tree or a build's manifest (.json)")
    };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    let total = metadata.len();
    let progress = |done| (reading.progress)(done, total);
    let options = Options { digests: Digests::Sha256, progress: &progress, check: reading.check };
    if metadata.is_dir() {
        let contents = Contents::of_tree(path, &FromTree, &options)?;
        return Ok((facts::image(path, OriginKind::Tree, &contents), Some(contents)));
    }
    if begins_like_json(path).map_err(failed)? {
        let manifest = recorded::load(path)?;
        return Ok((manifest.image(path), None));
    }
    let contents = Contents::of_tarball(path, &options)?;
    let mut image = facts::image(path, OriginKind::Tarball, &contents);
    if let Some(manifest) = recorded::next_to(path, image.origin.sha256.as_deref()) {
        manifest.complete(&mut image);
    }
    Ok((image, Some(contents)))
}

/// Compressed files and osimg's archives never begin with a brace. Another tar could, but no real
/// image has such a name.
fn begins_like_json(path: &Path) -> std::io::Result<bool> {
    let mut first = [0; 64];
    let count = crate::files::open(path)?.read(&mut first)?;
    let text = first.get(..count).unwrap_or_default();
    Ok(text.trim_ascii_start().first() == Some(&b'{') && !text.contains(&0))
}
