//! Acts as Anaconda: reads the kickstart file that Ironic rendered, fetches the files it names, and
//! runs its scripts.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::lab::sha256;

/// Anaconda on a node.
pub struct Anaconda {
    /// The kickstart file.
    pub kickstart: String,
    /// The boot files that Ironic serves to the node.
    pub kernel: Vec<u8>,
    pub ramdisk: Vec<u8>,
    /// The second stage, if Ironic serves one.
    pub stage2: Option<Vec<u8>>,
    /// The arguments of the boot loader.
    pub boot_script: String,
    /// The fetched tarball; none if the installation is from a tree.
    pub tarball: Option<Vec<u8>>,
    /// The directory that stands for the disk.
    pub disk: tempfile::TempDir,
}

impl Anaconda {
    /// Reads the files that Ironic provides for the node.
    pub fn boot(http_root: &Path, uuid: &str) -> Self {
        let directory = http_root.join(uuid);
        let read = |name: &str| {
            std::fs::read(directory.join(name))
                .unwrap_or_else(|e| panic!("{}: {e}", directory.join(name).display()))
        };
        Self {
            kickstart: String::from_utf8(read("ks.cfg")).unwrap(),
            kernel: read("kernel"),
            ramdisk: read("ramdisk"),
            stage2: std::fs::read(directory.join("LiveOS/squashfs.img")).ok(),
            boot_script: String::from_utf8(read("config")).unwrap(),
            tarball: None,
            disk: tempfile::tempdir().unwrap(),
        }
    }

    /// The line of a kickstart command.
    pub fn command(&self, name: &str) -> Option<&str> {
        self.kickstart.lines().find(|line| line.split_whitespace().next() == Some(name))
    }

    fn option(&self, command: &str, option: &str) -> Option<String> {
        let line = self.command(command)?;
        let value = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix(option)?.strip_prefix('='))?;
        Some(value.trim_matches('"').to_owned())
    }

    /// Installs: `%pre`, the source, `%post`. All calls reach the real Ironic.
    pub fn install(&mut self) {
        self.run("%pre");
        self.fetch();
        self.run("%post");
    }

    /// Fails: `%pre` and `%onerror`.
    pub fn fail(&self) {
        self.run("%pre");
        self.run("%onerror");
    }

    /// As `liveimg` does it: the end of the URL decides whether it is a tarball, and the checksum
    /// must match.
    pub fn fetch(&mut self) {
        let Some(url) = self.option("liveimg", "--url") else {
            assert!(self.command("url").is_some(), "{}", self.kickstart);
            return;
        };
        let suffixes = [".tar", ".tbz", ".tgz", ".txz", ".tar.bz2", ".tar.gz", ".tar.xz"];
        assert!(suffixes.iter().any(|suffix| url.ends_with(suffix)), "Anaconda would mount {url}");
        let out = self.disk.path().join("source.tar");
        let sent = url.split('#').next().unwrap();
        let output = Command::new("curl")
            .args(["-fsS", "--noproxy", "*", "-o"])
            .arg(&out)
            .arg(sent)
            .output()
            .unwrap();
        assert!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
        let bytes = std::fs::read(out).unwrap();
        assert_eq!(Some(sha256(&bytes)), self.option("liveimg", "--checksum"), "{url}");
        self.tarball = Some(bytes);
    }

    /// The path of a file of the installed system.
    pub fn installed(&self, path: &str) -> PathBuf {
        self.disk.path().join(path.trim_start_matches('/'))
    }

    fn run(&self, section: &str) {
        let mut body: Option<String> = None;
        for line in self.kickstart.lines() {
            match (&mut body, line.split_whitespace().next().unwrap_or_default()) {
                (None, first) if first == section => body = Some(String::new()),
                (Some(_), "%end") => self.shell(&body.take().unwrap()),
                (Some(text), _) => {
                    text.push_str(line);
                    text.push('\n');
                }
                _ => {}
            }
        }
    }

    /// In the real one `/` is the installed system. Here its directory is put before the paths that
    /// are written to.
    fn shell(&self, script: &str) {
        let cloud = self.disk.path().join("var/lib/cloud");
        let script = script
            .replace("/usr/bin/curl ", "curl --noproxy '*' ")
            .replace("/usr/sbin/restorecon", "/bin/true")
            .replace("/var/lib/cloud", &cloud.to_string_lossy())
            .replace("/tmp/osimg-", &format!("{}/osimg-", self.disk.path().display()))
            .replace("sleep 3", "sleep 0.2")
            .replace("sync\n", "");
        let output = Command::new("sh")
            .arg("-c")
            .arg(&script)
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .output()
            .unwrap();
        assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
    }
}
