//! The words a recipe's line may begin with: every command and alias of yum 3 and dnf 4, and why
//! some are refused.

use super::suggest;

/// What the first word of a line asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Install,
    Remove,
    Upgrade,
    UpgradeMinimal,
    Downgrade,
    Reinstall,
    DistroSync,
    Autoremove,
    Swap,
    /// `group` with a subcommand.
    Group,
    GroupInstall,
    GroupRemove,
    /// `groupupdate`, which installs.
    GroupUpdate,
    Module,
    Mark,
    /// `ts` with a subcommand.
    Transaction,
    Run,
    Solve,
    Repo,
    Config,
    /// Shows something and changes nothing.
    Query,
    Exit,
    /// A command of dnf that has no place in a recipe.
    Refused(Refusal),
}

impl Command {
    /// Whether package specs are all that follows.
    pub(super) fn takes_specs(self) -> bool {
        matches!(self, Self::Install | Self::Remove | Self::Downgrade | Self::Reinstall | Self::DistroSync | Self::Autoremove | Self::Swap)
    }
}

/// Why a command of dnf has no place in a recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Shell,
    Metadata,
    Plugin(&'static str),
}

const COMMANDS: &[(Command, &[&str])] = &[
    (Command::Install, &["install", "in", "localinstall", "install-n", "install-na", "install-nevra"]),
    (Command::Remove, &["remove", "erase", "rm", "remove-n", "remove-na", "remove-nevra", "erase-n", "erase-na", "erase-nevra"]),
    (Command::Upgrade, &["upgrade", "update", "up", "upgrade-to", "update-to", "localupdate"]),
    (Command::UpgradeMinimal, &["upgrade-minimal", "update-minimal", "up-min"]),
    (Command::Downgrade, &["downgrade", "dg"]),
    (Command::Reinstall, &["reinstall", "rei"]),
    (Command::DistroSync, &["distro-sync", "distrosync", "distribution-synchronization", "dsync", "distupgrade"]),
    (Command::Autoremove, &["autoremove", "autoremove-n", "autoremove-na", "autoremove-nevra"]),
    (Command::Swap, &["swap"]),
    (Command::Group, &["group", "groups", "grp"]),
    (Command::GroupInstall, &["groupinstall"]),
    (Command::GroupRemove, &["groupremove", "grouperase"]),
    (Command::GroupUpdate, &["groupupdate"]),
    (Command::Module, &["module"]),
    (Command::Mark, &["mark"]),
    (Command::Transaction, &["ts", "transaction"]),
    (Command::Run, &["run"]),
    (Command::Solve, &["resolvedep"]),
    (Command::Repo, &["repo", "repository"]),
    (Command::Config, &["config"]),
    (Command::Exit, &["exit", "quit"]),
    (
        Command::Query,
        &[
            "list",
            "ls",
            "info",
            "if",
            "search",
            "se",
            "provides",
            "whatprovides",
            "wp",
            "prov",
            "repolist",
            "repoinfo",
            "repoquery",
            "rq",
            "check",
            "check-update",
            "check-upgrade",
            "deplist",
            "updateinfo",
            "history",
            "hist",
            "help",
            "alias",
            "grouplist",
            "groupinfo",
        ],
    ),
    (Command::Refused(Refusal::Shell), &["shell", "sh"]),
    (Command::Refused(Refusal::Metadata), &["makecache", "mc", "clean"]),
    (
        Command::Refused(Refusal::Plugin("declare the repository in the settings file, under [[packages.repository]]")),
        &["config-manager", "copr"],
    ),
    (
        Command::Refused(Refusal::Plugin("leave it out; it does not change an image")),
        &[
            "download",
            "reposync",
            "needs-restarting",
            "repoclosure",
            "repodiff",
            "repograph",
            "offline-upgrade",
            "system-upgrade",
            "upgrade-offline",
        ],
    ),
    (Command::Refused(Refusal::Plugin("name the packages in an install line")), &["builddep", "debuginfo-install"]),
    (Command::Refused(Refusal::Plugin("give the exact versions in the install line, or build with --locked")), &["versionlock"]),
];

/// The command of a line's first word; names are exact and lower case.
pub(super) fn find(word: &str) -> Option<Command> {
    COMMANDS.iter().find(|(_, names)| names.contains(&word)).map(|(command, _)| *command)
}

/// The command name that `word` is most likely a misspelling of.
pub(super) fn nearest(word: &str) -> Option<&'static str> {
    if word == "rpm" {
        return None; // it is near `rm`, and means something else
    }
    let known = COMMANDS.iter().filter(|(command, _)| !matches!(command, Command::Refused(_))).flat_map(|(_, names)| names.iter().copied());
    suggest::nearest(word, known)
}

/// What to do about an option word inside a line. dnf's shell reads such options and silently
/// ignores them.
pub(super) fn option_advice(option: &str) -> &'static str {
    let name = option.split('=').next().unwrap_or_default();
    match name {
        "-y" | "--assumeyes" => "leave it out; osimg never asks",
        "-q" | "--quiet" | "-v" | "--verbose" | "-d" | "--debuglevel" | "-e" | "--errorlevel" => {
            "leave it out; how much is said is chosen with `osimg -q` and `osimg -v`"
        }
        "-x" | "--exclude" | "--excludepkgs" => {
            "write `config exclude NAME` on a line before, or list it as `exclude` under [packages] in the settings file"
        }
        "--setopt" => "write `config KEY VALUE` on a line before",
        "--enablerepo" | "--enable-repo" => "write `repo enable ID` on a line before",
        "--disablerepo" | "--disable-repo" => "write `repo disable ID` on a line before",
        "--repo" | "--repoid" | "--repofrompath" => "declare the repository in the settings file, under [[packages.repository]]",
        "--nogpgcheck" | "--no-gpgchecks" => {
            "declare the keys in the settings file, under [[packages.key]]; `verify = \"digest-only\"` under [packages] gives signatures up"
        }
        "--installroot" | "--root" => "leave it out; osimg owns the install root",
        "--releasever" => "set `releasever` under [packages] in the settings file",
        "--forcearch" | "--arch" => "set `arch` under [packages] in the settings file",
        "--nodocs" | "--no-docs" => "set `docs = false` under [packages] in the settings file",
        "--nobest" | "--no-best" => "write `config best 0` on a line before",
        "--best" => "leave it out; osimg always takes the best, unless `config best 0` says otherwise",
        "--skip-broken" | "--skip-unavailable" => "leave it out; a recipe gets all that it asks for, or fails",
        "--with-optional" => "it belongs to `group install`",
        "--allowerasing" => "name what gives way in a `remove` or `swap` line",
        "--bugfix" | "--security" | "--enhancement" | "--newpackage" | "--advisory" | "--advisories" | "--bz" | "--bzs" | "--cve"
        | "--cves" | "--sec-severity" | "--secseverity" => "it belongs to `upgrade` and `upgrade-minimal`",
        "--downloadonly" | "--downloaddir" | "--destdir" | "-C" | "--cacheonly" | "--refresh" | "--noplugins" | "--no-plugins" | "-c"
        | "--config" | "-b" | "-R" | "-h" | "--help" | "--version" | "-4" | "-6" | "--comment" | "--color" => {
            "leave it out; osimg chooses how the package manager is run"
        }
        _ => "options have no place in a recipe's line; dnf's shell would ignore it silently",
    }
}

/// Whether dnf has a short option of exactly this spelling; any other `-word` is kickstart's way of
/// leaving a package out.
pub(super) fn is_short_option(word: &str) -> bool {
    matches!(word, "-y" | "-q" | "-v" | "-d" | "-e" | "-x" | "-C" | "-c" | "-b" | "-R" | "-h" | "-4" | "-6")
}

/// Whether an option narrows an upgrade to advisories; `--name=value` or alone.
pub(super) fn is_advisory_filter(word: &str) -> bool {
    match word.split_once('=') {
        None => matches!(word, "--bugfix" | "--security" | "--enhancement" | "--newpackage"),
        Some((name, value)) => {
            !value.is_empty()
                && matches!(
                    name,
                    "--advisory" | "--advisories" | "--bz" | "--bzs" | "--cve" | "--cves" | "--sec-severity" | "--secseverity"
                )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_stands_twice_in_the_table() {
        let mut seen = std::collections::BTreeSet::new();
        for name in COMMANDS.iter().flat_map(|(_, names)| *names) {
            assert!(seen.insert(name), "{name}");
            assert!(find(name).is_some());
        }
    }

    #[test]
    fn prefixes_and_capitals_are_no_commands() {
        for word in ["ins", "INSTALL", "Ts", "", "EOF", "\u{feff}install"] {
            assert_eq!(find(word), None, "{word}");
        }
    }
}
