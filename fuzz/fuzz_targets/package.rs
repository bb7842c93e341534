//! Fuzzes the reader of package headers and their signatures.
#![no_main]

#[path = "../parsers.rs"]
#[allow(dead_code, reason = "other targets use the rest of it")]
mod parsers;

use std::path::PathBuf;
use std::sync::LazyLock;

/// In memory if possible, because it is written for every input.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let directory = if memory.is_dir() { memory } else { std::env::temp_dir() };
    directory.join(format!("osimg-fuzz-{}.rpm", std::process::id()))
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    parsers::package(bytes, &FILE);
});
