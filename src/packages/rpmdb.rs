//! The packages that are really installed: the image's rpmdb, queried by rpm in the sandbox.

use serde::Serialize;

use crate::error::{ExitCode, Failure, Result};

/// An installed package in the rpmdb.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstalledPackage {
    /// `name-epoch:version-release.arch`; the epoch is always present.
    pub nevra: String,
    /// Name.
    pub name: String,
    /// Total size of its files in bytes.
    pub size: u64,
    /// Its licence.
    pub license: String,
    /// The source package it was built from.
    pub source: String,
    /// Its vendor, if known.
    pub vendor: Option<String>,
    /// Its home page, if known.
    pub url: Option<String>,
    /// Its summary.
    pub summary: Option<String>,
}

/// The query format for each package: tab-separated fields, quoted as for a shell because texts can
/// contain any character.
pub(super) const QUERY: &str = concat!(
    r"%{NAME:shescape}\t%{EPOCHNUM}\t%{VERSION:shescape}\t%{RELEASE:shescape}\t%{ARCH:shescape}\t",
    r"%{LONGSIZE}\t%{LICENSE:shescape}\t%{SOURCERPM:shescape}\t%{VENDOR:shescape}\t",
    r"%{URL:shescape}\t%{SUMMARY:shescape}\n",
);

/// Parses rpm's output. rpm keeps keys as pseudo-packages; their names are the second result.
///
/// # Errors
/// If a record has another form.
pub(super) fn parse(lines: &[String]) -> Result<(Vec<InstalledPackage>, Vec<String>)> {
    let (mut packages, mut keys) = (Vec::new(), Vec::new());
    for fields in records(&lines.join("\n")) {
        let [name, epoch, version, release, arch, size, license, source, vendor, url, summary] =
            fields.as_slice()
        else {
            return Err(Failure::new(
                ExitCode::Transaction,
                format!("reading the image's rpmdb: rpm's answer has {fields:?}"),
            )
            .hint(super::hints::LOOK)
            .into());
        };
        if *name == "gpg-pubkey" {
            keys.push(version.clone());
            continue;
        }
        packages.push(InstalledPackage {
            nevra: format!("{name}-{epoch}:{version}-{release}.{arch}"),
            name: name.clone(),
            size: size.parse().unwrap_or(0),
            license: license.clone(),
            source: source.clone(),
            vendor: non_empty(vendor),
            url: non_empty(url),
            summary: non_empty(summary),
        });
    }
    packages.sort_by(|a, b| a.nevra.cmp(&b.nevra));
    Ok((packages, keys))
}

/// The records of a text, one per line, as fields without shell quotes.
fn records(text: &str) -> Vec<Vec<String>> {
    let (mut records, mut record, mut field) = (Vec::new(), Vec::new(), String::new());
    let mut characters = text.chars().chain(['\n']);
    let mut quoted = false;
    while let Some(character) = characters.next() {
        match character {
            '\'' => quoted = !quoted,
            '\\' if !quoted => field.extend(characters.next()),
            '\t' if !quoted => record.push(std::mem::take(&mut field)),
            '\n' if !quoted => {
                record.push(std::mem::take(&mut field));
                let record = std::mem::take(&mut record);
                if record != [""] {
                    records.push(record);
                }
            }
            character => field.push(character),
        }
    }
    records
}

fn non_empty(value: &str) -> Option<String> {
    Some(value.trim()).filter(|value| !value.is_empty() && *value != "(none)").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_and_keys_are_distinguished() {
        let lines = [
            "'gpg-pubkey'\t0\t'd4c2a1f0'\t'65b1c0de'\t(none)\t0\t'pubkey'\t(none)\t(none)\t(none)\
            \t'key'"
                .to_owned(),
            "'bash'\t0\t'5.2'\t'1'\t'x86_64'\t7\t'GPL'\t'bash-5.2-1.src.rpm'\t'Maker'\t(none)\t'A \
            shell'"
                .to_owned(),
        ];
        let (packages, keys) = parse(&lines).expect("parsed");
        assert_eq!(keys, ["d4c2a1f0"]);
        assert_eq!(packages.len(), 1);
        assert_eq!(packages[0].nevra, "bash-0:5.2-1.x86_64");
        assert_eq!(
            (packages[0].vendor.as_deref(), packages[0].url.as_deref()),
            (Some("Maker"), None)
        );
        assert!(parse(&["nonsense".to_owned()]).is_err());
    }

    #[test]
    fn a_field_can_contain_tabs_newlines_quotes_and_backslashes() {
        let lines = [
            "'a'\t0\t'1'\t'1'\t'noarch'\t7\t'M\tIT'\t'a'\t'O'\\''Neill \\t'\t(none)\t'two"
                .to_owned(),
            "lines'".to_owned(),
        ];
        let (packages, _) = parse(&lines).expect("parsed");
        assert_eq!(packages[0].license, "M\tIT");
        assert_eq!(packages[0].vendor.as_deref(), Some("O'Neill \\t"));
        assert_eq!(packages[0].summary.as_deref(), Some("two\nlines"));
    }
}
