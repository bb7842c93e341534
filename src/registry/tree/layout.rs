//! The paths in the directory of a version.

use crate::naming;
use crate::registry::directory::file_of;
use crate::set::{Role, Set};

pub(super) const KERNEL: &str = "images/pxeboot/vmlinuz";

pub(super) const RAMDISK: &str = "images/pxeboot/initrd.img";

pub(super) const STAGE2: &str = "images/install.img";

/// Where Anaconda's first stage looks when it is given a directory without a `.treeinfo`.
pub(super) const STAGE2_TOO: &str = "LiveOS/squashfs.img";

/// The checksums of all files, by SHA-256 and SHA-512.
pub(super) const SUMS: [&str; 2] = ["SHA256SUMS", "SHA512SUMS"];

/// The place of a role in an image's directory.
pub(super) fn place(stem: &str, set: &Set, role: Role) -> String {
    fixed(role).map_or_else(|| file_of(stem, set, role), str::to_owned)
}

/// Whether the path is one that [`place`] gives.
pub(super) fn is_place(path: &str, stem: &str, role: Role) -> bool {
    fixed(role).map_or_else(|| naming::belongs(path, stem), |place| path == place)
}

fn fixed(role: Role) -> Option<&'static str> {
    match role {
        Role::Kernel => Some(KERNEL),
        Role::Ramdisk => Some(RAMDISK),
        Role::Stage2 => Some(STAGE2),
        Role::Kickstart | Role::Tarball => None,
    }
}
