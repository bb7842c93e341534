//! Distinguishes kernel, ramdisk and second stage by their first bytes: a set with two of them
//! swapped does not boot.

use std::fs::File;
use std::io::Read;

use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::set::{Piece, Role};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Magic {
    /// A kernel, and its machine if the header has it.
    Kernel(Option<&'static str>),
    /// Something compressed: an initramfs, or the kernel of a machine whose kernels are plain gzip.
    Compressed,
    Cpio,
    FileSystem,
    Iso,
    Unknown,
}

impl Magic {
    const fn word(self) -> &'static str {
        match self {
            Self::Kernel(_) => "a kernel",
            Self::Compressed => "a compressed file",
            Self::Cpio => "an initramfs",
            Self::FileSystem => "a file system",
            Self::Iso => "an ISO image",
            Self::Unknown => "nothing known",
        }
    }
}

fn magic(bytes: &[u8]) -> Magic {
    let at = |offset: usize, magic: &[u8]| bytes.get(offset..offset + magic.len()) == Some(magic);
    // Linux: Documentation/arch/x86/boot.rst, arch/arm64/booting.rst,
    // arch/riscv/boot-image-header.rst, arch/s390/boot/head.S,
    // drivers/firmware/efi/libstub/zboot-header.S
    if at(0x202, b"HdrS") {
        Magic::Kernel(Some("x86_64"))
    } else if at(0x38, b"ARM\x64") {
        Magic::Kernel(Some("aarch64"))
    } else if at(0x38, b"RSC\x05") {
        Magic::Kernel(Some("riscv64"))
    } else if at(0x1_0008, b"S390EP") {
        Magic::Kernel(Some("s390x"))
    } else if at(0, b"MZ") && at(4, b"zimg") || at(0, b"\x7fELF") {
        Magic::Kernel(None)
    } else if at(0, b"hsqs") || at(1024, &[0xE2, 0xE1, 0xF5, 0xE0]) || at(0x438, &[0x53, 0xEF]) {
        // squashfs, EROFS, ext4
        Magic::FileSystem
    } else if at(0, b"070701") || at(0, b"070702") {
        Magic::Cpio
    } else if at(0x8001, b"CD001") {
        Magic::Iso
    } else if [
        &[0x1F, 0x8B][..],
        &[0xFD, b'7', b'z', b'X', b'Z', 0],
        &[0x28, 0xB5, 0x2F, 0xFD],
        &[0x02, 0x21, 0x4C, 0x18],
        &[0x04, 0x22, 0x4D, 0x18],
        b"BZh",
        &[0x5D, 0, 0],
    ]
    .iter()
    .any(|magic| at(0, magic))
    {
        Magic::Compressed
    } else {
        Magic::Unknown
    }
}

/// The number of first bytes that are examined.
pub(crate) const ENOUGH: u64 = 0x1_000E;

/// Whether a file that begins with `bytes` can have its role, on a machine of `arch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It can.
    Fits,
    /// It cannot be recognised.
    Unknown,
    /// It is another kind of file.
    Wrong(String),
}

pub(crate) fn judge(role: Role, bytes: &[u8], arch: Option<&str>) -> Verdict {
    match (role, magic(bytes)) {
        (Role::Kernel, Magic::Kernel(Some(made_for))) => match arch {
            Some(arch) if arch != made_for => {
                Verdict::Wrong(format!("it is a kernel for {made_for}, the image is for {arch}"))
            }
            _ => Verdict::Fits,
        },
        (Role::Kernel, Magic::Kernel(None))
        | (Role::Ramdisk, Magic::Compressed | Magic::Cpio)
        | (Role::Stage2, Magic::FileSystem)
        | (Role::Kickstart | Role::Tarball, _) => Verdict::Fits,
        // Kernels for x86 carry their own decompressor; other machines' may be plain gzip.
        (Role::Kernel, Magic::Compressed) if arch != Some("x86_64") => Verdict::Fits,
        (_, Magic::Unknown) => Verdict::Unknown,
        (_, other) => Verdict::Wrong(format!("it is {}", other.word())),
    }
}

/// The name for `--allow` that accepts a piece which its first bytes do not identify.
pub(crate) fn unrecognised(role: Role) -> String {
    format!("unrecognised-{role}")
}

/// Checks that a piece can have its role, on a machine of `arch`; returns a warning if it is not
/// recognised.
///
/// # Errors
/// When it is another kind of file.
pub(crate) fn check(role: Role, piece: &Piece, arch: Option<&str>) -> Result<Option<String>> {
    let mut bytes = Vec::new();
    piece
        .open()?
        .take(ENOUGH)
        .read_to_end(&mut bytes)
        .or_fail(ExitCode::Space, format!("reading the {role} {}", piece.path.display()))?;
    match judge(role, &bytes, arch) {
        Verdict::Fits => Ok(None),
        Verdict::Unknown => Ok(Some(format!(
            "{} is not recognised as a {role} by its first bytes, nor as anything else",
            piece.path.display()
        ))),
        Verdict::Wrong(wrong) => Err(Failure::new(
            ExitCode::Usage,
            format!("taking {} as the {role}: {wrong}", piece.path.display()),
        )
        .hint(
            "are kernel, ramdisk and stage2 in the right order? images/pxeboot/vmlinuz, \
             images/pxeboot/initrd.img, images/install.img",
        )
        .into()),
    }
}

/// Whether the file is an ISO image.
pub(crate) fn is_iso(mut file: File) -> bool {
    let mut bytes = Vec::new();
    file.by_ref().take(ENOUGH).read_to_end(&mut bytes).is_ok() && magic(&bytes) == Magic::Iso
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(directory: &tempfile::TempDir, bytes: &[u8]) -> Piece {
        let path = directory.path().join("piece");
        std::fs::write(&path, bytes).expect("written");
        Piece::from_file(&path, |_, _| {}).expect("a piece")
    }

    fn with(offset: usize, magic: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; offset];
        bytes.extend_from_slice(magic);
        bytes
    }

    #[test]
    fn swapped_pieces_are_found_out() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let kernel = with(0x202, b"HdrS");
        let arm = with(0x38, b"ARM\x64");
        let (gzip, squashfs, erofs) =
            (with(0, &[0x1F, 0x8B, 8]), with(0, b"hsqs"), with(1024, &[0xE2, 0xE1, 0xF5, 0xE0]));
        for (role, bytes, good) in [
            (Role::Kernel, &kernel, true),
            (Role::Kernel, &arm, false),
            (Role::Kernel, &gzip, false),
            (Role::Kernel, &squashfs, false),
            (Role::Ramdisk, &gzip, true),
            (Role::Ramdisk, &with(0, b"070701"), true),
            (Role::Ramdisk, &kernel, false),
            (Role::Ramdisk, &erofs, false),
            (Role::Stage2, &squashfs, true),
            (Role::Stage2, &erofs, true),
            (Role::Stage2, &kernel, false),
            (Role::Stage2, &with(0x8001, b"CD001"), false),
        ] {
            let outcome = check(role, &piece(&directory, bytes), Some("x86_64"));
            assert_eq!(outcome.is_ok(), good, "{role}: {outcome:?}");
            assert!(!good || outcome.expect("good").is_none());
        }
        assert!(
            check(Role::Kernel, &piece(&directory, &gzip), Some("aarch64"))
                .expect("gzip will do")
                .is_none()
        );
        assert!(
            check(Role::Kernel, &piece(&directory, b"??"), Some("x86_64"))
                .expect("unknown")
                .is_some()
        );
    }
}
