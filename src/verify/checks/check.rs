//! A check, and the findings that it makes.

use super::program::Program;
use crate::contents::{Contents, Member};
use crate::verify::image::Image;
use crate::verify::severity::Severity;

/// How many paths of a finding are kept.
const KEPT: usize = 100;

/// How many paths a text shows.
const SHOWN: usize = 3;

/// One check.
pub(in crate::verify) struct Check {
    /// Its name, which is part of the interface.
    pub(in crate::verify) name: &'static str,
    pub(super) severity: Severity,
    /// What the node would do.
    pub(super) why: &'static str,
    /// What fixes it.
    pub(super) fix: &'static str,
    pub(super) look: Look,
}

/// How a check looks at an image.
pub(super) enum Look {
    /// At what was read of it.
    Contents(fn(&Image<'_>, &Contents) -> Vec<Hit>),
    /// At where it comes from, be it readable or not.
    Place(fn(&Image<'_>) -> Vec<Hit>),
    /// For a program.
    Program(&'static Program),
}

/// Something that a check found.
#[derive(Debug, Default)]
pub(super) struct Hit {
    pub(super) text: String,
    pub(super) paths: Vec<String>,
    pub(super) count: usize,
}

/// A finding without files.
pub(super) fn said(text: impl Into<String>) -> Vec<Hit> {
    vec![Hit { text: text.into(), ..Hit::default() }]
}

/// A finding about files; nothing when there are none. The text is followed by the first of them.
pub(super) fn about(text: &str, paths: impl Iterator<Item = String>) -> Vec<Hit> {
    let (mut first, mut count) = (Vec::new(), 0);
    for path in paths {
        count += 1;
        if first.len() < KEPT {
            first.push(path);
        }
    }
    if count == 0 {
        return Vec::new();
    }
    let shown = first.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if count > SHOWN { format!(" and {} more", count - SHOWN) } else { String::new() };
    vec![Hit { text: format!("{text}: {shown}{more}"), paths: first, count }]
}

/// As [`about`], of members.
pub(super) fn members<'m>(text: &str, members: impl Iterator<Item = &'m Member>) -> Vec<Hit> {
    about(text, members.map(Member::shown))
}
