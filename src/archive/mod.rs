//! Step 5: a tree becomes tarballs, by `osimg-tar`, a squashfs image or a container image; and
//! the sizes that the command line takes.

pub mod files;
pub mod oci;
mod size;
pub mod squashfs;
mod written;

pub use crate::naming::ImageFormat;
pub use osimg_tar::*;
pub(crate) use size::parse_size;
pub use written::Written;
pub(crate) use written::file_sha256;
