//! The install root's /proc, /sys, /dev and /run while nothing is mounted on them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::error::{Context, Result, invalid};
use crate::plan::{API_FILE_SYSTEMS, Mount};
use crate::root::InstallRoot;

/// The links that every /dev has.
const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// What was in these directories before the run.
pub(super) struct ApiDirectories {
    before: Vec<(&'static str, BTreeSet<OsString>)>,
}

impl ApiDirectories {
    /// Makes them, and what cannot be answered call by call.
    pub(super) fn prepare(root: &InstallRoot) -> Result<Self> {
        let mut before = Vec::new();
        for (name, mode) in API_FILE_SYSTEMS {
            root.directory(Path::new(name), mode)?;
            before.push((name, root.names(Path::new(name))?.into_iter().collect()));
        }
        for (name, points_to) in LINKS {
            root.link(&Path::new("dev").join(name), Path::new(points_to))?;
        }
        root.directory(Path::new("dev/shm"), 0o1777)?;
        Ok(Self { before })
    }

    /// Copies the files of a plan for the image itself into /run, which is emptied after the run.
    pub(super) fn place(&self, root: &InstallRoot, mounts: &[Mount]) -> Result<()> {
        for mount in mounts {
            let target = mount.target();
            if !target.starts_with("/run") {
                return Err(invalid(format!(
                    "preparing the sandbox: only /run of an image is the sandbox's own: {mount:?}"
                )));
            }
            root.directory(target.parent().unwrap_or(Path::new("/run")), 0o755)?;
            match mount {
                Mount::Bind { source, .. } | Mount::Opened { source, .. } => {
                    copy(root, source, target)?
                }
                Mount::Tmpfs { mode, .. } => drop(root.directory(target, *mode)?),
                Mount::Directory { .. } => drop(root.directory(target, 0o755)?),
                Mount::Link { points_to, .. } => root.link(target, points_to)?,
                Mount::File { content, .. } => root.write(target, content.as_bytes(), 0o644)?,
            }
        }
        Ok(())
    }

    /// Removes what the run left in them: in a sandbox with mounts it would be gone too.
    pub(super) fn clear(&self, root: &InstallRoot) -> Result<()> {
        for (name, before) in &self.before {
            for found in
                root.names(Path::new(name))?.iter().filter(|found| !before.contains(*found))
            {
                root.remove(&Path::new(name).join(found))?;
            }
        }
        Ok(())
    }
}

/// Copies a file or directory into the root; links in a directory stay links.
fn copy(root: &InstallRoot, source: &Path, target: &Path) -> Result<()> {
    let doing = || format!("copying {} into the sandbox", source.display());
    let found = source.metadata().with_context(doing)?;
    let mode = found.permissions().mode() & 0o777;
    if found.is_file() {
        return root.write(target, &std::fs::read(source).with_context(doing)?, mode);
    }
    if !found.is_dir() {
        return Err(invalid(format!("{}: it is neither a file nor a directory", doing())));
    }
    root.directory(target, mode)?;
    for entry in std::fs::read_dir(source).with_context(doing)? {
        let entry = entry.with_context(doing)?;
        let (from, to) = (entry.path(), target.join(entry.file_name()));
        if entry.file_type().with_context(doing)?.is_symlink() {
            root.link(&to, &std::fs::read_link(&from).with_context(doing)?)?;
        } else {
            copy(root, &from, &to)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Access;

    #[test]
    fn files_of_a_run_are_copied_into_run_and_removed_with_it() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (path, source) = (dir.path().join("root"), dir.path().join("source"));
        std::fs::create_dir_all(path.join("run/kept")).expect("a directory");
        std::fs::create_dir(&source).expect("a directory");
        std::fs::write(source.join("file"), "content").expect("a file");
        std::os::unix::fs::symlink("/etc/shadow", source.join("link")).expect("a link");
        let root = InstallRoot::open(&path).expect("root");
        let api = ApiDirectories::prepare(&root).expect("prepared");
        let bind =
            Mount::Bind { source, target: "/run/osimg/files".into(), access: Access::ReadOnly };
        let file = Mount::File { target: "/run/osimg/script".into(), content: "true".into() };
        api.place(&root, &[bind, file]).expect("placed");
        assert_eq!(
            std::fs::read_to_string(path.join("run/osimg/files/file")).expect("a copy"),
            "content"
        );
        assert!(path.join("run/osimg/files/link").is_symlink() && path.join("dev/fd").is_symlink());
        let outside = Mount::File { target: "/etc/passwd".into(), content: String::new() };
        assert!(api.place(&root, &[outside]).is_err());
        api.clear(&root).expect("cleared");
        let left = |name: &str| std::fs::read_dir(path.join(name)).expect("a directory").count();
        assert_eq!((left("run"), left("dev"), left("proc")), (1, 0, 0));
    }
}
