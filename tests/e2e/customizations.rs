//! Accounts, files, trees and scripts of the settings, seen in small images; what the tools of a
//! real system say of them is in `site`.

use crate::stage::{Stage, run};
use crate::support::repo::{Package, When};
use crate::support::require_root;
use std::fs;
use std::process::Command;

const KEY: &str = "ssh-ed25519 \
                   AAAAC3NzaC1lZDI1NTE5AAAAIK3A/4lLrCf3XK+T6o1hgWKYrafEvHol2VPeQUMMUAHy \
                   jane@example.org";
const RECIPE: &str = "install accounts\nts run\n";

/// With a package that has the databases of accounts, and the skeleton and defaults of EL 9.
pub fn stage() -> Stage {
    Stage::new(|repo| {
        let login = "UID_MIN 1000\nUID_MAX 60000\nGID_MIN 1000\nGID_MAX 60000\nSUB_UID_MIN \
                     100000\nSUB_UID_COUNT 65536\nHOME_MODE 0700\nUSERGROUPS_ENAB \
                     yes\nPASS_MIN_DAYS 0\nPASS_MAX_DAYS 99999\nPASS_WARN_AGE 7\n";
        let useradd = "GROUP=100\nHOME=/home\nINACTIVE=-1\nEXPIRE=\nSHELL=/bin/bash\nSKEL=/etc/\
                       skel\nCREATE_MAIL_SPOOL=yes\n";
        let root = "root:root";
        repo.package(
            Package::named("accounts")
                .requires("base")
                .scriptlet(
                    When::Post,
                    "mkdir -p /var/spool/mail /root /usr/share/doc/a /usr/share/doc/b; echo x > \
                     /usr/share/doc/a/x; ln -s ../../etc /opt/link 2>/dev/null || true\n",
                )
                .file("/etc/shadow", "root:*::0:99999:7:::\napp:!!:19000::::::\n", 0o000, root)
                .file("/etc/gshadow", "root:::\napp:!::\n", 0o000, root)
                .file("/etc/subuid", "other:100000:65536\n", 0o644, root)
                .file("/etc/subgid", "", 0o644, root)
                .file("/etc/login.defs", login, 0o644, root)
                .file("/etc/default/useradd", useradd, 0o600, root)
                .file("/etc/skel/.bashrc", "# skeleton\n", 0o644, root)
                .directory("/etc/skel/.config", 0o700)
                .file("/usr/share/doc/packaged/README", "x", 0o644, root)
                .directory("/opt", 0o755)
                .directory("/home", 0o755),
        )
    })
}

fn rest(stage: &Stage, text: &str) {
    stage.settings(|settings| settings.rest = text.to_owned());
}

/// Mode and numeric owners of a member, as GNU tar lists them.
fn listed(stage: &Stage, member: &str) -> String {
    let text = run(Command::new("tar")
        .args(["--numeric-owner", "--no-recursion", "-tvf"])
        .arg(stage.image())
        .arg(member));
    String::from_utf8(text).unwrap().split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

#[test]
fn files_have_their_modes_owners_and_content() {
    if !require_root() {
        return;
    }
    let stage = stage();
    fs::write(stage.repo().join("motd"), "welcome\n").unwrap();
    stage.settings(|settings| {
        settings.finish = "machine_id = \"uninitialized\"".into();
        settings.rest = "[customizations]\nhostname = \"node.example\"\nremove = \
                         [\"/usr/share/doc/*\", \"/nothing\"]\n[[customizations.files]]\nsource = \
                         \"motd\"\npath = \"/etc/motd\"\nmode = \"0640\"\nuser = \"app\"\ngroup = \
                         997\n[[customizations.files]]\nsource = \"motd\"\npath = \
                         \"/opt/deep/directory/motd\"\n[[customizations.files]]\npath = \
                         \"/bin/tool\"\ndata = \"x\"\nmode = \"4755\"\nuser = \
                         77\n[[customizations.directories]]\npath = \"/opt/shared\"\nmode = \
                         \"2775\"\ngroup = \"app\"\n[[customizations.directories]]\npath = \
                         \"/etc\"\n"
            .into();
    });
    stage.build(RECIPE).succeeds();
    assert_eq!(stage.content("./etc/hostname"), "node.example\n");
    assert_eq!(stage.content("./etc/machine-id"), "uninitialized\n");
    assert_eq!(stage.content("./opt/deep/directory/motd"), "welcome\n");
    assert_eq!(listed(&stage, "./etc/motd"), "-rw-r----- 998/997");
    // A link of the image in the path is followed inside it.
    assert_eq!(listed(&stage, "./usr/bin/tool"), "-rwsr-xr-x 77/0");
    assert_eq!(listed(&stage, "./opt/shared/"), "drwxrwsr-x 0/997");
    assert!(
        !stage
            .members()
            .iter()
            .any(|member| member.starts_with("./usr/share/doc/") && member.len() > 16),
        "{:?}",
        stage.members()
    );
    let removed = stage.manifest()["removed"].to_string();
    assert!(
        removed.contains("/usr/share/doc/a") && removed.contains("/usr/share/doc/b"),
        "{removed}"
    );
    // What was removed on demand is not missing; what else is, is.
    let verified = stage.osimg(crate::stage::OSIMG, &["verify"]).arg(stage.image()).run();
    assert!(!verified.stdout.contains("/usr/share/doc"), "{}", verified.stdout);
}

#[test]
fn accounts_are_those_that_useradd_would_create() {
    if !require_root() {
        return;
    }
    let stage = stage();
    rest(
        &stage,
        &format!(
            "[[customizations.group]]\nname = \"operators\"\n[[customizations.group]]\nname = \
             \"app\"\n[[customizations.user]]\nname = \"jane\"\ndescription = \"Jane\"\ngroups = \
             [\"operators\", \"app\"]\nkey = \"{KEY}\"\nexpiredate = \
             20000\n[[customizations.user]]\nname = \"fixed\"\nuid = 1500\ngid = 1600\nhome = \
             \"/srv/fixed/\"\nforce_password_reset = true\n[[customizations.user]]\nname = \
             \"root\"\npassword = \"!\"\nkey = \"{KEY}\"\n[[customizations.sshkey]]\nuser = \
             \"root\"\nkey = \"{KEY}\"\n"
        ),
    );
    stage.build(RECIPE).args(&["--source-date-epoch", "1700000000"]).succeeds();
    let last = |path: &str, count: usize| {
        stage.content(path).lines().rev().take(count).map(str::to_owned).collect::<Vec<_>>()
    };
    let day = 1_700_000_000 / 86_400;
    assert_eq!(
        last("./etc/passwd", 2),
        ["fixed:x:1500:1600::/srv/fixed:/bin/bash", "jane:x:1000:1001:Jane:/home/jane:/bin/bash"]
    );
    assert_eq!(
        last("./etc/group", 4),
        ["fixed:x:1600:", "jane:x:1001:", "operators:x:1000:jane", "app:x:997:jane"]
    );
    assert_eq!(
        last("./etc/gshadow", 4),
        ["fixed:!::", "jane:!::", "operators:!::jane", "app:!::jane"]
    );
    assert_eq!(
        last("./etc/shadow", 2),
        ["fixed:!:0:0:99999:7:::".to_owned(), format!("jane:!:{day}:0:99999:7::20000:")]
    );
    assert!(stage.content("./etc/shadow").starts_with(&format!("root:!:{day}:0:99999:7:::\n")));
    assert_eq!(
        stage.content("./etc/subuid"),
        "other:100000:65536\njane:165536:65536\nfixed:231072:65536\n"
    );
    assert_eq!(stage.content("./etc/subgid"), "jane:100000:65536\nfixed:165536:65536\n");
    assert_eq!(stage.content("./root/.ssh/authorized_keys"), format!("{KEY}\n"));
    for (member, expected) in [
        ("./etc/shadow", "---------- 0/0"),
        ("./home/jane/", "drwx------ 1000/1001"),
        ("./home/jane/.bashrc", "-rw-r--r-- 1000/1001"),
        ("./home/jane/.config/", "drwx------ 1000/1001"),
        ("./home/jane/.ssh/", "drwx------ 1000/1001"),
        ("./home/jane/.ssh/authorized_keys", "-rw------- 1000/1001"),
        ("./srv/fixed/", "drwx------ 1500/1600"),
        ("./var/spool/mail/jane", "-rw------- 1000/1001"),
        ("./root/.ssh/", "drwx------ 0/0"),
    ] {
        assert_eq!(listed(&stage, member), expected, "{member}");
    }
}

#[test]
fn what_the_image_does_not_allow_is_an_error_with_its_place() {
    if !require_root() {
        return;
    }
    let stage = stage();
    for (text, line, message) in [
        (
            "[[customizations.user]]\nname = \"x\"\nuid = 998\n",
            1,
            "the user id 998 is taken by `app`",
        ),
        (
            "[[customizations.user]]\nname = \"x\"\ngroups = [\"wheel\"]\n",
            1,
            "the image has no group `wheel`",
        ),
        (
            "[[customizations.user]]\nname = \"app\"\nuid = 5\n",
            1,
            "the image's user `app` has the uid 998",
        ),
        (
            "[[customizations.group]]\nname = \"x\"\ngid = 997\n",
            1,
            "the group id 997 is taken by `app`",
        ),
        (
            "[[customizations.sshkey]]\nuser = \"x\"\nkey = \"KEY\"\n",
            1,
            "the image has no user `x`",
        ),
        (
            "[[customizations.files]]\npath = \"/x\"\nuser = \"nobody\"\n",
            2,
            "the image has no user `nobody`",
        ),
        (
            "[[customizations.directories]]\npath = \"/etc\"\nmode = \"0700\"\n",
            1,
            "it exists, with its own mode and owner",
        ),
        ("[[customizations.directories]]\npath = \"/a/b\"\n", 1, "there is no directory /a"),
        ("[customizations.services]\nenabled = [\"sshd\"]\n", 0, "the image has no systemctl"),
        (
            "[customizations.timezone]\ntimezone = \"Europe/Berlin\"\n",
            0,
            "the image has no time zone `Europe/Berlin`",
        ),
        ("[customizations.kernel]\nappend = \"quiet\"\n", 0, "the image has no kernel"),
        (
            "[customizations.locale]\nlanguages = [\"de_DE.UTF-8\"]\n",
            0,
            "the image has no locale `de_DE.UTF-8`",
        ),
    ] {
        rest(&stage, &text.replace("KEY", KEY));
        let settings = fs::read_to_string(stage.repo().join("settings.toml")).unwrap();
        let first =
            settings.lines().position(|l| text.starts_with(l) && !l.is_empty()).unwrap() + 1;
        let done = stage.build(RECIPE).run();
        assert!(matches!(done.code, Some(3 | 7)), "{text}: {}", done.stderr);
        let place =
            if line == 0 { String::new() } else { format!("settings.toml:{}: ", first + line - 1) };
        assert!(
            done.stderr.contains(&format!("{place}{}", if line == 0 { message } else { "" })),
            "{text}: {}",
            done.stderr
        );
        assert!(done.stderr.contains(message), "{text}: {}", done.stderr);
        stage.nothing_is_left();
    }
}

#[test]
fn what_the_build_host_does_not_have_is_an_error_before_the_download() {
    if !require_root() {
        return;
    }
    let stage = stage();
    for (text, message) in [
        ("[[customizations.files]]\nsource = \"nosuch\"\npath = \"/etc/motd\"\n", "nosuch"),
        ("[[customizations.tree]]\nsource = \"nosuch\"\n", "reading the tree"),
        ("[customizations.cacerts]\nfiles = [\"nosuch\"]\n", "reading certificate"),
        ("[[script]]\nfile = \"nosuch\"\n", "reading script"),
        ("[[script]]\nrun = \"true\"\nfiles = [\"nosuch\"]\n", "nosuch"),
        ("[[script]]\nrun = \"#!perl\"\n", "has no interpreter"),
    ] {
        rest(&stage, text);
        let path = stage.recipe(RECIPE);
        for verb in ["build", "plan"] {
            let run = stage
                .osimg(crate::stage::OSIMG, &[verb])
                .arg(&path)
                .arg("--settings")
                .arg(stage.repo().join("settings.toml"));
            let done = run.run();
            assert_eq!(done.code, Some(3), "{verb} {text}: {}", done.stderr);
            done.reports(&[message]);
            assert!(!done.stderr.contains("downloading"), "{}", done.stderr);
        }
    }
}

#[test]
fn a_tree_is_copied_with_the_modes_of_the_settings_whatever_the_umask() {
    if !require_root() {
        return;
    }
    let stage = stage();
    rest(
        &stage,
        "[[customizations.tree]]\nsource = \"../overlay\"\nexclude = [\"*.md\", \
         \".git\"]\n[[customizations.tree.rule]]\npath = \"etc/secret\"\nmode = \"0600\"\nuser = \
         \"app\"\n[[customizations.tree.rule]]\npath = \"opt/**\"\ngroup = \"app\"\n",
    );
    let make = "rm -rf overlay; mkdir -p overlay/etc overlay/opt/new overlay/.git; echo a > \
                overlay/etc/secret; echo b > overlay/opt/new/tool; chmod +x overlay/opt/new/tool; \
                echo c > overlay/README.md; echo d > overlay/.git/config; ln -s ../etc \
                overlay/opt/out";
    let mut digests = Vec::new();
    for mask in ["022", "077", "002"] {
        crate::stage::sh(stage.path(), &format!("umask {mask}; {make}"));
        stage.build(RECIPE).succeeds();
        digests.push(stage.digest());
    }
    assert_eq!(digests[0], digests[1]);
    assert_eq!(digests[0], digests[2]);
    for (member, expected) in [
        ("./etc/", "drwxr-xr-x 0/0"),
        ("./etc/secret", "-rw------- 998/0"),
        ("./opt/new/", "drwxr-xr-x 0/997"),
        ("./opt/new/tool", "-rwxr-xr-x 0/997"),
        ("./opt/out", "lrwxrwxrwx 0/997"),
    ] {
        assert_eq!(listed(&stage, member), expected, "{member}");
    }
    assert!(
        !stage.members().iter().any(|member| member.contains(".md") || member.contains(".git"))
    );
}

#[test]
fn nothing_is_written_through_links_to_the_host() {
    if !require_root() {
        return;
    }
    let stage = stage();
    let victim = stage.path().join("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("file"), "precious").unwrap();
    fs::create_dir(stage.repo().join("overlay")).unwrap();
    std::os::unix::fs::symlink(&victim, stage.repo().join("overlay/out")).unwrap();
    let shown = victim.display();
    rest(
        &stage,
        &format!(
            "[[customizations.tree]]\nsource = \"overlay\"\n[[customizations.files]]\npath = \
             \"/out/file\"\ndata = \"x\"\n[[customizations.directories]]\npath = \
             \"{shown}\"\nensure_parents = true\n"
        ),
    );
    stage.build(RECIPE).run();
    rest(
        &stage,
        "[[customizations.tree]]\nsource = \"overlay\"\n[customizations]\nremove = \
         [\"/out/file\", \"/out/*\"]\n",
    );
    stage.build(RECIPE).run();
    assert_eq!(fs::read_to_string(victim.join("file")).unwrap(), "precious");
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 1);
}

#[test]
fn scripts_run_in_their_order_with_files_and_variables_and_without_a_network() {
    if !require_root() {
        return;
    }
    let stage = stage();
    fs::write(stage.repo().join("data"), "payload\n").unwrap();
    fs::write(
        stage.repo().join("last.sh"),
        "#!/bin/sh -eu\ncat /etc/motd /run/osimg/data > /etc/last\n",
    )
    .unwrap();
    rest(
        &stage,
        "[[customizations.files]]\npath = \"/etc/motd\"\ndata = \"motd\\n\"\n[[script]]\nfile = \
         \"last.sh\"\nwhen = \"last\"\nfiles = [\"data\"]\n[[script]]\nname = \
         \"first\"\nenvironment = { SITE = \"lab\", HOME = \"/opt\" }\nrun = '''\ntest ! -e \
         /etc/motd\necho \"$SITE $SOURCE_DATE_EPOCH $HOME\" > /etc/first\nls /sys/class/net > \
         /etc/interfaces\nbusybox chown 998:997 /etc/first\n'''\n",
    );
    let before = stage.files(&stage.repo());
    stage.build(RECIPE).args(&["--source-date-epoch", "1700000000"]).succeeds();
    assert_eq!(stage.files(&stage.repo()), before, "nothing of the host was written");
    assert_eq!(stage.content("./etc/first"), "lab 1700000000 /opt\n");
    assert_eq!(stage.content("./etc/last"), "motd\npayload\n");
    assert_eq!(stage.content("./etc/interfaces"), "lo\n");
    assert_eq!(listed(&stage, "./etc/first"), "-rw-r--r-- 998/997");
    assert!(
        !stage.members().iter().any(|member| member.starts_with("./run/osimg")),
        "nothing of /run/osimg is left"
    );
    let manifest = stage.manifest();
    let scripts = manifest["scripts"].as_array().unwrap();
    let sum = |file: &str| {
        crate::stage::sh(&stage.repo(), &format!("sha256sum {file}"))
            .split(' ')
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        (scripts[0]["name"].as_str(), scripts[0]["sha256"].as_str()),
        (Some("last.sh"), Some(sum("last.sh").as_str()))
    );
    assert_eq!(scripts[0]["files"][0]["sha256"].as_str(), Some(sum("data").as_str()));
    assert_eq!(
        (scripts[1]["name"].as_str(), scripts[1]["network"].as_bool()),
        (Some("first"), Some(false))
    );
    let plan = stage
        .osimg(crate::stage::OSIMG, &["plan", "image.yum"])
        .arg("--settings")
        .arg(stage.repo().join("settings.toml"))
        .run();
    assert!(
        plan.stdout.contains("last.sh, last: /bin/sh -eu /run/osimg/last.sh"),
        "{}\n{}",
        plan.stdout,
        plan.stderr
    );
    assert!(plan.stdout.contains(&sum("last.sh")), "{}", plan.stdout);
}

#[test]
fn a_script_that_fails_or_hangs_fails_the_build_with_its_last_lines() {
    if !require_root() {
        return;
    }
    let stage = stage();
    rest(
        &stage,
        "[[script]]\nname = \"broken\"\nrun = '''\necho before\necho the reason >&2\nfalse\necho \
         after\n'''\n",
    );
    let done = stage.build(RECIPE).fails(7);
    done.reports(&[
        "settings.toml:",
        "script broken ended with exit status 1",
        "the reason",
        "osimg shell",
    ]);
    assert!(!done.stderr.contains("after\n"), "{}", done.stderr);
    rest(&stage, "[[script]]\nname = \"slow\"\nrun = \"sleep 600\"\ntimeout = \"1s\"\n");
    stage.build(RECIPE).fails(124).reports(&["script slow", "time limit of 1 s"]);
    // What a script tries to write to its files, or to the host, does not get there.
    fs::write(stage.repo().join("data"), "payload\n").unwrap();
    rest(
        &stage,
        "[[script]]\nname = \"writer\"\nfiles = [\"data\"]\nrun = \"echo x > /run/osimg/data\"\n",
    );
    stage.build(RECIPE).fails(7).reports(&["script writer", "Read-only file system"]);
    assert_eq!(fs::read_to_string(stage.repo().join("data")).unwrap(), "payload\n");
}

#[test]
fn a_script_with_a_network_sees_the_hosts_and_leaves_no_name_servers() {
    if !require_root() {
        return;
    }
    let stage = stage();
    let run = "ls /sys/class/net > /etc/interfaces 2>/dev/null || true\ncat /proc/net/dev > \
               /etc/devices\ncat /etc/resolv.conf > /etc/servers\n";
    rest(
        &stage,
        &format!("[[script]]\nname = \"online\"\nnetwork = true\nrun = \"\"\"\n{run}\"\"\"\n"),
    );
    stage.build(RECIPE).succeeds();
    let devices = |text: &str| {
        text.lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name.trim().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        devices(&stage.content("./etc/devices")),
        devices(&fs::read_to_string("/proc/net/dev").unwrap())
    );
    assert_eq!(stage.content("./etc/servers"), fs::read_to_string("/etc/resolv.conf").unwrap());
    assert!(!stage.members().contains(&"./etc/resolv.conf".to_owned()));
    assert_eq!(stage.manifest()["scripts"][0]["network"], true);
}
