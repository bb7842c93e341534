//! Signatures: accepted by the tools that users verify them with; secrets stay secret.

use crate::stage::{Stage, run, sh};
use crate::support::require_root;
use crate::{RECIPE, stage, tool};
use std::path::{Path, PathBuf};
use std::process::Command;

const PASSPHRASE: &str = "correct horse";

/// A minisign key without a passphrase: encrypting it would take a gigabyte and seconds.
fn minisign_key(stage: &Stage) -> PathBuf {
    sh(stage.path(), "minisign -G -W -p mini.pub -s mini.key >/dev/null");
    stage.path().join("mini.key")
}

fn gpg(stage: &Stage) -> Command {
    let home = stage.path().join("gnupg");
    let mut command = Command::new("gpg");
    command.arg("--homedir").arg(home).args([
        "--batch",
        "--quiet",
        "--pinentry-mode",
        "loopback",
        "--passphrase",
        PASSPHRASE,
    ]);
    command
}

fn gpg_key(stage: &Stage) -> PathBuf {
    sh(stage.path(), "mkdir -m 700 gnupg");
    run(gpg(stage).args([
        "--quick-gen-key",
        "tests <tests@example.invalid>",
        "ed25519",
        "cert",
        "never",
    ]));
    let listed = String::from_utf8(run(gpg(stage).args(["--list-keys", "--with-colons"]))).unwrap();
    let fingerprint = listed
        .lines()
        .find_map(|line| line.strip_prefix("fpr:::::::::"))
        .unwrap()
        .trim_end_matches(':')
        .to_owned();
    // The primary key only certifies; the subkey signs.
    run(gpg(stage).args(["--quick-add-key", &fingerprint, "ed25519", "sign", "never"]));
    let secret = run(gpg(stage).args(["--armor", "--export-secret-keys"]));
    // gpg's agent would count as a process that a build has left.
    run(Command::new("gpgconf")
        .arg("--homedir")
        .arg(stage.path().join("gnupg"))
        .args(["--kill", "all"]));
    stage.write("secret.asc", secret)
}

fn verifies(stage: &Stage, name: &str) -> (bool, bool) {
    let file = stage.out().join(name);
    let minisign = Command::new("minisign")
        .arg("-Vqm")
        .arg(&file)
        .arg("-p")
        .arg(stage.path().join("mini.pub"))
        .output()
        .unwrap();
    let gpg = gpg(stage)
        .arg("--verify")
        .arg(stage.out().join(format!("{name}.asc")))
        .arg(&file)
        .output()
        .unwrap();
    (minisign.status.success(), gpg.status.success())
}

#[test]
fn minisign_and_gpg_accept_osimg_s_signatures_and_refuse_altered_files() {
    if !require_root() || tool("minisign").is_none() || tool("gpg").is_none() {
        return;
    }
    let stage = stage();
    let (mini, pgp) = (minisign_key(&stage), gpg_key(&stage));
    stage.settings(|settings| settings.image = format!("sign = [\"minisign:{}\"]", mini.display()));
    let done = stage
        .build(RECIPE)
        .arg("--sign")
        .arg(format!("openpgp:{}", pgp.display()))
        .env("OSIMG_SIGN_PASSPHRASE", PASSPHRASE)
        .arg("-v")
        .succeeds();
    done.does_not_report(&[PASSPHRASE]);
    assert!(!stage.manifest().to_string().contains(PASSPHRASE));
    for name in ["image.tgz", "image.spdx.json", "image.cdx.json", "image.intoto.json"] {
        assert_eq!(verifies(&stage, name), (true, true), "{name}");
    }
    sh(&stage.out(), "printf x >> image.tgz && printf ' ' >> image.spdx.json");
    for name in ["image.tgz", "image.spdx.json"] {
        assert_eq!(verifies(&stage, name), (false, false), "{name}");
    }
    // A build without keys does not keep an earlier signature.
    stage.settings(|_| {});
    stage.build(RECIPE).succeeds();
    assert!(
        !stage
            .files(&stage.out())
            .keys()
            .any(|name| name.ends_with(".minisig") || name.ends_with(".asc"))
    );
}

#[test]
fn a_signing_key_that_cannot_be_opened_is_reported_before_the_build() {
    if !require_root() || tool("gpg").is_none() {
        return;
    }
    let stage = stage();
    let key = format!("openpgp:{}", gpg_key(&stage).display());
    let wrong = stage.write("passphrase", "hunter2\n");
    let file = |path: &Path| path.display().to_string();
    let done = stage
        .build(RECIPE)
        .args(&["--sign", &key, "--sign-passphrase-file", &file(&wrong)])
        .fails(6);
    done.reports(&["opening the signing key", "--sign-passphrase-file"])
        .does_not_report(&["hunter2", "downloading"]);
    stage.build(RECIPE).args(&["--sign", &key]).fails(6);
    stage
        .build(RECIPE)
        .args(&["--sign", "openpgp:/nonexistent"])
        .fails(3)
        .reports(&["/nonexistent"]);
    let odd = stage.write("odd.key", "untrusted comment: x\nRWQ=\n");
    stage.build(RECIPE).args(&["--sign", &format!("minisign:{}", odd.display())]).fails(6);
    let done = stage.build(RECIPE).args(&["--sign", "gpg:/key"]).run();
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    // With the correct passphrase from the file it works.
    let right = stage.write("passphrase", format!("{PASSPHRASE}\n"));
    stage.build(RECIPE).args(&["--sign", &key, "--sign-passphrase-file", &file(&right)]).succeeds();
}
