//! Many builds in a row: nothing grows.

use crate::stage::{Stage, mountinfo, sh};
use crate::support::require_root;
use crate::{RECIPE, rounds, small};
use std::fs;

#[test]
fn many_builds_leave_no_more_files_mounts_and_loop_devices_than_one() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(small);
    let count = || {
        // The logs of dnf are in the sandbox, so nothing in the cache may grow either.
        let files = sh(stage.path(), "find cache work out | wc -l; du -sb cache work | cut -f1");
        // Only of this stage: other tests run at the same time.
        let mark = stage.path().display().to_string();
        let backing =
            |entry: fs::DirEntry| fs::read_to_string(entry.path().join("loop/backing_file")).ok();
        let loops = fs::read_dir("/sys/block")
            .unwrap()
            .flatten()
            .filter_map(backing)
            .filter(|file| file.contains(&mark))
            .count();
        (files, mountinfo(), loops)
    };
    stage.build(RECIPE).succeeds();
    stage.build(RECIPE).succeeds();
    let before = count();
    for round in 0..rounds(3, 150) {
        stage.build(RECIPE).succeeds();
        assert_eq!(count(), before, "after build {round}");
    }
}
