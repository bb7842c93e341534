//! The demo distribution's image, made by dnf 4 and by dnf 5: the same packages, and trees that
//! differ only in listed places.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::machines::both;
use crate::stage::Stage;
use crate::support::skip;

/// The places where the two trees may differ, with the reason.
const MAY_DIFFER: [(&str, &str); 3] = [
    ("/var/lib/rpm/", "the rpmdb: rpm 6 writes other tags and indexes"),
    ("/usr/lib/sysimage", "the directory in which dnf 5 kept its state"),
    ("/boot/initramfs-", "an archive that holds the accounts' files"),
];

/// The account files. Packages create accounts in the order of their installation, which rpm and
/// the solver choose, so the numbers differ. Owners are therefore compared by name.
const ACCOUNTS: [&str; 8] = [
    "/etc/passwd",
    "/etc/group",
    "/etc/shadow",
    "/etc/gshadow",
    "/etc/passwd-",
    "/etc/group-",
    "/etc/shadow-",
    "/etc/gshadow-",
];

pub fn demo() -> Option<PathBuf> {
    let directory = std::env::var_os("OSIMG_DEMO")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".demo/repo"), PathBuf::from);
    if directory.join("osimg-demo.toml").is_file() {
        return Some(directory.canonicalize().unwrap());
    }
    skip("there is no demo distribution: make demo");
    None
}

/// The names of accounts by number.
fn names(root: &Path, file: &str) -> BTreeMap<u32, String> {
    let text = std::fs::read_to_string(root.join(file)).unwrap();
    text.lines()
        .filter_map(|line| {
            let mut parts = line.split(':');
            Some((parts.next()?.to_owned(), parts.nth(1)?.parse().ok()?))
        })
        .map(|(name, id)| (id, name))
        .collect()
}

/// The compared facts of every path.
fn tree(root: &Path) -> BTreeMap<String, String> {
    let (users, groups) = (names(root, "etc/passwd"), names(root, "etc/group"));
    let name = |known: &BTreeMap<u32, String>, id: u32| {
        known.get(&id).cloned().unwrap_or_else(|| id.to_string())
    };
    let mut found = BTreeMap::new();
    for entry in walkdir::WalkDir::new(root).into_iter().map(Result::unwrap) {
        let path = format!("/{}", entry.path().strip_prefix(root).unwrap().display());
        let m = entry.path().symlink_metadata().unwrap();
        let mut facts =
            format!("{:o} {}:{}", m.mode(), name(&users, m.uid()), name(&groups, m.gid()));
        if m.is_file() {
            let digest = if ACCOUNTS.contains(&path.as_str()) {
                String::new()
            } else {
                digest(entry.path())
            };
            // A directory has the time of the last package that contains it, a file that of its
            // own.
            facts += &format!(
                " {} {} {digest}",
                if digest.is_empty() { 0 } else { m.size() },
                m.mtime()
            );
        } else if m.is_symlink() {
            facts += &format!(" -> {}", std::fs::read_link(entry.path()).unwrap().display());
        }
        for key in xattr::list(entry.path()).unwrap() {
            facts += &format!(" {key:?}={:?}", xattr::get(entry.path(), &key).unwrap());
        }
        found.insert(path, facts);
    }
    for accounts in ["passwd", "group", "shadow", "gshadow"] {
        let text = std::fs::read_to_string(root.join("etc").join(accounts)).unwrap();
        let known: BTreeSet<&str> =
            text.lines().filter_map(|line| line.split(':').next()).collect();
        found.insert(format!("accounts in {accounts}"), format!("{known:?}"));
    }
    found
}

fn digest(path: &Path) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(std::fs::read(path).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_demo_image_is_the_same_with_dnf_4_and_dnf_5() {
    let (machines, Some(demo)) = (both(), demo()) else { return };
    let stage = Stage::empty();
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("baremetal.yum");
    let mut made = Vec::new();
    for machine in &machines {
        let image = stage.out().join(format!("{machine:?}.tar"));
        let run = machine.osimg(&stage, &["build"], &[&demo, recipe.parent().unwrap()]);
        let run = run
            .arg(&recipe)
            .arg("--settings")
            .arg(demo.join("osimg-demo.toml"))
            .args(&["--package-manager", machine.manager()]);
        let run = run
            .arg("--cache")
            .arg(stage.cache())
            .arg("--workdir")
            .arg(stage.work())
            .arg("--output")
            .arg(&image);
        let done = run.run();
        assert_eq!(done.code, Some(0), "{machine:?}: {}", done.stderr);
        let manifest: serde_json::Value =
            serde_json::from_slice(&std::fs::read(image.with_extension("json")).unwrap()).unwrap();
        let root = stage.path().join(format!("{machine:?}"));
        std::fs::create_dir(&root).unwrap();
        let mut tar = Command::new("tar");
        tar.args(["--numeric-owner", "--acls", "--xattrs", "--xattrs-include", "*", "-xf"])
            .arg(&image)
            .arg("-C")
            .arg(&root);
        crate::stage::run(&mut tar);
        std::fs::remove_file(&image).unwrap();
        let mut packages = manifest["packages"].clone();
        for package in packages.as_array_mut().unwrap() {
            // If a recipe requests a package both by name and by group, dnf 4 records the group as
            // the reason, and dnf 5 the user.
            package.as_object_mut().unwrap().remove("reason");
        }
        made.push((packages, tree(&root)));
    }
    let [(packages, ours), (other_packages, theirs)] = made.as_slice() else { return };
    assert!(packages.as_array().is_some_and(|list| list.len() > 300), "{packages}");
    assert_eq!(packages, other_packages);
    let paths: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let differ: Vec<String> = paths
        .into_iter()
        .filter(|path| {
            ours.get(*path) != theirs.get(*path)
                && !MAY_DIFFER.iter().any(|(place, _)| path.starts_with(place))
        })
        .map(|path| {
            format!("{path}\n  dnf 4: {:?}\n  dnf 5: {:?}", ours.get(path), theirs.get(path))
        })
        .collect();
    assert!(differ.is_empty(), "{} differences:\n{}", differ.len(), differ.join("\n"));
}
