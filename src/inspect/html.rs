//! The image as one self-contained page: data, style and script are in it, and nothing is loaded.
//!
//! A hostile file name must stay text. The data are JSON without `<`, and the script creates text
//! nodes from them. The page's Content-Security-Policy allows only its own script and style.

use ct_codecs::{Base64, Encoder};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashMap;

use super::{ContentKind, File, Image};
use crate::contents::Kind;
use crate::error::Result;
use anyhow::{Context, anyhow};

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// The number of rows in the card of files without a package.
const UNOWNED: usize = 60;

/// A problem of the image, for display in the page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// `error` or `warning`.
    pub severity: String,
    /// The check's name.
    pub name: String,
    /// The problem.
    pub message: String,
    /// The effect on a node.
    pub why: String,
    /// How to fix it.
    pub fix: String,
    /// The first of the affected files.
    pub paths: Vec<String>,
    /// The number of affected files.
    pub count: usize,
}

/// The page. `findings` are those of the checks; `None` if no checks ran.
///
/// # Errors
/// If the image cannot be written as JSON.
pub(crate) fn html(image: &Image, findings: Option<&[Finding]>) -> Result<String> {
    let data = data(image, findings)?;
    let mut page = String::with_capacity(PAGE.len() + STYLE.len() + SCRIPT.len() + data.len());
    // A single pass, so that inserted text is never searched for placeholders.
    let mut rest = PAGE;
    while let Some((before, after)) = rest.split_once('@') {
        page.push_str(before);
        let (name, after) = after.split_once('@').context("the page template has an unpaired @")?;
        match name {
            "TITLE" => page.push_str(&escaped(&image.title())),
            "VERSION" => page.push_str(env!("CARGO_PKG_VERSION")),
            "STYLE" => page.push_str(STYLE),
            "SCRIPT" => page.push_str(SCRIPT),
            "STYLE_HASH" => page.push_str(&hash(STYLE)?),
            "SCRIPT_HASH" => page.push_str(&hash(SCRIPT)?),
            "DATA" => page.push_str(&data),
            other => return Err(anyhow!("the page template has an unknown @{other}@")),
        }
        rest = after;
    }
    page.push_str(rest);
    Ok(page)
}

fn hash(text: &str) -> Result<String> {
    Base64::encode_to_string(Sha256::digest(text.as_bytes()))
        .map_err(|_| anyhow!("writing a digest of the page"))
}

/// Text, escaped for HTML.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in crate::text::line(text).chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// JSON that cannot end a script element: outside of strings it has no `<`, inside strings `<` is
/// escaped.
fn data(image: &Image, findings: Option<&[Finding]>) -> Result<String> {
    let mut tables = Tables::default();
    let files: Vec<_> = image
        .files
        .iter()
        .filter(|file| !file.path.is_empty())
        .map(|file| tables.row(file, image))
        .collect();
    let mut image_data = serde_json::to_value(image).context("writing the page")?;
    // They are all listed as files too.
    if let Some(unowned) = image_data.get_mut("unowned").and_then(Value::as_array_mut) {
        unowned.truncate(UNOWNED);
    }
    let data = json!({
        "image": image_data,
        "unowned": image.unowned.len(),
        "findings": findings,
        "kinds": ContentKind::ALL.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "directories": tables.directories.list,
        "owners": tables.owners.list,
        "files": files,
    });
    let text = serde_json::to_string(&shown(data)).context("writing the page")?;
    Ok(text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"))
}

/// The value with hidden characters escaped in all texts: browsers obey bidirectional overrides.
fn shown(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(crate::text::lines(&text).into_owned()),
        Value::Array(values) => values.into_iter().map(shown).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| (crate::text::line(&name).into_owned(), shown(value)))
            .collect(),
        other => other,
    }
}

/// Texts that many rows share, each stored once.
#[derive(Debug, Default)]
struct Table {
    list: Vec<String>,
    index: HashMap<String, usize>,
}

impl Table {
    fn place(&mut self, text: String) -> usize {
        *self.index.entry(text).or_insert_with_key(|text| {
            self.list.push(text.clone());
            self.list.len() - 1
        })
    }
}

#[derive(Debug, Default)]
struct Tables {
    directories: Table,
    owners: Table,
}

impl Tables {
    fn row(&mut self, file: &File, image: &Image) -> Value {
        let shown = file.shown();
        let (directory, name) = shown.rsplit_once('/').unwrap_or(("", &shown));
        let kind = ContentKind::ALL
            .iter()
            .position(|kind| *kind == file.content)
            .unwrap_or(ContentKind::ALL.len() - 1);
        let owned = file.package.and_then(|index| i64::try_from(index).ok()).unwrap_or(-1);
        json!([
            self.directories.place(format!("{directory}/")),
            name,
            file.size,
            mode(file),
            self.owners.place(image.names.owner(file.uid, file.gid)),
            owned,
            kind,
            crate::text::bytes(&file.link),
        ])
    }
}

/// The type and the permissions, as in ls(1).
fn mode(file: &File) -> String {
    let kind = match file.kind {
        _ if file.is_hard_link => 'h',
        Kind::File | Kind::HardLink => 'f',
        Kind::Symlink => 'l',
        Kind::Directory => 'd',
        Kind::Character => 'c',
        Kind::Block => 'b',
        Kind::Fifo => 'p',
    };
    let mut text = String::from(kind);
    for (shift, special, set, plain) in
        [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')]
    {
        let bits = file.mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (file.mode & special != 0, bits & 1 != 0) {
            (true, true) => set,
            (true, false) => plain,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_shown_as_text() {
        assert_eq!(
            escaped("<b a=\"1\" c='2'>&\n"),
            "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;\\n"
        );
    }

    #[test]
    fn no_part_of_the_page_can_close_another() {
        assert!(
            !SCRIPT.contains("</script") && !SCRIPT.contains("<!--") && !STYLE.contains("</style")
        );
        assert!(
            !SCRIPT.contains("innerHTML") && !SCRIPT.contains("http://")
                || SCRIPT.matches("http://").count() == 1
        );
    }
}
