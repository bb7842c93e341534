//! An install tree as a place that files are taken from: a directory, an ISO image or a web server.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::PathBuf;

use super::iso::Iso;
use super::store::Store;
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::files;
use crate::http::{self, Client, WebUrl};
use crate::installer::treeinfo::{Checksum, TreePath};
use crate::set::Piece;

/// An open install tree.
#[derive(Debug)]
pub(super) enum Tree {
    Directory(PathBuf),
    Iso { path: PathBuf, image: Iso<File> },
    Web { url: WebUrl, client: Client },
}

impl Tree {
    /// The place of a file in it, for messages.
    pub(super) fn place(&self, path: &str) -> String {
        match self {
            Self::Directory(directory) => directory.join(path).display().to_string(),
            Self::Iso { path: image, .. } => format!("{path} in {}", image.display()),
            Self::Web { url, .. } => url.join(path).to_string(),
        }
    }

    /// A small text, if the tree has it.
    pub(super) fn text(&mut self, path: &str, limit: u64) -> Result<Option<String>> {
        let doing = format!("reading {}", self.place(path));
        let mut bytes = Vec::new();
        match self {
            Self::Web { url, client } => return http::text(client, &url.join(path), limit),
            Self::Directory(directory) => match files::open(&directory.join(path)) {
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
                {
                    return Ok(None);
                }
                Err(error) => return Err(error).or_fail(ExitCode::Space, doing),
                Ok(file) => file
                    .take(limit + 1)
                    .read_to_end(&mut bytes)
                    .or_fail(ExitCode::Space, doing.clone())?,
            },
            Self::Iso { image, .. } => {
                let Some(extents) = image.find(path).or_fail(ExitCode::Space, doing.clone())?
                else {
                    return Ok(None);
                };
                image
                    .read(&extents)
                    .take(limit + 1)
                    .read_to_end(&mut bytes)
                    .or_fail(ExitCode::Space, doing.clone())?
            }
        };
        if bytes.len() as u64 > limit {
            return Err(Failure::new(
                ExitCode::Repository,
                format!("{doing}: it is longer than {limit} bytes"),
            )
            .into());
        }
        String::from_utf8(bytes)
            .map(Some)
            .or_fail(ExitCode::Repository, format!("{doing}: it is not UTF-8"))
    }

    /// A file as a piece, checked against what the tree promises, if the tree has it; in place in a
    /// directory, otherwise through the store.
    pub(super) fn piece(
        &mut self,
        path: &TreePath,
        checksum: Option<&Checksum>,
        store: &Store,
        limit: u64,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Option<Piece>> {
        let place = self.place(path.as_str());
        let promised = match checksum {
            Some(Checksum::Sha256(digest)) => Some(digest.as_str()),
            Some(Checksum::Other(_)) | None => None,
        };
        if let Self::Directory(directory) = self {
            let file = directory.join(path.as_str());
            if !file.exists() {
                return Ok(None);
            }
            let piece = Piece::from_file(&file, progress)?;
            return match promised {
                Some(promised) if promised != piece.sha256 => Err(Failure::new(
                    ExitCode::Trust,
                    format!(
                        "checking {place}: its sha256 is {}, the .treeinfo promises {promised}",
                        piece.sha256
                    ),
                )
                .hint("it was altered or only half copied: copy the tree again")
                .into()),
                _ => Ok(Some(piece)),
            };
        }
        if let Some(found) = promised.and_then(|digest| store.find(digest)) {
            return Ok(Some(found));
        }
        match self {
            Self::Directory(_) => Ok(None),
            Self::Web { url, client } => store.keep(&place, promised, |part| {
                let take = |bytes: &[u8], begins| part.take(bytes, begins);
                http::download(client, &url.join(path.as_str()), limit, progress, take)
            }),
            Self::Iso { image, .. } => {
                let doing = || format!("reading {place}");
                let Some(extents) = image.find(path.as_str()).or_fail(ExitCode::Space, doing())?
                else {
                    return Ok(None);
                };
                store.keep(&place, promised, |kept| {
                    let (total, mut done) = (extents.size(), 0);
                    let failed =
                        |error| Failure::new(ExitCode::Space, doing()).because(error).into();
                    files::read_chunks(&mut image.read(&extents), failed, |part| {
                        kept.take(part, false).or_fail(ExitCode::Space, doing())?;
                        done += part.len() as u64;
                        progress(done, total);
                        Ok(())
                    })
                    .map(Some)
                })
            }
        }
    }
}
