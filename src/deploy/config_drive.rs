//! A node's config drive as Ironic takes it: an ISO image, packed with gzip, in base64; or a URL of that.
//!
//! Ironic also builds one from JSON, but not for kickstart: Ironic 39 then stops with `'dict' object has no attribute 'lower'`.

use base64::{Engine, engine::general_purpose::STANDARD};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use std::io::{Read, Write};

use crate::error::{ExitCode, Failure, Result, ResultExt};

/// Ironic keeps it in its database; larger ones belong on a web server.
const LARGEST: u64 = 64 << 20;
/// Where an ISO image says what it is.
const MARK: std::ops::Range<usize> = 0x8001..0x8006;

/// Reads a config drive: an ISO image, packed with gzip or not, or what Ironic's own client takes (base64). A URL stays one.
///
/// # Errors
/// When it cannot be read, or is none of these.
pub fn load(text: &str) -> Result<Value> {
    if text.starts_with("http://") || text.starts_with("https://") {
        return Ok(json!(text));
    }
    let doing = format!("reading the config drive {}", text.escape_debug());
    let mut bytes = Vec::new();
    let file = std::fs::File::open(text).or_fail(ExitCode::Usage, doing.clone())?;
    file.take(LARGEST + 1).read_to_end(&mut bytes).or_fail(ExitCode::Usage, doing.clone())?;
    if bytes.len() as u64 > LARGEST {
        return Err(Failure::new(ExitCode::Usage, format!("{doing}: it is larger than 64 MiB"))
            .hint("put it on a web server that the conductor reaches, and name its URL")
            .into());
    }
    encoded(&bytes).map(Value::from).ok_or_else(|| {
        Failure::new(ExitCode::Usage, format!("{doing}: it is no ISO image"))
            .hint("make one of a folder with openstack/latest/user_data and meta_data.json: genisoimage -r -V config-2 -o drive.iso FOLDER")
            .into()
    })
}

/// The bytes as Ironic takes them; nothing when they are no config drive.
fn encoded(bytes: &[u8]) -> Option<String> {
    if bytes.get(MARK) == Some(b"CD001") {
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(bytes).ok()?;
        return Some(STANDARD.encode(packed.finish().ok()?));
    }
    if bytes.starts_with(&[0x1F, 0x8B]) {
        return Some(STANDARD.encode(bytes));
    }
    // The first bytes of gzip in base64.
    let text = std::str::from_utf8(bytes).ok()?;
    let word: String = text.split_ascii_whitespace().collect();
    let plain = word.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
    (word.starts_with("H4sI") && plain).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_drive_ends_as_the_same_word_and_others_are_refused() {
        let mut iso = vec![0; 0x9000];
        iso[MARK].copy_from_slice(b"CD001");
        let word = encoded(&iso).expect("an ISO image");
        assert!(word.starts_with("H4sI"));
        assert_eq!(encoded(format!("{}\n{}\n", &word[..20], &word[20..]).as_bytes()), Some(word));
        for wrong in [&b"#cloud-config"[..], b"", b"\xff\xfe", b"H4sI not base64!"] {
            assert_eq!(encoded(wrong), None);
        }
    }
}
