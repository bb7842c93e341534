//! The environment of a test: a directory with repository, cache, workdir and output, runs of the
//! program, and conditions that must hold afterwards.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::support::repo::{Repo, Settings};
use crate::support::soon;

/// The program under test.
pub const OSIMG: &str = env!("CARGO_BIN_EXE_osimg");
/// The content of the output file before a build that must fail.
const EARLIER: &str = "an earlier artifact";

/// Any program that runs longer hangs, on any machine.
const LIMIT: Duration = Duration::from_secs(600);
/// The time within which the other holders of an ended program's output must end too.
const AFTERWARDS: Duration = Duration::from_secs(20);

/// The directory of one test, removed at its end.
pub struct Stage {
    directory: tempfile::TempDir,
}

impl Stage {
    /// With a repository of the packages `base`, `shell` and those that `fill` adds.
    pub fn new(fill: impl FnOnce(Repo) -> Repo) -> Self {
        let stage = Self::empty();
        fill(Repo::new(&stage.repo())).write();
        stage
    }

    /// Without a repository.
    pub fn empty() -> Self {
        enter_own_namespace();
        let directory = tempfile::Builder::new()
            .prefix("e2e-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .unwrap();
        let stage = Self { directory };
        for path in [stage.repo(), stage.out(), stage.work(), stage.cache()] {
            fs::create_dir(path).unwrap();
        }
        stage
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn repo(&self) -> PathBuf {
        self.path().join("repo")
    }

    pub fn out(&self) -> PathBuf {
        self.path().join("out")
    }

    pub fn work(&self) -> PathBuf {
        self.path().join("work")
    }

    pub fn cache(&self) -> PathBuf {
        self.path().join("cache")
    }

    /// The image's SHA-256, computed by sha256sum.
    pub fn digest(&self) -> String {
        sh(&self.out(), "sha256sum < image.tgz").split(' ').next().unwrap_or_default().to_owned()
    }

    pub fn image(&self) -> PathBuf {
        self.out().join("image.tgz")
    }

    /// Changes the settings of the repository.
    pub fn settings(&self, change: impl FnOnce(&mut Settings)) {
        let mut settings = Settings::default();
        change(&mut settings);
        settings.write(&self.repo());
    }

    pub fn recipe(&self, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join("image.yum");
        fs::write(&path, text).unwrap();
        path
    }

    /// A file next to the recipe.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// `osimg build` of a recipe with this text into `out/image.tgz`.
    pub fn build(&self, recipe: &str) -> Run<'_> {
        let path = self.recipe(recipe);
        self.build_file(&path)
    }

    /// `osimg build` of the file into `out/image.tgz`.
    pub fn build_file(&self, recipe: &Path) -> Run<'_> {
        self.build_without_output(recipe).arg("--output").arg(self.image())
    }

    pub fn build_without_output(&self, recipe: &Path) -> Run<'_> {
        let run = self
            .osimg(OSIMG, &["build"])
            .arg(recipe)
            .arg("--cache")
            .arg(self.cache())
            .arg("--workdir")
            .arg(self.work());
        let settings = self.repo().join("settings.toml");
        if settings.exists() { run.arg("--settings").arg(settings) } else { run }
    }

    /// The program, or another that runs it, with these arguments.
    pub fn osimg(&self, program: &str, words: &[&str]) -> Run<'_> {
        let mut command = Command::new(program);
        command
            .args(words)
            .current_dir(self.path())
            .env_remove("SOURCE_DATE_EPOCH")
            .stdin(Stdio::null());
        Run { stage: self, command }
    }

    /// Every file in a directory of the stage: its name and bytes, or the target of a link.
    pub fn files(&self, directory: &Path) -> BTreeMap<String, Vec<u8>> {
        fs::read_dir(directory)
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let content = match fs::read_link(&path) {
                    Ok(target) => target.into_os_string().into_encoded_bytes(),
                    Err(_) if path.is_dir() => b"a directory".to_vec(),
                    Err(_) => fs::read(&path).unwrap(),
                };
                (path.file_name().unwrap().to_string_lossy().into_owned(), content)
            })
            .collect()
    }

    /// Processes that run the program on this stage, or have this stage's directories mounted. This
    /// includes everything that a build started.
    pub fn processes(&self) -> Vec<String> {
        let mark = self.path().file_name().unwrap().to_string_lossy().into_owned();
        let own = std::process::id().to_string();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == own || !name.bytes().all(|b| b.is_ascii_digit()) {
                continue;
            }
            let read = |file: &str| {
                fs::read(entry.path().join(file))
                    .map(|b| String::from_utf8_lossy(&b).replace('\0', " "))
                    .unwrap_or_default()
            };
            let line = read("cmdline");
            if line.contains(&mark) || read("mountinfo").contains(&mark) {
                found.push(format!("{name}: {line}"));
            }
        }
        found
    }

    /// Waits for a process on this stage with the text in its command line.
    pub fn wait_for_process(&self, text: &str) {
        wait_until(&format!("a process with '{text}'"), Duration::from_secs(60), || {
            self.processes().iter().any(|p| p.contains(text))
        });
    }

    /// Fails unless everything that builds started on this stage ends soon.
    pub fn nothing_runs(&self) {
        let end = Instant::now() + soon();
        loop {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "still running: {left:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Fails if a mount, a process or a file in the directory of workdirs is left.
    pub fn nothing_is_left(&self) {
        self.nothing_runs();
        self.nothing_is_mounted();
        let left = self.files(&self.work());
        assert!(left.is_empty(), "left in the directory of workdirs: {:?}", left.keys());
    }

    pub fn nothing_is_mounted(&self) {
        let mark = self.path().file_name().unwrap().to_string_lossy().into_owned();
        let mounts = mountinfo();
        assert!(!mounts.contains(&mark), "still mounted:\n{mounts}");
    }

    /// The manifest of `out/image.tgz`.
    pub fn manifest(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.out().join("image.json")).unwrap()).unwrap()
    }

    /// Unpacks the image by GNU tar with Anaconda's options.
    pub fn extract(&self) -> PathBuf {
        let target = self.path().join("extracted");
        fs::create_dir(&target).unwrap();
        // https://github.com/rhinstaller/anaconda: _install_tar of
        // payloads/payload/live_image/installation.py
        let mut tar = Command::new("tar");
        tar.args([
            "--numeric-owner",
            "--selinux",
            "--acls",
            "--xattrs",
            "--xattrs-include",
            "*",
            "-xaf",
        ])
        .arg(self.image())
        .arg("-C")
        .arg(&target);
        run(&mut tar);
        target
    }

    /// The names in `out/image.tgz`, as GNU tar lists them.
    pub fn members(&self) -> Vec<String> {
        String::from_utf8(run(Command::new("tar").arg("-tf").arg(self.image())))
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// One file of `out/image.tgz`.
    pub fn content(&self, member: &str) -> String {
        String::from_utf8(run(Command::new("tar").arg("-xOf").arg(self.image()).arg(member)))
            .unwrap()
    }
}

/// A command that will run on a stage.
pub struct Run<'a> {
    stage: &'a Stage,
    command: Command,
}

impl<'a> Run<'a> {
    pub fn arg(mut self, word: impl AsRef<OsStr>) -> Self {
        self.command.arg(word);
        self
    }

    pub fn args(mut self, words: &[&str]) -> Self {
        self.command.args(words);
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// The same command run by another one, such as `unshare -m`.
    pub fn behind(self, words: &[&str]) -> Self {
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .arg(self.command.get_program())
            .args(self.command.get_args())
            .current_dir(self.stage.path());
        command.env_remove("SOURCE_DATE_EPOCH").stdin(Stdio::null());
        for (name, value) in
            self.command.get_envs().filter_map(|(name, value)| Some((name, value?)))
        {
            command.env(name, value);
        }
        Self { stage: self.stage, command }
    }

    /// The command itself, for a test that chooses its streams.
    #[allow(dead_code, reason = "not every tier uses it")]
    pub fn command(self) -> Command {
        count_a_run();
        self.command
    }

    /// Starts it without waiting.
    pub fn start(mut self) -> Started<'a> {
        count_a_run();
        let began = Instant::now();
        let mut child = self.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, stderr) = (
            Captured::from_stream(child.stdout.take().unwrap()),
            Captured::from_stream(child.stderr.take().unwrap()),
        );
        Started { stage: self.stage, child, began, stdout, stderr }
    }

    /// Runs it until it ends.
    pub fn run(self) -> Done {
        self.start().wait()
    }

    /// Runs it. It must succeed and leave the host unchanged.
    pub fn succeeds(self) -> Done {
        let (stage, before) = (self.stage, mountinfo());
        let done = self.run();
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        assert_eq!(mountinfo(), before, "the host's mounts changed");
        stage.nothing_is_left();
        done
    }

    /// Runs it. It must fail with the code, report the error only on stderr, and leave the host and
    /// an earlier artifact unchanged.
    pub fn fails(self, code: i32) -> Done {
        let stage = self.stage;
        fs::write(stage.image(), EARLIER).unwrap();
        let before = (mountinfo(), stage.files(&stage.out()));
        let done = self.run();
        assert_eq!(done.code, Some(code), "stderr: {}\nstdout: {}", done.stderr, done.stdout);
        done.is_a_clean_failure(stage, &before);
        done
    }
}

/// Counts runs for the report of the torture suite: one byte per run.
fn count_a_run() {
    use std::io::Write;
    if let Some(file) = std::env::var_os("OSIMG_TORTURE_RUNS") {
        fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(file)
            .unwrap()
            .write_all(b".")
            .unwrap();
    }
}

/// The output of a program so far. A thread reads it, so that every wait can have a limit.
#[derive(Clone)]
struct Captured(Arc<(Mutex<Bytes>, Condvar)>);

/// The bytes so far, and whether the stream has ended.
type Bytes = (Vec<u8>, bool);

impl Captured {
    fn from_stream(mut stream: impl Read + Send + 'static) -> Self {
        let captured = Self(Arc::new((Mutex::new((Vec::new(), false)), Condvar::new())));
        let writer = captured.clone();
        // The thread ends with the last holder of the stream, or with the tests.
        std::thread::spawn(move || {
            let mut window = [0; 16 << 10];
            loop {
                let count = stream.read(&mut window).unwrap_or(0);
                let mut state = writer.0.0.lock().unwrap();
                state.0.extend_from_slice(&window[..count]);
                state.1 = count == 0;
                writer.0.1.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        captured
    }

    /// Waits until the output meets the condition or the stream has ended. Returns whether it is
    /// met.
    fn wait_until(&self, limit: Duration, met: impl Fn(&[u8], bool) -> bool) -> bool {
        let state = self.0.0.lock().unwrap();
        let (state, _) = self
            .0
            .1
            .wait_timeout_while(state, limit, |(bytes, ended)| !*ended && !met(bytes, *ended))
            .unwrap();
        met(&state.0, state.1)
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.0.lock().unwrap().0.clone()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }
}

/// Waits until the program and its output have ended. If one of them does not end, kills the
/// program and fails.
fn end(child: &mut Child, streams: [&Captured; 2], what: &dyn Fn() -> String) -> ExitStatus {
    let until = Instant::now() + LIMIT;
    // Its output ends with it, so there is no need to check more often.
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if Instant::now() > until => {
                let left = what();
                let _ = child.kill();
                let _ = child.wait();
                panic!(
                    "a program hung for {LIMIT:?}; its output:\n{}\n{}\n{left}",
                    streams[0].text(),
                    streams[1].text()
                );
            }
            None => {
                streams[1].wait_until(Duration::from_millis(200), |_, ended| ended);
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    };
    for stream in streams {
        let ended = stream.wait_until(AFTERWARDS, |_, ended| ended);
        assert!(
            ended,
            "the program ended with {status}, but a process still holds its output:\n{}\n{}",
            stream.text(),
            what()
        );
    }
    status
}

/// A program that is running on a stage.
pub struct Started<'a> {
    stage: &'a Stage,
    child: Child,
    began: Instant,
    stdout: Captured,
    stderr: Captured,
}

impl Drop for Started<'_> {
    /// A failing test must not leave a program running that sleeps for months.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Started<'_> {
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap()),
            signal,
        )
        .unwrap();
    }

    /// Waits until stderr contains the text.
    pub fn wait_for_line(&mut self, text: &str) {
        let found = self.stderr.wait_until(LIMIT, |bytes, _| {
            bytes.windows(text.len()).any(|window| window == text.as_bytes())
        });
        assert!(found, "'{text}' was never reported: {}", self.stderr.text());
    }

    pub fn wait(mut self) -> Done {
        let stage = self.stage;
        let status = end(&mut self.child, [&self.stdout, &self.stderr], &|| {
            format!("processes: {:#?}", stage.processes())
        });
        Done {
            code: status.code(),
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
            took: self.began.elapsed(),
        }
    }

    /// Sends the signal and waits until the program has ended.
    pub fn interrupt_any(self, signal: nix::sys::signal::Signal) {
        self.signal(signal);
        self.wait();
    }

    /// Sends the signal. The program must then end with the code within `limit`, as a clean
    /// failure.
    pub fn interrupt(self, signal: nix::sys::signal::Signal, code: i32, limit: Duration) -> Done {
        let stage = self.stage;
        let before = (mountinfo(), BTreeMap::new());
        let sent = Instant::now();
        self.signal(signal);
        let done = self.wait();
        let took = sent.elapsed();
        assert_eq!(done.code, Some(code), "{}", done.stderr);
        assert!(took < limit, "it took {took:?} to end: {}", done.stderr);
        done.is_a_clean_failure(stage, &before);
        done
    }
}

/// The output and the exit code of a program.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Done {
    /// Fails unless stderr contains all of the words.
    pub fn reports(&self, words: &[&str]) -> &Self {
        for word in words {
            assert!(self.stderr.contains(word), "'{word}' is not reported:\n{}", self.stderr);
        }
        self
    }

    pub fn does_not_report(&self, words: &[&str]) -> &Self {
        for word in words {
            assert!(!self.stderr.contains(word), "'{word}' is reported:\n{}", self.stderr);
        }
        self
    }

    fn is_a_clean_failure(&self, stage: &Stage, before: &(String, BTreeMap<String, Vec<u8>>)) {
        assert_eq!(self.stdout, "", "a failure prints nothing on stdout");
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        stage.nothing_is_left();
        assert_eq!(stage.files(&stage.out()), before.1, "the output directory changed");
        assert_eq!(mountinfo(), before.0, "the host's mounts changed");
    }
}

/// The mounts that this test sees. A build must not change them.
pub fn mountinfo() -> String {
    fs::read_to_string("/proc/thread-self/mountinfo").unwrap()
}

/// Moves this test's thread into a new mount namespace. Mounts made by other tests in the meantime
/// do not appear in it; mounts that a build leaves do.
fn enter_own_namespace() {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    thread_local!(static DONE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) });
    if nix::unistd::geteuid().is_root() && !DONE.replace(true) {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
            .unwrap();
    }
}

/// Waits until another process has done something, even on a slow machine.
pub fn wait_until(what: &str, limit: Duration, mut met: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !met() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a program that must succeed and returns its stdout.
pub fn run(command: &mut Command) -> Vec<u8> {
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("starting {shown}: {e}"));
    let (stdout, stderr) = (
        Captured::from_stream(child.stdout.take().unwrap()),
        Captured::from_stream(child.stderr.take().unwrap()),
    );
    let status = end(&mut child, [&stdout, &stderr], &|| shown.clone());
    assert!(status.success(), "{shown}: {status}\n{}", stderr.text());
    stdout.bytes()
}

/// Runs a shell line in `directory`. It must succeed. Returns its stdout.
pub fn sh(directory: &Path, line: &str) -> String {
    String::from_utf8(run(Command::new("sh").args(["-ec", line]).current_dir(directory))).unwrap()
}
