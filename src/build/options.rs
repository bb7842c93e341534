//! The options of a build, besides the recipe and its settings.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::{Fitness, Packing, Reference, lock};
use crate::archive::{ImageFormat, squashfs};
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
    pub formats: Vec<ImageFormat>,
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
    /// The expected files, in the order of the formats, if they are known.
    pub references: Vec<Reference>,
}

impl Options {
    /// The formats that are written: that of the output, if it is named.
    ///
    /// # Errors
    /// When the output's name is that of no format.
    pub(super) fn written_formats(&self) -> Result<Vec<ImageFormat>> {
        match &self.output {
            Some(file) => Ok(vec![ImageFormat::from_name(file)?]),
            None => Ok(self.formats.clone()),
        }
    }

    /// Checks every format before the build: the compression level, the program that writes it,
    /// and whether the registry takes it.
    pub(super) fn check_formats(&self) -> Result<()> {
        let level = self.packing.level;
        for format in self.written_formats()? {
            format
                .level(level)
                .or_fail(ExitCode::Usage, format!("choosing the compression level {level}"))?;
            if format == ImageFormat::Img {
                squashfs::check_program()?;
            }
            if self.output.is_none() {
                self.registry.check_format(format)?;
            }
        }
        Ok(())
    }
}
