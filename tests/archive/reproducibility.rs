//! The same tree gives the same bytes, whatever surrounds the packing.
#![expect(clippy::disallowed_methods, reason = "the test runs itself again in another environment")]

use crate::support::{Packing, can_run, digests, folder, hard_tree, noise, run};
use osimg::archive::{Format, FromTree, Level};
use std::path::Path;
use std::process::Command;

const EPOCH: i64 = 1_700_000_000;

fn packing(jobs: usize) -> Packing<'static> {
    Packing { jobs, level: Level::Fast, epoch: Some(EPOCH), labels: &FromTree }
}

#[test]
fn the_number_of_jobs_does_not_show() {
    if !can_run(&["python3", "setfacl"]) {
        return;
    }
    let folder = folder();
    let tree = hard_tree(folder.path(), &["--no-big"]);
    // More than one block of every format.
    std::fs::write(tree.join("noise"), noise(1, 14 << 20, 4)).unwrap();
    let first = digests(&packing(1).pack(&tree, folder.path(), "x", &Format::ALL));
    for jobs in [2, 3, 8] {
        assert_eq!(digests(&packing(jobs).pack(&tree, folder.path(), "x", &Format::ALL)), first, "{jobs} jobs");
    }
    // Alone or with others from one pass.
    for (format, digest) in Format::ALL.into_iter().zip(&first) {
        assert_eq!(digests(&packing(2).pack(&tree, folder.path(), "y", &[format])), std::slice::from_ref(digest), "{format}");
    }
}

#[test]
fn umask_time_zone_and_locale_do_not_show_and_128_descriptors_are_enough() {
    if !can_run(&["python3", "setfacl", "sha256sum"]) {
        return;
    }
    let folder = folder();
    let tree = hard_tree(folder.path(), &["--no-big", "--deep"]);
    let deep = "
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
for level in range(300):
    for name in ('a', 'm', 'z'): os.mkdir(name, dir_fd=fd)
    os.close(os.open('n', os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=fd))
    fd = os.open('m', os.O_RDONLY, dir_fd=fd)
";
    crate::support::python(&format!("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (1000, 1000))\n{deep}"), &[&tree]);
    let first = packing(2).pack(&tree, folder.path(), "x", &[Format::Tgz]);
    let line = "umask 077; ulimit -n 128; exec \"$0\" --exact reproducibility::packs_for_another_test --include-ignored";
    for (zone, locale) in [("Pacific/Apia", "C"), ("America/St_Johns", "tr_TR.UTF-8")] {
        run(Command::new("sh")
            .args(["-ec", line])
            .arg(std::env::current_exe().unwrap())
            .env("TZ", zone)
            .env("LC_ALL", locale)
            .env("ARCHIVE_TEST_TREE", &tree)
            .env("ARCHIVE_TEST_FOLDER", folder.path()));
        let sum = crate::support::shell(folder.path(), "sha256sum other.tgz");
        assert!(sum.starts_with(digests(&first)[0].as_bytes()), "{zone} {locale}");
    }
    // 300 levels of three folders and a file, the last of them empty.
    assert!(first.entries > 300 * 4);
}

#[test]
#[ignore = "only another test runs it, in a process of its own"]
fn packs_for_another_test() {
    let (Some(tree), Some(folder)) = (std::env::var_os("ARCHIVE_TEST_TREE"), std::env::var_os("ARCHIVE_TEST_FOLDER")) else { return };
    packing(3).pack(Path::new(&tree), Path::new(&folder), "other", &[Format::Tgz]);
}
