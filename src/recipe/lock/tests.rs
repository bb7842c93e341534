//! Tests of the lock's own rules.

use super::foreign::{self, Form};
use super::*;
use crate::recipe::Settings;

fn lock() -> Lock {
    let package = |name: &str, arch: &str, signer: Option<&str>| LockedPackage {
        nevra: format!("{name}-1:2.0-3.{arch}"),
        repository: "tiny".into(),
        location: format!("Packages/{name}-2.0-3.{arch}.rpm"),
        checksum: format!("sha256:{}", "a1".repeat(32)),
        size: 4096,
        signer: signer.map(str::to_owned),
        reason: "user".into(),
    };
    Lock {
        version: LOCK_VERSION,
        recipe: digest(
            &Script::parse("# comment\ninstall b\ngroup install 'The Core'\n", "r.yum").unwrap(),
        ),
        arch: "x86_64".into(),
        releasever: Some("9".into()),
        install_weak_deps: Some(false),
        exclude: vec!["x*".into()],
        keys: vec!["AB".repeat(20)],
        repositories: vec![LockedRepository {
            id: "tiny".into(),
            revision: "17".into(),
            repomd: None,
        }],
        transactions: vec![
            LockedTransaction {
                remove: Vec::new(),
                groups: vec![LockedGroup {
                    name: "The Core".into(),
                    id: "core".into(),
                    kind: "group".into(),
                    mandatory: vec!["a".into()],
                }],
                specs: vec![LockedSpec {
                    text: "b".into(),
                    packages: vec!["b-1:2.0-3.noarch".into()],
                }],
                packages: vec![package("b", "noarch", Some("AB")), package("a", "x86_64", None)],
            },
            LockedTransaction {
                remove: vec!["b-1:2.0-3.noarch".into()],
                ..LockedTransaction::default()
            },
        ],
    }
}

fn settings() -> PackageSettings {
    let text = "[packages]\nreleasever = \"9\"\narch = \"x86_64\"\ninstall_weak_deps = false\n\
        exclude = [\"x*\"]\n\
                [[packages.repository]]\nid = \"tiny\"\n\
                baseurl = \"https://mirror.invalid/$releasever/$basearch\"\n";
    Settings::parse(text, "r.toml", Path::new("/")).unwrap().packages
}

#[test]
fn a_lock_is_parsed_as_it_was_written_and_sorted_by_name() {
    let text = lock().print().unwrap();
    assert!(
        text.find("a-1:2.0").unwrap() < text.rfind("b-1:2.0-3.noarch\"\nrepository").unwrap(),
        "{text}"
    );
    let read = Lock::parse(&text, "r.lock").unwrap();
    assert_eq!(read.print().unwrap(), text);
    assert_eq!(read.packages().count(), 2);
}

#[test]
fn a_changed_package_is_a_changed_block() {
    let before = lock().print().unwrap();
    let mut newer = lock();
    newer.transactions[0].packages[0].size = 5000;
    let after = newer.print().unwrap();
    let differ = before.lines().zip(after.lines()).filter(|(a, b)| a != b).count();
    assert_eq!((differ, before.lines().count()), (1, after.lines().count()));
}

#[test]
fn invalid_contents_are_refused_with_their_position() {
    let good = lock().print().unwrap();
    let cases = [
        ("version = 1", "version = 2", "its version is 2"),
        ("Packages/a-2.0-3.x86_64.rpm", "../../etc/passwd", "leaves the repository"),
        ("Packages/a-2.0-3.x86_64.rpm", "/etc/passwd", "not relative"),
        ("Packages/a-2.0-3.x86_64.rpm", "gopher://x/a.rpm", "unknown scheme"),
        ("sha256:a1", "md5:a1", "algorithm is \"md5\""),
        ("sha256:a1", "sha256:A1", "hexadecimal"),
        ("size = 4096", "size = 0", "size is 0"),
        ("nevra = \"a-1:2.0-3.x86_64\"", "nevra = \"a\"", "not a name-epoch"),
        ("nevra = \"a-1:2.0-3.x86_64\"", "nevra = \"b-1:2.0-3.noarch\"", "twice"),
        ("reason = \"user\"", "raison = \"user\"", "r.lock:"),
        ("arch = \"x86_64\"", "arch = 64", "r.lock:4:8"),
    ];
    for (from, to, expected) in cases {
        assert!(good.contains(from), "{from}\n{good}");
        let error = Lock::parse(&good.replace(from, to), "r.lock").unwrap_err();
        assert_eq!(crate::error::exit_code(&error), ExitCode::Recipe);
        assert!(format!("{error:#}").contains(expected), "{expected}: {error:#}");
    }
}

#[test]
fn a_lock_is_out_of_date_after_changes_other_than_comments() {
    let script = |text: &str| Script::parse(text, "r.yum").unwrap();
    let (lock, file) = (lock(), Path::new("r.lock"));
    lock.belongs_to(
        &script("install   b  \n# another\n\ngroup install \"The Core\"\n"),
        &settings(),
        file,
    )
    .unwrap();
    let mut other = settings();
    other.releasever = Some("10".into());
    other.install_weak_deps = None;
    other.exclude.clear();
    other.arch = Some("aarch64".into());
    other.repositories[0].id = "other".into();
    let error = lock.belongs_to(&script("install c\n"), &other, file).unwrap_err();
    let message = format!("{error:#}");
    for part in [
        "statements",
        "x86_64 then, aarch64 now",
        "9 then, 10 now",
        "false then, not set now",
        "exclude",
        "'tiny' was removed",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[test]
fn both_foreign_formats_list_the_final_image_and_can_be_read() {
    for form in [Form::RpmsLock, Form::Manifest] {
        let text = foreign::print(&lock(), form, &settings()).unwrap();
        let listed = foreign::parse(&text, "x", "x86_64").unwrap();
        assert_eq!(listed.len(), 1, "b is removed again: {text}");
        assert_eq!(listed[0].nvra, "a-2.0-3.x86_64");
        assert_eq!((listed[0].size, listed[0].repository.as_deref()), (Some(4096), Some("tiny")));
        assert!(text.contains("https://mirror.invalid/9/x86_64"), "{text}");
        assert!(text.contains("evr: 1:2.0-3"), "{text}");
        assert!(foreign::parse(&text, "x", "s390x").is_err());
    }
}

#[test]
fn lists_of_other_tools_may_omit_fields() {
    let text = "lockfileVersion: 1\nlockfileVendor: redhat\narches:\n\
        - arch: x86_64\n  packages:\n  - url: https://x/a-1-2.noarch.rpm\n";
    assert_eq!(foreign::parse(text, "x", "x86_64").unwrap()[0].nvra, "a-1-2.noarch");
    for (wrong, expected) in [
        ("lockfileVersion: 2\nlockfileVendor: redhat\narches: []\n", "lockfileVersion 2"),
        ("document: rpm-package-manifest\nversion: 1.0.0\ndata: {packages: {}}\n", "version 1.0.0"),
        ("something: else\n", "neither"),
        ("a: [", "reading x"),
        (
            "lockfileVersion: 1\nlockfileVendor: redhat\narches:\n- arch: x86_64\n  packages:\n  - \
            url: https://x/\n",
            "not that of a package",
        ),
    ] {
        let error = foreign::parse(wrong, "x", "x86_64").unwrap_err();
        assert!(format!("{error:#}").contains(expected), "{expected}: {error:#}");
    }
}

#[test]
fn rpms_lock_needs_an_address_and_not_a_list_of_mirrors() {
    let mut settings = settings();
    settings.repositories[0].source =
        crate::recipe::RepositorySource::Metalink("https://mirrors.invalid/metalink".into());
    let error = foreign::print(&lock(), Form::RpmsLock, &settings).unwrap_err();
    assert!(format!("{error:#}").contains("list of mirrors"), "{error:#}");
    assert!(
        foreign::print(&lock(), Form::Manifest, &settings)
            .unwrap()
            .contains("metalink: https://mirrors.invalid")
    );
}

#[test]
fn lists_written_by_the_tools_themselves_are_read() {
    let rpms = foreign::parse(
        include_str!("../../../fixtures/locks/rpms.lock.yaml"),
        "rpms.lock.yaml",
        "x86_64",
    )
    .unwrap();
    let manifest = foreign::parse(
        include_str!("../../../fixtures/locks/packages.manifest.yaml"),
        "packages.manifest.yaml",
        "x86_64",
    )
    .unwrap();
    let sorted = |mut listed: Vec<foreign::ListedPackage>| {
        listed.sort_by(|a, b| a.nvra.cmp(&b.nvra));
        listed
    };
    assert!(rpms.iter().any(|entry| entry.nvra == "libaudit1-3.0.9-1.x86_64"), "{rpms:?}");
    assert_eq!(sorted(rpms), sorted(manifest));
}
