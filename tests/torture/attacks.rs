//! The attacks that succeed against the usual shell pipeline, and the tests that replay each of
//! them. `-- --nocapture the_attacks` prints the list.

use crate::table::is_test;

/// The attack, its effect on the pipeline of bind mounts, `dnf --installroot`, `truncate` and
/// `umount -R`, and the tests.
type Attack = (&'static str, &'static str, &'static [&'static str]);

const ATTACKS: [Attack; 13] = [
    (
        "a package's /etc/machine-id links to a file of the host, which finishing truncates",
        "the host's file was emptied",
        &["e2e/hostile.rs: \
           a_machine_id_that_links_to_a_host_file_becomes_an_empty_file_of_the_image"],
    ),
    (
        "a package's /dev, /proc, /run or cache link to directories of the host, on which the \
         build mounts",
        "devtmpfs, proc and tmpfs were mounted on the host's directories",
        &[
            "e2e/hostile.rs: a_dev_or_run_directory_that_links_to_the_host_is_not_followed",
            "privileged/hostile.rs: \
             a_hostile_file_instead_of_an_api_directory_is_named_and_the_host_is_untouched",
        ],
    ),
    (
        "a package's logs, caches and databases link to the host, where the package manager \
         writes as root",
        "its log and metadata were written there",
        &[
            "e2e/hostile.rs: \
             caches_logs_and_state_that_link_to_the_host_stay_links_and_are_not_followed",
            "e2e/hostile.rs: a_database_directory_that_links_to_the_host_is_not_followed",
            "torture/links.rs: links_in_any_place_never_lead_a_build_to_the_host",
        ],
    ),
    (
        "a key file in the image links to a secret of the host, and is imported",
        "refused, because it is not a key; osimg never imports a key of the image",
        &[
            "torture/links.rs: links_in_any_place_never_lead_a_build_to_the_host",
            "e2e/trust.rs: a_file_that_is_not_a_key_is_refused",
        ],
    ),
    (
        "a package brings dnf.conf, repositories and macros, which the next transaction obeys",
        "an unsigned package of a foreign repository was installed, with status 0",
        &["e2e/hostile.rs: configuration_from_a_package_does_not_affect_the_next_transaction"],
    ),
    (
        "a scriptlet goes through /proc/PID/root of a process of the host",
        "it wrote on the host",
        &[
            "e2e/hostile.rs: a_scriptlet_cannot_reach_the_host",
            "privileged/confinement.rs: \
             the_host_is_not_reachable_by_a_process_s_root_or_by_two_chroots",
        ],
    ),
    (
        "a scriptlet breaks out of the chroot by a second chroot",
        "it wrote on the host",
        &["privileged/confinement.rs: \
           the_host_is_not_reachable_by_a_process_s_root_or_by_two_chroots"],
    ),
    (
        "a scriptlet uses its capabilities, the host's processes, devices and network",
        "it had all forty capabilities, all processes, the whole /dev and every interface",
        &[
            "privileged/confinement.rs: \
             the_sandbox_has_nine_capabilities_no_new_privileges_and_a_filter",
            "privileged/confinement.rs: pid_1_is_osimg_and_processes_of_the_host_are_invisible",
            "privileged/confinement.rs: operations_that_need_a_dropped_capability_are_refused",
            "privileged/devices.rs: dev_holds_exactly_the_named_nodes_and_they_work",
            "privileged/inheritance.rs: without_network_there_is_only_the_loopback_interface",
        ],
    ),
    (
        "the build unmounts bind mounts on a host with mount propagation",
        "the host lost /dev/pts, /dev/shm and its control groups",
        &[
            "privileged/hostile.rs: a_host_with_propagating_mounts_keeps_its_mount_table",
            "privileged/hostile.rs: \
             a_build_whose_workdir_is_in_a_shared_mount_leaves_no_mount_behind",
            "privileged/devices.rs: \
             the_host_s_mounts_and_api_directories_are_the_same_before_and_after",
        ],
    ),
    (
        "a root is removed while something of the host is still mounted in it",
        "`rm -rf --one-file-system` emptied it if it was on the same file system",
        &[
            "torture/links.rs: cleanup_stops_at_a_mount_and_removes_only_directories_of_osimg",
            "privileged/trees.rs: a_mount_in_the_tree_stops_removal_and_keeps_its_content",
            "privileged/trees.rs: removal_stays_in_the_tree_while_directories_become_links",
        ],
    ),
    (
        "a package's header has paths with ..",
        "`rpm2cpio | cpio -i` wrote outside",
        &["torture/links.rs: package_paths_that_lead_upwards_stay_in_the_image"],
    ),
    (
        "a scriptlet leaves a daemon running",
        "it kept running and kept the mounts busy",
        &[
            "e2e/scriptlets.rs: a_daemon_left_by_a_scriptlet_is_ended_and_reported",
            "privileged/ending.rs: \
             a_daemon_that_ignores_signals_and_holds_the_output_open_is_ended_and_named",
        ],
    ),
    (
        "a scriptlet hangs and ignores signals",
        "SIGINT and SIGTERM did nothing",
        &[
            "e2e/scriptlets.rs: \
             a_hanging_scriptlet_is_ended_by_the_time_limit_and_its_package_is_named",
            "e2e/signals.rs: \
             an_interrupt_during_a_scriptlet_that_ignores_it_ends_the_build_at_once",
        ],
    ),
];

#[test]
fn every_attack_is_replayed_by_an_existing_test() {
    for (what, pipeline, tests) in ATTACKS {
        println!("{what} (the shell pipeline: {pipeline})");
        for test in tests {
            println!("     {test}");
            assert!(is_test(test), "no such test: {test}");
        }
    }
    println!("{} attacks, each replayed by the tests named", ATTACKS.len());
}
