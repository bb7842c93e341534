//! The scenarios of ci-dnf-stack's `shell-*.feature`, and the cases in which `dnf shell` exits with
//! 0 after a failure, one by one.
//!
//! <https://github.com/rpm-software-management/ci-dnf-stack>, `dnf-behave-tests/dnf`. Its scenarios
//! only look at the rpmdb. Here every failure must also end with its exit code and name the line of
//! the recipe.

use crate::machines::{Machine, both};
use crate::stage::{Stage, run};
use crate::support::repo::{Package, Repo};
use std::fs;
use std::process::Command;

/// A scenario, its recipe, and the packages besides `base-1.0`, or the exit code and messages.
pub type Row =
    (&'static str, &'static str, Result<&'static [&'static str], (i32, &'static [&'static str])>);

pub const SCENARIOS: &[Row] = &[
    // shell-from-file; osimg reads only files.
    ("from a file", "repo enable updates\ninstall flac\nrun\n", Ok(&["flac-2.0"])),
    // shell-install
    (
        "install: two packages with dependencies",
        "install flac wget\nrun\n",
        Ok(&["flac-1.0", "library-1.0", "wget-1.0"]),
    ),
    (
        "install: no repository is enabled",
        "repo disable *\ninstall flac\nrun\n",
        Err((3, &["no repository is enabled"])),
    ),
    (
        "install: an unknown package",
        "install flac\ninstall no-such\nrun\n",
        Err((7, &["image.yum:2", "no-such"])),
    ),
    (
        "install: a file after another job",
        "install wget\ninstall ./repo/Packages/flac-1.0-1.noarch.rpm\nrun\n",
        Ok(&["flac-1.0", "library-1.0", "wget-1.0"]),
    ),
    // shell-remove
    (
        "remove: an installed package",
        "install flac wget\nrun\nremove flac\nrun\n",
        Ok(&["library-1.0", "wget-1.0"]),
    ),
    (
        "remove: an unknown package",
        "install flac\nrun\nremove no-such\nrun\n",
        Err((7, &["image.yum:3", "no-such"])),
    ),
    // shell-more-commands
    (
        "commands: install, then install and remove",
        "install flac\nrun\ninstall wget\nremove flac\nrun\n",
        Ok(&["library-1.0", "wget-1.0"]),
    ),
    (
        "commands: one replaces another that it conflicts with",
        "install old\nrun\nremove old\ninstall new\nrun\n",
        Ok(&["new-1.0"]),
    ),
    // shell-group
    (
        "group: install",
        "group install 'Test Group'\nrun\n",
        Ok(&["library-1.0", "must-1.0", "should-1.0"]),
    ),
    (
        "group: upgrade",
        "group install testgroup\nrun\nrepo enable updates\ngroup upgrade testgroup\nrun\n",
        Ok(&["library-1.0", "must-2.0", "should-1.0"]),
    ),
    (
        "group: update",
        "group install testgroup\nrun\nrepo enable updates\ngroup update 'Test Group'\nrun\n",
        Ok(&["library-1.0", "must-2.0", "should-1.0"]),
    ),
    (
        "group: remove",
        "install flac\ngroup install testgroup\nrun\ngroup remove testgroup\nrun\n",
        Ok(&["flac-1.0"]),
    ),
    (
        "group: install an unknown one",
        "group install no-such\nrun\n",
        Err((7, &["image.yum:1", "no-such"])),
    ),
    (
        "group: remove an unknown one",
        "install flac\nrun\ngroup remove no-such\nrun\n",
        Err((7, &["image.yum:3", "no-such"])),
    ),
    // shell-swap
    (
        "swap: two packages",
        "install flac\nrun\nswap flac wget\nrun\n",
        Ok(&["library-1.0", "wget-1.0"]),
    ),
    (
        "swap: globs",
        "install CQRlib-one CQRlib-two\nrun\nswap CQRlib\\* Ripper\\*\nrun\n",
        Ok(&["Ripper-one-1.0", "Ripper-two-1.0"]),
    ),
    (
        "swap: groups",
        "install flac @testgroup\nrun\ngroupremove testgroup\ngroupinstall second\nrun\n",
        Ok(&["flac-1.0", "other-1.0"]),
    ),
    (
        "swap: an unknown package",
        "install flac\nrun\nswap flac no-such\nrun\n",
        Err((7, &["image.yum:3", "no-such"])),
    ),
    // shell-upgrade
    (
        "upgrade: one",
        "install flac\nrun\nrepo enable updates\nupgrade flac\nrun\n",
        Ok(&["flac-2.0"]),
    ),
    (
        "upgrade: its alias",
        "install flac\nrun\nrepo enable updates\nupdate flac\nrun\n",
        Ok(&["flac-2.0"]),
    ),
    (
        "upgrade: everything",
        "install flac must\nrun\nrepo enable updates\nupgrade\nrun\n",
        Ok(&["flac-2.0", "library-1.0", "must-2.0"]),
    ),
    (
        "upgrade: minimal, for a bug",
        "install flac\nrun\nrepo enable updates\nupgrade-minimal --bugfix\nrun\n",
        Ok(&["flac-1.2"]),
    ),
    (
        "upgrade: minimal, security",
        "install flac\nrun\nrepo enable updates\nupgrade-minimal --security\nrun\n",
        Ok(&["flac-1.1"]),
    ),
    (
        "upgrade: minimal, one",
        "install flac must\nrun\nrepo enable updates\nup-min --security flac\nrun\n",
        Ok(&["flac-1.1", "library-1.0", "must-1.0"]),
    ),
    (
        "upgrade: an advisory",
        "install flac\nrun\nrepo enable updates\nupgrade-minimal --advisory=A-1.2\nrun\n",
        Ok(&["flac-1.2"]),
    ),
    (
        "upgrade: security, to the newest version",
        "install flac\nrun\nrepo enable updates\nupgrade --security\nrun\n",
        Ok(&["flac-2.0"]),
    ),
    ("upgrade: nothing to do", "install flac\nrun\nupgrade flac\nrun\n", Ok(&["flac-1.0"])),
    (
        "upgrade: no security update",
        "install wget\nrun\nupgrade-minimal --security\nrun\n",
        Ok(&["library-1.0", "wget-1.0"]),
    ),
    (
        "upgrade: an unknown package",
        "install flac\nrun\nupgrade no-such\nrun\n",
        Err((7, &["image.yum:3", "no-such"])),
    ),
    // shell-downgrade
    (
        "downgrade: one",
        "repo enable updates\ninstall flac\nrun\ndowngrade flac-1.0\nrun\n",
        Ok(&["flac-1.0"]),
    ),
    (
        "downgrade: many",
        "repo enable updates\ninstall flac must\nrun\nrepo disable updates\ndowngrade flac \
         must\nrun\n",
        Ok(&["flac-1.0", "library-1.0", "must-1.0"]),
    ),
    (
        "downgrade: an unknown package",
        "install flac\nrun\ndowngrade no-such\nrun\n",
        Err((7, &["image.yum:3", "no-such"])),
    ),
    // shell-reinstall
    ("reinstall: one", "install flac\nrun\nreinstall flac\nrun\n", Ok(&["flac-1.0"])),
    (
        "reinstall: many",
        "install flac wget\nrun\nreinstall flac wget\nrun\n",
        Ok(&["flac-1.0", "library-1.0", "wget-1.0"]),
    ),
    (
        "reinstall: an unknown package",
        "install flac\nrun\nreinstall no-such\nrun\n",
        Err((7, &["image.yum:3", "no-such"])),
    ),
    (
        "reinstall: no longer in a repository",
        "install wget\nrun\nrepo disable tiny\nrepo enable updates\nreinstall wget\nrun\n",
        Err((7, &["image.yum:5", "wget"])),
    ),
    // shell-distro-sync
    (
        "distro-sync: one",
        "install flac must\nrun\nrepo enable updates\ndistro-sync flac\nrun\n",
        Ok(&["flac-2.0", "library-1.0", "must-1.0"]),
    ),
    (
        "distro-sync: many",
        "install flac must\nrun\nrepo enable updates\ndistro-sync flac must\nrun\n",
        Ok(&["flac-2.0", "library-1.0", "must-2.0"]),
    ),
    (
        "distro-sync: down",
        "repo enable updates\ninstall flac\nrun\nrepo disable updates\ndistro-sync\nrun\n",
        Ok(&["flac-1.0"]),
    ),
    ("distro-sync: nothing to do", "install flac\nrun\ndsync flac\nrun\n", Ok(&["flac-1.0"])),
    (
        "distro-sync: an unknown package",
        "install flac\nrun\ndistro-sync no-such\nrun\n",
        Err((7, &["image.yum:3", "no-such"])),
    ),
    // shell-repo
    ("repo: enable by a glob", "repo enable upd*\ninstall flac\nrun\n", Ok(&["flac-2.0"])),
    (
        "repo: disable",
        "repo enable updates\nrepo disable updates\ninstall flac\nrun\n",
        Ok(&["flac-1.0"]),
    ),
    (
        "repo: disable all, enable one",
        "repo disable *\nrepo enable updates\ninstall flac\nrun\n",
        Ok(&["flac-2.0"]),
    ),
    (
        "repo: enable an unknown one",
        "repo enable no-such\ninstall flac\nrun\n",
        Err((3, &["image.yum:1", "no-such", "tiny, updates"])),
    ),
    (
        "repo: disable an unknown one",
        "repository disable no-such\ninstall flac\nrun\n",
        Err((3, &["image.yum:1", "no-such"])),
    ),
    // shell-help
    ("help", "help repo\ninstall flac\nrun\n", Ok(&["flac-1.0"])),
    // comps-group
    (
        "an environment that lists an unknown group",
        "install @^odd-environment\nrun\n",
        Ok(&["other-1.0"]),
    ),
    // The behaviour of dnf's shell at the end of a recipe, and after a first failure.
    ("end: no run", "install flac\n", Ok(&["flac-1.0"])),
    (
        "end: no run, and a package is missing",
        "install no-such\n",
        Err((7, &["image.yum:1", "no-such"])),
    ),
    (
        "end: no run, and it cannot be solved",
        "install flac broken\n",
        Err((7, &["libmissing.so.7"])),
    ),
    ("end: exit before the run", "install flac\nexit\n", Err((3, &["image.yum:2", "exit"]))),
    ("end: an empty recipe", "# nothing\n", Err((3, &["image.yum", "installs nothing"]))),
    ("end: nothing but a run", "ts run\n", Err((3, &["image.yum", "installs nothing"]))),
    (
        "a misspelt line before a good one",
        "isntall flac\ninstall wget\nrun\n",
        Err((3, &["image.yum:1"])),
    ),
    (
        "two runs",
        "install flac\nrun\ninstall wget\nrun\n",
        Ok(&["flac-1.0", "library-1.0", "wget-1.0"]),
    ),
    (
        "two runs; the first cannot be solved",
        "install broken\nrun\ninstall flac\nrun\n",
        Err((7, &["libmissing.so.7"])),
    ),
    (
        "a conflict, and strict switched off",
        "config strict 1\ninstall old new\nrun\n",
        Err((7, &["old", "new", "conflict"])),
    ),
    // Groups that are only recorded.
    (
        "group mark install: the group can be removed, its packages belong to the user",
        "install must\nrun\ngroup mark install testgroup\nrun\ngroup remove testgroup\nrun\n",
        Ok(&["library-1.0", "must-1.0"]),
    ),
    (
        "mark group: the package is removed with its group",
        "install flac must\nrun\ngroup mark install testgroup\nrun\nmark group must\nrun\ngroup \
         remove testgroup\nrun\n",
        Ok(&["flac-1.0"]),
    ),
    (
        "group mark remove: the packages stay",
        "group install testgroup\nrun\ngroup mark remove testgroup\nrun\n",
        Ok(&["library-1.0", "must-1.0", "should-1.0"]),
    ),
    (
        "mark group: a package of no installed group",
        "install flac\nrun\nmark group flac\nrun\n",
        Err((7, &["image.yum:3", "flac", "no installed group"])),
    ),
    (
        "group mark: an unknown group",
        "install flac\nrun\ngroup mark install no-such\nrun\n",
        Err((7, &["image.yum:3", "no-such"])),
    ),
    (
        "group mark remove: before anything is installed",
        "group mark remove testgroup\nrun\n",
        Err((3, &["image.yum:1"])),
    ),
];

fn file(name: &str) -> Package {
    Package::named(name).requires_first("base").file(
        &format!("/usr/share/{name}"),
        format!("{name}\n"),
        0o644,
        "root:root",
    )
}

pub fn repository(repo: Repo) -> Repo {
    repo.package(file("flac"))
        .package(file("wget").requires("library"))
        .package(file("library"))
        .package(file("old").conflicts("new"))
        .package(file("new"))
        .package(file("must").requires("library"))
        .package(file("should"))
        .package(file("other"))
        .package(file("CQRlib-one"))
        .package(file("CQRlib-two"))
        .package(file("Ripper-one"))
        .package(file("Ripper-two"))
        .package(file("broken").requires("libmissing.so.7"))
        .group("testgroup", "Test Group", &["must"])
        .member("default", "should")
        .group("second", "Second Group", &["other"])
        .environment("odd-environment", "Odd Environment", &["second", "nobodys-group"])
}

/// A second repository, which a recipe must enable. It has newer packages; some of them fix
/// advisories.
pub fn updates(stage: &Stage) {
    let directory = stage.path().join("updates");
    let flac = |version: &str| file("flac").version(version);
    let repo = Repo::new(&directory).package(flac("1.1")).package(flac("1.2")).package(flac("2.0"));
    repo.package(file("must").version("2.0").requires("library"))
        .group("testgroup", "Test Group", &["must"])
        .member("default", "should")
        .write();
    let advisory = |version: &str, kind: &str| {
        format!(
            "<update from=\"tests\" status=\"stable\" type=\"{kind}\" \
             version=\"1\"><id>A-{version}</id><title>flac</title><issued date=\"2023-11-14 \
             00:00:00\"/><updated date=\"2023-11-14 \
             00:00:00\"/><severity>Important</severity><references/><description>flac</\
             description><pkglist><collection short=\"t\"><name>t</name><package name=\"flac\" \
             version=\"{version}\" release=\"1\" epoch=\"0\" \
             arch=\"noarch\"><filename>flac-{version}-1.noarch.rpm</filename></package></\
             collection></pkglist></update>"
        )
    };
    let info = directory.join("updateinfo.xml");
    fs::write(
        &info,
        format!(
            "<?xml version=\"1.0\"?><updates>{}{}</updates>",
            advisory("1.1", "security"),
            advisory("1.2", "bugfix")
        ),
    )
    .unwrap();
    run(Command::new("modifyrepo_c")
        .arg("--mdtype=updateinfo")
        .arg(&info)
        .arg(directory.join("repodata")));
    stage.settings(|settings| {
        settings.finish = "[[packages.repository]]\nid = \"updates\"\nbaseurl = \
                           \"../updates/\"\nenabled = false"
            .into();
    });
}

/// The difference if the result of a row is not as expected.
pub fn wrong(
    stage: &Stage,
    machine: Machine,
    (scenario, recipe, expected): &Row,
) -> Option<String> {
    let done = machine.build(stage, recipe).run();
    let problem =
        |what: &str| Some(format!("{scenario}, with {machine:?}: {what}\n{}", done.stderr));
    match expected {
        Ok(packages) => {
            if done.code != Some(0) {
                return problem(&format!("exit code {:?}", done.code));
            }
            let mut expected: Vec<String> =
                packages.iter().chain(&["base-1.0"]).map(|name| (*name).to_owned()).collect();
            expected.sort();
            let found = machine.installed(stage);
            fs::remove_file(stage.image()).unwrap();
            if found == expected {
                None
            } else {
                problem(&format!("{found:?} instead of {expected:?}"))
            }
        }
        Err((code, words)) => {
            let missing: Vec<&&str> =
                words.iter().filter(|word| !done.stderr.contains(**word)).collect();
            if done.code == Some(*code) && missing.is_empty() && !stage.image().exists() {
                return None;
            }
            problem(&format!(
                "exit code {:?} instead of {code}, not reported: {missing:?}",
                done.code
            ))
        }
    }
}

#[test]
fn the_scenarios_of_dnf_shell_give_the_same_set_or_an_error_with_dnf_4_and_dnf_5() {
    let machines = both();
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let runs: Vec<_> = machines
            .into_iter()
            .map(|machine| {
                scope.spawn(move || {
                    let stage = Stage::new(repository);
                    updates(&stage);
                    SCENARIOS
                        .iter()
                        .filter_map(|row| wrong(&stage, machine, row))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        runs.into_iter().flat_map(|run| run.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
