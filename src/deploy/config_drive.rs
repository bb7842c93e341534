//! A node's config drive in Ironic's form: an ISO image, compressed with gzip, in base64; or its
//! URL.
//!
//! Ironic also builds one from JSON, but not for kickstart: Ironic 39 then stops with `'dict'
//! object has no attribute 'lower'`.

use base64::{Engine, engine::general_purpose::STANDARD};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;

use crate::error::{ExitCode, Failure, Result, ResultExt};

/// Ironic keeps it in its database; larger ones belong on a web server.
const LARGEST: u64 = 64 << 20;
/// The position of the signature of an ISO image.
const MARK: std::ops::Range<usize> = 0x8001..0x8006;

/// The config drives of nodes, by the names that the user gave for the nodes. Each of `values` is a
/// file or URL, which needs a single node, or `NODE=FILE` or `NODE=URL`.
///
/// # Errors
/// When a drive cannot be read, or would go to several nodes: it has one host's identity and
/// secrets.
pub(crate) fn assign(values: &[String], nodes: &[String]) -> Result<BTreeMap<String, Value>> {
    let doing = "assigning config drives";
    let usage = |why: String| Failure::new(ExitCode::Usage, format!("{doing}: {why}"));
    let mut drives: BTreeMap<String, Value> = BTreeMap::new();
    for value in values {
        let named = nodes
            .iter()
            .find_map(|node| Some((node, value.strip_prefix(node.as_str())?.strip_prefix('=')?)));
        let (node, source) = match (named, nodes) {
            (Some(named), _) => named,
            (None, [node]) => (node, value.as_str()),
            (None, _) => {
                return Err(usage(format!(
                    "{} names no node, and there are {}",
                    value.escape_debug(),
                    nodes.len()
                ))
                .hint(
                    "a config drive has one host's identity: --config-drive NODE=FILE for each \
                     node",
                )
                .into());
            }
        };
        let drive = load(source)?;
        if let Some((other, _)) = drives.iter().find(|(_, known)| **known == drive) {
            return Err(usage(format!(
                "the nodes {} and {} are given the same one",
                other.escape_debug(),
                node.escape_debug()
            ))
            .hint("a config drive has one host's identity: make one for each node")
            .into());
        }
        if drives.insert(node.clone(), drive).is_some() {
            return Err(usage(format!("the node {} is given two", node.escape_debug())).into());
        }
    }
    Ok(drives)
}

/// Reads a config drive: an ISO image, compressed with gzip or not, or base64 as Ironic's own
/// client takes it. A URL is kept.
///
/// # Errors
/// When it cannot be read, or is none of these.
pub(crate) fn load(text: &str) -> Result<Value> {
    if crate::naming::is_address(text) {
        return Ok(json!(text));
    }
    let doing = format!("reading the config drive {}", text.escape_debug());
    let mut bytes = Vec::new();
    let file = crate::files::open(Path::new(text)).or_fail(ExitCode::Usage, doing.clone())?;
    file.take(LARGEST + 1).read_to_end(&mut bytes).or_fail(ExitCode::Usage, doing.clone())?;
    if bytes.len() as u64 > LARGEST {
        return Err(Failure::new(ExitCode::Usage, format!("{doing}: it is larger than 64 MiB"))
            .hint("put it on a web server that the conductor reaches, and name its URL")
            .into());
    }
    encoded(&bytes).map(Value::from).ok_or_else(|| {
        Failure::new(ExitCode::Usage, format!("{doing}: it is not an ISO image"))
            .hint(
                "make one of a directory with openstack/latest/user_data and meta_data.json: \
                 genisoimage -r -V config-2 -o drive.iso DIRECTORY",
            )
            .into()
    })
}

/// The bytes in Ironic's form; none if they are not a config drive.
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
    fn every_node_gets_its_own_drive_and_no_drive_goes_to_two() {
        let words =
            |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
        let assign = |values: &[&str], nodes: &[&str]| assign(&words(values), &words(nodes));
        let one = assign(&["http://h/a=b"], &["n1"]).expect("one node needs no name");
        assert_eq!(one, BTreeMap::from([("n1".to_owned(), json!("http://h/a=b"))]));
        let two = assign(&["n2=http://h/2", "n1=http://h/1"], &["n1", "n2", "n3"]).expect("two");
        assert_eq!(
            two,
            BTreeMap::from([
                ("n1".to_owned(), json!("http://h/1")),
                ("n2".to_owned(), json!("http://h/2"))
            ])
        );
        for (values, nodes, part) in [
            (&["http://h/1"][..], &["n1", "n2"][..], "names no node"),
            (&["n1=http://h/1", "n2=http://h/1"], &["n1", "n2"], "the same one"),
            (&["n1=http://h/1", "n1=http://h/2"], &["n1"], "given two"),
        ] {
            let error = assign(values, nodes).expect_err(part);
            assert!(format!("{error:#}").contains(part), "{error:#}");
        }
    }

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
