//! What each consumer keeps of a tarball: its own command unpacks the tree of hard cases, and the
//! differences are the table of `docs/consumers/README.md`.
#![expect(clippy::disallowed_methods, reason = "tests run the consumers' own commands")]

use crate::releases::ANACONDA;
use crate::support::{Packing, can_run, differences, directory, hard_tree, inside};
use osimg::archive::{Format, FromTree};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A program that unpacks a tarball.
struct Consumer {
    name: &'static str,
    page: &'static str,
    /// Its own command: `$TARBALL` is a tgz, `$TARGET` an empty directory.
    command: &'static str,
}

const CONSUMERS: &[Consumer] = &[
    Consumer { name: "Anaconda (Ironic, Foreman, Cobbler, PXE)", page: "anaconda.md", command: "" },
    Consumer {
        name: "MAAS (curtin)",
        page: "maas.md",

        command: "tar -C $TARGET --xattrs '--xattrs-include=*' -Sxpzf - --numeric-owner < $TARBALL",
    },
    Consumer {
        name: "Incus, LXD",
        page: "incus.md",

        command: "cd $TARGET; tar --anchored --wildcards --exclude='./dev/*' --restrict \
                  --force-local -C . --numeric-owner --xattrs-include='*' -zxf - < $TARBALL",
    },
    Consumer {
        name: "Proxmox VE",
        page: "proxmox.md",

        command: "cd $TARGET; zcat $TARBALL | tar xpf - --sparse --numeric-owner --acls --xattrs \
                  '--xattrs-include=user.*' '--xattrs-include=security.capability' \
                  --skip-old-files --anchored --exclude './dev/*'",
    },
    Consumer {
        name: "systemd (machinectl, importctl)",
        page: "machinectl.md",

        command: "zcat $TARBALL | tar --ignore-zeros --numeric-owner -C $TARGET -pxf - --xattrs \
                  '--xattrs-include=*' --no-selinux",
    },
    Consumer {
        name: "xCAT",
        page: "xcat.md",
        command: "cd $TARGET; tar --selinux --xattrs-include='*' -zxf $TARBALL",
    },
    Consumer {
        name: "WSL",
        page: "wsl.md",
        command: "cd $TARGET; zcat $TARBALL | bsdtar -x -p --xattrs --no-acls -f -",
    },
    Consumer {
        name: "BusyBox (initramfs)",
        page: "README.md",
        command: "cd $TARGET; busybox tar -xzf $TARBALL",
    },
    Consumer {
        name: "Python's tarfile",
        page: "README.md",

        command: "python3 -c \"import sys, tarfile; \
                  tarfile.open(sys.argv[1]).extractall(sys.argv[2], numeric_owner=True)\" \
                  $TARBALL $TARGET",
    },
];

/// Differences that depend on the file system of the test, or on the order of unpacking.
const IGNORED: &str = "root,sparse,dirmtime,socket";

/// What is compared, in the order of the table.
const FIELDS: [(&str, &str); 15] = [
    ("missing", "files"),
    ("type", "devices and pipes"),
    ("content", "contents"),
    ("uid", "owners"),
    ("gid", "groups"),
    ("mode", "modes"),
    ("acl", "ACLs"),
    ("dacl", "default ACLs"),
    ("selinux", "labels"),
    ("caps", "capabilities"),
    ("x:security", "security attributes"),
    ("x:trusted", "trusted attributes"),
    ("x:user", "user attributes"),
    ("link", "hard links"),
    ("mtime", "times"),
];

/// How often each field differs between the tree and what the command unpacked.
fn lost(
    consumer: &Consumer,
    tree: &Path,
    tarball: &Path,
    target: &Path,
) -> BTreeMap<String, usize> {
    let anaconda = format!("LC_ALL=C tar {ANACONDA} $TARBALL -C $TARGET");
    let command = if consumer.command.is_empty() { &anaconda } else { consumer.command };
    // Some consumers end with a failure because of one file, and most of them do not look.
    let status = Command::new("bash")
        .args(["-c", command])
        .env("TARBALL", tarball)
        .env("TARGET", target)
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    println!("{}: {status}", consumer.name);
    let mut lost = BTreeMap::new();
    for difference in differences(tree, target, IGNORED) {
        let field = difference.split(' ').next().unwrap().to_owned();
        *lost.entry(field).or_default() += 1;
    }
    lost
}

#[test]
fn the_table_of_consumers_is_what_their_commands_do() {
    if !can_run(&["tar", "bsdtar", "busybox", "python3", "setfacl", "zcat"]) {
        return;
    }
    let directory = directory();
    let tree = hard_tree(directory.path(), &["--no-big"]);
    // No archive holds sockets, and an overlay's attributes stay with the build host.
    Packing { labels: &FromTree, ..Packing::default() }.pack(
        &tree,
        directory.path(),
        "own",
        &[Format::Tgz],
    );
    let tarball = directory.path().join("own.tgz");
    let reference = inside(directory.path(), "reference");
    let baseline = lost(&CONSUMERS[0], &tree, &tarball, &reference);
    let mut table = String::from("| consumer | lost |\n|---|---|\n");
    for (number, consumer) in CONSUMERS.iter().enumerate() {
        let target = inside(directory.path(), &format!("to-{number}"));
        let found = lost(consumer, &tree, &tarball, &target);
        let count = |field: &str| {
            found
                .get(field)
                .copied()
                .unwrap_or(0)
                .saturating_sub(baseline.get(field).copied().unwrap_or(0))
        };
        let words: Vec<String> = FIELDS
            .iter()
            .filter(|(field, _)| count(field) > 0)
            .map(|(field, word)| match *word {
                // The number depends on the fractions of seconds.
                "times" => (*word).to_owned(),
                word => format!("{word} ({})", count(field)),
            })
            .collect();
        let words = if words.is_empty() { "nothing".to_owned() } else { words.join(", ") };
        table.push_str(&format!("| [{}]({}) | {words} |\n", consumer.name, consumer.page));
        if consumer.command.contains("--xattrs-include=*")
            || consumer.command.contains("--xattrs-include='*'")
        {
            assert_eq!((count("acl"), count("dacl")), (0, 0), "{}", consumer.name);
        }
        fs::remove_dir_all(&target).unwrap();
    }
    assert_eq!(baseline.get("acl"), None, "Anaconda keeps all ACLs, and each once");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/consumers/README.md");
    let text = fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once("<!-- table -->\n").unwrap();
    let (written, after) = rest.split_once("<!-- end -->").unwrap();
    if std::env::var_os("OSIMG_WRITE_TABLES").is_some() {
        fs::write(&page, format!("{before}<!-- table -->\n{table}<!-- end -->{after}")).unwrap();
        return;
    }
    assert_eq!(written, table, "OSIMG_WRITE_TABLES=1 writes the table again");
}
