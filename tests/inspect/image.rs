//! `osimg inspect`, compared with rpm, GNU tar, find and getcap.

use crate::stage::{OSIMG, run, sh};
use crate::support::require_root;
use crate::{RECIPE, json, stage};
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

#[test]
fn an_image_is_described_as_rpm_tar_find_and_getcap_see_it() {
    if !require_root() {
        return;
    }
    let stage = stage();
    stage.build(RECIPE).succeeds();
    let root = stage.extract();
    // Before rpm reads the image and leaves its locks there.
    let paths = sh(&root, "find . -mindepth 1 -printf '/%P\\n'");
    let rpm = |words: &[&str]| {
        Command::new("rpm")
            .args(["--dbpath", "/var/lib/rpm", "--root"])
            .arg(&root)
            .args(words)
            .output()
            .unwrap()
            .stdout
    };
    let image = json(&["inspect", stage.image().to_str().unwrap()]);

    let query = ["-qa", "--qf", "%{NAME}-%{EPOCHNUM}:%{VERSION}-%{RELEASE}.%{ARCH}\\n"];
    let installed = String::from_utf8(rpm(&query)).unwrap();
    let expected: BTreeSet<&str> =
        installed.lines().filter(|line| !line.starts_with("gpg-pubkey")).collect();
    let listed: BTreeSet<&str> = image["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["nevra"].as_str().unwrap())
        .collect();
    assert_eq!(listed, expected);

    let listed =
        String::from_utf8(run(Command::new("tar").arg("-tvf").arg(stage.image()))).unwrap();
    let of = |kind: char| listed.lines().filter(|line| line.starts_with(kind)).count();
    let totals = &image["totals"];
    assert_eq!(totals["members"], listed.lines().count());
    assert_eq!((&totals["files"], &totals["directories"]), (&of('-').into(), &of('d').into()));
    assert_eq!((&totals["symlinks"], &totals["hard_links"]), (&of('l').into(), &of('h').into()));
    let bytes: u64 = listed
        .lines()
        .filter(|line| line.starts_with('-'))
        .map(|line| line.split_whitespace().nth(2).unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(totals["bytes"], bytes);

    let privileged = image["privileged"].as_array().unwrap();
    let with = |power: &str| -> BTreeSet<String> {
        let has = |p: &&serde_json::Value| {
            p["powers"].as_array().unwrap().iter().any(|p| p.as_str().unwrap().starts_with(power))
        };
        privileged.iter().filter(has).map(|p| p["path"].as_str().unwrap().to_owned()).collect()
    };
    let found = |test: &str| -> BTreeSet<String> {
        sh(&root, &format!("find . -type f -perm {test} -printf '/%P\\n'"))
            .lines()
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(with("setuid"), found("-4000"));
    assert_eq!(with("setgid"), found("-2000"));
    assert!(
        with("setuid").contains("/usr/bin/setuid") && with("setgid").contains("/usr/bin/setgid")
    );
    let listed: BTreeSet<String> = privileged
        .iter()
        .flat_map(|p| {
            p["powers"].as_array().unwrap().iter().map(move |power| {
                format!("{} {}", p["path"].as_str().unwrap(), power.as_str().unwrap())
            })
        })
        .filter(|line| line.contains("cap_"))
        .collect();
    let found: BTreeSet<String> = sh(&root, "getcap -r .")
        .lines()
        .map(|line| format!("/{}", line.trim_start_matches("./")))
        .collect();
    assert_eq!(listed, found);
    assert_eq!(
        listed.first().map(String::as_str),
        Some("/usr/bin/capable cap_net_bind_service,cap_net_raw=ep")
    );

    // Files that no package owns: existing files that are in none of rpm's lists. (`rpm -qf` would
    // look for the files on the host.)
    let unowned: BTreeSet<&str> = image["unowned"]
        .as_array()
        .unwrap()
        .iter()
        .map(|share| share["name"].as_str().unwrap())
        .collect();
    let listed = String::from_utf8(rpm(&["-qal"])).unwrap();
    let owned: BTreeSet<&str> = listed.lines().collect();
    let by_rpm: BTreeSet<&str> = paths.lines().filter(|path| !owned.contains(path)).collect();
    assert!(!by_rpm.is_empty());
    assert_eq!(unowned, by_rpm);

    let odd = image["packages"].as_array().unwrap().iter().find(|p| p["name"] == "odd").unwrap();
    assert_eq!((odd["size"].as_u64(), odd["files"].as_u64()), (Some(5003 + 7), Some(6)));
    assert_eq!((odd["repository"].as_str(), odd["reason"].as_str()), (Some("tiny"), Some("user")));
    let units: Vec<&str> =
        image["services"].as_array().unwrap().iter().map(|s| s["unit"].as_str().unwrap()).collect();
    assert_eq!(units, ["odd.service"]);
    let users: Vec<&str> =
        image["users"].as_array().unwrap().iter().map(|u| u["name"].as_str().unwrap()).collect();
    let passwd = stage.content("./etc/passwd");
    assert_eq!(
        users,
        passwd.lines().map(|line| line.split(':').next().unwrap()).collect::<Vec<_>>()
    );
    assert_eq!(image["os_release"]["ID"], "tiny");
}

#[test]
fn a_tree_and_its_tarball_are_described_alike() {
    if !require_root() {
        return;
    }
    let stage = stage();
    stage.build(RECIPE).succeeds();
    let root = stage.extract();
    let mut tarball = json(&["inspect", stage.image().to_str().unwrap()]);
    let mut tree = json(&["inspect", root.to_str().unwrap()]);
    // The facts that the manifest next to the tarball adds, and the source of each.
    for image in [&mut tarball, &mut tree] {
        let image = image.as_object_mut().unwrap();
        for key in ["origin", "built", "name", "version", "arch"] {
            image.remove(key);
        }
        for package in image["packages"].as_array_mut().unwrap() {
            for key in ["repository", "reason", "signer"] {
                package.as_object_mut().unwrap().remove(key);
            }
        }
    }
    assert_eq!(tarball, tree);
}

#[test]
fn the_text_output_has_the_same_facts_and_a_manifest_suffices_for_packages() {
    if !require_root() {
        return;
    }
    let stage = stage();
    stage.build(RECIPE).succeeds();
    let words = |path: &std::path::Path| {
        String::from_utf8(run(Command::new(OSIMG).arg("-q").arg("inspect").arg(path))).unwrap()
    };
    let text = words(&stage.image());
    for part in [
        "Size by package",
        "odd 2:1.0-1",
        "/usr/bin/setuid",
        "cap_net_bind_service,cap_net_raw=ep",
        "Not owned by a package",
        "Built in",
        "packing",
    ] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
    let text = words(&stage.out().join("image.json"));
    for part in ["odd 2:1.0-1", "Built in", "does not list files"] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
    // The manifest of another tarball is ignored.
    sh(
        &stage.out(),
        "cp image.tgz other.tgz && printf '{\"manifest_version\": 1, \"name\": \"foreign\"}' > \
         other.json",
    );
    assert!(!words(&stage.out().join("other.tgz")).contains("foreign"));
}

#[test]
fn a_manifest_of_ten_thousand_packages_is_described_within_a_second() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let package = |number: usize, version: usize| {
        serde_json::json!({
            "nevra": format!("package-{number}-0:{version}-1.el9.x86_64"),
            "checksum": format!("sha256:{number:064x}"), "repository": "baseos",
            "location": format!("Packages/p/package-{number}.rpm"), "size": number * 1000,
            "license": "MIT", "source": "package.src.rpm",
        })
    };
    let manifest = |name: &str, version: usize| {
        let packages: Vec<_> = (0..10_000)
            .map(|number| package(number, if number % 3 == 0 { version } else { 1 }))
            .collect();
        let path = directory.path().join(name);
        fs::write(
            &path,
            serde_json::json!({"manifest_version": 1, "name": "big", "packages": packages})
                .to_string(),
        )
        .unwrap();
        path
    };
    let (one, two) = (manifest("one.json", 1), manifest("two.json", 2));
    let (one, two) = (one.to_str().unwrap(), two.to_str().unwrap());
    // CPU time does not depend on other load of the machine. `times` prints its own time and then
    // that of its children.
    let timed = |words: &[&str]| {
        let output = run(Command::new("bash")
            .args(["-c", "\"$@\" && times", "bash", OSIMG, "-q"])
            .args(words));
        let text = String::from_utf8(output).unwrap();
        let (text, times) = text.trim_end().rsplit_once('\n').unwrap();
        let seconds: f64 = times
            .split(' ')
            .map(|time| time.trim_end_matches('s').split_once('m').unwrap())
            .map(|(minutes, seconds)| {
                minutes.parse::<f64>().unwrap() * 60.0 + seconds.parse::<f64>().unwrap()
            })
            .sum();
        assert!(seconds < 1.0, "{words:?} took {seconds} s");
        text.to_owned()
    };
    assert!(timed(&["inspect", one]).contains("10000"));
    assert!(timed(&["diff", one, two]).contains("3334 changed"));
}

#[test]
fn a_file_that_is_not_an_image_is_refused_with_a_hint() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().join("x");
    let refused = |content: Option<&[u8]>, words: &[&str]| {
        if let Some(content) = content {
            fs::write(&path, content).unwrap();
        }
        let output = Command::new(OSIMG).arg("inspect").arg(&path).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && output.stdout.is_empty() && !text.contains("panicked"),
            "{text}"
        );
        assert!(words.iter().all(|word| text.contains(word)), "{words:?}: {text}");
    };
    refused(None, &["opening", "manifest"]);
    refused(Some(b"{}"), &["manifest"]);
    refused(Some(b"{\"manifest_version\": 7, \"name\": \"x\"}"), &["version is 7"]);
    refused(Some(b"nonsense"), &["reading the tarball"]);
    refused(Some(b""), &["reading the tarball"]);
}
