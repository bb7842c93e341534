//! `remove`: paths that the image does not have in the end.

use std::path::{Path, PathBuf};

use super::glob::{is_plain, name_matches};
use super::image::Image;
use crate::error::Result;
use crate::sandbox::Kind;

pub(super) fn apply(image: &Image<'_>, patterns: &[String]) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for pattern in patterns {
        let paths =
            if is_plain(pattern) { vec![PathBuf::from(pattern)] } else { expand(image, pattern)? };
        for path in paths {
            if image.root().remove(&path)? {
                removed.push(path.display().to_string());
            }
        }
    }
    removed.sort();
    Ok(removed)
}

/// What a pattern stands for in the image; nothing below another result.
fn expand(image: &Image<'_>, pattern: &str) -> Result<Vec<PathBuf>> {
    let parts: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty()).collect();
    let mut found = Vec::new();
    descend(image, Path::new("/"), &parts, &mut found)?;
    found.dedup();
    Ok(found)
}

fn descend(
    image: &Image<'_>,
    directory: &Path,
    parts: &[&str],
    found: &mut Vec<PathBuf>,
) -> Result<()> {
    let Some((first, rest)) = parts.split_first() else { return Ok(()) };
    let any = *first == "**";
    if any && !rest.is_empty() {
        descend(image, directory, rest, found)?;
    }
    for name in image.root().names(directory)? {
        let path = directory.join(&name);
        let matched = any || name.to_str().is_some_and(|name| name_matches(first, name));
        if !matched || found.iter().any(|above| path.starts_with(above)) {
            continue;
        }
        if rest.is_empty() {
            found.push(path);
        } else if image.root().kind(&path)? == Some(Kind::Directory) {
            // `**` stays for what is below.
            descend(image, &path, if any { parts } else { rest }, found)?;
        }
    }
    Ok(())
}
