//! The files of a plan without mounts: they are made below the run's scratch directory, and their
//! paths in the sandbox are replaced by the real ones wherever the plan's command finds them.

use nix::sys::stat::stat;
use std::path::{Component, Path, PathBuf};

use crate::error::{Context, Error, ErrorKind, Result, invalid};
use crate::plan::{BUILD_ROOT, Mount, Plan, View};

/// Directories of every system. A plan's mounts in them are the machine's own files, which a run
/// without mounts sees anyway.
const OF_THE_SYSTEM: [&str; 15] = [
    "bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "sys",
    "tmp", "usr", "var",
];
/// rpm's configuration is answered from a directory; see [`super::server`].
const RPM: &str = "/etc/rpm";

/// Paths of the sandbox, and where they really are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    scratch: PathBuf,
    /// Paths in the sandbox and outside of it; none is below another.
    paths: Vec<(String, String)>,
}

impl Layout {
    /// Of a plan.
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut paths = Vec::new();
        if plan.view == View::Tools {
            paths.push((BUILD_ROOT.to_owned(), plan.root.display().to_string()));
            for mount in &plan.mounts {
                let Some(top) = own_directory(mount) else { continue };
                let pair = (format!("/{top}"), plan.scratch.join(top).display().to_string());
                if !paths.contains(&pair) {
                    paths.push(pair);
                }
            }
        }
        Self { scratch: plan.scratch.clone(), paths }
    }

    /// The directory with rpm's configuration.
    pub(crate) fn rpm(&self) -> PathBuf {
        self.scratch.join("etc/rpm")
    }

    /// Makes the files of the plan.
    pub(crate) fn create(&self, plan: &Plan) -> Result<()> {
        if plan.view == View::Image {
            return Ok(());
        }
        // It is emptied after the run.
        if std::fs::read_dir(&self.scratch)
            .with_context(|| format!("reading {}", self.scratch.display()))?
            .next()
            .is_some()
        {
            return Err(invalid(format!(
                "the scratch directory {} is not empty",
                self.scratch.display()
            )));
        }
        for mount in &plan.mounts {
            let target = mount.target();
            if own_directory(mount).is_some() || target.starts_with(RPM) {
                let place = self.scratch.join(target.strip_prefix("/").unwrap_or(target));
                self.place(&place, mount)
                    .with_context(|| format!("preparing {}", target.display()))?;
            } else if let Mount::Bind { source, target, .. } = mount
                && target == Path::new("/usr")
                && source != target
            {
                return Err(Error::new(
                    ErrorKind::Host,
                    "using the programs of another root needs mounts, which this container forbids",
                )
                .with_hint(
                    "build without a bootstrap root, or allow namespaces: docker run \
                     --security-opt seccomp=unconfined",
                ));
            }
        }
        Ok(())
    }

    fn place(&self, place: &Path, mount: &Mount) -> Result<()> {
        if let Some(above) = place.parent() {
            std::fs::create_dir_all(above)
                .with_context(|| format!("making {}", above.display()))?;
        }
        let link = |to: &Path| std::os::unix::fs::symlink(to, place).context("linking");
        match mount {
            Mount::Bind { source, .. } => link(source),
            Mount::Opened { source, inode, .. } => {
                let found =
                    stat(source).with_context(|| format!("examining {}", source.display()))?;
                if (found.st_dev, found.st_ino) != *inode {
                    return Err(invalid(format!(
                        "{} was replaced while it was in use",
                        source.display()
                    )));
                }
                link(source)
            }
            Mount::Tmpfs { .. } | Mount::Directory { .. } => {
                std::fs::create_dir_all(place).context("making a directory")
            }
            Mount::Link { points_to, .. } => {
                link(Path::new(&self.outward(&points_to.display().to_string())))
            }
            Mount::File { content, target } if target.starts_with(RPM) => {
                std::fs::write(place, content).context("writing")
            }
            Mount::File { content, .. } => {
                std::fs::write(place, self.outward(content)).context("writing")
            }
        }
    }

    /// A text in which the paths of the sandbox are the real ones.
    pub(crate) fn outward(&self, text: &str) -> String {
        self.paths
            .iter()
            .fold(text.to_owned(), |text, (inside, outside)| replace(&text, inside, outside))
    }

    /// A text in which the real paths are those of the sandbox.
    pub(crate) fn inward(&self, text: &str) -> String {
        self.paths
            .iter()
            .fold(text.to_owned(), |text, (inside, outside)| replace(&text, outside, inside))
    }
}

/// The directory at the top of the sandbox that a mount is in, if only the sandbox has it.
fn own_directory(mount: &Mount) -> Option<&str> {
    if let Mount::Bind { source, target, .. } = mount
        && source == target
    {
        return None;
    }
    let top = mount.target().components().find_map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    })?;
    (!OF_THE_SYSTEM.contains(&top) && top != BUILD_ROOT.trim_start_matches('/')).then_some(top)
}

/// Replaces a path where a text has it from its beginning, and whole names of it.
fn replace(text: &str, from: &str, to: &str) -> String {
    let in_a_name = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(from) {
        let (before, found) = rest.split_at(at);
        let after = &found[from.len()..];
        let so_far = |end: char| before.ends_with(end) || (before.is_empty() && out.ends_with(end));
        let begins = if so_far('/') {
            // As in file:///.
            before.ends_with("//")
        } else {
            !before.chars().next_back().or_else(|| out.chars().next_back()).is_some_and(in_a_name)
        };
        out.push_str(before);
        out.push_str(if begins && !after.starts_with(in_a_name) { to } else { from });
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::CommandLine;
    use crate::plan::{Access, Network};
    use crate::tools::ToolRoot;

    #[test]
    fn only_whole_paths_are_replaced() {
        for (text, expected) in [
            ("/osimg/x", "/D/x"),
            ("open(\"/osimg\")", "open(\"/D\")"),
            ("file:///osimg/keys", "file:///D/keys"),
            ("/work/osimg/x", "/work/osimg/x"),
            ("/osimg-2/x", "/osimg-2/x"),
            ("/osimg/a:/osimg/b", "/D/a:/D/b"),
            ("a/osimg", "a/osimg"),
            ("", ""),
        ] {
            assert_eq!(replace(text, "/osimg", "/D"), expected);
        }
    }

    #[test]
    fn the_files_of_a_plan_are_found_at_the_paths_that_its_texts_name() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (root, scratch, source) =
            (dir.path().join("root"), dir.path().join("scratch"), dir.path().join("source"));
        for path in [&root, &scratch, &source] {
            std::fs::create_dir(path).expect("a directory");
        }
        std::fs::write(source.join("file"), "found").expect("a file");
        let mut plan = Plan::with_tools(
            &ToolRoot::host(),
            &root,
            &scratch,
            Network::None,
            CommandLine::new(["true"]),
        );
        let content = "read /osimg/data/file, write /buildroot/x".to_owned();
        plan.mounts.push(Mount::File { target: "/osimg/request".into(), content });
        plan.mounts.push(Mount::Bind {
            source,
            target: "/osimg/data".into(),
            access: Access::ReadOnly,
        });
        plan.mounts.push(Mount::File {
            target: "/etc/rpm/macros".into(),
            content: "%_tmppath /var/tmp".into(),
        });
        plan.mounts.push(Mount::Link {
            target: "/osimg/link".into(),
            points_to: "/osimg/data/file".into(),
        });
        let layout = Layout::new(&plan);
        layout.create(&plan).expect("made");
        let request =
            std::fs::read_to_string(layout.outward("/osimg/request")).expect("the request");
        assert_eq!(
            request,
            format!("read {0}/osimg/data/file, write {1}/x", scratch.display(), root.display())
        );
        assert_eq!(layout.inward(&request), "read /osimg/data/file, write /buildroot/x");
        assert_eq!(
            std::fs::read_to_string(layout.outward("/osimg/link")).expect("the link"),
            "found"
        );
        assert_eq!(
            std::fs::read_to_string(layout.rpm().join("macros")).expect("macros"),
            "%_tmppath /var/tmp"
        );
        assert!(!scratch.join("usr").exists());
    }
}
