//! The disk of the trial: a sparse file with a new file system, filled as by Anaconda's liveimg
//! payload.

use anyhow::Context;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use xattr::FileExt;

use super::tool;
use crate::error::{ExitCode, Failure, Result};
use crate::report::Report;
use crate::sandbox::InstallRoot;
use crate::selinux::{FileContexts, Lookup};

/// The file system on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FileSystem {
    /// ext4.
    Ext4,
    /// XFS, the default of EL.
    Xfs,
}

/// The paths that Anaconda excludes; `payload/liveimg` of rhinstaller/anaconda.
const EXCLUDED: [&str; 10] = [
    "./dev/*",
    "./proc/*",
    "./tmp/*",
    "./sys/*",
    "./run/*",
    "./boot/*rescue*",
    "./boot/loader",
    "./boot/efi/loader",
    "./etc/machine-id",
    "./etc/machine-info",
];

/// The result of unpacking. Anaconda ignores both fields; osimg does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Unpacked {
    /// tar's exit status; `None` if a signal ended it.
    pub status: Option<i32>,
    /// tar's lines on stderr; each reports a loss.
    pub stderr: Vec<String>,
}

/// The labels of the unpacked files, before any program of the image has run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Labels {
    /// `PATH: FOUND, the policy has WANTED` for every file with a label that differs from the
    /// policy.
    pub wrong: Vec<String>,
    /// The number of compared files; 0 if the image has no policy.
    pub compared: usize,
    /// Every path of the tree.
    pub paths: BTreeSet<PathBuf>,
}

/// Creates the sparse file and its file system.
///
/// # Errors
/// If the tool is missing or fails.
pub(super) fn format(file: &Path, bytes: u64, kind: FileSystem, report: &Report) -> Result<()> {
    let made = File::create_new(file).and_then(|f| f.set_len(bytes));
    made.with_context(|| format!("creating the disk {}", file.display()))?;
    let name = utf8(file)?;
    match kind {
        FileSystem::Ext4 => tool::run_or_fail(
            &["mkfs.ext4", "-q", "-F", "-E", "nodiscard", name],
            "e2fsprogs",
            report,
        ),
        FileSystem::Xfs => {
            tool::run_or_fail(&["mkfs.xfs", "-q", "-f", "-K", name], "xfsprogs", report)
        }
    }
}

/// A mounted disk. The mount is in a namespace that ends with osimg. The kernel frees its loop
/// device at the last unmount (mount(8) requests that). So nothing is left behind, however osimg
/// ends.
#[derive(Debug)]
pub(super) struct Mounted<'a> {
    at: PathBuf,
    report: &'a Report,
    mounted: bool,
}

impl<'a> Mounted<'a> {
    /// Mounts `file` on the directory `at`; the caller has entered a separate mount namespace.
    ///
    /// # Errors
    /// [`ExitCode::Host`] if no loop device is available.
    pub(super) fn mount(
        file: &Path,
        at: &Path,
        kind: FileSystem,
        report: &'a Report,
    ) -> Result<Self> {
        let (kind, options) = match kind {
            // The guest initializes inode tables itself, if it runs long enough.
            FileSystem::Ext4 => ("ext4", "loop,noinit_itable"),
            FileSystem::Xfs => ("xfs", "loop"),
        };
        tool::run_or_fail(
            &["mount", "-t", kind, "-o", options, utf8(file)?, utf8(at)?],
            "mount",
            report,
        )
        .map_err(|error| {
            Failure::new(ExitCode::Host, "mounting the disk").because(error).hint(
                "this requires root and loop devices: modprobe loop; in a container, --privileged \
                 and -v /dev:/dev",
            )
        })?;
        Ok(Self { at: at.to_owned(), report, mounted: true })
    }

    /// Unmounts the disk; afterwards all data are in the file.
    ///
    /// # Errors
    /// If it is busy.
    pub(super) fn unmount(mut self) -> Result<()> {
        self.mounted = false;
        tool::run_or_fail(&["umount", utf8(&self.at)?], "mount", self.report)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        if self.mounted {
            // The earlier error is the one to report, and the namespace ends with osimg anyway.
            let _ =
                tool::run(&["umount", "--lazy", &self.at.to_string_lossy()], "mount", self.report);
        }
    }
}

/// Unpacks the tarball with Anaconda's own command line.
///
/// # Errors
/// If tar cannot be run. A failure of tar is reported in [`Unpacked`].
pub(super) fn unpack(tarball: &Path, root: &Path, report: &Report) -> Result<Unpacked> {
    let mut argv =
        vec!["tar", "--numeric-owner", "--selinux", "--acls", "--xattrs", "--xattrs-include", "*"];
    argv.extend(EXCLUDED.iter().flat_map(|pattern| ["--exclude", pattern]));
    argv.extend(["-xaf", utf8(tarball)?, "-C", utf8(root)?]);
    let result = tool::run(&argv, "tar", report)?;
    Ok(Unpacked { status: result.status, stderr: result.lines })
}

/// Compares the label of every file with the image's own policy.
///
/// # Errors
/// If the policy or the tree cannot be read.
pub(super) fn labels(root: &Path, policy: Option<&FileContexts>) -> Result<Labels> {
    let mut labels = Labels::default();
    for entry in walkdir::WalkDir::new(root).sort_by_file_name().same_file_system(true) {
        let entry = entry.context("walking the unpacked tree")?;
        let path = Path::new("/").join(entry.path().strip_prefix(root).unwrap_or(entry.path()));
        if let Some(policy) = policy {
            // From mkfs, not from the tarball.
            if path == Path::new("/lost+found") {
                continue;
            }
            let mode =
                entry.metadata().with_context(|| format!("examining {}", path.display()))?.mode();
            if let Lookup::Context(wanted) = policy.lookup(path.as_os_str().as_bytes(), mode) {
                labels.compared += 1;
                let found = xattr::get(entry.path(), "security.selinux")
                    .with_context(|| format!("reading the label of {}", path.display()))?;
                let found =
                    found.as_deref().map(|label| label.strip_suffix(b"\0").unwrap_or(label));
                if found != Some(wanted) {
                    let shown = found.map_or("none".into(), String::from_utf8_lossy);
                    labels.wrong.push(format!(
                        "{}: {shown}, the policy has {}",
                        path.display(),
                        String::from_utf8_lossy(wanted)
                    ));
                }
            }
        }
        labels.paths.insert(path);
    }
    Ok(labels)
}

/// Writes a file into the unpacked tree, with the label from the policy.
///
/// # Errors
/// If it cannot be written.
pub(super) fn place(
    root: &InstallRoot,
    policy: Option<&FileContexts>,
    path: &Path,
    content: &[u8],
    mode: u32,
) -> Result<()> {
    root.write(path, content, mode)?;
    let absolute = Path::new("/").join(path);
    if let Some(Lookup::Context(label)) =
        policy.map(|p| p.lookup(absolute.as_os_str().as_bytes(), 0o100_000 | mode))
    {
        let file = root
            .open_file(path)
            .with_context(|| format!("opening {} in the image", path.display()))?;
        let value = [label, b"\0"].concat();
        file.set_xattr("security.selinux", &value)
            .with_context(|| format!("labelling {} in the image", path.display()))?;
    }
    Ok(())
}

fn utf8(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| {
        Failure::new(ExitCode::Usage, format!("{} is not UTF-8", path.display())).into()
    })
}
