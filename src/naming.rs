//! Names of an image's files: their suffixes, and the words that a name or a version may be.

mod format;

pub use format::ImageFormat;
pub(crate) use format::{RAMDISK, STAGE2, SUFFIXES, stem, suffix};

/// The suffix of the manifest.
pub(crate) const MANIFEST: &str = ".json";

/// Suffixes of the documents: bills of materials, provenance, and reports of a profile.
pub(crate) const SPDX: &str = ".spdx.json";
pub(crate) const CYCLONEDX: &str = ".cdx.json";
pub(crate) const PROVENANCE: &str = ".intoto.json";
pub(crate) const OPENSCAP_RESULTS: &str = ".openscap.xml";
pub(crate) const OPENSCAP_REPORT: &str = ".openscap.html";
pub(crate) const DOCUMENTS: [&str; 5] =
    [SPDX, CYCLONEDX, PROVENANCE, OPENSCAP_RESULTS, OPENSCAP_REPORT];

/// Suffixes of boot pieces. A kickstart template belongs to one tarball and follows its suffix.
pub(crate) const KERNEL: &str = ".vmlinuz";
pub(crate) const KICKSTART: &str = ".ks.cfg";

/// What follows the full name of a file: its checksum files and signatures.
pub(crate) const SHA256: &str = ".sha256";
pub(crate) const CHECKSUMS: [&str; 2] = [SHA256, ".sha512"];
pub(crate) const SIGNATURES: [&str; 2] = [".minisig", ".asc"];

/// The link to the newest version is called as one of this version.
const LATEST: &str = "latest";
/// What ends the name of an image that was not fit to be published.
pub(crate) const UNFIT: &str = ".unfit";

/// The maximum length of a name or version. A file name has at most 255 bytes, and contains both,
/// with suffixes.
const LONGEST_WORD: usize = 100;

/// Suffixes of the files with content of their own: images, pieces, documents and the manifest.
fn main_suffixes() -> impl Iterator<Item = String> {
    let images = SUFFIXES.into_iter();
    let kickstarts = osimg_tar::SUFFIXES.iter().map(|suffix| format!("{suffix}{KICKSTART}"));
    images
        .chain([MANIFEST, KERNEL, RAMDISK, STAGE2])
        .chain(DOCUMENTS)
        .map(str::to_owned)
        .chain(kickstarts)
}

/// Every suffix that a file of an image has after `NAME-VERSION`.
pub(crate) fn suffixes() -> impl Iterator<Item = String> {
    main_suffixes().flat_map(|main| {
        let beside: Vec<String> =
            CHECKSUMS.iter().chain(&SIGNATURES).map(|suffix| format!("{main}{suffix}")).collect();
        std::iter::once(main).chain(beside)
    })
}

/// Whether a name is the address of a file on a web server.
pub(crate) fn is_address(name: &str) -> bool {
    name.starts_with("http://") || name.starts_with("https://")
}

/// The name of an artifact's manifest.
pub(crate) fn manifest(stem: &str) -> String {
    format!("{stem}{MANIFEST}")
}

/// Names of the documents of an artifact, and of their signatures.
pub(crate) fn documents(stem: &str) -> Vec<String> {
    DOCUMENTS
        .iter()
        .map(|suffix| format!("{stem}{suffix}"))
        .flat_map(|name| signatures(&name).into_iter().chain([name]))
        .collect()
}

/// Names of the signatures of a file.
pub(crate) fn signatures(file: &str) -> Vec<String> {
    SIGNATURES.iter().map(|suffix| format!("{file}{suffix}")).collect()
}

/// Whether the file has this stem and one of the suffixes.
pub(crate) fn belongs(file: &str, stem: &str) -> bool {
    file.strip_prefix(stem).is_some_and(|rest| suffixes().any(|suffix| suffix == rest))
}

/// Checks the beginning of files' names: it must not be that of other files with a meaning.
///
/// # Errors
/// Describes the problem.
pub(crate) fn check_stem(stem: &str) -> Result<(), String> {
    let plain = match stem.rsplit_once('.') {
        Some((plain, arch)) if ARCHITECTURES.contains(&arch) => plain,
        _ => stem,
    };
    if plain == LATEST || plain.ends_with(&format!("-{LATEST}")) {
        return Err("`latest` is reserved for the links to the newest version".to_owned());
    }
    if stem.ends_with(UNFIT) {
        return Err("`.unfit` at the end is reserved for rejected images".to_owned());
    }
    // A file of the version `1.spdx` would have the name of one of the version `1`.
    let all: Vec<String> = suffixes().collect();
    let taken = main_suffixes().find_map(|own| {
        let ends = all.iter().filter_map(|suffix| suffix.strip_suffix(&own));
        let end = ends.filter(|end| !end.is_empty()).find(|end| stem.ends_with(end))?.to_owned();
        Some((end, own))
    });
    match taken {
        Some((end, own)) => {
            Err(format!("`{end}` at the end is reserved: `{end}{own}` is a suffix of other files"))
        }
        None => Ok(()),
    }
}

/// Checks an image's name or version, wherever it comes from.
///
/// # Errors
/// Describes the problem.
pub(crate) fn check_word(text: &str) -> Result<(), String> {
    let bad = |c: char| {
        c.is_control() || c.is_whitespace() || c == '/' || c == char::REPLACEMENT_CHARACTER
    };
    if text.is_empty() || text.contains(bad) {
        return Err("use text without blanks and slashes".to_owned());
    }
    if text.starts_with(['.', '-']) {
        return Err("it is part of a file name and cannot begin with a dot or dash".to_owned());
    }
    if text.len() > LONGEST_WORD {
        return Err(format!(
            "it is part of a file name and can have at most {LONGEST_WORD} characters"
        ));
    }
    if text.contains('$') {
        return Err(
            "it contains a variable that was not expanded; write the value itself".to_owned()
        );
    }
    check_stem(text)
}

/// Architectures that a file name may end in before its suffix, as osimg writes it; rpm's names.
pub(crate) const ARCHITECTURES: [&str; 7] =
    ["x86_64", "aarch64", "ppc64le", "s390x", "riscv64", "i686", "armv7hl"];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_file_of_an_accepted_version_has_the_name_of_another_versions_file() {
        let all: Vec<String> = suffixes().collect();
        let files = |stem: &str| -> HashSet<String> {
            all.iter().map(|suffix| format!("{stem}{suffix}")).collect()
        };
        let first = files("os-1");
        // Every end of a suffix, as the end of a version.
        let ends = all.iter().flat_map(|suffix| {
            suffix.char_indices().map(|(at, _)| &suffix[..at]).chain([suffix.as_str()])
        });
        let mut refused = HashSet::new();
        for end in ends.filter(|end| !end.is_empty()) {
            let stem = format!("os-1{end}");
            if check_stem(&stem).is_err() {
                refused.insert(end);
            } else {
                assert!(first.is_disjoint(&files(&stem)), "{stem}");
            }
        }
        for end in [".spdx", ".cdx", ".intoto"] {
            assert!(refused.contains(end), "{end}");
        }
    }

    #[test]
    fn words_with_another_meaning_are_refused() {
        for good in ["1", "20261130.1", "9.4", "a_b+c", "1.unfitting", "latest-1", "spdx", "v.tar"]
        {
            assert_eq!(check_word(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            " ",
            "a b",
            "a/b",
            ".a",
            "-a",
            "a\n",
            "a\u{fffd}",
            "$V",
            "latest",
            "1-latest",
            "latest.aarch64",
            "1.unfit",
            "1.spdx",
        ] {
            assert!(check_word(bad).is_err(), "{bad:?}");
        }
        assert!(check_word(&"x".repeat(101)).is_err());
    }
}
