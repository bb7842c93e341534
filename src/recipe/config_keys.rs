//! The keys and values that a recipe's `config` lines may set, and the reasons for refusing others.

use crate::suggest;

/// The allowed values of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    Bool,
    /// Only a true value: false would weaken the build.
    True(&'static str),
    Number {
        least: u32,
        most: u32,
    },
    OneOf(&'static [&'static str]),
    /// Names separated by commas or blanks.
    List,
    /// A list of only these names.
    ListOf(&'static [&'static str]),
}

const TRUST: &str = "declare keys under [[packages.key]] in the settings file; `verify = \
                     \"digest-only\"` under [packages] turns signature checks off";

/// Keys for the whole run.
const MAIN: &[(&str, Value)] = &[
    ("best", Value::Bool),
    ("install_weak_deps", Value::Bool),
    ("clean_requirements_on_remove", Value::Bool),
    ("obsoletes", Value::Bool),
    ("keepcache", Value::Bool),
    ("exclude", Value::List),
    ("excludepkgs", Value::List),
    ("group_package_types", Value::ListOf(&["mandatory", "default", "conditional", "optional"])),
    ("multilib_policy", Value::OneOf(&["best", "all"])),
    ("tsflags", Value::OneOf(&["nodocs"])),
    ("debuglevel", Value::Number { least: 0, most: 10 }),
    ("errorlevel", Value::Number { least: 0, most: 10 }),
    ("max_parallel_downloads", Value::Number { least: 1, most: 20 }),
    ("assumeyes", Value::True("osimg never asks")),
    ("gpgcheck", Value::True(TRUST)),
    ("localpkg_gpgcheck", Value::True(TRUST)),
    ("strict", Value::True("if anything in a recipe is unavailable, the build fails")),
];

/// Keys of one repository, written `REPOSITORY.key`.
const REPO: &[(&str, Value)] = &[
    ("enabled", Value::Bool),
    ("exclude", Value::List),
    ("excludepkgs", Value::List),
    ("includepkgs", Value::List),
    ("module_hotfixes", Value::Bool),
    ("priority", Value::Number { least: 1, most: 99 }),
    ("cost", Value::Number { least: 0, most: 1_000_000 }),
    ("gpgcheck", Value::True(TRUST)),
    (
        "sslverify",
        Value::True(
            "set `ca` to the authority's certificate under [[packages.repository]] in the \
             settings file",
        ),
    ),
];

/// Keys of dnf that a recipe must not set, with the alternative.
fn refusal(key: &str) -> Option<&'static str> {
    Some(match key {
        "installroot" => {
            "remove it; osimg sets the install root (dnf would install into this directory, even \
             the build host's root)"
        }
        "reposdir" | "varsdir" | "cachedir" | "system_cachedir" | "persistdir" | "logdir"
        | "config_file_path" | "pluginpath" | "pluginconfpath" => {
            "remove it; osimg decides where the package manager reads and writes"
        }
        "plugins" => "remove it; plugins of the build host are not used for images",
        "repo_gpgcheck" => "set `signed_metadata = true` for the repository in the settings file",
        "releasever" => "set `releasever` under [packages] in the settings file",
        "arch" | "basearch" | "ignorearch" => "set `arch` under [packages] in the settings file",
        "baseurl" | "metalink" | "mirrorlist" | "mediaid" | "name" => {
            "declare the repository in the settings file, under [[packages.repository]]"
        }
        "proxy" | "proxy_username" | "proxy_password" | "username" | "password" | "sslcacert"
        | "sslclientcert" | "sslclientkey" => {
            "set it for the repository in the settings file, under [[packages.repository]]"
        }
        "gpgkey" => TRUST,
        "skip_if_unavailable" | "skip_broken" => {
            "remove it; if a repository is unreachable, the build fails"
        }
        "assumeno" => "remove it; `osimg plan` shows what a build would do",
        "includepkgs" => "include the repository: `config REPOSITORY.includepkgs NAMES`",
        "enabled" => "write `repo enable ID` or `repo disable ID`",
        "retries" | "timeout" | "minrate" | "throttle" | "bandwidth" | "ip_resolve"
        | "fastestmirror" | "metadata_expire" | "deltarpm" | "zchunk" => {
            "remove it; osimg decides how packages are fetched"
        }
        _ => return None,
    })
}

/// Why a `config` line is refused, and how to fix it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub part: Part,
    pub message: String,
    pub hint: String,
}

/// Which part of the line is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Key,
    Value,
}

/// Checks a key and its value; `repo` is the part before the key's dot.
pub(super) fn check(repo: Option<&str>, key: &str, value: &str) -> Result<(), Wrong> {
    let table = if repo.is_some() { REPO } else { MAIN };
    let Some((_, kind)) = table.iter().find(|(name, _)| *name == key) else {
        return Err(unknown(table, key));
    };
    let wrong = |message: String, hint: String| Err(Wrong { part: Part::Value, message, hint });
    match *kind {
        Value::Bool if parse_bool(value).is_some() => Ok(()),
        Value::Bool => wrong(
            format!("`{key}` must be 1 or 0"),
            format!("write `config {key} 1` or `config {key} 0`"),
        ),
        Value::True(reason) => match parse_bool(value) {
            Some(true) => Ok(()),
            Some(false) => {
                wrong(format!("`{key}` cannot be turned off in a recipe"), reason.to_owned())
            }
            None => {
                wrong(format!("`{key}` must be 1 or 0"), format!("remove the line; `{key}` is on"))
            }
        },
        Value::Number { least, most } => match value.parse::<u32>() {
            Ok(number) if (least..=most).contains(&number) => Ok(()),
            _ => wrong(
                format!("`{key}` must be a number from {least} to {most}"),
                format!("for example, write `config {key} {most}`"),
            ),
        },
        Value::OneOf(values) if values.contains(&value) => Ok(()),
        Value::OneOf(values) => wrong(
            format!("`{key}` can only be {} in a recipe", values.join(" or ")),
            format!("write `config {key} {}`", values.join(" | ")),
        ),
        Value::List => match names(value).find(|name| name.starts_with('-')) {
            Some(_) => wrong(
                "an option in a list of names".to_owned(),
                "write only the names, separated by commas".to_owned(),
            ),
            None => Ok(()),
        },
        Value::ListOf(known) => match names(value).find(|name| !known.contains(name)) {
            Some(_) => wrong(
                format!("`{key}` can only contain {}", known.join(", ")),
                format!("for example, write `config {key} {}`", known.join(",")),
            ),
            None if names(value).next().is_none() => {
                wrong(format!("`{key}` cannot be empty"), "remove the line".to_owned())
            }
            None => Ok(()),
        },
    }
}

fn unknown(table: &[(&'static str, Value)], key: &str) -> Wrong {
    let known = table.iter().map(|(name, _)| *name);
    let (message, hint) = match refusal(key) {
        Some(reason) => (format!("a recipe cannot set `{key}`"), reason.to_owned()),
        None => (
            format!("unknown configuration key {}", super::diagnostic::quoted(key)),
            match suggest::nearest(key, known.clone()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("a recipe can set {}", known.collect::<Vec<_>>().join(", ")),
            },
        ),
    };
    Wrong { part: Part::Key, message, hint }
}

/// dnf's words for true and false.
pub(super) fn parse_bool(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "yes" | "true" | "on" => Some(true),
        "0" | "no" | "false" | "off" => Some(false),
        _ => None,
    }
}

/// The names of a list value.
pub(super) fn names(value: &str) -> impl Iterator<Item = &str> {
    value.split([',', ' ', '\t']).filter(|name| !name.is_empty())
}

/// Whether dnf reads a key only while it resolves the whole transaction. Then the position of the
/// line in the transaction does not matter.
pub(super) fn read_when_solving(repo: Option<&str>, key: &str) -> bool {
    repo.is_none()
        && matches!(
            key,
            "best"
                | "install_weak_deps"
                | "tsflags"
                | "keepcache"
                | "debuglevel"
                | "errorlevel"
                | "max_parallel_downloads"
                | "assumeyes"
                | "clean_requirements_on_remove"
                | "gpgcheck"
                | "localpkg_gpgcheck"
                | "strict"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowed_keys_accept_only_valid_values() {
        let good = [
            (None, "install_weak_deps", "0"),
            (None, "install_weak_deps", "False"),
            (None, "tsflags", "nodocs"),
            (None, "best", "1"),
            (None, "group_package_types", "mandatory,default"),
            (None, "exclude", "a,b*"),
            (None, "excludepkgs", ""),
            (None, "multilib_policy", "best"),
            (None, "obsoletes", "1"),
            (None, "keepcache", "1"),
            (None, "debuglevel", "2"),
            (None, "max_parallel_downloads", "10"),
            (None, "gpgcheck", "1"),
            (Some("updates"), "exclude", "kernel*"),
        ];
        for (repo, key, value) in good {
            assert_eq!(check(repo, key, value), Ok(()), "{key} {value}");
        }
        let bad = [
            (None, "install_weak_deps", "maybe"),
            (None, "tsflags", "noscripts"),
            (None, "group_package_types", "all"),
            (None, "debuglevel", "-1"),
            (None, "max_parallel_downloads", "99"),
            (None, "gpgcheck", "0"),
            (Some("updates"), "gpgcheck", "no"),
            (None, "exclude", "-x"),
        ];
        for (repo, key, value) in bad {
            assert_eq!(check(repo, key, value).unwrap_err().part, Part::Value, "{key} {value}");
        }
    }

    #[test]
    fn forbidden_keys_have_a_reason_and_unknown_ones_a_suggestion() {
        for key in [
            "installroot",
            "reposdir",
            "cachedir",
            "persistdir",
            "plugins",
            "repo_gpgcheck",
            "releasever",
            "skip_if_unavailable",
        ] {
            let wrong = check(None, key, "/").unwrap_err();
            assert!(
                wrong.part == Part::Key && wrong.message.starts_with("a recipe cannot set"),
                "{key}"
            );
        }
        assert_eq!(
            check(None, "instal_weak_deps", "0").unwrap_err().hint,
            "did you mean `install_weak_deps`?"
        );
    }
}
