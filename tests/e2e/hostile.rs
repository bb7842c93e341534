//! Packages that attack the build host: with links in places where builds write, with scriptlets
//! and with configuration.

use crate::stage::{Stage, sh};
use crate::support::repo::{Package, When};
use crate::support::{breakout, keys, require_root};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A directory of the host that must not change. Its files have names that builds remove or write.
struct Canary {
    directory: PathBuf,
    before: String,
}

impl Canary {
    fn new(stage: &Stage) -> Self {
        let directory = stage.path().join("canary");
        for name in ["dnf", "yum", "journal", "lib/dnf"] {
            fs::create_dir_all(directory.join(name)).unwrap();
            fs::write(directory.join(name).join("file"), "intact").unwrap();
        }
        for name in ["dnf.log", "machine-id", "null", "hostname", ".rpm.lock"] {
            fs::write(directory.join(name), "intact").unwrap();
        }
        let before = Self::snapshot(&directory);
        Self { directory, before }
    }

    fn snapshot(directory: &Path) -> String {
        sh(
            directory,
            "find . -printf '%p %m %U %G %s %T@ %C@ %l\\n' | sort; find . -type f | sort | xargs \
             sha256sum",
        )
    }

    fn is_intact(&self) {
        assert_eq!(Self::snapshot(&self.directory), self.before);
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }
}

fn with_link(path: &str, target: impl Fn(&Canary) -> String) -> (Stage, Canary) {
    let stage = Stage::empty();
    let canary = Canary::new(&stage);
    let repo = crate::support::repo::Repo::new(&stage.repo());
    repo.package(Package::named("odd").requires("base").link(path, target(&canary))).write();
    (stage, canary)
}

#[test]
fn a_machine_id_that_links_to_a_host_file_becomes_an_empty_file_of_the_image() {
    if !require_root() {
        return;
    }
    let (stage, canary) = with_link("/etc/machine-id", |canary| canary.path("machine-id"));
    stage.build("install odd\nts run\n").succeeds();
    canary.is_intact();
    let listing = sh(stage.path(), "tar -tvf out/image.tgz ./etc/machine-id");
    assert!(listing.starts_with("-r--r--r--"), "{listing}");
    assert_eq!(stage.content("./etc/machine-id"), "");
}

#[test]
fn a_dev_or_run_directory_that_links_to_the_host_is_not_followed() {
    if !require_root() {
        return;
    }
    for path in ["/dev", "/run", "/proc", "/sys"] {
        let (stage, canary) = with_link(path, |canary| canary.path("."));
        let done = stage.build("install odd\nts run\n").run();
        assert!(matches!(done.code, Some(0 | 7)), "{path}: {}", done.stderr);
        canary.is_intact();
        stage.nothing_is_left();
        if done.code == Some(0) {
            let listing = sh(stage.path(), &format!("tar -tvf out/image.tgz .{path}"));
            assert!(listing.starts_with('d') && listing.lines().count() == 1, "{path}: {listing}");
        }
    }
}

#[test]
fn caches_logs_and_state_that_link_to_the_host_stay_links_and_are_not_followed() {
    if !require_root() {
        return;
    }
    for path in [
        "/var/cache",
        "/var/log",
        "/var/lib/dnf",
        "/var/cache/dnf",
        "/var/log/journal",
        "/var/tmp",
        "/tmp",
    ] {
        let (stage, canary) = with_link(path, |canary| canary.path("."));
        let done = stage.build("install odd\nts run\n").run();
        assert!(matches!(done.code, Some(0 | 7)), "{path}: {}", done.stderr);
        canary.is_intact();
        stage.nothing_is_left();
        if done.code == Some(0) {
            let members = stage.members();
            assert!(
                !members.iter().any(|m| m.contains("intact") || m.ends_with("/null")),
                "{path}: {members:?}"
            );
        }
    }
}

#[test]
fn a_database_directory_that_links_to_the_host_is_not_followed() {
    if !require_root() {
        return;
    }
    let (stage, canary) = with_link("/var/lib", |canary| canary.path("."));
    let done = stage.build("install odd\nts run\n").run();
    assert_ne!(done.code, Some(0));
    canary.is_intact();
    stage.nothing_is_left();
}

#[test]
fn files_of_the_settings_do_not_follow_links_out_of_the_image() {
    if !require_root() {
        return;
    }
    let (stage, canary) = with_link("/etc/hostname", |canary| canary.path("hostname"));
    stage.settings(|settings| settings.rest = "[customizations]\nhostname = \"node\"".into());
    stage.build("install odd\nts run\n").succeeds();
    canary.is_intact();
    assert_eq!(stage.content("./etc/hostname"), "node\n");
}

#[test]
fn links_that_a_scriptlet_makes_do_not_lead_out_of_the_image() {
    if !require_root() {
        return;
    }
    let stage = Stage::empty();
    let canary = Canary::new(&stage);
    let body = format!(
        "rm -rf /etc/machine-id /var/log /var/cache; ln -s {0}/machine-id /etc/machine-id; ln -s \
         {0} /var/log; ln -s {0} /var/cache\nln -s ../../../../../../../..{0} /var/tmp2; mkdir -p \
         /var/lib/dbus; ln -s {0}/machine-id /var/lib/dbus/machine-id",
        canary.directory.display()
    );
    crate::support::repo::Repo::new(&stage.repo())
        .package(Package::named("odd").scriptlet(When::Post, &body))
        .write();
    stage.build("install odd\nts run\n").succeeds();
    canary.is_intact();
    assert_eq!(stage.content("./etc/machine-id"), "");
}

#[test]
fn a_scriptlet_cannot_reach_the_host() {
    if !require_root() {
        return;
    }
    let stage = Stage::empty();
    let canary = Canary::new(&stage);
    // Each attempt would change the canary, or reports that it succeeded.
    let body = format!(
        "for p in /proc/[0-9]*/root; do echo x > $p{0}/machine-id; done 2>/dev/null\necho x > \
         {0}/machine-id 2>/dev/null\nbusybox chroot /proc/1/root sh -c 'echo x > {0}/machine-id' \
         2>/dev/null\nbusybox mknod /usr/disk b 254 0 2>/dev/null && echo mknod >> \
         /usr/broken\nbusybox mount -t tmpfs none /mnt 2>/dev/null && echo mount >> \
         /usr/broken\nbusybox unshare -m true 2>/dev/null && echo unshare >> /usr/broken\n(echo 1 \
         > /proc/sys/kernel/printk_ratelimit) 2>/dev/null && echo sysctl >> /usr/broken\n(echo h \
         > /proc/sysrq-trigger) 2>/dev/null && echo sysrq >> /usr/broken\nbusybox hostname evil \
         2>/dev/null && echo hostname >> /usr/broken\nls /dev > /usr/devices; exit 0",
        canary.directory.display()
    );
    crate::support::repo::Repo::new(&stage.repo())
        .package(Package::named("odd").directory("/mnt", 0o755).scriptlet(When::Post, &body))
        .write();
    stage.build("install odd\nts run\n").succeeds();
    canary.is_intact();
    let members = stage.members();
    if members.contains(&"./usr/broken".to_owned()) {
        panic!("a scriptlet got through: {}", stage.content("./usr/broken"));
    }
    let devices = stage.content("./usr/devices");
    for line in devices.lines() {
        assert!(
            [
                "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout",
                "tty", "urandom", "zero", "console", "core"
            ]
            .contains(&line),
            "a scriptlet sees /dev/{line}"
        );
    }
}

#[test]
fn configuration_from_a_package_does_not_affect_the_next_transaction() {
    if !require_root() {
        return;
    }
    let stage = Stage::empty();
    let other = stage.path().join("other");
    let foreign = Package::named("foreign")
        .file("/usr/share/foreign", "x", 0o644, "root:root")
        .signed_by(crate::support::repo::Signature::None);
    crate::support::repo::Repo::new(&other).package(foreign).write();
    let conf = format!(
        "[main]\ngpgcheck=0\n[evil]\nname=evil\nbaseurl=file://{}\ngpgcheck=0\nenabled=1\n",
        other.display()
    );
    let odd = Package::named("odd")
        .requires_first("base")
        .file("/etc/dnf/dnf.conf", conf.clone(), 0o644, "root:root")
        .file("/etc/yum.repos.d/evil.repo", conf, 0o644, "root:root")
        .file("/etc/rpm/macros", "%_pkgverify_level none\n%_dbpath /evil\n", 0o644, "root:root")
        .file("/root/.rpmmacros", "%_pkgverify_level none\n", 0o644, "root:root");
    crate::support::repo::Repo::new(&stage.repo())
        .package(odd)
        .package(Package::named("hello"))
        .write();
    stage
        .build("install odd\nts run\ninstall foreign\nts run\n")
        .fails(7)
        .reports(&["image.yum:3", "foreign"]);
    stage.build("install odd\nts run\ninstall hello\nts run\n").succeeds();
    let manifest = stage.manifest();
    assert_eq!(manifest["repositories"].as_array().unwrap().len(), 1);
    for package in manifest["packages"].as_array().unwrap() {
        assert_eq!(package["signer"], keys::ours().fingerprint.as_str());
    }
}

#[test]
fn the_hosts_api_file_systems_keep_modes_and_times_when_a_package_owns_them() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(|repo| {
        let package = Package::named("filesystem")
            .requires_first("base")
            .directory("/proc", 0o700)
            .directory("/sys", 0o700);
        repo.package(
            package.directory("/dev", 0o700).directory("/run", 0o700).directory("/tmp", 0o700),
        )
    });
    let snapshot = || {
        ["/proc", "/sys", "/dev", "/tmp", "/"]
            .map(|path| fs::metadata(path).map(|m| (m.mode(), m.uid(), m.gid())).unwrap())
    };
    let (before, dev) = (snapshot(), fs::metadata("/dev/null").unwrap());
    stage.build("install filesystem\nts run\n").succeeds();
    assert_eq!(snapshot(), before);
    let now = fs::metadata("/dev/null").unwrap();
    assert_eq!(
        (now.mode(), now.rdev(), now.ctime(), now.ino()),
        (dev.mode(), dev.rdev(), dev.ctime(), dev.ino())
    );
}

#[test]
fn a_scriptlet_that_leaves_the_chroot_cannot_change_the_host_or_the_shared_cache() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(|repo| repo.package(breakout::package()));
    // From here on the metadata and two packages are shared.
    stage.build("install shell\nts run\n").succeeds();
    let shared =
        [stage.cache(), stage.repo()].map(|directory| (breakout::snapshot(&directory), directory));
    let host = || {
        sh(
            Path::new("/"),
            "find /usr /usr/bin /etc /dev -maxdepth 1 ! -path '/dev/[pt]t*' -printf '%p %m %U %G \
             %C@\\n' | sort",
        )
    };
    let before = host();
    for devices in ["private", "host"] {
        stage.build("install breakout\nts run\n").args(&["--dev", devices]).succeeds();
        breakout::judge(&stage.content(breakout::REPORT));
        shared.iter().for_each(|(before, directory)| breakout::unchanged(before, directory));
    }
    assert_eq!(host(), before);
}

#[test]
fn what_a_package_leaves_for_the_next_transaction_neither_hangs_it_nor_leads_it_away() {
    if !require_root() {
        return;
    }
    for (script, said) in [
        ("mkfifo /etc/dnf/modules.d/x.module", "modules.d/x.module of the image is a FIFO"),
        ("ln -s /osimg/cache/made /etc/dnf/modules.d/x.module", "is a link out of the image"),
        ("rm -rf /var/lib/dnf; busybox ln -s /osimg/cache /var/lib/dnf", "/var/lib/dnf of"),
    ] {
        let stage = Stage::new(|repo| {
            let script = format!("busybox mkdir -p /etc/dnf/modules.d; busybox {script}");
            repo.package(Package::named("left").requires("shell").scriptlet(When::Post, &script))
        });
        let done = stage.build("install left\nts run\ninstall shell\nts run\n").fails(7);
        done.reports(&["preparing the next transaction", said, "left by a package"]);
        assert!(done.took < std::time::Duration::from_secs(60), "{:?}", done.took);
        let cached = stage.files(&stage.cache());
        assert!(!cached.keys().any(|name| name.ends_with("made")), "{script}: {cached:?}");
        stage.nothing_is_left();
    }
}
