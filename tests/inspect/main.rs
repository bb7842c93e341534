//! The output of osimg about images: documents next to the artifact, inspect and diff. They are
//! checked by rpm, GNU tar, find, getcap, the official schemas, minisign, gpg and a browser.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by a panic, and runs the programs that judge"
)]

#[path = "../support/mod.rs"]
mod support;

#[path = "../e2e/stage.rs"]
#[allow(dead_code, reason = "shared with other tiers")]
mod stage;

mod differences;
mod documents;
mod image;
mod page;
mod signatures;

use std::path::PathBuf;
use std::process::Command;

use stage::Stage;
use support::repo::Package;

/// A recipe of two packages; one of them has everything that inspect can show.
const RECIPE: &str = "install odd\ninstall plain\nts run\n";

/// The path of a program; skips the test if it is not installed.
fn tool(name: &str) -> Option<PathBuf> {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .map(|directory| directory.join(name))
        .find(|path| path.is_file());
    if found.is_none() {
        support::skip(&format!("{name} is not installed"));
    }
    found
}

fn odd() -> Package {
    Package::named("odd")
        .epoch(2)
        .license("GPLv2+ and MIT")
        .requires_first("base")
        .file("/usr/bin/setuid", "x", 0o4755, "root:root")
        .file("/usr/bin/setgid", "x", 0o2755, "root:app")
        .file("/usr/bin/capable", "x", 0o755, "root:root")
        .caps("cap_net_bind_service,cap_net_raw=ep")
        .file("/usr/share/owned", "x".repeat(5000), 0o640, "app:app")
        .file("/usr/lib/systemd/system/odd.service", "[Unit]\n", 0o644, "root:root")
        .link("/usr/lib/systemd/system/basic.target.wants/odd.service", "../odd.service")
        .change("Ann <ann@example.invalid> - 2:1.0-1", "- the first one", 1_600_000_000)
}

fn plain() -> Package {
    Package::named("plain").license("MIT OR Apache-2.0").requires_first("base").file(
        "/usr/share/plain/a",
        "a",
        0o644,
        "root:root",
    )
}

fn stage() -> Stage {
    Stage::new(|repo| repo.package(odd()).package(plain()))
}

/// The JSON that the program prints for these arguments. It must succeed.
fn json(words: &[&str]) -> serde_json::Value {
    let output = stage::run(Command::new(stage::OSIMG).arg("--json").arg("-q").args(words));
    serde_json::from_slice(&output).unwrap()
}
