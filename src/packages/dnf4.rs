//! dnf 4, through its Python API, which provides precise errors, progress and groups by name.

use super::driver::{Driver, module_directories};
use super::required::required_program;
use crate::error::{ExitCode, Failure, Result};
use crate::sandbox::ToolRoot;
use std::sync::Mutex;

/// The driver's program and its parts.
pub(super) const FILES: &[(&str, &str)] = &[
    ("dnf4.py", include_str!("drivers/dnf4.py")),
    ("dnf4_files.py", include_str!("drivers/dnf4_files.py")),
    ("dnf4_jobs.py", include_str!("drivers/dnf4_jobs.py")),
    ("dnf4_progress.py", include_str!("drivers/dnf4_progress.py")),
];
/// How to install it.
const INSTALL_HINT: &str =
    "install it: apt-get install python3-dnf rpm   (on Fedora: dnf install python3-dnf)";

/// How to install it if there is only microdnf.
const FROM_MICRODNF: &str = "install it: microdnf install python3-dnf";

/// libcomps 0.1.21 in Debian 13 finds no groups in a file, or crashes. Recipes with groups cannot
/// be built there.
const TRIAL: &str = r#"
import dnf, libcomps
comps = libcomps.Comps()
comps.fromxml_str(
    "<comps><group><id>g</id><name>G</name><packagelist>"
    "<packagereq type='mandatory'>p</packagereq></packagelist></group>"
    "<environment><id>e</id><name>E</name><grouplist><groupid>g</groupid></grouplist>"
    "</environment></comps>")
groups = [(g.id, [p.name for p in g.packages]) for g in comps.groups]
found = groups, [(e.id, [g.name for g in e.group_ids]) for e in comps.environments]
if found != ([("g", ["p"])], [("e", ["g"])]):
    print("libcomps on this host cannot read package groups: it returns %s" % (found,))
"#;

/// Looks for a Python with dnf's module; `None` if the host has none.
///
/// # Errors
/// If the module is installed but rpm is not.
pub(super) fn find(tools: &ToolRoot) -> Result<Option<Driver>> {
    // EL 8 has a separate Python for dnf.
    let python = ["platform-python", "python3"].into_iter().find_map(|name| tools.program(name));
    let (Some(python), Some(version)) = (python, module_version(tools)) else { return Ok(None) };
    required_program(tools, "rpm", "read the image's rpmdb", "rpm")?;
    let description = format!("dnf {version}");
    Ok(Some(Driver {
        name: "dnf 4",
        install_hint: INSTALL_HINT,
        files: FILES,
        python,
        description,
        trial: TRIAL,
        check: |_, _| Ok(()),
        outside: Mutex::default(),
    }))
}

/// The failure if it is not installed.
pub(super) fn missing(tools: &ToolRoot) -> Failure {
    let failure = Failure::new(
        ExitCode::Host,
        "dnf 4 is not installed on this host; it installs the image's packages",
    );
    // Minimal container images have only microdnf, which does not support groups, locks or package
    // files.
    failure.hint(if tools.program("microdnf").is_some() { FROM_MICRODNF } else { INSTALL_HINT })
}

/// The version of dnf's module, found in Python's module directories.
fn module_version(tools: &ToolRoot) -> Option<String> {
    module_directories(tools).iter().find_map(|directory| {
        let text =
            crate::files::read_text(&directory.join("dnf/const.py"), crate::files::TEXT).ok()?;
        let version = text.lines().find_map(|line| line.trim().strip_prefix("VERSION"))?;
        Some(version.trim_matches(|c: char| !c.is_ascii_digit()).to_owned())
    })
}
