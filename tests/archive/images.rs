//! A squashfs and a container image have what the tarball has, but for what their formats cannot
//! hold.
#![expect(clippy::disallowed_methods, reason = "tests run the program, and the tools that judge")]

use crate::support::{can_run, differences, directory, hard_tree, inside, run, shell};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

fn osimg(words: &[&str], directory: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_osimg"));
    String::from_utf8(run(command
        .args(words)
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .current_dir(directory)))
    .unwrap()
}

#[test]
fn an_image_has_the_tree_of_the_tarball_and_the_same_bytes_every_time() {
    if !can_run(&["tar2sqfs", "sqfs2tar", "unsquashfs", "tar", "setfacl", "python3"]) {
        return;
    }
    let directory = directory();
    hard_tree(directory.path(), &["--no-big"]);
    for (name, jobs) in [("one.img", "1"), ("two.img", "3"), ("x.tgz", "2")] {
        osimg(
            &["-q", "pack", "--selinux", "from-tree", "-j", jobs, "hard", "-o", name],
            directory.path(),
        );
    }
    shell(
        directory.path(),
        "cmp one.img two.img; unsquashfs -q -n -d from-image one.img > /dev/null",
    );
    let target = inside(directory.path(), "from-tarball");
    shell(
        &target,
        "tar --numeric-owner --selinux --acls --xattrs --xattrs-include='*' -xf ../x.tgz",
    );
    let lost =
        differences(&target, &directory.path().join("from-image"), "root,sparse,mtime,dirmtime");
    let fields: BTreeSet<&str> =
        lost.iter().filter_map(|difference| difference.split(' ').next()).collect();
    // The kernel's squashfs has attributes of the namespaces user, trusted and security only, and
    // tar2sqfs does not know the escapes of attributes' names.
    assert_eq!(fields, BTreeSet::from(["acl", "dacl", "x:user"]), "{lost:?}");
    assert!(
        lost.iter()
            .all(|difference| !difference.starts_with("x:user")
                || difference.contains("xattr/name-")),
        "{lost:?}"
    );
    // The reader gives the same members. Attributes of users are not compared.
    let difference = osimg(&["-q", "diff", "x.tgz", "one.img", "--json"], directory.path());
    let difference: serde_json::Value = serde_json::from_str(&difference).unwrap();
    let difference = &difference["difference"];
    let aspects = difference["files"]["aspects"].as_object().unwrap();
    let aspects: Vec<&str> = aspects.keys().map(String::as_str).collect();
    assert_eq!(
        (aspects.as_slice(), &difference["files"]["added"]),
        (["acl"].as_slice(), &0.into()),
        "{difference:#}"
    );
    let verified = Command::new(env!("CARGO_BIN_EXE_osimg"))
        .args(["verify", "one.img"])
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&verified.stdout).contains("[image-file]"), "{verified:?}");
}

#[test]
fn a_container_image_is_one_layer_with_the_bytes_of_the_tgz() {
    if !can_run(&["skopeo", "setfacl", "python3"]) {
        return;
    }
    let directory = directory();
    hard_tree(directory.path(), &["--no-big"]);
    for (name, jobs) in [("x.oci", "1"), ("y.oci", "3"), ("x.tgz", "2")] {
        osimg(
            &["-q", "pack", "--selinux", "from-tree", "-j", jobs, "hard", "-o", name],
            directory.path(),
        );
    }
    // skopeo checks every digest. The only layer is the tarball.
    let layer = "$(sha256sum < x.tgz | cut -d' ' -f1)";
    let tree = "$(gzip -dc x.tgz | sha256sum | cut -d' ' -f1)";
    shell(
        directory.path(),
        &format!(
            "cmp x.oci y.oci
             skopeo --insecure-policy copy -q oci-archive:x.oci dir:copied
             cmp x.tgz copied/{layer}
             skopeo inspect oci-archive:x.oci | grep -q 2023-11-14T22:13:20Z
             skopeo inspect --config --raw oci-archive:x.oci > config
             grep -q sha256:{tree} config
             mkdir layout; tar -C layout -xf x.oci
             skopeo --insecure-policy copy -q oci:layout:latest dir:again
             diff -r copied again"
        ),
    );
    let same = osimg(&["-q", "diff", "x.tgz", "x.oci"], directory.path());
    assert!(same.contains("nothing differs"), "{same}");
    let inspected = osimg(&["-q", "inspect", "--json", "x.oci"], directory.path());
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["origin"]["format"], "oci", "{inspected:#}");
}
