//! `openscap`: the scanner of the image applies a profile to the image, and its report is kept.

use std::fmt::Write as _;
use std::path::Path;

use super::image::Image;
use crate::error::{ExitCode, Failure, Result};
use crate::naming;
use crate::recipe::customizations::OpenScap;

const KEY: &str = "customizations.openscap";
/// Where the scap-security-guide has its data streams.
const CONTENT: &str = "/usr/share/xml/scap/ssg/content";
/// Where blueprints' tools leave the tailoring, so that later scans of a node find it.
const TAILORING: &str = "/usr/share/xml/osbuild-oscap-tailoring/tailoring.xml";
/// For the scanner to write to; taken out of the image again.
const RESULTS: &str = "/var/tmp/osimg-openscap.xml";
const REPORT: &str = "/var/tmp/osimg-openscap.html";
/// A report has tens of MiB.
const REPORT_LIMIT: u64 = 512 << 20;
/// Rules may be named without it.
const RULES: &str = "xccdf_org.ssgproject.content_rule_";
/// So may profiles.
const PROFILES: &str = "xccdf_org.ssgproject.content_profile_";
const SUFFIX: &str = "_osbuild_tailoring";

pub(super) fn apply(
    image: &Image<'_>,
    settings: &OpenScap,
) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let oscap = image.need("oscap", KEY, "openscap-scanner and scap-security-guide")?;
    let datastream = match &settings.datastream {
        Some(path) => path.clone(),
        None => datastream(image)?,
    };
    if !image.has_file(&datastream)? {
        let message = format!("applying {KEY}: the image has no data stream {datastream}");
        return Err(Failure::new(ExitCode::Recipe, message)
            .hint("add scap-security-guide to the recipe, or name another `datastream`")
            .into());
    }
    let mut argv = vec![
        oscap.as_str(),
        "xccdf",
        "eval",
        "--remediate",
        "--results",
        RESULTS,
        "--report",
        REPORT,
    ];
    let base = full(PROFILES, &settings.profile_id);
    let mut profile = base.clone();
    if !settings.selected.is_empty() || !settings.unselected.is_empty() {
        image.write(TAILORING, tailoring(settings, &base, &datastream).as_bytes(), 0o644)?;
        profile.push_str(SUFFIX);
        argv.extend(["--tailoring-file", TAILORING]);
    }
    argv.extend(["--profile", &profile, &datastream]);
    let ended = image.attempt(&argv)?;
    // 2: it ran, and some rules could not be remedied; the report says which.
    if !matches!(ended.code, Some(0 | 2)) {
        return Err(Failure::new(
            ExitCode::Transaction,
            format!(
                "applying {KEY}: oscap in the image ended with {}:\n{}",
                ended.how, ended.lines
            ),
        )
        .into());
    }
    let mut reports = Vec::new();
    for (suffix, path) in [(naming::OPENSCAP_RESULTS, RESULTS), (naming::OPENSCAP_REPORT, REPORT)] {
        let content = image.root().read(Path::new(path), REPORT_LIMIT)?;
        let content = content.ok_or_else(|| {
            Failure::new(ExitCode::Transaction, format!("applying {KEY}: oscap wrote no report"))
        })?;
        image.root().remove(Path::new(path))?;
        reports.push((suffix, content));
    }
    if ended.code == Some(2) {
        image.report().warn(&format!(
            "OpenSCAP: some rules of {profile} fail; the report next to the tarball lists them"
        ));
    }
    Ok(reports)
}

/// The only data stream of the image.
fn datastream(image: &Image<'_>) -> Result<String> {
    let names = image.root().names(Path::new(CONTENT))?;
    let found: Vec<String> = names
        .iter()
        .filter_map(|name| name.to_str())
        .filter(|name| name.ends_with("-ds.xml"))
        .map(str::to_owned)
        .collect();
    match found.as_slice() {
        [one] => Ok(format!("{CONTENT}/{one}")),
        _ => {
            let message =
                format!("applying {KEY}: the image has {} data streams in {CONTENT}", found.len());
            let hint = if found.is_empty() {
                "add scap-security-guide to the recipe".to_owned()
            } else {
                format!("write `datastream`: {}", found.join(", "))
            };
            Err(Failure::new(ExitCode::Recipe, message).hint(hint).into())
        }
    }
}

/// The identifier of a rule or profile that is written with or without its namespace.
fn full(namespace: &str, name: &str) -> String {
    if name.starts_with("xccdf_") { name.to_owned() } else { format!("{namespace}{name}") }
}

/// A tailoring in XCCDF 1.2 that extends the profile.
fn tailoring(settings: &OpenScap, profile: &str, datastream: &str) -> String {
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <xccdf:Tailoring xmlns:xccdf=\"http://checklists.nist.gov/xccdf/1.2\" \
         id=\"xccdf_osbuild_tailoring_default\">\n\
         \x20 <xccdf:benchmark href=\"{datastream}\"/>\n\
         \x20 <xccdf:version time=\"1970-01-01T00:00:00\">1</xccdf:version>\n\
         \x20 <xccdf:Profile id=\"{profile}{SUFFIX}\" extends=\"{profile}\">\n\
         \x20   <xccdf:title>{profile}, tailored</xccdf:title>\n"
    );
    for (rules, selected) in [(&settings.selected, true), (&settings.unselected, false)] {
        for rule in rules {
            let _ = writeln!(
                text,
                "    <xccdf:select idref=\"{}\" selected=\"{selected}\"/>",
                full(RULES, rule)
            );
        }
    }
    text + "  </xccdf:Profile>\n</xccdf:Tailoring>\n"
}
