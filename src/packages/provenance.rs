//! The origin of a file in the image: the package that owns it, and the packages with scriptlets
//! that mention it.

use std::path::Path;

use super::required::required_program;
use super::rpm_sandbox;
use crate::error::Result;
use crate::process::CommandLine;
use crate::sandbox::{BUILD_ROOT, Mount, Network, Plan, ToolRoot};

/// The packages in the rpmdb that relate to a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provenance {
    /// The packages that own the file.
    pub owners: Vec<String>,
    /// The packages with scriptlets that mention the file, or else its directory.
    pub scriptlets: Vec<String>,
}

/// Marks the line of a package's name in rpm's output; it cannot occur in a scriptlet.
const MARK: char = '\u{1}';
const FILES: &str = "[%{FILENAMES}\\t%{=NAME}-%{=VERSION}-%{=RELEASE}.%{=ARCH}\\n]";

/// Queries the image's rpmdb for the absolute path `file`.
///
/// # Errors
/// If rpm cannot be run.
pub fn provenance(root: &Path, scratch: &Path, dbpath: &str, file: &str) -> Result<Provenance> {
    let scriptlets = ["PRETRANS", "PREIN", "POSTIN", "POSTTRANS"]
        .map(|tag| format!("%|{tag}?{{%{{{tag}}}\\n}}|"))
        .concat();
    let scriptlets = format!(
        "{MARK}%{{NAME}}-%{{VERSION}}-%{{RELEASE}}.%{{ARCH}}\\n{scriptlets}[%{{TRIGGERSCRIPTS}}\\\
         n]"
    );
    let host = ToolRoot::host();
    let ask = |query: &str| -> Result<Vec<String>> {
        let rpm = required_program(&host, "rpm", "read the image's rpmdb", "rpm")?;
        let command = CommandLine::new([
            &rpm.to_string_lossy(),
            "--root",
            BUILD_ROOT,
            "--dbpath",
            dbpath,
            "-qa",
            "--qf",
            query,
        ])
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
        .env("LC_ALL", "C.UTF-8")
        .env("RPM_FORCE_DEBIAN", "1");
        let mut plan = Plan::with_tools(&host, root, scratch, Network::None, command);
        plan.mounts.push(Mount::Directory { target: "/etc/rpm".into() });
        rpm_sandbox::query(&plan, "asking the rpmdb about a file")
    };
    let owners = owners(&ask(FILES)?, file);
    Ok(Provenance { owners, scriptlets: naming(&ask(&scriptlets)?, file) })
}

fn owners(lines: &[String], file: &str) -> Vec<String> {
    let mut found: Vec<String> = lines
        .iter()
        .filter_map(|line| line.rsplit_once('\t'))
        .filter(|(path, _)| *path == file)
        .map(|(_, package)| package.to_owned())
        .collect();
    found.sort();
    found.dedup();
    found
}

/// The packages with scriptlets that mention the path, or else the nearest parent directory that
/// any of them mentions.
fn naming(lines: &[String], file: &str) -> Vec<String> {
    for part in Path::new(file).ancestors().filter(|path| path.components().count() > 2) {
        let part = part.to_string_lossy();
        let (mut package, mut found) = ("", Vec::new());
        for line in lines {
            if let Some(name) = line.strip_prefix(MARK) {
                package = name;
            } else if line.contains(&*part) {
                found.push(package.to_owned());
            }
        }
        if !found.is_empty() {
            found.sort();
            found.dedup();
            return found;
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scriptlets_are_found_by_the_file_or_its_directory() {
        let lines = [
            "\u{1}a-1-1.noarch",
            "date > /etc/app/stamp",
            "\u{1}b-1-1.noarch",
            "mkdir /etc/app",
            "date > /etc/other",
        ]
        .map(str::to_owned);
        assert_eq!(naming(&lines, "/etc/app/stamp"), ["a-1-1.noarch"]);
        assert_eq!(naming(&lines, "/etc/app/random"), ["a-1-1.noarch", "b-1-1.noarch"]);
        assert!(naming(&lines, "/var/x").is_empty());
        assert_eq!(
            owners(&["/etc/x\tb-1-1.noarch".to_owned(), "/etc/xy\tc".to_owned()], "/etc/x"),
            ["b-1-1.noarch"]
        );
    }
}
