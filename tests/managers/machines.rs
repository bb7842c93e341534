//! The machines on which the program runs: this one, and trees of other Debian releases that become
//! the root of a namespace.

use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::stage::{Done, OSIMG, Run, Stage};
use crate::support::{require_root, skip};

/// Changes the root to that of another release; see the comment in the script.
const ENTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/managers/enter");

/// The machine on which the program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// This machine, with dnf 4.
    Here,
    /// Debian sid, with dnf 5 and rpm 6.
    Dnf5,
    /// Debian trixie, with the last dnf 4, rpm 4.20, and a libcomps that cannot read groups.
    Trixie,
}

/// Both package managers, for results that must be the same with each of them. Empty if the test
/// is skipped.
pub fn both() -> Vec<Machine> {
    let machines = [Machine::Here, Machine::Dnf5];
    if machines.into_iter().all(Machine::is_available) { machines.to_vec() } else { Vec::new() }
}

impl Machine {
    /// The name of its tree, its suite, and the packages in it.
    fn release(self) -> Option<(&'static str, &'static str, &'static str)> {
        match self {
            Self::Here => None,
            // passwd: rpm 6 creates the accounts of packages with the host's useradd.
            Self::Dnf5 => {
                Some(("sid", "sid", "python3-libdnf5,python3-rpm,rpm,passwd,ca-certificates"))
            }
            Self::Trixie => {
                Some(("trixie", "trixie", "python3-dnf,python3-rpm,rpm,passwd,ca-certificates"))
            }
        }
    }

    /// Whether it can be used; skips the test otherwise.
    pub fn is_available(self) -> bool {
        if !require_root() {
            return false;
        }
        match self.tree() {
            None | Some(Ok(_)) => true,
            Some(Err(why)) => {
                skip(&why);
                false
            }
        }
    }

    /// The directory of another release, made once.
    pub fn tree(self) -> Option<Result<PathBuf, String>> {
        static SID: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        static TRIXIE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        let (name, suite, packages) = self.release()?;
        let known = match self {
            Self::Here | Self::Dnf5 => &SID,
            Self::Trixie => &TRIXIE,
        };
        Some(known.get_or_init(|| make(name, &["--variant=apt"], suite, packages)).clone())
    }

    /// The program with these arguments, on this machine. The directories have the same paths
    /// there.
    pub fn osimg<'a>(self, stage: &'a Stage, words: &[&str], directories: &[&Path]) -> Run<'a> {
        let scratch = stage.path().join("machine");
        fs::create_dir_all(&scratch).unwrap();
        let Some(run) = self.entered(stage, &scratch) else { return stage.osimg(OSIMG, words) };
        directories
            .iter()
            .fold(run, |run, directory| run.arg(directory))
            .arg("--")
            .arg(OSIMG)
            .args(words)
    }

    /// Like [`Machine::osimg`], on a machine that keeps its changes in `scratch`. Several of them
    /// can run at the same time.
    pub fn osimg_in<'a>(self, stage: &'a Stage, scratch: &Path, words: &[&str]) -> Run<'a> {
        let Some(run) = self.entered(stage, scratch) else { return stage.osimg(OSIMG, words) };
        run.arg("--").arg(OSIMG).args(words)
    }

    fn entered<'a>(self, stage: &'a Stage, scratch: &Path) -> Option<Run<'a>> {
        let tree = self.tree()?.unwrap();
        let program = Path::new(OSIMG).parent().unwrap();
        Some(stage.osimg(ENTER, &[]).arg(tree).arg(scratch).arg(stage.path()).arg(program))
    }

    /// The name of its package manager, for `--package-manager`.
    pub fn manager(self) -> &'static str {
        match self {
            Self::Here | Self::Trixie => "dnf4",
            Self::Dnf5 => "dnf5",
        }
    }

    /// `osimg build` of a recipe with this text into `out/image.tgz`.
    pub fn build<'a>(self, stage: &'a Stage, recipe: &str) -> Run<'a> {
        let path = stage.recipe(recipe);
        // Files of another manager in the cache must not help.
        let cache = stage.cache().join(format!("{self:?}"));
        self.osimg(stage, &["build"], &[])
            .arg(path)
            .arg("--settings")
            .arg(stage.repo().join("settings.toml"))
            .args(&["--package-manager", self.manager(), "--cache"])
            .arg(cache)
            .arg("--workdir")
            .arg(stage.work())
            .arg("--output")
            .arg(stage.image())
    }

    /// Builds the recipe. Returns the packages of the image, as this machine's own rpm lists them.
    pub fn packages(self, stage: &Stage, recipe: &str) -> Vec<String> {
        self.build(stage, recipe).succeeds();
        self.installed(stage)
    }

    /// The packages of the built image, as this machine's own rpm lists them.
    pub fn installed(self, stage: &Stage) -> Vec<String> {
        let root = stage.path().join("judged");
        fs::create_dir(&root).unwrap();
        crate::stage::run(
            Command::new("tar")
                .arg("-xf")
                .arg(stage.image())
                .arg("-C")
                .arg(&root)
                .arg("./var/lib/rpm"),
        );
        let mut rpm = Command::new("rpm");
        rpm.arg("--dbpath").arg(root.join("var/lib/rpm"));
        rpm.env("RPM_FORCE_DEBIAN", "1").args(["-qa", "--qf", "%{NAME}-%{VERSION}\n"]);
        let listed = String::from_utf8(crate::stage::run(&mut rpm)).unwrap();
        fs::remove_dir_all(&root).unwrap();
        let mut names: Vec<String> = listed
            .lines()
            .filter(|name| !name.starts_with("gpg-pubkey"))
            .map(str::to_owned)
            .collect();
        names.sort();
        names
    }

    /// Builds the recipe, which must fail with the code.
    pub fn fails(self, stage: &Stage, recipe: &str, code: i32) -> Done {
        self.build(stage, recipe).fails(code)
    }
}

/// The directory that keeps trees from one run to the next.
pub fn trees_directory() -> PathBuf {
    std::env::var_os("OSIMG_TEST_CACHE")
        .map_or_else(|| PathBuf::from("/var/cache/osimg-tests"), PathBuf::from)
}

/// Makes the tree of a release, unless the cache has it with the same packages.
pub fn make(name: &str, options: &[&str], suite: &str, packages: &str) -> Result<PathBuf, String> {
    let cache = trees_directory();
    fs::create_dir_all(&cache).map_err(|e| format!("{}: {e}", cache.display()))?;
    let lock = File::create(cache.join(format!("{name}.lock"))).map_err(|e| e.to_string())?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, e)| e.to_string())?;
    let (tree, part, list) = (
        cache.join(name),
        cache.join(format!("{name}.part")),
        cache.join(format!("{name}.packages")),
    );
    if tree.is_dir() && fs::read_to_string(&list).is_ok_and(|text| text == packages) {
        return Ok(tree);
    }
    for old in [&tree, &part] {
        if old.exists() {
            fs::remove_dir_all(old).map_err(|e| format!("{}: {e}", old.display()))?;
        }
    }
    let mut command = Command::new("mmdebstrap");
    // An outdated mirror is still signed, and good enough for a test.
    command.arg("--quiet").args(options).args([
        "--aptopt=Acquire::Check-Valid-Until \"false\"",
        &format!("--include={packages}"),
        suite,
    ]);
    command.arg(&part);
    let output = command.output().map_err(|e| format!("mmdebstrap: {e}"))?;
    if !output.status.success() {
        return Err(format!("mmdebstrap of {name}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    fs::rename(&part, &tree).map_err(|e| e.to_string())?;
    fs::write(&list, packages).map_err(|e| e.to_string())?;
    Ok(tree)
}
