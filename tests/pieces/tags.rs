//! Tags of docker-registry that a publication must not take from another image, and images that
//! must not be removed instead of another one.

use osimg::error::{ExitCode, exit_code, render};
use osimg::registry::oci::{Access, Oci};
use osimg::registry::{Existing, Registry as _, State};
use osimg::report::Report;
use osimg::set::{Role, Set};
use std::path::Path;
use std::process::Command;

use crate::servers::{Registry, Server, output};
use crate::set::set;
use crate::{directory, have};

const TOOLS: [&str; 2] = ["docker-registry", "curl"];

fn open(server: &Server, tag: &str, existing: Existing) -> Oci {
    let reference = format!("127.0.0.1:{}/os/image{tag}", server.port);
    Oci::open(&reference, &Access::default()).unwrap().with_existing(existing)
}

fn image(directory: &Path, name: &str, version: &str, content: &str) -> Set {
    let place = directory.join(content);
    std::fs::create_dir_all(&place).unwrap();
    let mut made = set(&place, "web-1", content);
    (made.name, made.version) = (name.to_owned(), version.to_owned());
    made
}

fn publish(oci: &Oci, set: &Set) -> Result<osimg::set::References, String> {
    oci.publish(set, &Report::silent()).map_err(|error| {
        assert_eq!(exit_code(&error), ExitCode::Registry, "{}", render(&error));
        render(&error)
    })
}

fn listed(server: &Server) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = open(server, "", Existing::Keep)
        .list()
        .unwrap()
        .into_iter()
        .map(|entry| {
            assert_ne!(entry.state, State::Unfinished, "{entry:?}");
            (entry.name, entry.version)
        })
        .collect();
    all.sort();
    all
}

fn manifest(server: &Server, tag: &str) -> String {
    let url = format!("http://127.0.0.1:{}/v2/os/image/manifests/{tag}", server.port);
    let accept = "accept: application/vnd.oci.image.manifest.v1+json, application/json";
    output(Command::new("curl").args(["-sf", "-H", accept, &url]))
}

fn put(server: &Server, tag: &str, text: &str) {
    let url = format!("http://127.0.0.1:{}/v2/os/image/manifests/{tag}", server.port);
    let kind = "content-type: application/vnd.oci.image.manifest.v1+json";
    output(Command::new("curl").args(["-sf", "-X", "PUT", "-H", kind, "-d", text, &url]));
}

#[test]
fn a_tag_of_another_image_is_not_taken() {
    if !have(&TOOLS) {
        return;
    }
    let directory = directory();
    let (long, digits) = ("n".repeat(90), "1".repeat(60));
    for ((name, version), (other, its)) in [
        (("os", "1-2"), ("os-1", "2")),
        (("os+a", "1"), ("os_a", "1")),
        ((long.as_str(), &*format!("{digits}1")), (long.as_str(), &*format!("{digits}2"))),
    ] {
        for content in ["one", "two"] {
            let server = Registry::default().start();
            let keep = open(&server, "", Existing::Keep);
            publish(&keep, &image(directory.path(), name, version, "one")).unwrap();
            for existing in [Existing::Keep, Existing::Replace] {
                let oci = open(&server, "", existing);
                let new = image(directory.path(), other, its, content);
                let text = publish(&oci, &new).unwrap_err();
                let image = format!("belongs to the image {name} version {version}");
                assert!(text.contains(&image) && text.contains("hint: "), "{text}");
                assert_eq!(listed(&server), [(name.to_owned(), version.to_owned())]);
            }
        }
    }
}

#[test]
fn the_tag_of_the_address_moves_only_on_request_and_no_image_is_lost() {
    if !have(&TOOLS) {
        return;
    }
    let (server, directory) = (Registry::default().start(), directory());
    let (one, two) =
        (image(directory.path(), "os", "1", "one"), image(directory.path(), "os", "2", "two"));
    let (keep, replace) =
        (open(&server, ":prod", Existing::Keep), open(&server, ":prod", Existing::Replace));
    publish(&keep, &one).unwrap();
    publish(&keep, &one).unwrap();
    let before = manifest(&server, "prod");
    assert_eq!(before, manifest(&server, "os-1.tgz"));
    let text = publish(&keep, &two).unwrap_err();
    assert!(text.contains("the image os version 1") && text.contains("--replace"), "{text}");
    assert_eq!((manifest(&server, "prod"), listed(&server).len()), (before.clone(), 1));

    publish(&replace, &two).unwrap();
    assert_eq!(manifest(&server, "prod"), manifest(&server, "os-2.tgz"));
    assert_eq!(manifest(&server, "os-1.tgz"), before);
    assert_eq!(listed(&server), [("os".into(), "1".into()), ("os".into(), "2".into())]);
    // A version does not change its bytes by another tag either.
    let other = image(directory.path(), "os", "1", "other");
    let text = publish(&open(&server, ":test", Existing::Keep), &other).unwrap_err();
    assert!(text.contains("other bytes"), "{text}");
    // The usual tag of another image is never moved.
    publish(&open(&server, ":os-1.tgz", Existing::Replace), &two).unwrap_err();
    assert_eq!(manifest(&server, "os-1.tgz"), before);
}

#[test]
fn a_manifest_of_another_program_is_never_replaced() {
    if !have(&TOOLS) {
        return;
    }
    let (server, directory) = (Registry::default().start(), directory());
    let first = image(directory.path(), "os", "1", "one");
    let published = publish(&open(&server, "", Existing::Keep), &first).unwrap();
    let layer = format!("sha256:{}", published.tarball.sha256.unwrap());
    let descriptor = |kind: &str, digest: &str, size: u64| {
        format!(r#"{{"mediaType": "{kind}", "digest": "{digest}", "size": {size}}}"#)
    };
    let empty = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    let foreign = format!(
        r#"{{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {}, "layers": [{}]}}"#,
        descriptor("application/vnd.oci.image.config.v1+json", empty, 2),
        descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &layer, published.tarball.size),
    );
    let second = image(directory.path(), "os", "2", "two");
    let piece = format!("tarball-{}", &second.tarball.piece.sha256[..16]);
    for tag in ["os-2.tgz", "prod", &piece] {
        put(&server, tag, &foreign);
        for existing in [Existing::Keep, Existing::Replace] {
            let text = publish(&open(&server, ":prod", existing), &second).unwrap_err();
            assert!(text.contains("osimg did not publish it"), "{tag}: {text}");
            assert_eq!(manifest(&server, tag), foreign);
        }
    }
    assert_eq!(listed(&server), [("os".into(), "1".into())]);
}

#[test]
fn of_publishers_of_other_bytes_one_wins_and_keeps_its_pieces() {
    if !have(&TOOLS) {
        return;
    }
    let (server, directory) = (Registry::default().start(), directory());
    for round in 0..4 {
        let name = format!("os{round}");
        let sets = ["one", "two", "three"].map(|content| {
            let mut made = image(directory.path(), &name, "1", &format!("{name}{content}"));
            // The same boot pieces, which the others remove when they are refused.
            let boot = image(directory.path(), &name, "1", &name);
            (made.kernel, made.ramdisk, made.stage2) = (boot.kernel, boot.ramdisk, boot.stage2);
            made
        });
        let results: Vec<_> = std::thread::scope(|scope| {
            let server = &server;
            let publish = |set| {
                scope
                    .spawn(move || open(server, "", Existing::Keep).publish(set, &Report::silent()))
            };
            let threads: Vec<_> = sets.iter().map(publish).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let won: Vec<_> = results.iter().flatten().collect();
        assert_eq!(won.len(), 1, "{results:?}");
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            assert_eq!(exit_code(error), ExitCode::Registry, "{}", render(error));
        }
        for role in Role::ALL {
            manifest(&server, &won[0].role(role).unwrap().id);
        }
        assert_eq!(listed(&server).len(), round + 1);
    }
}

#[test]
fn the_claim_of_a_killed_publisher_is_reported_and_can_be_removed() {
    if !have(&TOOLS) {
        return;
    }
    let (server, directory) = (Registry::default().start(), directory());
    let oci = open(&server, "", Existing::Keep);
    publish(&oci, &image(directory.path(), "os", "1", "one")).unwrap();
    let claim = manifest(&server, "os-1.tgz")
        .replace("application/vnd.osimg.set.v1", "application/vnd.osimg.claim.v1");
    put(&server, &format!("osimg-claim-{}", "0".repeat(32)), &claim);
    let second = image(directory.path(), "os", "2", "two");
    let error = oci.publish(&second, &Report::silent()).unwrap_err();
    assert_eq!(exit_code(&error), ExitCode::Locked, "{}", render(&error));
    let entries = oci.list().unwrap();
    let left: Vec<_> = entries.iter().filter(|one| one.state == State::Unfinished).collect();
    assert_eq!(left.len(), 1, "{left:?}");
    let hint = format!("--remove {}", left[0].id);
    assert!(render(&error).contains(&hint), "{}", render(&error));
    oci.remove(left[0]).unwrap();
    publish(&oci, &second).unwrap();
    assert_eq!(listed(&server).len(), 2);
}

#[test]
fn only_the_image_that_was_asked_for_is_removed() {
    if !have(&TOOLS) {
        return;
    }
    let (server, directory) = (Registry::default().start(), directory());
    let oci = open(&server, "", Existing::Keep);
    let [prod, test] = ["prod", "test"]
        .map(|name| publish(&oci, &image(directory.path(), name, "1", "one")).unwrap());
    let [tarball, prod, test] =
        [prod.tarball.id, prod.manifest.unwrap().id, test.manifest.unwrap().id];
    let registry = format!("oci:127.0.0.1:{}/os/image", server.port);
    let remove = |arguments: &[&str]| {
        let done = Command::new(env!("CARGO_BIN_EXE_osimg"))
            .env("HOME", directory.path())
            .args(["images", "--registry", &registry])
            .args(arguments)
            .output()
            .unwrap();
        (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    let (code, text) = remove(&["--remove", &tarball]);
    assert!(code == Some(9) && text.contains(&prod) && text.contains(&test), "{text}");
    let (code, text) = remove(&["--name", "prod", "--remove", &test]);
    assert!(code == Some(9) && text.contains("another name"), "{text}");
    assert_eq!(listed(&server).len(), 2);
    let (code, text) = remove(&["--name", "prod", "--remove", &tarball]);
    assert_eq!((code, listed(&server)), (Some(0), vec![("test".into(), "1".into())]), "{text}");
    manifest(&server, &tarball);
    let (code, text) = remove(&["--remove", &test]);
    assert_eq!((code, listed(&server)), (Some(0), Vec::new()), "{text}");
}

#[test]
fn options_of_glance_are_refused_before_anything_is_sent() {
    let directory = directory();
    for registry in ["oci:127.0.0.1:1/os/image", "dir:out", "tree:web"] {
        for option in [["--older", "1"], ["--share-with", "x"], ["--tag", "x"]] {
            let done = Command::new(env!("CARGO_BIN_EXE_osimg"))
                .current_dir(directory.path())
                .env("HOME", directory.path())
                .args(["publish", "x.tgz", "--registry", registry])
                .args(option)
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&done.stderr);
            assert_eq!(done.status.code(), Some(2), "{registry} {option:?}: {text}");
        }
    }
}
