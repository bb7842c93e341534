//! A site's image: all examples of `docs/customizations.md` as one settings file, built on the demo
//! distribution and examined by the tools of the image.

use crate::demo::{distribution, inside};
use crate::stage::{OSIMG, Stage, sh};
use std::fs;
use std::path::{Path, PathBuf};

/// The TOML blocks of a page.
fn examples(page: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page);
    let text = fs::read_to_string(path).unwrap();
    text.split("\n```toml\n")
        .skip(1)
        .map(|rest| rest.split("\n```\n").next().unwrap().to_owned())
        .collect()
}

/// Tables are merged and lists appended, as several settings files are.
fn merge(into: &mut toml::Table, from: toml::Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) => merge(below, above),
            (Some(toml::Value::Array(below)), toml::Value::Array(above)) => below.extend(above),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// The files of the build host that the examples name.
fn host_files(directory: &Path) {
    fs::write(directory.join("report.sh"), "#!/bin/sh\necho report\n").unwrap();
    fs::write(
        directory.join("site.sh"),
        "#!/bin/sh -eu\ncp /run/osimg/site-data/list \"/etc/$SITE\"\n",
    )
    .unwrap();
    sh(directory, "mkdir site-data && echo listed > site-data/list");
    sh(
        directory,
        "mkdir -p overlay/etc/site overlay/.git && echo plain > overlay/etc/site/plain.conf && \
         echo secret > overlay/etc/site/secret.conf",
    );
    sh(directory, "echo read me > overlay/README.md; ln -s plain.conf overlay/etc/site/link.conf");
    sh(
        directory,
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=site authority' -keyout \
         /dev/null -out site-ca.pem 2>/dev/null",
    );
}

/// The settings of all examples, those of the distribution, and one more user.
fn settings(distribution: &Path, directory: &Path) -> PathBuf {
    let mut all: toml::Table = fs::read_to_string(distribution).unwrap().parse().unwrap();
    let packages = all["packages"].as_table_mut().unwrap();
    let home = distribution.parent().unwrap().display().to_string();
    packages["repository"][0]["baseurl"] = home.clone().into();
    packages["key"][0]["file"] = format!("{home}/RPM-GPG-KEY-osimg-demo").into();
    for example in examples("customizations.md").into_iter().chain(examples("scripts.md")) {
        merge(&mut all, example.parse().unwrap_or_else(|error| panic!("{example}: {error}")));
    }
    merge(&mut all, "[[customizations.user]]\nname = \"plain\"\n".parse().unwrap());
    let path = directory.join("site.toml");
    fs::write(&path, toml::to_string(&all).unwrap()).unwrap();
    path
}

#[test]
fn every_example_of_the_documentation_is_in_the_image_by_the_words_of_its_own_tools() {
    let Some(distribution) = distribution() else { return };
    let stage = Stage::empty();
    host_files(stage.path());
    let settings = settings(&distribution, stage.path());
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("baremetal.yum");
    stage.build_file(&recipe).arg("--settings").arg(settings).args(&["--level", "fast"]).succeeds();
    let verified = stage.osimg(OSIMG, &["verify"]).arg(stage.image()).run();
    assert!(!verified.stdout.contains("rpm-missing"), "{}", verified.stdout);
    let tree = stage.extract();
    // A node has them of the kernel.
    sh(&tree, "mknod -m 666 dev/null c 1 3; mknod -m 666 dev/urandom c 1 9");
    let said = |words: &[&str]| {
        let (code, text) = inside(&tree, words);
        (code, text.trim_end().to_owned())
    };
    let ok = |words: &[&str]| {
        let (code, text) = said(words);
        assert_eq!(code, Some(0), "{words:?}: {text}");
        text
    };
    let epoch = stage.manifest()["source_date_epoch"].as_i64().unwrap();

    assert_eq!(ok(&["cat", "/etc/hostname"]), "node.example.org");
    assert_eq!(ok(&["readlink", "-e", "/etc/localtime"]), "/usr/share/zoneinfo/Europe/Berlin");
    let sources = ok(&["chronyd", "-p"]);
    assert!(
        sources.contains("server ntp1.example.org iburst")
            && !sources.lines().any(|line| line.starts_with("pool")),
        "{sources}"
    );
    assert_eq!(
        ok(&["sh", "-c", ". /etc/locale.conf; . /etc/vconsole.conf; echo $LANG $KEYMAP"]),
        "en_US.UTF-8 us"
    );
    assert!(
        ok(&["sh", "-c", ". /etc/default/grub; echo $GRUB_CMDLINE_LINUX"])
            .ends_with("nosmt=force console=ttyS0,115200")
    );

    for (unit, state) in [
        ("chrony", "enabled"),
        ("rsyslog.service", "enabled"),
        ("man-db.timer", "disabled"),
        ("debug-shell", "masked"),
    ] {
        assert_eq!(
            said(&["systemctl", "is-enabled", unit]).1.lines().last(),
            Some(state),
            "{unit}"
        );
    }
    assert_eq!(ok(&["systemctl", "get-default"]), "multi-user.target");

    assert_eq!(ok(&["getent", "group", "operators"]), "operators:x:1130:jane");
    assert_eq!(ok(&["getent", "passwd", "jane"]), "jane:x:1200:1200:Jane Doe:/srv/jane:/bin/bash");
    assert!(ok(&["id", "-nG", "jane"]).split(' ').any(|group| group == "sudo"));
    let days = sh(stage.path(), &format!("date -u -d @{epoch} '+%b %d, %Y'"));
    let aging = ok(&["chage", "-l", "jane"]);
    assert!(aging.contains("Account expires\t\t\t\t\t\t: Dec 31, 2030"), "{aging}");
    assert!(
        aging
            .lines()
            .any(|line| line.starts_with("Last password change") && line.ends_with(days.trim())),
        "{aging}"
    );
    assert!(ok(&["chage", "-l", "backup-agent"]).contains("password must be changed"));
    for check in ["pwck", "grpck"] {
        let (_, text) = said(&[check, "-r"]);
        assert!(
            !["jane", "backup-agent", "plain", "operators"].iter().any(|name| text.contains(name)),
            "{check}: {text}"
        );
    }
    let key = ok(&["ssh-keygen", "-lf", "/srv/jane/.ssh/authorized_keys"]);
    assert_eq!(key, ok(&["ssh-keygen", "-lf", "/root/.ssh/authorized_keys"]));
    assert_eq!(
        ok(&["stat", "-c", "%a %U %G", "/srv/jane/.ssh", "/srv/jane/.ssh/authorized_keys"]),
        "700 jane jane\n600 jane jane"
    );
    assert_eq!(
        ok(&["stat", "-c", "%a %U %G", "/etc/shadow", "/etc/gshadow"]),
        "640 root shadow\n640 root shadow"
    );

    let firewall = ok(&["firewall-offline-cmd", "--list-all"]);
    for part in ["8080/tcp", "30000-30010/udp", " http"] {
        assert!(firewall.contains(part), "{firewall}");
    }
    assert!(!firewall.contains("dhcpv6-client"), "{firewall}");

    for (path, expected) in [
        ("/srv/data/incoming", "2770 jane operators"),
        ("/srv/data", "755 root root"),
        ("/etc/motd", "644 root root"),
        ("/usr/local/sbin/report", "750 root operators"),
        ("/etc/site/plain.conf", "644 root root"),
        ("/etc/site/secret.conf", "640 root operators"),
    ] {
        assert_eq!(ok(&["stat", "-c", "%a %U %G", path]), expected, "{path}");
    }
    assert_eq!(
        ok(&["cat", "/etc/motd", "/etc/site/link.conf"]),
        "Managed by the platform team.\nplain"
    );
    assert!(!tree.join("README.md").exists() && !tree.join(".git").exists());

    let bundle = ok(&[
        "sh",
        "-c",
        "openssl crl2pkcs7 -nocrl -certfile /etc/ssl/certs/ca-certificates.crt | openssl pkcs7 \
         -print_certs -noout",
    ]);
    assert!(bundle.contains("CN = site authority"), "the bundle has no site authority");
    let listed = ok(&["dnf", "-C", "--noplugins", "repolist", "--all"]);
    assert!(
        listed.lines().any(|line| line.starts_with("site ")
            && line.contains("Packages of this site")
            && line.contains("enabled")),
        "{listed}"
    );
    assert!(ok(&["rpm", "-q", "gpg-pubkey"]).starts_with("gpg-pubkey-"));
    assert_eq!(ok(&["sh", "-c", "ls /usr/share/doc | wc -l"]), "0");

    assert_eq!(ok(&["cat", "/etc/lab", "/etc/site-release"]), "listed\nbuilt for the lab");

    // As its own useradd creates a user, who is like the one without any option.
    let environment = format!("SOURCE_DATE_EPOCH={epoch}");
    ok(&["env", &environment, "useradd", "-m", "rival"]);
    for file in ["passwd", "group", "gshadow", "shadow", "subuid", "subgid"] {
        let text = fs::read_to_string(tree.join("etc").join(file)).unwrap_or_default();
        let fields = |name: &str| {
            let line =
                text.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap_or_default();
            // Ids and ranges are other ones, by one or by one range.
            let count = if matches!(file, "passwd" | "group") { 2 } else { usize::MAX };
            let range = if file.starts_with("sub") { 1 } else { usize::MAX };
            let fields = line.replace(name, "NAME");
            fields
                .split(':')
                .enumerate()
                .filter(|(index, _)| {
                    !(*index == count || *index == range || (file == "passwd" && *index == 3))
                })
                .map(|(_, field)| field.to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(fields("plain"), fields("rival"), "{file}");
    }
    let homes = ok(&["sh", "-c", "cd /home/plain && find . -printf '%p %M %l\\n' | sort"]);
    assert_eq!(homes, ok(&["sh", "-c", "cd /home/rival && find . -printf '%p %M %l\\n' | sort"]));
}
