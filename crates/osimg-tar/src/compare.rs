//! The first difference of two tarballs that should be equal.

use std::io::Read;

use super::read::{Entry, Reader};
use crate::error::Result;

/// Files up to this many bytes are compared byte by byte, larger ones as a whole.
const LARGEST: usize = 512 << 20;

/// The first difference of two archives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The member's name, as the archive has it.
    pub member: String,
    /// What differs, and both values.
    pub what: String,
    /// Where in its content, in bytes, when it is the content.
    pub byte: Option<u64>,
}

/// Reads both from their beginnings to the first difference; `None` when they hold the same
/// members.
///
/// # Errors
/// When one of them cannot be read.
pub fn first_difference(one: impl Read, other: impl Read) -> Result<Option<Difference>> {
    let (mut one, mut other) = (Reader::new(one)?, Reader::new(other)?);
    loop {
        let (a, b) = match (one.next()?, other.next()?) {
            (None, None) => return Ok(None),
            (Some(a), Some(b)) if a.path == b.path => (a, b),
            // Members are sorted: the name that comes first is the one that the other archive
            // lacks.
            (Some(a), Some(b)) if a.path < b.path => return Ok(Some(only(&a, "first"))),
            (Some(a), None) => return Ok(Some(only(&a, "first"))),
            (_, Some(b)) => return Ok(Some(only(&b, "second"))),
        };
        let difference = |what: String, byte| Difference { member: name(&a), what, byte };
        if let Some(what) = in_header(&a, &b) {
            return Ok(Some(difference(what, None)));
        }
        if a.size.max(b.size) > LARGEST as u64 {
            if a.size != b.size {
                return Ok(Some(difference(format!("size: {} and {}", a.size, b.size), None)));
            }
            continue;
        }
        let (mine, theirs) = (one.content_within(LARGEST)?, other.content_within(LARGEST)?);
        // One that goes on where the other ends differs there.
        let ends = (mine.len() != theirs.len()).then(|| mine.len().min(theirs.len()));
        if let Some(at) = mine.iter().zip(&theirs).position(|(x, y)| x != y).or(ends) {
            let around = |bytes: &[u8]| {
                let text: String = String::from_utf8_lossy(
                    bytes.get(at..bytes.len().min(at + 24)).unwrap_or_default(),
                )
                .into_owned();
                text.escape_debug().to_string()
            };
            return Ok(Some(difference(
                format!("\"{}\" and \"{}\"", around(&mine), around(&theirs)),
                Some(at as u64),
            )));
        }
    }
}

fn only(entry: &Entry, which: &str) -> Difference {
    Difference { member: name(entry), what: format!("only the {which} build has it"), byte: None }
}

fn name(entry: &Entry) -> String {
    String::from_utf8_lossy(&entry.path).into_owned()
}

/// The first field of a member's headers that differs.
fn in_header(a: &Entry, b: &Entry) -> Option<String> {
    let said = |what: &str, one: &dyn std::fmt::Debug, other: &dyn std::fmt::Debug| {
        Some(format!("{what}: {one:?} and {other:?}"))
    };
    if a.kind != b.kind {
        return said("type", &a.kind, &b.kind);
    }
    if a.mode != b.mode {
        return Some(format!("mode: {:04o} and {:04o}", a.mode, b.mode));
    }
    if (a.uid, a.gid) != (b.uid, b.gid) {
        return Some(format!("owner: {}:{} and {}:{}", a.uid, a.gid, b.uid, b.gid));
    }
    if a.link != b.link {
        return said(
            "target",
            &String::from_utf8_lossy(&a.link),
            &String::from_utf8_lossy(&b.link),
        );
    }
    if a.mtime != b.mtime {
        return said("time", &a.mtime, &b.mtime);
    }
    if a.label != b.label {
        return said(
            "label",
            &a.label.as_deref().map(String::from_utf8_lossy),
            &b.label.as_deref().map(String::from_utf8_lossy),
        );
    }
    if (&a.xattrs, &a.acl, &a.default_acl) != (&b.xattrs, &b.acl, &b.default_acl) {
        return Some("extended attributes".into());
    }
    // The content says more than its length does; only what cannot be compared is told by that.
    if a.size != b.size && a.size.min(b.size) == 0 {
        return said("size", &a.size, &b.size);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tar of one file, by the plain form of 1979 with a checksum.
    fn tar(content: &[u8]) -> Vec<u8> {
        let mut header = vec![0u8; 512];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"./etc/stamp");
        put(100, b"0000644\0");
        put(108, b"0000000\0");
        put(116, b"0000000\0");
        put(124, format!("{:011o}\0", content.len()).as_bytes());
        put(136, b"00000000000\0");
        put(148, b"        ");
        put(156, b"0");
        put(257, b"ustar\x0000");
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let mut tar = header;
        tar.extend_from_slice(content);
        tar.resize(tar.len().next_multiple_of(512) + 1024, 0);
        tar
    }

    #[test]
    fn a_content_that_goes_on_where_the_other_ends_differs_there() {
        let difference = |a: &[u8], b: &[u8]| {
            first_difference(tar(a).as_slice(), tar(b).as_slice()).expect("two archives")
        };
        assert_eq!(difference(b"same", b"same"), None);
        assert_eq!(difference(b"one", b"one two").expect("a difference").byte, Some(3));
        assert_eq!(difference(b"one two", b"one").expect("a difference").byte, Some(3));
        assert_eq!(difference(b"one", b"two").expect("a difference").byte, Some(0));
    }
}
