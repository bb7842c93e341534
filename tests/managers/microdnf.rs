//! microdnf, where there is one: no index of packages has it, so its tree is made by hand; CONTRIBUTING.md says how.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::demo;
use crate::scenarios::{self, SCENARIOS};
use crate::server::{Answer, Server};
use crate::stage::{Done, OSIMG, Run, Stage, run};
use crate::support::repo::{Package, Repo, Signature, When};
use crate::support::require_root;

const ENTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/managers/enter");

/// The tree that has microdnf and rpm, and no dnf.
fn tree() -> PathBuf {
    assert!(require_root(), "root is needed");
    let tree = PathBuf::from(std::env::var_os("OSIMG_TEST_MICRODNF").expect("OSIMG_TEST_MICRODNF is not set"));
    assert!(tree.join("usr/bin/microdnf").is_file() && !tree.join("usr/lib/python3/dist-packages/dnf").exists(), "{}", tree.display());
    tree.canonicalize().unwrap()
}

/// Has the tree's microdnf fill the images of this stage.
fn by_microdnf(stage: &Stage, more: &str) {
    by_microdnf_from(stage, "./", more);
}

fn by_microdnf_from(stage: &Stage, baseurl: &str, more: &str) {
    stage.settings(|settings| {
        settings.baseurl = baseurl.to_owned();
        settings.packages = format!("manager = \"microdnf\"\nbootstrap = \"{}\"", tree().display());
        settings.finish = more.to_owned();
    });
}

/// The packages of the image, as this machine's rpm lists them.
fn installed(stage: &Stage) -> Vec<String> {
    let root = stage.path().join("judged");
    fs::create_dir(&root).unwrap();
    run(Command::new("tar").arg("-xf").arg(stage.image()).arg("-C").arg(&root).arg("./var/lib/rpm"));
    let mut rpm = Command::new("rpm");
    rpm.env("RPM_FORCE_DEBIAN", "1").arg("--dbpath").arg(root.join("var/lib/rpm")).args(["-qa", "--qf", "%{NAME}-%{VERSION}\n"]);
    let listed = String::from_utf8(run(&mut rpm)).unwrap();
    fs::remove_dir_all(&root).unwrap();
    let mut names: Vec<String> = listed.lines().filter(|name| !name.starts_with("gpg-pubkey")).map(str::to_owned).collect();
    names.sort();
    names
}

/// The scenarios of dnf's shell that microdnf has no words for; each is refused by its line, before anything comes.
const REFUSED: &[&str] = &[
    "an environment that lists a group nobody has",
    "commands: install, then install and remove",
    "commands: one for another that it conflicts with",
    "downgrade: an unknown package",
    "downgrade: many",
    "downgrade: one",
    "group mark install: the group is there for a removal, its packages are the person's",
    "group mark remove: the packages stay",
    "group mark: an unknown group",
    "group: install",
    "group: install an unknown one",
    "group: remove",
    "group: remove an unknown one",
    "group: update",
    "group: upgrade",
    "install: a file after another job",
    "mark group: a package of no installed group",
    "mark group: the package goes with its group",
    "swap: an unknown package",
    "swap: globs",
    "swap: groups",
    "swap: two packages",
    "upgrade: an advisory",
    "upgrade: for safety, as far as it goes",
    "upgrade: minimal, for a bug",
    "upgrade: minimal, for safety",
    "upgrade: minimal, one",
    "upgrade: nothing to do for safety",
];

#[test]
#[ignore = "needs a tools tree with microdnf: OSIMG_TEST_MICRODNF=DIR"]
fn the_scenarios_of_dnf_shell_give_the_same_set_with_microdnf_or_are_refused_by_their_line() {
    let stage = Stage::new(scenarios::repository);
    scenarios::updates(&stage);
    by_microdnf(&stage, "[[packages.repository]]\nid = \"updates\"\nbaseurl = \"../updates/\"\nenabled = false");
    let (mut wrong, mut refused) = (Vec::new(), BTreeSet::new());
    for (scenario, recipe, expected) in SCENARIOS {
        let done = stage.build(recipe).run();
        let mut told = |what: String| wrong.push(format!("{scenario}: {what}\n{}", done.stderr));
        if done.code == Some(3) && done.stderr.contains("microdnf") && done.stderr.contains("hint: bootstrap = true") {
            if !done.stderr.contains("image.yum:") || stage.image().exists() {
                told("refused without its line".into());
            }
            refused.insert(*scenario);
            continue;
        }
        match expected {
            Ok(packages) => {
                let mut expected: Vec<String> = packages.iter().chain(&["base-1.0"]).map(|name| (*name).to_owned()).collect();
                expected.sort();
                if done.code == Some(0) {
                    let found = installed(&stage);
                    fs::remove_file(stage.image()).unwrap();
                    if found != expected {
                        told(format!("{found:?} instead of {expected:?}"));
                    }
                } else {
                    told(format!("exit code {:?}", done.code));
                }
            }
            Err((code, words)) => {
                let missing: Vec<&&str> = words.iter().filter(|word| !done.stderr.contains(**word)).collect();
                if done.code != Some(*code) || !missing.is_empty() || stage.image().exists() {
                    told(format!("exit code {:?} and not {code}, not said: {missing:?}", done.code));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert_eq!(refused, REFUSED.iter().copied().collect());
    stage.nothing_is_left();
}

fn file(name: &str) -> Package {
    Package::named(name).requires_first("base").file(&format!("/usr/share/{name}"), format!("{name}\n"), 0o644, "root:root")
}

fn repository(repo: Repo) -> Repo {
    repo.package(file("hello"))
        .package(file("broken").requires("libmissing.so.7"))
        .package(file("left"))
        .package(file("right").conflicts("left"))
        .package(file("one").file("/usr/share/same", "1\n", 0o644, "root:root"))
        .package(file("two").file("/usr/share/same", "2\n", 0o644, "root:root"))
        .package(
            file("runs").epoch(3).provides("a-thing").scriptlet(When::Pre, "echo early").scriptlet(When::Post, "echo ran > /usr/share/ran"),
        )
        .package(file("early").lua(When::Pretrans, "local f = io.open('/before', 'a'); f:write('before\\n'); f:close()"))
        .package(file("fails-pre").scriptlet(When::Pre, "echo before; exit 3"))
        .package(file("fails-post").scriptlet(When::Post, "echo after; exit 4"))
        .package(file("fails-mutely").scriptlet(When::Post, "printf 'no end of line'; exit 4"))
        .package(file("fails-lua").lua(When::Post, "error('in lua')"))
        .package(file("fails-posttrans").scriptlet(When::Posttrans, "echo at the end; exit 5"))
        .package(file("fails-preun").scriptlet(When::Preun, "echo going; exit 6"))
        .package(file("unsigned").signed_by(Signature::None))
        .package(file("foreign").signed_by(Signature::Foreign))
        .package(file("changed"))
        .package(file("gone"))
        .group("core", "Core", &["hello"])
}

/// What is wrong, the recipe, the exit code, and what must be said.
type Case = (&'static str, &'static str, i32, &'static [&'static str]);

const CASES: &[Case] = &[
    ("a missing package", "install no-such\nrun\n", 7, &["image.yum:1", "no-such"]),
    ("a missing one beside a good one", "install hello\ninstall no-such\nrun\n", 7, &["image.yum:2", "no-such"]),
    ("an excluded package", "config exclude hello\ninstall hello\nrun\n", 7, &["image.yum:2", "hello"]),
    ("no repository", "repo disable *\ninstall hello\nrun\n", 3, &["no repository is enabled"]),
    ("a broken dependency", "install hello broken\nrun\n", 7, &["libmissing.so.7", "broken"]),
    ("a conflict", "install left right\nrun\n", 7, &["left", "right", "conflict"]),
    ("a file in two packages", "install one two\nrun\n", 7, &["/usr/share/same"]),
    ("a failing %pre", "install fails-pre hello\nrun\n", 7, &["fails-pre", "PREIN", "before"]),
    ("a failing %post", "install fails-post\nrun\n", 7, &["fails-post", "POSTIN", "after"]),
    ("a failing %post that ends no line", "install fails-mutely\nrun\n", 7, &["fails-mutely", "POSTIN"]),
    ("a failing %post in Lua", "install fails-lua\nrun\n", 7, &["fails-lua", "POSTIN"]),
    ("a failing %posttrans", "install fails-posttrans\nrun\n", 7, &["fails-posttrans", "POSTTRANS", "at the end"]),
    ("a failing %preun", "install fails-preun\nrun\nremove fails-preun\nrun\n", 7, &["fails-preun", "PREUN", "going"]),
    ("nobody's signature", "install unsigned\nrun\n", 6, &["unsigned", "no pinned key signed"]),
    ("somebody else's signature", "install foreign\nrun\n", 6, &["foreign", "no pinned key signed"]),
    ("one unsigned of two", "install hello unsigned\nrun\n", 6, &["unsigned"]),
    ("a package that was changed", "install changed\nrun\n", 6, &["changed"]),
    ("a package that is gone", "install gone\nrun\n", 5, &["gone"]),
    ("a removal of what is not there", "install hello\nrun\nremove left\nrun\n", 7, &["image.yum:3", "left"]),
    ("a group", "install hello\ninstall @core\nrun\n", 3, &["image.yum:2", "groups", "bootstrap = true"]),
    ("a module", "module enable a:1\ninstall hello\nrun\n", 3, &["image.yum:1", "modules", "bootstrap = true"]),
    ("a mark", "install hello\nrun\nmark install hello\nrun\n", 3, &["image.yum:3", "marks", "bootstrap = true"]),
    ("two kinds of jobs", "install hello\nrun\nremove hello\ninstall left\nrun\n", 3, &["image.yum:4", "remove", "bootstrap = true"]),
    ("a file", "install ./repo/Packages/hello-1.0-1.noarch.rpm\nrun\n", 3, &["image.yum:1", "files", "bootstrap = true"]),
    ("a setting", "config obsoletes 0\ninstall hello\nrun\n", 3, &["obsoletes", "bootstrap = true"]),
];

/// A byte of the payload is another one.
fn damage(package: &Path) {
    let mut bytes = fs::read(package).unwrap();
    let at = bytes.len() - 10;
    bytes[at] ^= 0xff;
    fs::write(package, bytes).unwrap();
}

fn wrong(stage: &Stage, cases: &[Case]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (what, recipe, code, words) in cases {
        let done = stage.build(recipe).run();
        let missing: Vec<&&str> = words.iter().filter(|word| !done.stderr.contains(**word)).collect();
        if done.code != Some(*code) || !missing.is_empty() || stage.image().exists() {
            wrong.push(format!("{what}: exit code {:?} and not {code}, not said: {missing:?}\n{}", done.code, done.stderr));
        }
        // What one case leaves must not be the next one's.
        let _ = fs::remove_file(stage.image());
        if *code == 3 && done.stderr.contains("downloading") {
            wrong.push(format!("{what}: refused after a download\n{}", done.stderr));
        }
    }
    wrong
}

#[test]
#[ignore = "needs a tools tree with microdnf: OSIMG_TEST_MICRODNF=DIR"]
fn what_fails_with_dnf_fails_with_microdnf_and_says_the_same_things() {
    let stage = Stage::new(repository);
    by_microdnf(&stage, "");
    let packages = stage.repo().join("Packages");
    damage(&packages.join("changed-1.0-1.noarch.rpm"));
    fs::remove_file(packages.join("gone-1.0-1.noarch.rpm")).unwrap();
    let wrong = wrong(&stage, CASES);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    stage.nothing_is_left();
}

#[test]
#[ignore = "needs a tools tree with microdnf: OSIMG_TEST_MICRODNF=DIR"]
fn over_a_network_packages_come_once_and_damaged_ones_again_and_the_bytes_are_the_same() {
    let stage = Stage::new(repository);
    let server = Server::start(stage.repo(), |path, times| match (path, times) {
        // Once changed on the way, and once refused by a busy server.
        (path, 0) if path.contains("left-") => Answer::Changed,
        (path, 0) if path.contains("hello-") => Answer::Status(503),
        _ => Answer::File,
    });
    by_microdnf_from(&stage, &server.url(), "");
    let recipe = "install runs a-thing\nrun\ninstall left hello early\nrun\nremove hello\nrun\n";
    stage.build(recipe).succeeds();
    assert_eq!(stage.content("./usr/share/ran"), "ran\n");
    assert_eq!(stage.content("./before"), "before\n", "what comes before the first package ran once, and not while packages came");
    let manifest = stage.manifest();
    assert!(manifest["builder"]["package_manager"].as_str().unwrap().starts_with("microdnf with rpm 4."), "{}", manifest["builder"]);
    let repository = &manifest["repositories"][0];
    assert!(repository["repomd"].as_str().is_some_and(|digest| digest.starts_with("sha256:")), "{manifest}");
    let (first, asked) = (fs::read(stage.image()).unwrap(), server.asked().len());
    // To libdnf what came within this very second is new.
    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    for path in walk(&stage.cache()) {
        fs::File::open(&path).and_then(|file| file.set_modified(hour_ago)).unwrap();
    }
    stage.build(recipe).succeeds();
    assert!(fs::read(stage.image()).unwrap() == first, "other bytes come out of the second build");
    let again: Vec<String> = server.asked()[asked..].iter().filter(|path| path.ends_with(".rpm")).cloned().collect();
    assert!(again.is_empty(), "{again:?}");
    assert!(server.asked()[asked..].iter().any(|path| path.ends_with("repomd.xml")), "the repository is asked for newer metadata");
    // What was damaged in the cache comes anew.
    let cached = walk(&stage.cache()).into_iter().find(|path| path.ends_with("left-1.0-1.noarch.rpm")).expect("a cached package");
    damage(&cached);
    stage.build(recipe).succeeds();
    assert!(fs::read(stage.image()).unwrap() == first);
    stage.nothing_is_left();
}

#[test]
#[ignore = "needs a tools tree with microdnf: OSIMG_TEST_MICRODNF=DIR"]
fn a_server_that_fails_or_lies_is_told_from_a_recipe_that_does() {
    for (what, answer, code, words) in [
        ("gone", Answer::Status(404), 5, ["404", "hello-1.0-1"]),
        ("forbidden", Answer::Status(403), 5, ["403", "hello-1.0-1"]),
        ("changed", Answer::Changed, 5, ["hello-1.0-1", "hint: "]),
    ] {
        let stage = Stage::new(repository);
        let answer = std::sync::Mutex::new(answer);
        let server = Server::start(stage.repo(), move |path, _| match &*answer.lock().unwrap() {
            _ if !path.contains("hello-") => Answer::File,
            Answer::Status(status) => Answer::Status(*status),
            _ => Answer::Changed,
        });
        by_microdnf_from(&stage, &server.url(), "");
        let done = stage.build("install hello\nrun\n").run();
        assert!(done.code == Some(code) && words.iter().all(|word| done.stderr.contains(word)), "{what}: {:?}\n{}", done.code, done.stderr);
    }
    let stage = Stage::new(repository);
    // Port 9 of this machine discards, where anything listens there at all.
    by_microdnf_from(&stage, "http://127.0.0.1:9/", "");
    stage.build("install hello\nrun\n").fails(5).says(&["127.0.0.1:9"]);
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found
}

/// The program on a machine that is the tree: microdnf is its only package manager.
fn on_its_own<'a>(stage: &'a Stage, words: &[&str], folders: &[&Path]) -> Run<'a> {
    let scratch = stage.path().join("machine");
    fs::create_dir_all(&scratch).unwrap();
    let program = Path::new(OSIMG).parent().unwrap();
    let run = stage.osimg(ENTER, &[]).arg(tree()).arg(scratch).arg(stage.path()).arg(program);
    folders.iter().fold(run, |run, folder| run.arg(folder)).arg("--").arg(OSIMG).args(words)
}

#[test]
#[ignore = "needs a tools tree with microdnf: OSIMG_TEST_MICRODNF=DIR"]
fn a_machine_that_has_microdnf_alone_builds_with_it_and_doctor_names_it() {
    let stage = Stage::new(repository);
    let recipe = stage.recipe("install hello\nrun\n");
    let doctor: Done = on_its_own(&stage, &["doctor"], &[]).run();
    assert!(
        doctor.stdout.lines().any(|line| line.starts_with("ok      package manager") && line.contains("microdnf")),
        "{}{}",
        doctor.stdout,
        doctor.stderr
    );
    let settings = stage.repo().join("settings.toml");
    let build = || on_its_own(&stage, &["build"], &[]).arg(&recipe).arg("--settings").arg(&settings);
    let cache = stage.cache();
    build().arg("--cache").arg(&cache).arg("--workdir").arg(stage.work()).arg("--output").arg(stage.image()).succeeds();
    assert_eq!(installed(&stage), ["base-1.0", "hello-1.0"]);
    let plan = on_its_own(&stage, &["plan"], &[]).arg(&recipe).arg("--settings").arg(&settings).run();
    assert!(plan.code == Some(0) && plan.stdout.contains("package manager\n  microdnf\n"), "{}{}", plan.stdout, plan.stderr);
    build().arg("--locked").fails(3);
    let lock = on_its_own(&stage, &["lock"], &[]).arg(&recipe).arg("--settings").arg(&settings).run();
    assert!(lock.code == Some(3) && lock.stderr.contains("bootstrap = true"), "{}", lock.stderr);
    stage.nothing_is_left();
}

#[test]
#[ignore = "needs a tools tree with microdnf: OSIMG_TEST_MICRODNF=DIR"]
fn microdnf_makes_the_root_whose_dnf_makes_the_image() {
    let Some(repository) = demo::demo() else { return };
    let stage = Stage::empty();
    let text = fs::read_to_string(repository.join("osimg-demo.toml"))
        .unwrap()
        .replace("\"./\"", &format!("\"{}\"", repository.display()))
        .replace("file = \"", &format!("file = \"{}/", repository.display()));
    let own = stage.write("own.toml", text.replace("dbpath = \"/var/lib/rpm\"", "bootstrap = true"));
    let plain = stage.write("plain.toml", &text);
    // What microdnf itself has no words for.
    let recipe = stage.recipe("install bash rpm system-release\nrun\nremove rpm\ninstall gawk\nrun\n");
    let options = ["--level", "fast"];
    stage.build_file(&recipe).arg("--settings").arg(plain).args(&options).succeeds();
    let expected = stage.manifest()["packages"].clone();
    on_its_own(&stage, &["build"], &[&repository])
        .arg(&recipe)
        .arg("--settings")
        .arg(own)
        .args(&options)
        .arg("--cache")
        .arg(stage.cache())
        .arg("--workdir")
        .arg(stage.work())
        .arg("--output")
        .arg(stage.image())
        .succeeds();
    let manifest = stage.manifest();
    assert!(manifest["builder"]["package_manager"].as_str().unwrap().starts_with("dnf 4"), "{}", manifest["builder"]);
    assert_eq!(manifest["packages"], expected);
    stage.nothing_is_left();
}
