//! Scriptlets that try to leave the install root, in each kind of container.

use std::fs;

use crate::container::{Container, Kind};
use crate::stage::Stage;
use crate::support::repo::{Package, Repo, When};

/// Ways out of the root: each prints `ESCAPED` when it works.
const KIT: &str = r#"
exec > /var/escapes 2>&1
for pid in $(cd /proc && echo [0-9]*); do
    busybox cat /proc/$pid/rootCANARY && echo "ESCAPED by the root of $pid"
    busybox cat /proc/$pid/cwdCANARY && echo "ESCAPED by the working directory of $pid"
    busybox cat /proc/$pid/environ | busybox grep HOME=/tmp &&
        echo "ESCAPED by the environment of $pid"
done
busybox mkdir -p /var/jail &&
    busybox chroot /var/jail /bin/sh -c 'cd ../../../../../..; cat .CANARY' &&
    echo "ESCAPED by a second chroot"
busybox mknod /var/disk b 254 0 && busybox head -c 1 /var/disk && echo "ESCAPED by a device"
busybox mount -t tmpfs none /var/jail && echo "ESCAPED by a mount"
busybox mount -t proc none /var/jail && echo "ESCAPED by another proc"
busybox unshare -r true && echo "ESCAPED by a user namespace"
echo x > /proc/sysrq-trigger && echo "ESCAPED by sysrq"
echo x > /proc/sys/kernel/core_pattern && echo "ESCAPED by a kernel setting"
echo 0 > /proc/sys/vm/overcommit_memory && echo "ESCAPED by a kernel setting"
busybox head -c 1 /proc/kcore && echo "ESCAPED by the kernel's memory"
busybox nc -w 1 127.0.0.1 22 < /dev/null && echo "ESCAPED by the network"
busybox chmod 777 /dev/null && echo "ESCAPED by a device's mode"
for directory in /sys/fs/cgroup /sys/kernel; do
    busybox mkdir $directory/x && echo "ESCAPED by $directory"
done
for path in /proc /proc/self /proc/self/fd /dev /sys /sys/kernel \
    /proc/self/root /proc/self/cwd /proc/$$ /proc/$PPID/root /proc/$PPID/cwd; do
    for up in . .. ../.. ../../.. ../../../..; do
        (cd $path/$up && busybox cat .CANARY) && echo "ESCAPED by the directory $path/$up"
        busybox cat $path/${up}CANARY && echo "ESCAPED by the path $path/$up"
    done
done
busybox kill -0 1 && echo "SIGNALLED 1"
busybox kill -0 -1 && echo "ESCAPED by a signal to all"
exec 9< /proc/self/status && busybox cat /proc/self/fd/9 > /dev/null || echo "BROKEN: descriptors"
echo one | busybox cat /dev/stdin | busybox grep -q one || echo "BROKEN: /dev/stdin"
echo two > /dev/stdout || echo "BROKEN: /dev/stdout"
echo done
exit 0
"#;

#[test]
fn no_scriptlet_leaves_the_root_in_any_container() {
    if !Container::require(&["crun", "podman", "bwrap"]) {
        return;
    }
    let stage = Stage::empty();
    let canary = stage.path().join("canary");
    fs::write(&canary, "intact").unwrap();
    let kit = KIT.replace("CANARY", &canary.display().to_string());
    Repo::new(&stage.repo())
        .package(Package::named("kit").requires("shell").scriptlet(When::Post, &kit))
        .write();
    for kind in
        [Kind::Docker, Kind::Unconfined, Kind::UnconfinedUser, Kind::Podman, Kind::Bubblewrap]
    {
        let container = Container::new(&stage, kind);
        let done = container
            .build(&stage.recipe("install kit\nts run\n"), &stage.repo().join("settings.toml"), &[])
            .run();
        assert_eq!(done.code, Some(0), "{kind:?}: {}", done.stderr);
        let said = container.content("./var/escapes");
        assert!(said.trim_end().ends_with("done"), "{kind:?}: {said}");
        assert!(!said.contains("ESCAPED") && !said.contains("BROKEN"), "{kind:?}: {said}");
        // In a pid namespace it is the sandbox's own.
        assert!(kind != Kind::Docker || !said.contains("SIGNALLED"), "{said}");
        assert_eq!(fs::read_to_string(&canary).unwrap(), "intact");
        container.nothing_is_left();
    }
}

#[test]
fn a_process_that_a_scriptlet_leaves_behind_is_ended_and_no_other_is_named() {
    if !Container::require(&["crun"]) {
        return;
    }
    let stage = Stage::new(|repo| {
        repo.package(
            Package::named("stray")
                .requires("shell")
                .scriptlet(When::Post, "busybox setsid busybox sleep 10000 >/dev/null 2>&1 &\n"),
        )
    });
    for kind in [Kind::Docker, Kind::Unconfined] {
        let container = Container::new(&stage, kind);
        let done = container
            .build(
                &stage.recipe("install stray\nts run\n"),
                &stage.repo().join("settings.toml"),
                &[],
            )
            .run();
        assert_eq!(done.code, Some(0), "{kind:?}: {}", done.stderr);
        assert!(
            done.stderr.lines().any(|line| line.ends_with("they were ended: busybox")),
            "{kind:?}: {}",
            done.stderr
        );
        container.nothing_is_left();
    }
}
