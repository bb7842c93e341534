//! Home directories, with their skeleton, mailboxes and authorized keys.

use std::path::Path;

use super::defaults::Defaults;
use super::refused;
use crate::customise::image::Image;
use crate::error::{ExitCode, Result};
use crate::sandbox::Kind;

/// The most that one file of the skeleton may hold.
const SKELETON_LIMIT: u64 = 64 << 20;

/// A user's home directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Home {
    pub(super) path: String,
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// The group of mailboxes.
    pub(super) mail_group: Option<u32>,
    /// Whether the user is new.
    pub(super) is_new: bool,
}

impl Home {
    /// Makes it with its skeleton, unless the user or the directory was there before.
    pub(super) fn make(&self, image: &Image<'_>, defaults: &Defaults) -> Result<()> {
        if !self.is_new {
            return Ok(());
        }
        if !self.path.is_empty() && image.root().kind(Path::new(&self.path))?.is_none() {
            image.make_parents(&self.path)?;
            image.make_directory(&self.path, defaults.home_mode)?;
            image.own(&self.path, self.uid, self.gid)?;
            self.copy(image, &defaults.skeleton, &self.path)?;
        }
        if let Some(directory) = &defaults.mail
            && image.has_directory(directory)?
        {
            let path = format!("{directory}/{}", self.name);
            image.write(&path, b"", if self.mail_group.is_some() { 0o660 } else { 0o600 })?;
            image.own(&path, self.uid, self.mail_group.unwrap_or(self.gid))?;
        }
        Ok(())
    }

    fn copy(&self, image: &Image<'_>, from: &str, to: &str) -> Result<()> {
        for name in image.root().names(Path::new(from))? {
            let Some(name) = name.to_str() else { continue };
            let (source, target) = (format!("{from}/{name}"), format!("{to}/{name}"));
            let Some(status) = image.root().status(Path::new(&source))? else { continue };
            match status.kind {
                Kind::Directory => {
                    image.make_directory(&target, status.mode)?;
                    image.own(&target, self.uid, self.gid)?;
                    self.copy(image, &source, &target)?;
                }
                Kind::File => {
                    let content =
                        image.root().read(Path::new(&source), SKELETON_LIMIT)?.unwrap_or_default();
                    image.write(&target, &content, status.mode)?;
                    image.own(&target, self.uid, self.gid)?;
                }
                Kind::Link => {
                    if let Some(points_to) = image.root().read_link(Path::new(&source))? {
                        image.link(&target, &points_to.to_string_lossy())?;
                        image.own(&target, self.uid, self.gid)?;
                    }
                }
                Kind::Other => {}
            }
        }
        Ok(())
    }

    /// Adds lines to `.ssh/authorized_keys`. Nothing below a user's home may be a link: sshd would
    /// refuse it, and we would write elsewhere.
    pub(super) fn add_keys(&self, image: &Image<'_>, keys: &[String], place: &str) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        if self.path.is_empty() || !image.has_directory(&self.path)? {
            let why = format!(
                "user `{}` has no home directory for the key: the image has no {}",
                self.name, self.path
            );
            return Err(refused(place, &why).into());
        }
        let directory = format!("{}/.ssh", self.path);
        let file = format!("{directory}/authorized_keys");
        match image.root().kind(Path::new(&directory))? {
            None => {
                image.make_directory(&directory, 0o700)?;
                image.own(&directory, self.uid, self.gid)?;
            }
            Some(Kind::Directory) => {}
            Some(_) => {
                return Err(refused(
                    place,
                    &format!("{directory} in the image is not a directory"),
                )
                .into());
            }
        }
        if matches!(image.root().kind(Path::new(&file))?, Some(kind) if kind != Kind::File) {
            return Err(crate::error::Failure::new(
                ExitCode::Recipe,
                format!("{place}: {file} in the image is not a file"),
            )
            .into());
        }
        let mut lines: Vec<String> =
            image.read(&file)?.unwrap_or_default().lines().map(str::to_owned).collect();
        for key in keys {
            if !lines.contains(key) {
                lines.push(key.clone());
            }
        }
        image.write(&file, (lines.join("\n") + "\n").as_bytes(), 0o600)?;
        image.own(&file, self.uid, self.gid)
    }
}
