//! Successful builds: the tarball, the files next to it, its contents, and identical bytes in every
//! build.

use crate::stage::{Stage, run, sh};
use crate::support::repo::{Package, When};
use crate::support::{keys, require_root};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

const RECIPE: &str = "install odd\nts run\n";

/// A package with all attributes that are easily lost.
fn odd() -> Package {
    Package::named("odd")
        .requires_first("base")
        .file("/usr/bin/setuid", "x", 0o4755, "root:root")
        .file("/usr/bin/capable", "x", 0o755, "root:root")
        .caps("cap_net_raw=ep")
        .file("/usr/share/owned", "x", 0o640, "app:app")
        .file("/usr/share/unreadable", "x", 0o000, "root:root")
        .directory("/usr/share/sticky", 0o1777)
        .directory("/usr/share/empty", 0o2750)
        .link("/usr/share/dangling", "/no/such/place")
        .file("/usr/share/später", "x", 0o644, "root:root")
        .file(&format!("/usr/share/{}", "long".repeat(60)), "x", 0o644, "root:root")
}

fn stage() -> Stage {
    Stage::new(|repo| repo.package(odd()))
}

#[test]
fn only_the_path_is_on_stdout_and_the_steps_are_on_stderr() {
    if !require_root() {
        return;
    }
    let stage = stage();
    let done = stage.build(RECIPE).succeeds();
    assert_eq!(done.stdout, format!("{}\n", stage.image().display()));
    done.reports(&["downloading packages", "installing packages", "packing", "publishing"]);
    let quiet = stage.build(RECIPE).arg("-q").succeeds();
    assert_eq!((quiet.stdout, quiet.stderr.as_str()), (done.stdout, ""));
    let names: Vec<String> = stage.files(&stage.out()).into_keys().collect();
    assert_eq!(
        names,
        [
            "image.cdx.json",
            "image.intoto.json",
            "image.json",
            "image.spdx.json",
            "image.tgz",
            "image.tgz.sha256",
            "image.tgz.sha512"
        ]
    );
}

#[test]
fn members_start_with_a_dot_are_sorted_and_contain_nothing_of_the_build_host() {
    if !require_root() {
        return;
    }
    let stage = stage();
    stage.build(RECIPE).succeeds();
    let members = stage.members();
    assert_eq!(members[0], "./");
    assert!(members.iter().all(|member| member.starts_with("./")), "{members:?}");
    let unique: BTreeSet<&String> = members.iter().collect();
    assert_eq!(unique.len(), members.len());
    for gone in ["./root/.rpmdb", "./var/log/dnf.log", "./var/cache/dnf", "./osimg", "./buildroot"]
    {
        assert!(!members.iter().any(|member| member.trim_end_matches('/') == gone), "{gone}");
    }
    let text = run(Command::new("gzip").arg("-dc").arg(stage.image()));
    let mark = stage.path().file_name().unwrap().to_string_lossy().into_owned();
    assert!(
        !text.windows(mark.len()).any(|window| window == mark.as_bytes()),
        "the workdir's path is in the image"
    );
}

#[test]
fn owners_modes_capabilities_and_links_survive_as_anaconda_unpacks_them() {
    if !require_root() {
        return;
    }
    let stage = stage();
    stage.build(RECIPE).succeeds();
    let tree = stage.extract();
    let look = |path: &str| {
        let found = fs::symlink_metadata(tree.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        (found.mode() & 0o7777, found.uid(), found.gid())
    };
    assert_eq!(look("usr/bin/setuid"), (0o4755, 0, 0));
    assert_eq!(look("usr/share/owned"), (0o640, 998, 997));
    assert_eq!(look("usr/share/unreadable"), (0, 0, 0));
    assert_eq!(look("usr/share/sticky"), (0o1777, 0, 0));
    assert_eq!(look("usr/share/empty"), (0o2750, 0, 0));
    assert_eq!(look("usr/share/später"), (0o644, 0, 0));
    assert_eq!(look(&format!("usr/share/{}", "long".repeat(60))), (0o644, 0, 0));
    assert_eq!(
        fs::read_link(tree.join("usr/share/dangling")).unwrap().to_str(),
        Some("/no/such/place")
    );
    assert_eq!(sh(&tree, "getcap usr/bin/capable").trim(), "usr/bin/capable cap_net_raw=ep");
    assert_eq!(look("etc/machine-id"), (0o444, 0, 0));
    assert_eq!(fs::read(tree.join("etc/machine-id")).unwrap(), b"");
    for (path, mode) in [("dev", 0o755), ("proc", 0o555), ("sys", 0o555), ("run", 0o755)] {
        assert_eq!(look(path), (mode, 0, 0), "{path}");
        assert_eq!(fs::read_dir(tree.join(path)).unwrap().count(), 0, "{path} is empty");
    }
    assert_eq!(fs::metadata(tree.join("usr/bin/setuid")).unwrap().mtime(), 1_700_000_000);
}

#[test]
fn the_rpmdb_of_the_image_lists_every_package_with_good_signatures() {
    if !require_root() {
        return;
    }
    let stage = stage();
    stage.build(RECIPE).succeeds();
    let tree = stage.extract();
    let query = format!(
        "rpm --root {} --dbpath /var/lib/rpm -qa --qf '%{{name}} \
         %{{sigpgp:pgpsig}}%{{rsaheader:pgpsig}}\\n' | sort",
        tree.display()
    );
    let listed = sh(stage.path(), &query);
    let id = keys::ours().fingerprint[24..].to_ascii_lowercase();
    for name in ["base", "odd"] {
        assert!(
            listed.lines().any(|line| line.starts_with(&format!("{name} ")) && line.contains(&id)),
            "{name}: {listed}"
        );
    }
    assert_eq!(
        sh(
            stage.path(),
            &format!(
                "rpm --root {} --dbpath /var/lib/rpm -Va --nodeps 2>&1 || true",
                tree.display()
            )
        ),
        "",
        "rpm -Va"
    );
}

#[test]
fn checksum_files_are_accepted_by_coreutils_and_the_manifest_agrees() {
    if !require_root() {
        return;
    }
    let stage = stage();
    stage.build(RECIPE).succeeds();
    sh(
        &stage.out(),
        "sha256sum --strict -c image.tgz.sha256 && sha512sum --strict -c image.tgz.sha512",
    );
    let manifest = stage.manifest();
    let sum = sh(&stage.out(), "sha256sum image.tgz | cut -d' ' -f1");
    assert_eq!(manifest["tarballs"][0]["sha256"], sum.trim());
    assert_eq!(manifest["tarballs"][0]["bytes"], fs::metadata(stage.image()).unwrap().len());
}

#[test]
fn the_manifest_lists_every_package_with_its_repository_and_its_signer() {
    if !require_root() {
        return;
    }
    let stage = stage();
    stage.build(RECIPE).succeeds();
    let manifest = stage.manifest();
    assert_eq!(manifest["manifest_version"], 1);
    assert_eq!(manifest["name"], "image");
    assert_eq!(manifest["recipe"]["text"], RECIPE);
    assert_eq!(manifest["os_release"]["PRETTY_NAME"], "Tiny 1");
    assert_eq!(manifest["keys"][0]["fingerprint"], keys::ours().fingerprint.as_str());
    assert_eq!(manifest["kernels"], serde_json::json!([]));
    assert_eq!(manifest["source_date_epoch"], 1_700_000_000);
    let packages = manifest["packages"].as_array().unwrap();
    let names: Vec<&str> =
        packages.iter().map(|package| package["nevra"].as_str().unwrap()).collect();
    assert_eq!(names, ["base-0:1.0-1.noarch", "odd-0:1.0-1.noarch"]);
    for package in packages {
        assert_eq!(package["signer"], keys::ours().fingerprint.as_str());
        assert_eq!(package["repository"], "tiny");
        let file = stage.repo().join(package["location"].as_str().unwrap());
        let sum = sh(stage.path(), &format!("sha256sum {} | cut -d' ' -f1", file.display()));
        assert_eq!(package["checksum"], format!("sha256:{}", sum.trim()));
    }
    assert_eq!([&packages[0]["reason"], &packages[1]["reason"]], ["dependency", "user"]);
}

#[test]
fn a_registry_directory_gets_versions_and_a_link_to_the_latest() {
    if !require_root() {
        return;
    }
    let stage = stage();
    let recipe = stage.recipe(RECIPE);
    let registry = format!("dir:{}", stage.out().display());
    for version in ["1", "2"] {
        stage.settings(|settings| {
            settings.image = format!("name = \"tiny\"\nversion = \"{version}\"")
        });
        let done = stage.build_without_output(&recipe).args(&["--registry", &registry]).succeeds();
        assert_eq!(done.stdout, format!("{}/tiny-{version}.tgz\n", stage.out().display()));
    }
    let files = stage.files(&stage.out());
    assert_eq!(files["tiny-latest.tgz"], b"tiny-2.tgz");
    assert_eq!(files["tiny-latest.json"], b"tiny-2.json");
    assert!(files.contains_key("tiny-1.tgz") && files.contains_key("tiny-1.json"));
    sh(&stage.out(), "sha256sum -c tiny-1.tgz.sha256 tiny-2.tgz.sha256");
}

#[test]
fn json_output_has_paths_digests_steps_and_warnings() {
    if !require_root() {
        return;
    }
    let stage = stage();
    let done = stage.build(RECIPE).arg("--json").succeeds();
    let value: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(value["tarballs"], serde_json::json!([stage.image()]));
    assert_eq!(value["manifest"], serde_json::json!(stage.out().join("image.json")));
    assert_eq!(value["packages"], 2);
    assert_eq!(value["digests"][0]["sha256"], stage.manifest()["tarballs"][0]["sha256"]);
    assert_eq!(value["warnings"], serde_json::json!([]));
    assert!(
        value["steps"]
            .as_array()
            .unwrap()
            .iter()
            .any(|step| step["step"] == "packing" && step["seconds"].is_f64())
    );
}

#[test]
fn four_formats_written_in_one_pass_contain_the_same_tar() {
    if !require_root() {
        return;
    }
    let stage = stage();
    stage.settings(|settings| settings.image = "name = \"tiny\"\nversion = \"1\"".into());
    let recipe = stage.recipe(RECIPE);
    let registry = format!("dir:{}", stage.out().display());
    let formats = ["--format", "tgz", "--format", "tbz", "--format", "txz", "--format", "tar"];
    let done = stage
        .build_without_output(&recipe)
        .args(&["--registry", &registry])
        .args(&formats)
        .succeeds();
    assert_eq!(done.stdout.lines().count(), 4);
    let sums = sh(
        &stage.out(),
        "gzip -dc tiny-1.tgz | sha256sum; bzip2 -dc tiny-1.tbz | sha256sum; xz -dc tiny-1.txz | \
         sha256sum; sha256sum < tiny-1.tar",
    );
    let unique: BTreeSet<&str> = sums.lines().collect();
    assert_eq!(unique.len(), 1, "{sums}");
    sh(
        &stage.out(),
        "for f in tiny-1.t??; do sha256sum -c $f.sha256; sha512sum -c $f.sha512; done",
    );
}

#[test]
fn the_longer_spelling_of_a_suffix_is_kept() {
    if !require_root() {
        return;
    }
    let stage = stage();
    let recipe = stage.recipe(RECIPE);
    for suffix in ["tar.gz", "tar.bz2", "tar.xz"] {
        let file = stage.out().join(format!("os.{suffix}"));
        let done = stage.build_without_output(&recipe).arg("-o").arg(&file).succeeds();
        assert_eq!(done.stdout, format!("{}\n", file.display()));
        sh(
            &stage.out(),
            &format!("tar -tf os.{suffix} ./usr/bin/setuid && sha256sum -c os.{suffix}.sha256"),
        );
    }
}

#[test]
fn the_same_recipe_gives_the_same_bytes_in_any_environment() {
    if !require_root() {
        return;
    }
    // Typical differences: times, random names, and another order of directory entries.
    let stage =
        Stage::new(|repo| {
            repo.package(odd()).package(Package::named("writer").scriptlet(
                When::Post,
                "for n in 9 1 5; do touch /usr/made$n; done; mkdir /usr/made",
            ))
        });
    let recipe = "install odd writer\nts run\n";
    let mut sums = BTreeSet::new();
    let mut build = |umask: &str, zone: &str, jobs: &str, place: Option<&str>| {
        let mut run = stage.build(recipe).args(&["-j", jobs]);
        if let Some(place) = place {
            run = run.args(&["--workdir", place]);
        }
        let script = format!("umask {umask}; exec \"$@\"");
        run.env("TZ", zone)
            .env("LC_ALL", "C")
            .env("HOME", "/nowhere")
            .behind(&["sh", "-ec", &script, "sh"])
            .succeeds();
        sums.insert(stage.digest());
    };
    build("022", "UTC", "1", None);
    build("077", "Asia/Tokyo", "2", None);
    build("000", "America/New_York", "7", None);
    assert_eq!(sums.len(), 1, "{sums:?}");
}

#[test]
fn a_root_in_memory_gives_the_same_bytes_as_one_on_disk() {
    if !require_root() {
        return;
    }
    let stage = stage();
    let recipe = stage.recipe(RECIPE);
    let build = |name: &str, place: &str| {
        let run = stage
            .osimg(crate::stage::OSIMG, &["build", "--workdir", place, "--cache"])
            .arg(stage.cache())
            .arg(&recipe);
        let run = run
            .arg("--settings")
            .arg(stage.repo().join("settings.toml"))
            .arg("-o")
            .arg(stage.out().join(name));
        run.succeeds();
    };
    build("disk.tgz", &stage.work().display().to_string());
    build("memory.tgz", "auto");
    assert_eq!(
        fs::read(stage.out().join("disk.tgz")).unwrap(),
        fs::read(stage.out().join("memory.tgz")).unwrap()
    );
}

#[test]
fn a_new_build_replaces_an_earlier_artifact_whole() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(|repo| repo.package(odd()));
    stage.build("install base\nts run\n").succeeds();
    let first = fs::read(stage.image()).unwrap();
    stage.build(RECIPE).succeeds();
    assert_ne!(fs::read(stage.image()).unwrap(), first);
    sh(&stage.out(), "sha256sum -c image.tgz.sha256");
    assert_eq!(stage.manifest()["packages"].as_array().unwrap().len(), 2);
}
