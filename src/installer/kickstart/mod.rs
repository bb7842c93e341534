//! The kickstart template of an image: osimg's, or the user's own, checked for Ironic's
//! requirements.
//!
//! Ironic's conductor renders the template for every node and Anaconda follows the result. Each
//! image has its own template for two reasons: it has the tarball's checksum, which is not verified
//! anywhere else, and Ironic cannot read its own packaged template.

mod check;
mod options;
mod sections;
mod syntax;
mod values;
mod write;

#[cfg(test)]
mod tests;

pub(crate) use check::{Advice, checksums};
pub use options::{Authority, Options, Tarball};
pub use values::{Source, Trust, Values};

use std::path::Path;

use super::ImageRelease;
use crate::archive::ImageFormat;
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::recipe::InstallSettings;
use crate::report::Report;
use crate::set::{Piece, Set};

/// A kickstart template, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    advice: Vec<Advice>,
}

impl Template {
    /// Our own template.
    ///
    /// # Errors
    /// When an option cannot be written into a kickstart file.
    pub fn ours(options: &Options) -> Result<Self> {
        let text = write::template(options)?;
        // The same check as for a user's template; it finds nothing unless an option broke the
        // form.
        let judged = check::judge(&text, &syntax::Releases::Any);
        match judged.errors.first() {
            None => Ok(Self { text, advice: judged.advice }),
            Some(error) => Err(Failure::new(
                ExitCode::Recipe,
                format!("making the kickstart template: {}", error.text),
            )
            .into()),
        }
    }

    /// A user's own template; `file` is its name in messages. Its `liveimg` line gets the tarball's
    /// checksum unless it has it. Its commands are those of the image's release; of any release if
    /// there is no image.
    ///
    /// # Errors
    /// With every reason for which Ironic or Anaconda would refuse it, each with its line.
    pub fn from_user(
        text: &str,
        file: &str,
        tarball: Option<&Tarball>,
        image: Option<&ImageRelease>,
    ) -> Result<Self> {
        let mut judged = check::judge(text, &syntax::Releases::of(image));
        let text = match tarball {
            Some(tarball) => check::with_checksum(text, tarball, &mut judged),
            None => text.to_owned(),
        };
        if judged.errors.is_empty() {
            return Ok(Self { text, advice: judged.advice });
        }
        let lines: Vec<String> = judged.errors.iter().map(|error| error.at(file)).collect();
        let mut failure = Failure::new(
            ExitCode::Recipe,
            format!("checking the kickstart template {}", lines.join("\n")),
        );
        for hint in judged.errors.iter().filter_map(|error| error.fix.clone()) {
            failure = failure.hint(hint);
        }
        Err(failure.into())
    }

    /// The template.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Advice for the user, although Ironic accepts the template.
    #[must_use]
    pub fn advice(&self) -> &[Advice] {
        &self.advice
    }

    /// The kickstart file that Ironic makes of it for a node.
    ///
    /// # Errors
    /// When the template cannot be rendered.
    pub fn render(&self, values: &Values) -> Result<String> {
        check::render(&self.text, values, check::Strictness::Lenient).map_err(|error| {
            Failure::new(
                ExitCode::Recipe,
                format!("rendering the kickstart template: line {}: {}", error.line, error.text),
            )
            .into()
        })
    }
}

/// The template of a set: the user's own, checked and with the tarball's checksum, or ours. It is
/// written into `directory`.
///
/// # Errors
/// When the user's template cannot be read or would not work, or nothing can be written.
pub(crate) fn for_set(
    set: &Set,
    own: Option<&Path>,
    install: &InstallSettings,
    directory: &Path,
    report: &Report,
) -> Result<Piece> {
    let ImageFormat::Tarball(format) = set.tarball.format else {
        return Err(Failure::new(
            ExitCode::Usage,
            format!(
                "writing a kickstart template for {}: it is not a tarball",
                set.tarball.piece.path.display()
            ),
        )
        .hint("publish a tarball for Anaconda, and the image without --kickstart and --kernel")
        .into());
    };
    let tarball = Tarball { sha256: set.tarball.piece.sha256.clone(), format };
    let template = match own {
        Some(path) => load(path, Some(&tarball), Some(&ImageRelease::from_set(set)))?,
        None => Template::ours(&Options::from_settings(install, Some(tarball))?)?,
    };
    for advice in template.advice() {
        report.warn(&advice.at(
            &own.map_or_else(|| "the kickstart template".into(), |path| path.display().to_string()),
        ));
    }
    let path = directory.join("ks.cfg");
    std::fs::write(&path, template.text())
        .or_fail(ExitCode::Space, format!("writing {}", path.display()))?;
    Piece::from_file(&path, |_, _| {})
}

/// Reads and checks a user's template.
///
/// # Errors
/// When it cannot be read, or as [`Template::from_user`].
pub fn load(
    path: &Path,
    tarball: Option<&Tarball>,
    image: Option<&ImageRelease>,
) -> Result<Template> {
    let doing = format!("reading the kickstart template {}", path.display());
    let text =
        crate::files::read_text(path, crate::files::TEXT).or_fail(ExitCode::Recipe, doing)?;
    Template::from_user(&text, &path.display().to_string(), tarball, image)
}
