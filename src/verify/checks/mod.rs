//! The registry: every check by its name, in the order in which findings are told.
//!
//! A new check is a row in its group's table, with a test that trips it and one that does not
//! (`tests/verify`).

mod archive;
mod boot;
mod check;
mod cloud;
mod kernel;
mod leftovers;
mod owners;
mod packages;
mod program;
mod programs;
mod scriptlets;
mod selinux;
mod server;
mod tree;

use super::consumer::Consumer;
use super::findings::{Finding, Findings};
use super::image::Image;
use super::options::Options;
use super::severity::Severity;
use check::{Check, Hit, Look, said};

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
            (Look::Program(program), Some(_)) if program.is_missing(image) => {
                said(format!("there is no program {}", program.name))
            }
            (Look::Program(_), Some(_)) => Vec::new(),
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
