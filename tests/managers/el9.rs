//! The skeleton of CentOS Stream 9 (`fixtures/el9`), built by the ready recipe: true names,
//! dependencies, files and modes. The judges are the real metadata, reports of real images, and
//! `rpm -V`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::machines::{Machine, both, trees_directory};
use crate::stage::{OSIMG, Run, Stage, run};
use crate::support::{require_root, skip};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/el9");

/// The directory of the skeleton, made once and kept.
fn skeleton() -> Option<PathBuf> {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    if !require_root() {
        return None;
    }
    let made = MADE.get_or_init(|| {
        let directory = trees_directory().join("el9");
        let done = Command::new(Path::new(FIXTURE).join("generate")).arg(&directory).output();
        let done = done.map_err(|e| format!("fixtures/el9/generate: {e}"))?;
        let text = || String::from_utf8_lossy(&done.stderr).into_owned();
        if done.status.success() { Ok(directory) } else { Err(text()) }
    });
    made.clone().map_err(|why| skip(&why)).ok()
}

/// A file of the fixture.
fn data(name: &str) -> Value {
    let file = Path::new(FIXTURE).join(format!("{name}.json.xz"));
    serde_json::from_slice(&run(Command::new("xz").arg("-dc").arg(file))).unwrap()
}

/// The packages that the real metadata gives for the recipe, as NEVRAs with the epoch.
fn real_packages() -> BTreeSet<String> {
    let listed = data("packages");
    let strong = listed.as_array().unwrap().iter().filter(|package| package["strong"] == true);
    let text = |package: &Value, field: &str| package[field].as_str().unwrap().to_owned();
    strong
        .map(|p| {
            let [name, epoch, version, release, arch] =
                ["name", "epoch", "version", "release", "arch"].map(|field| text(p, field));
            format!("{name}-{epoch}:{version}-{release}.{arch}")
        })
        .collect()
}

/// `osimg VERB` of an unchanged copy of the ready recipes, with the skeleton's settings.
fn osimg<'a>(machine: Machine, stage: &'a Stage, skeleton: &Path, verb: &str) -> Run<'a> {
    let recipes = stage.path().join("recipes");
    if !recipes.exists() {
        let from = concat!(env!("CARGO_MANIFEST_DIR"), "/recipes");
        run(Command::new("cp").arg("-r").arg(from).arg(&recipes));
    }
    let run = machine.osimg(stage, &[verb], &[skeleton]);
    let run = run.arg(recipes.join("centos-stream-9.yum"));
    let run = run.arg("--settings").arg(skeleton.join("el9.toml"));
    let cache = stage.cache().join(format!("{machine:?}"));
    let run = run.args(&["--package-manager", machine.manager(), "--cache"]).arg(cache);
    run.arg("--workdir").arg(stage.work())
}

#[test]
fn the_ready_recipe_resolves_to_the_packages_of_the_real_metadata() {
    let (machines, Some(skeleton)) = (both(), skeleton()) else { return };
    let real = real_packages();
    for machine in machines {
        let stage = Stage::empty();
        osimg(machine, &stage, &skeleton, "lock").succeeds();
        let lock = fs::read_to_string(stage.path().join("recipes/centos-stream-9.lock")).unwrap();
        let locked: BTreeSet<String> = lock
            .lines()
            .filter_map(|line| line.strip_prefix("nevra = \"")?.strip_suffix('"'))
            .map(str::to_owned)
            .collect();
        let differ: Vec<&String> = locked.symmetric_difference(&real).collect();
        assert!(differ.is_empty(), "{machine:?}: {differ:?}");
    }
}

/// Builds the image into the stage. Returns the result.
fn build(machine: Machine, stage: &Stage, skeleton: &Path) -> crate::stage::Done {
    osimg(machine, stage, skeleton, "build")
        .arg("--output")
        .arg(stage.image())
        .args(&["--level", "fast"])
        .succeeds()
}

/// The checks that found something in the tarball, with their texts.
fn findings(stage: &Stage, tarball: &Path) -> BTreeMap<String, String> {
    let done = stage.osimg(OSIMG, &["verify", "--json"]).arg(tarball).run();
    let json: Value = serde_json::from_str(&done.stdout).unwrap();
    let listed = json["findings"].as_array().unwrap().iter();
    let text = |finding: &Value, field: &str| finding[field].as_str().unwrap().to_owned();
    listed.map(|f| (text(f, "name"), text(f, "severity") + ": " + &text(f, "text"))).collect()
}

/// A path with the kernel's version as `*`.
fn without_version(path: &str) -> String {
    ["/boot/System.map-", "/boot/symvers-"]
        .iter()
        .find(|start| path.starts_with(**start))
        .map_or_else(|| path.to_owned(), |start| format!("{start}*"))
}

/// The differences that `rpm -V` reports of any real image of EL 9: the path and the letters.
fn real_differences() -> BTreeSet<(String, String)> {
    let reports = data("images");
    let releases = ["centos_9", "rhel_9.5"].map(|release| &reports["rpm_verify"][release]);
    let images = releases.into_iter().flat_map(|release| release.as_object().unwrap().values());
    images
        .flat_map(|image| image.as_object().unwrap())
        .map(|(path, letters)| (without_version(path), letters.as_str().unwrap().to_owned()))
        .collect()
}

/// The differences that rpm reports of a tree: the path, and the letters or `missing`.
fn differences(root: &Path) -> BTreeSet<(String, String)> {
    let mut rpm = Command::new("rpm");
    rpm.env("RPM_FORCE_DEBIAN", "1").arg("--root").arg(root);
    rpm.args(["--dbpath", "/var/lib/rpm", "--define", "_db_backend sqlite", "-Va", "--nodeps"]);
    let text = String::from_utf8(rpm.output().unwrap().stdout).unwrap();
    text.lines()
        .filter_map(|line| {
            let (letters, rest) = line.split_once(' ')?;
            Some((without_version(&rest[rest.find('/')?..]), letters.to_owned()))
        })
        .collect()
}

/// Differences of our images that no real image has, with the reason.
const OURS: [(&str, &str, &str); 3] = [
    ("/var/run/console", "missing", RUN),
    ("/var/run/faillock", "missing", RUN),
    ("/var/run/sepermit", "missing", RUN),
];
const RUN: &str = "/run is not a part of the image; systemd-tmpfiles creates it at boot";

/// The only finding of an unchanged image: the packages are older than the installer of today.
const TOO_OLD: &str = "program-gen_grub_cfgstub";

fn assert_differs_as_real_images(root: &Path, what: &str) {
    let known = real_differences();
    let ours = |path: &str, letters: &str| OURS.iter().any(|o| (o.0, o.1) == (path, letters));
    let found = differences(root);
    let unknown: Vec<_> = found
        .iter()
        .filter(|difference| !known.contains(*difference) && !ours(&difference.0, &difference.1))
        .collect();
    assert!(unknown.is_empty(), "{what}: {unknown:#?}");
    // A run of rpm that reads no rpmdb finds nothing.
    assert!(found.iter().any(|(path, _)| path == "/var/spool/anacron/cron.daily"), "{found:?}");
}

#[test]
fn images_of_the_ready_recipe_have_only_findings_and_differences_that_real_images_have() {
    let (machines, Some(skeleton)) = (both(), skeleton()) else { return };
    for machine in machines {
        let stage = Stage::empty();
        build(machine, &stage, &skeleton);
        let found = findings(&stage, &stage.image());
        assert_eq!(found.keys().collect::<Vec<_>>(), [TOO_OLD], "{machine:?}: {found:#?}");
        let root = stage.extract();
        assert_differs_as_real_images(&root, &format!("{machine:?}"));
        inspected(&stage);
        if machine == Machine::Here {
            judged_as_real_images(&stage, &root);
        }
    }
}

/// The image as `osimg inspect` reports it.
fn inspected(stage: &Stage) {
    let done = stage.osimg(OSIMG, &["inspect", "--json"]).arg(stage.image()).run();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let image: Value = serde_json::from_str(&done.stdout).unwrap();
    let real = &data("images")["images"]["centos_9-x86_64-qcow2-empty"]["os-release"];
    assert_eq!(&image["os_release"], real);
    assert_eq!(image["packages"].as_array().unwrap().len(), real_packages().len());
    assert_eq!(image["kernels"], serde_json::json!(["5.14.0-55.el9.x86_64"]));
}

/// Each row changes a tree as image builders, authselect or faults do. The checks then find exactly
/// these things.
fn judged_as_real_images(stage: &Stage, root: &Path) {
    let release = root.join("usr/lib/os-release");
    let text = fs::read_to_string(&release).unwrap();
    let time = release.metadata().unwrap().modified().unwrap();
    let minor = |number: &str| {
        let new = format!("VERSION_ID=\"{number}\"");
        fs::write(&release, text.replace("VERSION_ID=\"9\"", &new)).unwrap();
    };
    minor("9.6");
    assert_eq!(packed(stage, root), ["rpm-contents"], "only os-release was changed");
    minor("9.7");
    assert_eq!(packed(stage, root), [TOO_OLD, "rpm-contents"]);
    fs::write(&release, &text).unwrap();
    fs::File::options().write(true).open(&release).unwrap().set_modified(time).unwrap();

    let pam = ["fingerprint-auth", "password-auth", "postlogin", "smartcard-auth", "system-auth"];
    let paths = pam.map(|name| format!("pam.d/{name}"));
    for path in paths.iter().map(String::as_str).chain(["nsswitch.conf"]) {
        let name = path.rsplit('/').next().unwrap();
        let (place, profile) = (root.join("etc").join(path), root.join("etc/authselect"));
        fs::rename(&place, profile.join(name)).unwrap();
        std::os::unix::fs::symlink(Path::new("/etc/authselect").join(name), place).unwrap();
    }
    assert_eq!(packed(stage, root), [TOO_OLD], "links of authselect");
    mode(root, "boot/grub2/fonts/unicode.pf2", 0o644);
    mode(root, "boot/efi/EFI", 0o755);
    assert_eq!(packed(stage, root), [TOO_OLD, "rpm-known"], "changes of image builders");
    assert_differs_as_real_images(root, "a changed tree");

    for (path, wrong, check) in [
        ("", 0o700, "root-member"),
        ("etc/shadow", 0o644, "rpm-modes"),
        ("usr/bin/sudo", 0o755, "rpm-modes"),
    ] {
        let right = mode(root, path, wrong);
        let found = packed(stage, root);
        assert!(found.iter().any(|name| name == check), "/{path}: {found:?}");
        mode(root, path, right);
    }
    fs::create_dir(root.join("etc/nvme")).unwrap();
    fs::write(root.join("etc/nvme/hostnqn"), "nqn.2014-08.org.nvmexpress:uuid:1\n").unwrap();
    fs::remove_file(root.join("etc/ld.so.cache")).unwrap();
    let found = packed(stage, root);
    let expected = [TOO_OLD, "identities", "rpm-known", "scriptlet-results"];
    assert_eq!(found.iter().collect::<BTreeSet<_>>(), expected.map(str::to_owned).iter().collect());
}

/// Changes the mode of a path; returns the earlier one.
fn mode(root: &Path, path: &str, new: u32) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    let path = root.join(path);
    let old = path.metadata().unwrap().permissions().mode() & 0o7777;
    fs::set_permissions(path, fs::Permissions::from_mode(new)).unwrap();
    old
}

/// The names of the findings in a tarball of the tree.
fn packed(stage: &Stage, root: &Path) -> Vec<String> {
    let tarball = stage.path().join("packed.tar");
    let _ = fs::remove_file(&tarball);
    let done = stage.osimg(OSIMG, &["pack"]).arg(root).arg("--output").arg(&tarball).run();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    // `pack` writes no checksum next to it.
    findings(stage, &tarball).into_keys().filter(|name| name != "checksum-file").collect()
}
