//! The manifest after publishing: where the set went is written at its end, and everything before that stays byte for byte.

use anyhow::Context;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::references::References;
use crate::error::Result;

/// How the list begins: no string in JSON holds a line feed, and only the outermost members are indented by two spaces.
const BEGIN: &str = ",\n  \"published\": ";
/// How a manifest ends.
const END: &str = "\n}\n";

/// The part of a manifest that this module reads.
#[derive(Debug, Deserialize)]
struct Tail {
    #[serde(default)]
    published: Vec<References>,
}

/// The manifest as the build wrote it, without what publishing added: `jq 'del(.published)'`.
#[must_use]
pub fn original(text: &str) -> String {
    match text.find(BEGIN) {
        Some(at) => format!("{}{END}", text.get(..at).unwrap_or(text)),
        None => text.to_owned(),
    }
}

/// SHA-256 of [`original`].
#[must_use]
pub fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(original(text).as_bytes()))
}

/// Where the manifest says that its tarballs were published.
#[must_use]
pub fn published(text: &str) -> Vec<References> {
    // Of a later osimg, or of another program: nothing of it is known here.
    serde_json::from_str::<Tail>(text).map(|tail| tail.published).unwrap_or_default()
}

/// The architecture of the image, as the build wrote it down.
#[must_use]
pub fn arch(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Head {
        arch: Option<String>,
    }
    serde_json::from_str::<Head>(text).ok()?.arch
}

/// The manifest with the references in place of what it said before of the same tarball in the same registry.
///
/// # Errors
/// When it is no manifest in the form that osimg writes.
pub fn with(text: &str, references: &References) -> Result<String> {
    let mut all = published(text);
    // Glance's images of every format have one name.
    let place = |known: &References| (known.registry.clone(), known.tarball.name.clone(), known.extension.clone());
    all.retain(|old| place(old) != place(references));
    all.push(references.clone());
    write(text, &all)
}

/// The manifest with this list of where it was published.
///
/// # Errors
/// When it is no manifest in the form that osimg writes.
pub fn write(text: &str, all: &[References]) -> Result<String> {
    let whole = original(text);
    if all.is_empty() {
        return Ok(whole);
    }
    let head = whole.strip_suffix(END).context("the manifest does not end as osimg writes it")?;
    let list = serde_json::to_string_pretty(all).context("writing the references")?.replace('\n', "\n  ");
    Ok(format!("{head}{BEGIN}{list}{END}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Kind, Made, Reference};

    fn references(registry: &str, id: &str) -> References {
        let tarball = Reference { name: "os.tgz".into(), id: id.into(), url: None, size: 1, sha256: None, sha512: None, made: Made::New };
        References {
            kind: Kind::Glance,
            registry: registry.into(),
            name: "os".into(),
            version: "1".into(),
            arch: None,
            extension: ".tgz".into(),
            visibility: None,
            tarball,
            kernel: None,
            ramdisk: None,
            stage2: None,
            kickstart: None,
            manifest: None,
            retired: Vec::new(),
            kept: Vec::new(),
        }
    }

    #[test]
    fn publishing_adds_to_the_end_and_changes_nothing_before_it() {
        let plain = "{\n  \"name\": \"os\",\n  \"text\": \",\\n  \\\"published\\\": \"\n}\n";
        let once = with(plain, &references("glance:a", "1")).expect("written");
        let twice = with(&once, &references("glance:b", "2")).expect("written");
        assert_eq!(original(&twice), plain);
        assert_eq!(digest(&once), digest(plain));
        assert_eq!(published(&twice).len(), 2);
        let again = with(&twice, &references("glance:a", "3")).expect("written");
        assert_eq!(published(&again).iter().map(|r| r.tarball.id.as_str()).collect::<Vec<_>>(), ["2", "3"]);
        let other = References { extension: ".txz".into(), ..references("glance:a", "4") };
        assert_eq!(published(&with(&again, &other).expect("written")).len(), 3);
        assert_eq!(write(&again, &[]).expect("written"), plain);
        // As jq would print it.
        let value: serde_json::Value = serde_json::from_str(&again).expect("JSON");
        assert_eq!(value["published"][1]["tarball"]["id"], "3");
    }
}
