//! What is done with an input: by the targets here, which coverage guides, and by the torture
//! suite, which changes good documents blindly. Each says whether the input was read, so that the
//! documents that fuzzing begins with are known to be good.

use osimg::archive::read::Reader;
use osimg::recipe::lock::foreign;
use osimg::recipe::{Lock, Script, Settings};
use osimg::selinux::{FileContexts, Lookup, Source, Sources};
use osimg::treeinfo::TreeInfo;
use std::path::Path;

/// Where a text is asked for, what is none is turned into one, as nothing else reaches the parser.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A `.yum`: read, written again, which must mean the same, and made transactions of.
pub fn recipe(bytes: &[u8]) -> bool {
    let Ok(script) = Script::parse(&text(bytes), "r.yum") else { return false };
    let again = Script::parse(&script.to_string(), "r.yum").expect("what was read is written so that it can be read");
    assert_eq!(again.to_string(), script.to_string(), "what is written means what was read");
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

/// A policy's `file_contexts`; the paths that are looked up are its own lines.
pub fn contexts(bytes: &[u8]) -> bool {
    let Ok(contexts) = FileContexts::parse(&Sources::from_base(Source::new("file_contexts", bytes))) else { return false };
    let found = |path: &[u8]| contexts.lookup(path, 0o100_644) != Lookup::NoMatch;
    bytes.split(|byte| *byte == b'\n').take(64).filter(|line| found(line)).count();
    true
}

/// A tarball of any format.
pub fn archive(bytes: &[u8]) -> bool {
    let Ok(mut reader) = Reader::new(bytes) else { return false };
    // Bounded by what the archive holds: every turn reads a header.
    loop {
        match reader.next() {
            Ok(Some(entry)) if entry.size < 1 << 20 && reader.content_within(1 << 20).is_err() => return false,
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// An RPM, written to `file` and looked at as a locked build looks at a package before rpm does.
pub fn package(bytes: &[u8], file: &Path) -> bool {
    std::fs::write(file, bytes).expect("the input is written");
    osimg::packages::identify(file).is_ok()
}

/// A file of signing keys; a block's own checksum and coding would refuse most inputs, so that
/// packets are given as well.
pub fn keys(bytes: &[u8]) -> bool {
    let pinned = "0".repeat(40);
    let as_block = format!("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{}\n-----END PGP PUBLIC KEY BLOCK-----\n", base64(bytes));
    // No key has that fingerprint; the message names those that were found.
    let found = |text: &String| osimg::packages::keys::pin("KEY.asc", text, &pinned, 1).expect_err("another key").to_string();
    [text(bytes), as_block].iter().filter(|text| found(text).contains("its fingerprint")).count() > 0
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for part in bytes.chunks(3) {
        let word = part.iter().chain([&0; 2]).take(3).fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        (0..4).for_each(|at| out.push(if at <= part.len() { char::from(DIGITS[word >> (18 - 6 * at) & 63]) } else { '=' }));
    }
    out
}
