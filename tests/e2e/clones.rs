//! Traces of a build that all nodes would get: boot entries and everything else that scriptlets
//! name by the machine-id and the command line, and temporary files.

use crate::stage::{Stage, sh};
use crate::support::repo::{Package, When};
use crate::support::require_root;

const ID: &str = "ffffffffffffffffffffffffffffffff";

/// As kernel-install and its plug-ins 20-grub, 51-dracut-rescue and 95-set-boot-entry do.
const KERNEL_INSTALL: &str = r#"
if [ -s /etc/kernel/cmdline ]; then options=$(cat /etc/kernel/cmdline)
elif [ -s /usr/lib/kernel/cmdline ]; then options=$(cat /usr/lib/kernel/cmdline)
else options=$(cat /proc/cmdline); fi
id=$(cat /etc/machine-id)
[ -n "$id" ] || id=$(cat /proc/sys/kernel/random/uuid)
mkdir -p /boot/loader/entries /boot/grub2
echo kernel > /boot/vmlinuz-0-rescue-$id
echo "title Tiny
linux /vmlinuz-1
options $options" > /boot/loader/entries/$id-1.conf
echo "saved_entry=$id-1" > /boot/grub2/grubenv
[ -n "$(ls /sys/block)" ] && echo "a disk is visible: $(ls /sys/block)" > /usr/disks
cat /sys/class/dmi/id/product_uuid > /usr/uuid 2> /dev/null || rm /usr/uuid
"#;

fn stage() -> Stage {
    // systemd's scriptlet makes an id only where there is none.
    let systemd = "[ -s /etc/machine-id ] || cat /proc/sys/kernel/random/uuid > /etc/machine-id";
    Stage::new(|repo| {
        repo.package(Package::named("systemd").scriptlet(When::Post, systemd)).package(
            Package::named("kernel-core")
                .requires_first("systemd")
                .scriptlet(When::Posttrans, KERNEL_INSTALL),
        )
    })
}

#[test]
fn boot_entries_are_the_same_in_every_build_and_have_nothing_of_the_host() {
    if !require_root() {
        return;
    }
    let digests = [stage(), stage()].map(|stage| {
        stage.build("install kernel-core\nts run\n").succeeds();
        assert_eq!(
            stage.content(&format!("./boot/loader/entries/{ID}-1.conf")),
            "title Tiny\nlinux /vmlinuz-1\noptions ro\n"
        );
        assert_eq!(stage.content("./boot/grub2/grubenv"), format!("saved_entry={ID}-1\n"));
        assert_eq!(stage.content("./etc/machine-id"), "");
        let members = stage.members();
        assert!(members.contains(&format!("./boot/vmlinuz-0-rescue-{ID}")), "{members:?}");
        for absent in ["./usr/disks", "./usr/uuid", "./etc/kernel/cmdline"] {
            assert!(!members.iter().any(|member| member == absent), "{absent}");
        }
        let image = stage.extract();
        let host = std::fs::read_to_string("/proc/cmdline").unwrap();
        let found = sh(&image, &format!("grep -rlF -- '{}' . || true", host.trim()));
        assert_eq!(found, "");
        stage.digest()
    });
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn kernel_arguments_of_the_settings_are_in_the_boot_entries() {
    if !require_root() {
        return;
    }
    let stage = stage();
    stage.settings(|settings| {
        settings.rest = "[customizations.kernel]\nappend = \"console=ttyS0\"\n".into();
    });
    stage.build("install kernel-core\nts run\n").succeeds();
    let entry = stage.content(&format!("./boot/loader/entries/{ID}-1.conf"));
    assert!(entry.ends_with("options ro console=ttyS0\n"), "{entry}");
}

#[test]
fn directories_of_packages_in_var_tmp_stay_and_what_scriptlets_leave_there_does_not() {
    if !require_root() {
        return;
    }
    let left = "mkdir -p /var/tmp/other; echo x > /var/tmp/other/file; echo x > /var/tmp/tool/file";
    let stage = Stage::new(|repo| {
        repo.package(
            Package::named("tool")
                .directory("/var/tmp", 0o1777)
                .directory("/var/tmp/tool", 0o750)
                .scriptlet(When::Post, left),
        )
    });
    stage.build("install tool\nts run\n").succeeds();
    let members = stage.members();
    let found: Vec<&String> =
        members.iter().filter(|member| member.starts_with("./var/tmp/")).collect();
    assert_eq!(found, ["./var/tmp/", "./var/tmp/tool/"]);
}
