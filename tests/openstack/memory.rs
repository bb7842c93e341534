//! A large tarball is streamed: osimg's memory does not grow with it.

use crate::servers::{Api, IMAGES, Servers};
use crate::sets::{Files, succeeds};
use std::io::Write;
use std::process::Command;

/// The limit on osimg's resident memory, in KiB.
const LIMIT: u64 = 30 << 10;
const SIZE: u64 = 200 << 20;

/// Runs a program and prints its peak memory in KiB, as counted by the kernel.
const MEASURE: &str = "import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)";

#[test]
fn publishing_stays_below_30_mib_of_memory() {
    let Some(servers) = Servers::shared(IMAGES) else { return };
    let files = Files::new("large");
    let path = files.path("large-1.tgz");
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(&[0x1F, 0x8B, 8, 0]).unwrap();
    file.set_len(SIZE).unwrap();
    for cloud in ["osimg-demo", "osimg-tls"] {
        let mut command = Command::new("python3");
        command.args(["-c", MEASURE, env!("CARGO_BIN_EXE_osimg"), "publish"]).arg(&path);
        command.args([
            "--registry",
            &format!("glance:{cloud}"),
            "--name",
            &files.name,
            "--allow",
            "damaged",
            "-q",
        ]);
        let output = command.env("OS_CLIENT_CONFIG_FILE", servers.clouds_yaml()).output().unwrap();
        succeeds(&output);
        let most: u64 = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
        println!("{cloud}: {most} KiB for {} MiB", SIZE >> 20);
        assert!(most < LIMIT, "{cloud}: {most} KiB");
        // The store is on a test machine's disk.
        let api = Api::login(servers, "osimg");
        for image in api.images().iter().filter(|image| {
            image["name"].as_str().is_some_and(|name| name.starts_with(&files.name))
        }) {
            api.call(
                "DELETE",
                "image",
                &format!("/v2/images/{}", image["id"].as_str().unwrap()),
                None,
            );
        }
    }
}
