//! Many small files: memory hardly grows with their number, and time grows only linearly.

use crate::support::{can_run, directory, inside, python};

/// Makes a tree of that many files and packs it. Prints the CPU seconds and the peak memory in KiB
/// of the packing.
const PROGRAM: &str = r#"
import os, resource, subprocess, sys
tree, osimg = sys.argv[1:3]
count = int(os.path.basename(tree))
for number in range(count):
    if number % 1000 == 0:
        directory = os.path.join(tree, f"directory-{number}")
        os.mkdir(directory)
    with open(f"{directory}/file-{number}", "w") as file: file.write(f"{number}\n")
pack = [osimg, "--json", "pack", "-q", "-j2", "--level", "fast", tree, "-o", tree + ".tgz"]
done = subprocess.run(pack, stdout=subprocess.PIPE, check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
import json
assert json.loads(done.stdout)["summary"]["entries"] == count + (count + 999) // 1000 + 1
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
"#;

#[test]
fn memory_does_not_grow_with_the_number_of_files_and_time_grows_linearly() {
    if !can_run(&["python3"]) {
        return;
    }
    let directory = directory();
    let measured = |count: usize| {
        let tree = inside(directory.path(), &count.to_string());
        let printed = python(PROGRAM, &[&tree, env!("CARGO_BIN_EXE_osimg").as_ref()]);
        let (seconds, memory) = printed.trim().split_once(' ').unwrap();
        println!("{count} files: {seconds} s, {memory} KiB");
        (seconds.parse::<f64>().unwrap(), memory.parse::<u64>().unwrap())
    };
    let (few_seconds, few_memory) = measured(5_000);
    let (seconds, memory) = measured(50_000);
    assert!(memory < 256 << 10, "{memory} KiB");
    assert!(memory < few_memory + (24 << 10), "{few_memory} and {memory} KiB");
    // Linear growth would be 10; the rest allows for a busy machine.
    assert!(seconds < 25.0 * few_seconds + 2.0, "{few_seconds} and {seconds} s");
}

/// Pipes an archive of that many empty files into `osimg verify -`. Prints the peak memory in KiB.
const READING: &str = r#"
import os, resource, subprocess, sys
osimg, count = sys.argv[1], int(os.path.basename(sys.argv[2]))
def header(name, kind, mode):
    h = bytearray(512)
    h[0:len(name)] = name; h[100:108] = b"%07o\0" % mode; h[108:116] = h[116:124] = b"0000000\0"
    h[124:136] = h[136:148] = b"00000000000\0"; h[148:156] = b" " * 8
    h[156:157] = kind; h[257:265] = b"ustar\00000"
    h[148:156] = b"%06o\0 " % sum(h)
    return bytes(h)
verify = [osimg, "--json", "-q", "verify", "--no-digests", "-"]
reading = subprocess.Popen(verify, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
with reading.stdin as archive:
    archive.write(header(b"./", b"5", 0o755))
    for number in range(count):
        name = b"./usr/share/some/directory/%06d/a-name-of-the-usual-length-%06d"
        archive.write(header(name % (number // 1000, number), b"0", 0o644))
    archive.write(bytes(1024))
found = reading.stdout.read()
assert reading.wait() == 10
import json
assert json.loads(found)["members"] == count + 1
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"#;

#[test]
fn an_archive_of_millions_of_members_is_read_in_bounded_memory() {
    if !can_run(&["python3"]) {
        return;
    }
    let directory = directory();
    let measured = |count: u64| {
        let printed = python(
            READING,
            &[env!("CARGO_BIN_EXE_osimg").as_ref(), &directory.path().join(count.to_string())],
        );
        println!("{count} members: {} KiB", printed.trim());
        printed.trim().parse::<u64>().unwrap()
    };
    let (few, many) = (measured(50_000), measured(250_000));
    // Path, digest and the index: 1.6 million members need less than half a GiB.
    assert!((many - few) * 1024 < 200_000 * 300, "{few} and {many} KiB");
}
