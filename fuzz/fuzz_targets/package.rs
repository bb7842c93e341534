//! Fuzzes what looks at packages' headers and signatures. `OSIMG_FUZZ_KEY` is a key's file with its fingerprint, `FILE=FINGERPRINT`.
#![no_main]

#[path = "../parsers.rs"]
#[allow(dead_code, reason = "other targets use the rest of it")]
mod parsers;

use osimg::packages::{PinnedKey, keys};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::SystemTime;

static KEYS: LazyLock<Vec<PinnedKey>> = LazyLock::new(|| {
    let Ok(named) = std::env::var("OSIMG_FUZZ_KEY") else { return Vec::new() };
    let (file, fingerprint) = named.split_once('=').expect("OSIMG_FUZZ_KEY is FILE=FINGERPRINT");
    let armored = std::fs::read_to_string(file).expect("the key's file can be read");
    vec![keys::pin(file, &armored, fingerprint, SystemTime::now()).expect("the key is the one")]
});

/// In memory where there is such a place: it is written for every input.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() { memory } else { std::env::temp_dir() };
    folder.join(format!("osimg-fuzz-{}.rpm", std::process::id()))
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    parsers::package(bytes, &FILE, &KEYS);
});
