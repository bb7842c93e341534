//! `hostname`: hostname(5).

use super::image::Image;
use crate::error::Result;

pub(super) fn apply(image: &Image<'_>, hostname: Option<&str>) -> Result<()> {
    hostname
        .map_or(Ok(()), |name| image.write("/etc/hostname", format!("{name}\n").as_bytes(), 0o644))
}
