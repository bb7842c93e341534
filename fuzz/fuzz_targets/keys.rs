//! Fuzzes the reader of signing keys.
#![no_main]

#[path = "../parsers.rs"]
#[allow(dead_code, reason = "other targets use the rest of it")]
mod parsers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    parsers::keys(bytes);
});
