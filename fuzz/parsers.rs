//! What is done with an input: by the targets here, which coverage guides, and by the torture suite, which changes good documents blindly.
//! Each says whether the input was read, so that the documents that fuzzing begins with are known to be good.

use osimg::archive::read::Reader;
use osimg::packages::PinnedKey;
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
pub fn package(bytes: &[u8], file: &Path, keys: &[PinnedKey]) -> bool {
    std::fs::write(file, bytes).expect("the input is written");
    osimg::packages::identify(file, keys).is_ok()
}
