//! A recipe's statements: typed, with their positions, and printable in canonical form.

use super::commands::Command;
use super::diagnostic::Span;
use super::lexer::quote;
use serde::Serialize;
use std::fmt;

/// An argument of a line: a package, glob, provide, path, file, URL, `@group`, module or group
/// name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Spec {
    /// The word that dnf receives.
    pub text: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

/// The kind of an `install` spec, as far as its spelling shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SpecKind {
    /// A package name, NEVRA, glob or provide.
    Package,
    /// A path inside the image that some package owns.
    Path,
    /// A package file on the build host; the caller resolves relative paths.
    File,
    /// The URL of a package file.
    Url,
    /// `@name`: a group, or an environment with that id.
    Group,
    /// `@^name`: an environment.
    Environment,
    /// `@name:stream` or `@name/profile`: a module.
    Module,
}

impl Spec {
    /// The kind of the spec.
    #[must_use]
    pub fn kind(&self) -> SpecKind {
        let text = self.text.as_str();
        if text.starts_with("@^") {
            SpecKind::Environment
        } else if let Some(name) = text.strip_prefix('@') {
            if name.contains([':', '/']) { SpecKind::Module } else { SpecKind::Group }
        } else if ["http://", "https://", "ftp://", "file://"]
            .iter()
            .any(|scheme| text.starts_with(scheme))
        {
            SpecKind::Url
        } else if text.ends_with(".rpm") {
            // dnf's shell treats every such word as a file, even without a directory.
            SpecKind::File
        } else if text.starts_with('/') || text.starts_with("*/") {
            SpecKind::Path
        } else {
            SpecKind::Package
        }
    }
}

impl Spec {
    /// Whether it is a package file, on the build host or at a URL.
    #[must_use]
    pub(crate) fn is_package_file(&self) -> bool {
        matches!(self.kind(), SpecKind::File | SpecKind::Url)
    }
}

/// The action of a `group` line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupAction {
    /// Installs the group's packages.
    Install,
    /// Removes them.
    Remove,
    /// Upgrades them and installs new members of the group.
    Upgrade,
    /// Records the group as installed, without its packages.
    MarkInstall,
    /// Removes the record of the group, and keeps its packages.
    MarkRemove,
}

/// The action of a `module` line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModuleAction {
    /// Makes a stream available.
    Enable,
    /// Hides the module.
    Disable,
    /// Resets whether it is enabled or disabled.
    Reset,
    /// Installs a profile.
    Install,
    /// Removes a profile's packages.
    Remove,
    /// Upgrades a profile's packages.
    Upgrade,
    /// Changes the stream together with its packages.
    SwitchTo,
}

/// The action of a `mark` line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MarkAction {
    /// As requested by the user.
    Install,
    /// As a dependency.
    Remove,
    /// As a member of a group.
    Group,
}

/// The action of a `repo` line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RepoAction {
    /// Enables the repositories from here on.
    Enable,
    /// Disables them from here on.
    Disable,
}

/// The contents of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are terms of dnf's own documentation")]
pub enum StatementKind {
    /// `install`
    Install { specs: Vec<Spec> },
    /// `remove`
    Remove { specs: Vec<Spec> },
    /// `upgrade` or `upgrade-minimal`; no specs means everything. `filters` are options such as
    /// `--security`.
    Upgrade { minimal: bool, filters: Vec<String>, specs: Vec<Spec> },
    /// `downgrade`
    Downgrade { specs: Vec<Spec> },
    /// `reinstall`
    Reinstall { specs: Vec<Spec> },
    /// `distro-sync`; no specs means everything.
    DistroSync { specs: Vec<Spec> },
    /// `autoremove`; no specs means all packages that are no longer needed.
    Autoremove { specs: Vec<Spec> },
    /// `swap`
    Swap { remove: Spec, install: Spec },
    /// `group`
    Group { action: GroupAction, with_optional: bool, groups: Vec<Spec> },
    /// `module`
    Module { action: ModuleAction, specs: Vec<Spec> },
    /// `mark`
    Mark { action: MarkAction, specs: Vec<Spec> },
    /// `config`; `repo` is the part before the dot of a key such as `updates.exclude`.
    Config { repo: Option<String>, key: String, value: String },
    /// `repo`
    Repo { action: RepoAction, globs: Vec<Spec> },
    /// `ts run`
    Run,
    /// `ts reset`
    Reset,
    /// `ts solve`: has no effect.
    Solve,
    /// `ts list`: has no effect.
    List,
    /// A command that only displays something: has no effect.
    Query { name: String },
    /// `exit`
    Exit,
}

/// A line of a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The line, from 1.
    pub line: usize,
    /// The span of its words.
    pub span: Span,
    /// Its contents.
    pub kind: StatementKind,
}

impl GroupAction {
    pub(super) fn find(word: &str) -> Option<Self> {
        Some(match word {
            "install" => Self::Install,
            "remove" | "erase" => Self::Remove,
            "upgrade" | "update" => Self::Upgrade,
            "mark-install" => Self::MarkInstall,
            "mark-remove" => Self::MarkRemove,
            _ => return None,
        })
    }

    fn words(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Remove => "remove",
            Self::Upgrade => "upgrade",
            Self::MarkInstall => "mark install",
            Self::MarkRemove => "mark remove",
        }
    }
}

impl ModuleAction {
    pub(super) fn find(word: &str) -> Option<Self> {
        Some(match word {
            "enable" => Self::Enable,
            "disable" => Self::Disable,
            "reset" => Self::Reset,
            "install" => Self::Install,
            "remove" | "erase" => Self::Remove,
            "update" | "upgrade" => Self::Upgrade,
            "switch-to" => Self::SwitchTo,
            _ => return None,
        })
    }

    fn word(self) -> &'static str {
        match self {
            Self::Enable => "enable",
            Self::Disable => "disable",
            Self::Reset => "reset",
            Self::Install => "install",
            Self::Remove => "remove",
            Self::Upgrade => "update",
            Self::SwitchTo => "switch-to",
        }
    }
}

impl MarkAction {
    pub(super) fn find(word: &str) -> Option<Self> {
        Some(match word {
            "install" => Self::Install,
            "remove" => Self::Remove,
            "group" => Self::Group,
            _ => return None,
        })
    }

    fn word(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Remove => "remove",
            Self::Group => "group",
        }
    }
}

impl StatementKind {
    /// The statement for a command with only specs as arguments; `None` for other commands.
    pub(super) fn from_specs(command: Command, specs: Vec<Spec>) -> Option<Self> {
        Some(match command {
            Command::Install => Self::Install { specs },
            Command::Remove => Self::Remove { specs },
            Command::Downgrade => Self::Downgrade { specs },
            Command::Reinstall => Self::Reinstall { specs },
            Command::DistroSync => Self::DistroSync { specs },
            Command::Autoremove => Self::Autoremove { specs },
            _ => return None,
        })
    }
}

/// The canonical line. It is parsed to the same statement, except for positions.
impl fmt::Display for StatementKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |f: &mut fmt::Formatter<'_>, head: &str, specs: &[Spec]| {
            f.write_str(head)?;
            specs.iter().try_for_each(|spec| write!(f, " {}", quote(&spec.text)))
        };
        match self {
            Self::Install { specs } => line(f, "install", specs),
            Self::Remove { specs } => line(f, "remove", specs),
            Self::Upgrade { minimal, filters, specs } => {
                f.write_str(if *minimal { "upgrade-minimal" } else { "upgrade" })?;
                filters.iter().try_for_each(|filter| write!(f, " {}", quote(filter)))?;
                line(f, "", specs)
            }
            Self::Downgrade { specs } => line(f, "downgrade", specs),
            Self::Reinstall { specs } => line(f, "reinstall", specs),
            Self::DistroSync { specs } => line(f, "distro-sync", specs),
            Self::Autoremove { specs } => line(f, "autoremove", specs),
            Self::Swap { remove, install } => {
                write!(f, "swap {} {}", quote(&remove.text), quote(&install.text))
            }
            Self::Group { action, with_optional, groups } => {
                write!(
                    f,
                    "group {}{}",
                    action.words(),
                    if *with_optional { " --with-optional" } else { "" }
                )?;
                line(f, "", groups)
            }
            Self::Module { action, specs } => line(f, &format!("module {}", action.word()), specs),
            Self::Mark { action, specs } => line(f, &format!("mark {}", action.word()), specs),
            Self::Config { repo: None, key, value } => write!(f, "config {key} {}", quote(value)),
            Self::Config { repo: Some(repo), key, value } => {
                write!(f, "config {} {}", quote(&format!("{repo}.{key}")), quote(value))
            }
            Self::Repo { action: RepoAction::Enable, globs } => line(f, "repo enable", globs),
            Self::Repo { action: RepoAction::Disable, globs } => line(f, "repo disable", globs),
            Self::Run => f.write_str("ts run"),
            Self::Reset => f.write_str("ts reset"),
            Self::Solve => f.write_str("ts solve"),
            Self::List => f.write_str("ts list"),
            Self::Query { name } => f.write_str(name),
            Self::Exit => f.write_str("exit"),
        }
    }
}
