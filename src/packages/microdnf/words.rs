//! What microdnf is told: the words of its command line, its configuration, and what of a recipe it has no words for.

use serde_json::Value;

use super::super::driver::{Phase, refuse};
use super::super::{Extent, Job, given, request};
use crate::error::{ExitCode, Failure, Result};
use crate::recipe::{GroupAction, RepoAction, RepositorySource, Spec, Transaction};
use crate::sandbox::{Mount, OWN};

/// What does the rest.
pub(super) const HINT: &str =
    "bootstrap = true under [packages] makes the image with the dnf of its own release; microdnf then installs that one alone";

/// Where the configuration is in the sandbox.
pub(super) const CONFIG: &str = "/osimg/dnf.conf";
/// Where the repositories are named in it.
pub(super) const REPOSITORIES: &str = "/osimg/repositories";

/// One command for one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words<'a> {
    /// microdnf's command.
    pub command: &'static str,
    /// What it is about.
    pub specs: Vec<&'a Spec>,
}

/// The words of a transaction.
///
/// # Errors
/// [`ExitCode::Recipe`] with the line of what microdnf cannot do.
pub(super) fn of<'a>(job: &Job<'_>, transaction: &'a Transaction) -> Result<Words<'a>> {
    let no = |line: usize, what: &str| -> Result<Words<'a>> { Err(refuse(job, line, what, HINT).into()) };
    if job.extent != Extent::Whole || job.only.is_some() {
        return no(transaction.line, "microdnf makes no locks");
    }
    if let Some(group) = transaction.groups.first().or(transaction.group_changes.first().map(|change| &change.group)) {
        let marks = transaction.group_changes.iter().any(|c| matches!(c.action, GroupAction::MarkInstall | GroupAction::MarkRemove));
        return no(group.line, if marks { "microdnf marks nothing" } else { "microdnf knows no groups of packages" });
    }
    if let Some(module) = transaction.modules.first() {
        return no(module.specs.first().map_or(transaction.line, |spec| spec.line), "osimg chooses no modules with microdnf");
    }
    if let Some(mark) = transaction.mark.first() {
        return no(mark.specs.first().map_or(transaction.line, |spec| spec.line), "microdnf marks nothing");
    }
    if let Some(specs) = &transaction.autoremove {
        return no(specs.first().map_or(transaction.line, |spec| spec.line), "microdnf has no autoremove");
    }
    if let Some(spec) = transaction.downgrade.first() {
        return no(spec.line, "microdnf has no downgrade; it installs an older version that is named with it: install NAME-VERSION");
    }
    if let Some(swap) = transaction.swap.first() {
        return no(swap.remove.line, "microdnf cannot remove and install in one transaction: give each a `run` of its own");
    }
    if let Some(upgrade) = transaction.upgrade.iter().find(|upgrade| upgrade.minimal || !upgrade.filters.is_empty()) {
        return no(upgrade.specs.first().map_or(transaction.line, |spec| spec.line), "microdnf knows no advisories");
    }
    let named = transaction.reinstall.iter().chain(transaction.upgrade.iter().flat_map(|upgrade| &upgrade.specs));
    let files = named.chain(transaction.distro_sync.iter().flatten()).filter(|spec| spec.is_package_file());
    if let Some(spec) = given::specs(transaction).chain(files).next() {
        return no(spec.line, "microdnf takes packages from repositories alone, not from files");
    }
    let mut found = Vec::new();
    let mut add = |command, specs: Vec<&'a Spec>| found.push(Words { command, specs });
    if !transaction.install.is_empty() {
        add("install", transaction.install.iter().collect());
    }
    if !transaction.remove.is_empty() {
        add("remove", transaction.remove.iter().collect());
    }
    // `upgrade` with names and one for everything are one: everything.
    if !transaction.upgrade.is_empty() {
        let everything = transaction.upgrade.iter().any(|upgrade| upgrade.specs.is_empty());
        add("upgrade", if everything { Vec::new() } else { transaction.upgrade.iter().flat_map(|upgrade| &upgrade.specs).collect() });
    }
    if !transaction.reinstall.is_empty() {
        add("reinstall", transaction.reinstall.iter().collect());
    }
    if let Some(specs) = &transaction.distro_sync {
        add("distro-sync", specs.iter().collect());
    }
    let line = |words: &Words<'_>| words.specs.first().map_or(transaction.line, |spec| spec.line);
    match found.as_slice() {
        [_] => {}
        [first, second, ..] => {
            let what = format!("microdnf cannot {} and {} in one transaction: give each a `run` of its own", first.command, second.command);
            return no(line(first).max(line(second)), &what);
        }
        [] => return no(transaction.line, "microdnf is asked for nothing"),
    }
    if let Some(spec) = found.iter().flat_map(|words| &words.specs).find(|spec| spec.text.starts_with('-')) {
        return no(spec.line, "microdnf would take this for an option");
    }
    if let Some((name, value)) = transaction.config.iter().find(|(name, value)| !is_said(name, value)) {
        return no(transaction.line, &format!("microdnf cannot be told '{name} = {value}' for one transaction"));
    }
    found.pop().map_or_else(|| no(transaction.line, "microdnf is asked for nothing"), Ok)
}

/// Whether a setting of the recipe is one that microdnf takes, or makes no difference.
fn is_said(name: &str, value: &str) -> bool {
    match name {
        "install_weak_deps" | "best" => truth(value).is_some(),
        // As microdnf has it anyway.
        "strict" | "obsoletes" => truth(value) == Some(true),
        "clean_requirements_on_remove" => truth(value) == Some(false),
        // About talk, and about what osimg decides.
        "debuglevel" | "errorlevel" | "assumeyes" | "keepcache" | "max_parallel_downloads" => true,
        _ => false,
    }
}

fn truth(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "yes" | "true" | "on" => Some(true),
        "0" | "no" | "false" | "off" => Some(false),
        _ => None,
    }
}

/// A setting of the recipe, or what is usual.
fn flag(transaction: Option<&Transaction>, name: &str, usual: bool) -> bool {
    let said = transaction.and_then(|t| t.config.iter().rev().find(|(key, _)| key == name)).and_then(|(_, value)| truth(value));
    said.unwrap_or(usual)
}

/// The configuration and the repositories as files of the sandbox.
///
/// # Errors
/// As the settings of the repositories; [`ExitCode::Recipe`] for what an INI file cannot say.
pub(super) fn files(job: &Job<'_>, phase: Phase, transaction: Option<&Transaction>) -> Result<Vec<Mount>> {
    let weak = flag(transaction, "install_weak_deps", job.settings.install_weak_deps.unwrap_or(true));
    let exclude: Vec<&str> = job.settings.exclude.iter().chain(transaction.iter().flat_map(|t| &t.exclude)).map(String::as_str).collect();
    let main = format!(
        "[main]\nassumeyes=1\nkeepcache=1\nplugins=0\nbest={}\ninstall_weak_deps={}\nexcludepkgs={}\n{COMMON}",
        u8::from(flag(transaction, "best", true)),
        u8::from(weak),
        line(&exclude.join(","))?,
    );
    let (values, mut mounts) = request::repositories(job, phase, transaction)?;
    let mut text = String::new();
    for value in &values {
        let id = value.get("id").and_then(Value::as_str).unwrap_or_default();
        let usual = value.get("enabled").and_then(Value::as_bool).unwrap_or(true);
        section(&mut text, value, enabled(transaction, id, usual))?;
    }
    mounts.push(Mount::File { target: CONFIG.into(), content: main });
    mounts.push(Mount::File { target: format!("{REPOSITORIES}/osimg.repo").into(), content: text });
    Ok(mounts)
}

/// What every repository has: metadata that were read once stay as they are until they are asked for anew, and rpm checks signatures.
const COMMON: &str = "metadata_expire=-1\nskip_if_unavailable=0\nretries=10\ntimeout=30\nminrate=1000\n";

fn section(text: &mut String, value: &Value, enabled: bool) -> Result<()> {
    let Some(options) = value.as_object() else { return Ok(()) };
    let id = value.get("id").and_then(Value::as_str).unwrap_or_default();
    text.push_str(&format!("[{}]\nenabled={}\ngpgcheck=0\n{COMMON}", line(id)?, u8::from(enabled)));
    for (key, value) in options.iter().filter(|(key, _)| !["id", "enabled", "signed_metadata"].contains(&key.as_str())) {
        let said = match value {
            Value::Null => continue,
            Value::Bool(on) => u8::from(*on).to_string(),
            Value::Array(list) if list.is_empty() => continue,
            Value::Array(list) => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        text.push_str(&format!("{key}={}\n", line(&said)?));
    }
    Ok(())
}

/// Text that stays on its line.
fn line(text: &str) -> Result<&str> {
    if text.contains(|c: char| c.is_control()) {
        return Err(Failure::new(ExitCode::Recipe, format!("writing microdnf's configuration: {text:?} has more than one line")).into());
    }
    Ok(text)
}

/// Whether a repository is used, by the last line of the recipe that is about it.
pub(super) fn enabled(transaction: Option<&Transaction>, id: &str, usual: bool) -> bool {
    let last = transaction.and_then(|t| t.repos.iter().rev().find(|change| matches(&change.glob, id)));
    last.map_or(usual, |change| change.action == RepoAction::Enable)
}

/// Refuses what no repository can answer.
///
/// # Errors
/// [`ExitCode::Recipe`] when no repository is left, [`ExitCode::Transaction`] with the line of a glob that none matches.
pub(super) fn check_repositories(job: &Job<'_>, transaction: &Transaction) -> Result<()> {
    let repositories = &job.settings.repositories;
    if repositories.is_empty() {
        if let Some(change) = transaction.repos.first() {
            return Err(refuse(job, change.line, "osimg switches no repositories of the host's for microdnf", HINT).into());
        }
        if job.settings.releasever.is_none() {
            // It would look for it in the empty root.
            return Err(Failure::new(ExitCode::Recipe, "with the host's own repositories microdnf must be told the release")
                .hint("say it: releasever = \"9\" under [packages], or --releasever 9")
                .into());
        }
        return Ok(());
    }
    if let Some(signed) = repositories.iter().find(|repository| repository.signed_metadata) {
        let message = format!("the repository '{}' has signed_metadata, which osimg does not have microdnf check", signed.id);
        return Err(Failure::new(ExitCode::Recipe, message).hint(HINT).into());
    }
    if let Some(change) =
        transaction.repos.iter().find(|change| !repositories.iter().any(|repository| matches(&change.glob, &repository.id)))
    {
        let message = format!("{}:{}: no repository matches '{}'", job.recipe.display(), change.line, change.glob);
        return Err(Failure::new(ExitCode::Transaction, message).into());
    }
    if !repositories.iter().any(|repository| enabled(Some(transaction), &repository.id, repository.enabled)) {
        return Err(Failure::new(ExitCode::Recipe, "no repository is enabled")
            .hint("name repositories in the settings beside the recipe ([[packages.repository]]), or on the command line: --repo ID=URL")
            .into());
    }
    Ok(())
}

/// The folder of a repository that is one of this host, which microdnf reads where it is.
pub(super) fn folder(source: &RepositorySource) -> Option<&str> {
    match source {
        RepositorySource::Baseurl(urls) => urls.first().and_then(|url| url.strip_prefix("file://")),
        RepositorySource::Metalink(_) | RepositorySource::Mirrorlist(_) => None,
    }
}

/// Whether the shell's pattern is that text: `*`, `?` and `[...]`.
pub(super) fn matches(glob: &str, text: &str) -> bool {
    let mut pattern = String::from("^");
    let mut chars = glob.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' => pattern.push_str(".*"),
            '?' => pattern.push('.'),
            '[' => {
                let inside: String = chars.by_ref().take_while(|c| *c != ']').collect();
                let (not, inside) = inside.strip_prefix('!').map_or(("", inside.as_str()), |rest| ("^", rest));
                pattern.push_str(&format!("[{not}{}]", inside.replace('\\', "\\\\").replace('[', "\\[")));
            }
            c => pattern.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    pattern.push('$');
    regex::Regex::new(&pattern).is_ok_and(|pattern| pattern.is_match(text))
}

/// The folder of the variables of the host's repositories, which microdnf looks for below the install root.
pub(super) fn variables(job: &Job<'_>) -> String {
    let folder = if job.settings.repositories.is_empty() { "/etc/dnf/vars".to_owned() } else { format!("{OWN}/no-variables") };
    format!("/..{folder}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_the_shells() {
        for (glob, text, is) in [
            ("upd*", "updates", true),
            ("updates", "updates-testing", false),
            ("*", "a", true),
            ("a.b", "axb", false),
            ("r?po", "repo", true),
            ("[ab]x", "bx", true),
            ("[!ab]x", "bx", false),
        ] {
            assert_eq!(matches(glob, text), is, "{glob} {text}");
        }
    }

    #[test]
    fn text_of_several_lines_cannot_become_options() {
        assert!(line("x\ngpgcheck=0").is_err());
        assert_eq!(line("a,b").ok(), Some("a,b"));
    }
}
