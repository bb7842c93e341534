//! From statements to transactions, and statements that are refused because dnf would silently
//! ignore them.

use osimg::error::{ExitCode, exit_code, render};
use osimg::recipe::{GroupAction, GroupScope, Lowered, RepoAction, Script, Severity, Transaction};

fn lower(text: &str) -> Lowered {
    let script = Script::parse(text, "r.yum").unwrap_or_else(|errors| panic!("{errors}"));
    script.lower().unwrap_or_else(|error| panic!("{text:?}\n{}", render(&error)))
}

fn refused(text: &str) -> String {
    let script = Script::parse(text, "r.yum").unwrap_or_else(|errors| panic!("{errors}"));
    let error = script.lower().expect_err(text);
    assert_eq!(exit_code(&error), ExitCode::Recipe);
    render(&error)
}

fn installed(transaction: &Transaction) -> Vec<&str> {
    transaction.install.iter().map(|spec| spec.text.as_str()).collect()
}

#[test]
fn the_recipe_of_ironics_documentation_is_one_transaction_without_notes() {
    let lowered = lower("group install 'Minimal Install'\ninstall cloud-init\nts run\n");
    let [transaction] = lowered.transactions.as_slice() else { panic!("{lowered:?}") };
    assert_eq!((transaction.line, installed(transaction)), (1, vec!["cloud-init"]));
    assert_eq!(
        (transaction.groups[0].name.as_str(), transaction.groups[0].scope),
        ("Minimal Install", GroupScope::Either)
    );
    assert!(transaction.is_install_only());
    assert_eq!(lowered.diagnostics, []);
}

#[test]
fn the_end_of_the_recipe_runs_pending_work_with_a_note() {
    let lowered = lower("install a\n\ninstall b\n");
    assert_eq!(installed(&lowered.transactions[0]), ["a", "b"]);
    assert!(
        matches!(lowered.diagnostics.as_slice(), [d] if d.line == 3 && d.severity == Severity::Note)
    );
}

#[test]
fn groups_environments_and_modules_in_install_lines_are_distinguished() {
    let lowered = lower(
        "install @core @^minimal-environment @nodejs:18/minimal a ./b.rpm https://x.example/c.rpm \
         /usr/bin/d\nrun\n",
    );
    let t = &lowered.transactions[0];
    let groups: Vec<_> = t.groups.iter().map(|g| (g.name.as_str(), g.scope, g.column)).collect();
    assert_eq!(
        groups,
        [("core", GroupScope::Either, 9), ("minimal-environment", GroupScope::Environment, 15)]
    );
    assert_eq!(t.modules[0].specs[0].text, "nodejs:18/minimal");
    assert_eq!(installed(t), ["./b.rpm", "https://x.example/c.rpm", "a", "/usr/bin/d"]);
}

#[test]
fn repo_and_config_lines_apply_from_their_line_to_the_end() {
    let text = "repo disable *\nrepo enable base\nconfig exclude x,y\nconfig best 0\nconfig \
                base.exclude z\ninstall a\nts run\nconfig exclude ''\nconfig exclude w\nconfig \
                best 1\nremove a\ninstall b\nts run\n";
    let lowered = lower(text);
    let [first, second] = lowered.transactions.as_slice() else { panic!() };
    let repos: Vec<_> = first.repos.iter().map(|r| (r.action, r.glob.as_str(), r.line)).collect();
    assert_eq!(repos, [(RepoAction::Disable, "*", 1), (RepoAction::Enable, "base", 2)]);
    assert_eq!(
        (first.exclude.as_slice(), second.exclude.as_slice()),
        (&["x".to_owned(), "y".to_owned()][..], &["w".to_owned()][..])
    );
    assert_eq!(
        first.config,
        [("best".to_owned(), "0".to_owned()), ("base.excludepkgs".to_owned(), "z".to_owned())]
    );
    assert_eq!(
        second.config,
        [("base.excludepkgs".to_owned(), "z".to_owned()), ("best".to_owned(), "1".to_owned())]
    );
    assert_eq!((second.repos.len(), second.line, second.remove[0].text.as_str()), (2, 11, "a"));
    assert!(!second.is_install_only());
}

#[test]
fn a_reset_forgets_pending_work_with_a_warning_and_nothing_else() {
    let lowered = lower("config exclude x\nts reset\ninstall a\nts reset\ninstall b\nts run\n");
    assert_eq!(
        (installed(&lowered.transactions[0]), lowered.transactions[0].exclude.len()),
        (vec!["b"], 1)
    );
    assert!(matches!(lowered.diagnostics.as_slice(),
            [d] if d.line == 4 && d.severity == Severity::Warning));
}

#[test]
fn statements_that_dnf_would_ignore_are_refused_with_position_and_fix() {
    let table = [
        (
            "install a\nexit\n",
            "r.yum:2:1: `exit` while work is pending from line 1 on",
            "write `ts run` before it",
        ),
        (
            "install a\nrepo enable x\nts run",
            "r.yum:2:1: `repo` while work is pending",
            "before line 1",
        ),
        (
            "install a\nconfig exclude x\nts run",
            "r.yum:2:1: `config exclude` while work is pending",
            "before line 1",
        ),
        (
            "install a\nts run\nexit\ninstall b",
            "r.yum:4:1: a command after `exit`",
            "remove `exit`",
        ),
        (
            "install a\nmodule enable m:1\nts run",
            "r.yum:2:1: this module stream is chosen after line 1",
            "before line 1",
        ),
        (
            "group install core\nremove weak\nts run",
            "r.yum:2:1: `remove` before anything is installed",
            "`config exclude weak`",
        ),
        ("remove a", "r.yum:1:1: `remove` before anything is installed", "`config exclude a`"),
        (
            "upgrade a\ninstall b",
            "r.yum:1:1: `upgrade` before anything is installed",
            "newest version",
        ),
        ("swap a b", "r.yum:1:1: `swap` before anything is installed", "`install b`"),
        (
            "downgrade a\ninstall b",
            "r.yum:1:1: a change to installed packages before",
            "write the version",
        ),
        (
            "group remove a\ninstall b",
            "r.yum:1:1: a change to an installed group before",
            "`ts run`",
        ),
        (
            "install a\nts run\nmark install a\ninstall b\nts run",
            "r.yum:3:1: `mark` in the same transaction as line 4",
            "before and after",
        ),
        (
            "install a\nts run\ninstall b c\nremove 'b'\nts run",
            "r.yum:4:8: `b` is installed and removed by one transaction",
            "`ts run` between",
        ),
        ("", "r.yum: the recipe installs nothing", "an image starts empty"),
        ("ts run", "r.yum: the recipe installs nothing", "an image starts empty"),
        (
            "repo enable x\nlist\nexit",
            "r.yum: the recipe installs nothing",
            "an image starts empty",
        ),
        ("install a\nts reset", "r.yum: the recipe installs nothing", "an image starts empty"),
    ];
    for (text, message, hint) in table {
        let shown = refused(text);
        assert!(shown.starts_with(&format!("error: {message}")), "{text:?} got\n{shown}");
        assert!(
            shown
                .lines()
                .any(|line| line.trim_start().starts_with("hint: ") && line.contains(hint)),
            "{text:?} was shown\n{shown}"
        );
    }
    let both = refused("remove a\nexit\n");
    let (errors, hints) = both.split_once("hint: ").unwrap();
    assert_eq!(errors.matches("r.yum:").count(), 2, "{both}");
    assert_eq!(hints.matches("r.yum:").count(), 3, "each hint names its line: {both}");
}

#[test]
fn settings_that_dnf_reads_last_can_follow_the_work_with_a_warning() {
    let lowered = lower("install a\nconfig install_weak_deps 0\nts run\n");
    assert_eq!(lowered.transactions[0].config, [("install_weak_deps".to_owned(), "0".to_owned())]);
    assert!(matches!(lowered.diagnostics.as_slice(), [d] if d.severity == Severity::Warning));
}

#[test]
fn every_kind_of_statement_is_put_into_its_list() {
    let text = "module enable m:1\ninstall a\nts run\nmark remove a\nts \
                run\nupgrade\nupgrade-minimal --security x\ndowngrade d\nreinstall r\ndistro-sync \
                s\nautoremove\nswap o n\ngroup upgrade g\ngroup mark remove h\nremove @i\ngroup \
                install --with-optional j\nts run\nexit\n";
    let lowered = lower(text);
    assert_eq!(lowered.diagnostics, []);
    let [first, marks, rest] = lowered.transactions.as_slice() else { panic!() };
    assert_eq!((first.modules.len(), marks.mark.len(), rest.upgrade.len()), (1, 1, 2));
    assert!(
        rest.upgrade[0].specs.is_empty()
            && rest.upgrade[1].minimal
            && rest.upgrade[1].filters == ["--security"]
    );
    assert_eq!((rest.downgrade.len(), rest.reinstall.len(), rest.swap.len()), (1, 1, 1));
    assert_eq!(
        (rest.distro_sync.as_ref().map(Vec::len), rest.autoremove.as_ref().map(Vec::len)),
        (Some(1), Some(0))
    );
    let changes: Vec<_> = rest
        .group_changes
        .iter()
        .map(|change| (change.action, change.group.name.as_str()))
        .collect();
    assert_eq!(
        changes,
        [(GroupAction::Upgrade, "g"), (GroupAction::MarkRemove, "h"), (GroupAction::Remove, "i")]
    );
    assert!(rest.groups[0].with_optional);
    let json = serde_json::to_value(rest).unwrap();
    assert_eq!(
        (json["line"].as_u64(), json["group_changes"][1]["action"].as_str()),
        (Some(6), Some("mark-remove"))
    );
}
