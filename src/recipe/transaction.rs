//! The transactions of a recipe, as input for the package manager.

use super::statement::{
    GroupAction, MarkAction, ModuleAction, RepoAction, Spec, SpecKind, StatementKind,
};
use serde::Serialize;

/// All statements between two `ts run` lines, for one run of the package manager.
///
/// `repos`, `config` and `exclude` contain all settings so far, including those before earlier
/// transactions, because dnf's shell keeps them too. Each transaction can therefore run on its own.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Transaction {
    /// The line of its first statement, from 1.
    pub line: usize,
    /// Repositories to enable or disable, in order; later ones win.
    pub repos: Vec<RepoChange>,
    /// Settings in the form of `--setopt`: `key` or `repository.key`, and the value. Keys are
    /// unique.
    pub config: Vec<(String, String)>,
    /// Names and globs of packages that must not be installed.
    pub exclude: Vec<String>,
    /// Module changes, which are applied first.
    pub modules: Vec<ModuleChange>,
    /// Packages to install. Package files come first, because dnf 4 requires that.
    pub install: Vec<Spec>,
    /// Groups and environments to install.
    pub groups: Vec<GroupSpec>,
    /// Groups to remove, upgrade or mark.
    pub group_changes: Vec<GroupChange>,
    /// Packages to remove.
    pub remove: Vec<Spec>,
    /// Packages to upgrade.
    pub upgrade: Vec<Upgrade>,
    /// Packages to downgrade.
    pub downgrade: Vec<Spec>,
    /// Packages to reinstall.
    pub reinstall: Vec<Spec>,
    /// Packages to synchronize with the repositories; an empty list means everything.
    pub distro_sync: Option<Vec<Spec>>,
    /// Packages to swap.
    pub swap: Vec<Swap>,
    /// Packages to remove if they are not needed; an empty list means everything.
    pub autoremove: Option<Vec<Spec>>,
    /// Changes of reasons. Such a transaction contains nothing else.
    pub mark: Vec<Mark>,
}

/// A repository, or a glob of repositories, to enable or disable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RepoChange {
    /// The action.
    pub action: RepoAction,
    /// The id or glob.
    pub glob: String,
    /// The line, from 1.
    pub line: usize,
}

/// A change of module streams or profiles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModuleChange {
    /// The action.
    pub action: ModuleAction,
    /// Module specs such as `nodejs:18/minimal`, without `@`.
    pub specs: Vec<Spec>,
}

/// The possible meanings of a group's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupScope {
    /// A group or an environment, whichever matches.
    Either,
    /// An environment: it was written `@^name`.
    Environment,
}

/// A group or environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupSpec {
    /// Its id or name as in the recipe, without `@` or `@^`; it may be a glob.
    pub name: String,
    /// The possible meanings of the name.
    pub scope: GroupScope,
    /// Whether its optional packages are installed too.
    pub with_optional: bool,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

/// A change of a group other than its installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupChange {
    /// The action.
    pub action: GroupAction,
    /// The group.
    pub group: GroupSpec,
}

/// An `upgrade` line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Upgrade {
    /// Whether to stop at the version of an advisory (`upgrade-minimal`).
    pub minimal: bool,
    /// Options such as `--security`.
    pub filters: Vec<String>,
    /// The packages; an empty list means everything.
    pub specs: Vec<Spec>,
}

/// A `swap` line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Swap {
    /// The package to remove.
    pub remove: Spec,
    /// The package to install.
    pub install: Spec,
}

/// A `mark` line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// The new reason.
    pub action: MarkAction,
    /// The packages.
    pub specs: Vec<Spec>,
}

impl GroupSpec {
    /// The group for a spec: `@name`, `@^name`, or the plain name in a `group` line.
    pub(super) fn new(spec: &Spec, with_optional: bool) -> Self {
        let (name, scope) = match spec.text.strip_prefix("@^") {
            Some(name) => (name, GroupScope::Environment),
            None => (spec.text.strip_prefix('@').unwrap_or(&spec.text), GroupScope::Either),
        };
        Self { name: name.to_owned(), scope, with_optional, line: spec.line, column: spec.column }
    }
}

impl Transaction {
    /// Whether the transaction only installs, so that one `install` command is enough.
    #[must_use]
    pub fn is_install_only(&self) -> bool {
        self.installs()
            && self.modules.iter().all(|module| module.action == ModuleAction::Install)
            && self.group_changes.is_empty()
            && self.remove.is_empty()
            && self.upgrade.is_empty()
            && self.downgrade.is_empty()
            && self.reinstall.is_empty()
            && self.distro_sync.is_none()
            && self.swap.is_empty()
            && self.autoremove.is_none()
            && self.mark.is_empty()
    }

    /// Whether the transaction installs anything new.
    #[must_use]
    pub fn installs(&self) -> bool {
        !self.install.is_empty()
            || !self.groups.is_empty()
            || !self.swap.is_empty()
            || self.modules.iter().any(|m| m.action == ModuleAction::Install)
    }

    /// The statements for exactly this transaction, without the final `ts run`.
    #[must_use]
    pub fn statements(&self) -> Vec<StatementKind> {
        // Destructured completely, so that the compiler reports a field that is not printed.
        let Self {
            line,
            repos,
            config,
            exclude,
            modules,
            install,
            groups,
            group_changes,
            remove,
            upgrade,
            downgrade,
            reinstall,
            distro_sync,
            swap,
            autoremove,
            mark,
        } = self;
        let word = |text: &str| Spec { text: text.to_owned(), line: *line, column: 1 };
        let group = |group: &GroupSpec, action| match (group.scope, action) {
            // Only these two statements can name an environment.
            (GroupScope::Environment, GroupAction::Install) => {
                StatementKind::Install { specs: vec![word(&format!("@^{}", group.name))] }
            }
            (GroupScope::Environment, GroupAction::Remove) => {
                StatementKind::Remove { specs: vec![word(&format!("@^{}", group.name))] }
            }
            _ => StatementKind::Group {
                action,
                with_optional: group.with_optional,
                groups: vec![word(&group.name)],
            },
        };
        let mut all = Vec::new();
        all.extend(repos.iter().map(|change| StatementKind::Repo {
            action: change.action,
            globs: vec![word(&change.glob)],
        }));
        let set = |key: &str, value: &str| StatementKind::Config {
            repo: None,
            key: key.to_owned(),
            value: value.to_owned(),
        };
        all.extend(config.iter().map(|(key, value)| set(key, value)));
        all.extend((!exclude.is_empty()).then(|| set("exclude", &exclude.join(","))));
        all.extend(modules.iter().map(|change| StatementKind::Module {
            action: change.action,
            specs: change.specs.clone(),
        }));
        let some = |specs: &[Spec]| (!specs.is_empty()).then(|| specs.to_vec());
        all.extend(groups.iter().map(|wanted| group(wanted, GroupAction::Install)));
        all.extend(some(install).map(|specs| StatementKind::Install { specs }));
        all.extend(group_changes.iter().map(|change| group(&change.group, change.action)));
        all.extend(some(remove).map(|specs| StatementKind::Remove { specs }));
        all.extend(upgrade.iter().cloned().map(|Upgrade { minimal, filters, specs }| {
            StatementKind::Upgrade { minimal, filters, specs }
        }));
        all.extend(some(downgrade).map(|specs| StatementKind::Downgrade { specs }));
        all.extend(some(reinstall).map(|specs| StatementKind::Reinstall { specs }));
        all.extend(distro_sync.clone().map(|specs| StatementKind::DistroSync { specs }));
        all.extend(
            swap.iter()
                .cloned()
                .map(|Swap { remove, install }| StatementKind::Swap { remove, install }),
        );
        all.extend(autoremove.clone().map(|specs| StatementKind::Autoremove { specs }));
        all.extend(
            mark.iter()
                .cloned()
                .map(|Mark { action, specs }| StatementKind::Mark { action, specs }),
        );
        all
    }

    /// Adds the specs of an `install` line to the lists of their kinds.
    pub(super) fn add_installs(&mut self, specs: &[Spec]) {
        for spec in specs {
            match spec.kind() {
                SpecKind::Group | SpecKind::Environment => {
                    self.groups.push(GroupSpec::new(spec, false))
                }
                SpecKind::Module => self.modules.push(module_of(ModuleAction::Install, spec)),
                SpecKind::Package | SpecKind::Path | SpecKind::File | SpecKind::Url => {
                    self.install.push(spec.clone())
                }
            }
        }
    }

    /// Adds the specs of a `remove` line.
    pub(super) fn add_removals(&mut self, specs: &[Spec]) {
        for spec in specs {
            match spec.kind() {
                SpecKind::Group | SpecKind::Environment => {
                    self.group_changes.push(GroupChange {
                        action: GroupAction::Remove,
                        group: GroupSpec::new(spec, false),
                    });
                }
                SpecKind::Module => self.modules.push(module_of(ModuleAction::Remove, spec)),
                SpecKind::Package | SpecKind::Path | SpecKind::File | SpecKind::Url => {
                    self.remove.push(spec.clone())
                }
            }
        }
    }
}

fn module_of(action: ModuleAction, spec: &Spec) -> ModuleChange {
    let text = spec.text.strip_prefix('@').unwrap_or(&spec.text).to_owned();
    ModuleChange { action, specs: vec![Spec { text, ..spec.clone() }] }
}
