//! Functions that several verbs share.

use std::path::{Path, PathBuf};

use crate::error::{ExitCode, Failure, Result};
use crate::recipe::{Diagnostic, Severity};
use crate::report::Report;

/// The default package cache: the host's for root, the user's own for other users.
pub(super) fn default_cache() -> Result<PathBuf> {
    if nix::unistd::geteuid().is_root() {
        return Ok("/var/cache/osimg".into());
    }
    let directory = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    directory("XDG_CACHE_HOME").or_else(|| directory("HOME").map(|home| home.join(".cache"))).map(|base| base.join("osimg")).ok_or_else(
        || Failure::new(ExitCode::Usage, "choosing the package cache: HOME is not set").hint("use a directory: --cache DIR").into(),
    )
}

/// Passes on a remark on the recipe.
pub(super) fn report_diagnostic(report: &Report, recipe: &Path, diagnostic: &Diagnostic) {
    let text = format!("{}:{}: {}", recipe.display(), diagnostic.line, diagnostic.text);
    match diagnostic.severity {
        Severity::Note => report.note(&text),
        Severity::Warning => report.warn(&text),
    }
}

/// `1 thing`, `2 things`.
pub(super) fn count(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}
