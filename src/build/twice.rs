//! Two builds of one recipe under different conditions, and the package that makes them differ.

use anyhow::Context;
use nix::sys::stat::{Mode, umask};
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::Artifact;
use super::{Options, Reference, build};
use crate::error::Result;
use crate::files;
use crate::process;
use crate::recipe::{Recipe, Transaction};
use crate::registry::Address;
use crate::report::Report;
use crate::sandbox::{Clock, may_mount, with_hostname};
use crate::workdir::{Keep, Place, Workdir};

/// Builds the recipe under other conditions into a directory, in a separate process; fails as that
/// process does.
pub(crate) type Counterpart<'a> = &'a dyn Fn(&Path) -> Result<()>;

/// Lets `counterpart` build the recipe by [`build_counterpart`] into a separate place, then builds
/// it as asked, and publishes that only when both are the same.
///
/// # Errors
/// [`Findings`](crate::error::ExitCode::Findings) with the first difference and its cause; and as
/// [`build`].
pub(crate) fn build_twice(
    recipe: &Recipe,
    transactions: &[Transaction],
    options: &Options,
    counterpart: Counterpart<'_>,
    report: &Report,
) -> Result<Artifact> {
    // A workdir, so that what a killed program leaves here is found and removed like any other.
    let place = Workdir::create(&Place::Under("/var/tmp".into()), Keep::Never)
        .context("making a directory for the first build")?;
    let result = compared(recipe, transactions, options, counterpart, place.path(), report);
    let removed = place.finish(result.is_err());
    let artifact = result?;
    removed?;
    Ok(artifact)
}

fn compared(
    recipe: &Recipe,
    transactions: &[Transaction],
    options: &Options,
    counterpart: Counterpart<'_>,
    directory: &Path,
    report: &Report,
) -> Result<Artifact> {
    counterpart(directory)?;
    let references = options
        .written_formats()?
        .into_iter()
        .map(|format| {
            let file = directory.join(format!("{NAME}-{VERSION}.{format}"));
            Ok(Reference { format, sha256: sha256(&file)?, file })
        })
        .collect::<Result<Vec<_>>>()?;
    let digests: Vec<String> =
        references.iter().map(|reference| format!("sha256 {}", reference.sha256)).collect();
    await_another_second()?;
    report.note("building again, for good");
    let artifact = build(recipe, transactions, &Options { references, ..options.clone() }, report)?;
    report.note(&format!("both builds came out the same: {}", digests.join(", ")));
    Ok(artifact)
}

/// Makes the build for the comparison, with every condition changed that must not matter.
///
/// The host's name, the umask, the number of threads, the kind of workdir, the output and, with
/// libfaketime, the time of day that packages see are others here; the process is to be another
/// user's, see [`crate::sandbox::drop_host_privileges`]. The environment reaches no sandbox.
///
/// # Errors
/// As [`build`].
pub(crate) fn build_counterpart(
    recipe: &Recipe,
    transactions: &[Transaction],
    options: &Options,
    directory: &Path,
    report: &Report,
) -> Result<()> {
    // A program for another processor cannot load a library of this one's.
    let clock = Clock::find().filter(|_| recipe.settings.packages.arch.is_none() && may_mount());
    if clock.is_none() {
        report.note(
            "the clock of both builds differs by seconds only: a larger shift requires \
             libfaketime (apt-get install libfaketime)",
        );
    }
    let jobs = if options.packing.jobs == NonZeroUsize::MIN {
        NonZeroUsize::MIN.saturating_add(1)
    } else {
        NonZeroUsize::MIN
    };
    let options = Options {
        registry: Address::Directory(directory.to_owned()),
        output: None,
        formats: options.written_formats()?,
        packing: super::Packing { jobs, ..options.packing.clone() },
        workdir: if options.workdir == Place::Auto {
            Place::Under("/var/tmp".into())
        } else {
            Place::Auto
        },
        keep: Keep::Never,
        clock,
        references: Vec::new(),
        ..options.clone()
    };
    umask(Mode::from_bits_truncate(0o077));
    let mut recipe = recipe.clone();
    recipe.settings.image.name = Some(NAME.into());
    recipe.settings.image.version = Some(VERSION.into());
    with_hostname(ANOTHER_HOST, || build(&recipe, transactions, &options, report)).map(|_| ())
}

/// The name and version of the build for the comparison.
const NAME: &str = "first";
const VERSION: &str = "1";

/// The digest that the other process wrote next to its file.
fn sha256(file: &Path) -> Result<String> {
    let mut digest_file = file.as_os_str().to_owned();
    digest_file.push(".sha256");
    let text = files::read_text(Path::new(&digest_file), files::TEXT)
        .with_context(|| format!("reading {}", Path::new(&digest_file).display()))?;
    Ok(text.split_whitespace().next().context("looking for the first build's digest")?.to_owned())
}

/// The host's name while the first build runs.
const ANOTHER_HOST: &str = "another-host.invalid";

/// Waits for the next second of the clock. Small images are built within one, and most programs
/// record times in seconds: both builds would record the same.
fn await_another_second() -> Result<()> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    process::pause(
        Duration::from_secs(1).saturating_sub(Duration::from_nanos(since.subsec_nanos().into())),
    )
}
