//! The same tree gives the same bytes in any environment.
#![expect(clippy::disallowed_methods, reason = "the test runs itself again in another environment")]

use crate::support::{Packing, can_run, digests, directory, hard_tree, noise, run};
use osimg::archive::{Format, FromTree, Level};
use std::path::Path;
use std::process::Command;

const EPOCH: i64 = 1_700_000_000;

fn packing(jobs: usize) -> Packing<'static> {
    Packing { jobs, level: Level::Fast, epoch: Some(EPOCH), labels: &FromTree }
}

#[test]
fn the_number_of_jobs_does_not_change_the_bytes() {
    if !can_run(&["python3", "setfacl"]) {
        return;
    }
    let directory = directory();
    let tree = hard_tree(directory.path(), &["--no-big"]);
    // More than one block in every format.
    std::fs::write(tree.join("noise"), noise(1, 14 << 20, 4)).unwrap();
    let first = digests(&packing(1).pack(&tree, directory.path(), "x", &Format::ALL));
    for jobs in [2, 3, 8] {
        assert_eq!(
            digests(&packing(jobs).pack(&tree, directory.path(), "x", &Format::ALL)),
            first,
            "{jobs} jobs"
        );
    }
    // One format per pass, or all in one pass.
    for (format, digest) in Format::ALL.into_iter().zip(&first) {
        assert_eq!(
            digests(&packing(2).pack(&tree, directory.path(), "y", &[format])),
            std::slice::from_ref(digest),
            "{format}"
        );
    }
}

#[test]
fn umask_time_zone_and_locale_do_not_change_the_bytes_and_128_descriptors_suffice() {
    if !can_run(&["python3", "setfacl", "sha256sum"]) {
        return;
    }
    let directory = directory();
    let tree = hard_tree(directory.path(), &["--no-big", "--deep"]);
    let deep = "
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
for level in range(300):
    for name in ('a', 'm', 'z'): os.mkdir(name, dir_fd=fd)
    os.close(os.open('n', os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=fd))
    fd = os.open('m', os.O_RDONLY, dir_fd=fd)
";
    crate::support::python(
        &format!(
            "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (1000, 1000))\n{deep}"
        ),
        &[&tree],
    );
    let first = packing(2).pack(&tree, directory.path(), "x", &[Format::Tgz]);
    let line = "umask 077; ulimit -n 128; exec \"$0\" --exact \
                reproducibility::packs_for_another_test --include-ignored";
    for (zone, locale) in [("Pacific/Apia", "C"), ("America/St_Johns", "tr_TR.UTF-8")] {
        run(Command::new("sh")
            .args(["-ec", line])
            .arg(std::env::current_exe().unwrap())
            .env("TZ", zone)
            .env("LC_ALL", locale)
            .env("ARCHIVE_TEST_TREE", &tree)
            .env("ARCHIVE_TEST_DIRECTORY", directory.path()));
        let sum = crate::support::shell(directory.path(), "sha256sum other.tgz");
        assert!(sum.starts_with(digests(&first)[0].as_bytes()), "{zone} {locale}");
    }
    // 300 levels of three directories and a file; the last directory is empty.
    assert!(first.entries > 300 * 4);
}

#[test]
#[ignore = "only another test runs it, in a separate process"]
fn packs_for_another_test() {
    let (Some(tree), Some(directory)) =
        (std::env::var_os("ARCHIVE_TEST_TREE"), std::env::var_os("ARCHIVE_TEST_DIRECTORY"))
    else {
        return;
    };
    packing(3).pack(Path::new(&tree), Path::new(&directory), "other", &[Format::Tgz]);
}

/// Makes the same tree, in a different order each time.
const PLANT: &str = r#"
import os, random, sys
root, seed = sys.argv[1], int(sys.argv[2])
content = random.Random(1)
data = lambda n: bytes(content.randrange(1 << (1 + n % 8)) for _ in range(n * 37 % 9000))
plan = [(f"d{n % 7}/e{n % 3}/f{n}", data(n)) for n in range(300)]
plan.append(("noise", content.randbytes(1_300_000)))
plan.append(("holes", bytes(200_000) + b"x" + bytes(300_000)))
order = random.Random(seed)
order.shuffle(plan)
os.umask(0)
for name, data in plan:
    path = os.path.join(root, name)
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
    os.chmod(path, 0o644 | (len(data) % 2) * 0o111)
links = [("f0", "d0/e0/f0"), ("z0", "d0/e0/f0")]
order.shuffle(links)
for name, first in links: os.link(os.path.join(root, first), os.path.join(root, name))
os.symlink("f0", os.path.join(root, "symlink"))
os.mkfifo(os.path.join(root, "fifo"), 0o644)
os.system(f"setfacl -m u:4711:r--,g:815:r-x {root}/d1/e1/f1 && setfacl -d -m u:4711:rwx {root}/d1")
for directory, directories, files in os.walk(root, topdown=False):
    for name in directories + files + ["."]:
        os.utime(os.path.join(directory, name), (seed, 1_600_000_000), follow_symlinks=False)
os.chmod(root, 0o755)
"#;

/// Runs a program in a new user namespace. All ids are mapped; there is no privilege outside.
const NAMESPACE: &str = r#"
import ctypes, os, sys
ready, go = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    assert ctypes.CDLL(None).unshare(0x10000000) == 0
    os.write(ready[1], b"x")
    os.read(go[0], 1)
    os.execvp(sys.argv[1], sys.argv[1:])
os.read(ready[0], 1)
for map in ("uid_map", "gid_map"):
    with open(f"/proc/{child}/{map}", "w") as file: file.write("0 0 65536")
os.write(go[1], b"x")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"#;

/// Ten packings, each with different settings. Prints all checksums.
const TEN: &str = r#"
work=$1 osimg=$2 policy=$3
mount --make-rprivate /
cp "$osimg" "$work/osimg"
mkdir "$work/host" "$work/tmpfs" "$work/xfs" "$work/ext4"
mount -t tmpfs tmpfs "$work/tmpfs"
for kind in xfs ext4; do
    truncate -s 400M "$work/$kind.disk"
    "mkfs.$kind" -q "$work/$kind.disk"
    mount -o loop "$work/$kind.disk" "$work/$kind"
done
chmod 755 "$work" "$work"/*
cp "$policy" "$work/policy" && chmod 644 "$work/policy"
number=1
while read -r place umask zone locale jobs user; do
    tree=$work/$place/tree$number out=$work/$place/out$number
    mkdir "$tree" "$out"
    python3 "$work/plant" "$tree" $number
    case $user in
        namespace) as="python3 $work/namespace" ;;
        *) as="setpriv --reuid $user --regid $user --clear-groups"; chown $user "$out" ;;
    esac
    for suffix in tar tgz tbz txz; do
        (umask $umask; cd /
            TZ=$zone LC_ALL=$locale $as "$work/osimg" pack -q -j $jobs --level fast \
                --source-date-epoch 1500000000 --selinux "policy=$work/policy" \
                "$tree" -o "$out/x.$suffix" >/dev/null)
        sha256sum <"$out/x.$suffix" | sed "s/-/$suffix/"
    done
    number=$((number + 1))
done <<BUILDS
host 022 UTC C 1 0
host 077 Asia/Kolkata C.UTF-8 2 0
tmpfs 000 Pacific/Apia tr_TR.UTF-8 3 65534
xfs 027 America/St_Johns C 4 0
xfs 002 UTC de_DE 5 65534
host 777 Etc/GMT+12 POSIX 6 0
tmpfs 022 Etc/GMT-14 C 7 namespace
ext4 022 UTC C.UTF-8 8 65534
ext4 077 Europe/Berlin C 1 0
xfs 022 Asia/Tokyo ja_JP.eucJP 8 0
BUILDS
"#;

#[test]
fn ten_packings_in_different_environments_give_one_checksum_per_format() {
    if !can_run(&["python3", "setfacl", "setpriv", "unshare", "mount", "mkfs.xfs", "mkfs.ext4"]) {
        return;
    }
    // A directory that every user can enter, unlike the usual temporary directory of the tests.
    let directory = tempfile::Builder::new().prefix("osimg-ten-").tempdir_in("/var/tmp").unwrap();
    std::fs::write(directory.path().join("plant"), PLANT).unwrap();
    std::fs::write(directory.path().join("namespace"), NAMESPACE).unwrap();
    let sums = run(Command::new("unshare")
        .args(["--mount", "sh", "-ec", TEN, "sh"])
        .arg(directory.path())
        .args([
            env!("CARGO_BIN_EXE_osimg"),
            concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/selinux/file_contexts"),
        ]));
    let sums = String::from_utf8(sums).unwrap();
    let different: std::collections::BTreeSet<&str> = sums.lines().collect();
    assert_eq!((sums.lines().count(), different.len()), (40, 4), "{sums}");
}
