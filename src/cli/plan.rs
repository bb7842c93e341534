//! `osimg plan`: shows what a build would do, without doing it.

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::overrides::{Decided, Overrides};
use super::resolve;
use super::shared::report_diagnostic;
use super::target::Target;
use crate::build::outline::{Outline, keys, outline, package_manager};
use crate::customise::{self, scripts, scripts::ScriptRecord};
use crate::error::{ExitCode, Result, explain};
use crate::packages::{check_repositories, known_dbpath};
use crate::recipe::{Recipe, RepositorySource, Transaction, When};
use crate::report::Report;
use crate::sandbox::{Devices, Network, Plan};
use crate::secrets;
use crate::set::check_names;

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    target: Target,
    /// Print only the recipe, as a plain script for dnf's shell: without `include` and variables
    #[arg(long)]
    expand: bool,
    /// Resolve with the package manager: show packages, versions, sizes and groups, or what is
    /// missing. Reads the repositories' metadata and no package. Without --cache, the metadata are
    /// kept only if the default cache exists
    #[arg(long, conflicts_with = "expand")]
    resolve: bool,
    /// The /dev that scriptlets would see
    #[arg(long = "dev", value_parser = super::shared::devices(), default_value = "private",
        value_name = "KIND")]
    devices: Devices,
}

impl PlanArgs {
    pub(crate) fn run(&self, report: &Report, json: bool) -> Result<ExitCode> {
        if self.resolve {
            // Before any thread: a user namespace is entered by a process of one.
            super::act_as_root(report, None)?;
        }
        let mut decided = self.overrides.decide()?;
        self.target.apply(&mut decided.recipe.settings);
        if self.expand {
            let script = decided.recipe.script.to_string();
            if json {
                super::print_json(report, &json!({ "script": secrets::url(&script) }))?;
            } else {
                super::print(report, script.trim_end())?;
            }
            return Ok(ExitCode::Done);
        }
        let lowered = decided.recipe.script.lower()?;
        customise::check(&decided.recipe.settings)?;
        let place = self.place(&decided.recipe)?;
        let scripts = scripts::records(&decided.recipe.settings.scripts)?;
        let resolved = if self.resolve {
            Some(resolve::resolve(&decided, &lowered.transactions, &self.target, report)?)
        } else {
            None
        };
        // A build that cannot run here can still be shown.
        let cache = self.target.cache().unwrap_or_else(|_| "CACHE".into());
        let settings = &decided.recipe.settings.packages;
        let outlines =
            outline(&decided.recipe, &lowered.transactions, self.devices, &cache, report);
        if json {
            let value = json!({
                "recipe": decided.recipe.path,
                "output": place,
                "script": secrets::url(&decided.recipe.script.to_string()),
                "settings": decided.recipe.settings,
                "transactions": lowered.transactions,
                "diagnostics": lowered.diagnostics,
                "formats": decided.formats,
                "scripts": scripts,
                "resolved": resolved.as_ref().map(resolve::json),
                "keys": keys(settings, &lowered.transactions)
                    .unwrap_or_default(),
                "package_manager": package_manager(settings),
                "sandbox": outlines.as_ref().map_or_else(|_| Vec::new(),
                    |outlines| sandbox(outlines)),
                "commands": outlines.as_ref().map_or_else(|_| Vec::new(),
                    |outlines| commands(outlines)),
                "refused": outlines.as_ref().err().map(|error| explain(error).message),
            });
            super::print_json(report, &value)?;
            check_repositories(settings, &lowered.transactions)?;
            return Ok(ExitCode::Done);
        }
        for diagnostic in &lowered.diagnostics {
            report_diagnostic(report, decided.recipe.script.origins(), diagnostic);
        }
        let resolved = resolved
            .as_ref()
            .map_or_else(String::new, |lock| resolve::text(lock).trim_end().to_owned());
        super::print(
            report,
            (text(&decided, &lowered.transactions, &scripts, outlines.as_deref(), &place)
                + "\n"
                + &resolved)
                .trim_end(),
        )?;
        check_repositories(settings, &lowered.transactions)?;
        Ok(ExitCode::Done)
    }

    /// The file or the registry that the image goes to.
    fn place(&self, recipe: &Recipe) -> Result<String> {
        if let Some(file) = &self.target.output {
            return Ok(file.display().to_string());
        }
        let version = recipe.settings.image.version.as_deref().unwrap_or_default();
        check_names(&recipe.name(), version)?;
        Ok(self.target.registry(&recipe.settings)?.to_string())
    }
}

fn text(
    decided: &Decided,
    transactions: &[Transaction],
    scripts: &[ScriptRecord],
    outlines: Result<&[Outline], &anyhow::Error>,
    place: &str,
) -> String {
    let settings = &decided.recipe.settings;
    let version = settings.image.version.as_deref();
    let version = version.map_or_else(String::new, |version| format!(" version {version}"));
    let (path, name) = (decided.recipe.path.display(), decided.recipe.name());
    let mut text = format!("recipe {path} as image '{name}'{version}\n");
    for (index, transaction) in transactions.iter().enumerate() {
        text.push_str(&format!("\ntransaction {} (line {})\n", index + 1, transaction.line));
        for statement in transaction.statements() {
            text.push_str(&format!("  {statement}\n"));
        }
    }
    text.push_str("\nrepositories\n");
    if settings.packages.repositories.is_empty() {
        let found = check_repositories(&settings.packages, transactions);
        let shown = if found.is_ok() { "the host's own (/etc/yum.repos.d)" } else { "none" };
        text.push_str(&format!("  {shown}\n"));
    }
    for repository in &settings.packages.repositories {
        let place = match &repository.source {
            RepositorySource::Baseurl(urls) => {
                urls.iter().map(|url| secrets::url(url)).collect::<Vec<_>>().join(" ")
            }
            RepositorySource::Metalink(url) => format!("metalink {}", secrets::url(url)),
            RepositorySource::Mirrorlist(url) => format!("mirrorlist {}", secrets::url(url)),
        };
        let off = if repository.enabled { "" } else { " (off)" };
        text.push_str(&format!("  {}{off}: {place}\n", repository.id));
    }
    text.push_str("\nkeys\n");
    match keys(&settings.packages, transactions) {
        Ok(keys) if keys.is_empty() => text.push_str("  none pinned\n"),
        Ok(keys) => keys
            .iter()
            .for_each(|key| text.push_str(&format!("  {} from {}\n", key.fingerprint, key.origin))),
        Err(error) => text.push_str(&format!("  none: {}\n", explain(&error).message)),
    }
    if !scripts.is_empty() {
        text.push_str("\nscripts\n");
    }
    for script in scripts {
        let when = match script.when {
            When::AfterPackages => "after the packages",
            When::Last => "last",
        };
        let network = if script.network {
            ", with the host's network: the image is not reproducible"
        } else {
            ""
        };
        text.push_str(&format!(
            "  {}, {when}{network}: {} (sha256 {})\n",
            script.name, script.command, script.sha256
        ));
        script.files.iter().for_each(|file| {
            text.push_str(&format!("    /run/osimg/{} (sha256 {})\n", file.name, file.sha256))
        });
    }
    text.push_str(&format!("\npackage manager\n  {}\n", package_manager(&settings.packages)));
    text.push_str(&format!("  rpmdb in {} of the image\n", known_dbpath(&settings.packages)));
    match outlines {
        Ok(outlines) => {
            text.push_str("\nsandbox\n");
            sandbox(outlines).iter().for_each(|line| text.push_str(&format!("  {line}\n")));
            text.push_str("\ncommands in it\n");
            for Command { transaction, phase, command, .. } in commands(outlines) {
                text.push_str(&format!("  transaction {transaction}, {phase}: {command}\n"));
            }
        }
        Err(error) => text.push_str(&format!("\ncommands\n  none: {}\n", explain(error).message)),
    }
    let formats: Vec<String> = decided.formats.iter().map(ToString::to_string).collect();
    text.push_str(&format!(
        "\noutput {place}: {} at level {}, labels {}",
        formats.join(", "),
        decided.level,
        decided.selinux
    ));
    text
}

/// The view of the package manager's runs: the common part, and the part of each kind. Of each kind
/// the first is shown, for they are alike.
fn sandbox(outlines: &[Outline]) -> Vec<String> {
    let Some(Outline { download, install }) = outlines.first() else { return Vec::new() };
    let mut lines = vec![
        "mount, pid, ipc, uts and cgroup namespaces, all private; nine capabilities, a system \
         call filter"
            .to_owned(),
    ];
    let (downloading, installing) = (download.describe(), install.describe());
    let only = |all: &[String], others: &[String]| {
        all.iter().filter(|line| !others.contains(line)).cloned().collect::<Vec<_>>()
    };
    lines.extend(downloading.iter().filter(|line| installing.contains(line)).cloned());
    lines.push(
        "while packages are downloaded: the host's network, and no package code runs".to_owned(),
    );
    lines.extend(only(&downloading, &installing).iter().map(|line| format!("  {line}")));
    lines.push("while packages are installed: no network".to_owned());
    lines.extend(only(&installing, &downloading).iter().map(|line| format!("  {line}")));
    lines
}

/// A command of the package manager.
#[derive(Debug, Serialize)]
struct Command {
    transaction: usize,
    phase: &'static str,
    network: Network,
    /// The command line, ready to paste into a shell in that sandbox.
    command: String,
}

fn commands(outlines: &[Outline]) -> Vec<Command> {
    let of = |transaction, phase, plan: &Plan| Command {
        transaction,
        phase,
        network: plan.network,
        command: plan.command.quoted(),
    };
    let both = |(index, outline): (usize, &Outline)| {
        [of(index + 1, "download", &outline.download), of(index + 1, "install", &outline.install)]
    };
    outlines.iter().enumerate().flat_map(both).collect()
}
