//! The commands of a recipe: every command and alias of yum 3 and dnf 4, and why some are refused.

use crate::suggest;

/// The command that a line begins with.
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
    /// Displays something and changes nothing.
    Query,
    Exit,
    /// A command of dnf that is not allowed in a recipe.
    Refused(Refusal),
}

impl Command {
    /// Whether the arguments are only package specs.
    pub(super) fn takes_specs(self) -> bool {
        matches!(
            self,
            Self::Install
                | Self::Remove
                | Self::Downgrade
                | Self::Reinstall
                | Self::DistroSync
                | Self::Autoremove
                | Self::Swap
        )
    }
}

/// Why a command of dnf is not allowed in a recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Shell,
    Metadata,
    Plugin(&'static str),
}

const COMMANDS: &[(Command, &[&str])] = &[
    (
        Command::Install,
        &["install", "in", "localinstall", "install-n", "install-na", "install-nevra"],
    ),
    (
        Command::Remove,
        &[
            "remove",
            "erase",
            "rm",
            "remove-n",
            "remove-na",
            "remove-nevra",
            "erase-n",
            "erase-na",
            "erase-nevra",
        ],
    ),
    (Command::Upgrade, &["upgrade", "update", "up", "upgrade-to", "update-to", "localupdate"]),
    (Command::UpgradeMinimal, &["upgrade-minimal", "update-minimal", "up-min"]),
    (Command::Downgrade, &["downgrade", "dg"]),
    (Command::Reinstall, &["reinstall", "rei"]),
    (
        Command::DistroSync,
        &["distro-sync", "distrosync", "distribution-synchronization", "dsync", "distupgrade"],
    ),
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
        Command::Refused(Refusal::Plugin(
            "declare the repository in the settings file, under [[packages.repository]]",
        )),
        &["config-manager", "copr"],
    ),
    (
        Command::Refused(Refusal::Plugin("remove it; it does not change an image")),
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
    (
        Command::Refused(Refusal::Plugin("list the packages in an install line")),
        &["builddep", "debuginfo-install"],
    ),
    (
        Command::Refused(Refusal::Plugin(
            "write the exact versions in the install line, or build with --locked",
        )),
        &["versionlock"],
    ),
];

/// The command for a line's first word; names are exact and lower-case.
pub(super) fn find(word: &str) -> Option<Command> {
    COMMANDS.iter().find(|(_, names)| names.contains(&word)).map(|(command, _)| *command)
}

/// The command name that was probably meant by a misspelled `word`.
pub(super) fn nearest(word: &str) -> Option<&'static str> {
    if word == "rpm" {
        return None; // it is similar to `rm`, but means something else
    }
    let known = COMMANDS
        .iter()
        .filter(|(command, _)| !matches!(command, Command::Refused(_)))
        .flat_map(|(_, names)| names.iter().copied());
    suggest::nearest(word, known)
}

/// The advice for an option inside a line. dnf's shell reads such options and silently ignores
/// them.
pub(super) fn option_advice(option: &str) -> &'static str {
    let name = option.split('=').next().unwrap_or_default();
    match name {
        "-y" | "--assumeyes" => "remove it; osimg never asks",
        "-q" | "--quiet" | "-v" | "--verbose" | "-d" | "--debuglevel" | "-e" | "--errorlevel" => {
            "remove it; `osimg -q` and `osimg -v` select the amount of output"
        }
        "-x" | "--exclude" | "--excludepkgs" => {
            "write `config exclude NAME` on an earlier line, or list it in `exclude` under \
             [packages] in the settings file"
        }
        "--setopt" => "write `config KEY VALUE` on an earlier line",
        "--enablerepo" | "--enable-repo" => "write `repo enable ID` on an earlier line",
        "--disablerepo" | "--disable-repo" => "write `repo disable ID` on an earlier line",
        "--repo" | "--repoid" | "--repofrompath" => {
            "declare the repository in the settings file, under [[packages.repository]]"
        }
        "--nogpgcheck" | "--no-gpgchecks" => {
            "declare the keys in the settings file, under [[packages.key]]; `verify = \
             \"digest-only\"` under [packages] turns signature checks off"
        }
        "--installroot" | "--root" => "remove it; osimg sets the install root",
        "--releasever" => "set `releasever` under [packages] in the settings file",
        "--forcearch" | "--arch" => "set `arch` under [packages] in the settings file",
        "--nodocs" | "--no-docs" => "set `docs = false` under [packages] in the settings file",
        "--nobest" | "--no-best" => "write `config best 0` on an earlier line",
        "--best" => "remove it; this is the default, unless `config best 0` is set",
        "--skip-broken" | "--skip-unavailable" => {
            "remove it; if anything in a recipe is unavailable, the build fails"
        }
        "--with-optional" => "it is an option of `group install`",
        "--allowerasing" => "list the packages to remove in a `remove` or `swap` line",
        "--bugfix" | "--security" | "--enhancement" | "--newpackage" | "--advisory"
        | "--advisories" | "--bz" | "--bzs" | "--cve" | "--cves" | "--sec-severity"
        | "--secseverity" => "it is an option of `upgrade` and `upgrade-minimal`",
        "--downloadonly" | "--downloaddir" | "--destdir" | "-C" | "--cacheonly" | "--refresh"
        | "--noplugins" | "--no-plugins" | "-c" | "--config" | "-b" | "-R" | "-h" | "--help"
        | "--version" | "-4" | "-6" | "--comment" | "--color" => {
            "remove it; osimg decides how the package manager runs"
        }
        _ => "options are not allowed in a recipe's line; dnf's shell would ignore it silently",
    }
}

/// Whether dnf has a short option with exactly this spelling. Any other `-word` is kickstart's
/// exclusion of a package.
pub(super) fn is_short_option(word: &str) -> bool {
    matches!(
        word,
        "-y" | "-q" | "-v" | "-d" | "-e" | "-x" | "-C" | "-c" | "-b" | "-R" | "-h" | "-4" | "-6"
    )
}

/// Whether an option limits an upgrade to advisories; with or without `=value`.
pub(super) fn is_advisory_filter(word: &str) -> bool {
    match word.split_once('=') {
        None => matches!(word, "--bugfix" | "--security" | "--enhancement" | "--newpackage"),
        Some((name, value)) => {
            !value.is_empty()
                && matches!(
                    name,
                    "--advisory"
                        | "--advisories"
                        | "--bz"
                        | "--bzs"
                        | "--cve"
                        | "--cves"
                        | "--sec-severity"
                        | "--secseverity"
                )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_in_the_table_twice() {
        let mut seen = std::collections::BTreeSet::new();
        for name in COMMANDS.iter().flat_map(|(_, names)| *names) {
            assert!(seen.insert(name), "{name}");
            assert!(find(name).is_some());
        }
    }

    #[test]
    fn prefixes_and_capitals_are_not_commands() {
        for word in ["ins", "INSTALL", "Ts", "", "EOF", "\u{feff}install"] {
            assert_eq!(find(word), None, "{word}");
        }
    }
}
