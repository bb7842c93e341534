//! Sets in docker-registry: complete, stored once, verified, and removed again after a failure.

use osimg::error::{ExitCode, exit_code, render};
use osimg::registry::oci::{Access, Oci};
use osimg::registry::{Registry as _, State};
use osimg::report::Report;
use osimg::set::{Made, References, Role};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

use crate::servers::{Fault, PASSWORD, Proxy, Registry, Server, output, sha256sum, tokens};
use crate::set::{kernel, piece, set};
use crate::{directory, have};

const TOOLS: [&str; 4] = ["docker-registry", "skopeo", "htpasswd", "curl"];

fn open(port: u16, access: &Access) -> Oci {
    Oci::open(&format!("127.0.0.1:{port}/os/image"), access).unwrap()
}

fn publish(oci: &Oci, set: &osimg::set::Set) -> osimg::error::Result<References> {
    oci.publish(set, &Report::silent())
}

/// The tags that the registry itself lists.
fn tags(server: &Server) -> BTreeSet<String> {
    let text = output(
        Command::new("curl")
            .args(["-s", &format!("http://127.0.0.1:{}/v2/os/image/tags/list", server.port)]),
    );
    let value: Value = serde_json::from_str(&text).unwrap();
    value["tags"]
        .as_array()
        .map(|tags| tags.iter().map(|tag| tag.as_str().unwrap().to_owned()).collect())
        .unwrap_or_default()
}

fn skopeo(server: &Server, what: &str) -> Value {
    let url = format!("docker://127.0.0.1:{}/os/image{what}", server.port);
    serde_json::from_str(&output(Command::new("skopeo").args([
        "inspect",
        "--raw",
        "--tls-verify=false",
        &url,
    ])))
    .unwrap()
}

#[test]
fn a_set_is_one_artifact_and_each_piece_is_one_that_ironic_accepts() {
    if !have(&TOOLS) {
        return;
    }
    let (server, directory) = (Registry::default().start(), directory());
    let mut set = set(directory.path(), "web-20261122", "hello");
    set.properties.insert("team".into(), "metal".into());
    let oci = open(server.port, &Access::default());
    let references = publish(&oci, &set).unwrap();

    // The set, as skopeo reads it.
    let manifest = skopeo(&server, ":web-20261122.tgz");
    assert_eq!(manifest["artifactType"], "application/vnd.osimg.set.v1");
    assert_eq!(manifest["annotations"]["org.osimg.name"], "web");
    assert_eq!(manifest["annotations"]["org.osimg.property.team"], "metal");
    assert_eq!(manifest["annotations"]["org.osimg.disk_file_extension"], ".tgz");
    let titles: Vec<&str> = manifest["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["annotations"]["org.opencontainers.image.title"].as_str().unwrap())
        .collect();
    assert_eq!(
        titles,
        [
            "web-20261122.vmlinuz",
            "web-20261122.initrd.img",
            "web-20261122.stage2.img",
            "web-20261122.tgz.ks.cfg",
            "web-20261122.tgz"
        ]
    );

    // Each piece by its digest reference: one layer; its blob is the file.
    for role in Role::ALL {
        let (reference, piece) = (references.role(role).unwrap(), set.piece(role).unwrap());
        assert_eq!(
            reference.url.as_deref(),
            Some(format!("oci://127.0.0.1:{}/os/image@{}", server.port, reference.id).as_str())
        );
        let manifest = skopeo(&server, &format!("@{}", reference.id));
        let layers = manifest["layers"].as_array().unwrap();
        assert_eq!(layers.len(), 1);
        let file = directory.path().join("fetched");
        let url = format!(
            "http://127.0.0.1:{}/v2/os/image/blobs/{}",
            server.port,
            layers[0]["digest"].as_str().unwrap()
        );
        output(Command::new("curl").args(["-sf", "-o"]).arg(&file).arg(&url));
        assert_eq!(sha256sum(&file), piece.sha256, "{role}");
        assert_eq!(reference.sha512.as_deref(), Some(piece.sha512.as_str()));
        assert_eq!(reference.made, Made::New);
    }
    let whole = references.manifest.as_ref().unwrap();
    assert_eq!(skopeo(&server, &format!("@{}", whole.id)), manifest);

    // A second time: nothing is sent, and the references are the same.
    let again = publish(&oci, &set).unwrap();
    for role in Role::ALL {
        let (first, second) = (references.role(role).unwrap(), again.role(role).unwrap());
        assert_eq!((&first.id, Made::Reused), (&second.id, second.made));
    }
    assert_eq!(again.manifest.unwrap().id, whole.id);

    // Existing entries, and the objects that are removed with an entry.
    let mut newer = set.clone();
    newer.version = "20261123".into();
    newer.kernel = Some(piece(directory.path(), "vmlinuz-2", &kernel("two")));
    let newest = publish(&oci, &newer).unwrap();
    assert_eq!(newest.ramdisk.as_ref().unwrap().made, Made::Reused);
    let entries = oci.list().unwrap();
    let states: Vec<_> = entries.iter().map(|e| (e.version.as_str(), e.state)).collect();
    assert_eq!(states, [("20261123", State::Current), ("20261122", State::Older)]);
    assert_eq!(entries[0].id, newest.manifest.unwrap().id);
    assert_eq!(
        entries[0].pieces.iter().find(|(role, _)| *role == Role::Kernel).unwrap().1,
        newest.kernel.unwrap().id
    );
    let removed = oci.prune(None, 1).unwrap();
    assert_eq!(
        removed.removed.len(),
        2,
        "the set and the kernel that nothing else uses: {removed:?}"
    );
    assert_eq!(oci.list().unwrap().len(), 1);
    let left = tags(&server);
    assert!(left.contains("web-20261123.tgz") && !left.contains("web-20261122.tgz"), "{left:?}");
    oci.prune(None, 0).unwrap();
    assert_eq!(tags(&server), BTreeSet::new());
    assert_eq!(oci.list().unwrap(), []);
}

#[test]
fn a_password_is_read_from_the_files_of_the_tools_and_appears_nowhere() {
    if !have(&TOOLS) {
        return;
    }
    let server = Registry { password: true, tls: true, ..Registry::default() }.start();
    let directory = directory();
    let ca = server.directory.path().join("ca.crt");
    let logins = directory.path().join("auth.json");
    let host = format!("127.0.0.1:{}", server.port);
    let certificates = directory.path().join("certs");
    std::fs::create_dir(&certificates).unwrap();
    std::fs::copy(&ca, certificates.join("ca.crt")).unwrap();
    output(
        Command::new("skopeo")
            .args(["login", "--username", "osimg", "--password", PASSWORD, "--authfile"])
            .arg(&logins)
            .arg("--cert-dir")
            .arg(&certificates)
            .arg(&host),
    );
    let set = set(directory.path(), "web-1", "hello");
    let access = Access { ca: Some(ca.clone()), logins: vec![logins.clone()] };
    let oci = open(server.port, &access);
    assert_eq!(oci.describe(), format!("oci:{host}/os/image (https)"));
    let references = publish(&oci, &set).unwrap();
    assert!(!format!("{references:?}{oci:?}").contains(PASSWORD));

    // As a credential helper provides it.
    let helper = directory.path().join("helper.json");
    std::fs::write(&helper, format!(r#"{{"credHelpers": {{"{host}": "osimg-missing"}}}}"#))
        .unwrap();
    let reference = format!("{host}/os/image");
    let error =
        Oci::open(&reference, &Access { ca: Some(ca.clone()), logins: vec![helper] }).unwrap_err();
    assert!(render(&error).contains("docker-credential-osimg-missing"), "{}", render(&error));

    let refused = |access: &Access, code: ExitCode| {
        let error = Oci::open(&reference, access).unwrap_err();
        let text = render(&error);
        assert!(!text.contains(PASSWORD) && !text.contains("b3NpbWc6"), "{text}");
        assert_eq!(exit_code(&error), code, "{text}");
        text
    };
    let text = refused(&Access { ca: Some(ca.clone()), logins: Vec::new() }, ExitCode::Registry);
    assert!(text.contains("log in first: podman login 127.0.0.1"), "{text}");
    // printf osimg:wrong | base64
    std::fs::write(
        &logins,
        format!(r#"{{"auths": {{"{host}": {{"auth": "b3NpbWc6d3Jvbmc="}}}}}}"#),
    )
    .unwrap();
    let text = refused(&Access { ca: Some(ca), logins: vec![logins.clone()] }, ExitCode::Registry);
    assert!(text.contains("the login is wrong"), "{text}");
    let text = refused(&Access { ca: None, logins: vec![logins] }, ExitCode::Trust);
    assert!(text.contains("not trusted"), "{text}");
}

#[test]
fn the_password_is_exchanged_for_a_token_and_the_token_is_sent() {
    if !have(&TOOLS) {
        return;
    }
    let directory = directory();
    // printf osimg:pass:word | base64
    let basic = "Basic b3NpbWc6cGFzczp3b3Jk";
    let (port, certificate, asked) = tokens(directory.path(), basic);
    let server = Registry { tokens: Some((port, certificate)), ..Registry::default() }.start();
    let logins = directory.path().join("auth.json");
    let host = format!("127.0.0.1:{}", server.port);
    std::fs::write(&logins, format!(r#"{{"auths": {{"{host}": {{"auth": "{}"}}}}}}"#, &basic[6..]))
        .unwrap();
    let access = Access { ca: None, logins: vec![logins] };
    let oci = open(server.port, &access);
    let set = set(directory.path(), "web-1", "hello");
    let references = publish(&oci, &set).unwrap();
    assert_eq!(references.kernel.unwrap().made, Made::New);
    assert_eq!(oci.prune(None, 0).unwrap().removed.len(), 6);
    let asked = asked.lock().unwrap().clone();
    assert!(asked.len() < 4, "a token is used until it is refused: {}", asked.len());
    assert!(
        asked[0].contains("scope=repository%3Aos%2Fimage%3Apull%2Cpush%2Cdelete"),
        "{}",
        asked[0]
    );
    let error = Oci::open(&format!("{host}/os/image"), &Access::default()).unwrap_err();
    assert!(render(&error).contains("answers 401"), "{}", render(&error));
}

#[test]
fn a_failure_during_publishing_leaves_no_tag() {
    if !have(&TOOLS) {
        return;
    }
    let (server, directory) = (Registry::default().start(), directory());
    let proxy = Proxy::before(server.port);
    let first = set(directory.path(), "web-1", "hello");
    let oci = open(proxy.port, &Access::default());
    let size = 300_000;
    let mut faults: Vec<Fault> = (0..10)
        .map(|tenth| Fault::Cut { line: "PUT /v2/os/image/blobs".into(), after: size / 10 * tenth })
        .collect();
    for line in [
        "POST /v2/os/image/blobs",
        "PUT /v2/os/image/blobs",
        "PUT /v2/os/image/manifests/tarball",
        "PUT /v2/os/image/manifests/web-1",
    ] {
        faults.extend([403, 413, 507].map(|status| Fault::Answer { line: line.into(), status }));
    }
    for fault in faults {
        proxy.set(fault.clone());
        let error = publish(&oci, &first).unwrap_err();
        assert_eq!(exit_code(&error), ExitCode::Registry, "{fault:?}: {}", render(&error));
        assert!(!render(&error).contains("could not be removed"), "{fault:?}: {}", render(&error));
        assert_eq!(tags(&server), BTreeSet::new(), "{fault:?}");
        assert!(!proxy.seen().is_empty());
    }
    // A registry that fails temporarily is asked again.
    proxy.set(Fault::None);
    publish(&oci, &first).unwrap();

    // A set under an existing tag: after the new one fails, the old one is back.
    let before = tags(&server);
    let old = skopeo(&server, ":web-1.tgz");
    let second = set(directory.path(), "web-1", "hello, world");
    proxy.set(Fault::Answer { line: "GET /v2/os/image/manifests/sha256".into(), status: 404 });
    let error = publish(&oci, &second).unwrap_err();
    proxy.set(Fault::None);
    assert!(
        render(&error).contains("web-1") || render(&error).contains("tarball"),
        "{}",
        render(&error)
    );
    assert_eq!(skopeo(&server, ":web-1.tgz"), old);
    assert!(before.is_subset(&tags(&server)));
}

#[test]
fn objects_that_a_registry_does_not_delete_are_named() {
    if !have(&TOOLS) {
        return;
    }
    let server = Registry { keeps_all: true, ..Registry::default() }.start();
    let directory = directory();
    let proxy = Proxy::before(server.port);
    let oci = open(proxy.port, &Access::default());
    proxy.set(Fault::Answer { line: "PUT /v2/os/image/manifests/web-1".into(), status: 403 });
    let error = publish(&oci, &set(directory.path(), "web-1", "hello")).unwrap_err();
    let text = render(&error);
    for tag in tags(&server) {
        assert!(text.contains(&tag), "{tag}: {text}");
    }
    assert!(
        text.contains("could not be removed") && text.contains("storage.delete.enabled"),
        "{text}"
    );
    assert!(oci.list().unwrap().iter().all(|entry| entry.state == State::Unfinished));
}

#[test]
fn a_registry_that_stops_and_a_server_that_is_not_a_registry_are_reported() {
    if !have(&TOOLS) {
        return;
    }
    let (mut server, directory) = (Registry::default().start(), directory());
    let oci = open(server.port, &Access::default());
    server.kill();
    let error = publish(&oci, &set(directory.path(), "web-1", "hello")).unwrap_err();
    assert!(render(&error).contains("the connection was refused"), "{}", render(&error));
    let www = crate::servers::python(directory.path());
    let error = Oci::open(&format!("127.0.0.1:{}/os", www.port), &Access::default()).unwrap_err();
    assert!(render(&error).contains("no OCI registry answers there"), "{}", render(&error));
}

#[test]
fn two_architectures_of_a_version_share_one_index_and_are_removed_one_by_one() {
    if !have(&TOOLS) {
        return;
    }
    let (server, files) = (Registry::default().start(), directory());
    let oci = open(server.port, &Access::default());
    let made = |place: &str, arch: &str| {
        let place = files.path().join(place);
        std::fs::create_dir(&place).unwrap();
        let mut made = set(&place, "web-1", &place.display().to_string());
        made.arch = Some(arch.to_owned());
        made
    };
    let sets = ["x86_64", "aarch64"].map(|arch| made(arch, arch));
    for set in &sets {
        publish(&oci, set).unwrap();
        assert_eq!(publish(&oci, set).unwrap().tarball.made, Made::Reused);
    }
    let index = skopeo(&server, ":web-1.tgz");
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
    let items = index["manifests"].as_array().unwrap().iter();
    let platforms: BTreeSet<&str> =
        items.map(|item| item["platform"]["architecture"].as_str().unwrap()).collect();
    assert_eq!(platforms, BTreeSet::from(["amd64", "arm64"]));
    let error = publish(&oci, &made("other", "x86_64")).unwrap_err();
    assert_eq!(exit_code(&error), ExitCode::Registry, "{}", render(&error));

    let reference = format!("127.0.0.1:{}/os/image:web-1.tgz", server.port);
    for set in &sets {
        let found = osimg::registry::oci::find(&reference, &Access::default(), set.arch.as_deref())
            .unwrap();
        let osimg::registry::oci::Deployable::Set(found) = found else { panic!("a set") };
        assert_eq!(found.tarball.sha512.as_ref(), Some(&set.tarball.piece.sha512));
    }
    let error = osimg::registry::oci::find(&reference, &Access::default(), None).unwrap_err();
    assert!(render(&error).contains("--arch"), "{}", render(&error));

    oci.prune(None, 1).unwrap();
    let entries = oci.list().unwrap();
    assert_eq!(entries.len(), 2, "{entries:?}");
    let entry = entries.iter().find(|entry| entry.arch.as_deref() == Some("aarch64")).unwrap();
    oci.remove(entry).unwrap();
    assert_eq!(skopeo(&server, ":web-1.tgz")["annotations"]["org.osimg.arch"], "x86_64");
    oci.prune(None, 0).unwrap();
    assert_eq!(tags(&server), BTreeSet::new());
}
