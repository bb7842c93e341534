//! Every package manager makes the same lock, and installs the same from it.

use crate::machines::{Machine, both};
use crate::server::{Answer, Server};
use crate::stage::{Run, Stage};
use crate::support::repo::{Package, Repo};
use std::fs;

pub const RECIPE: &str =
    "install old-1.0\ngroup install Core\nts run\nupgrade old\nremove hello\nts run\n";

pub fn repository(repo: Repo) -> Repo {
    let file = |name: &str| {
        Package::named(name).requires_first("base").file(
            &format!("/usr/share/{name}"),
            "x\n",
            0o644,
            "root:root",
        )
    };
    repo.package(file("old"))
        .package(file("old").version("2.0"))
        .package(file("hello"))
        .package(file("core").requires("library"))
        .package(file("library"))
        .group("core", "Core", &["core", "hello"])
}

fn lock<'a>(machine: Machine, stage: &'a Stage) -> Run<'a> {
    let path = stage.recipe(RECIPE);
    let run = machine
        .osimg(stage, &["lock"], &[])
        .arg(path)
        .arg("--settings")
        .arg(stage.repo().join("settings.toml"));
    run.args(&["--package-manager", machine.manager(), "--cache"])
        .arg(stage.cache().join(format!("{machine:?}")))
        .arg("--workdir")
        .arg(stage.work())
}

/// The lock without the reasons of packages: dnf 4 records the group, dnf 5 the user.
fn locked(stage: &Stage) -> String {
    let text = fs::read_to_string(stage.path().join("image.lock")).unwrap();
    text.lines().filter(|line| !line.starts_with("reason = ")).collect::<Vec<_>>().join("\n")
}

#[test]
fn dnf_4_and_dnf_5_make_the_same_lock_and_each_installs_that_of_the_other() {
    let machines = both();
    let stage = Stage::new(repository);
    let mut made = Vec::new();
    for machine in &machines {
        lock(*machine, &stage).succeeds();
        made.push(locked(&stage));
        for other in &machines {
            other.build(&stage, RECIPE).arg("--locked").succeeds();
            let listed = stage.members();
            for (name, there) in
                [("old", true), ("core", true), ("library", true), ("hello", false)]
            {
                assert_eq!(
                    listed.contains(&format!("./usr/share/{name}")),
                    there,
                    "{name}: made by {machine:?}, built by {other:?}"
                );
            }
            let manifest = stage.manifest();
            let count = manifest["packages"].as_array().unwrap().len();
            assert_eq!((count, manifest["lock"]["name"].as_str()), (4, Some("image.lock")));
        }
    }
    assert!(made.windows(2).all(|pair| pair[0] == pair[1]), "{made:#?}");
}

#[test]
fn dnf_5_fetches_locked_packages_by_location_and_reports_missing_and_changed_ones() {
    if !Machine::Dnf5.is_available() {
        return;
    }
    let stage = Stage::new(repository);
    let server = Server::start(stage.repo(), |_, _| Answer::File);
    // The first address does not work, so the next one is used.
    stage.settings(|settings| {
        settings.baseurl = format!("http://127.0.0.1:9/\", \"{}", server.url())
    });
    let text = fs::read_to_string(stage.repo().join("settings.toml")).unwrap();
    let list = text.lines().map(|l| {
        if l.starts_with("baseurl") { l.replace("= \"", "= [\"") + "]" } else { l.to_owned() }
    });
    fs::write(stage.repo().join("settings.toml"), list.collect::<Vec<_>>().join("\n")).unwrap();
    lock(Machine::Dnf5, &stage).arg("--metadata-only").succeeds();
    fs::remove_dir_all(stage.cache()).unwrap();
    fs::create_dir(stage.cache()).unwrap();
    let before = server.requests().len();
    Machine::Dnf5.build(&stage, RECIPE).arg("--locked").succeeds();
    let asked = server.requests().split_off(before);
    assert_eq!(asked.len(), 6, "{asked:?}");
    assert!(asked.iter().all(|path| path.ends_with(".rpm")), "{asked:?}");
    let library = stage.repo().join("Packages/library-1.0-1.noarch.rpm");
    let mut bytes = fs::read(&library).unwrap();
    let at = bytes.len() - 9;
    bytes[at] ^= 1;
    for (what, code, words) in
        [(Some(bytes), 6, "checksums differ"), (None, 5, "no longer in their repositories")]
    {
        fs::remove_dir_all(stage.cache()).unwrap();
        fs::create_dir(stage.cache()).unwrap();
        match what {
            Some(bytes) => fs::write(&library, bytes).unwrap(),
            None => fs::remove_file(&library).unwrap(),
        }
        Machine::Dnf5
            .build(&stage, RECIPE)
            .arg("--locked")
            .fails(code)
            .reports(&["library", words]);
    }
}

#[test]
fn locked_packages_are_fetched_from_a_mirror_list_with_dnf_4_and_dnf_5() {
    let machines = both();
    let stage = Stage::new(repository);
    let server = Server::start(stage.repo(), |_, _| Answer::File);
    fs::write(stage.repo().join("mirrors"), format!("http://127.0.0.1:9/\n{}\n", server.url()))
        .unwrap();
    stage.settings(|settings| settings.baseurl = format!("{}mirrors", server.url()));
    let path = stage.repo().join("settings.toml");
    fs::write(&path, fs::read_to_string(&path).unwrap().replace("baseurl =", "mirrorlist ="))
        .unwrap();
    for machine in machines {
        lock(machine, &stage).arg("--metadata-only").succeeds();
        fs::remove_dir_all(stage.cache()).unwrap();
        fs::create_dir(stage.cache()).unwrap();
        machine.build(&stage, RECIPE).arg("--locked").succeeds();
    }
}
