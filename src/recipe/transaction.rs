//! What a recipe asks the package manager for, transaction by transaction.

use super::statement::{GroupAction, MarkAction, ModuleAction, RepoAction, Spec, SpecKind, StatementKind};
use serde::Serialize;

/// Everything between two `ts run` lines, for one run of the package manager.
///
/// `repos`, `config` and `exclude` hold all that the recipe has said so far, earlier transactions
/// included, because dnf's shell keeps them too: a transaction can be run without knowing the ones
/// before it.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Transaction {
    /// The line of its first statement, from 1.
    pub line: usize,
    /// Repositories to use or not, in order; later ones win.
    pub repos: Vec<RepoChange>,
    /// Settings as `--setopt` takes them: `key` or `repository.key`, and the value. Every key once.
    pub config: Vec<(String, String)>,
    /// Names and globs that no transaction may bring in.
    pub exclude: Vec<String>,
    /// Module changes, which come before everything else.
    pub modules: Vec<ModuleChange>,
    /// What to install. Package files come first, because dnf 4 takes them in no other place.
    pub install: Vec<Spec>,
    /// Groups and environments to install.
    pub groups: Vec<GroupSpec>,
    /// Groups to remove, upgrade or mark.
    pub group_changes: Vec<GroupChange>,
    /// What to remove.
    pub remove: Vec<Spec>,
    /// What to upgrade.
    pub upgrade: Vec<Upgrade>,
    /// What to downgrade.
    pub downgrade: Vec<Spec>,
    /// What to reinstall.
    pub reinstall: Vec<Spec>,
    /// What to bring to the repositories' versions; an empty list is everything.
    pub distro_sync: Option<Vec<Spec>>,
    /// What to exchange.
    pub swap: Vec<Swap>,
    /// What to remove if nothing needs it; an empty list is everything.
    pub autoremove: Option<Vec<Spec>>,
    /// Why packages are held to be there. Such a transaction has nothing else in it.
    pub mark: Vec<Mark>,
}

/// A repository, or a glob over repositories, to use or to do without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RepoChange {
    /// Which of the two.
    pub action: RepoAction,
    /// The id or glob.
    pub glob: String,
    /// The line, from 1.
    pub line: usize,
}

/// A change of module streams or profiles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModuleChange {
    /// What to do.
    pub action: ModuleAction,
    /// Module specs such as `nodejs:18/minimal`, without `@`.
    pub specs: Vec<Spec>,
}

/// What a group's name may stand for.
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
    /// What the name may stand for.
    pub scope: GroupScope,
    /// Whether its optional packages are wanted too.
    pub with_optional: bool,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

/// Something done to a group other than installing it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupChange {
    /// What to do.
    pub action: GroupAction,
    /// To which group.
    pub group: GroupSpec,
}

/// An `upgrade` line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Upgrade {
    /// Only as far as an advisory asks for (`upgrade-minimal`).
    pub minimal: bool,
    /// Options such as `--security`.
    pub filters: Vec<String>,
    /// What; an empty list is everything.
    pub specs: Vec<Spec>,
}

/// A `swap` line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Swap {
    /// What goes.
    pub remove: Spec,
    /// What comes.
    pub install: Spec,
}

/// A `mark` line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// As what.
    pub action: MarkAction,
    /// Which packages.
    pub specs: Vec<Spec>,
}

impl GroupSpec {
    /// The group of a spec: `@name`, `@^name`, or a bare name of a `group` line.
    pub(super) fn new(spec: &Spec, with_optional: bool) -> Self {
        let (name, scope) = match spec.text.strip_prefix("@^") {
            Some(name) => (name, GroupScope::Environment),
            None => (spec.text.strip_prefix('@').unwrap_or(&spec.text), GroupScope::Either),
        };
        Self { name: name.to_owned(), scope, with_optional, line: spec.line, column: spec.column }
    }
}

impl Transaction {
    /// Whether nothing but installing is asked for, so that one `install` command does.
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

    /// Whether anything new is asked for.
    #[must_use]
    pub fn installs(&self) -> bool {
        !self.install.is_empty()
            || !self.groups.is_empty()
            || !self.swap.is_empty()
            || self.modules.iter().any(|m| m.action == ModuleAction::Install)
    }

    /// The statements that ask for just this, but for the `ts run` at their end.
    #[must_use]
    pub fn statements(&self) -> Vec<StatementKind> {
        // Taken apart whole, so that the compiler tells of a field that nobody would be shown.
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
            // Only these two lines have a word for it.
            (GroupScope::Environment, GroupAction::Install) => StatementKind::Install { specs: vec![word(&format!("@^{}", group.name))] },
            (GroupScope::Environment, GroupAction::Remove) => StatementKind::Remove { specs: vec![word(&format!("@^{}", group.name))] },
            _ => StatementKind::Group { action, with_optional: group.with_optional, groups: vec![word(&group.name)] },
        };
        let mut all = Vec::new();
        all.extend(repos.iter().map(|change| StatementKind::Repo { action: change.action, globs: vec![word(&change.glob)] }));
        let set = |key: &str, value: &str| StatementKind::Config { repo: None, key: key.to_owned(), value: value.to_owned() };
        all.extend(config.iter().map(|(key, value)| set(key, value)));
        all.extend((!exclude.is_empty()).then(|| set("exclude", &exclude.join(","))));
        all.extend(modules.iter().map(|change| StatementKind::Module { action: change.action, specs: change.specs.clone() }));
        let some = |specs: &[Spec]| (!specs.is_empty()).then(|| specs.to_vec());
        all.extend(groups.iter().map(|wanted| group(wanted, GroupAction::Install)));
        all.extend(some(install).map(|specs| StatementKind::Install { specs }));
        all.extend(group_changes.iter().map(|change| group(&change.group, change.action)));
        all.extend(some(remove).map(|specs| StatementKind::Remove { specs }));
        all.extend(upgrade.iter().cloned().map(|Upgrade { minimal, filters, specs }| StatementKind::Upgrade { minimal, filters, specs }));
        all.extend(some(downgrade).map(|specs| StatementKind::Downgrade { specs }));
        all.extend(some(reinstall).map(|specs| StatementKind::Reinstall { specs }));
        all.extend(distro_sync.clone().map(|specs| StatementKind::DistroSync { specs }));
        all.extend(swap.iter().cloned().map(|Swap { remove, install }| StatementKind::Swap { remove, install }));
        all.extend(autoremove.clone().map(|specs| StatementKind::Autoremove { specs }));
        all.extend(mark.iter().cloned().map(|Mark { action, specs }| StatementKind::Mark { action, specs }));
        all
    }

    /// Adds what an `install` line names, each to the list of its kind.
    pub(super) fn add_installs(&mut self, specs: &[Spec]) {
        for spec in specs {
            match spec.kind() {
                SpecKind::Group | SpecKind::Environment => self.groups.push(GroupSpec::new(spec, false)),
                SpecKind::Module => self.modules.push(module_of(ModuleAction::Install, spec)),
                SpecKind::Package | SpecKind::Path | SpecKind::File | SpecKind::Url => self.install.push(spec.clone()),
            }
        }
    }

    /// Adds what a `remove` line names.
    pub(super) fn add_removals(&mut self, specs: &[Spec]) {
        for spec in specs {
            match spec.kind() {
                SpecKind::Group | SpecKind::Environment => {
                    self.group_changes.push(GroupChange { action: GroupAction::Remove, group: GroupSpec::new(spec, false) });
                }
                SpecKind::Module => self.modules.push(module_of(ModuleAction::Remove, spec)),
                SpecKind::Package | SpecKind::Path | SpecKind::File | SpecKind::Url => self.remove.push(spec.clone()),
            }
        }
    }
}

fn module_of(action: ModuleAction, spec: &Spec) -> ModuleChange {
    let text = spec.text.strip_prefix('@').unwrap_or(&spec.text).to_owned();
    ModuleChange { action, specs: vec![Spec { text, ..spec.clone() }] }
}
