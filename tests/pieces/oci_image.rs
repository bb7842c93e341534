//! Container images in docker-registry, as skopeo, podman, buildah and systemd-nspawn take them.

use osimg::error::{ExitCode, exit_code, render};
use osimg::registry::oci::{Access, ContainerImages};
use osimg::registry::{Existing, Registry as _, State};
use osimg::report::Report;
use osimg::set::{Made, References, Set};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::servers::{Fault, Proxy, Registry, Server, output, sha256sum};
use crate::set::piece;
use crate::{directory, have};

const TOOLS: [&str; 3] = ["docker-registry", "skopeo", "curl"];

fn open(port: u16) -> ContainerImages {
    ContainerImages::open(&format!("127.0.0.1:{port}/os/web"), &Access::default()).unwrap()
}

fn publish(images: &ContainerImages, set: &Set) -> osimg::error::Result<References> {
    images.publish(set, &Report::silent())
}

/// An image of one file, with documents.
fn set(directory: &Path, arch: &str, content: &str) -> Set {
    let place = directory.join(format!("{arch}-{}", content.replace(' ', "-")));
    std::fs::create_dir_all(&place).unwrap();
    let mut set = crate::set::set(&place, "web-1", content);
    set.arch = Some(arch.to_owned());
    set.source_date_epoch = Some(1_700_000_000);
    let document = |suffix: &str| piece(&place, &format!("web-1{suffix}"), suffix.as_bytes());
    set.documents = [".spdx.json", ".cdx.json", ".intoto.json"].map(document).into();
    set
}

fn tags(server: &Server) -> BTreeSet<String> {
    let url = format!("http://127.0.0.1:{}/v2/os/web/tags/list", server.port);
    let value: Value =
        serde_json::from_str(&output(Command::new("curl").args(["-s", &url]))).unwrap();
    let tags = value["tags"].as_array().cloned().unwrap_or_default();
    tags.iter().map(|tag| tag.as_str().unwrap().to_owned()).collect()
}

fn raw(server: &Server, what: &str) -> Value {
    let url = format!("docker://127.0.0.1:{}/os/web{what}", server.port);
    let words = ["inspect", "--raw", "--tls-verify=false", &url];
    serde_json::from_str(&output(Command::new("skopeo").args(words))).unwrap()
}

fn blob(server: &Server, file: &Path, digest: &Value) {
    let url =
        format!("http://127.0.0.1:{}/v2/os/web/blobs/{}", server.port, digest.as_str().unwrap());
    output(Command::new("curl").args(["-sf", "-o"]).arg(file).arg(url));
}

fn sh(directory: &Path, script: &str) -> String {
    output(Command::new("sh").args(["-e", "-c", script]).current_dir(directory))
}

#[test]
fn the_only_layer_is_the_tgz_and_its_documents_refer_to_the_image() {
    if !have(&TOOLS) {
        return;
    }
    let (server, files) = (Registry::default().start(), directory());
    let images = open(server.port);
    let set = set(files.path(), "x86_64", "hello");
    let references = publish(&images, &set).unwrap();
    assert_eq!(references.tarball.made, Made::New);

    let index = raw(&server, ":1");
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
    let item = &index["manifests"][0];
    assert_eq!(item["platform"]["architecture"], "amd64");
    assert_eq!(item["digest"], references.tarball.id);
    let manifest = raw(&server, &format!("@{}", references.tarball.id));
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
    assert_eq!(
        manifest["layers"][0]["digest"],
        format!("sha256:{}", sha256sum(&set.tarball.piece.path))
    );
    assert_eq!(manifest["annotations"]["org.opencontainers.image.version"], "1");
    assert_eq!(manifest["annotations"]["org.opencontainers.image.created"], "2023-11-14T22:13:20Z");
    let file = files.path().join("fetched");
    blob(&server, &file, &manifest["config"]["digest"]);
    let config: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let tar =
        sh(files.path(), &format!("gzip -dc {} | sha256sum", set.tarball.piece.path.display()));
    assert_eq!(config["rootfs"]["diff_ids"], serde_json::json!([format!("sha256:{}", &tar[..64])]));
    assert_eq!((&config["architecture"], &config["os"]), (&"amd64".into(), &"linux".into()));
    assert_eq!(config["config"]["Labels"]["org.osimg.name"], "web");

    // docker-registry has no referrers API, so a tag lists them.
    let listed = raw(&server, &format!(":{}", references.tarball.id.replace(':', "-")));
    let types =
        ["application/spdx+json", "application/vnd.cyclonedx+json", "application/vnd.in-toto+json"];
    for ((item, document), kind) in
        listed["manifests"].as_array().unwrap().iter().zip(&set.documents).zip(types)
    {
        assert_eq!(item["artifactType"], kind);
        let artifact = raw(&server, &format!("@{}", item["digest"].as_str().unwrap()));
        assert_eq!(artifact["subject"]["digest"], references.tarball.id);
        blob(&server, &file, &artifact["layers"][0]["digest"]);
        assert_eq!(sha256sum(&file), document.sha256);
    }

    // A second time nothing changes; other bytes are refused, and replace the version when asked.
    let before = tags(&server);
    let again = publish(&images, &set).unwrap();
    assert_eq!((&again.tarball.id, again.tarball.made), (&references.tarball.id, Made::Reused));
    let other = self::set(files.path(), "x86_64", "other");
    let error = publish(&images, &other).unwrap_err();
    assert_eq!(exit_code(&error), ExitCode::Registry);
    let text = render(&error);
    assert!(text.contains("exists with other bytes") && text.contains("--replace"), "{text}");
    assert_eq!((raw(&server, ":1"), tags(&server)), (index, before));
    let replacing = open(server.port).with_existing(Existing::Replace);
    let replaced = publish(&replacing, &other).unwrap();
    assert_eq!(raw(&server, ":1")["manifests"].as_array().unwrap().len(), 1);
    assert!(replaced.retired.contains(&references.tarball.id), "{replaced:?}");
    let entries = images.list().unwrap();
    assert_eq!((entries.len(), entries[0].state), (1, State::Current), "{entries:?}");
    images.prune(None, 0).unwrap();
    assert_eq!(tags(&server), BTreeSet::new());
}

#[test]
fn architectures_that_are_published_at_the_same_time_share_an_index() {
    if !have(&TOOLS) {
        return;
    }
    let (server, files) = (Registry::default().start(), directory());
    let sets = ["x86_64", "aarch64", "s390x"].map(|arch| set(files.path(), arch, arch));
    for round in 1..=5 {
        std::thread::scope(|scope| {
            for set in &sets {
                let set = Set { version: round.to_string(), ..set.clone() };
                scope.spawn(move || publish(&open(server.port), &set).unwrap());
            }
        });
        let index = raw(&server, &format!(":{round}"));
        let items = index["manifests"].as_array().unwrap().iter();
        let platforms: BTreeSet<&str> =
            items.map(|item| item["platform"]["architecture"].as_str().unwrap()).collect();
        assert_eq!(platforms, BTreeSet::from(["amd64", "arm64", "s390x"]), "round {round}");
    }
    let images = open(server.port);
    images.prune(None, 1).unwrap();
    let entries = images.list().unwrap();
    assert_eq!(entries.len(), 3, "{entries:?}");
    let entry = entries.iter().find(|entry| entry.arch.as_deref() == Some("aarch64")).unwrap();
    images.remove(entry).unwrap();
    let index = raw(&server, ":5");
    let items = index["manifests"].as_array().unwrap().iter();
    let left: Vec<&str> =
        items.map(|item| item["platform"]["architecture"].as_str().unwrap()).collect();
    assert_eq!(left, ["amd64", "s390x"]);
    images.prune(None, 0).unwrap();
    assert_eq!(tags(&server), BTreeSet::new());
}

#[test]
fn the_image_of_another_program_or_version_keeps_its_tag() {
    if !have(&TOOLS) {
        return;
    }
    let (server, files) = (Registry::default().start(), directory());
    let first = set(files.path(), "x86_64", "hello");
    let address = format!("127.0.0.1:{}/os/web:stable", server.port);
    let stable = ContainerImages::open(&address, &Access::default()).unwrap();
    publish(&stable, &first).unwrap();
    let url = format!("docker://127.0.0.1:{}/os/web", server.port);
    sh(
        files.path(),
        &format!(
            "skopeo --insecure-policy copy -q --src-tls-verify=false --dest-tls-verify=false \
             {url}:stable-amd64 {url}:1"
        ),
    );
    let newer = Set { version: "2".into(), ..first.clone() };
    for (images, set, tag) in [(&stable, &newer, ":stable"), (&open(server.port), &first, ":1")] {
        let before = raw(&server, tag);
        let error = publish(images, set).unwrap_err();
        assert_eq!(exit_code(&error), ExitCode::Registry);
        assert!(render(&error).contains("names another image"), "{}", render(&error));
        assert_eq!(raw(&server, tag), before);
    }
    publish(&stable.with_existing(Existing::Replace), &newer).unwrap();
    assert_eq!(raw(&server, ":stable")["annotations"]["org.opencontainers.image.version"], "2");
}

#[test]
fn a_failure_leaves_no_tag() {
    if !have(&TOOLS) {
        return;
    }
    let (server, files) = (Registry::default().start(), directory());
    let proxy = Proxy::before(server.port);
    let images = open(proxy.port);
    let set = set(files.path(), "x86_64", "hello");
    for line in [
        "POST /v2/os/web/blobs",
        "PUT /v2/os/web/blobs",
        "PUT /v2/os/web/manifests/1-amd64",
        "PUT /v2/os/web/manifests/sha256",
        "PUT /v2/os/web/manifests/1 ",
    ] {
        proxy.set(Fault::Answer { line: line.into(), status: 403 });
        let error = publish(&images, &set).unwrap_err();
        assert_eq!(exit_code(&error), ExitCode::Registry, "{line}: {}", render(&error));
        assert_eq!(tags(&server), BTreeSet::new(), "{line}");
    }
    proxy.set(Fault::None);
    publish(&images, &set).unwrap();
}

/// Runs podman with its own storage, where this machine's cgroups do not matter.
const PODMAN: &str = "podman() { command podman --root $PWD/store --runroot $PWD/run \
    --storage-driver vfs --cgroup-manager cgroupfs \"$@\"; }
    umount -R /sys/fs/cgroup 2> /dev/null || true; mount -t cgroup2 none /sys/fs/cgroup";

#[test]
fn podman_buildah_and_nspawn_run_the_published_image() {
    if !have(&TOOLS) || !have(&["podman", "buildah", "systemd-nspawn", "busybox", "unshare"]) {
        return;
    }
    let (server, files) = (Registry::default().start(), directory());
    let top = files.path();
    sh(
        top,
        "mkdir -p tree/bin tree/etc tree/usr tree/proc tree/sys tree/dev tree/tmp tree/run
         chmod 1777 tree/tmp; cp $(command -v busybox) tree/bin/busybox; ln -s busybox tree/bin/sh
         printf 'ID=demo\\nVERSION_ID=9\\n' > tree/etc/os-release; echo hello > tree/etc/motd",
    );
    let osimg = env!("CARGO_BIN_EXE_osimg");
    let address = format!("127.0.0.1:{}/os/web", server.port);
    let done = sh(
        top,
        &format!(
            "{osimg} -q pack --selinux none tree -o web-1.x86_64.tgz
             {osimg} -q publish web-1.x86_64.tgz --registry oci-image:{address} \
                 --allow directories --allow rpmdb"
        ),
    );
    assert!(done.contains("sha256:"), "{done}");
    let script = format!(
        "{PODMAN}
         podman pull -q --tls-verify=false {address}:1 > id
         podman run --rm --ulimit nofile=1024:1024 --ulimit nproc=1000:1000 --network none \
             --cgroups disabled $(cat id) /bin/busybox cat /etc/motd > said
         podman save -q --format oci-archive -o saved.tar $(cat id)
         podman push -q --tls-verify=false $(cat id) {address}:pushed
         buildah --root $PWD/store --runroot $PWD/run --storage-driver vfs from $(cat id) > name
         skopeo --insecure-policy copy -q --src-tls-verify=false docker://{address}:1 dir:copied
         cmp web-1.x86_64.tgz copied/$(sha256sum < web-1.x86_64.tgz | cut -d' ' -f1)
         mkdir unpacked; tar -C unpacked -xzf web-1.x86_64.tgz
         systemd-nspawn -q --register=no --keep-unit -D unpacked /bin/busybox cat /etc/motd >> said"
    );
    let mut enter = Command::new("unshare");
    output(enter.args(["-m", "sh", "-e", "-c", &script]).current_dir(top));
    let said = std::fs::read_to_string(top.join("said")).unwrap();
    assert_eq!(said.replace('\r', ""), "hello\nhello\n");
    assert!(std::fs::metadata(top.join("saved.tar")).unwrap().len() > 100_000);
    let tree = sha256sum(&top.join("web-1.x86_64.tgz"));
    let layers = raw(&server, ":pushed")["layers"].clone();
    assert_eq!(layers.as_array().unwrap().len(), 1, "{layers:#} of {tree}");
}
