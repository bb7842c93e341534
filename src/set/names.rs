//! Names of images and of their files: `NAME-VERSION`, suffixes, architectures, links to the
//! newest.

use std::cmp::Ordering;

use crate::error::{ExitCode, Failure, Result};
use crate::naming;

pub(crate) use crate::naming::SUFFIXES as EXTENSIONS;

/// The suffix of a tarball's or image's name, with its dot; empty when it has none.
pub(crate) fn extension_of(file: &str) -> &'static str {
    naming::suffix(file).unwrap_or_default()
}

/// `NAME-VERSION`, or only the name.
pub(crate) fn stem(name: &str, version: &str) -> String {
    if version.is_empty() { name.to_owned() } else { format!("{name}-{version}") }
}

/// Checks an image's name and its version, which may be missing.
///
/// # Errors
/// Names the word that cannot be used.
pub(crate) fn check_names(name: &str, version: &str) -> Result<()> {
    for (what, option, text) in
        [("name", "--name NAME", name), ("version", "--image-version VERSION", version)]
    {
        if text.is_empty() && what == "version" {
            continue;
        }
        naming::check_word(text).map_err(|why| {
            let text = text.escape_debug();
            Failure::new(ExitCode::Usage, format!("naming the image: its {what} '{text}': {why}"))
                .hint(format!("choose letters, digits and . _ + -: {option}"))
        })?;
    }
    Ok(())
}

/// The names of a version in a directory or a web server's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The beginning of its files' names.
    pub stem: String,
    /// The link to the newest version, without suffix.
    pub latest: String,
}

/// An image that a directory or tree holds, as far as its names matter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Neighbour<'a> {
    pub stem: &'a str,
    pub name: &'a str,
    pub arch: Option<&'a str>,
}

impl Place {
    /// The names of a version among those that are there: `NAME-VERSION`, and `NAME-VERSION.ARCH`
    /// where another architecture has the plain names. The first architecture of a name gets the
    /// plain ones, and keeps them.
    pub(crate) fn of(
        name: &str,
        version: &str,
        arch: Option<&str>,
        there: &[Neighbour<'_>],
    ) -> Self {
        let plain = stem(name, version);
        let latest = format!("{name}-latest");
        let Some(arch) = arch else { return Self { stem: plain, latest } };
        let own = Self { stem: format!("{plain}.{arch}"), latest: format!("{latest}.{arch}") };
        if there.iter().any(|other| other.stem == own.stem) {
            return own;
        }
        let is_plain = |other: &&Neighbour<'_>| {
            other.name == name
                && other.arch.is_some_and(|a| !other.stem.ends_with(&format!(".{a}")))
        };
        let taken = match there.iter().find(|other| other.stem == plain) {
            Some(other) => other.arch.is_some_and(|other| other != arch),
            None => {
                let mut owners =
                    there.iter().filter(is_plain).filter_map(|other| other.arch).peekable();
                owners.peek().is_some() && owners.all(|owner| owner != arch)
            }
        };
        if taken { own } else { Self { stem: plain, latest } }
    }
}

/// The link to the newest of the images that share its names.
pub(crate) fn latest(name: &str, stem: &str, arch: Option<&str>) -> String {
    match arch {
        Some(arch) if stem.ends_with(&format!(".{arch}")) => format!("{name}-latest.{arch}"),
        _ => format!("{name}-latest"),
    }
}

/// The order of versions: numbers in them are compared as numbers, so that `1.9` is before `1.10`.
pub(crate) fn version_order(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (parts(one), parts(other));
    loop {
        let order = match (one.next(), other.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(a), Some(b)) => match (number(a), number(b)) {
                (Some(x), Some(y)) => (x.len(), x, a).cmp(&(y.len(), y, b)),
                _ => a.cmp(b),
            },
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// The digits of a number without leading zeros.
fn number(part: &str) -> Option<&str> {
    part.starts_with(|c: char| c.is_ascii_digit()).then(|| part.trim_start_matches('0'))
}

/// Runs of digits, and what is between them.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let digits = rest.chars().next()?.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(rest.len());
        let (part, left) = rest.split_at_checked(end)?;
        rest = left;
        Some(part)
    })
}

/// Whether two architectures may be the same: one that is not known may be any.
pub(crate) fn same_arch(one: Option<&str>, other: Option<&str>) -> bool {
    one.is_none() || other.is_none() || one == other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_architecture_keeps_the_plain_names() {
        let there = [
            ("os-1", Some("x86_64")),
            ("other-1", Some("s390x")),
            ("os-2.aarch64", Some("aarch64")),
            ("os-0", None),
        ];
        let there = there.map(|(stem, arch)| Neighbour {
            stem,
            name: if stem == "other-1" { "other" } else { "os" },
            arch,
        });
        for (version, arch, among, stem) in [
            ("1", Some("x86_64"), &[][..], "os-1"),
            ("1", Some("x86_64"), &there[..], "os-1"),
            ("2", Some("x86_64"), &there, "os-2"),
            ("1", Some("aarch64"), &there, "os-1.aarch64"),
            ("3", Some("aarch64"), &there, "os-3.aarch64"),
            ("2", Some("aarch64"), &there, "os-2.aarch64"),
            ("1", None, &there, "os-1"),
            ("0", Some("aarch64"), &there, "os-0"),
            ("9", Some("aarch64"), &there[1..2], "os-9"),
        ] {
            let place = Place::of("os", version, arch, among);
            assert_eq!(place.stem, stem, "{version} {arch:?}");
            assert_eq!(place.latest == "os-latest", !stem.ends_with("aarch64"), "{place:?}");
        }
    }

    #[test]
    fn numbers_in_versions_are_compared_as_numbers() {
        for versions in [
            ["20261130", "20261130.1", "20261130.2", "20261130.10", "20261201"],
            ["1", "1.9", "1.10", "1.10.1", "2"],
            ["", "9", "09.a", "9.b", "10"],
        ] {
            let mut sorted = versions;
            sorted.reverse();
            sorted.sort_by(|a, b| version_order(a, b));
            if versions[0].is_empty() {
                assert_eq!((sorted[0], sorted[4]), ("", "10"));
            } else {
                assert_eq!(sorted, versions);
            }
        }
    }
}
