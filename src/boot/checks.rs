//! The checks that the booted image runs on itself: a unit and a script are added to the unpacked
//! copy, and their results are parsed.

use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::console::Results;
use super::disk;
use crate::error::Result;
use crate::process::quote;
use crate::sandbox::InstallRoot;
use crate::selinux::FileContexts;

/// The path of the unit in the unpacked copy.
const UNIT: &str = "etc/systemd/system/osimg-check.service";
/// The target that starts it.
const WANTED_BY: &str = "etc/systemd/system/multi-user.target.wants";
/// The script that it runs.
const SCRIPT: &str = "etc/osimg-check";

/// How much the checks read: in an emulated machine, hashing every file takes many minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Depth {
    /// Everything, including the contents of files.
    Contents,
    /// Owners, modes, sizes, links and capabilities.
    Attributes,
}

/// Adds the unit, its script and a machine id (which Anaconda would create) to the unpacked copy.
///
/// # Errors
/// If they cannot be written.
pub(super) fn install(
    root: &InstallRoot,
    policy: Option<&FileContexts>,
    units: &[String],
    depth: Depth,
) -> Result<()> {
    root.directory(Path::new(WANTED_BY), 0o755)?;
    // Without an id systemd treats this as the first boot and applies all presets. On an installed
    // node it does not.
    let id = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?.replace('-', "");
    disk::place(root, policy, Path::new("etc/machine-id"), id.as_bytes(), 0o444)?;
    disk::place(root, policy, Path::new(SCRIPT), script(units, depth).as_bytes(), 0o644)?;
    disk::place(root, policy, Path::new(UNIT), unit().as_bytes(), 0o644)?;
    Ok(root.link(&Path::new(WANTED_BY).join("osimg-check.service"), &Path::new("/").join(UNIT))?)
}

fn unit() -> String {
    format!(
        "[Unit]\nDescription=osimg's checks of the booted \
         image\n\n[Service]\nType=simple\nExecStart=/bin/sh \
         /{SCRIPT}\nTimeoutStopSec=1\n\n[Install]\nWantedBy=multi-user.target\n"
    )
}

/// The script uses plain sh and the image's own tools. If a tool is missing, its section ends with
/// 127.
fn script(units: &[String], depth: Depth) -> String {
    let verify = match depth {
        Depth::Contents => "rpm -Va",
        Depth::Attributes => "rpm -Va --nofiledigest",
    };
    let units: String = units.iter().map(|unit| format!(" {}", quote(unit))).collect();
    // The console's prompt has no newline. A blank line every second ends it, so that its time is
    // known to the second.
    SCRIPT_TEMPLATE.replace("@VERIFY@", verify).replace("@UNITS@", &units)
}

/// The state loop replaces `is-system-running --wait`, which systemd 239 does not support.
const SCRIPT_TEMPLATE: &str = r#"export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
exec >/dev/ttyS1 2>/dev/null </dev/null
section() {
    name=$1; shift
    echo; echo "@osimg begin $name"
    "$@"
    status=$?
    echo; echo "@osimg end $name $status"
}
state() {
    while :; do
        state=$(systemctl is-system-running)
        case $state in initializing|starting) sleep 1 ;; *) break ;; esac
    done
    echo "$state"
}
failed() {
    systemctl list-units --state=failed --plain --no-legend --full |
        while read -r unit _; do echo "$unit"; done
}
units() { for unit in@UNITS@; do echo "$unit $(systemctl is-active "$unit")"; done; }
selinux() {
    [ -e /sys/fs/selinux/enforce ] || { echo disabled; return 0; }
    case $(cat /sys/fs/selinux/enforce) in 1) echo enforcing ;; *) echo permissive ;; esac
    tr -d '\0' </proc/1/attr/current; echo
}
labels() {
    [ -e /sys/fs/selinux/enforce ] || return 126
    timeout 120 restorecon -n -v -F -R /boot /etc /usr/bin /usr/sbin /root 2>&1
}
capabilities() { timeout 60 getcap -r /usr/bin /usr/sbin; }
acls() { timeout 60 getfacl -R -P -s -n -p /etc /srv /opt /home /usr/local; }
denials() {
    { dmesg; cat /var/log/audit/audit.log; } | grep 'avc: *denied' | sort -u
    return 0
}
section state state
(while :; do echo >/dev/ttyS0; sleep 1; done) &
section failed failed
section units units
section selinux selinux
section capabilities capabilities
section acls acls
section labels labels
section rpm timeout 180 @VERIFY@
section denials denials
tries=0
while [ $tries -lt 30 ] && ! ls -l /proc/[0-9]*/fd/0 | grep -q 'ttyS0$'; do
    tries=$((tries + 1))
    sleep 1
done
sleep 2
echo; echo "@osimg done"
sync
systemctl poweroff -ff
"#;

/// SELinux in the running system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct SeLinux {
    /// `enforcing`, `permissive` or `disabled`.
    pub mode: String,
    /// The context of pid 1, which shows whether a policy is loaded; `kernel` or empty if not.
    pub init: Option<String>,
    /// Files of the tarball with labels that the running system would change.
    pub wrong_labels: Vec<String>,
    /// Such files that were created during the boot; they are not from the tarball.
    pub wrong_labels_of_new_files: Vec<String>,
    /// Whether the image has restorecon and it ended in time.
    pub labels_checked: bool,
    /// Accesses that were denied, or would have been in enforcing mode.
    pub denials: usize,
    /// Those of them with a target that has no label, or only a default one.
    pub denials_of_unlabelled: Vec<String>,
}

/// `rpm -Va`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Verified {
    /// What was compared.
    pub depth: Depth,
    /// Whether it ended in time.
    pub complete: bool,
    /// The differences from the packages, one line per file; see rpm(8), VERIFY OPTIONS.
    pub lines: Vec<String>,
}

/// The results of all checks in the booted image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Checks {
    /// `running`, `degraded` …; see systemctl(1).
    pub state: String,
    /// Units that failed.
    pub failed_units: Vec<String>,
    /// Requested units that are not active, with their state.
    pub inactive_units: Vec<String>,
    /// SELinux.
    pub selinux: SeLinux,
    /// File capabilities below /usr/bin and /usr/sbin; `None` if the image has no getcap.
    pub capabilities: Option<Vec<String>>,
    /// Files with ACLs; `None` if the image has no getfacl.
    pub acls: Option<Vec<String>>,
    /// Files that differ from their packages; `None` if the image has no rpm.
    pub rpm: Option<Verified>,
}

impl Checks {
    /// Parses the sections; `shipped` are the paths in the tarball.
    #[must_use]
    pub(crate) fn read(results: &Results, depth: Depth, shipped: &BTreeSet<PathBuf>) -> Self {
        let lines = |name: &str| results.section(name).map(|s| s.lines.clone()).unwrap_or_default();
        let with_tool = |name: &str| {
            results
                .section(name)
                .filter(|section| section.status.is_some_and(|s| s != 127))
                .map(|s| s.lines.clone())
        };
        let rpm = results.section("rpm").filter(|section| section.status.is_some_and(|s| s != 127));
        Self {
            state: lines("state").into_iter().next().unwrap_or_else(|| "unknown".into()),
            failed_units: lines("failed"),
            inactive_units: lines("units")
                .into_iter()
                .filter(|line| !line.ends_with(" active"))
                .collect(),
            selinux: selinux(results, shipped),
            capabilities: with_tool("capabilities"),
            acls: with_tool("acls").map(|lines| acls(&lines)),
            rpm: rpm.map(|section| Verified {
                depth,
                complete: section.status != Some(124),
                lines: section.lines.clone(),
            }),
        }
    }
}

fn selinux(results: &Results, shipped: &BTreeSet<PathBuf>) -> SeLinux {
    let lines = |name: &str| results.section(name).map(|s| s.lines.as_slice()).unwrap_or_default();
    let checked =
        results.section("labels").is_some_and(|section| matches!(section.status, Some(0 | 1)));
    let (wrong_labels, wrong_labels_of_new_files) = lines("labels")
        .iter()
        .filter_map(|line| relabelled(line).map(|path| (path, line)))
        .fold((Vec::new(), Vec::new()), |mut sorted, (path, line)| {
            if shipped.contains(Path::new(path)) {
                sorted.0.push(line.clone())
            } else {
                sorted.1.push(line.clone())
            }
            sorted
        });
    let denials = lines("denials");
    SeLinux {
        mode: lines("selinux").first().cloned().unwrap_or_else(|| "unknown".into()),
        init: lines("selinux").get(1).cloned(),
        wrong_labels,
        wrong_labels_of_new_files,
        labels_checked: checked,
        denials: denials.len(),
        denials_of_unlabelled: denials
            .iter()
            .filter(|line| concerns_unlabelled(line))
            .cloned()
            .collect(),
    }
}

/// The path in restorecon's output, `Would relabel PATH from A to B` since libselinux 2.5.
fn relabelled(line: &str) -> Option<&str> {
    line.strip_prefix("Would relabel ")?
        .rsplit_once(" to ")?
        .0
        .rsplit_once(" from ")
        .map(|(path, _)| path)
}

/// Whether a denial concerns a file without a proper label.
fn concerns_unlabelled(line: &str) -> bool {
    let target = line.split_whitespace().find_map(|word| word.strip_prefix("tcontext="));
    target
        .and_then(|context| context.split(':').nth(2))
        .is_some_and(|kind| ["unlabeled_t", "default_t", "file_t"].contains(&kind))
}

/// getfacl's output as one line per file: the path and its entries, without comments.
fn acls(lines: &[String]) -> Vec<String> {
    let mut files: Vec<String> = Vec::new();
    for line in lines {
        if let Some(path) = line.strip_prefix("# file: ") {
            files.push(path.to_owned());
        } else if let (false, Some(file)) = (line.starts_with('#'), files.last_mut()) {
            file.push(' ');
            file.push_str(line.split_whitespace().next().unwrap_or_default());
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(text: &str) -> Results {
        let mut results = Results::default();
        for line in text.lines() {
            results.take(line);
        }
        results
    }

    #[test]
    fn wrong_labels_of_shipped_and_of_new_files_are_distinguished() {
        let results = results(
            "@osimg begin selinux\npermissive\nsystem_u:system_r:init_t:s0\n@osimg end selinux \
             0\n@osimg begin labels\nWould relabel /etc/a from b to c from \
             system_u:object_r:etc_t:s0 to system_u:object_r:bin_t:s0\nWould relabel /etc/new \
             from x to y\nrestorecon: noise\n@osimg end labels 0\n",
        );
        let shipped = BTreeSet::from([PathBuf::from("/etc/a from b to c")]);
        let checks = Checks::read(&results, Depth::Attributes, &shipped);
        assert_eq!(checks.selinux.wrong_labels.len(), 1, "{checks:?}");
        assert_eq!(
            checks.selinux.wrong_labels_of_new_files,
            ["Would relabel /etc/new from x to y"]
        );
        assert!(checks.selinux.labels_checked);
        assert_eq!(checks.selinux.init.as_deref(), Some("system_u:system_r:init_t:s0"));
    }

    #[test]
    fn a_missing_tool_is_not_an_empty_result() {
        let results = results(
            "@osimg begin capabilities\n@osimg end capabilities 127\n@osimg begin rpm\n.M. \
             /x\n@osimg end rpm 124\n",
        );
        let checks = Checks::read(&results, Depth::Contents, &BTreeSet::new());
        assert_eq!(checks.capabilities, None);
        assert_eq!(
            checks.rpm,
            Some(Verified {
                depth: Depth::Contents,
                complete: false,
                lines: vec![".M. /x".into()]
            })
        );
        assert!(!checks.selinux.labels_checked);
    }

    #[test]
    fn denials_of_unlabelled_targets_are_recognized() {
        let line = "avc:  denied  { read } for pid=1 scontext=system_u:system_r:init_t:s0 \
                    tcontext=system_u:object_r:unlabeled_t:s0 tclass=file";
        assert!(concerns_unlabelled(line));
        assert!(!concerns_unlabelled(&line.replace("unlabeled_t", "etc_t")));
    }

    #[test]
    fn acls_are_one_line_per_file() {
        let text = [
            "# file: /srv/x",
            "# owner: 0",
            "# group: 0",
            "user::rw-",
            "user:77:rw-\t\t#effective:r--",
            "# file: /srv/y",
        ];
        assert_eq!(acls(&text.map(String::from)), ["/srv/x user::rw- user:77:rw-", "/srv/y"]);
    }

    #[test]
    fn units_are_quoted_in_the_script() {
        let text = script(&["a b.service".into(), "x.service".into()], Depth::Contents);
        assert!(text.contains("for unit in 'a b.service' x.service; do"));
        assert!(text.contains("timeout 180 rpm -Va\n"));
    }
}
