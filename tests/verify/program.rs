//! `osimg verify` as a user and as CI runs it.

use crate::fixture::{TGZ, Tarball};
use std::process::{Command, Output};

fn osimg(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_osimg")).args(words).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn findings_are_reported_with_a_fix_and_by_the_exit_status() {
    let Some(sound) = Tarball::from_change("", TGZ) else { return };
    let done = osimg(&["verify", sound.path.to_str().unwrap()]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    assert!(
        text(&done.stdout).trim_end().ends_with("os.tgz: fit for anaconda-el9"),
        "{}",
        text(&done.stdout)
    );
    let broken = Tarball::from_change("rm boot/vmlinuz-6.1 usr/bin/cloud-init", TGZ).unwrap();
    let path = broken.path.to_str().unwrap();
    let done = osimg(&["verify", path]);
    assert_eq!(done.status.code(), Some(10));
    let stdout = text(&done.stdout);
    for part in [
        "error: there is no kernel",
        "[kernel]",
        "fix: install kernel",
        "warning: there is no program cloud-init",
        "[scriptlet-results]",
        "2 errors, 1 warning",
    ] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
    let done = osimg(&["verify", "--allow", "kernel", "--allow", "scriptlet-results", path]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stdout));
    assert!(text(&done.stdout).contains("[kernel, allowed]"));
    let done = osimg(&["-q", "verify", "--json", path]);
    assert_eq!((done.status.code(), text(&done.stderr)), (Some(10), String::new()));
    let value: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(value["profile"], "anaconda-el9");
    assert_eq!(
        (&value["findings"][0]["name"], &value["findings"][0]["severity"]),
        (&"kernel".into(), &"error".into())
    );
    assert!(value["sha256"].as_str().is_some_and(|digest| digest.len() == 64));
}

#[test]
fn a_tarball_comes_from_standard_input() {
    let Some(sound) = Tarball::from_change("", TGZ) else { return };
    let verify = |file: &std::path::Path| {
        let input = std::fs::File::open(file).unwrap();
        Command::new(env!("CARGO_BIN_EXE_osimg"))
            .args(["verify", "-"])
            .stdin(input)
            .output()
            .unwrap()
    };
    let done = verify(&sound.path);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    assert!(text(&done.stdout).contains("fit for anaconda-el9"), "{}", text(&done.stdout));
    let junk = sound.path.with_file_name("junk.tgz");
    std::fs::write(&junk, "no archive").unwrap();
    assert_eq!(verify(&junk).status.code(), Some(10));
}

#[test]
fn a_file_that_is_not_a_tarball_is_distinguished_from_a_bad_tarball() {
    let Some(sound) = Tarball::from_change("", TGZ) else { return };
    let directory = sound.path.parent().unwrap();
    for words in [
        vec!["verify", "/nonexistent.tgz"],
        vec!["verify", directory.to_str().unwrap()],
        vec!["verify", "--allow", "kernels", "x.tgz"],
    ] {
        assert_eq!(osimg(&words).status.code(), Some(2), "{words:?}");
    }
    let junk = directory.join("junk.tgz");
    std::fs::write(&junk, "no archive").unwrap();
    let done = osimg(&["verify", junk.to_str().unwrap()]);
    assert_eq!(done.status.code(), Some(10));
    assert!(text(&done.stdout).contains("[damaged]"), "{}", text(&done.stdout));
}
