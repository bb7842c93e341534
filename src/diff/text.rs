//! The differences as text for a terminal.

use std::collections::BTreeMap;

use super::Difference;
use super::files::{Aspect, FileChange, FileChanges, Presence};
use super::gate::growth;
use super::packages::{Direction, PackageChange};
use crate::report::bytes;

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TextOptions {
    /// Whether every row is shown.
    pub all: bool,
}

impl TextOptions {
    fn rows(self, short: usize) -> usize {
        if self.all { usize::MAX } else { short }
    }
}

/// The complete text.
#[must_use]
pub(crate) fn text(difference: &Difference, options: TextOptions) -> String {
    let mut lines = Vec::new();
    head(difference, &mut lines);
    for fact in &difference.facts {
        lines.push(format!("\n{}", fact.name));
        let rows: Vec<String> = fact
            .before
            .iter()
            .map(|line| format!("  - {line}"))
            .chain(fact.after.iter().map(|line| format!("  + {line}")))
            .collect();
        capped(rows, options.rows(12), &mut lines);
    }
    packages(difference, options, &mut lines);
    if let Some(files) = &difference.files {
        by_package(files, options, &mut lines);
    }
    for note in &difference.notes {
        lines.push(format!("\n{note}"));
    }
    lines.join("\n").trim_end().to_owned()
}

fn head(difference: &Difference, lines: &mut Vec<String>) {
    let (a, b) = (&difference.before, &difference.after);
    lines.push(format!("{} → {}", crate::text::line(&a.title), crate::text::line(&b.title)));
    if difference.is_empty() {
        lines.push("nothing differs".to_owned());
    }
    let p = &difference.packages;
    lines.push(format!(
        "packages  {} → {}: {} added, {} removed, {} changed",
        a.packages,
        b.packages,
        p.added.len(),
        p.removed.len(),
        p.changed.len()
    ));
    if let Some(files) = &difference.files {
        let mut line = format!(
            "files     {} → {}: {} added, {} removed, {} changed",
            a.members, b.members, files.added, files.removed, files.changed
        );
        if !files.aspects.is_empty() {
            let aspects: Vec<String> = files
                .aspects
                .iter()
                .map(|(aspect, count)| format!("{} {count}", aspect.word()))
                .collect();
            line.push_str(&format!(" ({})", aspects.join(", ")));
        }
        lines.push(line);
    }
    lines.push(format!(
        "unpacked  {} → {}{}",
        bytes(a.bytes),
        bytes(b.bytes),
        growth(a.bytes, b.bytes)
    ));
    if let (Some(old), Some(new)) = (a.tarball, b.tarball) {
        lines.push(format!("tarball   {} → {}{}", bytes(old), bytes(new), growth(old, new)));
    }
}

fn capped(rows: Vec<String>, most: usize, lines: &mut Vec<String>) {
    let count = rows.len();
    lines.extend(rows.into_iter().take(most).map(|row| crate::text::line(&row).into_owned()));
    if count > most {
        lines.push(format!("  and {} more (--all)", count - most));
    }
}

fn packages(difference: &Difference, options: TextOptions, lines: &mut Vec<String>) {
    let p = &difference.packages;
    for (title, sign, entries) in
        [("Packages added", '+', &p.added), ("Packages removed", '-', &p.removed)]
    {
        if !entries.is_empty() {
            lines.push(format!("\n{title} ({})", entries.len()));
            let rows = entries
                .iter()
                .map(|e| format!("  {sign} {} {}.{}  {}", e.name, e.evr, e.arch, bytes(e.size)))
                .collect();
            capped(rows, options.rows(60), lines);
        }
    }
    if p.changed.is_empty() {
        return;
    }
    lines.push(format!("\nPackages changed ({})", p.changed.len()));
    for change in p.changed.iter().take(options.rows(60)) {
        changed(change, options, lines);
    }
    if p.changed.len() > options.rows(60) {
        lines.push(format!("  and {} more (--all)", p.changed.len() - options.rows(60)));
    }
}

fn changed(change: &PackageChange, options: TextOptions, lines: &mut Vec<String>) {
    let sign = match change.direction {
        Direction::Upgrade => '^',
        Direction::Downgrade => 'v',
        Direction::Other => '~',
    };
    let versions = if change.before == change.after {
        change.after.clone()
    } else {
        format!("{} → {}", change.before, change.after)
    };
    let size = signed(change.size_before, change.size_after);
    lines.push(
        crate::text::line(&format!("  {sign} {}.{}  {versions}{size}", change.name, change.arch))
            .into_owned(),
    );
    lines.extend(
        change
            .details
            .iter()
            .map(|detail| crate::text::line(&format!("      {detail}")).into_owned()),
    );
    let gone = if change.direction == Direction::Downgrade { "no longer: " } else { "" };
    let most = options.rows(5);
    for entry in change.changelog.iter().take(most) {
        lines.push(crate::text::line(&format!("      * {gone}{}", entry.author)).into_owned());
        let text: Vec<&str> = entry.text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines.extend(
            text.iter().take(options.rows(4)).map(|line| {
                crate::text::line(&format!("        {}", line.trim_end())).into_owned()
            }),
        );
        if text.len() > options.rows(4) {
            lines.push(format!("        … {} more lines (--all)", text.len() - options.rows(4)));
        }
    }
    let shown = change.changelog.len().min(most);
    if change.changelog_entries > shown {
        lines.push(format!(
            "      and {} more entries of the changelog",
            change.changelog_entries - shown
        ));
    }
}

/// For example `  +12.00 KiB`; empty if the size is unchanged.
fn signed(before: u64, after: u64) -> String {
    match after.cmp(&before) {
        std::cmp::Ordering::Equal => String::new(),
        std::cmp::Ordering::Greater => format!("  +{}", bytes(after - before)),
        std::cmp::Ordering::Less => format!("  -{}", bytes(before - after)),
    }
}

fn by_package(files: &FileChanges, options: TextOptions, lines: &mut Vec<String>) {
    if files.is_empty() {
        return;
    }
    let mut groups: BTreeMap<&str, Vec<&FileChange>> = BTreeMap::new();
    for change in &files.files {
        groups.entry(change.package.as_deref().unwrap_or("")).or_default().push(change);
    }
    lines.push(format!("\nFiles ({})", files.files.len()));
    let (most_groups, most_files) = (options.rows(40), options.rows(8));
    for (package, changes) in groups.iter().take(most_groups) {
        let name = if package.is_empty() { "no package" } else { package };
        lines.push(crate::text::line(&format!("  {name} ({})", changes.len())).into_owned());
        for change in changes.iter().take(most_files) {
            lines.extend(
                file(change)
                    .into_iter()
                    .map(|line| crate::text::line(&format!("    {line}")).into_owned()),
            );
        }
        if changes.len() > most_files {
            lines.push(format!("    and {} more (--all)", changes.len() - most_files));
        }
    }
    if groups.len() > most_groups {
        let rest: usize = groups.values().skip(most_groups).map(Vec::len).sum();
        lines.push(format!(
            "  and {rest} files of {} more packages (--all)",
            groups.len() - most_groups
        ));
    }
}

fn file(change: &FileChange) -> Vec<String> {
    let size =
        |size: Option<u64>| size.map_or_else(String::new, |size| format!("  {}", bytes(size)));
    match change.presence {
        Presence::Added => {
            vec![format!("+             {}{}", change.path, size(change.size_after))]
        }
        Presence::Removed => {
            vec![format!("-             {}{}", change.path, size(change.size_before))]
        }
        Presence::Changed => change
            .differences
            .iter()
            .map(|d| {
                let values = match d.aspect {
                    // Digests are not useful in text.
                    Aspect::Content => match (change.size_before, change.size_after) {
                        (Some(old), Some(new)) if old != new => {
                            format!("{} → {}", bytes(old), bytes(new))
                        }
                        _ => "same size".to_owned(),
                    },
                    _ => format!("{} → {}", d.before, d.after),
                };
                format!("~ {:<11} {}  {values}", d.aspect.word(), change.path)
            })
            .collect(),
    }
}
