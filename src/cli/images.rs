//! `osimg images`: what a registry holds, what is current, and how what is old leaves it.

use clap::Args;
use serde_json::json;

use crate::error::{ExitCode, Failure, Result};
use crate::registry::{self, Address, Entry, State, Wishes};
use crate::report::{Report, bytes};

#[derive(Debug, Args)]
pub(super) struct Images {
    /// The registry: dir:PATH, tree:PATH, glance:CLOUD or oci:HOST/NAME
    #[arg(long, value_name = "ADDRESS", default_value = "dir:out")]
    registry: Address,
    /// Only images of this name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Remove all but the newest KEEP versions of each name, and the boot pieces that only they used
    #[arg(long, value_name = "KEEP", conflicts_with = "remove")]
    prune: Option<usize>,
    /// Remove one image, and the boot pieces that only it used (can be repeated)
    #[arg(long, value_name = "ID")]
    remove: Vec<String>,
}

impl Images {
    pub fn run(&self, report: &Report, json: bool) -> Result<ExitCode> {
        if let Address::Directory(path) = &self.registry
            && !path.is_dir()
        {
            return Err(Failure::new(ExitCode::Usage, format!("listing {}: there is no such folder", path.display())).into());
        }
        let registry = registry::open(&self.registry, &Wishes::default(), report)?;
        let mut removed = Vec::new();
        if let Some(keep) = self.prune {
            let step = report.step("pruning");
            removed = registry.prune(self.name.as_deref(), keep)?;
            step.finish(&format!("{} removed", removed.len()));
        }
        for id in &self.remove {
            let entries = registry.list()?;
            let Some(entry) = entries.iter().find(|entry| &entry.id == id) else {
                return Err(Failure::new(ExitCode::Registry, format!("removing {id}: it is not in {}", registry.describe())).into());
            };
            removed.extend(registry.remove(entry)?);
        }
        let mut entries = registry.list()?;
        entries.retain(|entry| self.name.as_ref().is_none_or(|name| name == &entry.name));
        if json {
            let value = json!({ "registry": registry.describe(), "images": entries, "removed": removed });
            super::print_json(report, &value)?;
            return Ok(ExitCode::Done);
        }
        for id in &removed {
            report.note(&format!("removed {id}"));
        }
        report.note(&registry.describe());
        super::print_lines(report, &table(&entries))?;
        Ok(ExitCode::Done)
    }
}

/// The entries in columns, a heading first.
fn table(entries: &[Entry]) -> Vec<String> {
    let heading = ["NAME", "VERSION", "FORMAT", "STATE", "MADE", "SIZE", "BOOTS", "SEEN BY", "ID"].map(str::to_owned);
    let rows: Vec<[String; 9]> = std::iter::once(heading).chain(entries.iter().map(row)).collect();
    let widths: Vec<usize> =
        (0..9).map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)).collect();
    let line = |row: &[String; 9]| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn row(entry: &Entry) -> [String; 9] {
    let state = match entry.state {
        State::Current => "current",
        State::Older => "older",
        State::Unfinished => "unfinished",
    };
    let plain = |text: &str| text.escape_debug().to_string();
    let boots = if entry.pieces.is_empty() {
        "-".to_owned()
    } else {
        entry.pieces.iter().map(|(role, _)| role.word()).collect::<Vec<_>>().join(",")
    };
    [
        plain(&entry.name),
        plain(if entry.version.is_empty() { "-" } else { &entry.version }),
        plain(&entry.extension),
        state.to_owned(),
        plain(&entry.created),
        entry.size.map_or("-".into(), bytes),
        boots,
        plain(entry.visibility.as_deref().unwrap_or("-")),
        plain(&entry.id),
    ]
}
