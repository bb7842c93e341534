//! An ordinary user made for one test, the program in a directory that this user can read, and
//! checks for leftovers.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

use crate::support::repo::Repo;

/// Only one test at a time changes the account files.
static ACCOUNTS: Mutex<()> = Mutex::new(());

/// Whether the host gives the user subordinate ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subordinate {
    /// A range of 65536.
    Range,
    /// None.
    Nothing,
}

/// A user with a home directory. Both are removed at the end.
pub struct User {
    name: String,
    home: tempfile::TempDir,
    pub uid: u32,
}

impl User {
    /// Makes the user. The directory contains the program and a repository of the packages `base`,
    /// `shell` and those that `fill` adds.
    pub fn new(subordinate: Subordinate, fill: impl FnOnce(Repo) -> Repo) -> Self {
        // Not below the tests' own directory: perhaps only root can read that.
        let home = tempfile::Builder::new().prefix("rootless-").tempdir_in("/var/tmp").unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let name = format!(
            "osimg-{}",
            home.path()
                .file_name()
                .unwrap()
                .to_string_lossy()
                .rsplit('-')
                .next()
                .unwrap()
                .to_lowercase()
        );
        let _guard = ACCOUNTS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // System accounts get no subordinate ids automatically.
        run(Command::new("useradd")
            .args(["--system", "--no-create-home", "--shell", "/bin/sh", "--home-dir"])
            .arg(home.path())
            .arg(&name));
        let uid: u32 = String::from_utf8(run(Command::new("id").args(["-u", &name])))
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        if subordinate == Subordinate::Range {
            let first = 1_000_000_000 + u64::from(uid) * 65_536;
            let range = format!("{first}-{}", first + 65_535);
            run(Command::new("usermod").args([
                "--add-subuids",
                &range,
                "--add-subgids",
                &range,
                &name,
            ]));
        }
        let user = Self { name, home, uid };
        fs::copy(env!("CARGO_BIN_EXE_osimg"), user.path().join("osimg")).unwrap();
        fill(Repo::new(&user.path().join("repo"))).write();
        for directory in ["work", "out"] {
            fs::create_dir(user.path().join(directory)).unwrap();
            chown(user.path().join(directory), Some(uid), Some(uid)).unwrap();
        }
        chown(user.path(), Some(uid), None).unwrap();
        user
    }

    pub fn path(&self) -> &Path {
        self.home.path()
    }

    /// A command as this user, with only HOME from our environment.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", &self.name, "--regid", &self.name, "--init-groups", "--"])
            .args(words);
        command
            .env_clear()
            .env("HOME", self.path())
            .env("PATH", "/usr/bin:/usr/sbin:/bin:/sbin")
            .current_dir(self.path());
        command
    }

    /// `osimg` with these arguments, as this user.
    pub fn osimg(&self, words: &[&str]) -> Output {
        let program = self.path().join("osimg");
        let words: Vec<&str> =
            [program.to_str().unwrap()].into_iter().chain(words.iter().copied()).collect();
        self.command(&words).output().unwrap()
    }

    /// Writes the recipe and builds it as this user into `out/NAME.tar`. Returns the tarball's path
    /// and the messages.
    pub fn build(&self, name: &str, recipe: &str, words: &[&str]) -> (PathBuf, String) {
        let (image, all) = self.words(name, recipe, words);
        let output = self.osimg(&all.iter().map(String::as_str).collect::<Vec<_>>());
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{stderr}");
        (image, stderr)
    }

    /// The same build by the host's root.
    pub fn build_as_root(&self, name: &str, recipe: &str) -> PathBuf {
        let cache = self.path().join("root-cache");
        let (image, words) = self.words(name, recipe, &["--cache", cache.to_str().unwrap()]);
        run(Command::new(self.path().join("osimg")).args(words).current_dir(self.path()));
        image
    }

    /// The arguments of a build, and the path of its tarball.
    pub fn words(&self, name: &str, recipe: &str, words: &[&str]) -> (PathBuf, Vec<String>) {
        let file = self.path().join("image.yum");
        fs::write(&file, recipe).unwrap();
        let image = self.path().join(format!("out/{name}.tar"));
        let settings = self.path().join("repo/settings.toml");
        let own = [
            "build",
            file.to_str().unwrap(),
            "--settings",
            settings.to_str().unwrap(),
            "-o",
            image.to_str().unwrap(),
        ];
        (image.clone(), own.iter().chain(words).map(|word| (*word).to_owned()).collect())
    }

    /// Fails if anything is left in the user's directory of workdirs.
    pub fn nothing_is_left(&self) {
        let left: Vec<_> = fs::read_dir(self.path().join("work"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert!(left.is_empty(), "left: {left:?}");
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _guard = ACCOUNTS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Removing the user also removes the lines in /etc/subuid and /etc/subgid.
        let _ = Command::new("userdel").arg(&self.name).output();
    }
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

/// A digest computed by sha256sum.
pub fn digest(file: &Path) -> String {
    String::from_utf8(run(Command::new("sha256sum").arg(file)))
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .to_owned()
}

/// Every member with its mode, owners, size and name, as GNU tar lists them.
pub fn members(file: &Path) -> Vec<String> {
    let text = String::from_utf8(run(Command::new("tar")
        .args(["--numeric-owner", "--full-time", "-tvf"])
        .arg(file)))
    .unwrap();
    text.lines().map(str::to_owned).collect()
}
