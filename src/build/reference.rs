//! The files that a build must come out as.

use anyhow::Context;
use std::fs::File;
use std::path::{Path, PathBuf};

use crate::archive::Written;
use crate::archive::{self, ImageFormat, oci, squashfs};
use crate::error::{ExitCode, Failure, Result};
use crate::files;
use crate::openat::fd_path;
use crate::packages::{self, FilledRoot};
use crate::registry::Staged;
use crate::workdir::Workdir;

/// A file that the build must come out as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// Its format.
    pub format: ImageFormat,
    /// Where it is.
    pub file: PathBuf,
    /// Its digest in hex.
    pub sha256: String,
}

/// Compares what is about to be published with the references.
///
/// # Errors
/// [`ExitCode::Findings`] when they differ.
pub(super) fn judge(
    references: &[Reference],
    files: &[Written],
    staged: &Staged,
    workdir: &Workdir,
    filled: &FilledRoot,
) -> Result<()> {
    for (reference, (written, (_, file))) in references.iter().zip(files.iter().zip(staged.sinks()))
    {
        if reference.sha256 != written.sha256 {
            return Err(differing(reference, file, workdir, filled)?);
        }
    }
    Ok(())
}

/// The failure of two files that differ, with the first difference and its cause.
fn differing(
    reference: &Reference,
    file: &File,
    workdir: &Workdir,
    filled: &FilledRoot,
) -> Result<anyhow::Error> {
    let open =
        |path: &Path| files::open(path).with_context(|| format!("opening {}", path.display()));
    // Opened again: the sink's own place is at its end.
    let (first, second) = (open(&reference.file)?, open(&fd_path(file))?);
    let findings = |text: String| Failure::new(ExitCode::Findings, text);
    let difference = match reference.format {
        ImageFormat::Tarball(_) => {
            archive::first_difference(first, second).context("comparing the two builds")?
        }
        ImageFormat::Img => squashfs::first_difference(first, second)?,
        ImageFormat::Oci => oci::first_difference(&first, &second)?,
    };
    let Some(difference) = difference else {
        return Ok(findings(
            "the two builds hold the same members, but are not the same bytes".into(),
        )
        .hint("this is a defect of osimg")
        .into());
    };
    let path = format!("/{}", difference.member.trim_start_matches("./").trim_end_matches('/'));
    let place = difference.byte.map_or_else(String::new, |byte| format!(" at byte {byte}"));
    let known = packages::provenance(&workdir.root(), &workdir.scratch(), &filled.dbpath, &path)?;
    let of = |names: &[String], none: &str| {
        if names.is_empty() { none.to_owned() } else { names.join(", ") }
    };
    Ok(findings(format!(
        "the two builds differ, first in {path}{place}: {}\n  packages that own it: {}\n  \
         packages whose scriptlets name it: {}",
        difference.what,
        of(&known.owners, "none, so a scriptlet made it"),
        of(&known.scriptlets, "none")
    ))
    .hint(
        "nothing was published; let the scriptlet use SOURCE_DATE_EPOCH, or write the file by \
         [[customizations.files]]",
    )
    .into())
}
