//! `osimg images`: lists the images of a registry, and removes old ones.

use clap::Args;
use serde_json::json;
use std::io::IsTerminal;

use super::output;
use super::shared::kept_versions;
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::files;
use crate::registry::{self, Address, Entry, Owners, PublishOptions, Removal, State};
use crate::report::{Report, bytes};
use crate::set::Kept;

#[derive(Debug, Args)]
pub(super) struct Images {
    /// The registry: dir:PATH, tree:PATH, glance:CLOUD, oci:HOST/NAME or
    /// oci-image:HOST/NAME
    #[arg(long, value_name = "ADDRESS", default_value = "dir:out")]
    registry: Address,
    /// Only images with this name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Remove all but the newest KEEP versions of each name that our project owns, and the boot
    /// pieces that only they used
    #[arg(long, value_name = "KEEP", group = "removal", value_parser = kept_versions)]
    prune: Option<usize>,
    /// Remove one image, and the boot pieces that no other image uses (can be repeated)
    #[arg(long, value_name = "ID", group = "removal")]
    remove: Vec<String>,
    /// With --prune or --remove: also images of other projects; osimg lists them and asks for
    /// confirmation
    #[arg(long, requires = "removal")]
    all_projects: bool,
    /// With --all-projects: remove the listed images without a question
    #[arg(long, requires = "all_projects")]
    yes: bool,
}

impl Images {
    pub(crate) fn run(&self, report: &Report, json: bool) -> Result<ExitCode> {
        if let Address::Directory(path) | Address::Tree(path, _) = &self.registry {
            files::check_directory(path).or_fail_hint(
                ExitCode::Usage,
                format!("listing {}", path.display()),
                "use the directory of a registry: --registry dir:PATH",
            )?;
        }
        let registry = registry::open(&self.registry, &PublishOptions::default(), report)?;
        let mut removal = Removal::default();
        let chosen = match self.prune {
            Some(keep) => registry.surplus(self.name.as_deref(), keep, self.owners())?,
            None => self.named(registry.list()?, &registry.describe(), &mut removal),
        };
        if self.all_projects && !chosen.is_empty() {
            self.confirm(&chosen, report)?;
        }
        if !chosen.is_empty() {
            let step = report.step("removing images");
            let outcome = registry.remove_all(&chosen)?;
            step.finish(&format!("{} removed", outcome.removed.len()));
            removal.join(outcome);
        }
        let mut entries = registry.list()?;
        entries.retain(|entry| self.name.as_ref().is_none_or(|name| name == &entry.name));
        if json {
            let value = json!({
                "registry": registry.describe(), "images": entries, "removed": removal.removed,
                "kept": removal.kept, "problems": removal.problems,
            });
            output::print_json(report, &value)?;
        } else {
            for id in &removal.removed {
                report.note(&format!("removed {id}"));
            }
            report.note(&registry.describe());
            let mut lines = table(&entries).into_iter();
            let mut shown: Vec<String> = lines.next().into_iter().collect();
            for (index, (line, entry)) in lines.zip(&entries).enumerate() {
                shown.push(line);
                // Formats of one version share their files: those are counted with the last format.
                if entries.get(index + 1).is_none_or(|next| next.files != entry.files) {
                    shown.extend(entry.files.iter().map(|file| format!("  {file}")));
                }
            }
            output::print_lines(report, &shown)?;
        }
        removal.failure().map_or(Ok(ExitCode::Done), |failure| Err(failure.into()))
    }

    fn owners(&self) -> Owners {
        if self.all_projects { Owners::All } else { Owners::Own }
    }

    /// The entries for `--remove`. Entries that do not exist or belong to another project are
    /// recorded as kept.
    fn named(&self, entries: Vec<Entry>, registry: &str, removal: &mut Removal) -> Vec<Entry> {
        let mut chosen = Vec::new();
        let named = |entry: &&Entry| self.name.as_ref().is_none_or(|name| name == &entry.name);
        for id in &self.remove {
            let found: Vec<&Entry> = entries.iter().filter(|entry| entry.has_id(id)).collect();
            let wanted: Vec<&Entry> = found.iter().copied().filter(named).collect();
            let failure = match wanted.as_slice() {
                [entry] if entry.own || self.all_projects => {
                    chosen.push((*entry).clone());
                    continue;
                }
                [entry] => {
                    let owner =
                        entry.owner.as_deref().unwrap_or("unknown").escape_debug().to_string();
                    Failure::new(
                        ExitCode::Registry,
                        format!("removing {id}: it belongs to another project ({owner})"),
                    )
                    .hint("to remove it all the same, if your role allows it: --all-projects")
                }
                [] => absent(id, &found, registry),
                [..] => ambiguous(id, &wanted),
            };
            removal.kept.push(Kept::new(id, id, &failure.into()));
        }
        chosen
    }

    /// Lists the images to be removed, and asks for confirmation.
    fn confirm(&self, chosen: &[Entry], report: &Report) -> Result<()> {
        // Even with --quiet: a question needs the list.
        table(chosen).iter().for_each(|line| report.error(line));
        if self.yes {
            return Ok(());
        }
        let doing = "removing images of all projects";
        if !std::io::stdin().is_terminal() {
            return Err(Failure::new(
                ExitCode::Usage,
                format!("{doing}: there is no terminal for the question"),
            )
            .hint("the images are listed above; to remove them without a question: --yes")
            .into());
        }
        report.error(&format!(
            "Remove these {}, also those of other owners? Type yes to remove them:",
            chosen.len()
        ));
        let mut answer = String::new();
        std::io::stdin()
            .read_line(&mut answer)
            .or_fail(ExitCode::Usage, format!("{doing}: reading the answer"))?;
        if answer.trim().eq_ignore_ascii_case("yes") {
            return Ok(());
        }
        Err(Failure::new(
            ExitCode::Usage,
            format!("{doing}: the answer was not yes; nothing was removed"),
        )
        .into())
    }
}

fn absent(id: &str, found: &[&Entry], registry: &str) -> Failure {
    let id = id.escape_debug();
    match found {
        [] => Failure::new(ExitCode::Registry, format!("removing {id}: it is not in {registry}")),
        found => Failure::new(
            ExitCode::Registry,
            format!("removing {id}: it is an image with another name than --name: {}", list(found)),
        ),
    }
}

fn ambiguous(id: &str, wanted: &[&Entry]) -> Failure {
    Failure::new(
        ExitCode::Registry,
        format!("removing {id}: several images have this tarball: {}", list(wanted)),
    )
    .hint("use the ID of one image, as osimg images prints it")
}

/// Names, versions and ids.
fn list(entries: &[&Entry]) -> String {
    let shown = |entry: &&Entry| {
        let (name, version) = (entry.name.escape_debug(), entry.version.escape_debug());
        format!("{name} {version} ({})", entry.id.escape_debug())
    };
    entries.iter().map(shown).collect::<Vec<_>>().join(", ")
}

/// The entries in columns, after a heading.
fn table(entries: &[Entry]) -> Vec<String> {
    let heading = [
        "NAME", "VERSION", "ARCH", "FORMAT", "STATE", "MADE", "SIZE", "BOOTS", "SEEN BY", "OWNER",
        "ID",
    ]
    .map(str::to_owned);
    let rows: Vec<[String; 11]> = std::iter::once(heading).chain(entries.iter().map(row)).collect();
    let widths: Vec<usize> = (0..11)
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let line = |row: &[String; 11]| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn row(entry: &Entry) -> [String; 11] {
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
        plain(entry.arch.as_deref().unwrap_or("-")),
        plain(&entry.extension),
        state.to_owned(),
        plain(&entry.created),
        entry.size.map_or("-".into(), bytes),
        boots,
        plain(entry.visibility.as_deref().unwrap_or("-")),
        plain(entry.owner.as_deref().filter(|_| !entry.own).unwrap_or("own")),
        plain(&entry.id),
    ]
}
