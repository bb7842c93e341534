//! `services`: units are switched by the image's own systemctl, which knows their `[Install]`
//! sections, presets and aliases.

use super::image::Image;
use crate::error::{ExitCode, Failure, Result};
use crate::recipe::customizations::Services;
use crate::suggest::nearest;

const KEY: &str = "customizations.services";
/// More units than any image has.
const MOST_UNITS: usize = 10_000;

pub(super) fn apply(image: &Image<'_>, settings: &Services) -> Result<()> {
    if *settings == Services::default() {
        return Ok(());
    }
    let systemctl = image.need("systemctl", KEY, "systemd")?;
    for (verb, key, units) in [
        ("enable", "enabled", &settings.enabled),
        ("disable", "disabled", &settings.disabled),
        ("mask", "masked", &settings.masked),
    ] {
        for unit in units {
            known(image, &systemctl, key, unit)?;
            image.run(KEY, &[&systemctl, verb, unit])?;
        }
    }
    if let Some(target) = &settings.default_target {
        known(image, &systemctl, "default_target", target)?;
        image.run(KEY, &[&systemctl, "set-default", target])?;
    }
    Ok(())
}

/// Fails if the image has no such unit: systemctl would mask and disable it all the same.
fn known(image: &Image<'_>, systemctl: &str, key: &str, unit: &str) -> Result<()> {
    // A unit of a template is known by the template.
    let template = match (unit.split_once('@'), unit.rsplit_once('.')) {
        (Some((stem, _)), Some((_, suffix))) => format!("{stem}@.{suffix}"),
        _ => unit.to_owned(),
    };
    let ended = image.attempt(&[systemctl, "cat", "--no-pager", &template])?;
    if ended.success {
        return Ok(());
    }
    let why = ended.lines.lines().last().unwrap_or_default();
    Err(Failure::new(
        ExitCode::Recipe,
        format!("applying {KEY}: `{key}` names `{unit}`, which the image does not have: {why}"),
    )
    .hint(hint(image, systemctl, unit)?)
    .into())
}

/// The hint for an unknown unit: similar units of the image, and how its package is found.
fn hint(image: &Image<'_>, systemctl: &str, unit: &str) -> Result<String> {
    let list = [systemctl, "list-unit-files", "--no-legend", "--no-pager"];
    let listed = image.attempt_with(&list, MOST_UNITS)?.lines;
    let units = listed.lines().filter_map(|line| line.split_whitespace().next());
    let stem = unit.rsplit_once('.').map_or(unit, |(stem, _)| stem);
    let mut similar: Vec<&str> = units.clone().filter(|known| known.contains(stem)).collect();
    similar.extend(nearest(unit, units));
    similar.dedup();
    similar.truncate(5);
    let meant = if similar.is_empty() {
        String::new()
    } else {
        format!("did you mean {}? otherwise ", similar.join(", "))
    };
    Ok(format!(
        "{meant}add its package to the recipe (dnf provides '*/systemd/system/{unit}' names it), \
         or its file by [[customizations.files]]"
    ))
}

/// The units that presets enable and that are not enabled. Scriptlets apply presets, and hide their
/// failures. None if the image's systemctl is missing or does not work.
pub(super) fn unapplied_presets(image: &Image<'_>) -> Result<Vec<String>> {
    const SYSTEMCTL: &str = "/usr/bin/systemctl";
    if !image.has_file(SYSTEMCTL)? {
        return Ok(Vec::new());
    }
    let list = [SYSTEMCTL, "list-unit-files", "--no-pager", "--no-legend", "--state=disabled"];
    let ended = image.attempt_with(&list, MOST_UNITS)?;
    Ok(if ended.success { enabled_by_presets(&ended.lines) } else { Vec::new() })
}

/// The units of a table with the columns unit, state and preset.
fn enabled_by_presets(table: &str) -> Vec<String> {
    let rows = table.lines().filter_map(|line| {
        let mut columns = line.split_whitespace();
        let (unit, state, preset) = (columns.next()?, columns.next()?, columns.next()?);
        (state == "disabled" && preset == "enabled").then(|| unit.to_owned())
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_disabled_units_that_presets_enable_are_listed() {
        let table = "sshd.service       disabled enabled\nnftables.service   disabled \
                     disabled\nold.service disabled\n\nchronyd.service disabled enabled\n";
        assert_eq!(enabled_by_presets(table), ["sshd.service", "chronyd.service"]);
    }
}
