//! A site's image: customizations and a script on the demo distribution, seen in the running
//! machine. Its user logs in with a key over a network between two namespaces of the machine, for
//! `osimg boot` connects it to nothing else.
#![expect(clippy::disallowed_methods, reason = "tests run the program as a user does")]

use super::{OSIMG, PATIENCE, can_run, demo_settings, directory, failed_units, skip, strings};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const SETTINGS: &str = r#"
include = ["@DEMO@"]

[customizations]
hostname = "node.example.org"
remove = ["/usr/share/doc/*"]

[customizations.kernel]
append = "nosmt=force"

[customizations.services]
enabled = ["site-login", "ssh"]
masked = ["debug-shell"]
default_target = "multi-user.target"

[customizations.firewall]
ports = ["8080:tcp"]

[[customizations.user]]
name = "jane"
key = "@KEY@"
groups = ["sudo"]

[[customizations.files]]
path = "/etc/site/key"
source = "key"
mode = "0600"

[[customizations.files]]
path = "/etc/site/login"
source = "login.sh"

[[customizations.files]]
path = "/etc/systemd/system/site-login.service"
source = "site-login.service"

[[script]]
name = "release"
when = "last"
run = "echo built > /etc/site/release"
"#;

/// Is active only if everything in [`LOGIN`] is as expected.
const UNIT: &str = "[Unit]
After=ssh.service firewalld.service
Wants=ssh.service
[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutStartSec=600
ExecStart=/bin/sh -c '/bin/sh -eux /etc/site/login > /run/login 2>&1 || { cat /run/login > \
/dev/console; exit 1; }'
[Install]
WantedBy=multi-user.target
";

const LOGIN: &str = r#"export PATH=/usr/sbin:/usr/bin:/sbin:/bin
ip netns add outside
ip link add inside type veth peer name outside netns outside
ip address add 192.0.2.1/24 dev inside
ip link set inside up
ip netns exec outside ip address add 192.0.2.2/24 dev outside
ip netns exec outside ip link set outside up
login() {
    ip netns exec outside ssh -i /etc/site/key -o BatchMode=yes -o ConnectTimeout=60 \
        -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "$@"
}
test "$(login jane@192.0.2.1 'id -un; hostname; cat /etc/site/release')" = "jane
node.example.org
built"
if login root@192.0.2.1 true; then exit 1; fi
sshd -T -C user=jane,host=x,addr=192.0.2.2 | grep -x 'pubkeyauthentication yes'
grub2-mkconfig > /run/grub.cfg
grep 'linux.*/boot/vmlinuz.* nosmt=force' /run/grub.cfg
"#;

/// Packaged files that the customizations change.
const CUSTOMISED: [&str; 5] =
    ["/etc/default/grub", "/etc/group", "/etc/gshadow", "/etc/passwd", "/etc/shadow"];

fn build(demo: &Path, directory: &Path) -> PathBuf {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "jane@example.org", "-f"])
        .arg(directory.join("key"))
        .status()
        .expect("ssh-keygen runs");
    assert!(made.success());
    let write = |name: &str, text: &str| {
        std::fs::write(directory.join(name), text).expect("a file of the settings");
    };
    let key = std::fs::read_to_string(directory.join("key.pub")).expect("the public key");
    write("login.sh", LOGIN);
    write("site-login.service", UNIT);
    let demo = demo.display().to_string();
    write("site.toml", &SETTINGS.replace("@DEMO@", &demo).replace("@KEY@", key.trim()));
    let tarball = directory.join("site.tgz");
    let built = Command::new(OSIMG)
        .arg("build")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("baremetal.yum"))
        .arg("--settings")
        .arg(directory.join("site.toml"))
        .arg("--cache")
        .arg(directory.join("cache"))
        .args(["--level", "fast", "-o"])
        .arg(&tarball)
        .status()
        .expect("osimg runs");
    assert!(built.success());
    tarball
}

#[test]
fn the_user_of_a_site_image_logs_in_its_service_runs_and_rpm_reports_only_what_was_customised() {
    if !can_run() {
        return;
    }
    if osimg::process::find_program("ssh-keygen").is_none() {
        return skip("ssh-keygen is not installed");
    }
    let Some(demo) = demo_settings() else { return };
    let directory = directory();
    let tarball = build(&demo, directory.path());
    let output = Command::new(OSIMG)
        .args(["--json", "-v", "boot", "--accel", "tcg", "--timeout", PATIENCE])
        .args(["--unit", "site-login.service", "--unit", "ssh.service"])
        .arg(&tarball)
        .stderr(Stdio::inherit())
        .output()
        .expect("osimg runs");
    let trial: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", output.status));
    println!("{trial:#}");
    let checks = &trial["checks"];
    assert_eq!(strings(&checks["inactive_units"]), [""; 0]);
    assert_eq!(failed_units(checks), [""; 0]);
    assert_eq!(checks["rpm"]["complete"], true);
    let removed = |line: &str| line.starts_with("missing") && line.contains(" /usr/share/doc/");
    let reported: Vec<&str> =
        strings(&checks["rpm"]["lines"]).into_iter().filter(|line| !removed(line)).collect();
    let mut changed: Vec<&str> =
        reported.iter().map(|line| line.rsplit(' ').next().unwrap_or_default()).collect();
    changed.sort_unstable();
    assert_eq!(changed, CUSTOMISED, "{reported:?}");
    assert!(reported.iter().all(|line| line.contains(" c /etc/")), "{reported:?}");
}
