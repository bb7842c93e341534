//! The demo distribution's tarball in an emulated machine: it boots without errors. A failure is
//! reported and leaves nothing on the host.
#![expect(clippy::disallowed_methods, reason = "tests run the program as a user does")]

mod nested;
mod site;

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const OSIMG: &str = env!("CARGO_BIN_EXE_osimg");
/// A long limit, because an emulated machine on a busy host is slow.
const PATIENCE: &str = "15m";
/// Units of the demo distribution that may fail in a machine without network, each with the
/// reason.
const MAY_FAIL: [&str; 2] = [
    // There is no DHCP server.
    "NetworkManager-wait-online.service",
    // Under emulation it may exceed its start limit.
    "cloud-init.service",
];

/// Prints why a test cannot run here. Where the tests are required, this fails the test.
fn skip(why: &str) {
    println!("SKIPPED: {why}");
    assert_ne!(
        std::env::var("OSIMG_REQUIRE_PRIVILEGED").as_deref(),
        Ok("1"),
        "a required test cannot run: {why}"
    );
}

fn can_run() -> bool {
    if !nix::unistd::geteuid().is_root() {
        skip("it requires root");
        return false;
    }
    for tool in ["qemu-system-x86_64", "mkfs.ext4", "setfacl", "setcap", "setfattr", "tar"] {
        if osimg::process::find_program(tool).is_none() {
            skip(&format!("{tool} is not installed"));
            return false;
        }
    }
    true
}

fn directory() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("boot-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .expect("a temporary directory")
}

/// The settings of the demo distribution.
fn demo_settings() -> Option<PathBuf> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory =
        std::env::var_os("OSIMG_DEMO_REPO").map_or_else(|| home.join(".demo/repo"), PathBuf::from);
    let settings = directory.join("osimg-demo.toml");
    if settings.is_file() {
        return Some(settings);
    }
    skip("there is no demo distribution: make demo");
    None
}

/// The failed units, without those that may fail here.
fn failed_units(checks: &Value) -> Vec<&str> {
    let failed = strings(&checks["failed_units"]);
    failed.into_iter().filter(|unit| !MAY_FAIL.contains(unit)).collect()
}

/// The image of the demo distribution: from out/, or else built here from its repository.
fn image(directory: &Path) -> Option<PathBuf> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let named = std::env::var_os("OSIMG_BOOT_TARBALL").map(PathBuf::from);
    if let Some(found) =
        named.into_iter().chain([home.join("out/baremetal-latest.tgz")]).find(|path| path.is_file())
    {
        return Some(found);
    }
    let settings = demo_settings()?;
    let tarball = directory.join("image.tgz");
    let built = Command::new(OSIMG)
        .arg("build")
        .arg(home.join("baremetal.yum"))
        .args(["--settings".as_ref(), settings.as_os_str(), "--level".as_ref(), "fast".as_ref()])
        .args([
            "--cache".as_ref(),
            directory.join("cache").as_os_str(),
            "-o".as_ref(),
            tarball.as_os_str(),
        ])
        .status()
        .expect("osimg runs");
    assert!(built.success());
    Some(tarball)
}

/// An image with only a kernel and its initramfs. The initramfs finds no init on the disk.
fn image_without_init(image: &Path, directory: &Path) -> PathBuf {
    let tree = directory.join("image_without_init");
    std::fs::create_dir(&tree).expect("a directory");
    let run = |arguments: &[&std::ffi::OsStr]| {
        assert!(Command::new("tar").args(arguments).status().expect("tar runs").success())
    };
    run(&[
        "-xf".as_ref(),
        image.as_ref(),
        "-C".as_ref(),
        tree.as_ref(),
        "--wildcards".as_ref(),
        "./boot/vmlinuz-*".as_ref(),
        "./boot/initramfs-*".as_ref(),
    ]);
    std::fs::create_dir(tree.join("etc")).expect("a directory");
    let tarball = directory.join("image_without_init.tar");
    run(&["-cf".as_ref(), tarball.as_ref(), "-C".as_ref(), tree.as_ref(), ".".as_ref()]);
    tarball
}

fn strings(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .unwrap_or_else(|| panic!("a list, not {value}"))
        .iter()
        .filter_map(Value::as_str)
        .collect()
}

#[test]
fn the_demo_image_boots_with_selinux_enforcing_and_has_its_labels_capabilities_and_acls() {
    if !can_run() {
        return;
    }
    let directory = directory();
    let Some(image) = image(directory.path()) else { return };
    let tarball = nested::with_more(&image, directory.path());
    let began = Instant::now();
    let output = Command::new(OSIMG)
        .args([
            "--json",
            "boot",
            "--selinux",
            "enforcing",
            "--accel",
            "tcg",
            "--timeout",
            PATIENCE,
            "--unit",
            "ssh.service",
        ])
        .args(["--unit", nested::UNIT])
        .arg(&tarball)
        .stderr(Stdio::inherit())
        .output()
        .expect("osimg runs");
    println!("the trial took {} s", began.elapsed().as_secs());
    let trial: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", output.status));
    println!("{trial:#}");
    let checks = &trial["checks"];

    assert_eq!(trial["tar"]["status"], 0);
    assert_eq!(strings(&trial["tar"]["stderr"]), [""; 0]);
    assert!(trial["labels_compared"].as_u64().expect("a number") > 10_000);
    assert_eq!(strings(&trial["wrong_labels_unpacked"]), [""; 0]);

    assert!(
        trial["seconds_to_login"].as_f64().is_some_and(|seconds| seconds > 0.0),
        "the login prompt appeared"
    );
    assert_eq!(failed_units(checks), [""; 0]);
    assert_eq!(strings(&checks["inactive_units"]), [""; 0]);

    assert_eq!(checks["selinux"]["mode"], "enforcing");
    assert_eq!(checks["selinux"]["init"], "system_u:system_r:init_t:s0", "the policy is loaded");
    assert_eq!(checks["selinux"]["labels_checked"], true);
    assert_eq!(strings(&checks["selinux"]["wrong_labels"]), [""; 0]);
    assert_eq!(strings(&checks["selinux"]["denials_of_unlabelled"]), [""; 0]);

    assert!(
        strings(&checks["capabilities"]).contains(&"/usr/bin/ping cap_net_raw=ep"),
        "{}",
        checks["capabilities"]
    );
    assert!(
        strings(&checks["acls"])
            .iter()
            .any(|line| line.starts_with("/srv/shared ") && line.contains("4711")),
        "{}",
        checks["acls"]
    );
    let other: Vec<_> = strings(&checks["rpm"]["lines"])
        .into_iter()
        .filter(|line| !line.contains(" c /etc/"))
        .collect();
    assert_eq!(other, [""; 0], "rpm -Va finds only configuration");
    assert_eq!(checks["rpm"]["complete"], true);
    assert_eq!(
        output.status.code(),
        Some(if strings(&trial["findings"]).is_empty() { 0 } else { 10 })
    );
}

/// Processes with the word in their command line.
fn running_with(word: &str) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc")
        .expect("proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes())
    })
    .collect()
}

/// The files of this host's loop devices.
fn files_of_loop_devices() -> Vec<String> {
    let blocks = std::fs::read_dir("/sys/block").expect("sysfs").filter_map(Result::ok);
    blocks
        .filter_map(|block| std::fs::read_to_string(block.path().join("loop/backing_file")).ok())
        .collect()
}

#[test]
fn a_machine_that_does_not_boot_is_stopped_and_reported_and_leaves_nothing_even_if_osimg_is_killed()
{
    if !can_run() {
        return;
    }
    let directory = directory();
    let Some(image) = image(directory.path()) else { return };
    let tarball = image_without_init(&image, directory.path());
    let work = directory.path().join("work");
    std::fs::create_dir(&work).expect("a directory");
    let osimg = |arguments: &[&str]| {
        let mut command = Command::new(OSIMG);
        command
            .args(["boot", "--accel", "tcg", "--workdir"])
            .arg(&work)
            .arg(&tarball)
            .args(arguments);
        command
    };
    let backed = || {
        files_of_loop_devices()
            .into_iter()
            .filter(|file| file.contains(&*work.to_string_lossy()))
            .count()
    };

    // The limit passes long before an emulated kernel starts init.
    let output = osimg(&["--timeout", "4s"]).output().expect("osimg runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(124), "{stderr}");
    assert!(stderr.contains("the time limit of 4 s passed (no login prompt)"), "{stderr}");
    assert_eq!(std::fs::read_dir(&work).expect("the directory").count(), 0, "the workdir is gone");

    // No other machine has this size, so the processes can be distinguished from others.
    let mut child = osimg(&["-v", "--memory", "777"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("osimg runs");
    let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let seen: Vec<String> =
        lines.map_while(Result::ok).take_while(|line| !line.contains("Linux version")).collect();
    assert!(!running_with("777").is_empty(), "{}", seen.join("\n"));
    child.kill().expect("killed");
    child.wait().expect("waited");
    let patience = Instant::now();
    while !running_with("777").is_empty() || backed() > 0 {
        assert!(
            patience.elapsed() < Duration::from_secs(30),
            "{:?} still run, {} loop devices",
            running_with("777"),
            backed()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn an_image_without_an_init_is_a_finding() {
    if !can_run() {
        return;
    }
    let directory = directory();
    let Some(image) = image(directory.path()) else { return };
    let output = Command::new(OSIMG)
        .args(["--json", "boot", "--accel", "tcg", "--timeout", PATIENCE])
        .arg(image_without_init(&image, directory.path()))
        .output()
        .expect("osimg runs");
    assert_eq!(output.status.code(), Some(10), "{}", String::from_utf8_lossy(&output.stderr));
    let trial: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(trial["healthy"], false);
    assert!(
        strings(&trial["findings"]).contains(&"the machine ended before its checks were done"),
        "{trial:#}"
    );
    assert!(trial["checks"].is_null());
}

#[test]
fn a_host_without_qemu_gets_a_hint_what_to_install() {
    if !can_run() {
        return;
    }
    let directory = directory();
    let tarball = directory.path().join("x.tar");
    std::fs::write(&tarball, [0; 10240]).expect("an empty archive");
    // In a separate mount namespace, a file that is not a program replaces QEMU.
    let script = "mount --make-rprivate / && mount --bind /dev/null \"$(command -v \
                  qemu-system-x86_64)\" && exec \"$0\" boot \"$1\"";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-ec", script, OSIMG])
        .arg(&tarball)
        .output()
        .expect("unshare runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{stderr}");
    assert!(stderr.contains("hint: install it: apt-get install qemu-system-x86"), "{stderr}");
}
