//! A change in a few files leaves nearly all compressed blocks as they were.
#![expect(clippy::disallowed_methods, reason = "the test makes its tree with cp")]

use crate::support::{Packing, directory, run};
use flate2::bufread::GzDecoder;
use osimg::archive::{Format, Level};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

/// The directories of this machine that are copied: programs, libraries, data and documentation.
const PARTS: [&str; 4] = ["/usr/bin", "/usr/share/doc", "/usr/share/perl", "/usr/share/locale"];

/// The members of a gzip file, as they are stored.
fn members(file: &[u8]) -> BTreeSet<&[u8]> {
    let (mut rest, mut members) = (file, BTreeSet::new());
    while !rest.is_empty() {
        let mut decoder = GzDecoder::new(rest);
        io::copy(&mut decoder, &mut io::sink()).unwrap();
        let after = decoder.into_inner();
        members.insert(&rest[..rest.len() - after.len()]);
        rest = after;
    }
    members
}

fn packed(tree: &Path, directory: &Path) -> Vec<u8> {
    let packing = Packing { level: Level::Exact(1), epoch: Some(0), ..Packing::default() };
    packing.pack(tree, directory, "x", &[Format::Tgz]);
    fs::read(directory.join("x.tgz")).unwrap()
}

#[test]
fn after_a_change_of_four_files_97_of_100_bytes_are_in_unchanged_blocks() {
    let directory = directory();
    let tree = directory.path().join("tree");
    for part in PARTS {
        let target = tree.join(part.trim_start_matches('/'));
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        run(Command::new("cp")
            .args(["-r", "--reflink=auto", "--no-preserve=all", "--no-dereference", part])
            .arg(target));
    }
    let before = packed(&tree, directory.path());
    // Another length, a new file, one less, and other bytes of the same length.
    let at = |name: &str| tree.join("usr").join(name);
    fs::write(at("bin/perl-changed"), vec![b'x'; 300_000]).unwrap();
    fs::remove_file(at("bin/perl")).unwrap();
    let text = fs::read(at("share/doc/bash/copyright")).unwrap();
    fs::write(at("share/doc/bash/copyright"), [text.as_slice(), &vec![b'y'; 5_000]].concat())
        .unwrap();
    let mut other = fs::read(at("bin/tar")).unwrap();
    other[1000] ^= 1;
    fs::write(at("bin/tar"), other).unwrap();

    let after = packed(&tree, directory.path());
    let (before, after_members) = (members(&before), members(&after));
    let kept: usize = after_members.intersection(&before).map(|member| member.len()).sum();
    println!("{kept} of {} bytes, {} blocks", after.len(), after_members.len());
    assert!(
        after_members.len() > 300,
        "{} blocks: the tree is too small to judge",
        after_members.len()
    );
    assert!(kept * 100 >= after.len() * 97, "{kept} of {} bytes", after.len());
}
