//! Bills of materials and provenance: valid by the official schemas, equal to the output of rpm and
//! sha256sum, and the same in every build.

use crate::stage::{Stage, run, sh};
use crate::support::require_root;
use crate::{RECIPE, stage};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Validates documents with the official schemas.
const VALIDATE: &str = r#"
import json, sys, jsonschema
schemas, document, kind = sys.argv[1:]
load = lambda path: json.load(open(path))
root = load(f"{schemas}/{kind}")
names = ("spdx.schema.json", "jsf-0.82.schema.json")
store = {s["$id"]: s for s in (load(f"{schemas}/{name}") for name in names)}
resolver = jsonschema.RefResolver(root["$id"], root, store=store)
validator = jsonschema.Draft7Validator(root, resolver=resolver)
errors = [f"{list(e.absolute_path)}: {e.message[:300]}"
          for e in validator.iter_errors(load(document))]
sys.exit("\n".join(errors[:10]) if errors else 0)
"#;

fn validate(document: &Path, schema: &str) -> Result<(), String> {
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/schemas");
    // Debian's own interpreter, for which the package is installed.
    let output = Command::new("/usr/bin/python3")
        .args(["-W", "ignore", "-c", VALIDATE])
        .arg(schemas)
        .arg(document)
        .arg(schema)
        .output()
        .unwrap();
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn read(stage: &Stage, name: &str) -> Value {
    serde_json::from_slice(&fs::read(stage.out().join(name)).unwrap()).unwrap()
}

fn has_jsonschema() -> bool {
    let found = Command::new("/usr/bin/python3")
        .args(["-c", "import jsonschema"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !found {
        crate::support::skip("python3-jsonschema is not installed");
    }
    found
}

#[test]
fn the_bills_of_materials_are_valid_by_the_official_schemas() {
    if !require_root() || !has_jsonschema() {
        return;
    }
    let stage = stage();
    stage.build(RECIPE).succeeds();
    validate(&stage.out().join("image.spdx.json"), "spdx-2.3.schema.json").unwrap();
    validate(&stage.out().join("image.cdx.json"), "bom-1.6.schema.json").unwrap();

    // The validator rejects a wrong document.
    let mut spoilt = read(&stage, "image.spdx.json");
    spoilt["packages"][0]["primaryPackagePurpose"] = "OPERATING-SYSTEM".into();
    let path = stage.write("spoilt.json", spoilt.to_string());
    assert!(validate(&path, "spdx-2.3.schema.json").unwrap_err().contains("primaryPackagePurpose"));
    let mut spoilt = read(&stage, "image.cdx.json");
    spoilt["components"][0]["hashes"][0]["alg"] = "SHA-7".into();
    let path = stage.write("spoilt.json", spoilt.to_string());
    assert!(validate(&path, "bom-1.6.schema.json").is_err());
}

#[test]
fn every_package_of_the_rpmdb_is_in_the_documents_with_the_digest_of_its_file() {
    if !require_root() {
        return;
    }
    let stage = stage();
    stage.build(RECIPE).succeeds();
    let root = stage.extract();
    let query = ["-qa", "--qf", "%{NAME} %{VERSION}-%{RELEASE} %{ARCH} %{EPOCHNUM}\\n"];
    let installed = String::from_utf8(run(Command::new("rpm")
        .args(["--dbpath", "/var/lib/rpm", "--root"])
        .arg(&root)
        .args(query)))
    .unwrap();
    let expected: BTreeSet<String> = installed
        .lines()
        .filter(|line| !line.starts_with("gpg-pubkey"))
        .map(|line| {
            let [name, evr, arch, epoch] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
            let epoch = if epoch == "0" { String::new() } else { format!("&epoch={epoch}") };
            format!("pkg:rpm/tiny/{name}@{evr}?arch={arch}&distro=tiny-1{epoch}")
        })
        .collect();
    assert!(expected.len() >= 3, "{expected:?}");
    let release = stage.content("./etc/os-release");
    assert!(release.contains("ID=tiny") && release.contains("VERSION_ID=\"1\""), "{release}");

    let cdx = read(&stage, "image.cdx.json");
    let spdx = read(&stage, "image.spdx.json");
    let intoto = read(&stage, "image.intoto.json");
    let dependencies = &intoto["predicate"]["buildDefinition"]["resolvedDependencies"];
    let urls = |list: &Value, pointer: &str| -> BTreeSet<String> {
        list.as_array()
            .unwrap()
            .iter()
            .filter_map(|item| item.pointer(pointer)?.as_str().map(str::to_owned))
            .collect()
    };
    assert_eq!(urls(&cdx["components"], "/purl"), expected);
    assert_eq!(urls(&spdx["packages"], "/externalRefs/0/referenceLocator"), expected);
    assert_eq!(urls(dependencies, "/uri"), expected);

    let odd = sh(&stage.repo(), "sha256sum Packages/odd-1.0-1.noarch.rpm | cut -d' ' -f1");
    let of = |list: &Value| {
        list.as_array()
            .unwrap()
            .iter()
            .find(|p| p["name"].as_str().unwrap().starts_with("odd"))
            .unwrap()
            .clone()
    };
    assert_eq!(of(&cdx["components"])["hashes"][0]["content"], odd.trim());
    assert_eq!(of(&spdx["packages"])["checksums"][0]["checksumValue"], odd.trim());
    assert_eq!(of(dependencies)["digest"]["sha256"], odd.trim());

    // A licence that SPDX does not know appears as text, one that it knows as an expression.
    assert!(
        of(&spdx["packages"])["licenseDeclared"]
            .as_str()
            .unwrap()
            .starts_with("LicenseRef-rpm-GPLv2--and-MIT-")
    );
    assert_eq!(of(&cdx["components"])["licenses"][0]["license"]["name"], "GPLv2+ and MIT");
    let plain =
        cdx["components"].as_array().unwrap().iter().find(|p| p["name"] == "plain").unwrap();
    assert_eq!(plain["licenses"][0]["expression"], "MIT OR Apache-2.0");
    assert_eq!(plain["supplier"]["name"], "Tests & Sons");
}

#[test]
fn the_provenance_names_the_tarball_and_the_files_written_next_to_it() {
    if !require_root() {
        return;
    }
    let stage = stage();
    stage.build(RECIPE).succeeds();
    let statement = read(&stage, "image.intoto.json");
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    let sum = |name: &str, tool: &str| {
        sh(&stage.out(), &format!("{tool} {name} | cut -d' ' -f1")).trim().to_owned()
    };
    assert_eq!(statement["subject"][0]["name"], "image.tgz");
    assert_eq!(statement["subject"][0]["digest"]["sha256"], sum("image.tgz", "sha256sum"));
    assert_eq!(statement["subject"][0]["digest"]["sha512"], sum("image.tgz", "sha512sum"));
    let predicate = &statement["predicate"];
    let byproducts = predicate["runDetails"]["byproducts"].as_array().unwrap();
    assert_eq!(byproducts.len(), 2);
    for byproduct in byproducts {
        assert_eq!(
            byproduct["digest"]["sha256"],
            sum(byproduct["name"].as_str().unwrap(), "sha256sum")
        );
    }
    let recipe = &predicate["buildDefinition"]["externalParameters"]["recipe"];
    assert_eq!(
        (recipe["text"].as_str(), recipe["sha256"].as_str()),
        (Some(RECIPE), Some(sum("../image.yum", "sha256sum").as_str()))
    );
    assert_eq!(predicate["runDetails"]["builder"]["version"]["osimg"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn equal_builds_give_equal_documents_except_for_the_time_of_the_run() {
    if !require_root() {
        return;
    }
    let stage = stage();
    let once = || {
        stage.build(RECIPE).succeeds();
        let mut statement = read(&stage, "image.intoto.json");
        let when = statement["predicate"]["runDetails"]
            .as_object_mut()
            .unwrap()
            .remove("metadata")
            .unwrap();
        assert!(when["startedOn"].as_str() <= when["finishedOn"].as_str(), "{when}");
        let whole = |name: &str| fs::read_to_string(stage.out().join(name)).unwrap();
        (whole("image.spdx.json"), whole("image.cdx.json"), statement.to_string())
    };
    assert_eq!(once(), once());
}

#[test]
fn documents_that_are_turned_off_are_not_written_and_old_ones_are_removed() {
    if !require_root() {
        return;
    }
    let stage = stage();
    stage.build(RECIPE).succeeds();
    let names = || {
        stage
            .files(&stage.out())
            .into_keys()
            .filter(|name| name.ends_with(".json"))
            .collect::<Vec<_>>()
    };
    assert_eq!(names(), ["image.cdx.json", "image.intoto.json", "image.json", "image.spdx.json"]);
    stage.build(RECIPE).args(&["--sbom", "spdx"]).succeeds();
    assert_eq!(names(), ["image.json", "image.spdx.json"]);
    stage.settings(|settings| settings.image = "sbom = []".into());
    stage.build(RECIPE).succeeds();
    assert_eq!(names(), ["image.json"]);
    stage.settings(|settings| settings.image = "sbom = [\"swid\"]".into());
    stage.build(RECIPE).fails(3).reports(&["swid", "cyclonedx"]);
}
