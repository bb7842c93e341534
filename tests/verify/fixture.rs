//! A small tree from which a node could be installed, and tarballs of it with one change.

use osimg::verify::{Findings, Options};
use rpm::{BuildConfig, CompressionWithLevel, FileMode, FileOptions};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use tempfile::TempDir;

use crate::support::{require_root, skip};

/// Packs as in Ironic's documentation, with numeric owners.
pub const TAR: &str = "tar --format=posix --sort=name --numeric-owner --acls --xattrs \
                       --xattrs-include='*' --selinux -C $T";
/// The usual tarball.
pub const TGZ: &str = "$TAR -czf $O .";

/// Makes the tree. `l FILE [TYPE]` sets a label, as in all scripts of the tests.
const TREE: &str = r#"
umask 022
chmod 755 .
mkdir -p dev proc sys run tmp var/tmp boot/efi/EFI/tiny boot/grub2
mkdir -p etc/selinux/targeted/contexts/files etc/selinux/targeted/policy
mkdir -p usr/bin usr/sbin usr/lib/modules/6.1 usr/lib/grub/i386-pc root home
mkdir -p var/lib/systemd var/lib/rpm etc/ssh var/cache/dnf
mkdir -p etc/pki/tls/certs opt boot/loader
ln -s usr/bin bin; ln -s usr/sbin sbin
chmod 1777 tmp var/tmp; chmod 700 boot/efi root
for p in sh bash systemd-machine-id-setup kernel-install dracut grub2-editenv efibootmgr \
    locale curl chmod base64 dirname mkdir cloud-init; do
    echo '#!/bin/sh' > usr/bin/$p; chmod 755 usr/bin/$p
done
for p in depmod grub2-mkconfig grub2-set-default gen_grub_cfgstub useradd chpasswd lvm \
    mkfs.xfs mkfs.ext4 mkfs.vfat grub2-install setfiles; do
    echo '#!/bin/sh' > usr/sbin/$p; chmod 755 usr/sbin/$p
done
ln -s setfiles usr/sbin/restorecon
echo kernel > boot/vmlinuz-6.1; echo kernel > usr/lib/modules/6.1/vmlinuz
echo > usr/lib/modules/6.1/modules.dep
echo shim > boot/efi/EFI/tiny/shimx64.efi; echo grub > boot/efi/EFI/tiny/grubx64.efi
echo > usr/lib/grub/i386-pc/modinfo.sh
printf 'ID=tiny\nVERSION_ID="9"\n' > etc/os-release
printf 'root:x:0:0:root:/root:/bin/sh\nbin:x:1:1:bin:/bin:/sbin/nologin\n' > etc/passwd
echo 'app:x:998:997:app:/:/sbin/nologin' >> etc/passwd
printf 'root:x:0:\nbin:x:1:\napp:x:997:\n' > etc/group
printf 'SELINUX=enforcing\nSELINUXTYPE=targeted\n' > etc/selinux/config
printf '%s\t%s\n' '/.*' system_u:object_r:usr_t:s0 '/etc(/.*)?' system_u:object_r:etc_t:s0 \
    '/proc(/.*)?' '<<none>>' > etc/selinux/targeted/contexts/files/file_contexts
echo policy > etc/selinux/targeted/policy/policy.33
echo certificates > etc/pki/tls/certs/ca-bundle.crt
: > etc/machine-id; : > etc/resolv.conf; echo localhost > etc/hostname; echo 127.0.0.1 > etc/hosts
echo tool > usr/bin/tool; chmod 755 usr/bin/tool; ln -s tool usr/bin/tool-link
echo ping > usr/bin/ping; chmod 755 usr/bin/ping; setcap cap_net_raw=ep usr/bin/ping
echo changed by a scriptlet > etc/tool.conf
mkdir var/lib/tool; chown 998:997 var/lib/tool; chmod 750 var/lib/tool
mkdir -p usr/libexec/sssd etc/pki/ca-trust/extracted/pem
mkdir -p usr/lib/efi/shim/15-1/EFI/BOOT boot/efi/EFI/BOOT
echo child > usr/libexec/sssd/krb5_child
chown 998:997 usr/libexec/sssd/krb5_child; chmod 750 usr/libexec/sssd/krb5_child
for f in boot/initramfs-6.1.img etc/selinux/targeted/contexts/files/file_contexts.bin \
    etc/ld.so.cache etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem; do
    echo made by a scriptlet > $f
done
cp boot/efi/EFI/tiny/shimx64.efi boot/efi/EFI/BOOT/BOOTX64.EFI
cp boot/efi/EFI/BOOT/BOOTX64.EFI usr/lib/efi/shim/15-1/EFI/BOOT
find . -path ./proc -o -print | while read -r f; do l "$f"; done
find etc | while read -r f; do l "$f" etc_t; done
"#;

/// The functions of every script.
const FUNCTIONS: &str = r#"
l() { setfattr -h -n security.selinux -v "system_u:object_r:${2:-usr_t}:s0" "$1"; }
"#;

/// Runs a shell script in a directory, with T and O in its environment.
pub fn sh(directory: &Path, script: &str, tree: &Path, output: &Path) -> String {
    let script = format!("{FUNCTIONS}{}", script.replace("$TAR", TAR));
    let out = Command::new("sh")
        .args(["-euc", &script])
        .current_dir(directory)
        .env("T", tree)
        .env("O", output)
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    assert!(out.status.success(), "{script}\n{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// A package that owns the files of the tree.
fn package(directory: &Path) -> PathBuf {
    let mut builder = rpm::PackageBuilder::new("tool", "1.0", "MIT", "noarch", "A tool");
    builder
        .using_config(
            BuildConfig::v4().compression(CompressionWithLevel::Gzip(1)).source_date(1_700_000_000),
        )
        .release("1");
    let file = |path: &str, mode: u16| {
        FileOptions::new(path).mode(FileMode::regular(mode)).user("root").group("root")
    };
    builder.with_file_contents("tool\n", file("/usr/bin/tool", 0o755)).unwrap();
    builder
        .with_file_contents("ping\n", file("/usr/bin/ping", 0o755).caps("cap_net_raw=ep").unwrap())
        .unwrap();
    builder.with_file_contents("as shipped\n", file("/etc/tool.conf", 0o644).config()).unwrap();
    builder
        .with_symlink(FileOptions::symlink("/bin/tool-link", "tool").user("root").group("root"))
        .unwrap();
    builder
        .with_dir_entry(
            FileOptions::dir("/var/lib/tool").mode(FileMode::dir(0o750)).user("app").group("app"),
        )
        .unwrap();
    builder
        .with_dir_entry(
            FileOptions::dir("/bin").mode(FileMode::dir(0o755)).user("root").group("root"),
        )
        .unwrap();
    builder
        .with_file_contents(
            "child\n",
            FileOptions::new("/usr/libexec/sssd/krb5_child")
                .mode(FileMode::regular(0o750))
                .user("app")
                .group("app"),
        )
        .unwrap();
    for path in [
        "/boot/vmlinuz-6.1",
        "/boot/initramfs-6.1.img",
        "/etc/selinux/targeted/contexts/files/file_contexts.bin",
        "/etc/ld.so.cache",
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    ] {
        builder.with_ghost(FileOptions::ghost(path).user("root").group("root")).unwrap();
    }
    builder.with_file_contents("", file("/run/tool.pid", 0o644)).unwrap();
    let path = directory.join("tool.rpm");
    builder.build().unwrap().write_file(&path).unwrap();
    path
}

/// The valid tree, made once.
pub static SOUND: LazyLock<Option<TempDir>> = LazyLock::new(|| {
    if !require_root() {
        return None;
    }
    for program in ["setfattr", "setfacl", "setcap", "rpm", "bsdtar", "python3"] {
        if osimg::process::find_program(program).is_none() {
            skip(&format!("{program} is not installed"));
            return None;
        }
    }
    let directory =
        tempfile::Builder::new().prefix("verify-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let tree = directory.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    sh(&tree, TREE, &tree, Path::new("/dev/null"));
    let dbpath = tree.join("var/lib/rpm");
    let flags = [
        "-i",
        "--justdb",
        "--nodeps",
        "--nosignature",
        "--nodigest",
        "--ignorearch",
        "--force",
        "--nocaps",
    ];
    let out = Command::new("rpm")
        .arg("--dbpath")
        .arg(&dbpath)
        .args(flags)
        .arg(package(directory.path()))
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    // Closed, as a finished build leaves it.
    sh(
        &tree,
        "cd var/lib/rpm; rm -f .rpm.lock rpmdb.sqlite-shm rpmdb.sqlite-wal; l rpmdb.sqlite",
        &tree,
        Path::new("/dev/null"),
    );
    Some(directory)
});

/// A tarball of the tree with one change.
#[derive(Debug)]
pub struct Tarball {
    #[expect(dead_code, reason = "goes away with the tarball")]
    directory: TempDir,
    pub path: PathBuf,
}

impl Tarball {
    /// Copies the tree, runs `change` in the copy and then `pack`. That writes `$O`, or another
    /// file that it prints as its last line.
    pub fn from_change(change: &str, pack: &str) -> Option<Self> {
        let sound = SOUND.as_ref()?.path().join("tree");
        let directory = tempfile::Builder::new()
            .prefix("verify-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .unwrap();
        let (tree, output) = (directory.path().join("tree"), directory.path().join("os.tgz"));
        sh(directory.path(), &format!("cp -a {} tree", sound.display()), &tree, &output);
        sh(&tree, change, &tree, &output);
        let printed = sh(directory.path(), pack, &tree, &output);
        let path = printed
            .lines()
            .last()
            .filter(|line| !line.is_empty())
            .map_or(output, |name| directory.path().join(name));
        sh(directory.path(), "[ -e $O.sha256 ] || sha256sum < $O > $O.sha256", &tree, &path);
        Some(Self { directory, path })
    }

    pub fn verify(&self, options: &Options<'_>) -> Findings {
        osimg::verify::tarball(&self.path, options).unwrap()
    }
}

/// The names of the findings.
pub fn names(findings: &Findings) -> BTreeSet<&'static str> {
    findings.findings.iter().map(|finding| finding.name).collect()
}
