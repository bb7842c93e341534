//! Mistakes that `dnf shell` ignores with exit status 0. They fail with every package manager, with
//! the same messages.

use crate::machines::{Machine, both};
use crate::server::{Answer, Server};
use crate::stage::Stage;
use crate::support::repo::{Package, Repo, Signature, Trigger, When, index};
use nix::sys::signal::Signal;
use std::fs;
use std::time::Duration;

fn file(name: &str) -> Package {
    Package::named(name).requires_first("base").file(
        &format!("/usr/share/{name}"),
        format!("{name}\n"),
        0o644,
        "root:root",
    )
}

pub fn repository(repo: Repo) -> Repo {
    repo.package(file("hello"))
        .package(file("python3-hallo"))
        .package(file("broken").requires("libmissing.so.7"))
        .package(file("left").file("/usr/share/left.d/file", "x", 0o644, "root:root"))
        .package(file("right").conflicts("left"))
        .package(file("one").file("/usr/share/same", "1\n", 0o644, "root:root"))
        .package(file("two").file("/usr/share/same", "2\n", 0o644, "root:root"))
        .package(file("fails-pretrans").scriptlet(When::Pretrans, "echo before all; exit 2"))
        .package(file("fails-pre").scriptlet(When::Pre, "echo before; exit 3"))
        .package(file("fails-post").scriptlet(When::Post, "echo after; exit 4"))
        .package(file("fails-posttrans").scriptlet(When::Posttrans, "echo at the end; exit 5"))
        .package(file("fails-preun").scriptlet(When::Preun, "echo going; exit 6"))
        .package(file("fails-postun").scriptlet(When::Postun, "echo gone; exit 7"))
        .package(file("fails-trigger").trigger(Trigger::Package("left"), "echo triggered; exit 8"))
        .package(
            file("fails-filetrigger")
                .trigger(Trigger::TransactionFile("/usr/share/left"), "echo by a file; exit 9"),
        )
        .package(file("damaged"))
        .package(file("unsigned").signed_by(Signature::None))
        .package(file("foreign").signed_by(Signature::Foreign))
        .package(file("changed"))
        .package(file("gone"))
        .group("core", "Core", &["hello"])
        .group("pair", "Pair", &["hello", "phantom"])
        .group("corn", "Corn", &["hello"])
        .group("both", "Both", &["hello", "left"])
        .environment("minimal-environment", "Minimal Install", &["core", "pair"])
}

/// The mistake, the recipe, the exit code, and the required texts of the message.
type Case = (&'static str, &'static str, i32, &'static [&'static str]);

const CASES: &[Case] = &[
    ("a missing package", "install no-such\nts run\n", 7, &["image.yum:1", "no-such"]),
    (
        "a missing one after a good one",
        "install hello no-such\nts run\n",
        7,
        &["image.yum:1", "no-such"],
    ),
    (
        "a missing one and a good one",
        "install hello\ninstall no-such\nts run\n",
        7,
        &["image.yum:2", "no-such"],
    ),
    (
        "two missing packages",
        "install no-such\ninstall nothing\nts run\n",
        7,
        &["image.yum:1", "no-such", "image.yum:2", "nothing"],
    ),
    ("a similar name", "install hallo\nts run\n", 7, &["image.yum:1", "python3-hallo"]),
    (
        "an excluded package",
        "config exclude hello\ninstall hello\nts run\n",
        7,
        &["image.yum:2", "'hello' is excluded"],
    ),
    (
        "an excluded mandatory member",
        "config exclude left\ngroup install both\nts run\n",
        7,
        &["image.yum:2", "mandatory member left, which is excluded", "install hello"],
    ),
    (
        "a missing group and a good line",
        "install hello\ngroup install 'No Such'\nts run\n",
        7,
        &["image.yum:2", "No Such", "Core (core)"],
    ),
    (
        "a name that two groups have",
        "group install 'Cor*'\nts run\n",
        7,
        &["image.yum:1", "Core (core)", "Corn (corn)"],
    ),
    ("a missing environment", "install @^core\nts run\n", 7, &["image.yum:1", "core"]),
    (
        "a missing mandatory member",
        "group install Pair\nts run\n",
        7,
        &["image.yum:1", "Pair", "phantom, which is in no", "install hello"],
    ),
    (
        "a missing mandatory member of an environment",
        "group install 'Minimal Install'\nts run\n",
        7,
        &["image.yum:1", "phantom"],
    ),
    ("a misspelt command", "isntall hello\nts run\n", 3, &["image.yum:1"]),
    ("an option in a line", "install --nogpgcheck hello\nts run\n", 3, &["image.yum:1"]),
    ("an open quote", "install 'hello\nts run\n", 3, &["image.yum:1"]),
    ("no repository", "repo disable *\ninstall hello\nts run\n", 3, &["no repository is enabled"]),
    (
        "an unknown repository",
        "repo enable no-such\ninstall hello\nts run\n",
        3,
        &["image.yum:1", "no-such", "are: tiny"],
    ),
    (
        "a broken dependency",
        "install hello\ninstall broken\nts run\n",
        7,
        &["image.yum:2: dep", "libmissing.so.7", "broken"],
    ),
    ("a conflict", "install left right\nts run\n", 7, &["left", "right", "conflict"]),
    ("a file in two packages", "install one two\nts run\n", 7, &["/usr/share/same"]),
    (
        "a conflict, and strict switched off",
        "config strict 0\ninstall left right\nts run\n",
        3,
        &["image.yum:1", "strict"],
    ),
    (
        "skipping broken packages",
        "install --skip-broken hello broken\nts run\n",
        3,
        &["image.yum:1", "--skip-broken"],
    ),
    (
        "a failing %pretrans",
        "install shell\nts run\ninstall fails-pretrans\nts run\n",
        7,
        &["fails-pretrans", "PRETRANS", "before all"],
    ),
    ("a failing %pre", "install fails-pre hello\nts run\n", 7, &["fails-pre", "PREIN", "before"]),
    ("a failing %post", "install fails-post\nts run\n", 7, &["fails-post", "POSTIN", "after"]),
    (
        "a failing %posttrans",
        "install fails-posttrans\nts run\n",
        7,
        &["fails-posttrans", "POSTTRANS", "at the end"],
    ),
    (
        "a failing %preun",
        "install fails-preun\nts run\nremove fails-preun\nts run\n",
        7,
        &["fails-preun", "PREUN", "going"],
    ),
    (
        "a failing %postun",
        "install fails-postun\nts run\nremove fails-postun\nts run\n",
        7,
        &["fails-postun", "POSTUN", "gone"],
    ),
    (
        "a failing %trigger",
        "install fails-trigger\nts run\ninstall left\nts run\n",
        7,
        &["fails-trigger", "triggered"],
    ),
    (
        "a failing %transfiletrigger",
        "install fails-filetrigger\nts run\ninstall left\nts run\n",
        7,
        &["fails-filetrigger", "by a file"],
    ),
    ("an unsigned package", "install unsigned\nts run\n", 6, &["unsigned", "by a pinned key"]),
    ("someone else's signature", "install foreign\nts run\n", 6, &["foreign", "by a pinned key"]),
    ("one unsigned of two", "install hello unsigned\nts run\n", 6, &["unsigned"]),
    ("a changed package", "install changed\nts run\n", 6, &["changed", "metadata"]),
    (
        "a damaged payload that matches its metadata",
        "install damaged\nts run\n",
        6,
        &["damaged", "digest: BAD"],
    ),
    ("a missing package file", "install gone\nts run\n", 5, &["gone"]),
    (
        "a first transaction that fails",
        "install broken\nts run\ninstall hello\nts run\n",
        7,
        &["libmissing.so.7"],
    ),
    (
        "a removal of a package that is not installed",
        "install hello\nts run\nremove left\nts run\n",
        7,
        &["image.yum:3", "left"],
    ),
    (
        "no run at the end, and a group is missing",
        "install hello\ngroup install 'No Such'\n",
        7,
        &["image.yum:2", "No Such"],
    ),
    ("no run at the end, and a file in two packages", "install one two\n", 7, &["/usr/share/same"]),
    ("no run at the end, and a failing %pre", "install fails-pre\n", 7, &["fails-pre", "PREIN"]),
    (
        "no run at the end, and a failing %post",
        "install fails-post\n",
        7,
        &["fails-post", "POSTIN"],
    ),
    (
        "no run at the end, and an unsigned package",
        "install unsigned\n",
        6,
        &["unsigned", "by a pinned key"],
    ),
    ("no run at the end, and a damaged payload", "install damaged\n", 6, &["damaged"]),
    (
        "a mark of a package that is not installed",
        "install hello\nts run\nmark install left\nts run\n",
        7,
        &["image.yum:3", "left"],
    ),
];

#[test]
fn mistakes_that_dnf_shell_ignores_fail_with_dnf_4_and_dnf_5() {
    let stage = stage();
    let wrong: Vec<String> =
        both().into_iter().flat_map(|machine| wrong(&stage, machine)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// With a changed package and one whose file is missing.
pub fn stage() -> Stage {
    let stage = Stage::new(repository);
    // More bytes than the signature covers, and a file that exists only in the metadata.
    let packages = stage.repo().join("Packages");
    let damage = |name: &str| {
        let file = packages.join(format!("{name}-1.0-1.noarch.rpm"));
        let mut bytes = fs::read(&file).unwrap();
        let at = bytes.len() - 10;
        bytes[at] ^= 0xff;
        fs::write(file, bytes).unwrap();
    };
    damage("damaged");
    index(&stage.repo());
    damage("changed");
    fs::remove_file(packages.join("gone-1.0-1.noarch.rpm")).unwrap();
    stage
}

/// Every case that does not fail as expected.
pub fn wrong(stage: &Stage, machine: Machine) -> Vec<String> {
    let mut wrong = Vec::new();
    for (what, recipe, code, words) in CASES {
        let done = machine.build(stage, recipe).run();
        let missing: Vec<&&str> =
            words.iter().filter(|word| !done.stderr.contains(**word)).collect();
        if done.code != Some(*code) || !missing.is_empty() || stage.image().exists() {
            wrong.push(format!(
                "{what}, with {machine:?}: exit code {:?} instead of {code}, not reported: \
                 {missing:?}\n{}",
                done.code, done.stderr
            ));
        }
    }
    wrong
}

#[test]
fn a_repository_that_cannot_be_reached_fails_with_dnf_4_and_dnf_5() {
    let machines = both();
    let stage = Stage::new(repository);
    // Port 9 of this machine discards data, if any server listens there at all.
    stage.settings(|settings| settings.baseurl = "http://127.0.0.1:9/".into());
    for machine in machines {
        machine.fails(&stage, "install hello\nts run\n", 5).reports(&["127.0.0.1:9"]);
    }
}

#[test]
fn an_unreachable_repository_that_a_recipe_enables_fails_with_dnf_4_and_dnf_5_in_every_recipe() {
    let machines = both();
    let stage = Stage::new(repository);
    stage.settings(|settings| {
        settings.finish =
            "[[packages.repository]]\nid = \"far\"\nbaseurl = \"http://127.0.0.1:9/\"\nenabled = \
             false"
                .into();
    });
    for machine in machines {
        machine
            .fails(&stage, "repo enable far\ninstall hello\nts run\n", 5)
            .reports(&["127.0.0.1:9"]);
    }
}

#[test]
fn an_interrupt_during_the_download_ends_a_build_with_dnf_4_and_dnf_5_and_no_step_follows() {
    for machine in both() {
        let stage = Stage::new(repository);
        let server = Server::start(stage.repo(), |path, _| {
            if path.contains("hello") { Answer::Stall } else { Answer::File }
        });
        stage.settings(|settings| settings.baseurl = server.url());
        let started =
            machine.build(&stage, "install hello\nts run\ninstall left\nts run\n").start();
        server.wait_for("hello-1.0");
        started.interrupt(Signal::SIGINT, 130, Duration::from_secs(5)).reports(&["SIGINT"]);
        assert!(!server.requests().iter().any(|path| path.contains("left-1.0")), "{machine:?}");
    }
}

#[test]
fn a_disk_that_a_scriptlet_fills_fails_a_build_with_dnf_4_and_dnf_5() {
    for machine in both() {
        let stage = Stage::new(|repo| {
            let body = "dd if=/dev/zero of=/usr/greed bs=1048576 count=200 2>&1";
            repo.package(Package::named("greedy").scriptlet(When::Post, body))
        });
        let script =
            format!("mount -t tmpfs -o size=100m none {}; exec \"$@\"", stage.work().display());
        let done = machine
            .build(&stage, "install greedy\nts run\n")
            .behind(&["unshare", "-m", "sh", "-ec", &script, "sh"])
            .run();
        assert!(matches!(done.code, Some(7 | 8)), "{machine:?}: {}", done.stderr);
        done.reports(&["space"]);
        assert!(!stage.image().exists(), "{machine:?}");
    }
}

#[test]
fn a_missing_package_manager_is_reported_with_the_way_to_install_it() {
    if !Machine::Dnf5.is_available() {
        return;
    }
    let stage = Stage::new(repository);
    let build = |name: &str| {
        let recipe = stage.recipe("install hello\nts run\n");
        Machine::Dnf5
            .osimg(&stage, &["build"], &[])
            .arg(recipe)
            .arg("--settings")
            .arg(stage.repo().join("settings.toml"))
            .args(&["--package-manager", name])
            .run()
    };
    for name in ["dnf4", "yum"] {
        let done = build(name);
        assert_eq!(done.code, Some(4), "{}", done.stderr);
        done.reports(&["dnf 4 is not installed", "python3-dnf"]);
    }
}

#[test]
fn doctor_finds_the_package_manager_of_each_machine_and_the_libcomps_that_cannot_read_groups() {
    let stage = Stage::empty();
    for (machine, code, words) in [
        (Machine::Here, 0, ["ok      package manager", "dnf 4"]),
        (Machine::Dnf5, 0, ["ok      package manager", "dnf 5"]),
        (Machine::Trixie, 10, ["MISSING package manager", "dnf 4"]),
    ] {
        if machine.is_available() {
            let done = machine.osimg(&stage, &["doctor"], &[]).run();
            assert_eq!(done.code, Some(code), "{machine:?}: {}{}", done.stdout, done.stderr);
            assert!(
                words.iter().all(|word| done.stdout.contains(word)),
                "{machine:?}: {}",
                done.stdout
            );
        }
    }
}

#[test]
fn a_later_dnf_4_installs_packages_and_reports_why_it_cannot_install_groups() {
    if !Machine::Trixie.is_available() {
        return;
    }
    let stage = Stage::new(repository);
    assert_eq!(
        Machine::Trixie.packages(&stage, "install hello\nts run\n"),
        ["base-1.0", "hello-1.0"]
    );
    let done = Machine::Trixie.build(&stage, "install hello\ngroup install Core\nts run\n").run();
    // It finds no group in the file, or the library crashes on it.
    assert!(matches!(done.code, Some(4 | 7)), "{}", done.stderr);
    assert!(
        ["libcomps", "ended with signal"].iter().any(|words| done.stderr.contains(words)),
        "{}",
        done.stderr
    );
}
