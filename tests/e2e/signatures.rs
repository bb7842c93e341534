//! Locks, builds and manifests judge signatures as rpm does. Every case is also checked by rpm
//! itself.

use crate::stage::{Done, Stage, sh};
use crate::support::repo::{Package, Signature, index};
use crate::support::require_root;
use std::fs;
use std::process::Command;

const RECIPE: &str = "install hello\nts run\n";

/// Shell functions: GnuPG without prompts, keys, and signing by rpm. A key has the name of its
/// user; times have GnuPG's format.
const TOOLS: &str = r#"
export GNUPGHOME=$PWD/gnupg; [ -d gnupg ] || mkdir -m 700 gnupg
g() { gpg --batch --quiet --no-tty --pinentry-mode loopback --passphrase '' "$@" 2>>gpg.log; }
at() { time=$1; shift; g --faked-system-time "$time" "$@"; }
fpr() { g --with-colons --list-keys "$1@x.invalid" |
    awk -F: '/^fpr/ { print $10 }' | sed -n "${2:-1}p"; }
key() { g --quick-generate-key "$1 <$1@x.invalid>" "$2" "$3" never; }
subkey() { g --quick-add-key "$(fpr "$1")" "$2" sign "$3"; }
give() { g --armor --export "$1@x.invalid" > "${2:-$1}.asc"; fpr "$1" > "${2:-$1}.fpr"; }
sign() { user=$1; shift
    rpmsign --define '__gpg /usr/bin/gpg' --define "_gpg_name $user@x.invalid" \
    --define "_gpg_sign_cmd_extra_args --allow-weak-digest-algos $*" \
    --addsign repo/Packages/hello-1.0-1.noarch.rpm >>gpg.log 2>&1; }
edit() { user=$1; shift; printf '%s\n' "$@" |
    gpg --batch --no-tty --pinentry-mode loopback --passphrase '' --command-fd 0 \
    --expert --edit-key "$(fpr "$user")" >>gpg.log 2>&1; }
"#;

/// A package `hello` signed by these shell lines. They leave the key as `a.asc` and `a.fpr`.
fn signed(lines: &str) -> Stage {
    let package = Package::named("hello").requires_first("base").file(
        "/usr/share/hello",
        "hello\n",
        0o644,
        "root:root",
    );
    let stage = Stage::new(|repo| repo.package(package.signed_by(Signature::None)));
    tools(&stage, lines);
    tools(&stage, "gpgconf --kill all");
    index(&stage.repo());
    pin(&stage, &["a"], "");
    stage
}

fn tools(stage: &Stage, lines: &str) {
    sh(stage.path(), &format!("{TOOLS}\n{lines}"));
}

/// Settings that pin these keys and the key of the other packages.
fn pin(stage: &Stage, keys: &[&str], packages: &str) {
    let mut text = format!(
        "[packages]\ndbpath = \"/var/lib/rpm\"\n{packages}\n[[packages.repository]]\nid = \
         \"tiny\"\nbaseurl = \"./\"\n[[packages.key]]\nfile = \"KEY.asc\"\nfingerprint = \"{}\"\n",
        crate::support::keys::ours().fingerprint
    );
    for key in keys {
        let file = stage.path().join(format!("{key}.asc")).display().to_string();
        text.push_str(&format!(
            "[[packages.key]]\nfile = \"{file}\"\nfingerprint = \"{}\"\n",
            fingerprint(stage, key)
        ));
    }
    fs::write(stage.repo().join("settings.toml"), text).unwrap();
}

fn fingerprint(stage: &Stage, key: &str) -> String {
    fs::read_to_string(stage.path().join(format!("{key}.fpr"))).unwrap().trim().to_owned()
}

/// Whether this machine's rpm accepts the package with only this key and required signatures.
fn rpm_accepts(stage: &Stage) -> bool {
    let line = "rm -rf oracle; mkdir oracle; rpmkeys --dbpath $PWD/oracle --import a.asc \
                2>/dev/null; rpmkeys --dbpath $PWD/oracle --define '_pkgverify_level all' \
                --checksig repo/Packages/hello-1.0-1.noarch.rpm >oracle.log";
    let done = Command::new("sh").args(["-c", line]).current_dir(stage.path()).status().unwrap();
    done.success()
}

fn lock(stage: &Stage) -> Done {
    let path = stage.recipe(RECIPE);
    let settings = stage.repo().join("settings.toml");
    let run = stage.osimg(crate::stage::OSIMG, &["lock"]).arg(path).arg("--settings").arg(settings);
    run.arg("--cache").arg(stage.cache()).arg("--workdir").arg(stage.work()).run()
}

/// The signer of the package `hello` in the manifest.
fn signer(stage: &Stage) -> String {
    let manifest = stage.manifest();
    let packages = manifest["packages"].as_array().unwrap();
    let hello = packages
        .iter()
        .find(|package| package["nevra"].as_str().unwrap().starts_with("hello-"))
        .unwrap();
    hello["signer"].as_str().unwrap_or_default().to_owned()
}

/// Lock, build and locked build accept the package and name the pinned key as its signer.
fn is_accepted(stage: &Stage) {
    let signed_by = fingerprint(stage, "a");
    let done = lock(stage);
    assert_eq!(done.code, Some(0), "lock: {}", done.stderr);
    let locked = fs::read_to_string(stage.path().join("image.lock")).unwrap();
    assert!(locked.contains(&format!("signer = \"{signed_by}\"")), "{locked}");
    stage.build(RECIPE).succeeds();
    assert_eq!(signer(stage), signed_by);
    stage.build(RECIPE).arg("--locked").succeeds();
    assert_eq!(signer(stage), signed_by);
}

/// Lock and build refuse it with the same words and do not try another mirror.
fn is_refused(stage: &Stage, words: &str) {
    let done = lock(stage);
    assert_eq!(done.code, Some(6), "lock: {}", done.stderr);
    done.reports(&[words]).does_not_report(&["mirror", "damaged"]);
    stage.build(RECIPE).fails(6).reports(&[words]).does_not_report(&["mirror", "damaged"]);
}

#[test]
fn lock_build_and_manifest_agree_with_rpm_on_every_kind_of_signature() {
    if !require_root() {
        return;
    }
    // The last column is osimg's reason for refusing a package that this machine's rpm accepts.
    for (kind, lines, stricter) in [
        ("an RSA key", "key a rsa2048 sign; sign a; give a", ""),
        ("an Ed25519 key", "key a ed25519 sign; sign a; give a", ""),
        ("a DSA key", "key a dsa2048 sign; sign a; give a", ""),
        ("a signing subkey", "key a rsa2048 cert; subkey a rsa2048 never; sign a; give a", ""),
        (
            "a signing subkey of Ed25519",
            "key a ed25519 cert; subkey a ed25519 never; sign a; give a",
            "",
        ),
        (
            "a subkey that will expire",
            "key a rsa2048 cert; subkey a rsa2048 1y; sign a; give a",
            "",
        ),
        (
            "a key that expired after it signed",
            "at 20200101T000000 --quick-generate-key 'a <a@x.invalid>' rsa2048 sign 1y; sign a \
             --faked-system-time 20200301T000000; give a",
            "expired on 2020-12-31",
        ),
        (
            "a subkey that expired after it signed",
            "at 20200101T000000 --quick-generate-key 'a <a@x.invalid>' rsa2048 cert never; at \
             20200101T000000 --quick-add-key $(fpr a) rsa2048 sign 1y; sign a --faked-system-time \
             20200301T000000; give a",
            "expired on 2020-12-31",
        ),
        (
            "a subkey that had expired when it signed",
            "at 20200101T000000 --quick-generate-key 'a <a@x.invalid>' rsa2048 cert never; at \
             20200101T000000 --quick-add-key $(fpr a) rsa2048 sign never; sign a \
             --faked-system-time 20220301T000000; at 20200601T000000 --quick-set-expire $(fpr a) \
             6m $(fpr a 2); give a",
            "expired on 2020-1",
        ),
        (
            "a revoked key",
            "key a rsa2048 sign; sign a; edit a revkey y 0 '' y save; give a",
            "was revoked",
        ),
        (
            "a revoked subkey",
            "key a rsa2048 cert; subkey a rsa2048 never; sign a; edit a 'key 1' revkey y 0 '' y \
             save; give a",
            "",
        ),
        (
            "a weak digest",
            "key a rsa2048 sign; sign a --digest-algo SHA1; give a",
            "weak digest SHA1",
        ),
        ("another key", "key a rsa2048 sign; give a; key b rsa2048 sign; sign b", ""),
        ("no signature", "key a rsa2048 sign; give a", ""),
    ] {
        println!("{kind}");
        let stage = signed(lines);
        let taken = rpm_accepts(&stage);
        match (taken, stricter) {
            (true, "") => is_accepted(&stage),
            (false, "") if kind == "a revoked subkey" => {
                is_refused(&stage, "the subkey was revoked")
            }
            (false, "") => is_refused(&stage, "by a pinned key"),
            (_, stricter) => is_refused(&stage, stricter),
        }
        let must_hold = [
            "an RSA key",
            "an Ed25519 key",
            "a DSA key",
            "a signing subkey",
            "a signing subkey of Ed25519",
        ]
        .contains(&kind);
        assert!(
            taken || !must_hold,
            "rpm itself does not accept {kind}: {}",
            fs::read_to_string(stage.path().join("oracle.log")).unwrap()
        );
    }
}

#[test]
fn one_signature_by_a_pinned_key_among_several_is_enough() {
    if !require_root() {
        return;
    }
    let stage = signed("key a rsa2048 sign; sign a; give a; key b ed25519 sign");
    let file = stage.repo().join("Packages/hello-1.0-1.noarch.rpm");
    let bytes = fs::read(&file).unwrap();
    fs::write(stage.path().join("header"), &bytes[main_header(&bytes)]).unwrap();
    tools(
        &stage,
        "g -u b@x.invalid --detach-sign -o first header; g -u a@x.invalid --detach-sign -o second \
         header; gpgconf --kill all",
    );
    let signatures = ["first", "second"].map(|name| fs::read(stage.path().join(name)).unwrap());
    fs::write(&file, with_signatures(&bytes, &signatures)).unwrap();
    index(&stage.repo());
    assert!(rpm_accepts(&stage));
    is_accepted(&stage);
}

/// The range of the header that the signatures cover.
fn main_header(package: &[u8]) -> std::ops::Range<usize> {
    let begin = header_end(package, 96).next_multiple_of(8);
    begin..header_end(package, begin)
}

fn header_end(package: &[u8], at: usize) -> usize {
    16 * word(package, at + 8) + word(package, at + 12) + at + 16
}

fn word(bytes: &[u8], at: usize) -> usize {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// The package with signatures added in the format of rpm 6: a list in base64 in the tag OPENPGP.
fn with_signatures(package: &[u8], signatures: &[Vec<u8>]) -> Vec<u8> {
    use base64::Engine as _;
    let (tags, size) = (word(package, 96 + 8), word(package, 96 + 12));
    let (index, store) =
        (&package[112..112 + 16 * tags], &package[112 + 16 * tags..112 + 16 * tags + size]);
    let text: Vec<u8> = signatures
        .iter()
        .flat_map(|signature| {
            [base64::engine::general_purpose::STANDARD.encode(signature).into_bytes(), vec![0]]
                .concat()
        })
        .collect();
    let numbers = |numbers: &[usize]| {
        numbers.iter().flat_map(|n| u32::try_from(*n).unwrap().to_be_bytes()).collect::<Vec<u8>>()
    };
    let sizes = numbers(&[tags + 1, size + text.len()]);
    let entry = numbers(&[278, 8, size, signatures.len()]);
    let mut out = [&package[..104], &sizes, index, &entry, store, &text].concat();
    out.resize(out.len().next_multiple_of(8), 0);
    [&out, &package[main_header(package).start..]].concat()
}

#[test]
fn the_pinned_key_of_a_file_with_several_keys_is_used() {
    if !require_root() {
        return;
    }
    let stage = signed(
        "key a rsa2048 sign; sign a; give a; key b ed25519 sign; give b; cat b.asc a.asc b.asc > \
         all; mv all a.asc",
    );
    is_accepted(&stage);
    let keys = stage.manifest()["keys"].as_array().unwrap().len();
    assert_eq!(keys, 2, "the keys of the settings, and no others");
    // Both keys in one block, as gpg exports them.
    let stage = signed(
        "key b ed25519 sign; give b; key a rsa2048 sign; sign a; give a; g --armor --export > \
         a.asc",
    );
    is_accepted(&stage);
}

#[test]
fn a_key_that_rpm_cannot_import_is_named_with_the_message_of_rpm() {
    if !require_root() {
        return;
    }
    let stage = signed("key a rsa2048 sign; sign a; give a; key e nistp256 sign; give e");
    let import = "mkdir db; rpmkeys --dbpath $PWD/db --import e.asc 2>/dev/null";
    if Command::new("sh").args(["-c", import]).current_dir(stage.path()).status().unwrap().success()
    {
        return is_accepted(&stage);
    }
    pin(&stage, &["a", "e"], "");
    let fingerprint = fingerprint(&stage, "e");
    let done = stage.build(RECIPE).fails(6);
    done.reports(&[
        "e.asc",
        "e <e@x.invalid>",
        "ECDSA",
        &fingerprint,
        "key 1 import failed",
        "hint: ",
    ])
    .does_not_report(&["mirror", "/osimg/"]);
    pin(&stage, &["a", "e"], "verify = \"digest-only\"");
    stage.build(RECIPE).succeeds().reports(&["e.asc", "key 1 import failed", "it is skipped"]);
    assert_eq!(signer(&stage), self::fingerprint(&stage, "a"));
}

#[test]
fn fields_of_packages_can_contain_tabs_and_newlines() {
    if !require_root() {
        return;
    }
    let package = Package::named("tabby").requires_first("base").file(
        "/usr/share/tabby",
        "x",
        0o644,
        "root:root",
    );
    let package = package
        .edited(b"The package tabby", b"The\tpackage\n'ab\\y")
        .edited(b"Tests & Sons", b"Tests\t&\tSons");
    let stage = Stage::new(|repo| repo.package(package));
    stage.build("install tabby\nts run\n").succeeds();
    let manifest = stage.manifest();
    let tabby = manifest["packages"]
        .as_array()
        .unwrap()
        .iter()
        .find(|p| p["nevra"].as_str().unwrap().starts_with("tabby-"))
        .unwrap();
    assert_eq!(
        (tabby["summary"].as_str(), tabby["vendor"].as_str()),
        (Some("The\tpackage\n'ab\\y"), Some("Tests\t&\tSons"))
    );
}

/// Builds with this repository file in the host's /etc, in a separate mount namespace.
fn on_a_host<'a>(
    stage: &'a Stage,
    repository: &str,
    main: &str,
    words: &[&str],
) -> crate::stage::Run<'a> {
    stage.write("host.repo", repository);
    stage.write("dnf.conf", main);
    let script = "mkdir -p ov && mount -t tmpfs t ov && mkdir ov/u ov/w && mount -t overlay -o \
                  lowerdir=/etc,upperdir=ov/u,workdir=ov/w o /etc && rm -rf /etc/distro.repos.d \
                  /etc/yum.repos.d && mkdir -p /etc/dnf /etc/yum.repos.d && cp dnf.conf \
                  /etc/dnf/dnf.conf && cp host.repo /etc/yum.repos.d/ && mkdir -p /etc/dnf/vars \
                  && echo special > /etc/dnf/vars/flavour && exec \"$@\"";
    let path = stage.recipe(RECIPE);
    let settings =
        stage.write("host.toml", "[packages]\nreleasever = \"9\"\ndbpath = \"/var/lib/rpm\"\n");
    let run = stage.osimg(crate::stage::OSIMG, words).arg(path).arg("--settings").arg(settings);
    run.behind(&["unshare", "-m", "--propagation", "private", "sh", "-ec", script, "sh"])
}

fn build_on_a_host<'a>(stage: &'a Stage, repository: &str, main: &str) -> crate::stage::Run<'a> {
    let run = on_a_host(stage, repository, main, &["build"]);
    run.arg("--cache")
        .arg(stage.cache())
        .arg("--workdir")
        .arg(stage.work())
        .arg("--output")
        .arg(stage.image())
}

#[test]
fn packages_of_the_host_s_repositories_are_checked_with_the_keys_configured_there() {
    if !require_root() {
        return;
    }
    let ours = &crate::support::keys::ours().fingerprint;
    let hello = |signature| {
        Package::named("hello")
            .requires_first("base")
            .file("/usr/share/hello", "x", 0o644, "root:root")
            .signed_by(signature)
    };
    for signature in [Signature::Ours, Signature::None, Signature::Foreign] {
        let stage = Stage::new(|repo| repo.package(hello(signature)));
        let server = crate::server::Server::start(stage.repo(), |_, _| crate::server::Answer::File);
        // The name of the key file has variables, as in Fedora. Another file of the list is
        // elsewhere.
        fs::copy(stage.repo().join("KEY.asc"), stage.path().join("KEY-9-special")).unwrap();
        let repository = format!(
            "[x]\nname=x\nbaseurl={}\ngpgkey=https://keys.invalid/KEY,\n  \
            file://{}/KEY-$releasever-${{flavour}}\n[off]\nname=off\nenabled=0\n",
            server.url(),
            stage.path().display()
        );
        // gpgcheck is dnf's own setting here.
        let main = "[main]\ngpgcheck=1\n";
        // dnf reads repositories of its main file too.
        let in_main = format!("{main}{repository}");
        for (repository, main) in [(repository.as_str(), main), ("", in_main.as_str())] {
            let build = build_on_a_host(&stage, repository, main);
            if signature != Signature::Ours {
                build.fails(6).reports(&["hello-1.0-1.noarch", "by a pinned key"]);
                continue;
            }
            build.succeeds();
            let keys = stage.manifest()["keys"].as_array().unwrap().clone();
            assert_eq!((keys.len(), keys[0]["fingerprint"].as_str()), (1, Some(ours.as_str())));
            assert_eq!(signer(&stage), *ours);
        }
        if signature == Signature::Ours {
            let plan = on_a_host(&stage, &repository, main, &["plan"]).run();
            assert!(
                plan.stdout
                    .contains(&format!("{ours} from {}/KEY-9-special", stage.path().display())),
                "{}",
                plan.stdout
            );
        }
        for (repository, main, words) in [
            (repository.clone(), "[main]\n", "gpgcheck is off"),
            (repository.replace("[x]\n", "[x]\ngpgcheck = False\n"), main, "gpgcheck is off"),
            (repository.replace("KEY-$releasever", "NO"), main, "cannot be read"),
            (repository.replace("file://", "https://"), main, "is not a local file"),
            (repository.replace("gpgkey=", "other="), main, "gpgkey is not set"),
        ] {
            let done = build_on_a_host(&stage, &repository, main).fails(6);
            done.reports(&["x (", "host.repo", words, "verify = \"digest-only\""])
                .does_not_report(&["downloading"]);
        }
        let run = build_on_a_host(&stage, &repository, "[main]\ngpgcheck=0\n");
        fs::write(
            stage.path().join("host.toml"),
            "[packages]\nreleasever = \"9\"\ndbpath = \"/var/lib/rpm\"\nverify = \"digest-only\"\n",
        )
        .unwrap();
        run.succeeds();
    }
}
