//! The paths in the directory of a version.

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
    match role {
        Role::Kernel => KERNEL.to_owned(),
        Role::Ramdisk => RAMDISK.to_owned(),
        Role::Stage2 => STAGE2.to_owned(),
        Role::Kickstart | Role::Tarball => file_of(stem, set, role),
    }
}
