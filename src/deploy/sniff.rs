//! Tells kernel, ramdisk and second stage apart by their first bytes: they are mixed up easily, and nothing else notices.

use std::fmt;

/// How many bytes are enough.
pub const ENOUGH: u64 = 2048;

/// What a file is by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A kernel.
    Kernel,
    /// Compressed data or cpio: a ramdisk, or a tarball.
    Packed,
    /// A file system without a partition: a second stage.
    FileSystem,
    /// A whole ISO or disk.
    Disk,
    /// A page for people.
    Page,
    /// Text.
    Text,
    /// Nothing that is known here.
    Unknown,
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "a kernel",
            Self::Packed => "a ramdisk or another packed file",
            Self::FileSystem => "a file system image",
            Self::Disk => "an ISO or a disk",
            Self::Page => "a web page",
            Self::Text => "a text",
            Self::Unknown => "nothing known",
        })
    }
}

/// What the installer uses a piece for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The kernel.
    Kernel,
    /// The initramfs.
    Ramdisk,
    /// The second stage.
    Stage2,
    /// The kickstart template.
    Kickstart,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::Ramdisk => "ramdisk",
            Self::Stage2 => "stage2",
            Self::Kickstart => "kickstart template",
        })
    }
}

impl Part {
    /// Whether a file of this content can be this part.
    #[must_use]
    pub fn fits(self, content: Content) -> bool {
        match (self, content) {
            // Compressed kernels of other architectures look like any packed file.
            (Self::Kernel, Content::Kernel | Content::Packed | Content::Unknown)
            | (Self::Ramdisk, Content::Packed | Content::Unknown)
            | (Self::Stage2, Content::FileSystem | Content::Unknown)
            | (Self::Kickstart, Content::Text) => true,
            (Self::Kernel | Self::Ramdisk | Self::Stage2 | Self::Kickstart, _) => false,
        }
    }
}

/// What the first bytes of a file say.
#[must_use]
pub fn content(bytes: &[u8]) -> Content {
    let at = |offset: usize, magic: &[u8]| bytes.get(offset..offset + magic.len()) == Some(magic);
    // Linux's boot protocol on x86, EFI stubs (arm64 and RISC-V too), zipped EFI kernels, ELF.
    if at(0x202, b"HdrS") || at(0x38, b"ARM\x64") || at(0x30, b"RISCV") || at(4, b"zimg") || at(0, b"\x7fELF") {
        return Content::Kernel;
    }
    // squashfs, EROFS, ext.
    if at(0, b"hsqs") || at(1024, &[0xe2, 0xe1, 0xf5, 0xe0]) || at(1080, &[0x53, 0xef]) {
        return Content::FileSystem;
    }
    let packed: [&[u8]; 9] = [
        b"\x1f\x8b",
        b"\xfd7zXZ\0",
        b"BZh",
        b"\x28\xb5\x2f\xfd",
        b"\x02\x21\x4c\x18",
        b"\x04\x22\x4d\x18",
        b"070701",
        b"070702",
        b"\x5d\0\0",
    ];
    if packed.iter().any(|magic| at(0, magic)) {
        return Content::Packed;
    }
    if at(0, b"QFI\xfb") || (at(510, &[0x55, 0xaa]) && !at(0, b"MZ")) || at(32769, b"CD001") {
        return Content::Disk;
    }
    let start: Vec<u8> = bytes.iter().skip_while(|byte| byte.is_ascii_whitespace()).take(64).map(u8::to_ascii_lowercase).collect();
    if start.starts_with(b"<!doctype") || start.starts_with(b"<html") || start.starts_with(b"<?xml") {
        return Content::Page;
    }
    let text = bytes.iter().all(|byte| !byte.is_ascii_control() || byte.is_ascii_whitespace());
    if at(0, b"MZ") && !text {
        return Content::Kernel;
    }
    if !bytes.is_empty() && text { Content::Text } else { Content::Unknown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(offset: usize, magic: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 2048];
        bytes[offset..offset + magic.len()].copy_from_slice(magic);
        bytes
    }

    #[test]
    fn pieces_in_the_wrong_places_are_told() {
        let kernel = [with(0, b"MZ"), with(0x202, b"HdrS")].map(|bytes| content(&bytes));
        assert_eq!(kernel, [Content::Kernel; 2]);
        let (ramdisk, stage2) = (content(&with(0, b"\x1f\x8b")), content(&with(0, b"hsqs")));
        for (part, content, fits) in [
            (Part::Kernel, Content::Kernel, true),
            (Part::Kernel, stage2, false),
            (Part::Ramdisk, ramdisk, true),
            (Part::Ramdisk, Content::Kernel, false),
            (Part::Stage2, stage2, true),
            (Part::Stage2, ramdisk, false),
            (Part::Stage2, content(b"<!DOCTYPE html>"), false),
            (Part::Kickstart, content(b"lang en\n"), true),
            (Part::Kickstart, ramdisk, false),
        ] {
            assert_eq!(part.fits(content), fits, "{part} {content}");
        }
    }

    #[test]
    fn a_real_kernel_of_this_host_is_one() {
        let Some(path) = std::fs::read_dir("/boot").ok().and_then(|mut entries| {
            entries.find_map(|entry| {
                entry.ok().map(|e| e.path()).filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("vmlinuz-")))
            })
        }) else {
            return;
        };
        let bytes = std::fs::read(&path).expect("a kernel");
        assert_eq!(content(&bytes[..2048]), Content::Kernel, "{}", path.display());
    }
}
