//! The keys of the host's own repositories: `gpgcheck=1` and `gpgkey=file://…` in .repo files and
//! in dnf.conf. A build requires these keys if the settings name neither repositories nor keys.
//!
//! Options are read as dnf reads them: from the repository, then from `[main]` in dnf.conf, then
//! dnf's default. The keys' paths may contain variables.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::PinnedKey;
use super::keys;
use crate::error::{ExitCode, Failure, Result};
use crate::recipe::lock;
use crate::recipe::lock::foreign::base_arch;
use crate::recipe::{PackageSettings, RepoAction, Transaction, Verify};

/// The directories of .repo files.
const REPOSITORIES: [&str; 3] =
    ["/etc/yum.repos.d", "/etc/distro.repos.d", "/usr/share/dnf5/repos.d"];
/// The files and directories with options of `[main]`, the strongest first. In a directory all
/// files count, and the last one wins.
const MAIN: [&str; 3] =
    ["/etc/dnf/dnf.conf", "/etc/dnf/libdnf5.conf.d", "/usr/share/dnf5/libdnf.conf.d"];
/// The directories of variables, one per file; later ones win.
const VARIABLES: [&str; 2] = ["/etc/yum/vars", "/etc/dnf/vars"];
/// The maximum size of such a file.
const LIMIT: u64 = 1 << 20;

/// Options of an INI file by section and name.
type Options = BTreeMap<String, BTreeMap<String, String>>;

/// The keys that sign the packages of the host's repositories; empty if the settings name keys or
/// repositories.
///
/// # Errors
/// [`ExitCode::Trust`] with every enabled repository that has no check or no usable key.
pub(crate) fn host_keys(
    settings: &PackageSettings,
    transactions: &[Transaction],
) -> Result<Vec<PinnedKey>> {
    if !settings.repositories.is_empty()
        || !settings.keys.is_empty()
        || settings.verify == Verify::DigestOnly
    {
        return Ok(Vec::new());
    }
    read(Path::new("/"), settings, transactions, u64::try_from(crate::calendar::now()).unwrap_or(0))
}

/// As [`host_keys`], for the host with its tree at `root`.
fn read(
    root: &Path,
    settings: &PackageSettings,
    transactions: &[Transaction],
    now: u64,
) -> Result<Vec<PinnedKey>> {
    let at = |path: &str| root.join(path.trim_start_matches('/'));
    let main = main_options(&at);
    let variables = variables(&at, settings);
    let (mut found, mut wrong): (Vec<PinnedKey>, Vec<String>) = (Vec::new(), Vec::new());
    for file in repository_files(&at) {
        for (id, options) in parse(&text(&file).unwrap_or_default()) {
            let option = |name: &str| options.get(name).or_else(|| main.get(name));
            let by_itself = options.get("enabled").is_none_or(|value| is_true(value));
            if id == "main" || !is_enabled(&id, by_itself, transactions) {
                continue;
            }
            let mut complain =
                |why: String| wrong.push(format!("{id} ({}): {why}", file.display()));
            if !option("pkg_gpgcheck")
                .or_else(|| option("gpgcheck"))
                .is_some_and(|value| is_true(value))
            {
                complain("gpgcheck is off".to_owned());
                continue;
            }
            let named = option("gpgkey").map_or("", String::as_str);
            let (keys, reasons) = repository_keys(&at, &substituted(named, &variables), now);
            if keys.is_empty() {
                complain(if reasons.is_empty() {
                    "gpgkey is not set".to_owned()
                } else {
                    reasons.join("; ")
                });
            }
            for key in keys {
                if !found.iter().any(|known| known.fingerprint == key.fingerprint) {
                    found.push(key);
                }
            }
        }
    }
    if wrong.is_empty() {
        return Ok(found);
    }
    let message = format!(
        "packages of the host's own repositories cannot be verified:\n  {}",
        wrong.join("\n  ")
    );
    Err(Failure::new(ExitCode::Trust, message)
        .hint(
            "set gpgcheck=1 and gpgkey=file:///… to a local file in the .repo file; or disable \
             the repository; or add repositories and keys to the settings \
             ([[packages.repository]], [[packages.key]]); or trust the servers: verify = \
             \"digest-only\" under [packages]",
        )
        .into())
}

/// A repository of the host's .repo files.
pub(super) struct HostRepository {
    pub id: String,
    /// Whether it is enabled unless the recipe changes that.
    pub enabled: bool,
    /// Whether its address depends on the release.
    pub needs_release: bool,
}

/// The repositories of the host with its tree at `root`.
///
/// # Errors
/// If a file cannot be read.
pub(super) fn host_repositories(root: &Path) -> Result<Vec<HostRepository>> {
    let at = |path: &str| root.join(path.trim_start_matches('/'));
    let mut found = Vec::new();
    for file in repository_files(&at) {
        for (id, options) in parse(&text(&file)?).into_iter().filter(|(id, _)| id != "main") {
            let address = ["baseurl", "metalink", "mirrorlist"];
            found.push(HostRepository {
                id,
                enabled: options.get("enabled").is_none_or(|value| is_true(value)),
                needs_release: address
                    .iter()
                    .any(|name| options.get(*name).is_some_and(|value| needs_release(value))),
            });
        }
    }
    Ok(found)
}

/// Whether the address contains the variable for the release, or a part of it.
pub(super) fn needs_release(address: &str) -> bool {
    address.contains("$releasever") || address.contains("${releasever")
}

/// The valid keys in the files of a `gpgkey` option, and the reasons why others are not valid.
fn repository_keys(
    at: &dyn Fn(&str) -> PathBuf,
    named: &str,
    now: u64,
) -> (Vec<PinnedKey>, Vec<String>) {
    let (mut found, mut reasons) = (Vec::new(), Vec::new());
    for address in named.split([' ', '\t', '\n', ',']).filter(|address| !address.is_empty()) {
        let path = match address.split_once("://") {
            Some(("file", path)) => path,
            None if address.starts_with('/') => address,
            _ => {
                // Some addresses have a user and password; they are not shown.
                let shown = address.rsplit('@').next().unwrap_or_default();
                reasons.push(format!("the key {shown} is not a local file"));
                continue;
            }
        };
        match text(&at(path)) {
            Ok(text) => {
                let (keys, others) = keys::valid(path, &text, now);
                if keys.is_empty() && others.is_empty() {
                    reasons.push(format!("{path} has no armored OpenPGP public key"));
                }
                found.extend(keys);
                reasons.extend(others);
            }
            Err(error) => reasons.push(format!("the key file {path} cannot be read: {error}")),
        }
    }
    (found, reasons)
}

/// Whether any transaction uses the repository.
pub(super) fn is_enabled(id: &str, by_itself: bool, transactions: &[Transaction]) -> bool {
    let after = |transaction: &Transaction| {
        let mut changes = transaction.repos.iter().filter(|change| matches(&change.glob, id));
        changes.next_back().map_or(by_itself, |change| change.action == RepoAction::Enable)
    };
    if transactions.is_empty() { by_itself } else { transactions.iter().any(after) }
}

/// Whether a dnf glob matches the repository.
fn matches(glob: &str, id: &str) -> bool {
    let mut pattern = String::from("^");
    for character in glob.chars() {
        match character {
            '*' => pattern.push_str(".*"),
            '?' => pattern.push('.'),
            '[' | ']' | '-' => pattern.push(character),
            other => pattern.push_str(&regex::escape(&other.to_string())),
        }
    }
    pattern.push('$');
    regex::Regex::new(&pattern).map_or(glob == id, |pattern| pattern.is_match(id))
}

/// The files with repositories. dnf also reads those in its main file.
fn repository_files(at: &dyn Fn(&str) -> PathBuf) -> Vec<PathBuf> {
    let listed = REPOSITORIES.iter().flat_map(|directory| files(&at(directory), "repo"));
    [at(MAIN[0])].into_iter().filter(|file| file.exists()).chain(listed).collect()
}

fn main_options(at: &dyn Fn(&str) -> PathBuf) -> BTreeMap<String, String> {
    let mut options = BTreeMap::new();
    for place in MAIN.iter().rev().map(|place| at(place)) {
        let all = if place.is_dir() { files(&place, "conf") } else { vec![place] };
        for file in all {
            options
                .extend(parse(&text(&file).unwrap_or_default()).remove("main").unwrap_or_default());
        }
    }
    options
}

/// The variables for the keys' paths, as the drivers set them.
fn variables(at: &dyn Fn(&str) -> PathBuf, settings: &PackageSettings) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for file in VARIABLES.iter().flat_map(|directory| files(&at(directory), "")) {
        if let (Some(name), Ok(text)) = (file.file_name(), text(&file)) {
            variables.insert(
                name.to_string_lossy().into_owned(),
                text.lines().next().unwrap_or_default().trim().to_owned(),
            );
        }
    }
    let (arch, release) = (lock::arch(settings), settings.releasever.clone().unwrap_or_default());
    let (major, minor) = release.split_once('.').unwrap_or((&release, ""));
    variables.insert("basearch".to_owned(), base_arch(&arch).to_owned());
    variables.insert("releasever_major".to_owned(), major.to_owned());
    variables.insert("releasever_minor".to_owned(), minor.to_owned());
    variables.insert("arch".to_owned(), arch);
    variables.insert("releasever".to_owned(), release);
    variables.extend(settings.vars.clone());
    variables
}

/// The text with `$name` and `${name}` replaced; unknown variables are kept.
fn substituted(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let braces = after.strip_prefix('{').and_then(|inside| inside.split_once('}'));
        let plain =
            after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
        let (name, following) = braces.unwrap_or_else(|| after.split_at(plain));
        match variables.get(name) {
            Some(value) => {
                out.push_str(value);
                rest = following;
            }
            None => {
                out.push('$');
                rest = after;
            }
        }
    }
    out + rest
}

fn is_true(value: &str) -> bool {
    ["1", "yes", "true", "on"].contains(&value.trim().to_ascii_lowercase().as_str())
}

/// The options of an INI file. A line that begins with a blank continues the previous one.
fn parse(text: &str) -> Options {
    let (mut options, mut section, mut name) = (Options::new(), None::<String>, None::<String>);
    for line in text.lines() {
        if line.trim().is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(id) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            options.entry(id.0.to_owned()).or_default();
            (section, name) = (Some(id.0.to_owned()), None);
            continue;
        }
        let Some(values) = section.as_ref().and_then(|section| options.get_mut(section)) else {
            continue;
        };
        if line.starts_with([' ', '\t']) {
            if let Some(value) = name.as_ref().and_then(|name| values.get_mut(name)) {
                value.push('\n');
                value.push_str(line.trim());
            }
        } else if let Some((key, value)) = line.split_once('=') {
            values.insert(key.trim().to_owned(), value.trim().to_owned());
            name = Some(key.trim().to_owned());
        }
    }
    options
}

/// The files of a directory with this extension, sorted; empty if the directory does not exist.
fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.path());
    let fits = |path: &PathBuf| {
        extension.is_empty() || path.extension().is_some_and(|found| found == extension)
    };
    entries.filter(fits).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The text of a small regular file.
fn text(path: &Path) -> crate::error::Result<String> {
    Ok(String::from_utf8_lossy(&crate::files::read(path, LIMIT)?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::RepoChange;

    #[test]
    fn continued_lines_of_a_repo_file_are_read() {
        let options = parse(
            "# no\n[a]\nname = A B\ngpgkey=file:///k1,\n  file:///k2\n;x=1\n[b]\nenabled=0\n",
        );
        assert_eq!(options["a"]["gpgkey"], "file:///k1,\nfile:///k2");
        assert_eq!(
            (options["a"]["name"].as_str(), options["b"]["enabled"].as_str(), options["b"].len()),
            ("A B", "0", 1)
        );
    }

    #[test]
    fn variables_are_replaced_with_and_without_braces() {
        let variables = BTreeMap::from([
            ("releasever".to_owned(), "9".to_owned()),
            ("releasever_major".to_owned(), "8".to_owned()),
        ]);
        let text = "/KEY-$releasever-${releasever_major}$releasever_major/$other$";
        assert_eq!(substituted(text, &variables), "/KEY-9-88/$other$");
    }

    #[test]
    fn a_recipe_enables_and_disables_repositories() {
        let with = |changes: &[(RepoAction, &str)]| {
            let change = |(action, glob): &(RepoAction, &str)| RepoChange {
                action: *action,
                glob: (*glob).to_owned(),
                line: 1,
            };
            vec![Transaction {
                repos: changes.iter().map(change).collect(),
                ..Transaction::default()
            }]
        };
        let (on, off) = (RepoAction::Enable, RepoAction::Disable);
        assert!(is_enabled("x", true, &[]) && !is_enabled("x", false, &[]));
        assert!(is_enabled("x", false, &with(&[(off, "*"), (on, "[w-y]")])));
        assert!(!is_enabled("x", true, &with(&[(on, "x"), (off, "?")])));
        assert!(is_enabled("x", true, &with(&[(off, "x.*")])));
    }

    #[test]
    fn all_repositories_without_a_check_or_a_key_are_reported() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let directory = root.path().join("etc/yum.repos.d");
        std::fs::create_dir_all(&directory).expect("made");
        std::fs::create_dir(root.path().join("etc/dnf")).expect("made");
        let text = "[a]\ngpgcheck=0\n[b]\ngpgcheck=1\n[c]\ngpgcheck=1\ngpgkey=file:///none\n[d]\n\
            enabled=0\n";
        for file in ["etc/yum.repos.d/x.repo", "etc/dnf/dnf.conf"] {
            let file = root.path().join(file);
            std::fs::write(&file, format!("[main]\ngpgcheck=1\n{text}")).expect("written");
            all_are_reported(root.path());
            std::fs::remove_file(file).expect("removed");
        }
    }

    fn all_are_reported(root: &Path) {
        let error =
            read(root, &PackageSettings::default(), &[], 1).expect_err("refused").to_string();
        for part in
            ["a (", "gpgcheck is off", "b (", "gpgkey is not set", "c (", "/none cannot be read"]
        {
            assert!(error.contains(part), "{part} is missing in: {error}");
        }
        assert!(!error.contains("d ("), "{error}");
    }
}
