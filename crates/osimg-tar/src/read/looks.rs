//! What a file looks like that is not a tar archive.

/// Kinds of files by their first bytes.
const MAGIC: [(&[u8], &str); 7] = [
    (b"hsqs", "a squashfs image"),
    (b"QFI\xFB", "a qcow2 disk image"),
    (b"PK\x03\x04", "a zip file"),
    (b"\xED\xAB\xEE\xDB", "an RPM package"),
    (b"\x7FELF", "a program"),
    (b"!<arch>\n", "a Debian package"),
    (b"<?xml", "an XML document"),
];

/// The place of the magic bytes in a tar header.
const USTAR: std::ops::Range<usize> = 257..262;
/// The place of a boot sector's signature.
const SIGNATURE: std::ops::Range<usize> = 510..512;

/// The kind of file that begins with `start`; `None` if it may be a tar archive.
pub(super) fn looks_like(start: &[u8]) -> Option<&'static str> {
    if start.get(USTAR) == Some(b"ustar") {
        return None;
    }
    if let Some((_, kind)) = MAGIC.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Some(kind);
    }
    let beginning = start.trim_ascii_start().get(..14).unwrap_or_default().to_ascii_lowercase();
    if beginning.starts_with(b"<!doctype html") || beginning.starts_with(b"<html") {
        return Some("an HTML page");
    }
    if !start.is_empty()
        && start.iter().all(|byte| !byte.is_ascii_control() || byte.is_ascii_whitespace())
    {
        // Tar headers are full of NULs.
        return Some("plain text");
    }
    (start.get(SIGNATURE) == Some(&[0x55, 0xAA])).then_some("a disk image")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_recognized_and_archives_are_not() {
        assert_eq!(looks_like(b"# recipe\ninstall kernel\n"), Some("plain text"));
        assert_eq!(looks_like(b"\n <!DOCTYPE html><title>404</title>"), Some("an HTML page"));
        assert_eq!(looks_like(b"hsqs\0\0"), Some("a squashfs image"));
        let mut sector = [0; 512];
        assert_eq!(looks_like(&sector), None);
        sector[510..].copy_from_slice(&[0x55, 0xAA]);
        assert_eq!(looks_like(&sector), Some("a disk image"));
        sector[257..262].copy_from_slice(b"ustar");
        assert_eq!(looks_like(&sector), None);
    }
}
