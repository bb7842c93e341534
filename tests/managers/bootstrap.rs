//! An image installed by the package manager of another tree, which the settings name, instead of
//! the host's.

use crate::machines::Machine;
use crate::stage::Stage;
use crate::support::repo::Package;

fn stage() -> Stage {
    Stage::new(|repo| {
        repo.package(Package::named("app").requires("library").file(
            "/usr/bin/app",
            "#!/bin/sh\n",
            0o755,
            "root:root",
        ))
        .package(Package::named("library").file("/usr/share/library", "lib\n", 0o644, "root:root"))
        .group("core", "Core", &["app"])
    })
}

#[test]
fn an_image_is_installed_by_the_package_manager_and_the_rpm_of_another_tree() {
    if !Machine::Dnf5.is_available() {
        return;
    }
    let stage = stage();
    let own = Machine::Here.packages(&stage, "group install Core\nts run\n");
    // The next build gets the directory of that machine's cache.
    std::fs::remove_dir_all(stage.cache()).unwrap();
    let tree = Machine::Dnf5.tree().unwrap().unwrap();
    stage.settings(|settings| {
        settings.packages = format!("manager = \"dnf5\"\nbootstrap = \"{}\"", tree.display())
    });
    stage.build("group install Core\nts run\n").succeeds();
    let manifest = stage.manifest();
    let manager = manifest["builder"]["package_manager"].as_str().unwrap();
    assert!(manager.starts_with("dnf 5") && manager.contains("rpm 6"), "{manager}");
    let names: Vec<&str> = manifest["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["nevra"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), own.len(), "{names:?} {own:?}");
    assert!(stage.members().contains(&"./usr/bin/app".to_owned()));
    stage.nothing_is_left();
}

#[test]
fn a_tree_without_a_package_manager_is_refused_by_name() {
    if !Machine::Trixie.is_available() {
        return;
    }
    let stage = stage();
    let tree = Machine::Trixie.tree().unwrap().unwrap();
    stage.settings(|settings| {
        settings.packages = format!("manager = \"dnf5\"\nbootstrap = \"{}\"", tree.display())
    });
    stage.build("install app\nts run\n").fails(4).reports(&["dnf 5", "hint: "]);
    stage.settings(|settings| settings.packages = "bootstrap = \"./repodata\"".into());
    stage.build("install app\nts run\n").fails(4).reports(&["repodata", "/usr", "hint: "]);
    stage.settings(|settings| settings.packages = "bootstrap = 3".into());
    stage.build("install app\nts run\n").fails(3).reports(&["bootstrap"]);
}
