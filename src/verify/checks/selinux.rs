//! SELinux: labels have to come in the tarball, since Anaconda labels only a part of the new
//! system.

use super::check::{Check, Look, about, members, said};
use crate::contents::Contents;
use crate::verify::severity::Severity::{Error, Warning};

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "selinux-policy",
        severity: Error,
        why: "a system that is to enforce a policy that it has not stops at boot",
        fix: "install selinux-policy-targeted, or set SELINUX=disabled in etc/selinux/config",
        look: Look::Contents(|image, contents| match image.policy() {
            Err(why) => said(format!("the SELinux policy cannot be used: {why}")),
            Ok(Some(_)) if !has_compiled_policy(contents) => {
                said("there is no compiled policy: etc/selinux/TYPE/policy/policy.N")
            }
            Ok(_) => Vec::new(),
        }),
    },
    Check {
        name: "unlabelled",
        severity: Error,
        why: "unpacked files without a label get their directory's: Anaconda's restorecon does \
              not reach /usr/bin, /usr/sbin and others, and services are denied",
        fix: "pack with `osimg pack ROOT`, which computes the labels, or with `tar --selinux` \
               after setfiles",
        look: Look::Contents(|image, _| {
            let without = image
                .mislabelled()
                .iter()
                .map(|(member, _)| *member)
                .filter(|member| member.label.is_none());
            members("files without an SELinux label", without)
        }),
    },
    Check {
        name: "labels",
        severity: Error,
        why: "the kernel denies what the policy allows under another label; Anaconda puts right \
              only a part of them",
        fix: "pack with `osimg pack ROOT`, which computes the labels from the image's own policy",
        look: Look::Contents(|image, _| {
            let lossy = |label: &[u8]| String::from_utf8_lossy(label).escape_debug().to_string();
            let wrong = image
                .mislabelled()
                .iter()
                .filter_map(|(member, wanted)| Some((member, member.label.as_deref()?, wanted)));
            about(
                "other SELinux labels than the image's policy gives",
                wrong.map(|(member, has, wanted)| {
                    format!("{} ({}, not {})", member.shown(), lossy(has), lossy(wanted))
                }),
            )
        }),
    },
    Check {
        name: "foreign-labels",
        severity: Error,
        why: "these are labels of a container, a user's session or no policy at all: an enforcing \
              system may not even read the files",
        fix: "pack with `osimg pack ROOT`, which computes the labels, instead of keeping the \
               build host's",
        look: Look::Contents(|image, contents| {
            let foreign = contents.members.iter().filter(|member| {
                let label = member.label.as_deref().unwrap_or_default();
                let kind = label.split(|byte| *byte == b':').nth(2).unwrap_or_default();
                // A policy may give this one to what it knows nothing of.
                let by_policy = || image.wanted(member) == Some(label);
                FOREIGN.iter().any(|foreign| foreign.as_bytes() == kind)
                    || (kind == b"default_t" && !by_policy())
            });
            members("labels that no installed file has", foreign)
        }),
    },
    Check {
        name: "labels-without-policy",
        severity: Warning,
        why: "the labels are those of the build host: the image has no policy that they could \
              belong to",
        fix: "pack without --selinux, or install the policy",
        look: Look::Contents(|image, contents| match image.policy() {
            Ok(None) => members(
                "SELinux labels although the image has no policy",
                contents.members.iter().filter(|m| m.label.is_some()),
            ),
            _ => Vec::new(),
        }),
    },
    Check {
        name: "restorecon",
        severity: Error,
        why: "Anaconda of EL 8 and 9 runs restorecon in the new system and fails without it; \
              later ones leave wrong labels behind",
        fix: "install policycoreutils",
        look: Look::Contents(|image, contents| {
            let tools = image.has_program("restorecon") || image.has_program("setfiles");
            if tools || contents.find("etc/selinux/config").is_none() {
                Vec::new()
            } else {
                said("there is an SELinux policy, but neither restorecon nor setfiles")
            }
        }),
    },
];

/// Types of labels that no file of an installed system has.
const FOREIGN: [&str; 5] = [
    "unlabeled_t",
    "container_file_t",
    "container_ro_file_t",
    "svirt_sandbox_file_t",
    "user_tmp_t",
];

fn has_compiled_policy(contents: &Contents) -> bool {
    contents.all_below("etc/selinux").any(|member| {
        let path = String::from_utf8_lossy(&member.path);
        path.rsplit_once('/').is_some_and(|(directory, name)| {
            directory.ends_with("/policy") && name.starts_with("policy.")
        }) && member.size > 0
    })
}
