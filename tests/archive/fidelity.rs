//! Nothing of a tree is lost but what is named here.

use crate::support::{Packing, can_run, differences, folder, hard_tree, inside, shell};
use osimg::archive::{Format, FromTree};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// What Anaconda's `liveimg` runs (pyanaconda/modules/payloads/payload/live_image), but for its excludes.
const ANACONDA: &str = "LC_ALL=C tar --numeric-owner --selinux --acls --xattrs --xattrs-include '*' -xaf";

/// What no archive of ours carries.
const LEFT_OUT: &[&str] = &[
    // An archive cannot hold sockets.
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
    // A label without its NUL comes back with it, as the kernel would show it.
    "selinux xattr/sel-nonul",
    // Holes are where 64 KiB and more are zeros, and nowhere else.
    "sparse sparse/densezero",
    "sparse sparse/falloc",
    "sparse sparse/many",
    "sparse sparse/oddtail",
    "sparse sparse/s300",
];

/// Where bsdtar falls short of GNU tar with the same archive.
const BSDTAR: &[&str] = &[
    // Ids in ACLs end at 2^31.
    "acl acl/biguid",
    // Names of attributes are not unescaped.
    "x:user xattr/name-eq",
    "x:user xattr/name-pct",
    "x:user xattr/name-pct25",
    "x:user xattr/name-pct3D",
    // Fractions of a second before the epoch are taken to be after it.
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

#[test]
fn anacondas_command_restores_everything_but_the_named() {
    if !can_run(&["tar", "setfacl", "python3", "xz", "bzip2"]) {
        return;
    }
    let folder = folder();
    let tree = hard_tree(folder.path(), &[]);
    Packing { labels: &FromTree, ..Packing::default() }.pack(&tree, folder.path(), "hard", &[Format::Tgz, Format::Tbz]);
    for format in [Format::Tgz, Format::Tbz] {
        let target = inside(folder.path(), &format!("from-{format}"));
        shell(folder.path(), &format!("{ANACONDA} hard.{format} -C {}", target.display()));
        assert_eq!(differences(&tree, &target, ""), named(&[LEFT_OUT]), "{format}");
    }
}

#[test]
fn bsdtar_restores_everything_but_the_named() {
    if !can_run(&["bsdtar", "setfacl", "python3"]) {
        return;
    }
    let folder = folder();
    let tree = hard_tree(folder.path(), &[]);
    Packing { labels: &FromTree, ..Packing::default() }.pack(&tree, folder.path(), "hard", &[Format::Txz]);
    let target = inside(folder.path(), "target");
    // It restores the target's own time before it writes into it.
    shell(folder.path(), &format!("bsdtar -xpf hard.txz --acls --xattrs -C {} 2>/dev/null || test $? = 1", target.display()));
    assert_eq!(differences(&tree, &target, "root"), named(&[LEFT_OUT, BSDTAR]));
}

#[test]
fn a_tree_unpacked_on_another_file_system_packs_to_the_same_bytes() {
    if !can_run(&["mkfs.xfs", "mount", "tar", "setfacl", "python3"]) {
        return;
    }
    let folder = folder();
    let target = inside(folder.path(), "xfs");
    let Some(_mounted) = Mounted::xfs(folder.path(), &target) else { return };
    let tree = hard_tree(folder.path(), &["--no-big"]);
    // XFS has 18 bits for a minor number, 1,023 bytes for a link, and times from 1901 on.
    shell(&tree, "rm types/blk types/chrbig types/sl-4095; find times -name '*-neg-*' -o -name '*-y*' -o -name '*-oct*' | xargs rm -r");
    let packing = Packing { labels: &FromTree, epoch: Some(1_750_000_000), ..Packing::default() };
    let first = packing.pack(&tree, folder.path(), "first", &[Format::Tar]);
    shell(folder.path(), &format!("{ANACONDA} first.tar -C {}", target.display()));
    let second = packing.pack(&target, folder.path(), "second", &[Format::Tar]);
    shell(folder.path(), "cmp first.tar second.tar");
    assert_eq!(first.outputs, second.outputs);
    assert_eq!(first.entries, second.entries);
}

#[test]
fn a_path_beyond_what_linux_takes_at_once_is_packed_whole() {
    if !can_run(&["python3", "setfacl"]) {
        return;
    }
    let folder = folder();
    let tree = hard_tree(folder.path(), &["--no-big", "--deep"]);
    let summary = Packing::default().pack(&tree, folder.path(), "hard", &[Format::Tar]);
    let longest = crate::support::python(
        "import sys, tarfile; print(max((m.name for m in tarfile.open(sys.argv[1])), key=len))",
        &[&folder.path().join("hard.tar")],
    );
    assert!(longest.trim_end().ends_with("/leaf") && longest.len() > 4800, "{longest}");
    assert!(summary.warnings.iter().any(|w| w.contains("4095 bytes")), "{:?}", summary.warnings);
}

#[test]
fn hard_links_into_another_partition_of_the_target_are_repeated() {
    let folder = folder();
    let tree = inside(folder.path(), "tree");
    inside(&tree, "boot");
    inside(&tree, "usr");
    fs::write(tree.join("boot/one"), "content").unwrap();
    for other in ["boot/two", "usr/one", "usr/two"] {
        fs::hard_link(tree.join("boot/one"), tree.join(other)).unwrap();
    }
    let summary = Packing::default().pack(&tree, folder.path(), "links", &[Format::Tar]);
    let listed = crate::support::python(
        "import sys, tarfile\nfor m in tarfile.open(sys.argv[1]):\n  if not m.isdir(): print(m.name, m.linkname or m.size)",
        &[&folder.path().join("links.tar")],
    );
    assert_eq!(listed, "./boot/one 7\n./boot/two ./boot/one\n./usr/one 7\n./usr/two ./usr/one\n");
    assert_eq!(summary.warnings.len(), 1);
    assert_eq!(fs::metadata(tree.join("usr/two")).unwrap().nlink(), 4);
}

/// A file system on a loop device, unmounted when dropped.
struct Mounted<'a>(&'a std::path::Path);

impl<'a> Mounted<'a> {
    fn xfs(folder: &std::path::Path, target: &'a std::path::Path) -> Option<Self> {
        shell(folder, "truncate -s 512M xfs.img; mkfs.xfs -q xfs.img");
        let tried = std::panic::catch_unwind(|| shell(folder, &format!("mount -o loop xfs.img {}", target.display())));
        if tried.is_err() {
            crate::support::skip("loop devices cannot be mounted here");
            return None;
        }
        Some(Self(target))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        shell(std::path::Path::new("/"), &format!("umount {}", self.0.display()));
    }
}
