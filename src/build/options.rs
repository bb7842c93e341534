//! The options of a build, besides the recipe and its settings.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::{Fitness, Packing, Reference, lock};
use crate::archive::Format;
use crate::error::{ExitCode, Result, ResultExt};
use crate::recipe::SelinuxChoice;
use crate::registry::{Address, PublishOptions};
use crate::sandbox::{Clock, Devices};
use crate::sbom::Documents;
use crate::workdir::{Keep, Place};

/// The options of a build, besides the recipe and its settings.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The registry for the artifact.
    pub registry: Address,
    /// How it is published there.
    pub publishing: PublishOptions,
    /// Names of findings that do not count against the image.
    pub allow: BTreeSet<String>,
    /// Names of findings about boot pieces that do not count.
    pub allow_pieces: BTreeSet<String>,
    /// How an unfit image is handled.
    pub fitness: Fitness,
    /// One file instead of the registry's own names.
    pub output: Option<PathBuf>,
    /// The formats; the path of the first one is printed.
    pub formats: Vec<Format>,
    /// Where labels come from.
    pub selinux: SelinuxChoice,
    /// How the tree is packed.
    pub packing: Packing,
    /// The package cache.
    pub cache: PathBuf,
    /// The lock to go by.
    pub lock: Option<lock::LockFile>,
    /// Where the workdir is made.
    pub workdir: Place,
    /// When it is kept.
    pub keep: Keep,
    /// Which /dev scriptlets see.
    pub devices: Devices,
    /// The documents next to the tarballs, and the signing key.
    pub documents: Documents,
    /// How long a phase of a transaction may be silent.
    pub idle: Option<Duration>,
    /// Another time of day for what the packages run.
    pub clock: Option<Clock>,
    /// The expected tarball, if it is known.
    pub reference: Option<Reference>,
}

impl Options {
    /// Checks the compression level for every format, before the build.
    pub(super) fn check_level(&self) -> Result<()> {
        let formats = match &self.output {
            Some(file) => vec![Format::from_name(file)?],
            None => self.formats.clone(),
        };
        let level = self.packing.level;
        formats.into_iter().try_for_each(|format| {
            level
                .number(format)
                .map(drop)
                .or_fail(ExitCode::Usage, format!("choosing the compression level {level}"))
        })
    }
}
