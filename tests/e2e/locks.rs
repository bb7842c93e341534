//! Locks: their content, builds that install exactly the locked packages, and errors.

use crate::server::{Answer, Server};
use crate::stage::{Done, Stage, run};
use crate::support::keys;
use crate::support::repo::{Package, Repo, index};
use crate::support::require_root;
use std::fs;
use std::path::Path;
use std::process::Command;

const RECIPE: &str = "# what for\ngroup install Core\ninstall hello\nts run\n";

fn file(name: &str, version: &str) -> Package {
    let content = format!("{name} {version}\n");
    Package::named(name).version(version).requires_first("base").file(
        &format!("/usr/share/{name}"),
        content,
        0o644,
        "root:root",
    )
}

fn repository(repo: Repo) -> Repo {
    repo.package(file("hello", "1.0").requires("library"))
        .package(file("library", "1.0"))
        .package(file("core", "1.0"))
        .package(file("unasked", "1.0"))
        .group("core", "Core", &["core"])
}

fn lock<'a>(stage: &'a Stage, recipe: &str) -> crate::stage::Run<'a> {
    let path = stage.recipe(recipe);
    stage
        .osimg(crate::stage::OSIMG, &["lock"])
        .arg(path)
        .arg("--settings")
        .arg(stage.repo().join("settings.toml"))
        .arg("--cache")
        .arg(stage.cache())
        .arg("--workdir")
        .arg(stage.work())
}

fn locked(stage: &Stage) -> String {
    fs::read_to_string(stage.path().join("image.lock")).unwrap()
}

/// `name-version` of the packages in the manifest.
fn packages(stage: &Stage) -> Vec<String> {
    let manifest = stage.manifest();
    let nevra = |package: &serde_json::Value| {
        package["nevra"].as_str().unwrap().trim_end_matches("-1.noarch").replace("-0:", "-")
    };
    manifest["packages"].as_array().unwrap().iter().map(nevra).collect()
}

/// Puts newer packages into the repository.
fn release_newer(stage: &Stage) {
    let newer = Stage::new(|repo| {
        repo.package(file("hello", "2.0")).package(file("core", "2.0").version("2.0"))
    });
    for name in ["hello-2.0-1.noarch.rpm", "core-2.0-1.noarch.rpm"] {
        fs::copy(
            newer.repo().join("Packages").join(name),
            stage.repo().join("Packages").join(name),
        )
        .unwrap();
    }
    index(&stage.repo());
}

#[test]
fn a_lock_lists_every_package_and_is_the_same_text_for_the_same_packages() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(repository);
    let done = lock(&stage, RECIPE).succeeds();
    assert_eq!(done.stdout.trim(), stage.path().join("image.lock").display().to_string());
    let text = locked(&stage);
    // rpm itself reads the expected values from the files.
    for name in ["hello", "library", "core", "base"] {
        let rpm = stage.repo().join(format!("Packages/{name}-1.0-1.noarch.rpm"));
        let sum = String::from_utf8(run(Command::new("sha256sum").arg(&rpm))).unwrap();
        assert!(
            text.contains(&format!("checksum = \"sha256:{}\"", sum.split(' ').next().unwrap())),
            "{text}"
        );
        assert!(text.contains(&format!(
            "nevra = \"{name}-0:1.0-1.noarch\"\nrepository = \"tiny\"\nlocation = \
             \"Packages/{name}-1.0-1.noarch.rpm\""
        )));
        assert!(text.contains(&format!("size = {}", rpm.metadata().unwrap().len())));
    }
    assert!(!text.contains("unasked"));
    let repomd = String::from_utf8(run(
        Command::new("sha256sum").arg(stage.repo().join("repodata/repomd.xml"))
    ))
    .unwrap();
    assert!(
        text.contains(&format!("repomd = \"sha256:{}\"", repomd.split(' ').next().unwrap())),
        "{text}"
    );
    assert_eq!(text.matches(&format!("signer = \"{}\"", keys::ours().fingerprint)).count(), 4);
    assert!(text.contains("id = \"core\"\nkind = \"group\"\nmandatory = [\"core\"]"), "{text}");
    lock(&stage, RECIPE).succeeds().reports(&["the same packages as before"]);
    assert_eq!(locked(&stage), text);
}

#[test]
fn a_locked_build_installs_the_locked_packages_after_the_repository_has_changed() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(repository);
    stage.build(RECIPE).succeeds();
    let (before, bytes) = (packages(&stage), fs::read(stage.image()).unwrap());
    lock(&stage, RECIPE).succeeds();
    release_newer(&stage);
    let done = stage.build(RECIPE).arg("--locked").succeeds();
    assert_eq!(packages(&stage), before);
    assert_eq!(
        fs::read(stage.image()).unwrap(),
        bytes,
        "a locked build gives the bytes of the build that it repeats"
    );
    let sum =
        String::from_utf8(run(Command::new("sha256sum").arg(stage.path().join("image.lock"))))
            .unwrap();
    assert_eq!(stage.manifest()["lock"]["sha256"].as_str(), sum.split(' ').next());
    assert_eq!(stage.manifest()["lock"]["name"], "image.lock");
    drop(done);
    stage.build(RECIPE).succeeds();
    assert!(packages(&stage).contains(&"hello-2.0".to_owned()));
    assert!(stage.manifest()["lock"].is_null());
    let done = lock(&stage, RECIPE).succeeds();
    done.reports(&["- hello-0:1.0-1.noarch", "+ hello-0:2.0-1.noarch"]);
}

#[test]
fn a_locked_build_needs_no_repository_with_a_full_cache_and_fetches_by_location_with_an_empty_one()
{
    if !require_root() {
        return;
    }
    let stage = Stage::new(repository);
    let server = Server::start(stage.repo(), |_, _| Answer::File);
    stage.settings(|settings| settings.baseurl = server.url());
    lock(&stage, RECIPE).succeeds();
    let asked = server.requests().len();
    stage.build(RECIPE).arg("--locked").succeeds();
    assert_eq!(server.requests().len(), asked, "nothing is asked for: {:?}", server.requests());
    fs::remove_dir_all(stage.cache()).unwrap();
    fs::create_dir(stage.cache()).unwrap();
    stage.build(RECIPE).arg("--locked").succeeds();
    let later = server.requests().split_off(asked);
    assert_eq!(later.len(), 4, "four packages and no metadata: {later:?}");
    stage.build(RECIPE).arg("--locked").succeeds();
    assert_eq!(server.requests().len(), asked + 4);
}

#[test]
fn a_lock_made_without_downloads_names_no_signer_and_works_as_well() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(repository);
    let server = Server::start(stage.repo(), |_, _| Answer::File);
    stage.settings(|settings| settings.baseurl = server.url());
    lock(&stage, RECIPE).arg("--metadata-only").succeeds();
    assert!(
        !server.requests().iter().any(|path| path.ends_with(".rpm")),
        "{:?}",
        server.requests()
    );
    assert!(!locked(&stage).contains("signer"));
    stage.build(RECIPE).arg("--locked").succeeds();
    assert_eq!(packages(&stage), ["base-1.0", "core-1.0", "hello-1.0", "library-1.0"]);
}

#[test]
fn several_transactions_are_locked_each_on_top_of_the_previous_one() {
    if !require_root() {
        return;
    }
    let stage =
        Stage::new(|repo| repository(repo).package(file("old", "1.0")).package(file("old", "2.0")));
    let recipe = "install old-1.0 hello\nts run\nupgrade old\nremove hello\nts run\ninstall \
                  core\nts run\nreinstall core\ndowngrade old\nts run\n";
    stage.build(recipe).succeeds();
    let (unlocked, bytes) = (packages(&stage), fs::read(stage.image()).unwrap());
    assert_eq!(unlocked, ["base-1.0", "core-1.0", "old-1.0"]);
    lock(&stage, recipe).succeeds();
    assert_eq!(locked(&stage).matches("[[transaction]]").count(), 4, "{}", locked(&stage));
    stage.build(recipe).arg("--locked").succeeds();
    assert_eq!(packages(&stage), unlocked);
    assert_eq!(fs::read(stage.image()).unwrap(), bytes);
}

/// Locks, lets `change` damage something, and builds by the lock from an empty cache. This must
/// fail.
fn after_damage(code: i32, change: impl FnOnce(&Stage)) -> Done {
    let stage = Stage::new(repository);
    lock(&stage, RECIPE).succeeds();
    fs::remove_dir_all(stage.cache()).unwrap();
    fs::create_dir(stage.cache()).unwrap();
    change(&stage);
    stage.build(RECIPE).arg("--locked").fails(code)
}

#[test]
fn a_package_that_differs_from_the_lock_stops_the_build() {
    if !require_root() {
        return;
    }
    let rpm =
        |stage: &Stage, name: &str| stage.repo().join(format!("Packages/{name}-1.0-1.noarch.rpm"));
    let edit = |stage: &Stage, from: &str, to: &str| {
        let text = locked(stage);
        assert!(text.contains(from), "{text}");
        fs::write(stage.path().join("image.lock"), text.replace(from, to)).unwrap();
    };
    after_damage(5, |stage| fs::remove_file(rpm(stage, "library")).unwrap()).reports(&[
        "no longer in their repositories",
        "library",
        "osimg lock",
    ]);
    after_damage(6, |stage| {
        let path = rpm(stage, "library");
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.len() - 9;
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    })
    .reports(&["checksum", "library", "osimg lock"]);
    // Another package with the same name, made and signed by someone else: its checksum differs.
    after_damage(6, |stage| {
        let other = Stage::new(|repo| {
            repo.package(file("library", "1.0").signed_by(crate::support::repo::Signature::Foreign))
        });
        fs::copy(rpm(&other, "library"), rpm(stage, "library")).unwrap();
    })
    .reports(&["checksum", "library"]);
    let ours = keys::ours().fingerprint.clone();
    after_damage(6, |stage| edit(stage, &ours, &"AB".repeat(20))).reports(&[
        "signed by",
        &ours,
        "osimg lock",
    ]);
    after_damage(6, |stage| {
        edit(stage, "nevra = \"library-0:1.0-1.noarch\"", "nevra = \"library-0:1.1-1.noarch\"")
    })
    .reports(&["the file is library-0:1.0-1.noarch"]);
    after_damage(3, |stage| edit(stage, "version = 1", "version = 9"))
        .reports(&["its version is 9", "osimg lock"]);
    after_damage(3, |stage| fs::remove_file(stage.path().join("image.lock")).unwrap())
        .reports(&["image.lock", "osimg lock RECIPE"]);
    after_damage(3, |stage| {
        stage.settings(|settings| settings.packages = "exclude = [\"x\"]".into())
    })
    .reports(&["out of date", "exclude"]);
    // A lock without a dependency, and one without a requested package.
    after_damage(7, |stage| {
        let text = locked(stage);
        let at = text.find("[[transaction.package]]\nnevra = \"library").unwrap();
        fs::write(stage.path().join("image.lock"), &text[..at]).unwrap();
    })
    .reports(&["library"]);
}

#[test]
fn a_changed_recipe_needs_a_new_lock_unless_only_a_comment_changed() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(repository);
    lock(&stage, RECIPE).succeeds();
    let other = format!("# more words\n{RECIPE}");
    stage.build(&other).arg("--locked").succeeds();
    stage.build("install hello\nts run\n").arg("--locked").fails(3).reports(&[
        "out of date",
        "the recipe's statements",
        "osimg lock",
    ]);
}

#[test]
fn no_lock_is_made_of_packages_signed_by_another_key() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(|repo| {
        repository(repo)
            .package(file("foreign", "1.0").signed_by(crate::support::repo::Signature::Foreign))
    });
    let done = lock(&stage, "install foreign\nts run\n").run();
    assert_eq!(done.code, Some(6), "{}", done.stderr);
    done.reports(&["foreign-1.0-1.noarch", "pinned key"]);
    assert!(!stage.path().join("image.lock").exists());
    let done = lock(&stage, "install ./x.rpm\nts run\n").run();
    assert_eq!(done.code, Some(3), "{}", done.stderr);
    done.reports(&["image.yum:1", "x.rpm"]);
}

#[test]
fn lock_formats_of_other_tools_are_written_and_read_back_as_the_same_lock() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(repository);
    lock(&stage, RECIPE).succeeds();
    let text = locked(&stage);
    for name in ["rpms.lock.yaml", "packages.manifest.yaml"] {
        let list = stage.path().join(name);
        lock(&stage, RECIPE).arg("--export").arg(&list).succeeds();
        // Python's YAML checks the format; the tools themselves are not in Debian.
        let script = "import sys, yaml; d = yaml.safe_load(open(sys.argv[1])); p = \
                      d['arches'][0]['packages'] if 'arches' in d else \
                      d['data']['packages']['noarch']; print(len(p), *sorted(x['name'] + '=' + \
                      x['evr'] + '=' + x['checksum'] for x in p))";
        let printed = String::from_utf8(run(Command::new("/usr/bin/python3")
            .args(["-I", "-c", script])
            .arg(&list)))
        .unwrap();
        assert!(printed.starts_with("4 base=1.0-1=sha256:"), "{printed}");
        fs::remove_file(stage.path().join("image.lock")).unwrap();
        lock(&stage, RECIPE).arg("--import").arg(&list).succeeds();
        assert_eq!(locked(&stage), text, "{name}");
    }
    let list = stage.path().join("rpms.lock.yaml");
    // The repository changes, and the list does not.
    release_newer(&stage);
    lock(&stage, RECIPE).arg("--import").arg(&list).succeeds();
    assert!(locked(&stage).contains("hello-0:1.0-1.noarch") && !locked(&stage).contains("2.0"));
    // A list without a package, or with a wrong checksum, does not make a lock.
    let whole = fs::read_to_string(&list).unwrap();
    edit_list(&list, &whole, |entry| !entry.contains("library"));
    assert_eq!(lock(&stage, RECIPE).arg("--import").arg(&list).run().code, Some(7));
    fs::write(&list, whole.replace("sha256:", "sha256:00").replace("sha256:00", "sha256:"))
        .unwrap();
    let wrong = whole
        .lines()
        .map(|l| if l.contains("checksum") { swap_digit(l) } else { l.to_owned() })
        .collect::<Vec<_>>()
        .join("\n");
    fs::write(&list, wrong).unwrap();
    let done = lock(&stage, RECIPE).arg("--import").arg(&list).run();
    assert_eq!(done.code, Some(6), "{}", done.stderr);
    done.reports(&["does not match the list"]);
}

/// The line with another last digit.
fn swap_digit(line: &str) -> String {
    let (rest, last) = line.split_at(line.len() - 1);
    format!("{rest}{}", if last == "0" { "1" } else { "0" })
}

/// Writes the list with only the packages that `keep` accepts.
fn edit_list(list: &Path, text: &str, keep: impl Fn(&str) -> bool) {
    let (head, rest) = text.split_once("  - url:").unwrap();
    let (entries, tail) = rest.split_once("  source:").unwrap();
    let kept: Vec<&str> = entries.split("  - url:").filter(|entry| keep(entry)).collect();
    fs::write(list, format!("{head}  - url:{}  source:{tail}", kept.join("  - url:"))).unwrap();
}
