//! Small sets to publish, clouds to publish to, and the images that are left there.

use crate::servers::{Api, Servers};
use osimg::set::{Piece, Set};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Output;

/// The size of a test tarball in bytes.
pub const SIZE: usize = 1_000_000;

/// The files of a set that no other test has.
pub struct Files {
    pub dir: tempfile::TempDir,
    pub name: String,
}

impl Files {
    /// Boot pieces, a kickstart and version 1 of a tarball.
    pub fn new(name: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("set-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .unwrap();
        let files = Self { dir, name: format!("{name}-{}", std::process::id()) };
        for (piece, size) in [("kernel", 40_000), ("ramdisk", 70_000), ("stage2", 90_000)] {
            std::fs::write(files.path(piece), noise(&format!("{}{piece}", files.name), size))
                .unwrap();
        }
        std::fs::write(
            files.path("ks.cfg"),
            format!("# {}\nliveimg --url {{{{ ks_options.liveimg_url }}}}\n", files.name),
        )
        .unwrap();
        files.tarball("1");
        files
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// A tarball of that version: it begins like a gzip file; the rest is noise.
    pub fn tarball(&self, version: &str) -> PathBuf {
        let path = self.path(&format!("{}-{version}.tgz", self.name));
        if !path.exists() {
            let mut bytes = vec![0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF];
            bytes.extend(noise(&format!("{}{version}", self.name), SIZE - bytes.len()));
            std::fs::write(&path, bytes).unwrap();
        }
        path
    }

    /// The set of that version.
    pub fn set(&self, version: &str) -> Set {
        let mut set = Set::from_tarball(&self.tarball(version), |_, _| {}).unwrap();
        let piece = |file: &str| Some(Piece::from_file(&self.path(file), |_, _| {}).unwrap());
        (set.kernel, set.ramdisk, set.stage2, set.kickstart) =
            (piece("kernel"), piece("ramdisk"), piece("stage2"), piece("ks.cfg"));
        set
    }

    /// `osimg publish` of version 1 with all pieces.
    pub fn publish(&self, servers: &Servers, clouds: &Path, cloud: &str, more: &[&str]) -> Output {
        self.command(servers, clouds, cloud, more).output().unwrap()
    }

    pub fn command(
        &self,
        servers: &Servers,
        clouds: &Path,
        cloud: &str,
        more: &[&str],
    ) -> std::process::Command {
        let mut command = servers.osimg(&[
            "publish",
            &self.tarball("1").to_string_lossy(),
            "--registry",
            &format!("glance:{cloud}"),
        ]);
        command.env("OS_CLIENT_CONFIG_FILE", clouds);
        for (option, file) in
            [("--kernel", "kernel"), ("--ramdisk", "ramdisk"), ("--stage2", "stage2")]
        {
            command.arg(option).arg(self.path(file));
        }
        // A tarball of noise fails every check.
        command.args(["--allow", "damaged"]);
        for role in ["kernel", "ramdisk", "stage2"] {
            command.arg("--allow").arg(format!("unrecognised-{role}"));
        }
        command.args(more);
        command
    }

    /// All existing images of this set, for any user: name and status.
    pub fn left(&self, api: &Api) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        // An image that is being removed counts as removed.
        let ours = |image: &Value| {
            text(&image["name"]).starts_with(&self.name) && image["status"] != "deleted"
        };
        let mut left: Vec<_> = api
            .images()
            .iter()
            .filter(|i| ours(i))
            .map(|i| (text(&i["name"]), text(&i["status"])))
            .collect();
        left.sort();
        left
    }
}

/// Incompressible bytes, the same for the same seed.
pub fn noise(seed: &str, size: usize) -> Vec<u8> {
    let mut state = seed.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3)
    }) | 1;
    (0..size)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // Never the two bytes of a boot sector.
            (state >> 32) as u8 & 0x7F
        })
        .collect()
}

/// The clouds.yaml of the instance with one cloud changed, in a separate file.
pub fn clouds(
    servers: &Servers,
    directory: &Path,
    cloud: &str,
    change: impl FnOnce(&mut Value),
) -> PathBuf {
    let mut entry = servers.cloud(cloud);
    change(&mut entry);
    let path = directory.join("clouds.yaml");
    // JSON is YAML.
    std::fs::write(&path, serde_json::json!({ "clouds": { cloud: entry } }).to_string()).unwrap();
    path
}

pub fn messages(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Checks the exit code, all parts of the message, and that it has no control characters.
#[track_caller]
pub fn fails(output: &Output, code: i32, parts: &[&str]) {
    let text = messages(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for part in parts {
        assert!(text.contains(part), "'{part}' is missing in:\n{text}");
    }
    assert!(text.lines().any(|line| line.starts_with("hint: ")), "no hint in:\n{text}");
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
}

#[track_caller]
pub fn succeeds(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", messages(output));
}
