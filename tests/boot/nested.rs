//! An image with more files than its packages install: a file with an ACL, and a tarball that the
//! machine unpacks while it boots. So a kernel that enforces SELinux sets the labels, ACLs and
//! capabilities of that tarball.
#![expect(clippy::disallowed_methods, reason = "tests run the programs that judge")]

use flate2::Compression;
use flate2::write::GzEncoder;
use osimg::archive::{Capabilities, Format, Labels, Level, Memory, Options, Output, write_tree};
use std::fs::{self, File};
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The unit is active only if the files unpacked in the machine equal the packed ones.
pub const UNIT: &str = "unpack-nested.service";

/// The labels in the demo distribution's policy for the files added here.
struct Added;

impl Labels for Added {
    fn label(&self, path: &[u8], _mode: u32) -> Option<Vec<u8>> {
        let kind = match path {
            path if path.ends_with(b".service") => "systemd_unit_t",
            path if path.starts_with(b"/etc/") => "etc_t",
            _ => "var_t",
        };
        Some(format!("system_u:object_r:{kind}:s0").into_bytes())
    }
}

/// Lists the attributes of each file below the directory. The command that shows a label differs
/// between the host and the machine. The script contains this function twice.
const LIST: &str = r#"list() {
    find . | LC_ALL=C sort | while read -r path; do
        echo "$path $($1 "$path")"
        [ -h "$path" ] || { getfacl -n -s "$path"; getcap "$path"; }
    done
    getfattr --only-values -n user.note plain
}
"#;

/// Makes two trees. `inner` has every kind of file, each with a label that its path would not get.
/// `outer` is added to the image. It contains a list of the inner tree, made with tools that the
/// machine also has.
const TREES: &str = r#"
osimg=$1 unit=$2
mkdir -p inner/sub inner/default outer/srv outer/etc/systemd/system/multi-user.target.wants
echo x > inner/file; ln inner/file inner/sub/linked
echo y > inner/tool; chmod 755 inner/tool; setcap cap_net_raw,cap_net_admin=ep inner/tool
echo s > inner/shadow; chmod 0 inner/shadow
echo z > inner/plain; setfattr -n user.note -v "of a user" inner/plain
ln -s ../nowhere inner/sub/dangling; mkfifo inner/fifo; mknod inner/null c 1 3
setfacl -m u:4711:r--,g:815:rwx inner/file
setfacl -m u:33:r-x inner/default; setfacl -d -m u:4711:rwx inner/default
while read -r kind path; do
    setfattr -h -n security.selinux -v "system_u:object_r:$kind:s0" "inner/$path"
done <<LABELS
root_t .
etc_t file
bin_t tool
usr_t sub
var_lib_t sub/dangling
var_run_t fifo
null_device_t null
shadow_t shadow
var_log_t default
tmp_t plain
LABELS
@LIST@label() { getfattr -h --only-values -n security.selinux "$1"; }
(cd inner && list label) > outer/srv/expected
"$osimg" pack -q --selinux from-tree inner -o outer/srv/nested.tgz > /dev/null
cat > outer/etc/unpack-nested <<'MACHINE'
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
exec 2>&1
@LIST@[ "$(cat /sys/fs/selinux/enforce)" = 1 ] || { echo "not enforcing"; exit 1; }
mkdir /srv/unpacked && cd /srv/unpacked || exit 1
tar --numeric-owner --selinux --acls --xattrs --xattrs-include '*' \
    -xaf /srv/nested.tgz -C . || exit 1
list "stat -c %C" > /run/unpack-nested
diff /srv/expected /run/unpack-nested
MACHINE
cat > "outer/etc/systemd/system/$unit" <<UNIT
[Unit]
Before=ssh.service
[Service]
Type=oneshot
RemainAfterExit=yes
StandardOutput=journal+console
ExecStart=/bin/sh /etc/unpack-nested
UNIT
ln -s "../$unit" outer/etc/systemd/system/multi-user.target.wants/
echo x > outer/srv/shared; setfacl -m u:4711:r-- outer/srv/shared
"#;

/// The image with these files added. A second archive, written by the archiver under test, is put
/// before the first one; gzip and tar both read the two as one.
pub fn with_more(image: &Path, directory: &Path) -> PathBuf {
    let made = Command::new("sh")
        .args(["-euc", &TREES.replace("@LIST@", LIST), "sh", super::OSIMG, UNIT])
        .current_dir(directory)
        .status()
        .expect("sh runs");
    assert!(made.success());
    let tar = directory.join("more.tar");
    let sink = Box::new(File::create(&tar).expect("a file"));
    let options = Options {
        level: Level::default(),
        memory: Memory::default(),
        jobs: NonZeroUsize::MIN,
        source_date_epoch: None,
        capabilities: Capabilities::All,
        overrides: (&Added).into(),
        progress: &|_| {},
        cancelled: &|| false,
    };
    write_tree(&directory.join("outer"), vec![Output { format: Format::Tar, sink }], &options)
        .expect("an archive");
    let mut bytes = fs::read(&tar).expect("the archive");
    // Without the zero blocks at the end of the archive.
    while bytes.ends_with(&[0; 512]) {
        bytes.truncate(bytes.len() - 512);
    }
    let both = directory.join("with-more.tgz");
    let mut packer = GzEncoder::new(File::create(&both).expect("a file"), Compression::fast());
    packer.write_all(&bytes).expect("packed");
    let mut file = packer.finish().expect("packed");
    std::io::copy(&mut File::open(image).expect("the image"), &mut file).expect("copied");
    both
}
