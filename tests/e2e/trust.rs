//! Files that must never enter an image: packages without a signature by a pinned key, keys other
//! than the agreed ones, damaged files.

use crate::server::{Answer, Server};
use crate::stage::Stage;
use crate::support::repo::{Package, Signature, index};
use crate::support::{keys, require_root};
use std::fs;

const RECIPE: &str = "install hello\nts run\n";

fn hello(signature: Signature) -> Stage {
    Stage::new(|repo| repo.package(package(signature)))
}

fn package(signature: Signature) -> Package {
    let content: Vec<u8> =
        (0..4000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    Package::named("hello")
        .requires_first("base")
        .file("/usr/share/hello", content, 0o644, "root:root")
        .signed_by(signature)
}

/// Changes one byte of the package, counted from its end.
fn flip(stage: &Stage, from_end: usize) {
    let path = stage.repo().join("Packages").join(package(Signature::Ours).file_name());
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.len() - from_end;
    bytes[at] ^= 0x40;
    fs::write(&path, bytes).unwrap();
}

#[test]
fn a_package_signed_by_the_pinned_key_is_installed() {
    if !require_root() {
        return;
    }
    let stage = hello(Signature::Ours);
    stage.build(RECIPE).succeeds();
    assert!(stage.members().contains(&"./usr/share/hello".to_owned()));
}

#[test]
fn a_key_is_fetched_from_its_server() {
    if !require_root() {
        return;
    }
    let stage = hello(Signature::Ours);
    let server = Server::start(stage.repo(), |_, _| Answer::File);
    let settings = stage.write(
        "server.toml",
        format!(
            "[packages]\ndbpath = \"/var/lib/rpm\"\n[[packages.repository]]\nid = \
             \"tiny\"\nbaseurl = \"{}\"\n[[packages.key]]\nurl = \"{}KEY.asc\"\nfingerprint = \
             \"{}\"\n",
            stage.repo().display(),
            server.url(),
            keys::ours().fingerprint
        ),
    );
    fs::remove_file(stage.repo().join("settings.toml")).unwrap();
    stage.build(RECIPE).arg("--settings").arg(settings).succeeds();
    assert_eq!(server.requests(), ["KEY.asc"]);
}

#[test]
fn an_unsigned_package_is_refused() {
    if !require_root() {
        return;
    }
    hello(Signature::None).build(RECIPE).fails(6).reports(&["hello", "hint: "]);
}

#[test]
fn a_package_signed_by_another_key_is_refused() {
    if !require_root() {
        return;
    }
    hello(Signature::Foreign).build(RECIPE).fails(6).reports(&["hello", "by a pinned key"]);
}

#[test]
fn a_repository_without_a_pinned_key_is_refused() {
    if !require_root() {
        return;
    }
    let stage = hello(Signature::Ours);
    let settings = stage.write(
        "keyless.toml",
        format!(
            "[[packages.repository]]\nid = \"tiny\"\nbaseurl = \"{}\"\n",
            stage.repo().display()
        ),
    );
    fs::remove_file(stage.repo().join("settings.toml")).unwrap();
    stage
        .build(RECIPE)
        .arg("--settings")
        .arg(settings)
        .fails(6)
        .reports(&["no key", "[[packages.key]]"]);
}

#[test]
fn a_key_with_another_fingerprint_is_refused_before_any_download() {
    if !require_root() {
        return;
    }
    let stage = hello(Signature::Ours);
    stage.settings(|settings| settings.fingerprint = keys::foreign().fingerprint.clone());
    let done = stage.build(RECIPE).fails(6);
    done.reports(&["KEY.asc", &keys::ours().fingerprint, &keys::foreign().fingerprint])
        .does_not_report(&["downloading"]);
}

#[test]
fn only_the_pinned_key_of_a_file_with_two_keys_is_trusted() {
    if !require_root() {
        return;
    }
    let stage = hello(Signature::Foreign);
    fs::write(
        stage.repo().join("KEY.asc"),
        format!("{}\n{}", keys::ours().public, keys::foreign().public),
    )
    .unwrap();
    stage.build(RECIPE).fails(6).reports(&["hello", "by a pinned key"]);
}

#[test]
fn a_file_that_is_not_a_key_is_refused() {
    if !require_root() {
        return;
    }
    let stage = hello(Signature::Ours);
    fs::write(stage.repo().join("KEY.asc"), "not a key\n").unwrap();
    stage.build(RECIPE).fails(6).reports(&["KEY.asc", "no armored OpenPGP public key"]);
    fs::remove_file(stage.repo().join("KEY.asc")).unwrap();
    let done = stage.build(RECIPE).run();
    assert!(matches!(done.code, Some(3 | 6 | 8)), "{done:?}");
    done.reports(&["KEY.asc"]);
}

#[test]
fn a_package_that_changed_since_its_repository_was_indexed_is_refused() {
    if !require_root() {
        return;
    }
    let stage = hello(Signature::Ours);
    flip(&stage, 100);
    let done = stage.build(RECIPE).run();
    assert!(matches!(done.code, Some(5..=7)), "{done:?}");
    done.reports(&["hello-1.0-1.noarch"]);
    assert!(stage.files(&stage.out()).is_empty());
    stage.nothing_is_left();
}

#[test]
fn a_damaged_package_is_refused_even_if_the_metadata_match_it() {
    if !require_root() {
        return;
    }
    let stage = hello(Signature::Ours);
    flip(&stage, 100);
    index(&stage.repo());
    let done = stage.build(RECIPE).run();
    assert!(matches!(done.code, Some(6 | 7)), "{done:?}");
    done.reports(&["hello-1.0-1.noarch"]);
    assert!(stage.files(&stage.out()).is_empty());
    stage.nothing_is_left();
}

#[test]
fn damaged_metadata_are_refused() {
    if !require_root() {
        return;
    }
    let stage = hello(Signature::Ours);
    let directory = stage.repo().join("repodata");
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().contains("primary") {
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0xff;
            fs::write(&path, bytes).unwrap();
        }
    }
    stage.build(RECIPE).fails(6).reports(&["tiny", "checksum"]);
}

#[test]
fn digest_only_accepts_a_foreign_package_and_the_manifest_names_its_signer() {
    if !require_root() {
        return;
    }
    let stage = hello(Signature::Foreign);
    stage.settings(|settings| settings.packages = "verify = \"digest-only\"".into());
    stage.build(RECIPE).succeeds();
    let manifest = stage.manifest();
    let hello = manifest["packages"]
        .as_array()
        .unwrap()
        .iter()
        .find(|p| p["nevra"].as_str().unwrap().starts_with("hello-"))
        .unwrap()
        .clone();
    let signer = hello["signer"].as_str().unwrap().to_ascii_uppercase();
    assert!(keys::foreign().fingerprint.ends_with(&signer) && signer.len() == 16, "{signer}");
}
