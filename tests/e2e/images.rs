//! A squashfs, a container image and a tarball of one build: the same tree, and the same treatment
//! in registries.

use crate::stage::{OSIMG, Stage, run, sh};
use crate::support::repo::Package;
use crate::support::{require_root, skip};
use std::fs;
use std::path::Path;
use std::process::Command;

const RECIPE: &str = "install odd\nts run\n";
const FORMATS: [&str; 4] = ["--format", "tgz", "--format", "img"];
const CONTEXTS: &str = "/.*  system_u:object_r:default_t:s0\n\
                        /usr/bin(/.*)?  system_u:object_r:bin_t:s0\n";

/// A stage with attributes that are easily lost, and `name = "tiny"`; `None` without the tools.
fn stage() -> Option<Stage> {
    if !require_root() {
        return None;
    }
    for tool in ["tar2sqfs", "sqfs2tar", "unsquashfs", "skopeo"] {
        if !sh(Path::new("/"), &format!("command -v {tool} || true")).contains(tool) {
            skip(&format!("{tool} is not installed"));
            return None;
        }
    }
    let stage = Stage::new(|repo| {
        repo.package(
            Package::named("odd")
                .requires_first("base")
                .file("/usr/bin/setuid", "x", 0o4755, "root:root")
                .file("/usr/bin/capable", "x", 0o755, "root:root")
                .caps("cap_net_raw=ep")
                .file("/usr/share/owned", "x", 0o640, "app:app")
                .file("/usr/share/unreadable", "x", 0o000, "root:root")
                .directory("/usr/share/sticky", 0o1777)
                .link("/usr/share/dangling", "/no/such/place"),
        )
    });
    version(&stage, "1");
    Some(stage)
}

fn version(stage: &Stage, version: &str) {
    stage.settings(|settings| settings.image = format!("name = \"tiny\"\nversion = \"{version}\""));
}

fn build(stage: &Stage, registry: &str, more: &[&str]) -> String {
    let recipe = stage.recipe(RECIPE);
    let run = stage.build_without_output(&recipe).args(&["--registry", registry]).args(&FORMATS);
    run.args(more).succeeds().stdout
}

fn dir(path: &Path) -> String {
    format!("dir:{}", path.display())
}

/// The tree differences that an independent program finds.
fn differences(one: &Path, other: &Path) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/treediff.py");
    let output = Command::new("python3").arg(script).args([one, other]).output().unwrap();
    assert_ne!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_squashfs_of_a_build_has_the_tree_labels_and_capabilities_of_its_tarball() {
    let Some(stage) = stage() else { return };
    let contexts = stage.write("file_contexts", CONTEXTS);
    let labels = format!("policy={}", contexts.display());
    let done = build(&stage, &dir(&stage.out()), &["--selinux", &labels]);
    let out = stage.out();
    assert_eq!(done, format!("{0}/tiny-1.tgz\n{0}/tiny-1.img\n", out.display()));
    for name in ["tarball", "unpacked"] {
        fs::create_dir(stage.path().join(name)).unwrap();
    }
    sh(
        stage.path(),
        &format!(
            "tar --numeric-owner --selinux --acls --xattrs --xattrs-include='*' -C tarball -xf \
             {0}/tiny-1.tgz && unsquashfs -q -n -xattrs -f -d unpacked {0}/tiny-1.img >&2",
            out.display()
        ),
    );
    let (tarball, unpacked) = (stage.path().join("tarball"), stage.path().join("unpacked"));
    assert_eq!(differences(&tarball, &unpacked), "");
    assert!(sh(&unpacked, "getcap usr/bin/capable").contains("cap_net_raw=ep"));
    let label = sh(&unpacked, "getfattr --only-values -n security.selinux usr/bin/capable");
    assert!(label.starts_with("system_u:object_r:bin_t:s0"), "{label}");
    for verb in [["inspect", "--json"], ["verify", "--for=anaconda-fedora"]] {
        let found = stage.osimg(OSIMG, &[verb[0], verb[1], "out/tiny-1.img"]).run();
        found.does_not_report(&["damaged"]);
        if verb[0] == "verify" {
            assert!(found.stdout.contains("[image-file]"), "{}", found.stdout);
            assert!(found.stdout.contains("lose symbolic links"), "{}", found.stdout);
        } else {
            let image: serde_json::Value = serde_json::from_str(&found.stdout).unwrap();
            assert_eq!(image["origin"]["format"], "img", "{image:#}");
        }
    }
    stage.osimg(OSIMG, &["diff", "out/tiny-1.tgz", "out/tiny-1.img"]).succeeds();
}

#[test]
fn a_directory_treats_a_squashfs_as_it_treats_a_tarball() {
    let Some(stage) = stage() else { return };
    let (out, registry) = (stage.out(), dir(&stage.out()));
    build(&stage, &registry, &["--jobs", "1"]);
    let other = stage.path().join("other");
    fs::create_dir(&other).unwrap();
    build(&stage, &dir(&other), &["--jobs", "3"]);
    sh(&out, &format!("cmp tiny-1.img {}/tiny-1.img", other.display()));
    sh(&out, "sha256sum --strict -c tiny-1.img.sha256; sha512sum --strict -c tiny-1.img.sha512");
    let text = fs::read_to_string(out.join("tiny-1.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    let image = &manifest["tarballs"][1];
    let digest = sh(&out, "sha512sum tiny-1.img | cut -d' ' -f1");
    assert_eq!((&image["format"], &image["file"]), (&"img".into(), &"tiny-1.img".into()));
    assert_eq!(image["sha512"], digest.trim());
    assert_eq!(image["bytes"], fs::metadata(out.join("tiny-1.img")).unwrap().len());
    let spdx = fs::read_to_string(out.join("tiny-1.spdx.json")).unwrap();
    let provenance = fs::read_to_string(out.join("tiny-1.intoto.json")).unwrap();
    assert!(spdx.contains("tiny-1") && provenance.contains("tiny-1.img"), "{provenance}");
    // The same build again changes nothing; a newer one moves the link.
    build(&stage, &registry, &[]);
    version(&stage, "2");
    build(&stage, &registry, &[]);
    let link = |name: &str| fs::read_link(out.join(name)).ok();
    assert_eq!(link("tiny-latest.img"), Some("tiny-2.img".into()));
    stage.osimg(OSIMG, &["images", "--registry", &registry, "--prune", "1"]).succeeds();
    let left = stage.files(&out);
    assert!(left.keys().all(|name| !name.starts_with("tiny-1")), "{:?}", left.keys());
    let list = stage
        .osimg(OSIMG, &["images", "--registry", &registry, "--remove", "tiny-2.img"])
        .succeeds()
        .stdout;
    assert!(list.contains("tiny-2.tgz"), "{list}");
    assert!(!list.contains("tiny-2.img"), "{list}");
    assert!(!out.join("tiny-2.img.sha256").exists() && link("tiny-latest.img").is_none());
}

#[test]
fn a_web_tree_gets_the_squashfs_and_glance_refuses_it_before_the_build() {
    let Some(stage) = stage() else { return };
    let www = stage.path().join("www");
    fs::create_dir(&www).unwrap();
    let registry = format!("tree:{}", www.display());
    // The image of the test has no kernel, which is allowed by name.
    build(&stage, &dir(&stage.out()), &[]);
    let text = fs::read_to_string(stage.out().join("tiny-1.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    let findings = manifest["findings"].as_array().unwrap().iter();
    let names = findings.filter_map(|finding| finding["name"].as_str());
    let words: Vec<&str> = names.flat_map(|name| ["--allow", name]).collect();
    build(&stage, &registry, &words);
    sh(&www.join("tiny-1"), "sha256sum --strict -c tiny-1.img.sha256; test -s tiny-1.tgz");
    let words = ["images", "--registry", &registry, "--remove", "tiny-1.tgz"];
    let left = stage.osimg(OSIMG, &words).succeeds().stdout;
    assert!(left.contains("tiny-1.img") && !left.contains("tiny-1.tgz"), "{left}");
    let recipe = stage.recipe(RECIPE);
    for address in ["glance:lab", "oci:registry.invalid/os"] {
        let words = ["--registry", address];
        let refused = stage.build_without_output(&recipe).args(&words).args(&FORMATS).fails(2);
        refused.reports(&["Ironic installs no squashfs image from there", "dir:PATH"]);
        refused.does_not_report(&["downloading packages"]);
    }
}

#[test]
fn a_container_image_of_a_build_has_the_tgz_as_its_layer() {
    let Some(stage) = stage() else { return };
    let (recipe, registry) = (stage.recipe(RECIPE), dir(&stage.out()));
    let done = stage
        .build_without_output(&recipe)
        .args(&["--registry", &registry, "--format", "oci", "--format", "tgz", "--format", "tar"])
        .args(&["--verify-reproducible"])
        .succeeds();
    let out = stage.out();
    assert_eq!(
        done.stdout,
        format!("{0}/tiny-1.oci\n{0}/tiny-1.tgz\n{0}/tiny-1.tar\n", out.display())
    );
    sh(
        &out,
        "sha256sum --strict -c tiny-1.oci.sha256 tiny-1.tgz.sha256
         skopeo --insecure-policy copy -q oci-archive:tiny-1.oci dir:copied
         cmp tiny-1.tgz copied/$(sha256sum < tiny-1.tgz | cut -d' ' -f1)
         skopeo inspect --config oci-archive:tiny-1.oci | grep -q sha256:$(sha256sum < tiny-1.tar |
             cut -d' ' -f1)",
    );
    // Only this format, without a tgz beside it, has the same bytes.
    let alone = stage.path().join("alone.oci").display().to_string();
    stage.build_without_output(&recipe).args(&["--output", &alone]).succeeds();
    sh(&out, &format!("cmp tiny-1.oci {alone}"));
    let list = stage.osimg(OSIMG, &["images", "--registry", &registry]).succeeds().stdout;
    assert!(list.contains("tiny-1.oci") && list.contains("tiny-1.tgz"), "{list}");
    let words = ["--registry", "oci:registry.invalid/os", "--format", "oci"];
    let refused = stage.build_without_output(&recipe).args(&words).fails(2);
    refused.reports(&["Ironic installs no container image from there", "dir:PATH"]);
}

#[test]
fn every_format_of_two_builds_is_compared() {
    let Some(stage) = stage() else { return };
    let done = stage
        .build_without_output(&stage.recipe(RECIPE))
        .args(&["--registry", &dir(&stage.out()), "--verify-reproducible"])
        .args(&FORMATS)
        .succeeds();
    for name in ["tiny-1.tgz", "tiny-1.img"] {
        let digest = run(Command::new("sha256sum").arg(stage.out().join(name)));
        done.reports(&[&format!("sha256 {}", &String::from_utf8_lossy(&digest)[..64])]);
    }
}
