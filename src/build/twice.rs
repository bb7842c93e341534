//! Two builds of one recipe under differing circumstances, and who is to blame when they differ.

use anyhow::Context;
use nix::sys::stat::{Mode, umask};
use std::fs::File;
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Options, build};
use crate::archive;
use crate::artifact::Artifact;
use crate::error::{ExitCode, Failure, Result};
use crate::packages::{self, Filled};
use crate::process;
use crate::recipe::{Recipe, Transaction};
use crate::registry::Staged;
use crate::report::Report;
use crate::sandbox::under_host_name;
use crate::workdir::{Keep, Place, Workdir};

/// The tarball that another build must come out as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Where it is.
    pub file: PathBuf,
    /// Its digest in hex.
    pub sha256: String,
}

/// Builds the recipe into a place of its own, then builds it as asked, and publishes that only when both are the same.
///
/// The first build differs in its second of the clock, host name, umask, number of threads, kind of workdir and output. A clock
/// cannot be set for one build alone: the kernel has no namespace for the time of day. The environment reaches no sandbox.
///
/// # Errors
/// [`ExitCode::Findings`] with the first difference and what is behind it; and as [`build`].
pub fn build_twice(recipe: &Recipe, transactions: &[Transaction], options: &Options, report: &Report) -> Result<Artifact> {
    // A workdir, so that what a killed program leaves here is found and removed like any other.
    let place = Workdir::create(&Place::Under("/var/tmp".into()), Keep::Never).context("making a folder for the first build")?;
    let result = compared(recipe, transactions, options, place.path(), report);
    let removed = place.finish(result.is_err());
    let artifact = result?;
    removed?;
    Ok(artifact)
}

fn compared(recipe: &Recipe, transactions: &[Transaction], options: &Options, folder: &Path, report: &Report) -> Result<Artifact> {
    let format = options.formats.first().copied().unwrap_or(archive::Format::Tgz);
    let jobs = if options.packing.jobs == NonZeroUsize::MIN { NonZeroUsize::MIN.saturating_add(1) } else { NonZeroUsize::MIN };
    let first = Options {
        output: Some(folder.join(format!("first.{}", format.extension()))),
        formats: vec![format],
        packing: super::Packing { jobs, ..options.packing.clone() },
        workdir: if options.workdir == Place::Auto { Place::Under("/var/tmp".into()) } else { Place::Auto },
        keep: Keep::Never,
        ..options.clone()
    };
    report.note("building once to compare with: another host name, another umask, other threads, another kind of workdir");
    let before = umask(Mode::from_bits_truncate(0o077));
    let built = under_host_name(ANOTHER_HOST, || build(recipe, transactions, &first, report));
    umask(before);
    let built = built.map_err(|error| error.context("building once to compare with"))?;
    let digest = built.digests.first().context("looking for the first build's digest")?;
    let file = built.tarballs.first().context("looking for the first build's tarball")?;
    await_another_second()?;
    report.note("building again, for good");
    let reference = Some(Reference { file: file.clone(), sha256: digest.sha256.clone() });
    let artifact = build(recipe, transactions, &Options { reference, ..options.clone() }, report)?;
    report.note(&format!("both builds came out the same: sha256 {}", digest.sha256));
    Ok(artifact)
}

/// What the host is called while the first build runs.
const ANOTHER_HOST: &str = "another-host.invalid";

/// Waits for the next second of the clock. Small images are built within one, and who writes down the time mostly writes
/// seconds: both builds would write the same.
fn await_another_second() -> Result<()> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    std::thread::sleep(Duration::from_secs(1).saturating_sub(Duration::from_nanos(since.subsec_nanos().into())));
    process::check_stop()
}

/// Compares what is about to be published with the reference.
///
/// # Errors
/// [`ExitCode::Findings`] when they differ.
pub(super) fn judge(reference: &Reference, sha256: &str, staged: &Staged, workdir: &Workdir, filled: &Filled) -> Result<()> {
    if reference.sha256 == sha256 {
        return Ok(());
    }
    let sinks = staged.sinks()?;
    let (_, file) = sinks.first().context("looking for the second build's tarball")?;
    let open = |path: &Path| File::open(path).with_context(|| format!("opening {}", path.display()));
    // Opened anew: the sink's own place is at its end.
    let again = open(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())))?;
    let findings = |text: String| Failure::new(ExitCode::Findings, text);
    let Some(difference) = archive::first_difference(open(&reference.file)?, again).context("comparing the two builds")? else {
        return Err(findings("the two builds hold the same members, but are not the same bytes".into())
            .hint("this is a defect of osimg")
            .into());
    };
    let path = format!("/{}", difference.member.trim_start_matches("./").trim_end_matches('/'));
    let place = difference.byte.map_or_else(String::new, |byte| format!(" at byte {byte}"));
    let known = packages::provenance(&workdir.root(), &workdir.scratch(), &filled.dbpath, &path)?;
    let of = |names: &[String], none: &str| if names.is_empty() { none.to_owned() } else { names.join(", ") };
    Err(findings(format!(
        "the two builds differ, first in {path}{place}: {}\n  packages that own it: {}\n  packages whose scriptlets name it: {}",
        difference.what,
        of(&known.owners, "none, so a scriptlet made it"),
        of(&known.scriptlets, "none")
    ))
    .hint("nothing was published; let the scriptlet heed SOURCE_DATE_EPOCH, or write the file by [[finish.files]]")
    .into())
}
