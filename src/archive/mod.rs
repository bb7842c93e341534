//! Step 5: a tree becomes tarballs, by `osimg-tar`; and the sizes that the command line takes.

mod size;

pub use osimg_tar::*;
pub use size::parse_size;
