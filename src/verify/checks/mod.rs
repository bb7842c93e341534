//! The registry: every check by its name, in the order in which findings are told.
//!
//! A new check is a row in its group's table, with a test that trips it and one that does not
//! (`tests/verify`).

mod archive;
mod boot;
mod cloud;
mod kernel;
mod leftovers;
mod owners;
mod packages;
mod programs;
mod scriptlets;
mod selinux;
mod server;
mod tree;

use super::image::Image;
use super::{Consumer, Finding, Findings, Options, Severity};
use crate::contents::Member;

/// How many paths of a finding are kept.
const KEPT: usize = 100;
/// How many paths a text shows.
const SHOWN: usize = 3;

/// One check.
pub(super) struct Check {
    /// Its name, which is part of the interface.
    pub(super) name: &'static str,
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
    Contents(fn(&Image<'_>, &crate::contents::Contents) -> Vec<Hit>),
    /// At where it comes from, be it readable or not.
    Place(fn(&Image<'_>) -> Vec<Hit>),
    /// For a program.
    Program(&'static programs::Program),
}

/// Something that a check found.
#[derive(Debug, Default)]
pub(super) struct Hit {
    text: String,
    paths: Vec<String>,
    count: usize,
}

/// A finding without files.
fn said(text: impl Into<String>) -> Vec<Hit> {
    vec![Hit { text: text.into(), ..Hit::default() }]
}

/// A finding about files; nothing when there are none. The text is followed by the first of them.
fn about(text: &str, paths: impl Iterator<Item = String>) -> Vec<Hit> {
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
fn members<'m>(text: &str, members: impl Iterator<Item = &'m Member>) -> Vec<Hit> {
    about(text, members.map(Member::shown))
}

/// Every check.
pub(super) fn all() -> impl Iterator<Item = &'static Check> {
    [
        archive::CHECKS,
        server::CHECKS,
        kernel::CHECKS,
        boot::CHECKS,
        programs::CHECKS,
        tree::CHECKS,
        selinux::CHECKS,
        packages::CHECKS,
        scriptlets::CHECKS,
        owners::CHECKS,
        leftovers::CHECKS,
        cloud::CHECKS,
    ]
    .into_iter()
    .flatten()
}

/// Makes every check that concerns one of the consumers and that can be made.
pub(super) fn run(image: &Image<'_>, options: &Options<'_>) -> Findings {
    let (mut checks, mut findings) = (Vec::new(), Vec::new());
    for check in all() {
        let concerned = |consumer: &Consumer| match &check.look {
            Look::Program(program) if !program.applies(*consumer) => None,
            _ => Some((consumer.severity(check.name, check.severity)?, *consumer)),
        };
        let concerned: Vec<(Severity, Consumer)> =
            image.consumers.iter().filter_map(concerned).collect();
        let Some(severity) = concerned.iter().map(|(severity, _)| *severity).min() else {
            continue;
        };
        let hits = match (&check.look, image.contents) {
            (Look::Place(look), _) => look(image),
            (Look::Contents(look), Some(contents)) => look(image, contents),
            (Look::Program(program), Some(_)) => program.look(image),
            (Look::Contents(_) | Look::Program(_), None) => continue,
        };
        checks.push(check.name);
        let allowed = options.allow.contains(check.name);
        findings.extend(hits.into_iter().map(|Hit { text, paths, count }| {
            let Check { name, why, fix, .. } = *check;
            let consumers = concerned.iter().map(|(_, consumer)| *consumer).collect();
            Finding { name, severity, text, why, fix, paths, count, consumers, allowed }
        }));
    }
    findings.sort_by_key(|finding| finding.severity);
    let stored = image.contents.and_then(|contents| contents.stored.as_ref());
    Findings {
        tarball: image.name(),
        profile: image.consumers.first().copied().unwrap_or(Consumer::AnacondaEl9),
        consumers: image.consumers.clone(),
        sha256: stored.and_then(|stored| stored.sha256.as_ref()).map(hex::encode),
        members: image.members().len(),
        packages: image.contents.map_or(0, |contents| contents.packages.list().len()),
        checks,
        findings,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_check_has_its_own_name_a_reason_and_a_fix() {
        let mut names = BTreeSet::new();
        for check in all() {
            assert!(names.insert(check.name), "{}", check.name);
            assert!(
                check
                    .name
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c)),
                "{}",
                check.name
            );
            assert!(check.why.len() > 20 && check.fix.len() > 5, "{}", check.name);
            assert!(!check.why.ends_with('.') && !check.fix.ends_with('.'), "{}", check.name);
        }
        assert!(names.len() > 60, "{}", names.len());
    }
}
