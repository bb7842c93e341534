//! How a node gets the image.

use serde::Serialize;

/// Where Ironic gets the image from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// From Glance, with the boot pieces and the template named by the image's properties.
    Glance,
    /// From a web server; Anaconda asks it directly.
    Http,
    /// From an install tree on a web server: packages, no tarball.
    Tree,
    /// From a container registry.
    Oci,
}
