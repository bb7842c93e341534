//! The functions that process one input. They are called by the fuzz targets, which are guided by
//! coverage, and by the torture suite, which changes valid documents at random. Each returns
//! whether the input was read, so that the seeds are known to be valid.

use osimg::archive::read::Reader;
use osimg::installer::treeinfo::TreeInfo;
use osimg::recipe::lock::foreign;
use osimg::recipe::{Lock, Script, Settings};
use osimg::selinux::{FileContexts, Lookup, Source, Sources};
use std::path::Path;

/// Converts input that is not text into text, because nothing else reaches the parser.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A `.yum`: read it, write it and read it again with the same meaning, and make transactions.
pub fn recipe(bytes: &[u8]) -> bool {
    let Ok(script) = Script::parse(&text(bytes), "r.yum") else { return false };
    let again =
        Script::parse(&script.to_string(), "r.yum").expect("the written recipe can be read");
    assert_eq!(again.to_string(), script.to_string(), "the written recipe has the same meaning");
    script.lower().is_ok()
}

/// A `.toml` of settings.
pub fn settings(bytes: &[u8]) -> bool {
    Settings::parse(&text(bytes), "s.toml", Path::new("/")).is_ok()
}

/// A `.lock`, or another tool's list of packages.
pub fn lock(bytes: &[u8]) -> bool {
    let text = text(bytes);
    foreign::parse(&text, "x.yaml", "x86_64").is_ok() || Lock::parse(&text, "x.lock").is_ok()
}

/// A `.treeinfo`.
pub fn treeinfo(bytes: &[u8]) -> bool {
    TreeInfo::parse(&text(bytes)).is_ok()
}

/// A policy's `file_contexts`; its own lines are the paths that are looked up.
pub fn contexts(bytes: &[u8]) -> bool {
    let Ok(contexts) =
        FileContexts::parse(&Sources::from_base(Source::new("file_contexts", bytes)))
    else {
        return false;
    };
    let found = |path: &[u8]| contexts.lookup(path, 0o100_644) != Lookup::NoMatch;
    bytes.split(|byte| *byte == b'\n').take(64).filter(|line| found(line)).count();
    true
}

/// A tarball of any format.
pub fn archive(bytes: &[u8]) -> bool {
    let Ok(mut reader) = Reader::new(bytes) else { return false };
    // Ends with the archive: every iteration reads a header.
    loop {
        match reader.next() {
            Ok(Some(entry)) if entry.size < 1 << 20 && reader.content_within(1 << 20).is_err() => {
                return false;
            }
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// An RPM, written to `file` and read as a locked build reads a package before rpm does.
pub fn package(bytes: &[u8], file: &Path) -> bool {
    std::fs::write(file, bytes).expect("the input is written");
    osimg::packages::identify(file).is_ok()
}

/// A file of signing keys. The block's own checksum and encoding would refuse most inputs, so that
/// raw packets are given as well.
pub fn keys(bytes: &[u8]) -> bool {
    let pinned = "0".repeat(40);
    let as_block = format!(
        "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{}\n-----END PGP PUBLIC KEY BLOCK-----\n",
        base64(bytes)
    );
    // No key has that fingerprint; the message names the keys that were found.
    let found = |text: &String| {
        osimg::packages::keys::pin("KEY.asc", text, &pinned, 1)
            .expect_err("another key")
            .to_string()
    };
    [text(bytes), as_block].iter().filter(|text| found(text).contains("its fingerprint")).count()
        > 0
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for part in bytes.chunks(3) {
        let word =
            part.iter().chain([&0; 2]).take(3).fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        (0..4).for_each(|at| {
            out.push(if at <= part.len() {
                char::from(DIGITS[word >> (18 - 6 * at) & 63])
            } else {
                '='
            })
        });
    }
    out
}
