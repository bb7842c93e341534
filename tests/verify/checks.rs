//! Every check in both directions: a valid tree has no finding, and for each check one change gives
//! this finding and no other.

use crate::fixture::{SOUND, TGZ, Tarball, names};
use osimg::archive::NoLabels;
use osimg::verify::{Consumer, Options};
use std::collections::BTreeSet;

/// A change to the tree, and the checks that must find it.
const CHANGES: &[(&[&str], &str)] = &[
    (&["root-member"], "chmod 700 ."),
    (&["root-member", "unknown-owners"], "chown 4242 ."),
    (&["large-files", "sparse-members"], "truncate -s 2G opt/lastlog; l opt/lastlog"),
    (&["future-times"], "touch -d '+10 days' etc/hosts"),
    (&["kernel", "scriptlet-results"], "rm boot/vmlinuz-6.1"),
    (&["kernel", "scriptlet-results"], ": > boot/vmlinuz-6.1"),
    (&["scriptlet-results"], "rm boot/initramfs-6.1.img"),
    (&["scriptlet-results"], ": > etc/ld.so.cache"),
    (&["scriptlet-results"], "rm etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"),
    (&["scriptlet-results"], "rm etc/selinux/targeted/contexts/files/file_contexts.bin"),
    (&["efi-copies"], "echo newer > usr/lib/efi/shim/15-1/EFI/BOOT/BOOTX64.EFI"),
    (
        &["efi-copies"],
        "cp -a usr/lib/efi/shim/15-1/EFI/BOOT/BOOTX64.EFI \
      usr/lib/efi/shim/15-1/EFI/BOOT/fbx64.efi",
    ),
    (
        &["rpm-known"],
        "chown 0:0 usr/libexec/sssd/krb5_child; chmod 750 usr/libexec/sssd/krb5_child",
    ),
    (&["rpm-owners"], "chown 0:997 usr/libexec/sssd/krb5_child"),
    (&["kernel", "scriptlet-results"], "mv boot/vmlinuz-6.1 boot/vmlinuz-0-rescue-6.1"),
    (
        &["one-kernel"],
        "cp -a boot/vmlinuz-6.1 boot/vmlinuz-6.2; cp -a usr/lib/modules/6.1 usr/lib/modules/6.2",
    ),
    (
        &["kernel-names"],
        "mkdir usr/lib/ostree-boot; l usr/lib/ostree-boot; cp -a boot/vmlinuz-6.1 \
         usr/lib/ostree-boot/vmlinuz-6.1",
    ),
    (&["kernel-modules"], "rm usr/lib/modules/6.1/modules.dep"),
    (&["kernel-modules"], "mv usr/lib/modules/6.1 usr/lib/modules/6.2"),
    (&["efi-loader"], "rm boot/efi/EFI/tiny/shimx64.efi"),
    (&["efi-loader"], "mv boot/efi/EFI/tiny boot/efi/EFI/other"),
    (&["efi-files"], "ln -s tiny boot/efi/EFI/link; l boot/efi/EFI/link"),
    (&["bios-loader"], "rm -r usr/lib/grub/i386-pc"),
    (&["bios-loader"], "rm usr/sbin/grub2-install"),
    (
        &["ca-bundle", "scriptlet-results"],
        "rm etc/pki/tls/certs/ca-bundle.crt etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    ),
    (
        &["ca-bundle", "scriptlet-results"],
        ": > etc/pki/tls/certs/ca-bundle.crt; : > \
         etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    ),
    (&["program-curl"], "chmod 644 usr/bin/curl"),
    (&["program-curl"], "ln -sf nowhere usr/bin/curl; l usr/bin/curl"),
    (&["os-release", "efi-loader"], "rm etc/os-release"),
    (&["directories"], "rmdir run"),
    (&["directories", "tmp-mode"], "rmdir tmp; chmod 755 var/tmp"),
    (&["tmp-mode"], "chmod 755 tmp"),
    (&["api-directories"], "echo > dev/x; l dev/x"),
    (&["machine-id"], "echo 0123456789abcdef0123456789abcdef > etc/machine-id"),
    (&["hard-link-partitions"], "ln boot/vmlinuz-6.1 usr/copy"),
    (&["selinux-policy"], "rm etc/selinux/targeted/contexts/files/file_contexts"),
    (&["selinux-policy"], "rm etc/selinux/targeted/policy/policy.33"),
    (
        &["selinux-policy"],
        "echo '/a(?=b) system_u:object_r:a_t:s0' >> \
         etc/selinux/targeted/contexts/files/file_contexts",
    ),
    (&["unlabelled"], "setfattr -h -x security.selinux usr/bin/curl"),
    (&["labels"], "l usr/bin/curl bin_t"),
    (&["labels", "foreign-labels"], "l usr/bin/curl container_file_t"),
    (&["labels-without-policy", "scriptlet-results"], "rm -r etc/selinux"),
    (&["restorecon"], "rm usr/sbin/restorecon usr/sbin/setfiles"),
    (&["rpmdb"], "rm var/lib/rpm/rpmdb.sqlite"),
    (&["rpmdb"], "head -c 5000 /dev/zero > var/lib/rpm/rpmdb.sqlite"),
    (&["rpmdb"], "truncate -s 8192 var/lib/rpm/rpmdb.sqlite"),
    (
        &["rpmdb"],
        r"rm var/lib/rpm/*; cd var/lib/rpm
        printf '\0\0\0\0\0\0\0\0\1\0\0\0\141\25\6\0junk' > Packages; l Packages; cd -",
    ),
    (
        &["rpmdb"],
        "rm var/lib/rpm/*; echo RpmP > var/lib/rpm/Packages.db; l var/lib/rpm/Packages.db",
    ),
    (&["rpmdb-locks"], "echo > var/lib/rpm/__db.001; l var/lib/rpm/__db.001"),
    (&["rpm-missing"], "rm usr/bin/tool"),
    (&["rpm-types"], "rm usr/bin/tool; mkdir usr/bin/tool; l usr/bin/tool"),
    (&["rpm-owners"], "chown 998 usr/bin/tool"),
    (&["rpm-owners"], "chown 0:0 var/lib/tool"),
    (&["rpm-modes"], "chmod 700 usr/bin/tool"),
    (&["rpm-capabilities"], "setcap -r usr/bin/ping"),
    (&["rpm-capabilities"], "setcap cap_net_raw=p usr/bin/ping"),
    (&["rpm-links"], "ln -sfn ping usr/bin/tool-link; l usr/bin/tool-link"),
    (&["rpm-contents"], "echo TOOL > usr/bin/tool"),
    (&["rpm-contents"], "echo longer > usr/bin/tool"),
    (&["acl-ids"], "setfacl -m u:4242:r etc/hosts"),
    (&["acl-ids"], "setfacl -d -m g:4242:r etc/ssh"),
    (&["unknown-owners"], "chown 4242 etc/hosts"),
    (&["setuid"], "chmod 4755 usr/bin/curl"),
    (&["setuid", "setuid-writable"], "chmod 4757 usr/bin/curl"),
    (&["world-writable"], "chmod 666 etc/hosts"),
    (&["world-writable"], "mkdir opt/open; chmod 777 opt/open; l opt/open"),
    (
        &["cloud-init-source"],
        "mkdir -p etc/cloud; : > etc/cloud/cloud-init.disabled; l etc/cloud etc_t; l \
         etc/cloud/cloud-init.disabled etc_t",
    ),
    (
        &["cloud-init-source"],
        "mkdir -p etc/cloud; echo 'datasource_list: [ Ec2, None ]' > etc/cloud/cloud.cfg; l \
         etc/cloud etc_t; l etc/cloud/cloud.cfg etc_t",
    ),
    (&["setuid"], "setcap cap_net_raw=ep usr/bin/curl"),
    (&["resolv-conf"], "echo nameserver 192.0.2.1 > etc/resolv.conf"),
    (
        &["ssh-host-keys"],
        "echo key > etc/ssh/ssh_host_ed25519_key; l etc/ssh/ssh_host_ed25519_key etc_t",
    ),
    (&["shell-history"], "echo ls > root/.bash_history; l root/.bash_history"),
    (&["package-cache"], "echo > var/cache/dnf/x.solv; l var/cache/dnf/x.solv"),
    (&["random-seed"], "echo > var/lib/systemd/random-seed; l var/lib/systemd/random-seed"),
    (
        &["identities"],
        "mkdir etc/nvme; echo nqn > etc/nvme/hostnqn; l etc/nvme etc_t; l etc/nvme/hostnqn etc_t",
    ),
    (&["identities"], "echo root > etc/shadow-; l etc/shadow- etc_t"),
    (
        &["identities"],
        "mkdir -p var/lib/cloud/instances/i-1; echo x > \
         var/lib/cloud/instances/i-1/boot-finished; find var/lib/cloud | while read -r f; do l \
         $f; done",
    ),
    (&["hostname"], "echo node1 > etc/hostname"),
];

/// Unusual archives: the same tree packed in another way.
const PACKINGS: &[(&[&str], &str)] = &[
    (&["suffix-format"], "$TAR -czf os.tar.xz .; echo os.tar.xz"),
    (&["suffix"], "$TAR -czf os.img .; echo os.img"),
    (&["suffix", "damaged"], "$TAR -cf - . | zstd -q > os.tar.zst; echo os.tar.zst"),
    (&["checksum"], "$TAR -czf $O .; echo 0000 > $O.sha256"),
    (&["member-names", "root-member"], "cd $T; $TAR -czf $O *"),
    (
        &["member-names", "member-names-unpacked", "machine-id"],
        "echo 0123456789abcdef0123456789abcdef > $T/etc/machine-id; $TAR \
         --transform='s,^\\./etc/machine-id$,etc/machine-id,' -czf $O .",
    ),
    (&["upward-names"], "$TAR -P --transform='s,^\\./etc/hosts$,./etc/../etc/hosts2,' -czf $O ."),
    (
        &["absolute-names", "member-names"],
        "$TAR -P --transform='s,^\\./etc/hosts$,/etc/hosts,' -czf $O .",
    ),
    (&["duplicate-names"], "$TAR -cf a.tar .; $TAR -rf a.tar ./etc/hosts; gzip -c a.tar > $O"),
    (
        &["dangling-hard-links"],
        "ln $T/etc/hosts $T/etc/zz; $TAR --transform='s,^\\./etc/hosts$,./etc/other,H' -czf $O .",
    ),
    (
        &["trailing-bytes"],
        "$TAR -cf a.tar .; head -c 1024 /dev/zero | tr '\\0' x >> a.tar; gzip -c a.tar > $O",
    ),
    (
        &["acl-records"],
        "setfacl -m u:998:r $T/etc/hosts; tar --format=posix --numeric-owner --xattrs \
         --xattrs-include='*' --selinux -C $T -czf $O .",
    ),
    (&["acl-names"], "setfacl -m u:1:r $T/etc/hosts; $TAR -czf $O ."),
    (
        &["owner-names"],
        "chown 1:1 $T/etc/hosts; $TAR --no-same-owner -czf a.tgz .; tar --format=posix --acls \
         --xattrs --xattrs-include='*' --selinux -C $T -czf $O .",
    ),
    (
        &["two-labels"],
        "$TAR -cf a.tar .; python3 -c \"
import tarfile
with tarfile.open('a.tar', 'a', format=tarfile.PAX_FORMAT) as t:
    m = tarfile.TarInfo('./opt/two'); m.type = tarfile.DIRTYPE; m.mode = 0o755
    m.pax_headers = {'RHT.security.selinux': 'system_u:object_r:usr_t:s0', \
         'SCHILY.xattr.security.selinux': 'system_u:object_r:bin_t:s0'}
    t.addfile(m)\"; gzip -c a.tar > $O",
    ),
    (
        &["odd-members"],
        "$TAR -cf a.tar .; python3 -c \"
import tarfile
with tarfile.open('a.tar', 'a', format=tarfile.PAX_FORMAT) as t:
    m = tarfile.TarInfo('volume'); m.type = b'V'
    t.addfile(m)\"; gzip -c a.tar > $O",
    ),
    (
        &["long-paths"],
        "$TAR -cf a.tar .; python3 -c \"
import tarfile
with tarfile.open('a.tar', 'a', format=tarfile.PAX_FORMAT) as t:
    m = tarfile.TarInfo('./opt' + '/x' * 2100); m.pax_headers = {'RHT.security.selinux': \
         'system_u:object_r:usr_t:s0'}
    t.addfile(m)\"; gzip -c a.tar > $O",
    ),
];

/// Changes that real images have. No check may report them.
const HARMLESS: &[&str] = &[
    "chmod 555 .",
    "chmod 755 .",
    // As authselect does.
    "mv etc/tool.conf etc/tool.real; ln -s tool.real etc/tool.conf; l etc/tool.real etc_t; l \
     etc/tool.conf etc_t",
];

/// Checks that other tests cover: they need a server, a damaged file, or an option.
const ELSEWHERE: [&str; 11] = [
    "image-file",
    "disk-space",
    "url-status",
    "url-query",
    "url-length",
    "url-encoding",
    "damaged",
    "checksum-file",
    "size",
    "initramfs",
    "boot-disks",
];

fn expected(names: &[&'static str]) -> BTreeSet<&'static str> {
    names.iter().copied().collect()
}

#[test]
fn a_valid_tree_has_no_finding() {
    let Some(tarball) = Tarball::from_change("", TGZ) else { return };
    let findings = tarball.verify(&Options::default());
    assert_eq!(findings.findings, []);
    assert_eq!((findings.packages, findings.profile), (1, Consumer::AnacondaEl9));
    for (format, flag) in [("tbz", "j"), ("txz", "J"), ("tar", "")] {
        let tarball =
            Tarball::from_change("", &format!("$TAR -c{flag}f os.{format} .; echo os.{format}"))
                .unwrap();
        assert_eq!(tarball.verify(&Options::default()).findings, [], "{format}");
    }
    // As a tree, with its existing labels.
    let tree = SOUND.as_ref().unwrap().path().join("tree");
    assert_eq!(
        osimg::verify::tree(&tree, &osimg::archive::FromTree, &Options::default())
            .unwrap()
            .findings,
        []
    );
    let without = osimg::verify::tree(&tree, &NoLabels, &Options::default()).unwrap();
    assert_eq!(names(&without), expected(&["unlabelled"]));
}

#[test]
fn every_change_to_the_tree_is_reported_by_the_expected_check() {
    if SOUND.is_none() {
        return;
    }
    for (names_expected, change) in CHANGES {
        let pack = TGZ.replace("-czf", "-S -czf");
        let findings = Tarball::from_change(change, &pack).unwrap().verify(&Options::default());
        assert_eq!(
            names(&findings),
            expected(names_expected),
            "{change}: {:#?}",
            findings.findings
        );
    }
}

#[test]
fn changes_that_real_images_have_are_not_reported() {
    if SOUND.is_none() {
        return;
    }
    for change in HARMLESS {
        let findings = Tarball::from_change(change, TGZ).unwrap().verify(&Options::default());
        assert_eq!(findings.findings, [], "{change}");
    }
}

#[test]
fn every_unusual_archive_is_reported_by_the_expected_check() {
    if SOUND.is_none() {
        return;
    }
    for (names_expected, pack) in PACKINGS {
        let findings = Tarball::from_change("", pack).unwrap().verify(&Options::default());
        assert_eq!(names(&findings), expected(names_expected), "{pack}: {:#?}", findings.findings);
    }
}

#[test]
fn every_missing_program_is_found_by_its_name() {
    if SOUND.is_none() {
        return;
    }
    for name in osimg::verify::names() {
        let Some(program) = name.strip_prefix("program-") else { continue };
        let findings = Tarball::from_change(&format!("rm usr/*bin/{program}"), TGZ)
            .unwrap()
            .verify(&Options::default());
        assert_eq!(names(&findings), expected(&[name]), "{program}");
    }
}

#[test]
fn options_decide_which_checks_run_and_which_findings_count() {
    let Some(tarball) = Tarball::from_change(
        "rm usr/sbin/gen_grub_cfgstub usr/bin/kernel-install usr/bin/locale boot/initramfs-6.1.img",
        TGZ,
    ) else {
        return;
    };
    let with = |profile| {
        names(&tarball.verify(&Options { consumers: vec![profile], ..Options::default() }))
    };
    let newer = expected(&[
        "program-gen_grub_cfgstub",
        "program-kernel-install",
        "program-locale",
        "scriptlet-results",
    ]);
    assert_eq!(
        with(Consumer::AnacondaEl8),
        expected(&["program-kernel-install", "scriptlet-results"])
    );
    for profile in [Consumer::AnacondaEl9, Consumer::AnacondaEl10, Consumer::Fedora] {
        assert_eq!(with(profile), newer);
    }
    assert_eq!(with(Consumer::Disk), expected(&["initramfs", "scriptlet-results"]));
    let small = Options { smallest_disk: 1000, ..Options::default() };
    let small = names(&tarball.verify(&small));
    assert!(small.contains("size") && small.contains("disk-space"), "{small:?}");
    let allow = newer.iter().map(|name| (*name).to_owned()).collect();
    let findings = tarball.verify(&Options { allow, ..Options::default() });
    assert!(
        findings.fit()
            && findings.findings.len() == 4
            && findings.findings.iter().all(|f| f.allowed),
        "{findings:?}"
    );
    let unknown = Options { allow: ["kernels".to_owned()].into(), ..Options::default() };
    assert_eq!(
        osimg::error::exit_code(&osimg::verify::tarball(&tarball.path, &unknown).unwrap_err()),
        osimg::error::ExitCode::Usage
    );
    std::fs::remove_file(tarball.path.with_extension("tgz.sha256")).unwrap();
    assert!(names(&tarball.verify(&Options::default())).contains("checksum-file"));
}

#[test]
fn gen_grub_cfgstub_is_needed_only_where_anaconda_calls_it() {
    if SOUND.is_none() {
        return;
    }
    for (id, version, needed) in [
        ("rocky", "9.6", false),
        ("rocky", "9.7", true),
        ("centos", "9", true),
        ("rhel", "10.0", false),
        ("rhel", "10.1", true),
        ("fedora", "42", false),
        ("fedora", "44", true),
    ] {
        let change = format!(
            "rm usr/sbin/gen_grub_cfgstub; printf 'ID={id}\\nVERSION_ID={version}\\n' > \
             etc/os-release"
        );
        let found = names(&Tarball::from_change(&change, TGZ).unwrap().verify(&Options::default()));
        assert_eq!(found.contains("program-gen_grub_cfgstub"), needed, "{id} {version}: {found:?}");
    }
}

#[test]
fn boot_entries_that_name_disks_are_reported_where_the_consumer_keeps_them() {
    for text in [
        "mkdir boot/loader/entries; printf 'title x\\noptions ro root=UUID=1 quiet\\n' > \
         boot/loader/entries/a.conf",
        "echo 'kernelopts=root=/dev/vda1 ro' > boot/grub2/grubenv",
        "echo '  search --no-floppy --fs-uuid --set=root 1-2' > boot/grub2/grub.cfg",
    ] {
        let Some(tarball) = Tarball::from_change(text, TGZ) else { return };
        let with = |consumer| {
            let options = Options { consumers: vec![consumer], ..Options::default() };
            names(&tarball.verify(&options)).contains("boot-disks")
        };
        assert!(with(Consumer::Disk) && with(Consumer::Maas), "{text}");
        assert!(!with(Consumer::AnacondaEl9) && !with(Consumer::Podman), "{text}");
    }
    let harmless = "mkdir boot/loader/entries; printf 'title x\\noptions ro rootflags=x\\n' > \
                    boot/loader/entries/a.conf; echo saved_entry=a > boot/grub2/grubenv";
    let Some(tarball) = Tarball::from_change(harmless, TGZ) else { return };
    let options = Options { consumers: vec![Consumer::Disk], ..Options::default() };
    assert!(!names(&tarball.verify(&options)).contains("boot-disks"));
}

#[test]
fn every_check_has_a_test() {
    let tested: BTreeSet<&str> = CHANGES
        .iter()
        .chain(PACKINGS)
        .flat_map(|(names, _)| names.iter().copied())
        .chain(ELSEWHERE)
        .collect();
    let all: BTreeSet<&str> =
        osimg::verify::names().into_iter().filter(|name| !name.starts_with("program-")).collect();
    let tested: BTreeSet<&str> =
        tested.into_iter().filter(|name| !name.starts_with("program-")).collect();
    assert_eq!(all, tested);
}
