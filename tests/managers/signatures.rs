//! Signatures in the format of rpm 6, checked by another tree's rpm: the same rules in a lock, a
//! build and the manifest.

use crate::machines::Machine;
use crate::stage::{OSIMG, Stage};
use crate::support::keys;
use crate::support::repo::{Package, Signature};

const RECIPE: &str = "install app\nts run\n";

/// A package in rpm 6's own format, in a repository that dnf 5 and rpm 6 of another tree accept.
fn stage(signature: Signature) -> Option<Stage> {
    if !Machine::Dnf5.is_available() {
        return None;
    }
    let app = Package::named("app").format_6().requires_first("base").file(
        "/usr/share/app",
        "app\n",
        0o644,
        "root:root",
    );
    let stage = Stage::new(|repo| repo.package(app.signed_by(signature)));
    let tree = Machine::Dnf5.tree().unwrap().unwrap();
    stage.settings(|settings| {
        settings.packages = format!("manager = \"dnf5\"\nbootstrap = \"{}\"", tree.display())
    });
    Some(stage)
}

fn lock(stage: &Stage) -> crate::stage::Done {
    let path = stage.recipe(RECIPE);
    let run = stage
        .osimg(OSIMG, &["lock"])
        .arg(path)
        .arg("--settings")
        .arg(stage.repo().join("settings.toml"));
    run.arg("--cache").arg(stage.cache()).arg("--workdir").arg(stage.work()).run()
}

#[test]
fn a_package_in_the_format_of_rpm_6_is_recognized_as_signed() {
    let Some(stage) = stage(Signature::Ours) else { return };
    let ours = &keys::ours().fingerprint;
    let done = lock(&stage);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let locked = std::fs::read_to_string(stage.path().join("image.lock")).unwrap();
    assert_eq!(locked.matches(&format!("signer = \"{ours}\"")).count(), 2, "{locked}");
    for words in [&[][..], &["--locked"]] {
        stage.build(RECIPE).args(words).succeeds();
        let manifest = stage.manifest();
        for package in manifest["packages"].as_array().unwrap() {
            assert_eq!(package["signer"].as_str(), Some(ours.as_str()), "{package}");
        }
        // osimg's reader of the rpmdb names the same key.
        let shown = stage.osimg(OSIMG, &["inspect", "--json"]).arg(stage.image()).run();
        let shown: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
        let app = shown["packages"]
            .as_array()
            .unwrap()
            .iter()
            .find(|package| package["name"] == "app")
            .unwrap();
        assert!(ours.ends_with(&app["signer"].as_str().unwrap().to_ascii_uppercase()), "{app}");
    }
}

#[test]
fn a_package_in_the_format_of_rpm_6_signed_by_another_key_is_refused() {
    for signature in [Signature::Foreign, Signature::None] {
        let Some(stage) = stage(signature) else { return };
        let done = lock(&stage);
        assert_eq!(done.code, Some(6), "{}", done.stderr);
        done.reports(&["app-1.0-1.noarch", "by a pinned key"]);
        stage.build(RECIPE).fails(6).reports(&["app-1.0-1.noarch", "by a pinned key"]);
    }
}
