//! The format of the tarballs as other readers see it.

use crate::support::{
    Packing, can_run, digests, directory, hard_tree, inside, noise, python, shell,
};
use osimg::archive::{Format, Labels, Level, Output, write_tree};
use std::fs;

/// Unpacks with Python's own decompressors and prints the digest of the result.
const UNPACKED: &str = "
import bz2, gzip, hashlib, lzma, sys
for path in sys.argv[1:]:
    opened = {'tgz': gzip.open, 'tbz': bz2.open, 'txz': lzma.open}[path[-3:]](path)
    digest = hashlib.sha256()
    while part := opened.read(1 << 20): digest.update(part)
    print(digest.hexdigest())
";

#[test]
fn every_format_holds_the_same_archive_and_passes_its_tools_test() {
    if !can_run(&["gzip", "bzip2", "xz", "file", "bsdtar", "python3", "setfacl"]) {
        return;
    }
    let directory = directory();
    let tree = hard_tree(directory.path(), &["--no-big"]);
    // More than one block in every format, with content that does not compress away.
    fs::write(tree.join("noise"), noise(1, 20 << 20, 4)).unwrap();
    let summary = Packing { level: Level::Fast, ..Packing::default() }.pack(
        &tree,
        directory.path(),
        "x",
        &Format::ALL,
    );
    let of_tar = digests(&summary)[0].clone();
    assert_eq!(summary.bytes, summary.outputs[0].bytes);
    for output in &summary.outputs {
        let shown = String::from_utf8(shell(
            directory.path(),
            &format!("sha256sum x.{0}; sha512sum x.{0}; stat -c %s x.{0}", output.format),
        ))
        .unwrap();
        assert!(
            shown.contains(&output.sha256)
                && shown.contains(&output.sha512)
                && shown.ends_with(&format!("\n{}\n", output.bytes))
        );
    }
    shell(directory.path(), "gzip -t x.tgz; bzip2 -t x.tbz; xz -t x.txz; xz -T0 -t x.txz");
    let packed: Vec<_> =
        ["x.tgz", "x.tbz", "x.txz"].iter().map(|name| directory.path().join(name)).collect();
    let unpacked = python(UNPACKED, &packed.iter().map(AsRef::as_ref).collect::<Vec<_>>());
    assert_eq!(unpacked, format!("{of_tar}\n{of_tar}\n{of_tar}\n"));
    let kinds =
        String::from_utf8(shell(directory.path(), "file -b x.tar x.tgz x.tbz x.txz")).unwrap();
    for kind in ["POSIX tar archive", "gzip compressed", "bzip2 compressed", "XZ compressed"] {
        assert!(kinds.contains(kind), "{kind}: {kinds}");
    }
    let blocks = String::from_utf8(shell(
        directory.path(),
        "xz --robot -l x.txz | grep ^file; for f in tar tgz tbz txz; do bsdtar -tf x.$f | wc -l; \
         done",
    ))
    .unwrap();
    // One stream of several blocks; a block has 18 to 24 MiB of the archive.
    let fields: Vec<u64> = blocks
        .lines()
        .next()
        .unwrap_or_default()
        .split('\t')
        .filter_map(|field| field.parse().ok())
        .collect();
    let expected = summary.bytes.div_ceil(24 << 20)..=summary.bytes.div_ceil(18 << 20);
    assert!(fields[0] == 1 && expected.contains(&fields[1]), "{blocks}");
    let counts: Vec<&str> = blocks.lines().skip(1).collect();
    assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
}

#[test]
fn members_are_depth_first_and_sorted_and_begin_with_a_dot() {
    if !can_run(&["python3", "setfacl"]) {
        return;
    }
    let directory = directory();
    let tree = hard_tree(directory.path(), &["--no-big"]);
    for name in ["dirs/sort-", "dirs/sort", "dirs/sort.d", "dirs/Sort"] {
        fs::create_dir(tree.join(name)).unwrap();
        fs::write(tree.join(name).join("inside"), "").unwrap();
    }
    let summary = Packing::default().pack(&tree, directory.path(), "x", &[Format::Tar]);
    let program = "
import os, sys, tarfile
archive = tarfile.open(sys.argv[1], errors='surrogateescape')
names = [os.fsencode(m.name) for m in archive]
assert names[0] == b'.', names[0]
assert all(n.startswith(b'./') for n in names[1:])
assert [n.split(b'/') for n in names] == sorted(n.split(b'/') for n in names)
assert len(set(names)) == len(names)
assert all(m.uname == m.gname == '' for m in archive)
tree = os.fsencode(sys.argv[2])
found = {b'.'} | {b'./' + os.path.relpath(os.path.join(d, n), tree) for d, ds, fs in os.walk(tree) \
                   for n in ds + fs}
print(len(found - set(names)), len(set(names) - found), len(names))
";
    let counted = python(program, &[&directory.path().join("x.tar"), &tree]);
    assert_eq!(counted, format!("{} 0 {}\n", summary.sockets.len(), summary.entries));
    assert_eq!(fs::metadata(directory.path().join("x.tar")).unwrap().len() % 10_240, 0);
}

struct ByType;

impl Labels for ByType {
    fn label(&self, path: &[u8], mode: u32) -> Option<Vec<u8>> {
        (path != b"/unlabelled").then(|| {
            format!("system_u:object_r:t{:o}_{}_t:s0", mode & 0o170_000, path.len()).into_bytes()
        })
    }
}

#[test]
fn every_member_but_hard_links_carries_its_label_in_both_forms() {
    if !can_run(&["python3", "setfattr"]) {
        return;
    }
    let directory = directory();
    let tree = inside(directory.path(), "tree");
    shell(
        &tree,
        "mkdir d; echo x > d/f; ln d/f d/g; ln -s f d/s; mkfifo p; mknod c c 1 3; touch \
         unlabelled; setfattr -n security.selinux -v host_t unlabelled",
    );
    let program = "
import sys, tarfile
for m in tarfile.open(sys.argv[1]):
    output = [m.pax_headers.get(k) for k in ('RHT.security.selinux', \
                   'SCHILY.xattr.security.selinux')]
    print(m.name, *['-' if t is None else t.replace('\\0', '@') for t in output])
";
    let summary = Packing { labels: &ByType, ..Packing::default() }.pack(
        &tree,
        directory.path(),
        "x",
        &[Format::Tar],
    );
    let listed = python(program, &[&directory.path().join("x.tar")]);
    let expected = "\
. system_u:object_r:t40000_1_t:s0 system_u:object_r:t40000_1_t:s0@
./c system_u:object_r:t20000_2_t:s0 system_u:object_r:t20000_2_t:s0@
./d system_u:object_r:t40000_2_t:s0 system_u:object_r:t40000_2_t:s0@
./d/f system_u:object_r:t100000_4_t:s0 system_u:object_r:t100000_4_t:s0@
./d/g - -
./d/s system_u:object_r:t120000_4_t:s0 system_u:object_r:t120000_4_t:s0@
./p system_u:object_r:t10000_2_t:s0 system_u:object_r:t10000_2_t:s0@
./unlabelled - -
";
    assert_eq!(listed, expected);
    assert_eq!((summary.labels, summary.unlabelled), (6, 1));
    assert_eq!(summary.unlabelled_paths, ["/unlabelled".into()] as [std::path::PathBuf; 1]);

    let summary = Packing::default().pack(&tree, directory.path(), "none", &[Format::Tar]);
    assert!(!python(program, &[&directory.path().join("none.tar")]).contains("_t"));
    assert_eq!((summary.labels, summary.unlabelled), (0, 0));
}

#[test]
fn times_are_at_most_the_epoch_and_have_no_fractions() {
    if !can_run(&["python3", "setfacl"]) {
        return;
    }
    let directory = directory();
    let tree = hard_tree(directory.path(), &["--no-big"]);
    Packing { epoch: Some(1_650_000_000), ..Packing::default() }.pack(
        &tree,
        directory.path(),
        "x",
        &[Format::Tar],
    );
    let program = "
import sys, tarfile
times = [m.mtime for m in tarfile.open(sys.argv[1])]
assert all(t == int(t) for t in times)
print(max(times), min(times), 1500000000 in times)
";
    assert_eq!(
        python(program, &[&directory.path().join("x.tar")]),
        "1650000000 -2147483648.0 True\n"
    );
}

#[test]
fn a_file_that_would_look_like_a_boot_sector_is_shifted() {
    if !can_run(&["gzip", "python3"]) {
        return;
    }
    /// The first content that triggers the case with libdeflate 1.26. Another version needs another
    /// number.
    const FIRST: u32 = 20_475;
    let directory = directory();
    let tree = inside(directory.path(), "tree");
    let packing = Packing { level: Level::Exact(1), epoch: Some(0), ..Packing::default() };
    let packed = (FIRST..FIRST + 1_000_000).find_map(|seed| {
        fs::write(tree.join("file"), noise(seed, 700, 8)).unwrap();
        let mut packed = Vec::new();
        let outputs = vec![Output { format: Format::Tgz, sink: Box::new(&mut packed) }];
        write_tree(&tree, outputs, &packing.options(&|_| (), &|| false)).unwrap();
        let shifted = packed[3] & 4 != 0;
        shifted.then_some(packed)
    });
    let packed = packed.unwrap();
    assert_ne!(packed[510..512], [0x55, 0xAA]);
    let extra = 12 + usize::from(u16::from_le_bytes([packed[10], packed[11]]));
    assert_eq!([&packed[..10], &packed[extra..]].concat()[510..512], [0x55, 0xAA]);
    fs::write(directory.path().join("x.tgz"), &packed).unwrap();
    packing.pack(&tree, directory.path(), "x", &[Format::Tar]);
    shell(
        directory.path(),
        "gzip -dc x.tgz | cmp - x.tar; python3 -c \"import tarfile; assert \
         len(tarfile.open('x.tgz').getnames()) == 2\"",
    );
}

#[test]
fn x86_programs_are_packed_with_the_x86_filter_and_every_reader_reverses_it() {
    if !can_run(&["xz", "bsdtar", "python3", "tar"]) {
        return;
    }
    if !cfg!(target_arch = "x86_64") {
        println!("SKIPPED: this machine has no x86 programs");
        return;
    }
    let directory = directory();
    let tree = inside(directory.path(), "tree");
    shell(&tree, "cp -L /usr/bin/python3 /bin/bash .");
    let packing = Packing { level: Level::Fast, epoch: Some(0), ..Packing::default() };
    packing.pack(&tree, directory.path(), "x", &[Format::Tar, Format::Txz]);
    shell(
        directory.path(),
        "xz -lvv x.txz | grep -q -- --x86; xz -t x.txz; xz -dc x.txz | cmp - x.tar; bsdcat x.txz \
         | cmp - x.tar",
    );
    shell(
        directory.path(),
        "tar -xaf x.txz --to-stdout ./python3 | cmp - tree/python3; test $(stat -c %s x.txz) -lt \
         $(xz -0c x.tar | wc -c)",
    );
    let program =
        "import lzma, sys; print(lzma.open(sys.argv[1]).read() == open(sys.argv[2], 'rb').read())";
    assert_eq!(
        python(program, &[&directory.path().join("x.txz"), &directory.path().join("x.tar")]),
        "True\n"
    );
    // Plain text does not contain x86 jumps.
    fs::write(tree.join("python3"), "no program ".repeat(300_000)).unwrap();
    shell(&tree, "cp python3 bash");
    packing.pack(&tree, directory.path(), "y", &[Format::Txz]);
    shell(directory.path(), "! xz -lvv y.txz | grep -q -- --x86; xz -t y.txz");
}
