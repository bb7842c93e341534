//! Kills inside a container in which the kernel ends nothing by itself: what stays, and how the
//! next build removes it.

use crate::container::{Container, Kind};
use crate::stage::{OSIMG, Stage};
use crate::support::repo::{Package, When};

/// Builds a recipe whose scriptlet hangs, kills osimg, the stage outside of the install root, or
/// both, and builds another one: `VICTIM SLOW QUICK OSIMG OPTION...`.
const SCRIPT: &str = r#"
victim=$1 slow=$2 quick=$3 osimg=$4
shift 4
processes() {
    for process in /proc/[0-9]*; do
        tr '\0' ' ' < $process/cmdline 2>/dev/null | grep -q "$1" && echo ${process#/proc/}
    done
}
"$osimg" build "$slow" "$@" &
build=$!
for turn in $(seq 600); do [ -n "$(processes '[b]usybox sleep 777')" ] && break; sleep 0.1; done
[ -n "$(processes '[b]usybox sleep 777')" ] || { echo "the scriptlet never ran"; exit 1; }
stage=$(processes '[o]simg-sandbox-stage namespaces')
case $victim in
osimg) kill -9 $build;;
stage) kill -9 $stage;;
both) kill -9 $build $stage;;
esac
wait $build
for turn in $(seq 50); do [ -z "$(processes '[b]usybox sleep 777')" ] && break; sleep 0.1; done
echo "after the kill: $(processes '[b]usybox sleep 777' | wc -l)"
"$osimg" build "$quick" "$@"
echo "the next build: $?"
echo "after the next build: $(processes '[b]usybox sleep 777' | wc -l)"
"#;

#[test]
fn kill_9_of_osimg_or_its_stage_leaves_nothing_that_the_next_build_does_not_end() {
    if !Container::require(&["crun"]) {
        return;
    }
    let stage = Stage::new(|repo| {
        repo.package(
            Package::named("slow").requires("shell").scriptlet(When::Post, "busybox sleep 777\n"),
        )
    });
    let slow = stage.write("slow.yum", "install slow\nts run\n");
    let quick = stage.write("quick.yum", "install base\nts run\n");
    let container = Container::new(&stage, Kind::Docker);
    let (work, image, cache) = (container.work(), container.image(), container.cache());
    for (victim, left) in [("osimg", "0"), ("stage", "0"), ("both", "1")] {
        let run =
            container.run(&["sh", "-c", SCRIPT, "sh", victim]).arg(&slow).arg(&quick).arg(OSIMG);
        let run = run
            .arg("--settings")
            .arg(stage.repo().join("settings.toml"))
            .arg("--workdir")
            .arg(&work);
        let done = run.arg("--cache").arg(&cache).arg("--output").arg(&image).run();
        for line in [
            format!("after the kill: {left}"),
            "the next build: 0".to_owned(),
            "after the next build: 0".to_owned(),
        ] {
            assert!(
                done.stdout.lines().any(|found| found == line),
                "{victim}, '{line}': {}{}",
                done.stdout,
                done.stderr
            );
        }
        container.nothing_is_left();
    }
}
