//! `osimg plan`: what a build would do, without doing any of it.

use clap::Args;
use serde_json::json;
use std::path::Path;

use super::overrides::{Decided, Overrides};
use crate::error::{ExitCode, Result};
use crate::packages;
use crate::recipe::{
    Bootstrap, Diagnostic, KeySource, ManagerChoice, PackageSettings, RepoAction, RepositorySource, Severity, Transaction,
};
use crate::report::Report;
use crate::sandbox::{Devices, Network, ToolRoot};

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    overrides: Overrides,
    /// The /dev that scriptlets would see
    #[arg(long = "dev", value_enum, default_value = "private", value_name = "KIND")]
    devices: Devices,
}

impl PlanArgs {
    pub fn run(&self, report: &Report, json: bool) -> Result<ExitCode> {
        let decided = self.overrides.decide()?;
        let lowered = decided.recipe.script.lower()?;
        if json {
            let value = json!({
                "recipe": decided.recipe.path,
                "script": decided.recipe.script.to_string(),
                "settings": decided.recipe.settings,
                "transactions": lowered.transactions,
                "diagnostics": lowered.diagnostics,
                "formats": decided.formats,
                "sandbox": self.sandbox(&decided),
            });
            super::print(&serde_json::to_string_pretty(&value)?)?;
            return Ok(ExitCode::Done);
        }
        for diagnostic in &lowered.diagnostics {
            tell(report, &decided.recipe.path, diagnostic);
        }
        super::print(&self.text(&decided, &lowered.transactions))?;
        Ok(ExitCode::Done)
    }

    fn text(&self, decided: &Decided, transactions: &[Transaction]) -> String {
        let settings = &decided.recipe.settings;
        let mut text = format!("recipe {} as image '{}'\n", decided.recipe.path.display(), decided.recipe.name());
        for (index, transaction) in transactions.iter().enumerate() {
            text.push_str(&format!("\ntransaction {} (line {})\n", index + 1, transaction.line));
            for line in asked(transaction) {
                text.push_str(&format!("  {line}\n"));
            }
        }
        text.push_str("\nrepositories\n");
        if settings.packages.repositories.is_empty() {
            text.push_str("  the host's own (/etc/yum.repos.d)\n");
        }
        for repository in &settings.packages.repositories {
            let place = match &repository.source {
                RepositorySource::Baseurl(urls) => urls.join(" "),
                RepositorySource::Metalink(url) => format!("metalink {url}"),
                RepositorySource::Mirrorlist(url) => format!("mirrorlist {url}"),
            };
            let off = if repository.enabled { "" } else { " (off)" };
            text.push_str(&format!("  {}{off}: {place}\n", repository.id));
        }
        text.push_str("\nkeys\n");
        if settings.packages.keys.is_empty() {
            text.push_str("  none pinned\n");
        }
        for key in &settings.packages.keys {
            let place = match &key.source {
                KeySource::File(file) => file.display().to_string(),
                KeySource::Url(url) => url.clone(),
            };
            text.push_str(&format!("  {} from {place}\n", key.fingerprint));
        }
        text.push_str(&format!("\npackage manager\n  {}\n", package_manager(&settings.packages)));
        text.push_str("\nsandbox while packages are installed\n");
        for line in self.sandbox(decided) {
            text.push_str(&format!("  {line}\n"));
        }
        let formats: Vec<String> = decided.formats.iter().map(ToString::to_string).collect();
        text.push_str(&format!("\noutput {} at level {}, labels {}", formats.join(", "), decided.level, decided.selinux));
        text
    }

    fn sandbox(&self, decided: &Decided) -> Vec<String> {
        let mut lines = vec!["mount, pid, ipc, uts, cgroup and network namespaces of its own; no network".to_owned()];
        lines.push(match self.devices {
            Devices::Private => "/buildroot/dev: a private tmpfs with null, zero, full, random, urandom, tty and a devpts".to_owned(),
            Devices::Host => "/buildroot/dev: the host's, bound".to_owned(),
        });
        lines.push("/buildroot/proc of its own, /buildroot/sys read-only, /buildroot/run an empty tmpfs".to_owned());
        for mount in ToolRoot::host().mounts(Network::None) {
            if let crate::sandbox::Mount::Bind { source, target, .. } = mount {
                lines.push(format!("{} read-only from {}", target.display(), source.display()));
            }
        }
        let packages = &decided.recipe.settings.packages;
        let dbpath = packages.dbpath.clone().unwrap_or_else(|| packages::default_dbpath(packages.releasever.as_deref()).to_owned());
        lines.push(format!("rpmdb in {dbpath} of the image"));
        lines
    }
}

/// Who fills the image, or why nobody here does.
fn package_manager(settings: &PackageSettings) -> String {
    let of = |choice: ManagerChoice, tools: Result<ToolRoot>| {
        let found = tools.and_then(|tools| packages::open(choice, &tools));
        found.map_or_else(|error| format!("none: {error:#}"), |manager| manager.description().to_owned())
    };
    match &settings.bootstrap {
        Bootstrap::Host => of(settings.manager, Ok(ToolRoot::host())),
        Bootstrap::Root(folder) => format!("{} of {}", of(settings.manager, ToolRoot::at(folder)), folder.display()),
        Bootstrap::Made => {
            format!("the release's own, in a root that this host's makes: {}", of(ManagerChoice::Auto, Ok(ToolRoot::host())))
        }
    }
}

/// A transaction as the lines of a recipe that ask for just that.
fn asked(transaction: &Transaction) -> Vec<String> {
    let words = |specs: &[crate::recipe::Spec]| specs.iter().map(|s| crate::process::quote(&s.text)).collect::<Vec<_>>().join(" ");
    let mut lines = Vec::new();
    for change in &transaction.repos {
        let action = match change.action {
            RepoAction::Enable => "enable",
            RepoAction::Disable => "disable",
        };
        lines.push(format!("repo {action} {}", change.glob));
    }
    for (key, value) in &transaction.config {
        lines.push(format!("config {key} {value}"));
    }
    if !transaction.exclude.is_empty() {
        lines.push(format!("exclude {}", transaction.exclude.join(" ")));
    }
    for group in &transaction.groups {
        let optional = if group.with_optional { "--with-optional " } else { "" };
        lines.push(format!("group install {optional}{}", crate::process::quote(&group.name)));
    }
    for (verb, specs) in [
        ("install", &transaction.install),
        ("remove", &transaction.remove),
        ("downgrade", &transaction.downgrade),
        ("reinstall", &transaction.reinstall),
    ] {
        if !specs.is_empty() {
            lines.push(format!("{verb} {}", words(specs)));
        }
    }
    for upgrade in &transaction.upgrade {
        lines.push(format!("upgrade {}", words(&upgrade.specs)));
    }
    for swap in &transaction.swap {
        lines.push(format!("swap {} {}", swap.remove.text, swap.install.text));
    }
    if let Some(specs) = &transaction.distro_sync {
        lines.push(format!("distro-sync {}", words(specs)));
    }
    if let Some(specs) = &transaction.autoremove {
        lines.push(format!("autoremove {}", words(specs)));
    }
    lines
}

/// Passes on a remark on the recipe.
pub(super) fn tell(report: &Report, recipe: &Path, diagnostic: &Diagnostic) {
    let text = format!("{}:{}: {}", recipe.display(), diagnostic.line, diagnostic.text);
    match diagnostic.severity {
        Severity::Note => report.note(&text),
        Severity::Warning => report.warn(&text),
    }
}

/// `1 thing`, `2 things`.
pub(super) fn count(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}
