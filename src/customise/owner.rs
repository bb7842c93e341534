//! Users and groups of the image by name or number.

use std::path::Path;

use super::image::Image;
use crate::error::{ExitCode, Failure, Result};
use crate::recipe::customizations::OwnerName;

/// The id of a user.
pub(super) fn user(image: &Image<'_>, name: &OwnerName, place: &str) -> Result<u32> {
    id(image, "etc/passwd", "user", name, place)
}

/// The id of a group.
pub(super) fn group(image: &Image<'_>, name: &OwnerName, place: &str) -> Result<u32> {
    id(image, "etc/group", "group", name, place)
}

fn id(image: &Image<'_>, file: &str, what: &str, name: &OwnerName, place: &str) -> Result<u32> {
    let name = match name {
        OwnerName::Id(id) => return Ok(*id),
        OwnerName::Name(name) if name == "root" => return Ok(0),
        OwnerName::Name(name) => name,
    };
    let text = image.root().read(Path::new(file), 16 << 20)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let found = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name))
            .then(|| fields.nth(1).and_then(|id| id.parse().ok()))
            .flatten()
    });
    found.ok_or_else(|| {
        Failure::new(ExitCode::Recipe, format!("{place}: the image has no {what} `{name}`"))
            .hint(format!("a package must bring it, or [[customizations.{what}]]"))
            .into()
    })
}
