//! cloud-init: with Ironic it reads the config drive, which the kickstart writes into the image.

use super::check::{Check, Hit, Look, said};
use crate::contents::{Contents, Kind};
use crate::verify::image::Image;
use crate::verify::severity::Severity::Error;

pub(super) const CHECKS: &[Check] = &[Check {
    name: "cloud-init-source",
    severity: Error,
    why: "cloud-init does not read the config drive: the node gets no ssh keys, no network \
          settings and no host name",
    fix: "enable cloud-init, and add ConfigDrive to datasource_list in /etc/cloud",
    look: Look::Contents(cloud_init),
}];

/// The source of Ironic's config drive, in /var/lib/cloud/seed/config_drive.
const CONFIG_DRIVE: &str = "ConfigDrive";
/// Units without which nothing of cloud-init runs.
const UNITS: [&str; 3] = ["cloud-init-local.service", "cloud-init.service", "cloud-init.target"];

fn cloud_init(image: &Image<'_>, contents: &Contents) -> Vec<Hit> {
    if !image.has_program("cloud-init") {
        return Vec::new();
    }
    if contents.find("etc/cloud/cloud-init.disabled").is_some() {
        return said("cloud-init is disabled by /etc/cloud/cloud-init.disabled");
    }
    let masked = UNITS.iter().find(|unit| {
        let unit = contents.find(format!("etc/systemd/system/{unit}"));
        unit.is_some_and(|unit| unit.kind == Kind::Symlink && &*unit.link == b"/dev/null")
    });
    if let Some(unit) = masked {
        return said(format!("cloud-init is disabled: {unit} is masked"));
    }
    for file in ["etc/kernel/cmdline", "etc/default/grub"] {
        if String::from_utf8_lossy(contents.file(file).unwrap_or_default())
            .contains("cloud-init=disabled")
        {
            return said(format!("cloud-init is disabled by cloud-init=disabled in /{file}"));
        }
    }
    match sources(contents) {
        Some(sources) if !sources.iter().any(|source| source == CONFIG_DRIVE) => said(format!(
            "the datasource_list of cloud-init has no {CONFIG_DRIVE}: {}",
            crate::text::line(&sources.join(", "))
        )),
        _ => Vec::new(),
    }
}

/// The data sources that cloud-init tries; `None` if it tries all that it knows. The last file
/// wins.
fn sources(contents: &Contents) -> Option<Vec<String>> {
    let below =
        |path: &[u8]| path == b"etc/cloud/cloud.cfg" || path.starts_with(b"etc/cloud/cloud.cfg.d/");
    // Sorted, as cloud-init reads them: cloud.cfg before cloud.cfg.d.
    let files = contents.files().iter().filter(|(path, _)| below(path));
    let list = |text: &[u8]| {
        let value: serde_yaml_ng::Value = serde_yaml_ng::from_slice(text).ok()?;
        let list = value.get("datasource_list")?.as_sequence()?;
        Some(list.iter().filter_map(|source| source.as_str().map(str::to_owned)).collect())
    };
    files.rev().find_map(|(_, text)| list(text))
}
