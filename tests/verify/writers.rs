//! Tarballs of one tree written by different programs with the options that image builders use.

use crate::fixture::{Tarball, names};
use osimg::verify::Options;

/// A tree with everything that some writer loses or changes: an ACL of a user with a name that has
/// another number in the image.
const TREE: &str = "setfacl -m u:1:r etc/hosts; chown 1:1 etc/ssh";

fn is(pack: &str, expected: &[&'static str]) {
    let Some(tarball) = Tarball::from_change(TREE, pack) else { return };
    let findings = tarball.verify(&Options::default());
    assert_eq!(
        names(&findings),
        expected.iter().copied().collect(),
        "{pack}: {:#?}",
        findings.findings
    );
}

#[test]
fn tarballs_of_osimg_have_no_finding() {
    let osimg = env!("CARGO_BIN_EXE_osimg");
    is(&format!("{osimg} -q pack $T -o $O --selinux from-tree >&2"), &[]);
    is(&format!("{osimg} -q pack $T -o $O >&2"), &[]);
}

#[test]
fn the_documented_tar_writes_names_of_the_build_host_into_acls() {
    // The options of diskimage-builder, lorax and shell pipelines. --numeric-owner does not affect
    // ACLs before GNU tar 1.35.
    is(
        "tar --numeric-owner --acls --xattrs --xattrs-include='*' --selinux -C $T -czf $O .",
        &["acl-names"],
    );
    is(
        "tar --acls --xattrs --xattrs-include='*' --selinux -C $T -czf $O .",
        &["acl-names", "owner-names"],
    );
}

#[test]
fn mkosis_tar_writes_names_too() {
    let flags = "--format=pax --numeric-owner --acls --selinux --xattrs --sparse --sort=name \
                 --pax-option=delete=atime,delete=ctime,delete=mtime";
    is(&format!("tar -C $T {flags} -czf $O ."), &["acl-names"]);
    // Anaconda does not support its default compression.
    is(
        &format!("tar -C $T {flags} -cf - . | zstd -q > os.tar.zst; echo os.tar.zst"),
        &["damaged", "suffix"],
    );
}

#[test]
fn kiwis_tar_loses_acls_and_its_names_match_no_exclude() {
    is(
        "cd $T; tar --xattrs --xattrs-include='*' --numeric-owner -c -J -f ../os.tar.xz *; echo \
         os.tar.xz",
        &["acl-records", "member-names", "root-member"],
    );
}

#[test]
fn a_plain_tar_loses_labels_capabilities_and_acls() {
    is("tar --numeric-owner -C $T -czf $O .", &["rpm-capabilities", "unlabelled"]);
    is("tar --numeric-owner --acls --selinux -C $T -czf $O .", &["acl-names", "rpm-capabilities"]);
}

#[test]
fn bsdtar_keeps_everything_and_writes_names() {
    is("bsdtar --format pax --numeric-owner --acls --xattrs -C $T -czf $O .", &["acl-names"]);
}

#[test]
fn pythons_tarfile_loses_every_attribute() {
    let python = "python3 -c \"
import tarfile, os
with tarfile.open(os.environ['O'], 'w:gz', format=tarfile.PAX_FORMAT) as t:
    t.add(os.environ['T'], '.')\"";
    is(python, &["owner-names", "rpm-capabilities", "unlabelled"]);
}
