//! The manifest after publishing: where the set went is written at its end, and everything before
//! that stays byte for byte.

use anyhow::Context;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ops::Range;

use super::manifest::Tarball;
use super::references::References;
use crate::error::{ExitCode, Failure, Result};

/// How the list begins: no string in JSON holds a line feed, and only the outermost members are
/// indented by two spaces.
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
pub(crate) fn original(text: &str) -> String {
    match text.find(BEGIN) {
        Some(at) => format!("{}{END}", text.get(..at).unwrap_or(text)),
        None => text.to_owned(),
    }
}

/// SHA-256 of [`original`].
#[must_use]
pub(crate) fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(original(text).as_bytes()))
}

/// The places where the manifest's tarballs were published.
#[must_use]
pub(crate) fn published(text: &str) -> Vec<References> {
    // A manifest of a later osimg, or of another program, has no known references.
    serde_json::from_str::<Tail>(text).map(|tail| tail.published).unwrap_or_default()
}

/// The architecture of the image, as the build wrote it down.
#[must_use]
pub(crate) fn arch(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Head {
        arch: Option<String>,
    }
    serde_json::from_str::<Head>(text).ok()?.arch
}

/// The distribution and release of the image, as the build recorded them.
pub(crate) fn os_release(text: &str) -> (Option<String>, Option<String>) {
    #[derive(Deserialize, Default)]
    struct Head {
        #[serde(default)]
        os_release: BTreeMap<String, String>,
    }
    let mut os_release = serde_json::from_str::<Head>(text).unwrap_or_default().os_release;
    (os_release.remove("ID"), os_release.remove("VERSION_ID"))
}

/// The manifest with these references; earlier ones of the same tarball in the same registry are
/// replaced.
///
/// # Errors
/// When it is no manifest in the form that osimg writes.
pub(crate) fn with(text: &str, references: &References) -> Result<String> {
    let mut all = published(text);
    // Glance's images of every format have one name.
    let place = |known: &References| {
        (known.registry.clone(), known.tarball.name.clone(), known.extension.clone())
    };
    all.retain(|old| place(old) != place(references));
    all.push(references.clone());
    write(text, &all)
}

/// The manifest with these references for one registry, and those of others as they are.
///
/// # Errors
/// When it is no manifest in the form that osimg writes.
pub(crate) fn with_all_of(text: &str, registry: &str, here: Vec<References>) -> Result<String> {
    let mut all = published(text);
    all.retain(|old| old.registry != registry);
    all.extend(here);
    write(text, &all)
}

/// The manifest with this list of where it was published.
///
/// # Errors
/// When it is no manifest in the form that osimg writes.
pub(crate) fn write(text: &str, all: &[References]) -> Result<String> {
    let whole = original(text);
    if all.is_empty() {
        return Ok(whole);
    }
    let head =
        whole.strip_suffix(END).ok_or_else(|| reformatted("it does not end as osimg writes it"))?;
    let list =
        serde_json::to_string_pretty(all).context("writing the references")?.replace('\n', "\n  ");
    Ok(format!("{head}{BEGIN}{list}{END}"))
}

/// The parts of a manifest that say what its tarballs are.
#[derive(Debug, Clone, Default, Deserialize)]
struct Listed {
    #[serde(default)]
    tarballs: Vec<Tarball>,
    #[serde(default)]
    archive: Option<ListedArchive>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct ListedArchive {
    #[serde(default)]
    compression: Vec<serde_json::Value>,
}

/// SHA-256 of a manifest's tarballs before compression, where it records it.
#[must_use]
pub(crate) fn tree(manifest: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(manifest).ok()?;
    Some(value.get("archive")?.get("sha256")?.as_str()?.to_owned())
}

/// When the image was built, in seconds since 1970, where the manifest records it.
#[must_use]
pub(crate) fn started(manifest: &str) -> Option<u64> {
    let value: serde_json::Value = serde_json::from_str(manifest).ok()?;
    value.get("build")?.get("started")?.as_u64()
}

/// A text of a manifest's outermost level.
#[must_use]
pub(crate) fn text(manifest: &str, key: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(manifest).ok()?;
    Some(value.get(key)?.as_str()?.to_owned())
}

/// The tarballs that a manifest describes.
#[must_use]
pub(crate) fn tarballs(text: &str) -> Vec<Tarball> {
    serde_json::from_str::<Listed>(text).map(|listed| listed.tarballs).unwrap_or_default()
}

/// The manifest with these tarballs instead of its own. How each was compressed is taken from the
/// manifests in `sources`, where it is recorded in the order of their tarballs.
///
/// # Errors
/// When it is not in the form that osimg writes.
pub(crate) fn with_tarballs(text: &str, tarballs: &[Tarball], sources: &[&str]) -> Result<String> {
    let listed: Vec<Listed> =
        sources.iter().filter_map(|source| serde_json::from_str(source).ok()).collect();
    let compression: Vec<&serde_json::Value> = tarballs
        .iter()
        .filter_map(|tarball| {
            listed.iter().find_map(|source| {
                let at = source.tarballs.iter().position(|known| known.sha512 == tarball.sha512)?;
                source.archive.as_ref()?.compression.get(at)
            })
        })
        .collect();
    let mut text = text.to_owned();
    if serde_json::from_str::<Listed>(&text).is_ok_and(|own| own.tarballs != tarballs) {
        text = replace(&text, &["tarballs"], &tarballs)?;
        if compression.len() == tarballs.len()
            && member(&text, &["archive", "compression"]).is_some()
        {
            text = replace(&text, &["archive", "compression"], &compression)?;
        }
    }
    Ok(text)
}

/// The manifest with another value of one member, which it has; the rest stays byte for byte.
///
/// # Errors
/// When it is not in the form that osimg writes, or has no such member.
pub(crate) fn replace(text: &str, path: &[&str], value: &impl Serialize) -> Result<String> {
    let place = member(text, path).ok_or_else(|| {
        reformatted(&format!("it has no {} where osimg writes it", path.join(".")))
    })?;
    let indent = format!("\n{}", INDENT.repeat(path.len()));
    let written = serde_json::to_string_pretty(value)
        .context("writing a part of the manifest")?
        .replace('\n', &indent);
    let (before, after) =
        (text.get(..place.start).unwrap_or_default(), text.get(place.end..).unwrap_or_default());
    Ok(format!("{before}{written}{after}"))
}

fn reformatted(why: &str) -> Failure {
    Failure::new(ExitCode::Usage, format!("completing the manifest: {why}"))
        .hint("use the file that osimg build wrote: another program changed or reformatted it")
        .hint("or move it away: the tarball is then published with a new, short manifest")
}

/// How much deeper each level of a manifest is indented.
const INDENT: &str = "  ";

/// Where the value of a member is: no string in JSON has a line feed, so the indentation of a line
/// shows its level.
fn member(text: &str, path: &[&str]) -> Option<Range<usize>> {
    let mut place = 0..text.len();
    for (depth, key) in path.iter().enumerate() {
        let (parent, indent) = (INDENT.repeat(depth), INDENT.repeat(depth + 1));
        let head = format!("\n{indent}\"{key}\": ");
        let start = place.start + text.get(place.clone())?.find(&head)? + head.len();
        let ends = |line: &str| {
            line.strip_prefix(&indent).is_some_and(|rest| rest.starts_with('"'))
                || line.strip_prefix(&parent).is_some_and(|rest| rest.starts_with('}'))
        };
        let lines = text.get(start..place.end)?.match_indices('\n');
        let end = lines
            .map(|(at, _)| start + at)
            .find(|at| text.get(at + 1..).is_some_and(ends))
            .unwrap_or(place.end);
        let value = text.get(start..end)?;
        place = start..start + value.trim_end_matches(',').len();
    }
    Some(place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::set::{Kind, Made, Reference};

    fn references(registry: &str, id: &str) -> References {
        let tarball = Reference {
            name: "os.tgz".into(),
            id: id.into(),
            url: None,
            size: 1,
            sha256: None,
            sha512: None,
            made: Made::New,
        };
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
    fn a_reformatted_manifest_is_refused_with_a_hint() {
        for text in ["{\"name\":\"os\"}", "{\n    \"name\": \"os\"\n}"] {
            for error in [
                with(text, &references("dir:/a", "os-1.tgz")).expect_err("refused"),
                replace(text, &["name"], &"x").expect_err("refused"),
            ] {
                assert_eq!(crate::error::exit_code(&error), ExitCode::Usage);
                assert!(crate::error::render(&error).contains("\nhint: "), "{error:#}");
            }
        }
    }

    #[test]
    fn a_member_is_replaced_and_the_rest_stays() {
        let value = serde_json::json!({ "archive": { "bytes": 1, "compression": [{ "level": 5 }],
            "sha256": "x" }, "name": "a, \n  \"name\": 1",
            "nested": { "name": "inner", "list": ["tarballs", "\"name\": "] },
            "tarballs": [{ "file": "os.tgz" }], "version": "1" });
        let text = serde_json::to_string_pretty(&value).expect("JSON") + "\n";
        for (path, new) in [
            (&["name"][..], serde_json::json!("b")),
            (&["tarballs"], serde_json::json!([{ "file": "a" }, { "file": "b" }])),
            (&["archive", "compression"], serde_json::json!([])),
            (&["archive", "sha256"], serde_json::json!(null)),
            (&["nested", "name"], serde_json::json!({ "deep": [1] })),
            (&["version"], serde_json::json!("2")),
        ] {
            let mut expected = value.clone();
            let place = path.iter().fold(&mut expected, |value, key| &mut value[*key]);
            *place = new.clone();
            let written = serde_json::to_string_pretty(&expected).expect("JSON") + "\n";
            assert_eq!(replace(&text, path, &new).expect("replaced"), written, "{path:?}");
        }
        assert!(replace(&text, &["missing"], &1).is_err());
        assert!(replace("{}", &["name"], &1).is_err());
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
        assert_eq!(
            published(&again).iter().map(|r| r.tarball.id.as_str()).collect::<Vec<_>>(),
            ["2", "3"]
        );
        let other = References { extension: ".txz".into(), ..references("glance:a", "4") };
        assert_eq!(published(&with(&again, &other).expect("written")).len(), 3);
        assert_eq!(write(&again, &[]).expect("written"), plain);
        // As jq would print it.
        let value: serde_json::Value = serde_json::from_str(&again).expect("JSON");
        assert_eq!(value["published"][1]["tarball"]["id"], "3");
    }
}
