//! Requests that `dnf` handles itself: old names, the last kernel, removed groups, modules, long
//! lines, and files.

use crate::machines::{Machine, both};
use crate::scenarios::{Row, wrong};
use crate::server::{Answer, Server};
use crate::stage::{OSIMG, Stage, sh};
use crate::support::repo::{Package, Repo};
use crate::support::require_root;
use std::fs;

fn file(name: &str, version: &str) -> Package {
    Package::named(name).version(version).requires_first("base").file(
        &format!("/usr/share/{name}-{version}"),
        format!("{version}\n"),
        0o644,
        "root:root",
    )
}

fn kernel(version: &str) -> Package {
    file("kernel-core", version)
        .provides("installonlypkg(kernel)")
        .provides(&format!("kernel-uname-r-{version}"))
}

fn repository(repo: Repo) -> Repo {
    repo.package(file("hello", "1.0").requires("basis"))
        .package(file("basis", "1.0"))
        .package(file("extra", "1.0"))
        .package(file("leaf", "1.0").requires("only-for-leaf"))
        .package(file("only-for-leaf", "1.0"))
        .package(file("old-name", "1.0"))
        .package(file("new-name", "2.0").obsoletes("old-name").provides("old-name"))
        .package(file("split", "1.0"))
        .package(file("split-a", "2.0").obsoletes("split"))
        .package(file("provider", "1.0").provides("by-another-name"))
        .package(kernel("1.0"))
        .package(kernel("2.0"))
        .group("tools", "Tools", &["basis", "extra"])
        .group("olds", "Olds", &["old-name"])
        .group("provided", "Provided", &["by-another-name"])
}

const REQUESTS: &[Row] = &[
    ("an old name", "install old-name\nrun\n", Ok(&["new-name-2.0"])),
    ("an old name that nothing provides", "install split\nrun\n", Ok(&["split-a-2.0"])),
    ("a glob of an old name", "install 'old-*' extra\nrun\n", Ok(&["extra-1.0", "new-name-2.0"])),
    (
        "an old name, later",
        "install extra\nrun\ninstall old-name\nrun\n",
        Ok(&["extra-1.0", "new-name-2.0"]),
    ),
    (
        "an old name of an installed package",
        "install new-name\nrun\ninstall old-name\nrun\n",
        Ok(&["new-name-2.0"]),
    ),
    ("an old name in a group", "group install olds\nrun\n", Ok(&["new-name-2.0"])),
    (
        "the old kernel is removed",
        "install kernel-core-1.0\nrun\ninstall kernel-core-2.0\nrun\nremove kernel-core-1.0\nrun\n",
        Ok(&["kernel-core-2.0"]),
    ),
    (
        "a group is removed, and a member of it is still needed",
        "group install tools\ninstall hello\nrun\ngroup remove tools\nrun\n",
        Ok(&["basis-1.0", "hello-1.0"]),
    ),
    ("autoremove of a name", "install leaf extra\nrun\nautoremove leaf\nrun\n", Ok(&["extra-1.0"])),
    (
        "autoremove of an unknown name",
        "install leaf\nrun\nautoremove nothing\nrun\n",
        Err((7, &["image.yum:3", "nothing"])),
    ),
    ("a file next to the recipe", "install extra-1.0-1.noarch.rpm\nrun\n", Ok(&["extra-1.0"])),
    (
        "a file that does not exist",
        "install nowhere.rpm\nrun\n",
        Err((3, &["image.yum:1:9", "nowhere.rpm"])),
    ),
];

#[test]
fn requests_that_dnf_understands_give_the_same_set_with_dnf_4_and_dnf_5() {
    let machines = both();
    let stage = Stage::new(repository);
    fs::copy(
        stage.repo().join("Packages/extra-1.0-1.noarch.rpm"),
        stage.path().join("extra-1.0-1.noarch.rpm"),
    )
    .unwrap();
    let long = format!("install {}\nrun\n", "extra ".repeat(20_000));
    let long: Row =
        ("20,000 words on a line", Box::leak(long.into_boxed_str()), Ok(&["extra-1.0"]));
    let rows = REQUESTS.iter().chain([&long]);
    let wrong: Vec<String> = rows
        .flat_map(|row| machines.iter().filter_map(|machine| wrong(&stage, *machine, row)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn lock_and_build_refuse_a_group_with_a_member_that_no_repository_has() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(|repo| {
        repo.package(file("extra", "1.0")).group("gone", "Gone", &["extra", "nowhere"])
    });
    let recipe = stage.recipe("group install gone\nts run\n");
    let settings = stage.repo().join("settings.toml");
    let lock = stage
        .osimg(OSIMG, &["lock"])
        .arg(recipe)
        .arg("--settings")
        .arg(settings)
        .arg("--cache")
        .arg(stage.cache());
    lock.arg("--workdir").arg(stage.work()).fails(7).reports(&[
        "image.yum:1",
        "nowhere",
        "install extra",
    ]);
    assert!(!stage.path().join("image.lock").exists());
}

/// A stream of a module, with the package of its version, and with the streams of other modules
/// that it requires.
fn stream(name: &str, stream: &str, requires: &str) -> String {
    format!(
        "---\ndocument: modulemd\nversion: 2\ndata: {{name: {name}, stream: \"{stream}\", \
         version: 1, context: c0ffee00, arch: {}, summary: t, description: t, license: {{module: \
         [MIT]}}, artifacts: {{rpms: [\"{name}-0:{stream}-1.noarch\"]}}{requires}}}\n...\n",
        std::env::consts::ARCH
    )
}

fn default(name: &str, stream: &str) -> String {
    format!(
        "---\ndocument: modulemd-defaults\nversion: 1\ndata: {{module: {name}, stream: \
         \"{stream}\"}}\n...\n"
    )
}

#[test]
fn module_streams_are_switched_as_dnf_switches_them() {
    let machines = both();
    let stage = Stage::new(|repo| {
        ["1.0", "2.0"]
            .iter()
            .fold(repo, |repo, version| repo.package(file("perl", version)))
            .package(file("dbi", "1.0"))
    });
    let needs = ", dependencies: [{requires: {perl: [\"1.0\"]}}]";
    let text = [
        stream("perl", "1.0", ""),
        stream("perl", "2.0", ""),
        default("perl", "1.0"),
        stream("dbi", "1.0", needs),
        default("dbi", "1.0"),
    ];
    stage.write("modules.yaml", text.concat());
    sh(stage.path(), "modifyrepo_c --mdtype=modules modules.yaml repo/repodata");
    let rows: &[Row] = &[
        (
            "a stream against another module's default",
            "module enable perl:2.0\ninstall perl\nrun\n",
            Ok(&["perl-2.0"]),
        ),
        (
            "reset, enable",
            "module reset perl\nmodule enable perl:2.0\ninstall perl\nrun\n",
            Ok(&["perl-2.0"]),
        ),
        (
            "disable, enable",
            "module disable perl\nmodule enable perl:2.0\ninstall perl\nrun\n",
            Ok(&["perl-2.0"]),
        ),
        (
            "another stream later",
            "module enable perl:1.0\ninstall perl\nrun\nmodule reset perl\nmodule enable \
             perl:2.0\nupgrade\nrun\n",
            Ok(&["perl-2.0"]),
        ),
        (
            "an unknown stream",
            "module enable perl:9\ninstall perl\nrun\n",
            Err((7, &["image.yum:1", "perl:9"])),
        ),
    ];
    let wrong: Vec<String> = rows
        .iter()
        .flat_map(|row| machines.iter().filter_map(|machine| wrong(&stage, *machine, row)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Builds with each address of the repository. The package must be in the image.
fn builds_from(stage: &Stage, machine: Machine, addresses: &[String]) {
    for address in addresses {
        stage.settings(|settings| {
            settings.baseurl.clone_from(address);
            settings.packages = "releasever = \"9\"\nvars = { nine = \"9\" }".into();
        });
        assert_eq!(
            machine.packages(stage, "install extra\nrun\n"),
            ["base-1.0", "extra-1.0"],
            "{machine:?}: {address}"
        );
    }
}

#[test]
fn a_repository_on_this_machine_is_found_as_dnf_finds_it() {
    for machine in both() {
        let stage = Stage::new(|repo| repo.package(file("extra", "1.0")));
        let here = stage.path().display().to_string();
        sh(
            stage.path(),
            &format!(
                "mkdir -p 'my repo' 'h\u{e4}user' '50%' mirror/9/os base prefix; for d in 'my \
                repo' 'h\u{e4}user' '50%' mirror/9/os; \
                 do cp -r repo/Packages repo/repodata \"$d\"; done; \
                 createrepo_c --quiet --baseurl file://{here}/repo/ -o base repo; createrepo_c \
                 --quiet --location-prefix ../repo/ -o prefix repo; \
                 echo file://{here}/repo/ > mirrors"
            ),
        );
        let names = [
            "my%20repo",
            "h%C3%A4user",
            "50%25",
            "mirror/$releasever/os",
            "mirror/${nine}/os",
            "base",
            "prefix",
        ];
        builds_from(&stage, machine, &names.map(|name| format!("file://{here}/{name}")));
        let list = format!("file://{here}/mirrors");
        stage.settings(|_| ());
        let path = stage.repo().join("settings.toml");
        let text = fs::read_to_string(&path)
            .unwrap()
            .replace("baseurl = \"./\"", &format!("mirrorlist = \"{list}\""));
        fs::write(path, text).unwrap();
        assert_eq!(
            machine.packages(&stage, "install extra\nrun\n"),
            ["base-1.0", "extra-1.0"],
            "{machine:?}: {list}"
        );
    }
}

#[test]
fn a_server_cannot_make_osimg_use_local_files_as_packages() {
    for machine in both() {
        let stage = Stage::new(|repo| repo.package(file("extra", "1.0")));
        let here = stage.path().display().to_string();
        sh(
            stage.path(),
            &format!("mkdir far; createrepo_c --quiet --baseurl file://{here}/repo/ -o far repo"),
        );
        let server = Server::start(stage.path().join("far"), |_, _| Answer::File);
        stage.settings(|settings| settings.baseurl = server.url());
        machine.fails(&stage, "install extra\nrun\n", 5).reports(&["file://", "hint: "]);
    }
}
