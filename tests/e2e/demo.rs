//! The repository's own recipe on the demo distribution: hundreds of real packages with real
//! scriptlets.

use crate::stage::{Stage, run};
use crate::support::repo::{Package, Repo, When};
use crate::support::{breakout, keys, require_root, skip};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The settings of the demo distribution. `make test` builds it first.
pub fn distribution() -> Option<PathBuf> {
    if !require_root() {
        return None;
    }
    let directory = std::env::var_os("OSIMG_DEMO_REPO")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".demo/repo"), PathBuf::from);
    let settings = directory.join("osimg-demo.toml");
    if !settings.exists() {
        skip(&format!("there is no demo distribution in {}: make demo", directory.display()));
        return None;
    }
    Some(settings)
}

/// The three lines of Ironic's documentation, word for word.
/// <https://docs.openstack.org/ironic/latest/admin/anaconda-deploy-interface.html>
const DOCUMENTED: &str = "group install 'Minimal Install'\ninstall cloud-init\nts run\n";

#[test]
fn the_documented_recipe_builds_an_image_that_is_reported_to_have_no_kernel() {
    let Some(settings) = distribution() else { return };
    let stage = Stage::empty();
    let built = stage
        .build(DOCUMENTED)
        .arg("--settings")
        .arg(settings)
        .args(&["--level", "fast"])
        .succeeds();
    built.reports(&[
        "there is no kernel",
        "shimx64.efi",
        "grubx64.efi",
        "efibootmgr",
        "grub2-mkconfig",
        "dracut",
        "grub2-install",
    ]);
    let manifest = stage.manifest();
    assert_eq!(manifest["kernels"], serde_json::json!([]));
    let named = |value: &serde_json::Value| -> BTreeSet<String> {
        value
            .as_array()
            .unwrap()
            .iter()
            .map(|finding| finding["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let listed = named(&manifest["findings"]);
    for name in [
        "kernel",
        "efi-loader",
        "bios-loader",
        "program-efibootmgr",
        "program-grub2-mkconfig",
        "program-dracut",
    ] {
        assert!(listed.contains(name), "{name}: {listed:?}");
    }
    assert!(
        manifest["findings"]
            .as_array()
            .unwrap()
            .iter()
            .all(|f| f["text"].is_string() && f["severity"].is_string())
    );
    // Verifying the finished tarball with all contents gives the same findings.
    let verified =
        stage.osimg(env!("CARGO_BIN_EXE_osimg"), &["verify", "--json"]).arg(stage.image()).run();
    assert_eq!(verified.code, Some(10), "{}", verified.stderr);
    let value: serde_json::Value = serde_json::from_str(&verified.stdout).unwrap();
    assert_eq!(named(&value["findings"]), listed);
    let names: Vec<&str> = manifest["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["nevra"].as_str().unwrap())
        .collect();
    assert!(names.iter().any(|name| name.starts_with("cloud-init-")), "{names:?}");
    assert!(names.len() > 100, "{}", names.len());
}

/// Files that rpm may report as changed in a new image: the account files, because scriptlets add
/// users for services.
const CHANGED: [&str; 4] = ["/etc/group", "/etc/gshadow", "/etc/passwd", "/etc/shadow"];

/// Runs a command of the unpacked image in a chroot with its own /proc.
pub fn inside(tree: &Path, words: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--pid", "--net", "--fork"])
        .arg(format!("--mount-proc={}", tree.join("proc").display()));
    let output =
        command.arg("chroot").arg(tree).args(words).env("LC_ALL", "C.UTF-8").output().unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr),
    )
}

#[test]
fn the_recipe_of_this_repository_builds_an_image_that_its_own_rpm_verifies() {
    let Some(settings) = distribution() else { return };
    let stage = Stage::empty();
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("baremetal.yum");
    stage.build_file(&recipe).arg("--settings").arg(settings).args(&["--level", "fast"]).succeeds();
    let manifest = stage.manifest();
    assert_eq!(manifest["findings"], serde_json::json!([]));
    let verified = stage.osimg(env!("CARGO_BIN_EXE_osimg"), &["verify"]).arg(stage.image()).run();
    assert_eq!(
        (verified.code, verified.stdout.lines().count()),
        (Some(0), 1),
        "{}",
        verified.stdout
    );
    let kernels = manifest["kernels"].as_array().unwrap();
    assert_eq!(kernels.len(), 1, "{kernels:?}");
    let tree = stage.extract();
    let kernel = kernels[0].as_str().unwrap();
    for file in [format!("boot/vmlinuz-{kernel}"), format!("boot/initramfs-{kernel}.img")] {
        assert!(tree.join(&file).metadata().is_ok_and(|m| m.len() > 1 << 20), "{file}");
    }
    // At the path where the image's own rpm expects it by default.
    let (code, listed) = inside(
        &tree,
        &["rpm", "-qa", "--qf", "%{name}-%{epochnum}:%{version}-%{release}.%{arch}\\n"],
    );
    assert_eq!(code, Some(0), "{listed}");
    let listed: BTreeSet<&str> =
        listed.lines().filter(|line| !line.starts_with("gpg-pubkey-")).collect();
    let expected: BTreeSet<&str> = manifest["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["nevra"].as_str().unwrap())
        .collect();
    assert_eq!(listed, expected);
    let (_, changes) = inside(&tree, &["rpm", "-Va"]);
    let unexplained: Vec<&str> = changes
        .lines()
        .filter(|line| !CHANGED.iter().any(|path| line.ends_with(&format!(" c {path}"))))
        .collect();
    assert!(unexplained.is_empty(), "{unexplained:#?}");
    // The policy gives a label to nearly every member. It explicitly gives none to mount points
    // such as /proc.
    let count = |name: &str| manifest["archive"][name].as_u64().unwrap();
    assert!(count("entries") - count("labels") < 20, "{} of {}", count("labels"), count("entries"));
    // The input of the bytes.
    let archive = &manifest["archive"];
    assert_eq!(
        (archive["version"].as_u64(), archive["compression"][0]["format"].as_str()),
        (Some(u64::from(osimg::archive::VERSION)), Some("tgz"))
    );
    assert!(archive["compression"][0]["level"].is_u64());
    assert_eq!(archive["compression"][0]["block"], 1 << 20);
    run(Command::new("sha256sum").arg("-c").arg("image.tgz.sha256").current_dir(stage.out()));
}

/// Code that the intruder adds to the bootstrap root's dnf. It runs when an image is installed,
/// with network and without.
const INTRUSION: &str = r#"
import os, sys
tops = ('/osimg/cache', '/osimg/shared', '/osimg/view')
for directory, _, files in [entry for top in tops for entry in os.walk(top)]:
    for name in files:
        try:
            os.chmod(os.path.join(directory, name), 0o4755)
            if name.endswith(('.solv', '.solvx', '.rpm')):
                open(os.path.join(directory, name), 'ab').write(b'intruded')
        except OSError:
            pass
print('the intruder was here', file=sys.stderr)
"#;

#[test]
fn programs_of_a_bootstrap_root_cannot_change_the_shared_cache() {
    let Some(settings) = distribution() else { return };
    let script = format!(
        "local dnf = io.open('/usr/lib/python3/dist-packages/dnf/__init__.py', 'a'); \
         dnf:write([==[{INTRUSION}]==]); dnf:close()"
    );
    let intruder = Package::named("intruder")
        .requires("python3-dnf")
        .provides("<lua>")
        .lua(When::Posttrans, &script);
    let stage = Stage::empty();
    let own = stage.path().join("intruder");
    Repo::new(&own).package(intruder).write();
    let repository = settings.parent().unwrap().canonicalize().unwrap();
    let text = std::fs::read_to_string(&settings)
        .unwrap()
        .replace("\"./\"", &format!("\"{}\"", repository.display()))
        .replace("file = \"", &format!("file = \"{}/", repository.display()));
    let names = "\"python3-dnf\", \"python3-rpm\", \"rpm\", \"system-release\", \
                 \"ca-certificates\", \"coreutils\", \"sed\"";
    let own = own.display();
    let of = |name: &str, more: &str| {
        let bootstrap = format!("bootstrap = true\nbootstrap_packages = [{names}{more}]");
        let tiny = format!(
            "\n[[packages.repository]]\nid = \"tiny\"\nbaseurl = \"file://{own}\"\ninclude = \
             [\"intruder\"]\n[[packages.key]]\nfile = \"{own}/KEY.asc\"\nfingerprint = \"{}\"\n",
            keys::ours().fingerprint
        );
        stage.write(name, text.replace("dbpath = \"/var/lib/rpm\"", &bootstrap) + &tiny)
    };
    let build = |settings: &Path| {
        stage
            .build("install bash system-release\nts run\n")
            .arg("--settings")
            .arg(settings)
            .args(&["--level", "fast", "-v"])
            .succeeds()
    };
    build(&of("plain.toml", "")).does_not_report(&["the intruder was here"]);
    let before = breakout::snapshot(&stage.cache());
    build(&of("intruded.toml", ", \"intruder\"")).reports(&["the intruder was here"]);
    breakout::unchanged(&before, &stage.cache());
}

#[test]
fn bootstrap_first_makes_a_root_with_the_image_s_own_package_manager() {
    let Some(settings) = distribution() else { return };
    let stage = Stage::empty();
    let repository = settings.parent().unwrap().canonicalize().unwrap();
    let text = std::fs::read_to_string(&settings)
        .unwrap()
        .replace("\"./\"", &format!("\"{}\"", repository.display()))
        .replace("file = \"", &format!("file = \"{}/", repository.display()));
    let plain = stage.write("plain.toml", &text);
    // Without a dbpath: the image's own rpm knows the path.
    let own =
        stage.write("own.toml", text.replace("dbpath = \"/var/lib/rpm\"", "bootstrap = true"));
    let recipe = "install bash coreutils rpm system-release\nts run\n";
    let packages = |settings: &Path| {
        stage.build(recipe).arg("--settings").arg(settings).args(&["--level", "fast"]).succeeds();
        let manifest = stage.manifest();
        (
            manifest["packages"].clone(),
            manifest["builder"]["package_manager"].as_str().unwrap().to_owned(),
        )
    };
    let (expected, _) = packages(&plain);
    let (found, manager) = packages(&own);
    assert_eq!(found, expected);
    assert!(manager.starts_with("dnf 4"), "{manager}");
    let tree = stage.extract();
    assert!(tree.join("var/lib/rpm/rpmdb.sqlite").exists());
    stage.nothing_is_left();
    // If the bootstrap root cannot be made, the message says that it is the bootstrap root.
    let wrong = stage.write(
        "wrong.toml",
        text.replace(
            "dbpath =",
            "bootstrap = true\nbootstrap_packages = [\"no-such-dnf\"]\ndbpath =",
        ),
    );
    stage
        .build(recipe)
        .arg("--settings")
        .arg(wrong)
        .fails(7)
        .reports(&["making the bootstrap root", "no-such-dnf"]);
}
