//! Parsers with damaged input: valid documents with random changes, the same in every run, for as
//! long as requested.

#[path = "../../fuzz/parsers.rs"]
mod parsers;

use crate::damage::Random;
use crate::rounds;
use base64::Engine as _;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use std::path::Path;
use std::time::{Duration, Instant};

/// The time limit for one input; ten times as much in a build without optimization.
const LIMIT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 1 });

/// Words to insert into documents, in addition to random bytes.
const WORDS: [&[u8]; 16] = [
    b"\0",
    b"\n",
    b"\r\n",
    b"\"",
    b"'",
    b"[[",
    b"]]",
    b"=",
    b"99999999999999999999",
    b"-1",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"../..",
    b"\x1b[31m",
    b"%(x)s",
    b"install ",
];

/// Changes, removes, duplicates or inserts bytes.
fn mutate(good: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len().max(1)).min(bytes.len());
        let end = (at + random.below(64)).min(bytes.len());
        match random.below(5) {
            0 if at < bytes.len() => bytes[at] = u8::try_from(random.below(256)).unwrap(),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            3 => bytes.truncate(at.max(1)),
            _ => {
                let word = WORDS[random.below(WORDS.len())];
                bytes.splice(at..at, word.iter().copied());
            }
        }
    }
    bytes
}

/// The CPU time of this thread. Elapsed time would include other processes.
fn own_time() -> Duration {
    let used = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
    let micros = (used.user_time() + used.system_time()).num_microseconds();
    Duration::from_micros(micros.try_into().unwrap())
}

/// Gives damaged input to the parser for some seconds or a minute. The undamaged input must be
/// accepted.
///
/// `make fuzz` does the same guided by coverage.
fn fuzz(name: &str, seeds: &[Vec<u8>], parse: impl Fn(&[u8]) -> bool) {
    for seed in seeds {
        assert!(parse(seed), "{name}: valid input is refused: {}", seed.escape_ascii());
    }
    let budget = Duration::from_secs(rounds(2, 60) as u64);
    let (mut random, began, mut count) = (Random(37), Instant::now(), 0u64);
    while began.elapsed() < budget {
        let input = mutate(&seeds[random.below(seeds.len())], &mut random);
        let at = own_time();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| parse(&input)));
        assert!(outcome.is_ok(), "{name}: input {count} makes it panic: {}", input.escape_ascii());
        let took = own_time().saturating_sub(at);
        assert!(took < LIMIT, "{name}: input {count} takes {took:?}: {}", input.escape_ascii());
        count += 1;
    }
    println!("{name}: {count} inputs in {budget:?}");
    assert!(count > 100);
}

fn repository_file(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn damaged_recipes_are_read_or_refused_quickly() {
    let seeds = [
        repository_file("baremetal.yum"),
        b"repo enable x\ngroup install 'Minimal Install'\ninstall a b-1.0\nts run\n".to_vec(),
    ];
    fuzz("recipe", &seeds, parsers::recipe);
}

#[test]
fn damaged_settings_are_read_or_refused_quickly() {
    let seeds =
        [repository_file("baremetal.toml"), repository_file("recipes/centos-stream-9.toml")];
    fuzz("settings", &seeds, parsers::settings);
}

#[test]
fn damaged_locks_are_read_or_refused_quickly() {
    let names = ["small.lock", "rpms.lock.yaml", "packages.manifest.yaml"];
    fuzz(
        "lock",
        &names.map(|name| repository_file(&format!("fixtures/locks/{name}"))),
        parsers::lock,
    );
}

#[test]
fn damaged_treeinfos_are_read_or_refused_quickly() {
    let names = ["centos-stream-9.treeinfo", "general-only.treeinfo"];
    fuzz(
        "treeinfo",
        &names.map(|name| repository_file(&format!("fixtures/treeinfo/{name}"))),
        parsers::treeinfo,
    );
}

#[test]
fn damaged_policies_are_read_or_refused_quickly() {
    fuzz("contexts", &[repository_file("fixtures/selinux/file_contexts")], parsers::contexts);
}

#[test]
fn damaged_archives_are_read_or_refused_quickly() {
    let directory = tempfile::tempdir().unwrap();
    let make = "mkdir -p t/d; echo content > t/d/file; ln t/d/file t/hard; ln -s d/file t/soft; \
                truncate -s 1M t/sparse; mkfifo t/fifo; setfattr -n user.x -v y t/d/file \
                2>/dev/null || true; tar -C t --xattrs --format=pax -S -cf x.tar .; gzip -k \
                x.tar; xz -k x.tar; bzip2 -k x.tar";
    crate::stage::sh(directory.path(), make);
    let seeds: Vec<Vec<u8>> = ["x.tar", "x.tar.gz", "x.tar.xz", "x.tar.bz2"]
        .map(|name| std::fs::read(directory.path().join(name)).unwrap())
        .into();
    fuzz("archive", &seeds, parsers::archive);
}

#[test]
fn damaged_packages_are_read_or_refused_quickly() {
    let directory = tempfile::tempdir().unwrap();
    let path = crate::support::repo::Package::named("odd")
        .file("/usr/share/odd", "content", 0o644, "root:root")
        .write(directory.path());
    let seeds = [std::fs::read(path).unwrap()];
    let file = directory.path().join("damaged.rpm");
    fuzz("package", &seeds, |bytes| parsers::package(bytes, &file));
}

#[test]
fn damaged_keys_are_refused_quickly() {
    let armored = &crate::support::keys::ours().public;
    let body: String = armored
        .lines()
        .skip_while(|line| !line.is_empty())
        .take_while(|line| !line.starts_with(['=', '-']))
        .collect();
    let bytes = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
    fuzz("keys", &[armored.clone().into_bytes(), bytes], parsers::keys);
}
