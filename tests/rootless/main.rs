//! Builds by an ordinary user: the same bytes and the same sandbox as root's, nothing left over,
//! and a clear message if a build is not possible.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by a panic, and runs the programs that judge"
)]

#[path = "../support/mod.rs"]
mod support;

mod container;
mod user;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};
use support::repo::{Package, Repo, When};
use support::{breakout, require_root, skip};
use user::{Subordinate, User, digest, members, run};

const RECIPE: &str = "install odd\nts run\n";

/// Everything that is easily lost without root: owners, special modes, capabilities, files that a
/// scriptlet makes unreadable.
fn odd(repo: Repo) -> Repo {
    repo.package(
        Package::named("odd")
            .file("/usr/bin/setuid", "x", 0o4755, "root:root")
            .file("/usr/bin/helper", "x", 0o4750, "root:app")
            .file("/usr/bin/capable", "x", 0o755, "root:root")
            .caps("cap_net_raw=ep")
            .file("/usr/share/owned", "x", 0o640, "app:app")
            .file("/usr/share/unreadable", "x", 0o000, "app:root")
            .directory("/usr/share/sticky", 0o1777)
            .link("/usr/share/dangling", "/no/such/place")
            .scriptlet(
                When::Post,
                "mkdir -p /var/lib/locked/deep && echo secret > /var/lib/locked/deep/file\nchmod \
                 000 /var/lib/locked/deep/file /var/lib/locked/deep /var/lib/locked\ncat \
                 /proc/cmdline > /usr/cmdline\ncat /sys/class/dmi/id/* /sys/firmware/dmi/*/* \
                 /sys/devices/virtual/dmi/id/modalias /sys/class/block/*/size \
                 /sys/block/loop0/size /sys/class/block/loop0/size \
                 /sys/devices/virtual/block/loop0/size > /usr/machine 2> /dev/null || true\n",
            ),
    )
}

/// The packages of [`odd`]; one of them gives files to another user during its installation.
fn with_giver(repo: Repo) -> Repo {
    odd(repo).package(Package::named("giver").requires("odd").scriptlet(
        When::Post,
        "busybox mkdir -p /var/lib/given/deep; echo x > /var/lib/given/file; busybox chown -R \
         998:997 /var/lib/given\nbusybox chown 65534 /etc/os-release; chmod 700 \
         /var/lib/given/deep /var/lib/given\n",
    ))
}

#[test]
fn a_user_with_subordinate_ids_builds_the_same_tarball_as_root() {
    if !require_root() {
        return;
    }
    let user = User::new(Subordinate::Range, with_giver);
    let recipe = "install giver\nts run\n";
    let roots = user.build_as_root("root", recipe);
    let (in_memory, stderr) = user.build("memory", recipe, &[]);
    assert!(stderr.contains("in a user namespace with 65537 ids"), "{stderr}");
    let work = user.path().join("work");
    let (on_disk, _) = user.build("disk", recipe, &["--workdir", work.to_str().unwrap()]);
    let listed = members(&roots);
    for (mode, owners, name) in [
        ("-rwsr-x---", "0/997", "./usr/bin/helper"),
        ("-rw-r-----", "998/997", "./usr/share/owned"),
        ("d---------", "0/0", "./var/lib/locked/"),
        ("drwx------", "998/997", "./var/lib/given/deep/"),
        ("-rw-r--r--", "65534/0", "./etc/os-release"),
    ] {
        let found = listed
            .iter()
            .any(|line| line.starts_with(mode) && line.contains(owners) && line.ends_with(name));
        assert!(found, "{mode} {owners} {name}: {listed:#?}");
    }
    assert_eq!(members(&in_memory), listed);
    assert_eq!((digest(&in_memory), digest(&on_disk)), (digest(&roots), digest(&roots)));
    assert_eq!(in_memory.metadata().unwrap().uid(), user.uid, "the artifact is the user's own");
    assert!(
        user.path().join(".cache/osimg").is_dir(),
        "packages are kept in the user's own directory"
    );
    user.nothing_is_left();
}

/// Every way in which a scriptlet can change the owner of a file, and what it sees afterwards.
const GIVEAWAYS: &str = "set -e\nbusybox mkdir -p /var/lib/all/real /var/lib/all/moved; cd \
    /var/lib/all; busybox ln \
     -s real via; busybox ln -s /var/lib/all/real /var/lib/abs\nfor name in one two three four \
     five six setuid; do echo $name > real/$name; done\nbusybox chown 901 via/one; busybox chown \
     :902 /var/lib/abs/two; busybox chown -h 903:904 via; busybox chown 905:906 \
     ./real/../real/three\nexec 3< real/four; busybox chown 907:908 /proc/self/fd/3; exec \
     3<&-\nbusybox chmod 4755 real/setuid; busybox chown 909:910 real/setuid\nbusybox cp -p \
     real/three copied; busybox ln real/three linked; busybox mv real/two moved/two\nbusybox \
     chown 911:912 real/five; busybox chown 0 real/five; busybox chown 913 real/six; busybox \
     chown 0:0 real/six\ni=0; while test $i -lt 50; do echo x > gone; busybox chown 914:915 gone; \
     busybox rm gone; echo y > fresh$i; i=$((i+1)); done\nif busybox chown 916 /no/such/file \
     2>/dev/null; then echo no error > reported; fi\nbusybox mkdir -p lists; (cd lists; busybox \
     chown -R 917:918 .; echo later > later)\nbusybox stat -c '%u:%g %a %n' real/* via copied \
     linked moved/two lists lists/later /etc/os-release > seen\n";

/// The packages of [`odd`], and one with [`GIVEAWAYS`].
fn with_all_giveaways(repo: Repo) -> Repo {
    with_giver(repo)
        .package(Package::named("generous").requires("giver").scriptlet(When::Post, GIVEAWAYS))
}

/// Accounts, and files of several owners.
const CUSTOMISED: &str = r#"
[[customizations.group]]
name = "operators"
[[customizations.user]]
name = "jane"
key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK3A/4lLrCf3XK+T6o1hgWKYrafEvHol2VPeQUMMUAHy jane@a.b"
groups = ["operators", "app"]
[[customizations.files]]
path = "/etc/owned"
data = "x"
mode = "4750"
user = "app"
group = "operators"
[[customizations.directories]]
path = "/etc/shared"
mode = "2770"
user = "jane"
"#;

/// A script that gives files away and takes one back.
const GIVING: &str = r#"
[[script]]
when = "last"
run = """
busybox chown 998:997 /etc/shared
busybox chown 0:0 /usr/share/owned
echo x > /etc/shared/new
busybox chown 1000:0 /etc/shared/new
"""
"#;

#[test]
fn customizations_have_the_same_bytes_for_root_and_for_users_with_many_ids_and_with_one() {
    if !require_root() {
        return;
    }
    for subordinate in [Subordinate::Range, Subordinate::Nothing] {
        let user = User::new(subordinate, odd);
        let settings = user.path().join("repo/settings.toml");
        fs::write(&settings, fs::read_to_string(&settings).unwrap() + CUSTOMISED).unwrap();
        // A single id keeps no owners that a script gives.
        let scripted = subordinate == Subordinate::Range;
        if scripted {
            fs::write(&settings, fs::read_to_string(&settings).unwrap() + GIVING).unwrap();
        }
        let roots = user.build_as_root("root", RECIPE);
        let listed = members(&roots);
        for (mode, owners, name) in [
            ("-rwsr-x---", "998/1000", "./etc/owned"),
            ("drwxrws---", if scripted { "998/997" } else { "1000/0" }, "./etc/shared/"),
            ("-rw-r-----", if scripted { "0/0" } else { "998/997" }, "./usr/share/owned"),
            ("-rw-------", "1000/100 ", "./home/jane/.ssh/authorized_keys"),
        ] {
            let found = listed.iter().any(|line| {
                line.starts_with(mode) && line.contains(owners) && line.ends_with(name)
            });
            assert!(found, "{mode} {owners} {name}: {listed:#?}");
        }
        let (own, _) = user.build("own", RECIPE, &[]);
        assert_eq!(members(&own), listed, "{subordinate:?}");
        assert_eq!(digest(&own), digest(&roots), "{subordinate:?}");
    }
}

#[test]
fn a_user_with_a_single_id_builds_the_same_tarball_as_root() {
    if !require_root() {
        return;
    }
    let user = User::new(Subordinate::Nothing, with_all_giveaways);
    let work = user.path().join("work");
    let recipe = "install generous\nts run\n";
    let roots = user.build_as_root("root", recipe);
    let seen = String::from_utf8(run(Command::new("tar")
        .arg("-xOf")
        .arg(&roots)
        .arg("./var/lib/all/seen")))
    .unwrap();
    // The scriptlet sees this in a build by root, so the test is not empty.
    for line in [
        "901:0 644 real/one",
        "905:906 644 copied",
        "909:910 755 real/setuid",
        "0:902 644 moved/two",
        "0:912 644 real/five",
    ] {
        assert!(seen.lines().any(|found| found == line), "{line}: {seen}");
    }
    // On a file system that reuses inode numbers, and on one that does not.
    for (name, words) in [("disk", &["--workdir", work.to_str().unwrap()][..]), ("memory", &[])] {
        let (single, stderr) = user.build(name, recipe, words);
        assert!(stderr.contains("warning: building without root and with a single id"), "{stderr}");
        assert!(
            !stderr.contains("not root:app") && !stderr.contains("not app:"),
            "the owners of the packages exist: {stderr}"
        );
        assert_eq!(members(&single), members(&roots), "{name}");
        assert_eq!(digest(&single), digest(&roots), "{name}");
    }
    // Owners set in a later transaction are recorded in addition to earlier ones.
    let recipe = "install giver\nts run\ninstall generous\nts run\n";
    let roots = user.build_as_root("two-roots", recipe);
    let (single, _) = user.build("two", recipe, &[]);
    assert_eq!(members(&single), members(&roots));
    user.nothing_is_left();
}

#[test]
fn a_signal_that_cannot_be_passed_on_to_a_traced_process_ends_the_build_with_a_clear_message() {
    if !require_root() {
        return;
    }
    let user = User::new(Subordinate::Nothing, |repo| {
        odd(repo).package(Package::named("loud").scriptlet(When::Post, "busybox kill -40 $$\n"))
    });
    let (image, words) = user.words("loud", "install loud\nts run\n", &[]);
    let program = user.path().join("osimg");
    let all: Vec<&str> =
        [program.to_str().unwrap()].into_iter().chain(words.iter().map(String::as_str)).collect();
    let output = user.command(&all).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{stderr}");
    assert!(
        stderr.contains("a process was sent the signal 40")
            && stderr.contains("hint: with subordinate ids"),
        "{stderr}"
    );
    assert!(!image.exists());
    user.nothing_is_left();
}

#[test]
fn without_tracing_the_packages_decide_the_owners_and_a_warning_is_shown() {
    if !require_root() {
        return;
    }
    let user = User::new(Subordinate::Nothing, with_giver);
    // osimg cannot trace processes that another program already traces.
    let build = |name: &str, recipe: &str| {
        let (image, words) = user.words(name, recipe, &[]);
        let program = user.path().join("osimg");
        let traced = [
            "strace",
            "-f",
            "-qq",
            "-e",
            "trace=none",
            "-o",
            "/dev/null",
            program.to_str().unwrap(),
        ];
        let output = user
            .command(
                &traced.into_iter().chain(words.iter().map(String::as_str)).collect::<Vec<_>>(),
            )
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{stderr}");
        assert!(
            stderr.contains(
                "warning: tracing is not possible on this host: owners are taken from the packages"
            ),
            "{stderr}"
        );
        image
    };
    assert_eq!(
        digest(&build("plain", RECIPE)),
        digest(&user.build_as_root("plain-root", RECIPE)),
        "only packages set owners: the same bytes"
    );
    let recipe = "install giver\nts run\n";
    let roots = members(&user.build_as_root("given-root", recipe));
    let given = members(&build("given", recipe));
    let differing: Vec<String> = given
        .iter()
        .zip(&roots)
        .filter(|(a, b)| a != b)
        .map(|(a, _)| a.rsplit(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(
        differing,
        ["./etc/os-release", "./var/lib/given/", "./var/lib/given/deep/", "./var/lib/given/file"]
    );
}

#[test]
fn scriptlets_in_a_build_by_a_user_are_confined_as_in_a_build_by_root() {
    if !require_root() {
        return;
    }
    let canary = tempfile::NamedTempFile::new_in("/var/tmp").unwrap();
    let probe = format!(
        "exec > /etc/probe\nbusybox grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' \
         /proc/self/status\nbusybox mount -t tmpfs none /mnt 2>/dev/null && echo mounted\nbusybox \
         unshare -U true 2>/dev/null && echo unshared\nbusybox mknod /disk b 7 0 2>/dev/null && \
         echo made a device\ntest -e /proc/1/root{canary} && echo the host is seen\nbusybox ls \
         /sys/class/net /proc/sys/kernel/hostname /dev | busybox tr '\\n' ' '\necho x > \
         /proc/sys/kernel/hostname 2>/dev/null && echo wrote\ntrue\n",
        canary = canary.path().display()
    );
    let user = User::new(Subordinate::Range, |repo| {
        repo.package(Package::named("odd").scriptlet(When::Post, &probe))
    });
    let roots = user.build_as_root("root", RECIPE);
    let (image, _) = user.build("user", RECIPE, &[]);
    let read = |image: &Path| {
        String::from_utf8(run(Command::new("tar").arg("-xOf").arg(image).arg("./etc/probe")))
            .unwrap()
    };
    let found = read(&image);
    assert_eq!(found, read(&roots), "the same view as root's");
    for line in
        ["CapEff:\t00000000800400df", "CapBnd:\t00000000800400df", "NoNewPrivs:\t1", "Seccomp:\t2"]
    {
        assert!(found.contains(line), "{found}");
    }
    for line in ["mounted", "unshared", "made a device", "the host is seen", "wrote"] {
        assert!(!found.contains(line), "{found}");
    }
}

#[test]
fn a_scriptlet_that_leaves_the_chroot_cannot_change_the_user_s_files() {
    if !require_root() {
        return;
    }
    for ids in [Subordinate::Range, Subordinate::Nothing] {
        let user = User::new(ids, |repo| repo.package(breakout::package()));
        user.build("first", "install shell\nts run\n", &[]);
        let shared = [".cache/osimg", "repo"]
            .map(|name| user.path().join(name))
            .map(|directory| (breakout::snapshot(&directory), directory));
        let (image, _) = user.build("second", "install breakout\nts run\n", &[]);
        let report = run(Command::new("tar").arg("-xOf").arg(&image).arg(breakout::REPORT));
        breakout::judge(&String::from_utf8(report).unwrap());
        shared.iter().for_each(|(before, directory)| breakout::unchanged(before, directory));
        user.nothing_is_left();
    }
}

#[test]
fn files_left_by_a_killed_build_of_a_user_are_removed_whatever_their_owner() {
    if !require_root() {
        return;
    }
    let user = User::new(Subordinate::Range, |repo| {
        with_giver(repo).package(
            Package::named("slow").requires_first("giver").scriptlet(When::Post, "sleep 1000"),
        )
    });
    let work = user.path().join("work");
    let (_, words) =
        user.words("image", "install slow\nts run\n", &["--workdir", work.to_str().unwrap()]);
    let program = user.path().join("osimg");
    let all: Vec<&str> =
        [program.to_str().unwrap()].into_iter().chain(words.iter().map(String::as_str)).collect();
    let mut child = user.command(&all).spawn().unwrap();
    let foreign = |root: &Path| {
        root.join("var/lib/given/file").symlink_metadata().is_ok_and(|m| m.uid() > 1_000_000_000)
    };
    let workdir = wait_for("the scriptlets' files", || {
        let entry = fs::read_dir(&work).ok()?.flatten().next()?.path();
        // The last scriptlet runs after the previous one has changed the owner of its files.
        (foreign(&entry.join("root")) && sleeps(&program)).then_some(entry)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for("the end of the sandbox", || (!sleeps(&program)).then_some(()));
    fs::File::open(&workdir)
        .unwrap()
        .set_modified(SystemTime::now() - Duration::from_secs(3600))
        .unwrap();
    // Removal must not cross mounts: the user's directory next to it must still exist.
    let output = user.osimg(&["doctor", "--clean", "--workdir", work.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains(workdir.to_str().unwrap()));
    user.nothing_is_left();
}

/// Whether a process with `sleep 1000` runs in a sandbox of the program.
fn sleeps(program: &Path) -> bool {
    let mark = program.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        read("cmdline").contains("sleep\x001000") && read("mountinfo").contains(&mark)
    })
}

fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_container_s_root_that_may_not_mount_builds_in_its_own_user_namespace() {
    if !require_root() {
        return;
    }
    let user = User::new(Subordinate::Nothing, with_giver);
    let recipe = "install giver\nts run\n";
    let roots = user.build_as_root("root", recipe);
    let cache = user.path().join("other-cache");
    let (image, words) = user.words("container", recipe, &["--cache", cache.to_str().unwrap()]);
    let dropped = ["--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin", "--"];
    run(Command::new("setpriv").args(dropped).arg(user.path().join("osimg")).args(&words));
    assert_eq!(digest(&image), digest(&roots));
}

#[test]
fn missing_user_namespaces_are_reported_with_reason_and_fix() {
    if !require_root() {
        return;
    }
    let user = User::new(Subordinate::Nothing, odd);
    let (image, words) =
        user.words("image", RECIPE, &["--cache", user.path().join("c").to_str().unwrap()]);
    // A limit of this one namespace: the host's is not touched.
    let line = "echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set \
                -sys_admin --inh-caps -sys_admin -- \"$@\"";
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "sh", "-c", line, "sh"])
        .arg(user.path().join("osimg"));
    let output = command.args(&words).args(["--isolation", "full"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{stderr}");
    assert!(
        stderr.contains("making a user namespace")
            && stderr.contains("hint: allow some: sysctl user.max_user_namespaces"),
        "{stderr}"
    );
    assert!(!image.exists());
}

#[test]
fn doctor_creates_a_real_user_namespace_and_names_missing_subordinate_ids() {
    if !require_root() {
        return;
    }
    let findings = |user: &User| -> serde_json::Value {
        let output = user.osimg(&["doctor", "--json"]);
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)))
    };
    let of = |all: &serde_json::Value, check: &str| {
        all["findings"]
            .as_array()
            .unwrap()
            .iter()
            .find(|f| f["check"] == check)
            .unwrap_or_else(|| panic!("{check}: {all}"))
            .clone()
    };
    let rich = findings(&User::new(Subordinate::Range, odd));
    for check in ["privilege", "subordinate ids", "foreign owners", "file capabilities", "sandbox"]
    {
        assert_eq!(of(&rich, check)["works"], true, "{rich}");
    }
    assert!(of(&rich, "foreign owners")["found"].as_str().unwrap().contains("65534"));
    let poor = findings(&User::new(Subordinate::Nothing, odd));
    assert!(
        of(&poor, "subordinate ids")["fix"].as_str().unwrap().contains("--add-subuids"),
        "{poor}"
    );
    assert_eq!(of(&poor, "sandbox")["works"], true, "{poor}");
}

#[test]
fn the_demo_distribution_built_by_a_user_is_byte_identical_to_root_s() {
    if !require_root() {
        return;
    }
    let directory = std::env::var_os("OSIMG_DEMO_REPO")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".demo/repo"), PathBuf::from);
    let settings = directory.join("osimg-demo.toml");
    if !settings.exists() {
        skip(&format!("there is no demo distribution in {}: make demo", directory.display()));
        return;
    }
    let recipe =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("baremetal.yum")).unwrap();
    let of = |user: &User, name: &str| {
        let (image, mut words) = user.words(
            name,
            &recipe,
            &["--level", "fast", "--cache", user.path().join(name).to_str().unwrap()],
        );
        let at = words.iter().position(|word| word == "--settings").unwrap();
        words[at + 1] = settings.to_str().unwrap().to_owned();
        (image, words)
    };
    let rich = User::new(Subordinate::Range, odd);
    if rich
        .command(&["test", "-r", settings.to_str().unwrap()])
        .status()
        .is_ok_and(|s| !s.success())
    {
        skip("the demo distribution is in a directory that only root can read");
        return;
    }
    let (roots, words) = of(&rich, "root");
    run(Command::new(rich.path().join("osimg")).args(&words));
    let poor = User::new(Subordinate::Nothing, odd);
    for (user, ids) in [(&rich, "subordinate ids"), (&poor, "a single id")] {
        let (image, words) = of(user, "user");
        let output = user.osimg(&words.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        if digest(&image) != digest(&roots) {
            let roots = members(&roots);
            let differing: Vec<String> =
                members(&image).into_iter().filter(|line| !roots.contains(line)).collect();
            panic!("{ids}: {differing:#?}");
        }
        assert!(members(&image).len() > 20_000);
    }
}

#[test]
fn lock_and_cache_work_without_root() {
    if !require_root() {
        return;
    }
    let user = User::new(Subordinate::Range, odd);
    let (_, words) = user.words("locked", "install odd\nts run\n", &[]);
    let (recipe, settings) = (words[1].as_str(), words[3].as_str());
    let osimg = |words: &[&str]| {
        let output = user.osimg(words);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?}: {stderr}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let lock = user.path().join("out/image.lock");
    let lock = lock.to_str().unwrap();
    osimg(&["lock", recipe, "--settings", settings, "--output", lock]);
    assert!(fs::read_to_string(lock).unwrap().contains("odd-"), "the lock names the package");
    osimg(&["build", recipe, "--settings", settings, "--lock", lock, "--output", "out/locked.tar"]);
    let own = user.path().join(".cache/osimg");
    assert!(osimg(&["cache"]).contains(own.to_str().unwrap()));
}
