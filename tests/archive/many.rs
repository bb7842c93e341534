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
done = subprocess.run([osimg, "--json", "pack", "-q", "-j2", "--level", "fast", tree, "-o", tree + ".tgz"], stdout=subprocess.PIPE, check=True)
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
