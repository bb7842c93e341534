//! The names that an artifact's files get.

use std::path::Path;

use crate::archive::ImageFormat;
use crate::error::{ExitCode, Failure, Result};
use crate::naming;
use crate::set::stem;

/// The names that an artifact's files get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    /// The beginning of all names: `NAME-VERSION`, or the stem of `--output`.
    pub stem: String,
    /// The name of the link to the newest one, without suffix: `NAME-latest`; none with `--output`.
    pub latest: Option<String>,
    /// Suffix of each format, without the first dot; `--output` may spell it differently.
    pub suffix: Vec<(ImageFormat, String)>,
    /// The image that the names are made of; none with `--output`.
    pub image: Option<Image>,
}

/// The image that an artifact's names are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture.
    pub arch: Option<String>,
    /// How a version that exists with other bytes is handled.
    pub numbering: Numbering,
}

/// How a version that exists with other bytes is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbering {
    /// It was chosen by the user, and is refused.
    Fixed,
    /// It is the day, and gets a number: `.1`, `.2` and so on.
    Daily,
}

impl Names {
    /// `NAME-VERSION.EXT`, with a link `NAME-latest.EXT`; both change where another architecture
    /// has these names.
    #[must_use]
    pub(crate) fn versioned(image: Image, formats: &[ImageFormat]) -> Self {
        Self {
            stem: stem(&image.name, &image.version),
            latest: Some(format!("{}-latest", image.name)),
            suffix: formats.iter().map(|f| (*f, f.extension().to_owned())).collect(),
            image: Some(image),
        }
    }

    /// The file that the user named.
    ///
    /// # Errors
    /// When its suffix is that of no format.
    pub(crate) fn from_output(output: &Path) -> Result<Self> {
        let format = ImageFormat::from_name(output)?;
        let name = output.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let suffix = naming::suffix(&name).unwrap_or_default().trim_start_matches('.').to_owned();
        let stem = naming::stem(&name).unwrap_or(&name).to_owned();
        if stem.is_empty() {
            return Err(Failure::new(
                ExitCode::Usage,
                format!("{} has a suffix, but no name", output.display()),
            )
            .into());
        }
        naming::check_stem(&stem).map_err(|why| {
            Failure::new(ExitCode::Usage, format!("writing {}: {why}", output.display()))
                .hint("give the file another name")
        })?;
        Ok(Self { stem, latest: None, suffix: vec![(format, suffix)], image: None })
    }

    /// The names of all tarballs.
    pub(super) fn tarballs(&self) -> impl Iterator<Item = String> {
        self.suffix.iter().map(|(_, suffix)| format!("{}.{suffix}", self.stem))
    }

    pub(super) fn tarball(&self, format: ImageFormat) -> String {
        let suffix = self
            .suffix
            .iter()
            .find(|(f, _)| *f == format)
            .map_or_else(|| format.extension(), |(_, s)| s);
        format!("{}.{suffix}", self.stem)
    }
}

/// The failure of a publication to names that another image has.
pub(in crate::registry) fn refuse_other(registry: &str, names: &str, other: &str) -> anyhow::Error {
    Failure::new(
        ExitCode::Registry,
        format!("publishing to {registry}: the names {names} belong to the image {other}"),
    )
    .hint("give this image another name or version: --name NAME, --image-version VERSION")
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::Format;

    #[test]
    fn output_names_keep_the_spelling_of_their_suffix() {
        assert_eq!(
            Names::from_output(Path::new("x/os.image.tar.gz"))
                .expect("names")
                .tarball(Format::Tgz.into()),
            "os.image.tar.gz"
        );
        assert_eq!(
            Names::from_output(Path::new("os.tbz")).expect("names").tarball(Format::Tbz.into()),
            "os.tbz"
        );
        assert!(Names::from_output(Path::new("os.tzst")).is_err());
        for bad in
            [".tgz", "os-latest.tgz", "os-latest.aarch64.tgz", "os.unfit.tgz", "os-1.initrd.img"]
        {
            assert!(Names::from_output(Path::new(bad)).is_err(), "{bad}");
        }
    }
}
