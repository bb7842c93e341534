//! The text of `osimg plan`.

use serde::Serialize;
use serde_json::Value;
use std::fmt::{Display, Formatter, Result};

use super::overrides::Decided;
use crate::build::outline::{Outline, keys, package_manager};
use crate::customise::scripts::ScriptRecord;
use crate::error::explain;
use crate::packages::{check_repositories, known_dbpath};
use crate::recipe::{RepositorySource, Transaction, When};
use crate::sandbox::{Network, Plan};
use crate::secrets;

/// The longest value of a customization; more of it is cut.
const LONGEST_VALUE: usize = 60;

/// What a build would do, section by section.
pub(super) struct PlanText<'a> {
    pub(super) decided: &'a Decided,
    pub(super) transactions: &'a [Transaction],
    pub(super) scripts: &'a [ScriptRecord],
    pub(super) outlines: std::result::Result<&'a [Outline], &'a anyhow::Error>,
    pub(super) place: &'a str,
    /// Whether to show the sandbox and the package manager's commands.
    pub(super) details: bool,
}

impl Display for PlanText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.recipe(f)?;
        self.repositories(f)?;
        self.keys(f)?;
        self.customizations(f)?;
        self.scripts(f)?;
        self.package_manager(f)?;
        self.output(f)
    }
}

impl PlanText<'_> {
    fn recipe(&self, f: &mut Formatter<'_>) -> Result {
        let recipe = &self.decided.recipe;
        let version = recipe.settings.image.version.as_deref();
        let version = version.map_or_else(String::new, |version| format!(" version {version}"));
        writeln!(f, "recipe {} as image '{}'{version}", recipe.path.display(), recipe.name())?;
        for (index, transaction) in self.transactions.iter().enumerate() {
            writeln!(f, "\ntransaction {} (line {})", index + 1, transaction.line)?;
            for statement in transaction.statements() {
                writeln!(f, "  {statement}")?;
            }
        }
        Ok(())
    }

    fn repositories(&self, f: &mut Formatter<'_>) -> Result {
        let settings = &self.decided.recipe.settings.packages;
        writeln!(f, "\nrepositories")?;
        if settings.repositories.is_empty() {
            let found = check_repositories(settings, self.transactions);
            let shown = if found.is_ok() { "the host's own (/etc/yum.repos.d)" } else { "none" };
            writeln!(f, "  {shown}")?;
        }
        for repository in &settings.repositories {
            let place = match &repository.source {
                RepositorySource::Baseurl(urls) => {
                    urls.iter().map(|url| secrets::url(url)).collect::<Vec<_>>().join(" ")
                }
                RepositorySource::Metalink(url) => format!("metalink {}", secrets::url(url)),
                RepositorySource::Mirrorlist(url) => format!("mirrorlist {}", secrets::url(url)),
            };
            let off = if repository.enabled { "" } else { " (off)" };
            writeln!(f, "  {}{off}: {place}", repository.id)?;
        }
        Ok(())
    }

    fn keys(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "\nkeys")?;
        match keys(&self.decided.recipe.settings.packages, self.transactions) {
            Ok(keys) if keys.is_empty() => writeln!(f, "  none pinned"),
            Ok(keys) => keys
                .iter()
                .try_for_each(|key| writeln!(f, "  {} from {}", key.fingerprint, key.origin)),
            Err(error) => writeln!(f, "  none: {}", explain(&error).message),
        }
    }

    fn customizations(&self, f: &mut Formatter<'_>) -> Result {
        let lines = serde_json::to_value(&self.decided.recipe.settings.customizations)
            .map_or_else(|_| Vec::new(), |value| customizations(&value));
        if lines.is_empty() {
            return Ok(());
        }
        writeln!(f, "\ncustomizations")?;
        lines.iter().try_for_each(|line| writeln!(f, "  {}", crate::text::line(line)))
    }

    fn scripts(&self, f: &mut Formatter<'_>) -> Result {
        if !self.scripts.is_empty() {
            writeln!(f, "\nscripts")?;
        }
        for script in self.scripts {
            let when = match script.when {
                When::AfterPackages => "after the packages",
                When::Last => "last",
            };
            let network = if script.network {
                ", with the host's network: the image is not reproducible"
            } else {
                ""
            };
            let ScriptRecord { name, command, sha256, .. } = script;
            writeln!(f, "  {name}, {when}{network}: {command} (sha256 {sha256})")?;
            for file in &script.files {
                writeln!(f, "    /run/osimg/{} (sha256 {})", file.name, file.sha256)?;
            }
        }
        Ok(())
    }

    fn package_manager(&self, f: &mut Formatter<'_>) -> Result {
        let settings = &self.decided.recipe.settings.packages;
        writeln!(f, "\npackage manager\n  {}", package_manager(settings))?;
        writeln!(f, "  rpmdb in {} of the image", known_dbpath(settings))?;
        match self.outlines {
            Ok(_) if !self.details => Ok(()),
            Ok(outlines) => {
                writeln!(f, "\nsandbox")?;
                sandbox(outlines).iter().try_for_each(|line| writeln!(f, "  {line}"))?;
                writeln!(f, "\ncommands in it")?;
                commands(outlines).iter().try_for_each(|shown| {
                    let Command { transaction, phase, command, .. } = shown;
                    writeln!(f, "  transaction {transaction}, {phase}: {command}")
                })
            }
            Err(error) => writeln!(f, "\ncommands\n  none: {}", explain(error).message),
        }
    }

    fn output(&self, f: &mut Formatter<'_>) -> Result {
        let Decided { formats, level, selinux, .. } = self.decided;
        let formats = formats.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        writeln!(f, "\noutput {}: {formats} at level {level}, labels {selinux}", self.place)
    }
}

/// The view of the package manager's runs: the common part, and the part of each kind. Of each kind
/// the first is shown, for they are alike.
pub(super) fn sandbox(outlines: &[Outline]) -> Vec<String> {
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
pub(super) struct Command {
    transaction: usize,
    phase: &'static str,
    network: Network,
    /// The command line, ready to paste into a shell in that sandbox.
    command: String,
}

pub(super) fn commands(outlines: &[Outline]) -> Vec<Command> {
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

/// A line for each customization: what is not set is left out. Secrets are none of the value.
fn customizations(value: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for (key, value) in value.as_object().into_iter().flatten() {
        match value {
            Value::Array(tables) if tables.iter().all(Value::is_object) => {
                lines.extend(tables.iter().filter_map(short).map(|table| format!("{key}: {table}")))
            }
            other => lines.extend(short(other).map(|shown| format!("{key}: {shown}"))),
        }
    }
    lines
}

/// A value in one line; `None` if it is not set.
fn short(value: &Value) -> Option<String> {
    let joined =
        |parts: Vec<String>, between: &str| (!parts.is_empty()).then(|| parts.join(between));
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::Bool(true) => Some("yes".to_owned()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => {
            let line = text.lines().next().unwrap_or_default();
            let cut: String = line.chars().take(LONGEST_VALUE).collect();
            Some(if cut.len() < text.trim_end().len() { format!("{cut}…") } else { cut })
        }
        Value::Array(items) => joined(items.iter().filter_map(short).collect(), ", "),
        Value::Object(fields) => {
            let fields =
                fields.iter().filter_map(|(key, value)| Some(format!("{key} {}", short(value)?)));
            joined(fields.collect(), "; ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn customizations_are_shown_without_what_is_not_set() {
        let value = json!({
            "hostname": "node", "fips": false, "kernel": { "append": null }, "remove": [],
            "services": { "enabled": ["a", "b"], "masked": [] },
            "user": [
                { "name": "jane", "password": "(set)", "uid": 7, "groups": [] },
                { "name": "joe", "force_password_reset": true },
            ],
            "cacerts": { "pem_certs": ["-----BEGIN\nx\n"], "files": [] },
        });
        assert_eq!(
            customizations(&value),
            [
                "cacerts: pem_certs -----BEGIN…",
                "hostname: node",
                "services: enabled a, b",
                "user: name jane; password (set); uid 7",
                "user: force_password_reset yes; name joe",
            ]
        );
    }
}
