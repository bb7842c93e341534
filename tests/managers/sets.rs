//! The same recipe gives the same packages with every package manager.

use crate::machines::{Machine, both};
use crate::stage::{Stage, run};
use crate::support::repo::{Package, Repo, When, index};
use std::fs;
use std::process::Command;

fn file(name: &str) -> Package {
    Package::named(name).requires_first("base").file(
        &format!("/usr/share/{name}"),
        format!("{name}\n"),
        0o644,
        "root:root",
    )
}

/// Packages with every kind of relation, two versions of some, groups with every kind of member, an
/// environment with optional groups.
pub fn repository(repo: Repo) -> Repo {
    let repo = repo
        .package(file("app").requires("library").recommends("extra").file(
            "/usr/bin/app",
            "#!/bin/sh\n",
            0o755,
            "root:root",
        ))
        .package(file("library").provides("libapp.so.1"))
        .package(file("extra"))
        .package(file("old-tool").provides("tool").conflicts("new-tool"))
        .package(file("new-tool").provides("tool"))
        .package(file("stepped").version("1.0"))
        .package(file("stepped").version("2.0"))
        .package(file("must"))
        .package(file("should"))
        .package(file("could"))
        .package(file("aside"))
        .package(file("fails-post").scriptlet(When::Post, "echo it went wrong; exit 7"))
        .group("core", "Core", &["must"])
        .member("default", "should")
        .member("optional", "could")
        .group("side", "Side Dish", &["aside"]);
    repo.environment("minimal-environment", "Minimal Install", &["core"])
}

/// Adds optional groups to the environment, one marked as default: dnf 4 installs neither.
pub fn with_options(stage: &Stage) {
    let path = stage.repo().join("comps.xml");
    let text = fs::read_to_string(&path).unwrap();
    let options = "</grouplist><optionlist><groupid \
                   default=\"true\">side</groupid></optionlist></environment>";
    fs::write(&path, text.replace("</grouplist></environment>", options)).unwrap();
    index(&stage.repo());
}

/// Recipes, with the packages that they install besides `base-1.0`.
pub const RECIPES: &[(&str, &str, &[&str])] = &[
    (
        "a package with dependencies and recommendations",
        "install app\nts run\n",
        &["app-1.0", "extra-1.0", "library-1.0"],
    ),
    (
        "no recommendations",
        "config install_weak_deps 0\ninstall app\nts run\n",
        &["app-1.0", "library-1.0"],
    ),
    (
        "a file that a package owns",
        "config install_weak_deps 0\ninstall /usr/bin/app\nts run\n",
        &["app-1.0", "library-1.0"],
    ),
    ("a provide", "install libapp.so.1\nts run\n", &["library-1.0"]),
    ("a glob", "install ext*\nts run\n", &["extra-1.0"]),
    (
        "a package file",
        "install ./repo/Packages/stepped-1.0-1.noarch.rpm\nts run\n",
        &["stepped-1.0"],
    ),
    (
        "a package file with dependencies",
        "install aside repo/Packages/app-1.0-1.noarch.rpm\nts run\n",
        &["aside-1.0", "app-1.0", "extra-1.0", "library-1.0"],
    ),
    ("a version", "install stepped-1.0\nts run\n", &["stepped-1.0"]),
    ("the newest version", "install stepped\nts run\n", &["stepped-2.0"]),
    ("an exclusion", "config exclude extra\ninstall app\nts run\n", &["app-1.0", "library-1.0"]),
    ("a group by its name", "group install Core\nts run\n", &["must-1.0", "should-1.0"]),
    ("a group by its id", "install @core\nts run\n", &["must-1.0", "should-1.0"]),
    ("a group by a glob in another case", "group install SIDE*\nts run\n", &["aside-1.0"]),
    (
        "a group with optional members",
        "group install --with-optional core\nts run\n",
        &["could-1.0", "must-1.0", "should-1.0"],
    ),
    (
        "a group's mandatory members",
        "config group_package_types mandatory\ngroup install core\nts run\n",
        &["must-1.0"],
    ),
    (
        "an environment by its name",
        "group install 'Minimal Install'\nts run\n",
        &["must-1.0", "should-1.0"],
    ),
    (
        "an environment by its id",
        "install @^minimal-environment\nts run\n",
        &["must-1.0", "should-1.0"],
    ),
    (
        "a transaction that removes packages",
        "install app\nts run\nremove app\ninstall aside\nts run\n",
        &["aside-1.0"],
    ),
    (
        "removal that keeps a requested package",
        "install app\ninstall library\nts run\nremove app\nts run\n",
        &["library-1.0"],
    ),
    (
        "a mark that keeps a package",
        "install app\nts run\nmark install library\nts run\nremove app\nts run\n",
        &["library-1.0"],
    ),
    (
        "a mark that releases a package",
        "install app library aside\nts run\nmark remove library\nts run\nremove app\nts run\n",
        &["aside-1.0"],
    ),
    (
        "removal of unneeded packages",
        "install app library\nts run\nmark remove app\nts run\nautoremove\nts run\n",
        &["library-1.0"],
    ),
    ("a swap", "install old-tool\nts run\nswap old-tool new-tool\nts run\n", &["new-tool-1.0"]),
    ("an upgrade", "install stepped-1.0\nts run\nupgrade stepped\nts run\n", &["stepped-2.0"]),
    (
        "an upgrade of everything",
        "install stepped-1.0\nts run\nupgrade\nts run\n",
        &["stepped-2.0"],
    ),
    ("a downgrade", "install stepped\nts run\ndowngrade stepped\nts run\n", &["stepped-1.0"]),
    ("a synchronization", "install stepped-1.0\nts run\ndistro-sync\nts run\n", &["stepped-2.0"]),
    ("a second installation", "install aside\nts run\nreinstall aside\nts run\n", &["aside-1.0"]),
    (
        "a group that is removed",
        "group install core side\nts run\ngroup remove side\nts run\n",
        &["must-1.0", "should-1.0"],
    ),
    (
        "a group that is upgraded",
        "group install side\nts run\ngroup upgrade side\ninstall extra\nts run\n",
        &["aside-1.0", "extra-1.0"],
    ),
];

#[test]
fn a_recipe_gives_the_same_packages_with_dnf_4_and_dnf_5() {
    let machines = both();
    let stage = Stage::new(repository);
    with_options(&stage);
    for (what, recipe, expected) in RECIPES {
        let mut expected: Vec<String> = expected.iter().map(|name| (*name).to_owned()).collect();
        expected.push("base-1.0".into());
        expected.sort();
        for machine in &machines {
            assert_eq!(machine.packages(&stage, recipe), expected, "{what}, with {machine:?}");
        }
    }
}

#[test]
fn an_allowed_scriptlet_failure_does_not_fail_the_build_with_dnf_4_and_dnf_5() {
    let machines = both();
    let stage = Stage::new(repository);
    stage.settings(|settings| {
        settings.packages = "allow_failed_scriptlets = [\"fails-post\"]".into()
    });
    for machine in machines {
        assert_eq!(
            machine.packages(&stage, "install fails-post\nts run\n"),
            ["base-1.0", "fails-post-1.0", "shell-1.0"],
            "{machine:?}"
        );
    }
}

#[test]
fn the_stream_of_a_module_is_chosen_with_dnf_4_and_dnf_5() {
    let machines = both();
    let stage = Stage::new(|repo| {
        repo.package(file("thing").version("1.0")).package(file("thing").version("2.0"))
    });
    let stream = |stream: &str| {
        format!(
            "---\ndocument: modulemd\nversion: 2\ndata:\n  name: thing\n  stream: \"{stream}\"\n  \
             version: 1\n  context: c0ffee00\n  arch: x86_64\n\x20 summary: A thing\n  \
             description: A thing\n  license:\n    module: [MIT]\n  profiles:\n    default:\n      \
             rpms: [thing]\n\x20 artifacts:\n    rpms: [\"thing-0:{stream}-1.noarch\"]\n...\n"
        )
    };
    let modules = stage.repo().join("modules.yaml");
    fs::write(&modules, stream("1.0") + &stream("2.0")).unwrap();
    run(Command::new("modifyrepo_c")
        .arg("--mdtype=modules")
        .arg(&modules)
        .arg(stage.repo().join("repodata")));
    for machine in &machines {
        assert_eq!(
            machine.packages(&stage, "module enable thing:1.0\ninstall thing\nts run\n"),
            ["base-1.0", "thing-1.0"],
            "{machine:?}"
        );
        assert_eq!(
            machine.packages(&stage, "module enable thing:2.0\ninstall thing\nts run\n"),
            ["base-1.0", "thing-2.0"],
            "{machine:?}"
        );
    }
    if machines.contains(&Machine::Dnf5) {
        assert_eq!(
            Machine::Here.packages(&stage, "module install thing:1.0/default\nts run\n"),
            ["base-1.0", "thing-1.0"]
        );
        Machine::Dnf5.fails(&stage, "\nmodule install thing:1.0/default\nts run\n", 3).reports(&[
            "image.yum:2",
            "profiles",
            "dnf 5",
        ]);
    }
}
