//! The table: every case, the tests that prove it, and the gaps. `-- --nocapture the_table` prints
//! it.

use std::fs;
use std::path::Path;

/// The degree to which a case is proven.
enum Proof {
    /// Completely, by these tests.
    Whole,
    /// By these tests, except for the named gap.
    But(&'static str),
    /// Not run, for the named reason. There is no such case at present.
    #[allow(dead_code, reason = "a case that cannot run must be listed as such, never as proven")]
    NotRun(&'static str),
}
use Proof::{But, NotRun, Whole};

/// One case: number, description, the tests that prove it as `file: name`, and to what degree.
type Case = (u8, &'static str, &'static [&'static str], Proof);

const CASES: [Case; 47] = [
    (
        1,
        "kill -9 of osimg at random moments",
        &[
            "e2e/kills.rs: \
             a_build_killed_at_any_moment_leaves_no_mount_no_process_and_no_half_artifact",
            "privileged/ending.rs: \
             kill_9_of_osimg_or_a_stage_at_any_moment_leaves_no_process_and_no_mount",
            "rootless/main.rs: \
             files_left_by_a_killed_build_of_a_user_are_removed_whatever_their_owner",
        ],
        Whole,
    ),
    (
        2,
        "kill -9 of the sandbox's pid 1",
        &["privileged/ending.rs: \
           kill_9_of_osimg_or_a_stage_at_any_moment_leaves_no_process_and_no_mount"],
        Whole,
    ),
    (
        3,
        "kill -9 of the package manager",
        &[
            "torture/stops.rs: \
             a_package_manager_that_is_killed_at_any_moment_fails_the_build_and_names_the_step",
            "e2e/kills.rs: killing_the_sandbox_fails_the_build_and_nothing_else",
        ],
        Whole,
    ),
    (
        4,
        "kill -9 at every call of publishing",
        &[
            "torture/faults.rs: \
             a_build_killed_at_any_call_of_publishing_leaves_the_old_artifact_or_the_new_one",
            "e2e/signals.rs: an_interrupt_while_publishing_leaves_all_or_nothing",
        ],
        Whole,
    ),
    (
        5,
        "power cut while publishing",
        &["torture/faults.rs: a_power_cut_while_publishing_leaves_the_old_artifact_or_the_new_one"],
        Whole,
    ),
    (
        6,
        "SIGINT in every step",
        &[
            "e2e/signals.rs: an_interrupt_during_the_download_ends_the_build_at_once",
            "e2e/signals.rs: an_interrupt_between_two_attempts_ends_the_build_at_once",
            "e2e/signals.rs: \
             an_interrupt_during_a_scriptlet_that_ignores_it_ends_the_build_at_once",
            "e2e/signals.rs: a_second_interrupt_ends_the_program_too",
            "e2e/signals.rs: an_interrupt_while_packing_leaves_no_file",
            "e2e/signals.rs: an_interrupt_while_a_program_of_the_image_runs_ends_the_build_at_once",
        ],
        Whole,
    ),
    (
        7,
        "SIGTERM, SIGHUP, closed stdout",
        &[
            "torture/stops.rs: sigterm_and_sighup_end_a_build_with_their_codes_and_leave_nothing",
            "e2e/signals.rs: a_closed_stdout_does_not_remove_the_artifact",
        ],
        Whole,
    ),
    (
        8,
        "SIGSTOP and SIGCONT",
        &["torture/stops.rs: \
           a_stopped_build_continues_and_the_pause_does_not_count_towards_its_limit"],
        Whole,
    ),
    (
        9,
        "a scriptlet that hangs and ignores SIGTERM",
        &[
            "e2e/scriptlets.rs: \
             a_hanging_scriptlet_is_ended_by_the_time_limit_and_its_package_is_named",
            "torture/stops.rs: \
             a_silent_scriptlet_is_ended_by_the_idle_limit_and_its_package_is_named",
        ],
        Whole,
    ),
    (
        10,
        "a scriptlet that prints endlessly",
        &[
            "e2e/scriptlets.rs: a_scriptlet_that_prints_endlessly_fills_neither_memory_nor_report",
            "privileged/ending.rs: a_flood_of_output_does_not_fill_the_supervisor_s_memory",
        ],
        Whole,
    ),
    (
        11,
        "daemons that scriptlets leave",
        &[
            "e2e/scriptlets.rs: a_daemon_left_by_a_scriptlet_is_ended_and_reported",
            "e2e/scriptlets.rs: \
             a_daemon_that_keeps_its_scriptlet_s_output_open_does_not_hang_the_build",
            "privileged/ending.rs: \
             a_daemon_that_ignores_signals_and_holds_the_output_open_is_ended_and_named",
        ],
        Whole,
    ),
    (
        12,
        "a fork bomb",
        &[
            "privileged/confinement.rs: \
             a_fork_bomb_meets_a_limit_and_the_host_s_limit_is_unchanged",
            "e2e/scriptlets.rs: \
             a_fork_bomb_ends_the_build_and_its_package_is_named_without_a_limit_of_the_kernel",
        ],
        Whole,
    ),
    (
        13,
        "scriptlets that fail",
        &[
            "e2e/scriptlets.rs: a_failing_pre_fails_the_build_and_names_the_package",
            "e2e/scriptlets.rs: a_failing_post_fails_the_build_and_names_the_package",
            "e2e/scriptlets.rs: a_failing_posttrans_fails_the_build_and_names_the_package",
            "e2e/scriptlets.rs: a_failing_scriptlet_in_lua_fails_the_build",
            "e2e/scriptlets.rs: \
             a_failing_trigger_of_any_kind_fails_the_build_and_one_that_works_does_not",
            "e2e/scriptlets.rs: all_failing_scriptlets_are_reported",
        ],
        Whole,
    ),
    (
        14,
        "recipes that are wrong",
        &[
            "e2e/recipes.rs: an_unknown_package_is_reported_with_its_line_and_similar_names",
            "e2e/recipes.rs: an_unknown_group_is_reported_with_its_line_and_the_available_groups",
            "e2e/recipes.rs: a_misspelt_command_is_reported_with_its_line_and_a_suggestion",
            "e2e/recipes.rs: a_recipe_without_ts_run_is_built_with_a_note",
            "e2e/recipes.rs: an_empty_recipe_is_refused",
            "recipe_language.rs: mistakes_that_dnf_ignores_are_errors_with_position_and_fix",
            "recipe_properties.rs: \
             a_line_of_a_megabyte_and_a_file_with_many_errors_are_read_quickly",
        ],
        Whole,
    ),
    (
        15,
        "full disks in cache, root and output at 20 sizes",
        &[
            "torture/faults.rs: \
             full_disks_and_used_up_inodes_are_reported_and_nothing_incomplete_is_left",
            "e2e/space.rs: a_workdir_that_is_too_small_is_reported_before_anything_is_installed",
            "e2e/space.rs: a_scriptlet_that_fills_the_workdir_fails_the_build",
            "e2e/space.rs: a_cache_that_is_too_small_is_reported",
            "e2e/space.rs: a_full_output_file_system_leaves_no_file_and_keeps_the_earlier_one",
        ],
        Whole,
    ),
    (
        16,
        "EIO, EDQUOT, EROFS, no inodes",
        &[
            "torture/faults.rs: \
             an_error_of_any_call_of_publishing_is_reported_and_keeps_the_earlier_artifact",
            "torture/faults.rs: \
             full_disks_and_used_up_inodes_are_reported_and_nothing_incomplete_is_left",
            "torture/faults.rs: an_output_that_cannot_be_written_to_is_reported_before_any_work",
        ],
        Whole,
    ),
    (
        17,
        "write errors at the end of every format",
        &[
            "archive/failures.rs: a_full_disk_is_reported_as_such_for_every_format",
            "archive/failures.rs: one_failing_output_ends_all_of_them",
        ],
        Whole,
    ),
    (
        18,
        "builds that race for one output",
        &[
            "torture/faults.rs: \
             builds_that_race_for_one_output_do_not_mix_and_the_loser_names_the_winner",
            "e2e/signals.rs: a_second_build_of_the_same_output_is_refused",
        ],
        Whole,
    ),
    (
        19,
        "two builds of one cache",
        &[
            "torture/mirrors.rs: \
             concurrent_builds_with_one_cache_succeed_and_fetch_every_package_once",
            "e2e/signals.rs: two_builds_with_one_cache_take_turns_and_both_succeed",
            "e2e/network.rs: a_second_build_downloads_no_package_again",
        ],
        Whole,
    ),
    (
        20,
        "stale locks",
        &["torture/faults.rs: stale_lock_files_block_no_build"],
        But("not with another host's lock on NFS"),
    ),
    (
        21,
        "mirrors that fail",
        &[
            "torture/mirrors.rs: a_mirror_that_responds_429_is_asked_later",
            "torture/mirrors.rs: a_mirror_with_a_redirect_loop_is_an_error",
            "torture/mirrors.rs: \
             an_expired_certificate_is_reported_as_such_and_a_valid_one_is_accepted",
            "e2e/network.rs: the_retry_after_header_of_a_busy_server_is_obeyed",
            "e2e/network.rs: after_a_stalled_mirror_the_next_one_is_used",
            "e2e/network.rs: a_file_sent_with_a_wrong_length_or_without_one_is_complete_in_the_end",
            "e2e/network.rs: a_request_to_a_busy_server_is_repeated",
            "e2e/network.rs: an_interrupted_download_is_resumed",
            "e2e/network.rs: a_repository_without_a_server_is_reported",
        ],
        Whole,
    ),
    (
        22,
        "metadata that change during the download",
        &[
            "e2e/network.rs: metadata_that_are_replaced_while_they_are_read_are_read_again",
            "e2e/network.rs: a_missing_file_is_requested_once_more_and_then_reported",
            "e2e/network.rs: a_package_that_is_altered_in_transit_is_never_installed",
        ],
        Whole,
    ),
    (
        23,
        "a registry that fails",
        &[
            "openstack/faults.rs: a_burst_of_503_responses_is_retried",
            "openstack/faults.rs: a_service_that_always_responds_503_is_named_and_nothing_is_left",
            "openstack/faults.rs: a_connection_that_is_cut_once_costs_one_more_attempt",
            "openstack/faults.rs: a_connection_that_is_always_cut_leaves_nothing",
            "openstack/faults.rs: an_upload_limit_of_a_proxy_is_distinguished_from_a_quota",
            "openstack/faults.rs: a_lost_response_to_the_creation_makes_no_second_image",
            "openstack/faults.rs: an_image_that_is_removed_in_the_meantime_is_created_again",
            "openstack/faults.rs: an_image_that_another_client_fills_first_is_created_again",
            "openstack/faults.rs: a_permanent_conflict_is_reported_and_nothing_is_left",
            "openstack/faults.rs: a_disk_full_on_the_server_leaves_nothing",
            "openstack/tokens.rs: an_upload_that_outlives_its_token_is_verified_with_a_new_one",
            "openstack/contract.rs: glance_keeps_the_contract",
            "openstack/contract.rs: an_oci_registry_keeps_the_contract",
            "pieces/oci.rs: a_failure_during_publishing_leaves_no_tag",
        ],
        Whole,
    ),
    (
        24,
        "a registry that stores other bytes",
        &[
            "openstack/faults.rs: \
             an_upload_that_is_altered_in_transit_is_found_by_its_digest_and_removed",
            "openstack/contract.rs: glance_keeps_the_contract",
            "openstack/contract.rs: an_oci_registry_keeps_the_contract",
            "openstack/contract.rs: a_web_servers_tree_keeps_the_contract",
            "openstack/contract.rs: a_directory_keeps_the_contract",
            "pieces/webtree.rs: \
             a_piece_that_changes_while_it_is_published_leaves_the_old_tree_intact",
        ],
        Whole,
    ),
    (
        25,
        "packages with changed bytes",
        &[
            "torture/damage.rs: \
             a_package_with_any_changed_byte_is_refused_even_if_the_metadata_match_it",
            "torture/damage.rs: \
             impossible_lengths_in_a_header_are_refused_before_memory_is_allocated",
            "e2e/trust.rs: a_damaged_package_is_refused_even_if_the_metadata_match_it",
            "e2e/trust.rs: a_package_that_changed_since_its_repository_was_indexed_is_refused",
        ],
        Whole,
    ),
    (
        26,
        "metadata with changed bytes",
        &[
            "torture/damage.rs: metadata_with_any_changed_byte_are_refused_or_give_the_same_image",
            "e2e/trust.rs: damaged_metadata_are_refused",
        ],
        Whole,
    ),
    (
        27,
        "wrong keys and signatures",
        &[
            "torture/damage.rs: a_signature_over_a_weak_digest_is_refused",
            "torture/damage.rs: an_expired_and_a_revoked_key_are_refused_before_any_download",
            "e2e/trust.rs: an_unsigned_package_is_refused",
            "e2e/trust.rs: a_package_signed_by_another_key_is_refused",
            "e2e/trust.rs: only_the_pinned_key_of_a_file_with_two_keys_is_trusted",
        ],
        Whole,
    ),
    (
        28,
        "older metadata are replayed",
        &[
            "torture/mirrors.rs: \
             older_metadata_do_not_change_a_locked_build_and_are_reported_by_any_other",
            "e2e/locks.rs: \
             a_locked_build_installs_the_locked_packages_after_the_repository_has_changed",
        ],
        Whole,
    ),
    (
        29,
        "packages that contain configuration",
        &["e2e/hostile.rs: configuration_from_a_package_does_not_affect_the_next_transaction"],
        Whole,
    ),
    (
        30,
        "links to the host in 20 places",
        &[
            "torture/links.rs: links_in_any_place_never_lead_a_build_to_the_host",
            "e2e/hostile.rs: a_dev_or_run_directory_that_links_to_the_host_is_not_followed",
            "e2e/hostile.rs: links_that_a_scriptlet_makes_do_not_lead_out_of_the_image",
            "privileged/hostile.rs: \
             a_hostile_file_instead_of_an_api_directory_is_named_and_the_host_is_untouched",
        ],
        Whole,
    ),
    (
        31,
        "paths of packages that are hostile",
        &["torture/links.rs: package_paths_that_lead_upwards_stay_in_the_image"],
        Whole,
    ),
    (
        32,
        "scriptlets that want to escape",
        &[
            "e2e/hostile.rs: a_scriptlet_cannot_reach_the_host",
            "privileged/confinement.rs: \
             dangerous_system_calls_are_refused_by_both_of_their_numbers",
            "privileged/confinement.rs: \
             the_host_is_not_reachable_by_a_process_s_root_or_by_two_chroots",
            "privileged/confinement.rs: pid_1_and_its_socket_to_the_supervisor_are_out_of_reach",
            "privileged/devices.rs: files_of_the_host_in_proc_and_sys_cannot_be_written",
            "rootless/main.rs: scriptlets_in_a_build_by_a_user_are_confined_as_in_a_build_by_root",
        ],
        Whole,
    ),
    (
        33,
        "odd inodes",
        &[
            "torture/odd.rs: a_file_with_very_many_hard_links_is_packed_once_with_little_memory",
            "torture/odd.rs: immutable_files_are_packed_and_reported_if_they_cannot_be_removed",
            "archive/fidelity.rs: \
             gnu_tar_and_bsdtar_restore_all_but_the_listed_differences_on_ext4_and_xfs",
            "archive/fidelity.rs: a_path_longer_than_path_max_is_packed_whole",
            "privileged/trees.rs: deep_trees_and_odd_names_are_removed_whole",
        ],
        Whole,
    ),
    (
        34,
        "directories that become links in the meantime",
        &[
            "torture/links.rs: \
             a_directory_that_becomes_a_link_while_it_is_packed_adds_nothing_from_outside",
            "privileged/trees.rs: removal_stays_in_the_tree_while_directories_become_links",
            "privileged/trees.rs: \
             writing_and_removing_stay_in_the_root_while_directories_become_links",
        ],
        Whole,
    ),
    (
        35,
        "a mount in what is to be removed",
        &[
            "torture/links.rs: cleanup_stops_at_a_mount_and_removes_only_directories_of_osimg",
            "privileged/trees.rs: a_mount_in_the_tree_stops_removal_and_keeps_its_content",
        ],
        Whole,
    ),
    (
        36,
        "a host with propagating mounts",
        &[
            "privileged/hostile.rs: a_host_with_propagating_mounts_keeps_its_mount_table",
            "privileged/hostile.rs: \
             a_build_whose_workdir_is_in_a_shared_mount_leaves_no_mount_behind",
        ],
        Whole,
    ),
    (
        37,
        "fuzzed parsers",
        &[
            "torture/fuzz.rs: damaged_recipes_are_read_or_refused_quickly",
            "torture/fuzz.rs: damaged_settings_are_read_or_refused_quickly",
            "torture/fuzz.rs: damaged_locks_are_read_or_refused_quickly",
            "torture/fuzz.rs: damaged_treeinfos_are_read_or_refused_quickly",
            "torture/fuzz.rs: damaged_policies_are_read_or_refused_quickly",
            "torture/fuzz.rs: damaged_archives_are_read_or_refused_quickly",
            "torture/fuzz.rs: damaged_packages_are_read_or_refused_quickly",
            "recipe_properties.rs: no_text_makes_the_parser_panic",
            "recipe_settings.rs: no_settings_make_the_reader_panic",
            "archive/read_hostile.rs: any_bytes_are_read_without_a_panic",
        ],
        But("only with mutated documents here; `make fuzz` is guided by coverage, ten minutes \
             each. dnf reads comps"),
    ),
    (
        38,
        "wrong clocks and time zones",
        &[
            "torture/stops.rs: a_wrong_or_racing_clock_gives_the_same_image",
            "torture/stops.rs: unusual_environments_give_the_same_image",
            "torture/reproducible.rs: two_builds_in_different_environments_are_identical",
            "torture/reproducible.rs: \
             a_scriptlet_that_writes_the_year_is_found_because_the_clocks_differ",
            "archive/reproducibility.rs: \
             umask_time_zone_and_locale_do_not_change_the_bytes_and_128_descriptors_suffice",
        ],
        Whole,
    ),
    (
        39,
        "without root",
        &[
            "rootless/main.rs: a_user_with_subordinate_ids_builds_the_same_tarball_as_root",
            "rootless/main.rs: a_user_with_a_single_id_builds_the_same_tarball_as_root",
            "rootless/main.rs: \
             without_tracing_the_packages_decide_the_owners_and_a_warning_is_shown",
            "rootless/main.rs: \
             a_container_s_root_that_may_not_mount_builds_in_its_own_user_namespace",
            "rootless/main.rs: missing_user_namespaces_are_reported_with_reason_and_fix",
            "rootless/container.rs: \
             behind_a_container_s_filter_packages_are_contained_by_it_and_the_bytes_are_the_same",
            "rootless/main.rs: the_demo_distribution_built_by_a_user_is_byte_identical_to_root_s",
        ],
        But("not with AppArmor's restriction, which the test machine lacks"),
    ),
    (
        40,
        "capabilities and ids from outside the map",
        &[
            "archive/failures.rs: \
            a_capability_of_a_container_is_packed_as_it_is_unless_an_image_is_built",
            "rootless/main.rs: a_user_with_subordinate_ids_builds_the_same_tarball_as_root",
        ],
        Whole,
    ),
    (
        41,
        "two builds, one digest",
        &[
            "torture/reproducible.rs: two_builds_in_different_environments_are_identical",
            "torture/reproducible.rs: a_scriptlet_does_not_see_the_name_of_the_host",
            "torture/reproducible.rs: \
             a_scriptlet_that_writes_the_time_is_found_with_file_byte_and_package",
            "rootless/main.rs: a_user_with_subordinate_ids_builds_the_same_tarball_as_root",
            "e2e/artifacts.rs: the_same_recipe_gives_the_same_bytes_in_any_environment",
            "e2e/artifacts.rs: a_root_in_memory_gives_the_same_bytes_as_one_on_disk",
            "archive/reproducibility.rs: the_number_of_jobs_does_not_change_the_bytes",
        ],
        Whole,
    ),
    (
        42,
        "odd umask, limits, descriptors, directories",
        &[
            "torture/stops.rs: unusual_environments_give_the_same_image",
            "privileged/inheritance.rs: \
             few_descriptors_a_removed_directory_closed_streams_and_limits_do_no_harm",
            "e2e/space.rs: a_file_size_limit_is_an_error_and_does_not_kill_osimg",
        ],
        Whole,
    ),
    (
        43,
        "little memory",
        &[
            "torture/stops.rs: a_build_with_little_memory_succeeds_or_publishes_nothing",
            "archive/read_hostile.rs: an_archive_made_to_exhaust_memory_uses_little",
        ],
        Whole,
    ),
    (
        44,
        "the image as Anaconda unpacks it, compared and booted",
        &[
            "archive/fidelity.rs: \
             gnu_tar_and_bsdtar_restore_all_but_the_listed_differences_on_ext4_and_xfs",
            "e2e/demo.rs: the_recipe_of_this_repository_builds_an_image_that_its_own_rpm_verifies",
            "boot/main.rs: \
             the_demo_image_boots_with_selinux_enforcing_and_has_its_labels_capabilities_and_acls",
        ],
        Whole,
    ),
    (
        45,
        "tarballs that are cut off",
        &["archive/read_hostile.rs: a_tarball_that_is_truncated_anywhere_is_refused"],
        Whole,
    ),
    (
        46,
        "secrets",
        &[
            "torture/secrets.rs: \
             no_secret_of_settings_or_environment_is_printed_recorded_or_shown_to_scriptlets",
            "torture/secrets.rs: a_password_in_an_address_is_refused_without_being_repeated",
            "torture/secrets.rs: parameters_of_a_mirror_list_are_not_repeated",
        ],
        Whole,
    ),
    (
        47,
        "many builds in a row",
        &["torture/soak.rs: many_builds_leave_no_more_files_mounts_and_loop_devices_than_one"],
        But("as many builds as requested, not a whole day"),
    ),
];

/// Whether `file: name` is an existing test.
pub fn is_test(reference: &str) -> bool {
    let (file, name) = reference.split_once(": ").unwrap();
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(file))
        .unwrap_or_default();
    text.find(&format!("fn {name}"))
        .is_some_and(|at| text[..at].contains("#[test]") || text[..at].contains("proptest"))
}

#[test]
fn the_table_names_existing_tests() {
    let mut missing = Vec::new();
    let mut count = [0; 3];
    for (index, (number, what, proofs, proof)) in CASES.iter().enumerate() {
        assert_eq!(usize::from(*number), index + 1);
        let (place, word) = match proof {
            Whole => (0, "proven".to_owned()),
            But(what) => (1, format!("proven, but: {what}")),
            NotRun(why) => (2, format!("NOT RUN: {why}")),
        };
        count[place] += 1;
        println!("{number:>2} {what}: {word}");
        assert_eq!(proofs.is_empty(), matches!(proof, NotRun(_)), "case {number}");
        for reference in *proofs {
            println!("     {reference}");
            if !is_test(reference) {
                missing.push(*reference);
            }
        }
    }
    println!(
        "{} cases: {} proven, {} in part, {} not run",
        CASES.len(),
        count[0],
        count[1],
        count[2]
    );
    assert!(missing.is_empty(), "no such test: {missing:#?}");
}
