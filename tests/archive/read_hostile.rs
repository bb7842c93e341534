//! The reader with truncated, altered and hostile archives. The error is found and reported,
//! without a panic and without much memory.

use crate::read_foreign::{digest_of, facts_of_archive};
use crate::support::{Packing, can_run, directory, noise, shell};
use osimg::archive::read::{Entry, Irregularity, Kind, Reader};
use osimg::archive::{Format, Reason};
use proptest::prelude::*;
use std::fs;
use std::io::Write;

/// A header with a correct checksum.
fn header(name: &[u8], flag: u8, size: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name);
    block[100..107].copy_from_slice(b"0000644");
    block[124..124 + size.len()].copy_from_slice(size);
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    seal(&mut block);
    block
}

fn seal(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn octal(size: usize) -> Vec<u8> {
    format!("{size:011o}").into_bytes()
}

/// A member with content, padded to whole blocks.
fn member(name: &[u8], flag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = header(name, flag, &octal(content.len()));
    out.extend_from_slice(content);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn ended(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), vec![0; 1024]].concat()
}

fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (rest..).find(|length| *length == rest + length.to_string().len()).unwrap();
    format!("{length} {key}={value}\n").into_bytes()
}

/// Reads the whole archive; returns the error as text.
fn read(bytes: &[u8]) -> Result<(Vec<Entry>, Vec<Irregularity>), String> {
    let output = |error: osimg::archive::Error| {
        // The first bytes of a header may be plain text.
        assert!(error.damage().is_some() || matches!(error.reason(), Reason::NotTar(_)), "{error}");
        error.to_string()
    };
    let mut reader = Reader::new(bytes).map_err(output)?;
    let mut entries = Vec::new();
    while let Some(entry) = reader.next().map_err(output)? {
        // An endless hole is not worth a digest.
        if entry.size < 64 << 20 {
            digest_of(&mut reader).map_err(output)?;
        }
        entries.push(entry);
    }
    Ok((entries, reader.irregular().iter().map(|(irregularity, _)| *irregularity).collect()))
}

#[track_caller]
fn refused(bytes: &[u8], why: &str) {
    let output = read(bytes).unwrap_err();
    assert!(output.contains(why), "{output}");
}

#[test]
fn every_irregularity_is_reported_with_its_kind() {
    let file = |name: &[u8]| member(name, b'0', b"x");
    let odd = |parts: &[Vec<u8>]| read(&ended(parts)).unwrap().1;
    assert_eq!(odd(&[file(b"./a"), file(b"./b")]), []);
    assert_eq!(odd(&[file(b"./a"), file(b"a")]), [Irregularity::Duplicate]);
    assert_eq!(odd(&[file(b"./d/a"), file(b".//d/./a")]), [Irregularity::Duplicate]);
    assert_eq!(odd(&[file(b"./../a")]), [Irregularity::Upwards]);
    assert_eq!(odd(&[file(b"./a..b/..c")]), []);
    assert_eq!(odd(&[file(b"/etc/passwd")]), [Irregularity::Absolute]);
    let mut link = header(b"./link", b'1', b"");
    link[157..160].copy_from_slice(b"./a");
    seal(&mut link);
    assert_eq!(odd(&[file(b"./a"), link.clone()]), []);
    assert_eq!(odd(&[link.clone(), file(b"./a")]), [Irregularity::Dangling]);
    link[124..135].copy_from_slice(&octal(5000));
    seal(&mut link);
    assert_eq!(odd(&[file(b"./a"), link, file(b"./b")]), [Irregularity::Size]);
    assert_eq!(odd(&[member(b"volume", b'V', b""), file(b"./b")]), [Irregularity::Volume]);
    let labels = [
        record("RHT.security.selinux", "a:b:c:s0"),
        record("SCHILY.xattr.security.selinux", "a:b:d:s0\0"),
    ]
    .concat();
    assert_eq!(odd(&[member(b"x", b'x', &labels), file(b"./b")]), [Irregularity::Labels]);
    let trailing = [ended(&[file(b"./a")]), vec![0; 512], vec![1; 512]].concat();
    assert_eq!(read(&trailing).unwrap().1, [Irregularity::Trailing]);
}

#[test]
fn an_archive_that_two_readers_could_read_differently_is_refused() {
    let file = member(b"./f", b'0', b"x");
    refused(b"", "empty");
    refused(&file, "two empty blocks");
    refused(&[file.clone(), vec![0; 512]].concat(), "second empty block");
    refused(
        &[file.clone(), vec![0; 512], file.clone(), vec![0; 1024]].concat(),
        "a single empty block",
    );
    // How many zeros follow the end does not matter to any reader.
    assert!(read(&[ended(std::slice::from_ref(&file)), vec![0; 100]].concat()).is_ok());
    refused(
        &ended(&[header(b"./d/", b'5', &octal(512)), vec![b'x'; 512]]),
        "not a file has a size",
    );
    refused(&ended(&[member(b"./d/", b'0', b"x")]), "name of a directory");
    refused(&ended(&[member(b"./d", b'Z', b"")]), "unknown type");
    refused(&ended(&[member(b"./d", b'M', b"")]), "multi-volume");
    refused(&ended(&[member(b"", b'0', b"")]), "no name");
    refused(&ended(&[member(b"x", b'x', &record("path", "./a"))]), "no member follows");
    let twice = member(b"x", b'x', &record("path", "./a"));
    refused(&ended(&[twice.clone(), twice.clone(), file.clone()]), "two extended headers");
    refused(
        &ended(&[twice, member(b"././@LongLink", b'L', b"./b\0"), file.clone()]),
        "two long names",
    );
    refused(&ended(&[member(b"x", b'x', b"99 path=a\n"), file.clone()]), "longer than its header");
    for size in [
        b"-0000000001".as_slice(),
        b"0000000000x",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        refused(&ended(&[header(b"./f", b'0', size)]), "header's size");
    }
    let mut wrong = file;
    wrong[0] ^= 1;
    refused(&ended(&[wrong]), "checksum");
}

#[test]
fn global_records_apply_until_a_member_overrides_them() {
    let global =
        member(b"g", b'g', &[record("uid", "4000000000"), record("mtime", "12.5")].concat());
    let own = member(b"x", b'x', &[record("uid", ""), record("gid", "7")].concat());
    let (entries, _) =
        read(&ended(&[global, member(b"./a", b'0', b"x"), own, member(b"./b", b'0', b"x")]))
            .unwrap();
    assert_eq!(
        (entries[0].uid, entries[0].gid, entries[0].mtime.nanoseconds),
        (4_000_000_000, 0, 500_000_000)
    );
    assert_eq!((entries[1].uid, entries[1].gid, entries[1].mtime.seconds), (0, 7, 12));
}

#[test]
fn invalid_maps_of_sparse_files_are_refused() {
    let sparse = |records: &[(&str, &str)], content: &[u8]| {
        let records: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        ended(&[member(b"x", b'x', &records), member(b"./s", b'0', content)])
    };
    let one = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "./s"),
        ("GNU.sparse.realsize", "9000"),
    ];
    let mapped = |map: &str, data: usize| {
        [map.as_bytes(), &vec![0; 512 - map.len()], &vec![b'd'; data]].concat()
    };
    let (entries, _) = read(&sparse(&one, &mapped("2\n0\n10\n9000\n0\n", 10))).unwrap();
    assert_eq!((entries[0].size, entries[0].sparse.as_ref().unwrap().len()), (9000, 1));
    refused(&sparse(&one, &mapped("1\n0\n11\n", 10)), "tells of 11 bytes");
    refused(&sparse(&one, &mapped("1\n8995\n10\n", 10)), "beyond its end");
    refused(&sparse(&one, &mapped("2\n20\n5\n0\n5\n", 10)), "out of order");
    refused(&sparse(&one, &mapped("99999999\n0\n1\n", 10)), "too many");
    refused(&sparse(&one, &mapped("2\n0\n10\n", 10)), "no numbers");
    refused(&sparse(&one, b"1\n0"), "longer than its content");
    refused(&sparse(&one, &[b'x'; 1024]), "no numbers");
    refused(&sparse(&one, b""), "longer than its content");
    refused(
        &sparse(&[("GNU.sparse.major", "2"), ("GNU.sparse.minor", "0")], b""),
        "unknown version",
    );
    let listed =
        |map| [("GNU.sparse.size", "9000"), ("GNU.sparse.numblocks", "1"), ("GNU.sparse.map", map)];
    assert!(read(&sparse(&listed("0,10"), b"dddddddddd")).is_ok());
    refused(&sparse(&listed("0,10,20"), b"dddddddddd"), "ends early");
    refused(&sparse(&listed("0,5,10,5"), b"dddddddddd"), "not as long");
    refused(&sparse(&[("GNU.sparse.numbytes", "1")], b""), "out of order");
}

type Files = Vec<(Format, Vec<u8>)>;

/// A small tree with every kind of file, packed in every format.
fn small() -> Option<(tempfile::TempDir, Files)> {
    if !can_run(&["setfacl"]) {
        return None;
    }
    let directory = directory();
    let tree = directory.path().join("tree");
    fs::create_dir_all(tree.join("etc")).unwrap();
    fs::write(tree.join("etc/text"), "text ".repeat(300)).unwrap();
    fs::write(tree.join("etc/noise"), noise(3, 3000, 8)).unwrap();
    let mut sparse = vec![0; 200_000];
    sparse[100_000..100_600].copy_from_slice(&noise(4, 600, 8));
    fs::write(tree.join("sparse"), sparse).unwrap();
    shell(
        &tree,
        &format!(
            "ln etc/text etc/two; ln -s text etc/link; touch {}; setfacl -m u:7:r etc/text",
            "n".repeat(120)
        ),
    );
    Packing::default().pack(&tree, directory.path(), "x", &Format::ALL);
    let files = Format::ALL
        .into_iter()
        .map(|format| (format, fs::read(directory.path().join(format!("x.{format}"))).unwrap()))
        .collect();
    Some((directory, files))
}

#[test]
fn a_tarball_that_is_truncated_anywhere_is_refused() {
    let Some((_directory, files)) = small() else { return };
    for (format, whole) in files {
        let (entries, odd) = read(&whole).unwrap();
        assert!(entries.len() == 8 && odd.is_empty(), "{} {odd:?}", entries.len());
        // A plain archive ends with its second empty block. The padding up to the blocking factor
        // carries no data.
        let end = match format {
            Format::Tar => {
                whole.len() - whole.iter().rev().take_while(|byte| **byte == 0).count() + 1024 - 511
            }
            _ => whole.len(),
        };
        let step = (end / 1000).max(1);
        for length in (0..end).step_by(step).chain(end.saturating_sub(300)..end) {
            assert!(read(&whole[..length]).is_err(), "{format}: {length} of {} bytes", whole.len());
        }
    }
}

#[test]
fn a_changed_byte_is_found_or_changes_nothing() {
    let Some((_directory, files)) = small() else { return };
    for (format, whole) in files.into_iter().filter(|(format, _)| *format != Format::Tar) {
        let sound = facts_of_archive(Reader::new(whole.as_slice()).unwrap()).unwrap();
        let step = (whole.len() / 1000).max(1);
        let mut unseen = 0;
        for (turn, at) in (0..whole.len()).step_by(step).enumerate() {
            let mut changed = whole.clone();
            changed[at] ^= 1 << (turn % 8);
            // Some bytes of gzip's header only hold the time and the operating system.
            if let Ok(read) = Reader::new(changed.as_slice())
                .map_err(anyhow::Error::from)
                .and_then(facts_of_archive)
            {
                unseen += 1;
                assert!(read == sound, "{format}: byte {at}");
            }
        }
        // In a run of zeros, a match at another distance gives the same bytes.
        assert!(unseen <= if format == Format::Txz { 0 } else { 50 }, "{format}: {unseen}");
    }
}

#[test]
fn bytes_after_a_compressed_archive_are_refused() {
    let Some((_directory, files)) = small() else { return };
    for (format, mut whole) in files.into_iter().filter(|(format, _)| *format != Format::Tar) {
        whole.extend_from_slice(b"something else");
        assert!(read(&whole).is_err(), "{format}");
    }
}

#[test]
fn an_archive_made_to_exhaust_memory_uses_little() {
    const CHILD: &str = "OSIMG_TEST_BOMBS";
    if std::env::var_os(CHILD).is_none() {
        let this = std::env::current_exe().unwrap();
        let line = format!(
            "{CHILD}=1 '{}' --exact read_hostile::an_archive_made_to_exhaust_memory_uses_little \
             --nocapture",
            this.display()
        );
        let output = String::from_utf8(shell(std::path::Path::new("/"), &line)).unwrap();
        let peak: u64 =
            output.split("PEAK ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!(peak < 96 << 10, "{peak} KiB");
        return;
    }
    let huge = b"\x80\0\0\0\x3f\xff\xff\xff\xff\xff\xff\xff".as_slice();
    for flag in *b"xgLK0" {
        assert!(read(&ended(&[header(b"./f", flag, huge), vec![b'1'; 4096]])).is_err());
    }
    // A gigabyte of records and an endless map, from a few KiB.
    for (flag, line) in [(b'x', b"12 comment=\n".as_slice()), (b'L', b"name"), (b'0', b"1\n")] {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        if flag == b'0' {
            let records = [
                ("GNU.sparse.major", "1"),
                ("GNU.sparse.minor", "0"),
                ("GNU.sparse.realsize", "9000000000000000000"),
            ];
            let records: Vec<u8> =
                records.iter().flat_map(|(key, value)| record(key, value)).collect();
            out.write_all(&member(b"x", b'x', &records)).unwrap();
        }
        out.write_all(&header(b"./f", flag, b"07777777777")).unwrap();
        if flag == b'0' {
            out.write_all(b"1000000\n").unwrap();
        }
        let lines = line.repeat(100_000);
        for _ in 0..200 {
            out.write_all(&lines).unwrap();
        }
        assert!(read(&out.finish().unwrap()).is_err());
    }
    // Global records that accumulate.
    let pile: Vec<u8> = (0..12)
        .flat_map(|n| member(b"g", b'g', &record(&format!("k{n}"), &"v".repeat(1 << 20))))
        .collect();
    assert!(read(&ended(&[pile, member(b"./a", b'0', b"")])).is_err());
    let many: Vec<u8> = (0..500_000).flat_map(|n| record(&format!("{n:x}"), "")).collect();
    assert!(read(&ended(&[member(b"x", b'x', &many), member(b"./a", b'0', b"")])).is_err());
    // A hole of eight exabytes needs no memory.
    let records: Vec<u8> =
        [("GNU.sparse.size", "9000000000000000000"), ("GNU.sparse.numblocks", "0")]
            .iter()
            .flat_map(|(k, v)| record(k, v))
            .collect();
    let hole = ended(&[member(b"x", b'x', &records), member(b"./h", b'0', b"")]);
    assert_eq!(read(&hole).unwrap().0[0].size, 9_000_000_000_000_000_000);
    let mut reader = Reader::new(hole.as_slice()).unwrap();
    reader.next().unwrap();
    assert!(reader.content_within(1 << 20).is_err());
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap()
        .trim()
        .trim_end_matches(" kB");
    println!("PEAK {peak} KiB");
}

/// Archives with headers of every kind; the tests alter them.
fn base() -> Vec<u8> {
    let mut old = header(b"./old", b'S', &octal(10));
    old[257..265].copy_from_slice(b"ustar  \0");
    old[386..398].copy_from_slice(b"00000000000\0");
    old[398..410].copy_from_slice(b"00000000012\0");
    old[483..495].copy_from_slice(b"00000100000\0");
    seal(&mut old);
    let records = [
        record("path", "./p"),
        record("SCHILY.xattr.user.a", "b"),
        record("mtime", "1.5"),
        record("size", "3"),
    ]
    .concat();
    let sparse = [record("GNU.sparse.size", "99"), record("GNU.sparse.map", "0,2,5,1")].concat();
    ended(&[
        member(b"g", b'g', &record("gname", "root")),
        member(b"./", b'5', b""),
        member(b"x", b'x', &records),
        member(b"f", b'0', b"abc"),
        member(b"././@LongLink", b'L', b"./long\0"),
        member(b"l", b'2', b""),
        member(b"x", b'x', &sparse),
        member(b"./s", b'0', b"abc"),
        old,
        [b"0123456789".as_slice(), &[0; 502]].concat(),
        header(b"./h", b'1', b""),
    ])
}

#[test]
fn the_archive_is_valid_before_it_is_altered() {
    let (entries, _) = read(&base()).unwrap();
    assert_eq!(entries.len(), 6);
    assert_eq!(entries[4].sparse.as_ref().unwrap()[0].length, 10);
    assert_eq!(entries[2].path, b"./long");
    assert_eq!((entries[1].kind, entries[1].size), (Kind::File, 3));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_read_without_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..4096),
        magic in 0_usize..5,
    ) {
        let starts: [&[u8]; 5] = [
            b"", b"\x1f\x8b\x08\0", b"BZh9", b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4\x46", b"BZh91AY&SY",
        ];
        let _ = read(&[starts[magic], &bytes].concat());
    }

    #[test]
    fn an_altered_archive_with_correct_checksums_is_read_without_a_panic(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..12)
    ) {
        let mut bytes = base();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        for block in bytes.chunks_mut(512).filter(|block| block[257..262] == *b"ustar") {
            seal(block);
        }
        let _ = read(&bytes);
    }
}
