//! A small tarball in every format, truncated at a thousand lengths and with a thousand bytes
//! changed: the damage is always found.

use crate::fixture::{SOUND, Tarball};
use osimg::archive::NoLabels;
use osimg::contents::{self, Contents, Packages};
use osimg::verify::{Findings, Options};
use std::path::Path;
use std::process::Command;

/// The number of lengths and of bytes that are tried in each format.
const TIMES: usize = 1000;

fn verify(path: &Path) -> Result<Findings, String> {
    osimg::verify::tarball(path, &Options::default()).map_err(|error| format!("{error:#}"))
}

fn is_noticed(outcome: &Result<Findings, String>) -> bool {
    outcome.as_ref().map_or(true, |findings| !findings.fit())
}

/// Numbers that are spread evenly, the same in every run.
fn spread(limit: usize) -> impl Iterator<Item = usize> {
    (0..TIMES).map(move |n| n * limit / TIMES)
}

fn packed(format: &str) -> Option<Tarball> {
    let osimg = env!("CARGO_BIN_EXE_osimg");
    // Without GNU tar's padding, and with checksums next to it.
    Tarball::from_change(
        "rm -r usr/lib/grub; head -c 100000 /dev/urandom > opt/noise; l opt/noise",
        &format!("{osimg} -q pack $T -o os.{format} >&2; echo os.{format}"),
    )
}

fn damaged_anywhere(format: &str) {
    let Some(tarball) = packed(format) else { return };
    let sound = std::fs::read(&tarball.path).unwrap();
    assert!(!is_noticed(&verify(&tarball.path)), "{:?}", verify(&tarball.path));
    for length in spread(sound.len()) {
        std::fs::write(&tarball.path, &sound[..length]).unwrap();
        assert!(
            is_noticed(&verify(&tarball.path)),
            "{format} truncated at {length} of {}",
            sound.len()
        );
    }
    for at in spread(sound.len()) {
        let mut changed = sound.clone();
        changed[at] ^= 1 << (at % 8);
        std::fs::write(&tarball.path, &changed).unwrap();
        assert!(is_noticed(&verify(&tarball.path)), "{format} changed at {at} of {}", sound.len());
    }
}

#[test]
fn a_damaged_tgz_is_always_found() {
    damaged_anywhere("tgz");
}

#[test]
fn a_damaged_tbz_is_always_found() {
    damaged_anywhere("tbz");
}

#[test]
fn a_damaged_txz_is_always_found() {
    damaged_anywhere("txz");
}

#[test]
fn a_damaged_tar_is_always_found() {
    damaged_anywhere("tar");
}

#[test]
fn a_truncated_tarball_is_found_without_a_checksum() {
    for format in ["tgz", "tbz", "txz", "tar"] {
        let Some(tarball) = packed(format) else { return };
        let sound = std::fs::read(&tarball.path).unwrap();
        std::fs::remove_file(tarball.path.with_extension(format!("{format}.sha256"))).unwrap();
        for length in spread(sound.len()).step_by(20) {
            std::fs::write(&tarball.path, &sound[..length]).unwrap();
            let outcome = verify(&tarball.path);
            assert!(
                outcome.as_ref().is_ok_and(|f| f.findings.iter().any(|f| f.name == "damaged")),
                "{format} at {length}: {outcome:?}"
            );
        }
    }
}

#[test]
fn an_rpmdb_with_any_byte_changed_is_read_or_refused() {
    let Some(sound) = SOUND.as_ref() else { return };
    let database = std::fs::read(sound.path().join("tree/var/lib/rpm/rpmdb.sqlite")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let dbpath = directory.path().join("var/lib/rpm");
    std::fs::create_dir_all(&dbpath).unwrap();
    // The package's header is in the middle, between mostly empty pages.
    let begin =
        database.windows(4).position(|bytes| bytes == b"tool").unwrap_or(0).saturating_sub(2000);
    let places = spread(database.len())
        .step_by(4)
        .chain((begin..database.len().min(begin + 4000)).step_by(7));
    let (mut read, mut refused) = (0, 0);
    for at in places {
        let mut changed = database.clone();
        changed[at] ^= 0x81;
        std::fs::write(dbpath.join("rpmdb.sqlite"), &changed).unwrap();
        let contents =
            Contents::of_tree(directory.path(), &NoLabels, &contents::Options::default()).unwrap();
        match contents.packages {
            Packages::Read { .. } => read += 1,
            Packages::Unreadable { .. } => refused += 1,
            Packages::Absent => panic!("the rpmdb exists"),
        }
    }
    assert!(read > 100 && refused > 20, "{read} read, {refused} refused");
}

#[test]
fn an_archive_with_endless_member_metadata_is_refused_with_little_memory() {
    let Some(tarball) = Tarball::from_change("", "printf x > $O") else { return };
    // Twelve hundred members, each with a megabyte of attributes that no other has, in a small
    // file.
    let program = "
import tarfile, gzip, sys
with gzip.open(sys.argv[1], 'wb', 1) as g, tarfile.open(fileobj=g, mode='w', \
                   format=tarfile.PAX_FORMAT) as t:
    for n in range(1200):
        m = tarfile.TarInfo('./%d' % n)
        value = lambda k: '%d %d ' % (n, k) + 'x' * 65000
        m.pax_headers = {'SCHILY.xattr.user.%d' % k: value(k) for k in range(16)}
        t.addfile(m)";
    let made = Command::new("python3").args(["-c", program]).arg(&tarball.path).status().unwrap();
    assert!(made.success());
    let limited = "ulimit -v 1700000; exec \"$0\" verify --json \"$1\"";
    let done = Command::new("sh")
        .args(["-c", limited, env!("CARGO_BIN_EXE_osimg")])
        .arg(&tarball.path)
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&done.stdout);
    assert_eq!(done.status.code(), Some(8), "{message}{}", String::from_utf8_lossy(&done.stderr));
    assert!(message.contains("need more than 1024 MiB of memory"), "{message}");
}
