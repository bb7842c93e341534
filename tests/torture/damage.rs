//! Bytes that are altered in transit: packages, metadata, keys.

use crate::stage::{Run, Stage, run, sh};
use crate::support::repo::{Package, Signature, index};
use crate::support::require_root;
use crate::{RECIPE, rounds, small};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Pseudo-random numbers, the same in every run.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % limit as u64).unwrap()
    }
}

/// Changes a byte of the file or truncates it, and describes the damage.
fn damage(file: &Path, random: &mut Random) -> String {
    let mut bytes = fs::read(file).unwrap();
    let at = random.below(bytes.len());
    let what = if random.below(4) == 0 {
        bytes.truncate(at);
        "cut off"
    } else {
        bytes[at] ^= 1 << random.below(8);
        "changed"
    };
    fs::write(file, &bytes).unwrap();
    format!("{} {what} at byte {at}", file.display())
}

/// The whole image: a shell line that prints its digest.
const IMAGE: &str = "sha256sum < image.tgz";
/// All of the image except the rpmdb, in which rpm stores a package's signatures next to unsigned
/// fields.
const FILES: &str = "tar --exclude=./var/lib/rpm/rpmdb.sqlite -xzOf image.tgz | sha256sum; tar \
                     --exclude=./var/lib/rpm/rpmdb.sqlite -tvzf image.tgz | sha256sum";

/// Builds. The build must fail, or the damage must not change the output of the line.
fn is_refused_or_harmless(stage: &Stage, (line, good): (&str, &str), case: &str) -> bool {
    let done = build(stage).run();
    assert!(!done.stderr.contains("panicked"), "{case}: {}", done.stderr);
    stage.nothing_is_left();
    if done.code == Some(0) {
        assert_eq!(sh(&stage.out(), line), good, "{case}: another image was built");
        return false;
    }
    assert!(
        done.code.is_some_and(|code| (4..=8).contains(&code)),
        "{case}: {:?} {}",
        done.code,
        done.stderr
    );
    done.reports(&["hint: "]);
    true
}

/// A build with an empty cache.
fn build(stage: &Stage) -> Run<'_> {
    let _ = fs::remove_dir_all(stage.cache());
    fs::create_dir(stage.cache()).unwrap();
    stage.build(RECIPE)
}

fn good(line: &str) -> (Stage, String) {
    let stage = Stage::new(small);
    build(&stage).succeeds();
    let good = sh(&stage.out(), line);
    sh(stage.path(), "cp -a repo whole");
    (stage, good)
}

#[test]
fn a_package_with_any_changed_byte_is_refused_even_if_the_metadata_match_it() {
    if !require_root() {
        return;
    }
    let (stage, good) = good(FILES);
    let mut random = Random(25);
    let mut refused = 0;
    let count = rounds(6, 300);
    for _ in 0..count {
        sh(stage.path(), "rm -rf repo; cp -a whole repo");
        let name = ["one-1.0-1.noarch.rpm", "two-1.0-1.noarch.rpm", "base-1.0-1.noarch.rpm"]
            [random.below(3)];
        let case = damage(&stage.repo().join("Packages").join(name), &mut random);
        // Make metadata that match the damaged file, if createrepo_c can still read it.
        let _ = std::panic::catch_unwind(|| index(&stage.repo()));
        refused += usize::from(is_refused_or_harmless(&stage, (FILES, &good), &case));
    }
    assert!(refused * 2 > count, "only {refused} of {count} were refused");
}

#[test]
fn metadata_with_any_changed_byte_are_refused_or_give_the_same_image() {
    if !require_root() {
        return;
    }
    let (stage, good) = good(IMAGE);
    let mut random = Random(26);
    for _ in 0..rounds(5, 300) {
        sh(stage.path(), "rm -rf repo; cp -a whole repo");
        let mut files: Vec<PathBuf> = fs::read_dir(stage.repo().join("repodata"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        let file = files[random.below(files.len())].clone();
        let case = damage(&file, &mut random);
        is_refused_or_harmless(&stage, (IMAGE, &good), &case);
    }
}

#[test]
fn an_expired_and_a_revoked_key_are_refused_before_any_download() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(small);
    let home = stage.path().join("gnupg");
    fs::create_dir(&home).unwrap();
    sh(stage.path(), "chmod 700 gnupg");
    let gpg = |words: &[&str]| {
        String::from_utf8(run(Command::new("gpg")
            .args(["--batch", "--quiet", "--homedir"])
            .arg(&home)
            .args(["--passphrase", ""])
            .args(words)))
        .unwrap()
    };
    gpg(&[
        "--faked-system-time",
        "20190101T000000!",
        "--quick-generate-key",
        "expired <e@x.invalid>",
        "rsa2048",
        "sign",
        "seconds=86400",
    ]);
    gpg(&["--quick-generate-key", "revoked <r@x.invalid>", "rsa2048", "sign", "never"]);
    let fingerprint = |name: &str| {
        let listed = gpg(&["--list-keys", "--with-colons", name]);
        listed
            .lines()
            .find_map(|line| {
                line.strip_prefix("fpr:::::::::")?.split(':').next().map(str::to_owned)
            })
            .unwrap()
    };
    let revoked = fingerprint("revoked");
    let certificate = fs::read_to_string(home.join(format!("openpgp-revocs.d/{revoked}.rev")))
        .unwrap()
        .replace(":-----BEGIN", "-----BEGIN");
    let file = stage.write("revocation.asc", certificate);
    gpg(&["--import", file.to_str().unwrap()]);
    let keys = ["expired", "revoked"]
        .map(|name| stage.write(&format!("{name}.asc"), gpg(&["--armor", "--export", name])));
    let fingerprints = [fingerprint("expired"), revoked];
    // gpg's agent is not part of a build.
    run(Command::new("gpgconf").arg("--homedir").arg(&home).args(["--kill", "all"]));
    for ((name, key), fingerprint) in
        ["expired", "revoked"].into_iter().zip(&keys).zip(&fingerprints)
    {
        stage.settings(|settings| {
            settings.key = key.display().to_string();
            settings.fingerprint.clone_from(fingerprint);
        });
        stage.build(RECIPE).fails(6).reports(&[name]).does_not_report(&["downloading"]);
    }
}

#[test]
fn a_signature_over_a_weak_digest_is_refused() {
    if !require_root() {
        return;
    }
    for digest in ["sha256", "sha1", "md5"] {
        let stage = Stage::new(|repo| {
            repo.package(Package::named("weak").requires_first("base").signed_by(Signature::None))
        });
        // Signed as their distributors sign them, with a pinned key.
        let line = format!(
            "mkdir -m 700 gnupg; export GNUPGHOME=$PWD/gnupg; gpg='gpg --batch --quiet \
             --passphrase= --pinentry-mode loopback'; $gpg --quick-generate-key 'weak \
             <w@x.invalid>' rsa2048 sign never; $gpg --armor --export weak > weak.asc; $gpg \
             --list-keys --with-colons weak | grep -m1 ^fpr | cut -d: -f10; rpmsign --define \
             '__gpg /usr/bin/gpg' --define '_gpg_name weak' --define '_gpg_digest_algo {digest}' \
             --define '__gpg_sign_cmd /usr/bin/gpg gpg --batch --no-armor --no-secmem-warning \
             --allow-weak-digest-algos --digest-algo {digest} -u weak -sbo \
             %{{__signature_filename}} %{{__plaintext_filename}}' --addsign repo/Packages/*.rpm \
             >&2; gpgconf --kill all"
        );
        let fingerprint = sh(stage.path(), &line).trim().to_owned();
        index(&stage.repo());
        let key = stage.path().join("weak.asc").display().to_string();
        stage.settings(|settings| {
            settings.key.clone_from(&key);
            settings.fingerprint.clone_from(&fingerprint);
        });
        let build = stage.build("install weak\nts run\n");
        if digest == "sha256" {
            build.succeeds();
            continue;
        }
        let done = build.run();
        assert!(matches!(done.code, Some(6 | 7)), "{digest}: {}", done.stderr);
        done.reports(&["weak"]).does_not_report(&["panicked"]);
        println!("{digest}: {}", done.stderr);
        assert!(stage.files(&stage.out()).is_empty());
        stage.nothing_is_left();
    }
}

/// A package as rpm itself writes it, with many files, texts in two languages, attributes and
/// triggers.
const SPEC: &str = "Name: whole\nVersion: 1\nRelease: 1\nSummary: whole\nSummary(de): \
                    ganz\nLicense: MIT\nBuildArch: noarch\nRequires: base\nRecommends: \
                    shell\n%description\nwhole\n%prep\n%build\n%install\nfor n in $(seq 300); do \
                    mkdir -p %{buildroot}/usr/share/whole/$n; echo $n > \
                    %{buildroot}/usr/share/whole/$n/file; done\n%post\necho done\n%triggerin -- \
                    shell\necho shell\n%files\n%attr(640, root, app) \
                    /usr/share/whole/1/file\n/usr/share/whole\n%changelog\n* Mon Jan 02 2023 A \
                    <a@example.org> - 1-1\n- made\n";

#[test]
fn impossible_lengths_in_a_header_are_refused_before_memory_is_allocated() {
    if !require_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("whole.spec"), SPEC).unwrap();
    let made = sh(
        directory.path(),
        "HOME=$PWD RPM_FORCE_DEBIAN=1 rpmbuild --quiet --define \"_topdir $PWD\" -bb whole.spec \
         >log 2>&1; find RPMS -name '*.rpm'",
    );
    let file = directory.path().join(made.trim());
    assert_eq!(
        osimg::packages::identify(&file).unwrap(),
        ("whole-0:1-1.noarch".to_owned(), Vec::new()),
        "rpm's own packages are read"
    );
    let whole = fs::read(&file).unwrap();
    let word = |at: usize| u32::from_be_bytes(whole[at..at + 4].try_into().unwrap()) as usize;
    let main = (96 + 16 + word(96 + 8) * 16 + word(96 + 12)).next_multiple_of(8);
    for header in [96, main] {
        for entry in 0..word(header + 8) {
            for (field, value) in
                [(12, u32::MAX), (12, 0x4000_0000), (12, 0x7fff_ffff), (8, u32::MAX), (4, 99)]
            {
                let at = header + 16 + entry * 16 + field;
                let mut bytes = whole.clone();
                bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
                fs::write(&file, bytes).unwrap();
                let error = osimg::packages::identify(&file).unwrap_err();
                assert_eq!(osimg::error::exit_code(&error) as i32, 6, "{error:#}");
            }
        }
    }
}
