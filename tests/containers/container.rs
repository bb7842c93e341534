//! A container on a stage.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::stage::{OSIMG, Run, Stage, sh};
use crate::support::{require_root, skip};

/// Starts one; see its first lines.
const ENTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/containers/enter");

/// How a runner starts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Docker,
    DockerUser,
    DockerKilling,
    Unconfined,
    UnconfinedUser,
    Unmasked,
    Podman,
    Bubblewrap,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::DockerUser => "docker-user",
            Self::DockerKilling => "docker-killing",
            Self::Unconfined => "unconfined",
            Self::UnconfinedUser => "unconfined-user",
            Self::Unmasked => "unmasked",
            Self::Podman => "podman",
            Self::Bubblewrap => "bubblewrap",
        }
    }
}

/// A container with its own cache, workdir and output below the stage.
pub struct Container<'a> {
    stage: &'a Stage,
    kind: Kind,
    directory: PathBuf,
    seen: Vec<PathBuf>,
    /// What it mounts: not on the stage, which it sees, and at a short path, as podman demands.
    scratch: tempfile::TempDir,
}

impl<'a> Container<'a> {
    /// Whether the programs that start containers are here; skips the test otherwise.
    pub fn require(programs: &[&str]) -> bool {
        if !require_root() {
            return false;
        }
        for program in programs {
            if osimg::process::find_program(program).is_none() {
                skip(&format!("{program} is not installed"));
                return false;
            }
        }
        true
    }

    pub fn new(stage: &'a Stage, kind: Kind) -> Self {
        let directory = stage.path().join(kind.name());
        for name in ["out", "cache", "work"] {
            fs::create_dir_all(directory.join(name)).unwrap();
        }
        fs::set_permissions(stage.path(), Permissions::from_mode(0o755)).unwrap();
        let scratch = tempfile::Builder::new().prefix("c-").tempdir_in("/var/tmp").unwrap();
        // Some of them run as another user.
        fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
        Self { stage, kind, directory, seen: Vec::new(), scratch }
    }

    /// Lets it read another directory.
    pub fn seeing(mut self, directory: &Path) -> Self {
        self.seen.push(directory.to_owned());
        self
    }

    pub fn work(&self) -> PathBuf {
        self.directory.join("work")
    }

    pub fn cache(&self) -> PathBuf {
        self.directory.join("cache")
    }

    pub fn image(&self) -> PathBuf {
        self.directory.join("out/image.tgz")
    }

    /// A command in it.
    pub fn run(&self, words: &[&str]) -> Run<'a> {
        let program = Path::new(OSIMG).parent().unwrap();
        let seen =
            [program, self.stage.path()].into_iter().chain(self.seen.iter().map(PathBuf::as_path));
        let enter = self.stage.osimg(ENTER, &[self.kind.name()]).arg(self.scratch.path());
        let run = seen.fold(enter, |run, path| run.arg("--ro").arg(path));
        run.arg("--rw").arg(&self.directory).arg("--").args(words)
    }

    /// The program in it.
    pub fn osimg(&self, words: &[&str]) -> Run<'a> {
        self.run(&[&[OSIMG], words].concat())
    }

    /// `osimg build` in it, with its own cache and workdir.
    pub fn build(&self, recipe: &Path, settings: &Path, more: &[&str]) -> Run<'a> {
        let run = self.osimg(&["build"]).arg(recipe).arg("--settings").arg(settings).args(more);
        let run =
            run.arg("--cache").arg(self.directory.join("cache")).arg("--workdir").arg(self.work());
        run.arg("--output").arg(self.image())
    }

    pub fn manifest(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.directory.join("out/image.json")).unwrap()).unwrap()
    }

    /// The image's sha256, by the tool of that name.
    pub fn digest(&self) -> String {
        sh(&self.directory, "sha256sum < out/image.tgz")
            .split(' ')
            .next()
            .unwrap_or_default()
            .to_owned()
    }

    /// One file of the image.
    pub fn content(&self, member: &str) -> String {
        sh(&self.directory, &format!("tar -xOf out/image.tgz '{member}'"))
    }

    /// Fails when a process, a mount or a file in the workdir's directory is left.
    pub fn nothing_is_left(&self) {
        self.stage.nothing_runs();
        self.stage.nothing_is_mounted();
        assert_eq!(fs::read_dir(self.work()).unwrap().count(), 0, "{:?}", self.kind);
    }
}
