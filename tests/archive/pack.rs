//! `osimg pack` as a user runs it. Wrong input is reported with the reason, and no file is left.
#![expect(clippy::disallowed_methods, reason = "tests run the program as a user does")]

use crate::support::{can_run, directory, inside, noise};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

const OSIMG: &str = env!("CARGO_BIN_EXE_osimg");

fn pack(tree: &Path, output: &Path) -> Output {
    Command::new(OSIMG)
        .args(["pack", "-q", "--selinux", "none"])
        .arg(tree)
        .arg("-o")
        .arg(output)
        .output()
        .unwrap()
}

/// The exit code and stderr.
fn failure(output: &Output) -> (Option<i32>, String) {
    assert!(output.stdout.is_empty());
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn files(directory: &Path) -> Vec<String> {
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn a_tree_that_is_missing_or_not_a_directory_is_an_error() {
    let directory = directory();
    fs::write(directory.path().join("file"), "").unwrap();
    let out = inside(directory.path(), "out");
    for (name, why) in [("missing", "it does not exist"), ("file", "it is a file, not a directory")]
    {
        let (code, stderr) = failure(&pack(&directory.path().join(name), &out.join("x.tgz")));
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains(name) && stderr.contains(why), "{stderr}");
    }
    assert_eq!(files(&out), [""; 0]);
}

#[test]
fn a_suffix_that_anaconda_would_take_for_a_disk_image_is_refused_with_the_reason() {
    let directory = directory();
    let tree = inside(directory.path(), "tree");
    let out = inside(directory.path(), "out");
    for name in [
        "x.tzst",
        "x.tar.zst",
        "x.zst",
        "x.TGZ",
        "x.Tar.Xz",
        "x.qcow2",
        "x.gz",
        "x.tar.lz4",
        "x.tgz?sig=1",
        "x",
    ] {
        let (code, stderr) = failure(&pack(&tree, &out.join(name)));
        assert_eq!(code, Some(2), "{name}: {stderr}");
        assert!(
            stderr.contains("cannot tell the archive format")
                && stderr.contains("hint: end the name in one of"),
            "{stderr}"
        );
    }
    assert_eq!(files(&out), [""; 0]);
}

#[test]
fn an_output_inside_the_tree_or_in_no_directory_is_refused() {
    let directory = directory();
    let tree = inside(directory.path(), "tree");
    let below = inside(&tree, "below");
    let (code, stderr) = failure(&pack(&tree, &below.join("x.tgz")));
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("is inside it"), "{stderr}");
    assert_eq!(files(&below), [""; 0]);
    let (code, stderr) = failure(&pack(&tree, &directory.path().join("nowhere/x.tgz")));
    assert_eq!(code, Some(8), "{stderr}");
    assert!(stderr.contains("mkdir -p"), "{stderr}");
}

#[test]
fn ten_open_files_suffice_for_a_deep_tree_and_do_not_change_the_bytes() {
    let directory = directory();
    let tree = inside(directory.path(), "tree");
    for branch in ["a", "b"] {
        let deep = tree.join([branch; 60].join("/"));
        fs::create_dir_all(&deep).unwrap();
        for (index, above) in deep.ancestors().take(60).enumerate() {
            fs::write(above.join("zz"), format!("{index}")).unwrap();
        }
    }
    let (many, few) = (directory.path().join("many.tgz"), directory.path().join("few.tgz"));
    assert!(pack(&tree, &many).status.success());
    // Descriptors that this test has inherited must not count.
    let line = "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-; ulimit -n 10; exec \"$0\" pack -q \
                --selinux none \"$1\" -o \"$2\"";
    let output = Command::new("sh").args(["-c", line, OSIMG]).args([&tree, &few]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(fs::read(many).unwrap() == fs::read(few).unwrap());
}

#[test]
fn a_file_or_directory_that_cannot_be_read_is_named() {
    if !can_run(&["setpriv"]) {
        return;
    }
    // A directory that every user can enter, unlike the usual temporary directory of the tests.
    let directory =
        tempfile::Builder::new().prefix("osimg-unreadable-").tempdir_in("/var/tmp").unwrap();
    let everyone =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    everyone(directory.path(), 0o755);
    let program = directory.path().join("osimg");
    fs::copy(OSIMG, &program).unwrap();
    let out = inside(directory.path(), "out");
    everyone(&out, 0o777);
    for (kind, name) in [("file", "secret"), ("directory", "closed")] {
        let tree = inside(directory.path(), kind);
        everyone(&tree, 0o755);
        if kind == "file" {
            fs::write(tree.join(name), "x").unwrap()
        } else {
            fs::create_dir(tree.join(name)).unwrap()
        }
        everyone(&tree.join(name), 0);
        let output = Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .args([
                program.as_os_str(),
                "pack".as_ref(),
                "-q".as_ref(),
                tree.as_os_str(),
                "-o".as_ref(),
                out.join("x.tgz").as_os_str(),
            ])
            .output()
            .unwrap();
        let (code, stderr) = failure(&output);
        assert_eq!(code, Some(4), "{stderr}");
        assert!(
            stderr.contains(&format!("/{name}: ")) && stderr.contains("Permission denied"),
            "{stderr}"
        );
        assert_eq!(files(&out), [""; 0]);
    }
}

#[test]
fn a_full_disk_is_exit_code_8_and_leaves_no_file() {
    if !can_run(&["unshare", "mount"]) {
        return;
    }
    let directory = directory();
    let tree = inside(directory.path(), "tree");
    fs::write(tree.join("noise"), noise(3, 3 << 20, 8)).unwrap();
    let out = inside(directory.path(), "out");
    let script = "mount --make-rprivate / && mount -t tmpfs -o size=1M none \"$2\" && code=0
        for suffix in tgz tbz txz tar; do
            \"$0\" pack -q --selinux none \"$1\" -o \"$2/x.$suffix\" && exit 99 || echo $? >>\"$3\"
            ls -A \"$2\" >>\"$3\"
        done";
    let codes = directory.path().join("codes");
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, OSIMG])
        .args([&tree, &out, &codes])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(fs::read_to_string(&codes).unwrap(), "8\n8\n8\n8\n", "{stderr}");
    assert_eq!(stderr.matches("No space left on device").count(), 4, "{stderr}");
}

#[test]
fn json_output_reports_everything_that_was_done() {
    if !can_run(&["python3"]) {
        return;
    }
    let directory = directory();
    let tree = inside(directory.path(), "tree");
    fs::write(tree.join("file"), "x").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap();
    let out = directory.path().join("x.txz");
    let output = Command::new(OSIMG)
        .args(["--json", "pack", "-q", "--level", "3"])
        .arg(&tree)
        .arg("-o")
        .arg(&out)
        .env_remove("SOURCE_DATE_EPOCH")
        .output();
    let output = output.unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let summary = &report["summary"];
    assert_eq!((&summary["entries"], &summary["bytes"]), (&2.into(), &10_240.into()));
    assert_eq!((&summary["labels"], &summary["unlabelled"]), (&0.into(), &0.into()));
    assert_eq!(summary["sockets"], Value::from(vec!["/socket"]));
    assert_eq!(
        summary["warnings"],
        Value::from(vec!["leaving out sockets, which an archive cannot hold: /socket"])
    );
    let packed = &summary["outputs"][0];
    assert_eq!(
        (&packed["format"], &packed["level"], &packed["block"]),
        (&"txz".into(), &3.into(), &(24 << 20).into())
    );
    assert_eq!(packed["bytes"], fs::metadata(&out).unwrap().len());
    assert_eq!(report["tarballs"][0]["sha256"], packed["sha256"]);
    assert!(report["ratio"].as_f64().is_some_and(|ratio| ratio > 0.0 && ratio < 1.0), "{report:#}");
    assert!(report["steps"][0]["seconds"].is_number(), "{report:#}");
}
