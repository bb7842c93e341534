//! A recipe's statements: typed, with their places, and written back in canonical form.

use super::commands::Command;
use super::diagnostic::Span;
use super::lexer::quote;
use serde::Serialize;
use std::fmt;

/// What a line names: a package, glob, provide, path, file, URL, `@group`, module or group name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Spec {
    /// The word as dnf gets it.
    pub text: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

/// What kind of thing an `install` spec names, as far as its spelling tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SpecKind {
    /// A package name, NEVRA, glob or provide.
    Package,
    /// A path inside the image that some package owns.
    Path,
    /// A package file on the build host; where a relative path begins is for the caller to say.
    File,
    /// The URL of a package file.
    Url,
    /// `@name`: a group, or an environment of that id.
    Group,
    /// `@^name`: an environment.
    Environment,
    /// `@name:stream` or `@name/profile`: a module.
    Module,
}

impl Spec {
    /// What kind of thing it names.
    #[must_use]
    pub fn kind(&self) -> SpecKind {
        let text = self.text.as_str();
        if text.starts_with("@^") {
            SpecKind::Environment
        } else if let Some(name) = text.strip_prefix('@') {
            if name.contains([':', '/']) { SpecKind::Module } else { SpecKind::Group }
        } else if ["http://", "https://", "ftp://", "file://"].iter().any(|scheme| text.starts_with(scheme)) {
            SpecKind::Url
        } else if text.ends_with(".rpm") {
            // dnf's shell takes every such word for a file, also one without a directory.
            SpecKind::File
        } else if text.starts_with('/') || text.starts_with("*/") {
            SpecKind::Path
        } else {
            SpecKind::Package
        }
    }
}

impl Spec {
    /// Whether it names a package file, on the build host or behind a URL.
    #[must_use]
    pub fn is_package_file(&self) -> bool {
        matches!(self.kind(), SpecKind::File | SpecKind::Url)
    }
}

/// What a `group` line does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupAction {
    /// Installs the group's packages.
    Install,
    /// Removes them.
    Remove,
    /// Brings them up to date and adds those that the group gained.
    Upgrade,
    /// Records the group as installed, without its packages.
    MarkInstall,
    /// Forgets the group, and keeps its packages.
    MarkRemove,
}

/// What a `module` line does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModuleAction {
    /// Makes a stream available.
    Enable,
    /// Hides the module.
    Disable,
    /// Forgets what was enabled or disabled.
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

/// What a `mark` line does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MarkAction {
    /// As if the person had asked for the package.
    Install,
    /// As if it had come as a dependency.
    Remove,
    /// As if a group had brought it.
    Group,
}

/// What a `repo` line does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RepoAction {
    /// Uses the repositories from here on.
    Enable,
    /// Does without them from here on.
    Disable,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the words of dnf's own documentation")]
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
    /// `autoremove`; no specs means all that nothing needs any more.
    Autoremove { specs: Vec<Spec> },
    /// `swap`
    Swap { remove: Spec, install: Spec },
    /// `group`
    Group { action: GroupAction, with_optional: bool, groups: Vec<Spec> },
    /// `module`
    Module { action: ModuleAction, specs: Vec<Spec> },
    /// `mark`
    Mark { action: MarkAction, specs: Vec<Spec> },
    /// `config`; `repo` is what stands before the dot of a key such as `updates.exclude`.
    Config { repo: Option<String>, key: String, value: String },
    /// `repo`
    Repo { action: RepoAction, globs: Vec<Spec> },
    /// `ts run`
    Run,
    /// `ts reset`
    Reset,
    /// `ts solve`: does nothing.
    Solve,
    /// `ts list`: does nothing.
    List,
    /// A command that only shows something: does nothing.
    Query { name: String },
    /// `exit`
    Exit,
}

/// A line of a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The line, from 1.
    pub line: usize,
    /// The place of its words.
    pub span: Span,
    /// What it says.
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
    /// The statement of a command that takes nothing but specs, or `None` for the others.
    pub(super) fn of_specs(command: Command, specs: Vec<Spec>) -> Option<Self> {
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

/// The canonical line: one that is parsed to the same statement, but for the places of its words.
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
            Self::Swap { remove, install } => write!(f, "swap {} {}", quote(&remove.text), quote(&install.text)),
            Self::Group { action, with_optional, groups } => {
                write!(f, "group {}{}", action.words(), if *with_optional { " --with-optional" } else { "" })?;
                line(f, "", groups)
            }
            Self::Module { action, specs } => line(f, &format!("module {}", action.word()), specs),
            Self::Mark { action, specs } => line(f, &format!("mark {}", action.word()), specs),
            Self::Config { repo: None, key, value } => write!(f, "config {key} {}", quote(value)),
            Self::Config { repo: Some(repo), key, value } => write!(f, "config {} {}", quote(&format!("{repo}.{key}")), quote(value)),
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
