//! yum 3.4.3 and rpm 4.14 of Ubuntu 18.04, the only yum 3 that a package archive still has: run by `make test-yum`.
//!
//! EL 7's own yum is a later 3.4.3 with rpm 4.11; that one was read and not run.

use crate::machines::Machine;
use crate::server::{Answer, Server, hello, served, swapped};
use crate::stage::Stage;
use crate::support::keys::{self, SigningKey};
use crate::support::repo::{Package, Repo, Signature, When, index};
use crate::{failures, locks, scenarios, sets};
use rpm::signature::Signing;
use std::fs;

const HELLO: &str = "install hello\nts run\n";

fn file(name: &str) -> Package {
    Package::named(name).requires_first("base").file(&format!("/usr/share/{name}"), format!("{name}\n"), 0o644, "root:root")
}

/// What yum 3 refuses by name, of the rows that the dnfs carry out.
fn is_refused(recipe: &str) -> bool {
    ["upgrade-minimal", "up-min", "upgrade --"].iter().any(|words| recipe.contains(words))
}

#[test]
#[ignore = "needs yum 3 of Ubuntu 18.04's archive"]
fn yum_gives_the_same_set_or_the_same_error_as_dnf_4_for_the_scenarios_of_dnf_shell() {
    if !Machine::Yum.is_there() {
        return;
    }
    let stage = Stage::new(scenarios::repository);
    scenarios::updates(&stage);
    let mut wrong = Vec::new();
    for row in scenarios::SCENARIOS {
        if is_refused(row.1) {
            let done = Machine::Yum.build(&stage, row.1).run();
            if done.code != Some(3) || !done.stderr.contains("advisories") || !done.stderr.contains("image.yum:") {
                wrong.push(format!("{}: {:?}\n{}", row.0, done.code, done.stderr));
            }
        } else {
            wrong.extend(scenarios::wrong(&stage, Machine::Yum, row));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), scenarios::SCENARIOS.len(), wrong.join("\n\n"));
}

#[test]
#[ignore = "needs yum 3 of Ubuntu 18.04's archive"]
fn yum_gives_the_same_packages_as_dnf_4_but_for_those_that_are_recommended() {
    if !Machine::Yum.is_there() {
        return;
    }
    let stage = Stage::new(sets::repository);
    sets::with_options(&stage);
    let mut wrong = Vec::new();
    for (what, recipe, expected) in sets::RECIPES {
        let mut expected: Vec<String> = expected.iter().map(|name| (*name).to_owned()).collect();
        // Only app recommends it, and yum 3 does not know what that is.
        expected.retain(|name| name != "extra-1.0" || recipe.contains("install ext"));
        expected.push("base-1.0".into());
        expected.sort();
        let done = Machine::Yum.build(&stage, recipe).run();
        if done.code != Some(0) {
            wrong.push(format!("{what}: {:?}\n{}", done.code, done.stderr));
            continue;
        }
        let found = Machine::Yum.installed(&stage);
        if found != expected {
            wrong.push(format!("{what}: {found:?} instead of {expected:?}\n{}", done.stderr));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), sets::RECIPES.len(), wrong.join("\n\n"));
}

#[test]
#[ignore = "needs yum 3 of Ubuntu 18.04's archive"]
fn what_fails_with_dnf_4_fails_with_yum_and_says_the_same() {
    if !Machine::Yum.is_there() {
        return;
    }
    let wrong = failures::wrong(&failures::stage(), Machine::Yum);
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
#[ignore = "needs yum 3 of Ubuntu 18.04's archive"]
fn a_payload_that_was_changed_before_the_metadata_were_made_stops_yum_before_any_scriptlet() {
    if !Machine::Yum.is_there() {
        return;
    }
    // The first package's scriptlet would show that something had run.
    let stage = Stage::new(|repo| {
        repo.package(file("aa-first").scriptlet(When::Pre, "echo a scriptlet runs"))
            .package(file("changed").requires("aa-first"))
            .package(file("unsigned").requires("aa-first").signed_by(Signature::None))
            .package(file("foreign").requires("aa-first").signed_by(Signature::Foreign))
    });
    let path = stage.repo().join("Packages/changed-1.0-1.noarch.rpm");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.len() - 10;
    bytes[at] ^= 0xff;
    fs::write(&path, bytes).unwrap();
    index(&stage.repo());
    for (name, words) in [("changed", "do not verify"), ("unsigned", "no pinned key signed"), ("foreign", "no pinned key signed")] {
        Machine::Yum.fails(&stage, &format!("install {name}\nts run\n"), 6).says(&[name, words]).says_not(&["a scriptlet runs"]);
    }
    // What nobody signed comes in when the settings say so; what is damaged does not.
    stage.settings(|settings| settings.packages = "verify = \"digest-only\"".into());
    assert!(Machine::Yum.packages(&stage, "install unsigned\nts run\n").contains(&"unsigned-1.0".to_owned()));
    fs::remove_file(stage.image()).unwrap();
    Machine::Yum.fails(&stage, "install changed\nts run\n", 6).says(&["changed"]).says_not(&["a scriptlet runs"]);
}

#[test]
#[ignore = "needs yum 3 of Ubuntu 18.04's archive"]
fn yum_ends_right_behind_a_mirror_that_fails_for_a_while_and_never_takes_old_metadata() {
    if !Machine::Yum.is_there() {
        return;
    }
    let (stage, server) = served(|path, before| match path {
        _ if path.ends_with("repomd.xml") && before < 1 => Answer::Status(503),
        _ if path.contains("primary") && before == 0 => Answer::Short,
        _ if path.contains("base-1.0") && before == 0 => Answer::Half,
        _ if path.contains("hello-1.0") && before == 0 => Answer::Busy(1),
        _ => Answer::File,
    });
    Machine::Yum.build(&stage, HELLO).succeeds();
    let again = server.asked().len();
    Machine::Yum.build(&stage, HELLO).succeeds();
    let asked = server.asked().split_off(again);
    assert_eq!(asked, ["repodata/repomd.xml"], "the index is asked anew, and nothing else");
    // With everything in the cache, a repository that cannot be reached is still no repository.
    stage.settings(|settings| settings.baseurl = "http://127.0.0.1:9/".into());
    Machine::Yum.fails(&stage, HELLO, 5).says(&["127.0.0.1:9"]);
    let mirror = Server::start(stage.repo(), |_, before| if before == 0 { Answer::File } else { Answer::Status(404) });
    stage.settings(|settings| settings.baseurl = mirror.url());
    Machine::Yum.build(&stage, HELLO).succeeds();
    Machine::Yum.fails(&stage, HELLO, 5).says(&["404", "repomd.xml"]);
}

#[test]
#[ignore = "needs yum 3 of Ubuntu 18.04's archive"]
fn yum_never_installs_what_changed_on_its_way_and_says_what_is_gone() {
    if !Machine::Yum.is_there() {
        return;
    }
    let (stage, _server) = served(|path, _| if path.contains("hello-1.0") { Answer::Changed } else { Answer::File });
    let done = Machine::Yum.build(&stage, HELLO).run();
    assert!(matches!(done.code, Some(5 | 6)), "{}", done.stderr);
    done.says(&["hello-1.0-1.noarch"]);
    let (stage, _server) = served(|path, _| if path.contains("hello-1.0") { Answer::Status(404) } else { Answer::File });
    Machine::Yum.fails(&stage, HELLO, 5).says(&["hello-1.0-1.noarch", "404"]);
    let stage = hello();
    let server = swapped(&stage);
    stage.settings(|settings| settings.baseurl = server.url());
    Machine::Yum.build(&stage, HELLO).succeeds().says(&["asking it anew"]);
    assert_eq!(stage.content("./usr/share/hello"), "2\n");
}

#[test]
#[ignore = "needs yum 3 of Ubuntu 18.04's archive"]
fn a_package_in_the_cache_that_was_damaged_is_fetched_again_by_yum() {
    if !Machine::Yum.is_there() {
        return;
    }
    let (stage, _server) = served(|_, _| Answer::File);
    Machine::Yum.build(&stage, HELLO).succeeds();
    let cached: Vec<_> = walkdir::WalkDir::new(stage.cache()).into_iter().filter_map(Result::ok).map(|e| e.path().to_owned()).collect();
    let path = cached.iter().find(|path| path.to_string_lossy().contains("hello-1.0")).unwrap();
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.len() - 10;
    bytes[at] ^= 0xff;
    fs::write(path, bytes).unwrap();
    Machine::Yum.build(&stage, HELLO).succeeds();
}

#[test]
#[ignore = "needs yum 3 of Ubuntu 18.04's archive"]
fn a_lock_that_yum_made_is_built_by_yum_and_nothing_else_comes_in() {
    if !Machine::Yum.is_there() {
        return;
    }
    let stage = Stage::new(locks::repository);
    let recipe = stage.recipe(locks::RECIPE);
    let run = Machine::Yum.osimg(&stage, &["lock"], &[]).arg(&recipe).arg("--settings").arg(Machine::Yum.settings(&stage));
    run.args(&["--package-manager", "yum", "--cache"]).arg(stage.cache()).arg("--workdir").arg(stage.work()).succeeds();
    let server = Server::start(stage.repo(), |_, _| Answer::File);
    stage.settings(|settings| settings.baseurl = server.url());
    Machine::Yum.build(&stage, locks::RECIPE).arg("--locked").succeeds();
    assert_eq!(Machine::Yum.installed(&stage), ["base-1.0", "core-1.0", "library-1.0", "old-2.0"]);
    let asked = server.asked();
    assert!(asked.len() == 6 && asked.iter().all(|path| path.ends_with(".rpm")), "{asked:?}");
    fs::remove_file(stage.image()).unwrap();
    fs::remove_file(stage.repo().join("Packages/library-1.0-1.noarch.rpm")).unwrap();
    fs::remove_dir_all(stage.cache()).unwrap();
    fs::create_dir(stage.cache()).unwrap();
    Machine::Yum.build(&stage, locks::RECIPE).arg("--locked").fails(5).says(&["library", "no longer in their repositories"]);
}

#[test]
#[ignore = "needs yum 3 of Ubuntu 18.04's archive"]
fn what_yum_does_not_know_is_refused_with_its_line_and_nothing_of_the_build_stays_in_the_image() {
    if !Machine::Yum.is_there() {
        return;
    }
    let (stage, server) = served(|_, _| Answer::File);
    for (recipe, words) in [
        ("\nmodule enable thing:1\ninstall hello\nts run\n", ["image.yum:2", "modules"]),
        ("install hello\nts run\nupgrade-minimal hello\nts run\n", ["image.yum:3", "advisories"]),
        ("config install_weak_deps 1\ninstall hello\nts run\n", ["image.yum:", "recommendations"]),
    ] {
        let packages = server.asked().len();
        Machine::Yum.fails(&stage, recipe, 3).says(&words).says(&["hint: "]);
        if !recipe.starts_with("install") {
            assert_eq!(server.asked().len(), packages, "nothing is asked of the repository");
        }
    }
    let address = format!("{}Packages/hello-1.0-1.noarch.rpm", server.url());
    Machine::Yum.build(&stage, &format!("install {address}\nts run\n")).succeeds();
    let members = stage.members();
    assert!(members.contains(&"./usr/share/hello".to_owned()), "{members:?}");
    let strange: Vec<&String> = members.iter().filter(|m| m.contains("yum") || m.contains("__db") || m.contains("osimg")).collect();
    assert!(strange.is_empty(), "{strange:?}");
    let manifest = stage.manifest();
    let manager = manifest["builder"]["package_manager"].as_str().unwrap();
    assert!(manager.starts_with("yum 3.4.3 with rpm 4.14"), "{manager}");
}

#[test]
#[ignore = "needs yum 3 of Ubuntu 18.04's archive"]
fn an_index_that_must_be_signed_is_refused_by_yum_unless_a_pinned_key_did_it() {
    if !Machine::Yum.is_there() {
        return;
    }
    let stage = hello();
    let settings = stage.repo().join("settings.toml");
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, text.replace("id = \"tiny\"\n", "id = \"tiny\"\nsigned_metadata = true\n")).unwrap();
    let index = stage.repo().join("repodata/repomd.xml");
    let sign = |key: &SigningKey| {
        let signature = key.signer.sign(fs::File::open(&index).unwrap(), key.time.into()).unwrap();
        fs::write(index.with_extension("xml.asc"), signature).unwrap();
    };
    Machine::Yum.fails(&stage, HELLO, 6).says(&["repomd.xml.asc"]);
    sign(keys::foreign());
    Machine::Yum.fails(&stage, HELLO, 6).says(&["signature", "signed_metadata"]);
    sign(keys::ours());
    Machine::Yum.build(&stage, HELLO).succeeds();
}

#[test]
#[ignore = "needs yum 3 of Ubuntu 18.04's archive"]
fn the_better_repository_and_the_packages_that_are_kept_out_are_chosen_with_yum() {
    if !Machine::Yum.is_there() {
        return;
    }
    let stage = Stage::new(|repo| repo.package(file("app").requires("library")).package(file("library")).package(file("other")));
    let folder = stage.path().join("newer");
    Repo::new(&folder).package(file("app").version("2.0").requires("library")).package(file("library").version("2.0")).write();
    let second = |more: &str| format!("[[packages.repository]]\nid = \"newer\"\nbaseurl = \"../newer/\"\n{more}\n");
    for (more, recipe, expected) in [
        ("", "install app\nts run\n", ["app-2.0", "base-1.0", "library-2.0"]),
        ("priority = 50", "config tiny.priority 10\ninstall app\nts run\n", ["app-1.0", "base-1.0", "library-1.0"]),
        ("exclude = [\"lib*\"]", "install app\nts run\n", ["app-2.0", "base-1.0", "library-1.0"]),
        ("include = [\"library\"]", "install app\nts run\n", ["app-1.0", "base-1.0", "library-2.0"]),
        ("enabled = false", "install app\nts run\n", ["app-1.0", "base-1.0", "library-1.0"]),
        ("", "config exclude app-2*\ninstall app\nts run\n", ["app-1.0", "base-1.0", "library-2.0"]),
    ] {
        stage.settings(|settings| settings.finish = second(more));
        assert_eq!(Machine::Yum.packages(&stage, recipe), expected, "{more}: {recipe}");
        fs::remove_file(stage.image()).unwrap();
    }
}

#[test]
#[ignore = "needs yum 3 of Ubuntu 18.04's archive"]
fn an_rpmdb_that_the_image_could_not_read_and_dependencies_that_yum_cannot_are_said() {
    if !Machine::Yum.is_there() {
        return;
    }
    let own = |backend: &str| format!("#!/bin/sh\necho /var/lib/rpm\necho {backend}\n");
    let rpm =
        |name: &str, backend: &str| Package::named(name).requires_first("shell").file("/usr/bin/rpm", own(backend), 0o755, "root:root");
    let stage = Stage::new(|repo| {
        repo.package(rpm("rpm", "sqlite")).package(rpm("old-rpm", "")).package(file("rich").requires("(base or nothing)"))
    });
    Machine::Yum.fails(&stage, "install rpm\nts run\n", 7).says(&["in the format bdb", "reads sqlite"]);
    Machine::Yum.build(&stage, "install old-rpm\nts run\n").succeeds();
    fs::remove_file(stage.image()).unwrap();
    Machine::Yum.fails(&stage, "install rich\nts run\n", 7).says(&["rich-0:1.0-1.noarch needs '(base or nothing)'", "does not understand"]);
}
