//! A tree survives packing and unpacking except for the differences listed here.
#![expect(clippy::disallowed_methods, reason = "tests run the independent tools that judge")]

use crate::releases::{self, ANACONDA};
use crate::support::{
    Packing, can_run, differences, directory, hard_tree, inside, parsed, run, shell,
};
use osimg::archive::{Format, FromTree};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

/// Never contained in an archive of osimg.
const LEFT_OUT: &[&str] = &[
    // An archive cannot contain sockets.
    "missing links/k1",
    "missing links/k2",
    "missing types/socket",
    "missing xattr/on-socket",
    // They belong to the build host's overlay.
    "x:trusted xattr/opaquedir",
    "x:trusted xattr/ovl-metacopy",
    "x:trusted xattr/ovl-opaque",
    "x:trusted xattr/ovl-origin",
    "x:trusted xattr/ovl-redirect",
    // The NUL at the end of a label is added, as the kernel shows it.
    "selinux xattr/sel-nonul",
];

/// Whether a difference is only that a hole of less than 16 MiB, or space that was allocated and
/// not written, became zeros. Whether it shows depends on the file system.
fn is_small_hole(difference: &str) -> bool {
    difference.strip_prefix("sparse sparse/").is_some_and(|name| {
        name != "allhole" && !matches!(name.as_bytes().first(), Some(b'0'..=b'9'))
    })
}

fn without_small_holes(differences: BTreeSet<String>) -> BTreeSet<String> {
    differences.into_iter().filter(|difference| !is_small_hole(difference)).collect()
}

/// Shortcomings of bsdtar compared with GNU tar, with the same archive.
const BSDTAR: &[&str] = &[
    // Ids in ACLs end at 2^31.
    "acl acl/biguid",
    // bsdtar does not unescape attribute names.
    "x:user xattr/name-eq",
    "x:user xattr/name-pct",
    "x:user xattr/name-pct25",
    "x:user xattr/name-pct3D",
    // bsdtar reads fractions of a second before the epoch as after it.
    "mtime links/mt1",
    "mtime links/mt2",
    "mtime times/d-neg-half",
    "mtime times/d-neg-ns1",
    "mtime times/f-neg-half",
    "mtime times/f-neg-ns1",
    "mtime times/l-neg-half",
    "mtime times/l-neg-ns1",
];

fn named(lists: &[&[&str]]) -> BTreeSet<String> {
    lists.concat().into_iter().map(str::to_owned).collect()
}

/// Makes a file system in a file, packs the hardest tree there and unpacks it on the same file
/// system. All this is in a separate mount namespace, so that no mount is left.
const ON_A_FILE_SYSTEM: &str = r#"
kind=$1 work=$2 osimg=$3 support=$4
shift 4
mount --make-rprivate /
truncate -s 2G "$work/disk"
"mkfs.$kind" -q "$work/disk"
mkdir "$work/disk.d"
mount -o loop "$work/disk" "$work/disk.d"
cd "$work/disk.d"
python3 "$support/hardtree.py" tree > "$work/made"
mkdir -p tree/dev tree/tmp tree/etc tree/boot/loader/entries
touch tree/dev/left-out tree/tmp/left-out tree/boot/0-rescue tree/boot/vmlinuz-1 \
    tree/boot/loader/entries/left-out tree/etc/machine-id tree/etc/fstab
"$osimg" pack -q --selinux from-tree --level fast tree -o "$work/x.tgz" > /dev/null
"$osimg" pack -q --selinux from-tree --level fast tree -o "$work/x.tbz" > /dev/null
number=0
for tar; do
    for suffix in tgz tbz; do
        mkdir to
        # Anaconda ignores the exit status of tar; this test does not.
        LC_ALL=C eval "$tar $ANACONDA $work/x.$suffix -C to" > "$work/warnings.$number" 2>&1 ||
            echo "exit status $?" >> "$work/warnings.$number"
        python3 "$support/treediff.py" tree to --json --ignore "" > "$work/differences.$number" ||
            test $? = 1
        rm -r to
        number=$((number + 1))
    done
done
mkdir to
# bsdtar restores the times of the target directory before it writes into it.
bsdtar -xpf "$work/x.tgz" --acls --xattrs -C to 2> "$work/warnings.bsdtar" || test $? = 1
python3 "$support/treediff.py" tree to --json --ignore root > "$work/differences.bsdtar" ||
    test $? = 1
"#;

/// Excluded by Anaconda on purpose.
const EXCLUDED: &[&str] = &[
    "missing boot/0-rescue",
    "missing boot/loader",
    "missing boot/loader/entries",
    "missing boot/loader/entries/left-out",
    "missing dev/left-out",
    "missing etc/machine-id",
    "missing tmp/left-out",
];

#[test]
fn gnu_tar_and_bsdtar_restore_all_but_the_listed_differences_on_ext4_and_xfs() {
    if !can_run(&[
        "tar",
        "bsdtar",
        "setfacl",
        "python3",
        "gzip",
        "bzip2",
        "mkfs.ext4",
        "mkfs.xfs",
        "unshare",
        "mount",
    ]) {
        return;
    }
    let tars = match releases::tars() {
        Ok(tars) => tars,
        Err(why) => return crate::support::skip(&why),
    };
    let version =
        String::from_utf8(shell(Path::new("/"), &format!("{} --version", tars[1]))).unwrap();
    assert!(version.starts_with("tar (GNU tar) 1.35"), "{version}");
    for kind in ["ext4", "xfs"] {
        let directory = directory();
        let support = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support");
        let done = run(Command::new("unshare")
            .args(["--mount", "sh", "-ec", ON_A_FILE_SYSTEM, "sh", kind])
            .arg(directory.path())
            .args([env!("CARGO_BIN_EXE_osimg"), support])
            .args(&tars)
            .env("ANACONDA", ANACONDA));
        assert!(done.is_empty());
        let made = fs::read_to_string(directory.path().join("made")).unwrap();
        println!("{kind}: {}", made.lines().last().unwrap_or_default());
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
        // XFS also shows an ACL as an attribute.
        let shown_twice: &[&str] = if kind == "xfs" { &["x:trusted acl/biguid"] } else { &[] };
        assert_eq!(
            without_small_holes(parsed(&read("differences.bsdtar"))),
            named(&[LEFT_OUT, BSDTAR, shown_twice]),
            "{kind}, bsdtar, {}",
            read("warnings.bsdtar")
        );
        for number in 0..4 {
            let read = |name: &str| read(&format!("{name}.{number}"));
            assert_eq!(
                without_small_holes(parsed(&read("differences"))),
                named(&[LEFT_OUT, EXCLUDED]),
                "{kind}, {} of 2, {}",
                number / 2 + 1,
                read("warnings")
            );
            // tar warns about times before the epoch and in the future, and keeps them.
            let warnings = read("warnings");
            assert_eq!(
                warnings.lines().filter(|line| !line.contains(" time stamp ")).collect::<Vec<_>>(),
                [""; 0],
                "{kind}"
            );
        }
    }
}

#[test]
fn bsdtar_restores_all_but_the_listed_differences() {
    if !can_run(&["bsdtar", "setfacl", "python3"]) {
        return;
    }
    let directory = directory();
    let tree = hard_tree(directory.path(), &[]);
    Packing { labels: &FromTree, ..Packing::default() }.pack(
        &tree,
        directory.path(),
        "hard",
        &[Format::Txz],
    );
    let target = inside(directory.path(), "target");
    // bsdtar restores the times of the target directory before it writes into it.
    shell(
        directory.path(),
        &format!(
            "bsdtar -xpf hard.txz --acls --xattrs -C {} 2>/dev/null || test $? = 1",
            target.display()
        ),
    );
    assert_eq!(
        without_small_holes(differences(&tree, &target, "root")),
        named(&[LEFT_OUT, BSDTAR])
    );
}

/// Unpacks a tarball on another kind of file system and packs it there.
const ON_XFS: &str = r#"
work=$1 osimg=$2
mount --make-rprivate /
truncate -s 512M "$work/disk"
mkfs.xfs -q "$work/disk"
mkdir "$work/disk.d"
mount -o loop "$work/disk" "$work/disk.d"
LC_ALL=C eval "tar $ANACONDA $work/first.tar -C $work/disk.d"
"$osimg" pack -q --selinux from-tree --source-date-epoch 1750000000 "$work/disk.d" \
    -o "$work/second.tar" > /dev/null
"#;

#[test]
fn a_tree_unpacked_on_another_file_system_packs_to_the_same_bytes() {
    if !can_run(&["mkfs.xfs", "unshare", "mount", "tar", "setfacl", "python3"]) {
        return;
    }
    let directory = directory();
    let tree = hard_tree(directory.path(), &["--no-big"]);
    // XFS limits: 18 bits for a minor number, 1,023 bytes for a link, times from 1901.
    shell(
        &tree,
        "rm types/blk types/chrbig types/sl-4095; find times -name '*-neg-*' -o -name '*-y*' -o \
         -name '*-oct*' | xargs rm -r",
    );
    let packing = Packing { labels: &FromTree, epoch: Some(1_750_000_000), ..Packing::default() };
    packing.pack(&tree, directory.path(), "first", &[Format::Tar]);
    run(Command::new("unshare")
        .args(["--mount", "sh", "-ec", ON_XFS, "sh"])
        .arg(directory.path())
        .arg(env!("CARGO_BIN_EXE_osimg"))
        .env("ANACONDA", ANACONDA));
    shell(directory.path(), "cmp first.tar second.tar");
}

#[test]
fn a_path_longer_than_path_max_is_packed_whole() {
    if !can_run(&["python3", "setfacl"]) {
        return;
    }
    let directory = directory();
    let tree = hard_tree(directory.path(), &["--no-big", "--deep"]);
    let summary = Packing::default().pack(&tree, directory.path(), "hard", &[Format::Tar]);
    let longest = crate::support::python(
        "import sys, tarfile; print(max((m.name for m in tarfile.open(sys.argv[1])), key=len))",
        &[&directory.path().join("hard.tar")],
    );
    assert!(longest.trim_end().ends_with("/leaf") && longest.len() > 4800, "{longest}");
    assert!(summary.warnings.iter().any(|w| w.contains("4095 bytes")), "{:?}", summary.warnings);
}

#[test]
fn hard_links_into_another_partition_of_the_target_are_repeated() {
    let directory = directory();
    let tree = inside(directory.path(), "tree");
    inside(&tree, "boot");
    inside(&tree, "usr");
    fs::write(tree.join("boot/one"), "content").unwrap();
    for other in ["boot/two", "usr/one", "usr/two"] {
        fs::hard_link(tree.join("boot/one"), tree.join(other)).unwrap();
    }
    let summary = Packing::default().pack(&tree, directory.path(), "links", &[Format::Tar]);
    let listed = crate::support::python(
        "import sys, tarfile\nfor m in tarfile.open(sys.argv[1]):\n  if not m.isdir(): \
         print(m.name, m.linkname or m.size)",
        &[&directory.path().join("links.tar")],
    );
    assert_eq!(listed, "./boot/one 7\n./boot/two ./boot/one\n./usr/one 7\n./usr/two ./usr/one\n");
    assert_eq!(summary.warnings.len(), 1);
    assert_eq!(fs::metadata(tree.join("usr/two")).unwrap().nlink(), 4);
}
