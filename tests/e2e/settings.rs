//! Requests in recipes and settings, and their results in the image: groups, transactions,
//! excludes, options, finishing.

use crate::stage::{Stage, run};
use crate::support::repo::{Package, When};
use crate::support::require_root;
use std::process::Command;

/// Packages a to f: a recommends b; c has two versions; groups and an environment contain them.
fn stage() -> Stage {
    Stage::new(|repo| {
        let package = |name: &str| {
            Package::named(name).requires("base").file(
                &format!("/usr/share/{name}"),
                name,
                0o644,
                "root:root",
            )
        };
        repo.package(package("a").recommends("b"))
            .package(package("b"))
            .package(package("c"))
            .package(package("c").version("2.0"))
            .package(package("d").requires("c").file(
                "/usr/share/doc/d/README",
                "read me",
                0o644,
                "root:root",
            ))
            .package(package("e"))
            .package(package("f"))
            .group("core", "Core Things", &["a"])
            .member("default", "e")
            .member("optional", "f")
            .group("extra", "Extra Things", &["d"])
            .environment("minimal-environment", "Minimal Install", &["core"])
    })
}

/// The names of the packages that the recipe installs.
fn installed(stage: &Stage, recipe: &str) -> Vec<String> {
    stage.build(recipe).succeeds();
    names(stage)
}

fn names(stage: &Stage) -> Vec<String> {
    let manifest = stage.manifest();
    let packages = manifest["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| package["nevra"].as_str().unwrap().split("-0:").next().unwrap().to_owned())
        .filter(|name| name != "base")
        .collect()
}

#[test]
fn groups_and_environments_are_found_by_name_and_by_id() {
    if !require_root() {
        return;
    }
    let stage = stage();
    for recipe in [
        "group install 'Minimal Install'\nts run\n",
        "group install minimal-environment\nts run\n",
        "install @^minimal-environment\nts run\n",
        "group install core\nts run\n",
        "group install 'Core Things'\nts run\n",
        "groupinstall core\nts run\n",
        "install @core\nts run\n",
        "install \"@Core Things\"\nts run\n",
    ] {
        assert_eq!(installed(&stage, recipe), ["a", "b", "e"], "{recipe}");
    }
    assert_eq!(
        installed(&stage, "group install --with-optional core\nts run\n"),
        ["a", "b", "e", "f"]
    );
}

#[test]
fn a_group_and_packages_are_installed_in_one_transaction() {
    if !require_root() {
        return;
    }
    assert_eq!(
        installed(&stage(), "group install 'Minimal Install'\ninstall d f\nts run\n"),
        ["a", "b", "c", "d", "e", "f"]
    );
}

#[test]
fn weak_dependencies_are_left_out_if_the_recipe_or_the_settings_turn_them_off() {
    if !require_root() {
        return;
    }
    let stage = stage();
    assert_eq!(installed(&stage, "install a\nts run\n"), ["a", "b"]);
    assert_eq!(installed(&stage, "config install_weak_deps false\ninstall a\nts run\n"), ["a"]);
    stage.settings(|settings| settings.packages = "install_weak_deps = false".into());
    assert_eq!(installed(&stage, "install a\nts run\n"), ["a"]);
    assert_eq!(installed(&stage, "config install_weak_deps true\ninstall a\nts run\n"), ["a", "b"]);
}

#[test]
fn excluded_packages_are_not_installed() {
    if !require_root() {
        return;
    }
    let stage = stage();
    stage.settings(|settings| settings.packages = "exclude = [\"b\", \"e*\"]".into());
    assert_eq!(installed(&stage, "install @core\nts run\n"), ["a"]);
    stage.build("install b\nts run\n").fails(7).reports(&["image.yum:1", "b"]);
    stage.settings(|_| ());
    assert_eq!(installed(&stage, "config exclude b\ninstall a\nts run\n"), ["a"]);
}

#[test]
fn a_later_transaction_removes_what_an_earlier_one_installed() {
    if !require_root() {
        return;
    }
    let stage = stage();
    assert_eq!(installed(&stage, "install @core f\nts run\nremove f b\nts run\n"), ["a", "e"]);
    assert!(!stage.members().contains(&"./usr/share/f".to_owned()));
}

#[test]
fn removing_what_is_not_installed_is_an_error() {
    if !require_root() {
        return;
    }
    stage().build("install a\nts run\nremove f\nts run\n").fails(7).reports(&["image.yum:3", "f"]);
}

#[test]
fn versions_globs_and_files_are_specs() {
    if !require_root() {
        return;
    }
    let stage = stage();
    stage.build("install c-1.0\nts run\n").succeeds();
    assert_eq!(stage.manifest()["packages"][1]["nevra"], "c-0:1.0-1.noarch");
    stage.build("install c\nts run\n").succeeds();
    assert_eq!(stage.manifest()["packages"][1]["nevra"], "c-0:2.0-1.noarch");
    assert_eq!(installed(&stage, "install [ef]\nts run\n"), ["e", "f"]);
    stage.build("install c-1.0\nts run\nupgrade c\nts run\n").succeeds();
    assert_eq!(stage.manifest()["packages"][1]["nevra"], "c-0:2.0-1.noarch");
}

#[test]
fn a_package_is_swapped_for_another() {
    if !require_root() {
        return;
    }
    assert_eq!(installed(&stage(), "install e\nts run\nswap e f\nts run\n"), ["f"]);
}

#[test]
fn documentation_is_left_out_if_the_settings_turn_it_off() {
    if !require_root() {
        return;
    }
    let stage = stage();
    let readme = "./usr/share/doc/d/README".to_owned();
    stage.build("install d\nts run\n").succeeds();
    assert!(stage.members().contains(&readme));
    stage.settings(|settings| settings.packages = "docs = false".into());
    stage.build("install d\nts run\n").succeeds();
    assert!(!stage.members().contains(&readme));
}

#[test]
fn the_rpmdb_is_in_the_directory_that_the_settings_name() {
    if !require_root() {
        return;
    }
    let stage = stage();
    // The settings of the tests name the old directory; this recipe's settings name the new one.
    let text = std::fs::read_to_string(stage.repo().join("settings.toml")).unwrap();
    std::fs::write(
        stage.repo().join("settings.toml"),
        text.replace("/var/lib/rpm", "/usr/lib/sysimage/rpm"),
    )
    .unwrap();
    stage.build("install e\nts run\n").succeeds();
    let members = stage.members();
    assert!(members.contains(&"./usr/lib/sysimage/rpm/rpmdb.sqlite".to_owned()));
    assert!(!members.iter().any(|member| member.starts_with("./var/lib/rpm/")));
}

/// A self-signed authority in PEM format.
pub fn authority(stage: &Stage) {
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=tests",
        "-keyout",
        "/dev/null",
        "-out",
    ]);
    run(openssl.arg(stage.repo().join("authority.pem")));
}

#[test]
fn certificates_in_the_settings_are_trusted_by_the_image() {
    if !require_root() {
        return;
    }
    let program = "#!/bin/sh\nmkdir -p /etc/pki/ca-trust/extracted/pem\ncat \
                   /etc/pki/ca-trust/source/anchors/* > \
                   /etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem\n";
    let stage = Stage::new(|repo| {
        let trust = Package::named("ca-certificates").requires("shell").file(
            "/usr/bin/update-ca-trust",
            program,
            0o755,
            "root:root",
        );
        let lazy = Package::named("lazy").requires("shell").file(
            "/usr/bin/update-ca-trust",
            "#!/bin/sh\n",
            0o755,
            "root:root",
        );
        repo.package(trust).package(lazy)
    });
    authority(&stage);
    stage.settings(|settings| {
        settings.rest = "[customizations.cacerts]\nfiles = [\"authority.pem\"]".into()
    });
    stage.build("install ca-certificates\nts run\n").succeeds();
    let pem = std::fs::read_to_string(stage.repo().join("authority.pem")).unwrap();
    assert_eq!(stage.content("./etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"), pem);
    stage.build("install lazy\nts run\n").fails(7).reports(&["certificate", "bundle"]);
    stage
        .build("install base\nts run\n")
        .fails(7)
        .reports(&["update-ca-trust", "hint: add ca-certificates"]);
}

#[test]
fn a_package_that_is_removed_runs_its_scriptlets() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(|repo| {
        repo.package(Package::named("odd").scriptlet(When::Preun, "touch /usr/farewell"))
    });
    // The user named these packages, so they stay when `odd` is removed.
    stage.build("install odd shell base\nts run\nremove odd\nts run\n").succeeds();
    assert!(stage.members().contains(&"./usr/farewell".to_owned()));
}

#[test]
fn an_architecture_that_this_machine_cannot_run_is_refused_before_any_work() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(|repo| repo);
    // No emulator is registered for it. The missing part differs between machines.
    stage.build("install base\nts run\n").args(&["--arch", "s390x"]).fails(4).reports(&[
        "building for s390x",
        "binfmt",
        "hint: ",
    ]);
    stage.build("install base\nts run\n").args(&["--arch", "vax"]).fails(4).reports(&["not known"]);
    stage.build("install base\nts run\n").args(&["--arch", "x86_64"]).succeeds();
}
