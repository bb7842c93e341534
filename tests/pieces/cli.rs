//! `osimg publish` and `osimg images` as a user runs them, with boot pieces, OCI registries and web
//! trees.

use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::servers::{PASSWORD, Registry, nginx, odd, output};
use crate::set::{set, stage2, write};
use crate::{directory, have};

fn osimg(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_osimg"));
    command
        .env("HOME", directory)
        .env_remove("REGISTRY_AUTH_FILE")
        .env_remove("XDG_RUNTIME_DIR")
        .env_remove("DOCKER_CONFIG");
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A tarball with its manifest, and the install tree of the same release, made by publishing
/// once.
fn tarball_and_tree(directory: &Path) -> (std::path::PathBuf, std::path::PathBuf) {
    let made = set(directory, "web-1", "hello");
    let tree = osimg::registry::WebTree::open(&directory.join("tree"), None).unwrap();
    osimg::registry::Registry::publish(&tree, &made, &osimg::report::Report::silent()).unwrap();
    let tree = directory.join("tree/web-1");
    std::fs::copy(tree.join("web-1.json"), directory.join("web-1.json")).unwrap();
    (made.tarball.piece.path, tree)
}

/// `--allow` for every finding of `osimg verify`: a tarball of one file is unfit for any node.
fn allowing(tarball: &Path) -> Vec<String> {
    let report = Command::new(env!("CARGO_BIN_EXE_osimg"))
        .args(["verify", "--json"])
        .arg(tarball)
        .output()
        .unwrap()
        .stdout;
    let report: Value = serde_json::from_slice(&report).unwrap();
    let errors = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["severity"] == "error");
    errors
        .flat_map(|finding| ["--allow".to_owned(), finding["name"].as_str().unwrap().to_owned()])
        .collect()
}

#[test]
fn an_install_tree_on_a_web_server_is_published_with_a_credential_helper() {
    if !have(&["docker-registry", "htpasswd", "nginx"]) {
        return;
    }
    let directory = directory();
    let (tarball, tree) = tarball_and_tree(directory.path());
    let www = nginx(&tree, "");
    let server = Registry { password: true, ..Registry::default() }.start();
    let host = format!("127.0.0.1:{}", server.port);
    // The protocol of credential helpers: the server on stdin, the login on stdout.
    let helper = write(
        directory.path(),
        "bin/docker-credential-osimg-test",
        format!(
            "#!/bin/sh\nread -r server\n[ \"$1 $server\" = \"get {host}\" ] || exit 1\necho \
             '{{\"Username\": \"osimg\", \"Secret\": \"{PASSWORD}\"}}'\n"
        )
        .as_bytes(),
    );
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    write(
        directory.path(),
        ".docker/config.json",
        format!(r#"{{"credHelpers": {{"{host}": "osimg-test"}}}}"#).as_bytes(),
    );
    let path = format!("{}:/usr/bin:/bin", directory.path().join("bin").display());
    let run = |more: &[&str]| {
        let mut command = osimg(directory.path());
        command
            .arg("publish")
            .arg(&tarball)
            .args(["--registry", &format!("oci:{host}/os/image"), "--json", "--cache"])
            .arg(directory.path().join("cache"));
        command.args(allowing(&tarball)).args(more).env("PATH", &path).output().unwrap()
    };
    let done = run(&["--tree", &format!("http://127.0.0.1:{}/", www.port)]);
    assert!(done.status.success(), "{}", stderr(&done));
    let references: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(references["kind"], "oci");
    let url = references["kernel"]["url"].as_str().unwrap();
    assert!(url.starts_with(&format!("oci://{host}/os/image@sha256:")), "{url}");
    assert!(stderr(&done).contains("Anaconda would mount it as a disk"), "{}", stderr(&done));
    let all = format!("{}{}", String::from_utf8_lossy(&done.stdout), stderr(&done));
    assert!(
        !all.contains(PASSWORD)
            && !std::fs::read_to_string(directory.path().join("web-1.json"))
                .unwrap()
                .contains(PASSWORD)
    );

    // The output is also in the manifest, and the published files are listed.
    let manifest: Value = serde_json::from_str(
        &std::fs::read_to_string(directory.path().join("web-1.json")).unwrap(),
    )
    .unwrap();
    assert!(
        manifest["published"]
            .as_array()
            .unwrap()
            .iter()
            .any(|p| p["kind"] == "oci" && p["tarball"] == references["tarball"])
    );
    let listed = output(
        osimg(directory.path())
            .args(["images", "--json", "--registry", &format!("oci:{host}/os/image")])
            .env("PATH", &path),
    );
    let listed: Value = serde_json::from_str(&listed).unwrap();
    // The identity is that of the set; images with equal tarballs differ in it.
    let image = &listed["images"][0];
    assert_eq!((&image["name"], &image["version"]), (&"web".into(), &"1".into()), "{listed}");
    assert!(image["id"].as_str().is_some_and(|id| id.starts_with("sha256:")), "{listed}");
    assert_ne!(image["id"], references["tarball"]["id"], "{listed}");

    // Boot pieces of another release.
    let altered = std::fs::read_to_string(tree.join(".treeinfo"))
        .unwrap()
        .replace("version = 12", "version = 13");
    std::fs::write(tree.join(".treeinfo"), altered).unwrap();
    let tree = tree.display().to_string();
    let refused = run(&["--tree", &tree]);
    assert_eq!(refused.status.code(), Some(3), "{}", stderr(&refused));
    assert!(
        stderr(&refused).contains("osimg-demo 13's, the image is osimg-demo 12"),
        "{}",
        stderr(&refused)
    );
    let allowed = run(&["--tree", &tree, "--allow-release-mismatch"]);
    assert!(allowed.status.success(), "{}", stderr(&allowed));
    let both = run(&["--tree", &tree, "--kernel", "x"]);
    assert_eq!(both.status.code(), Some(2), "{}", stderr(&both));
}

#[test]
fn an_interrupted_publisher_removes_what_it_created() {
    if !have(&["docker-registry", "curl"]) {
        return;
    }
    let directory = directory();
    let (tarball, tree) = tarball_and_tree(directory.path());
    let server = Registry::default().start();
    // Every upload succeeds. The response for the tarball's manifest comes after the signal.
    let upstream = server.port;
    let (sender, reached) = std::sync::mpsc::channel();
    let (go_on, wait) = std::sync::mpsc::channel();
    let between = std::sync::Mutex::new((sender, wait));
    let proxy = odd(move |head, _, client| {
        let line = head.lines().next().unwrap_or_default();
        if line.starts_with("PUT /v2/os/image/manifests/tarball-") {
            let between = between.lock().unwrap();
            let _ = between.0.send(());
            let _: Result<(), _> = between.1.recv();
        }
        let _ = crate::servers::pass_on(head, client, upstream);
    });
    let mut command = osimg(directory.path());
    command
        .arg("publish")
        .arg(&tarball)
        .args(allowing(&tarball))
        .args(["--registry", &format!("oci:127.0.0.1:{proxy}/os/image"), "--tree"])
        .arg(&tree);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    reached.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap()),
        nix::sys::signal::Signal::SIGINT,
    )
    .unwrap();
    go_on.send(()).unwrap();
    drop(go_on);
    let done = child.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(130), "{}", stderr(&done));
    assert!(stderr(&done).contains("nothing was published"), "{}", stderr(&done));
    let tags = output(
        Command::new("curl")
            .args(["-s", &format!("http://127.0.0.1:{upstream}/v2/os/image/tags/list")]),
    );
    assert!(!tags.contains("kernel-") && !tags.contains("web-1"), "{tags}");
}

#[test]
fn a_large_set_is_streamed_with_little_memory() {
    if !have(&["docker-registry"]) {
        return;
    }
    let directory = directory();
    let (tarball, tree) = tarball_and_tree(directory.path());
    let large = write(directory.path(), "large.img", &stage2(300 << 20));
    let server = Registry::default().start();
    let path = |name: &str| tree.join(name).display().to_string();
    let mut command = osimg(directory.path());
    command
        .arg("publish")
        .arg(&tarball)
        .args(allowing(&tarball))
        .args(["--registry", &format!("oci:127.0.0.1:{}/os/image", server.port)]);
    command
        .args([
            "--kernel",
            &path("images/pxeboot/vmlinuz"),
            "--ramdisk",
            &path("images/pxeboot/initrd.img"),
            "--stage2",
        ])
        .arg(&large);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    // WNOWAIT keeps the process, and with it /proc/PID, until it is reaped. VmHWM is gone by then,
    // so the peak is sampled while it runs.
    let mut peak = 0;
    let flags = nix::sys::wait::WaitPidFlag::WEXITED
        | nix::sys::wait::WaitPidFlag::WNOHANG
        | nix::sys::wait::WaitPidFlag::WNOWAIT;
    while nix::sys::wait::waitid(nix::sys::wait::Id::Pid(pid), flags).unwrap()
        == nix::sys::wait::WaitStatus::StillAlive
    {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let high = status.lines().find_map(|line| {
            line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        });
        peak = peak.max(high.unwrap_or(0));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(child.wait_with_output().unwrap().status.success());
    println!("peak: {peak} kB");
    assert!(peak > 1_000 && peak < 40_000, "{peak} kB");
}
