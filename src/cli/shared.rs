//! Functions that several verbs share.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use std::path::PathBuf;

use crate::error::{ExitCode, Failure, Result};
use crate::recipe::{Diagnostic, Origins, Severity};
use crate::report::Report;
use crate::sandbox::{Devices, Isolation};

/// The default package cache: the host's for root, the user's own for other users.
pub(super) fn default_cache() -> Result<PathBuf> {
    if nix::unistd::geteuid().is_root() {
        return Ok("/var/cache/osimg".into());
    }
    let directory =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    directory("XDG_CACHE_HOME")
        .or_else(|| directory("HOME").map(|home| home.join(".cache")))
        .map(|base| base.join("osimg"))
        .ok_or_else(|| {
            Failure::new(ExitCode::Usage, "choosing the package cache: HOME is not set")
                .hint("use a directory: --cache DIR")
                .into()
        })
}

/// The number of versions to keep, at least 1.
pub(super) fn kept_versions(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("expected 1 or more; to remove all versions, name each: --remove ID".into()),
        Ok(keep) => Ok(keep),
        Err(error) => Err(error.to_string()),
    }
}

/// The values of `--dev`.
pub(super) fn devices() -> impl TypedValueParser<Value = Devices> {
    let private = PossibleValue::new("private")
        .help("A private tmpfs with the few harmless nodes and its own devpts");
    let host = PossibleValue::new("host").help(
        "The host's /dev, bound as the shell pipelines do it; still inside the private namespaces",
    );
    PossibleValuesParser::new([private, host])
        .map(|name| if name == "host" { Devices::Host } else { Devices::Private })
}

/// The values of `--isolation`.
pub(super) fn isolation() -> impl TypedValueParser<Value = Isolation> {
    let values = Isolation::ALL.map(|isolation| {
        PossibleValue::new(isolation.name()).help(match isolation {
            Isolation::Full => "All namespaces, with their own proc and sysfs",
            Isolation::Container => {
                "No namespaces: the container contains packages, and osimg answers for /proc, /sys \
                 and /dev"
            }
            Isolation::UserNamespace => {
                "All namespaces; proc and sysfs may be those of the container around osimg"
            }
        })
    });
    PossibleValuesParser::new(values)
        .map(|name| Isolation::from_name(&name).unwrap_or(Isolation::Full))
}

/// Passes on a remark on the recipe.
pub(super) fn report_diagnostic(report: &Report, origins: &Origins, diagnostic: &Diagnostic) {
    let text = format!("{}: {}", origins.shown(diagnostic.line), diagnostic.text);
    match diagnostic.severity {
        Severity::Note => report.note(&text),
        Severity::Warning => report.warn(&text),
    }
}

/// `1 thing`, `2 things`.
pub(super) fn count(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}
