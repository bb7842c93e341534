//! The facts about an image as text for a terminal.

use std::fmt::Write;

use super::{Image, OriginKind, Share};
use crate::report::bytes;

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TextOptions {
    /// The maximum number of rows per list; `None` for all.
    pub rows: Option<usize>,
}

/// The complete text.
#[must_use]
pub(crate) fn text(image: &Image, options: TextOptions) -> String {
    let mut out = Text { text: String::new(), rows: options.rows.unwrap_or(usize::MAX) };
    identity(image, &mut out);
    let mut packages: Vec<Share> = image
        .packages
        .iter()
        .map(|p| Share {
            name: format!("{} {}", p.name, p.evr),
            bytes: p.size,
            files: p.files as u64,
        })
        .collect();
    packages.sort_by_key(|share| std::cmp::Reverse(share.bytes));
    out.shares("Size by package", &packages, image.totals.bytes);
    out.shares("Size by directory", &image.directories, image.totals.bytes);
    out.shares("Size by kind", &image.kinds, image.totals.bytes);
    if image.has_files() {
        out.shares("Not owned by a package", &image.unowned, image.totals.bytes);
        privileged(image, &mut out);
        users(image, &mut out);
        services(image, &mut out);
    }
    out.list(
        "Keys",
        image.keys.iter().map(|key| format!("{:<10} {}", key.kind, key.name)).collect(),
    );
    if let Some(built) = &image.built {
        let total: f64 = built.steps.iter().map(|(_, seconds)| seconds).sum();
        let title = format!(
            "Built in {total:.1} s by osimg {} with {}",
            built.osimg, built.package_manager
        );
        out.list(
            &title,
            built.steps.iter().map(|(step, seconds)| format!("{seconds:>9.3} s  {step}")).collect(),
        );
        out.list("Warnings of the build", built.warnings.clone());
    }
    if image.origin.kind == OriginKind::Manifest {
        out.line(
            "\nA manifest does not list files: use the tarball for directories, owners, users and \
             services.",
        );
    }
    out.text.trim_end().to_owned()
}

struct Text {
    text: String,
    rows: usize,
}

impl Text {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn field(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.line(&format!("{name:<14}{}", crate::text::line(value)));
        }
    }

    fn heading(&mut self, title: &str, count: usize) {
        let shown = if count > self.rows {
            format!(" (the first {} of {count})", self.rows)
        } else {
            String::new()
        };
        self.line(&format!("\n{title}{shown}"));
    }

    fn list(&mut self, title: &str, rows: Vec<String>) {
        if rows.is_empty() {
            return;
        }
        self.heading(title, rows.len());
        for row in rows.iter().take(self.rows) {
            self.line(&format!("  {}", crate::text::line(row)));
        }
    }

    fn shares(&mut self, title: &str, shares: &[Share], total: u64) {
        let rows = shares
            .iter()
            .map(|share| {
                let percent =
                    if total == 0 { 0.0 } else { share.bytes as f64 * 100.0 / total as f64 };
                let files = if share.files > 1 {
                    format!("  ({} files)", share.files)
                } else {
                    String::new()
                };
                format!("{:>12} {percent:>5.1} %  {}{files}", bytes(share.bytes), share.name)
            })
            .collect();
        self.list(title, rows);
    }
}

fn identity(image: &Image, out: &mut Text) {
    out.field("image", &image.title());
    let os = image
        .os_release
        .get("PRETTY_NAME")
        .or_else(|| image.os_release.get("NAME"))
        .cloned()
        .unwrap_or_default();
    let id = match (image.os_release.get("ID"), image.os_release.get("VERSION_ID")) {
        (Some(id), Some(version)) => format!(" ({id} {version})"),
        (Some(id), None) => format!(" ({id})"),
        _ => String::new(),
    };
    out.field("system", &format!("{os}{id}"));
    out.field("architecture", image.arch.as_deref().unwrap_or_default());
    out.field(
        "kernels",
        &if image.kernels.is_empty() { "none".to_owned() } else { image.kernels.join(", ") },
    );
    out.field("packages", &format!("{}, rpmdb {}", image.packages.len(), image.rpmdb));
    let t = &image.totals;
    let mut files = format!("{} members, {}", t.members, bytes(t.bytes));
    if image.has_files() {
        let _ = write!(
            files,
            ": {} files, {} directories, {} symbolic links, {} hard links, {} devices and pipes",
            t.files, t.directories, t.symlinks, t.hard_links, t.special
        );
    }
    out.field("contents", &files);
    let policy = image
        .policy
        .as_ref()
        .map_or("no policy".to_owned(), |policy| format!("{}, {}", policy.name, policy.mode));
    let policy = if image.has_files() { format!("{policy}; ") } else { String::new() };
    out.field("SELinux", &format!("{policy}{} of {} members labelled", t.labels, t.members));
    out.field("machine-id", image.machine_id.as_deref().unwrap_or_default());
    if let (Some(format), Some(size)) = (&image.origin.format, image.origin.bytes) {
        out.field("tarball", &format!("{format}, {}", bytes(size)));
    }
    out.field("sha256", image.origin.sha256.as_deref().unwrap_or_default());
}

fn privileged(image: &Image, out: &mut Text) {
    let rows = image
        .privileged
        .iter()
        .map(|p| {
            format!(
                "{} {:<16} {}  {}{}",
                p.mode,
                p.owner,
                p.path,
                p.powers.join(", "),
                owner(p.package.as_deref())
            )
        })
        .collect();
    out.list("setuid, setgid and capabilities", rows);
}

fn owner(package: Option<&str>) -> String {
    package.map_or_else(|| "  (no package)".to_owned(), |name| format!("  ({name})"))
}

fn users(image: &Image, out: &mut Text) {
    let (login, system): (Vec<_>, Vec<_>) = image
        .users
        .iter()
        .partition(|user| user.login || user.ssh_keys > 0 || user.password == "set");
    let mut rows: Vec<String> = login
        .iter()
        .map(|user| {
            let keys = if user.ssh_keys > 0 {
                format!(", {} ssh keys", user.ssh_keys)
            } else {
                String::new()
            };
            format!(
                "{:<16} {:>6}  {}  password {}{keys}",
                user.name, user.uid, user.shell, user.password
            )
        })
        .collect();
    if !system.is_empty() {
        let names = system.iter().map(|user| user.name.as_str()).collect::<Vec<_>>().join(" ");
        rows.push(format!("and {} that cannot log in: {names}", system.len()));
    }
    out.list("Users", rows);
}

fn services(image: &Image, out: &mut Text) {
    let (enabled, fixed): (Vec<_>, Vec<_>) =
        image.services.iter().partition(|service| service.state == "enabled");
    let mut rows: Vec<String> = enabled
        .iter()
        .map(|service| format!("{:<44} {}", service.unit, service.wanted_by.join(" ")))
        .collect();
    if !fixed.is_empty() {
        rows.push(format!("and {} that packages start by default", fixed.len()));
    }
    out.list("Enabled units", rows);
}
