//! What a caller decides about a build, beside the recipe and its settings.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::{Fitness, Packing, Reference, lock};
use crate::archive::Format;
use crate::recipe::SelinuxChoice;
use crate::registry::{Address, PublishOptions};
use crate::sandbox::{Clock, Devices};
use crate::sbom::Documents;
use crate::workdir::{Keep, Place};

/// How a build is done, beside what the recipe and its settings say.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the artifact goes.
    pub registry: Address,
    /// How it is published there.
    pub publishing: PublishOptions,
    /// Names of findings that do not count against the image.
    pub allow: BTreeSet<String>,
    /// Names of findings about boot pieces that do not count.
    pub allow_pieces: BTreeSet<String>,
    /// What becomes of an image that is not fit.
    pub fitness: Fitness,
    /// One file instead of the registry's own names.
    pub output: Option<PathBuf>,
    /// The formats, the first one's path is printed.
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
    /// What becomes of it.
    pub keep: Keep,
    /// Which /dev scriptlets see.
    pub devices: Devices,
    /// What is written beside the tarballs, and who signs.
    pub documents: Documents,
    /// How long a phase of a transaction may say nothing.
    pub idle: Option<Duration>,
    /// Another time of day for what the packages run.
    pub clock: Option<Clock>,
    /// What must come out, when it is known.
    pub reference: Option<Reference>,
}
