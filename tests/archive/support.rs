//! Shared parts of the archive tests: trees to pack, tools that check tarballs, and skipping a
//! test if either is missing.
#![expect(clippy::disallowed_methods, reason = "tests run the independent tools that judge")]

use osimg::archive::{
    Capabilities, Format, Labels, Level, Memory, NoLabels, Options, Output, Overrides, Summary,
    write_tree,
};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Prints why a test cannot run here. Where the tests are required, this fails the test.
pub fn skip(why: &str) {
    println!("SKIPPED: {why}");
    assert_ne!(
        std::env::var("OSIMG_REQUIRE_PRIVILEGED").as_deref(),
        Ok("1"),
        "a required test cannot run: {why}"
    );
}

/// Whether the test can run. If not, prints which tool is missing, or that root is required.
pub fn can_run(tools: &[&str]) -> bool {
    if !nix::unistd::geteuid().is_root() {
        skip("it requires root");
        return false;
    }
    for tool in tools {
        if Command::new("sh")
            .args(["-c", &format!("command -v {tool} >/dev/null")])
            .status()
            .map_or(true, |s| !s.success())
        {
            skip(&format!("{tool} is not installed"));
            return false;
        }
    }
    true
}

/// A directory that is removed at the end of the test.
pub fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("archive-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Runs a program that must succeed and returns its stdout.
pub fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|e| panic!("starting {command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Runs a shell line in `directory`. It must succeed. Returns its stdout.
pub fn shell(directory: &Path, line: &str) -> Vec<u8> {
    run(Command::new("sh").args(["-ec", line]).current_dir(directory))
}

/// Runs a Python program that must succeed and returns its stdout.
pub fn python(program: &str, arguments: &[&Path]) -> String {
    String::from_utf8(run(Command::new("python3").args(["-c", program]).args(arguments))).unwrap()
}

/// A tree of all hard cases.
pub fn hard_tree(directory: &Path, more: &[&str]) -> PathBuf {
    let tree = directory.join("hard");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hardtree.py");
    run(Command::new("python3").arg(script).arg(&tree).args(more));
    tree
}

/// The differences of two trees, as `field path`; non-ASCII characters are shown as `?`.
pub fn differences(a: &Path, b: &Path, ignore: &str) -> BTreeSet<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/treediff.py");
    let output = Command::new("python3")
        .arg(script)
        .args([a, b])
        .args(["--json", "--ignore", ignore])
        .output()
        .unwrap();
    assert_ne!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    parsed(&String::from_utf8(output.stdout).unwrap())
}

/// The differences in the output of `treediff.py --json`.
pub fn parsed(output: &str) -> BTreeSet<String> {
    output
        .lines()
        .map(|line| {
            let found: serde_json::Value = serde_json::from_str(line).unwrap();
            format!("{} {}", found["field"].as_str().unwrap(), found["path"].as_str().unwrap())
        })
        .collect()
}

/// The options of a packing; the others have their usual values.
pub struct Packing<'a> {
    pub jobs: usize,
    pub level: Level,
    pub epoch: Option<i64>,
    pub labels: &'a dyn Labels,
}

impl Default for Packing<'_> {
    fn default() -> Self {
        Self { jobs: 2, level: Level::Default, epoch: None, labels: &NoLabels }
    }
}

impl Packing<'_> {
    pub fn options<'a>(
        &'a self,
        progress: &'a (dyn Fn(osimg::archive::Progress) + Sync),
        cancelled: &'a (dyn Fn() -> bool + Sync),
    ) -> Options<'a> {
        Options {
            level: self.level,
            jobs: NonZeroUsize::new(self.jobs).unwrap(),
            memory: Memory::default(),
            source_date_epoch: self.epoch,
            capabilities: Capabilities::All,
            overrides: Overrides { labels: self.labels, owners: None },
            progress,
            cancelled,
        }
    }

    /// Packs `tree` into `directory/NAME.FORMAT` for each of the formats.
    pub fn pack(&self, tree: &Path, directory: &Path, name: &str, formats: &[Format]) -> Summary {
        let outputs = formats
            .iter()
            .map(|format| Output {
                format: *format,
                sink: Box::new(File::create(directory.join(format!("{name}.{format}"))).unwrap()),
            })
            .collect();
        write_tree(tree, outputs, &self.options(&|_| (), &|| false))
            .unwrap_or_else(|e| panic!("{}", osimg::error::render(&e.into())))
    }
}

/// The digests of the outputs, in order.
pub fn digests(summary: &Summary) -> Vec<String> {
    summary.outputs.iter().map(|output| output.sha256.clone()).collect()
}

/// A new directory inside `directory`.
pub fn inside(directory: &Path, name: &str) -> PathBuf {
    let path = directory.join(name);
    fs::create_dir(&path).unwrap();
    path
}

/// Random bytes of so many bits each: 8 do not compress, 4 compress to half.
pub fn noise(seed: u32, size: usize, bits: u32) -> Vec<u8> {
    let mut state = u64::from(seed);
    let step = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> (64 - bits)) as u8
    };
    std::iter::repeat_with(step).take(size).collect()
}
