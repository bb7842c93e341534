//! The options of a build, besides the recipe and its settings.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::check::written_formats;
use super::lock_file::LockFile;
use super::{Fitness, Packing, Reference, Request};
use crate::archive::ImageFormat;
use crate::error::Result;
use crate::recipe::{Recipe, SelinuxChoice, Transaction};
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
    pub lock: Option<LockFile>,
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
    /// As [`written_formats`].
    pub(super) fn written_formats(&self) -> Result<Vec<ImageFormat>> {
        written_formats(self.output.as_deref(), &self.formats)
    }

    /// What the checks before a build look at.
    pub(super) fn request<'a>(
        &'a self,
        recipe: &'a Recipe,
        transactions: &'a [Transaction],
    ) -> Request<'a> {
        Request {
            recipe,
            transactions,
            output: self.output.as_deref(),
            formats: &self.formats,
            level: self.packing.level,
            selinux: &self.selinux,
            registry: &self.registry,
        }
    }
}
