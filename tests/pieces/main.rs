//! Boot pieces and the registries beside Glance, against real servers: docker-registry, nginx,
//! Python's http.server; judged by skopeo, productmd, sha256sum and xorriso.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test fails by a panic, and runs the programs that judge")]

mod cli;
mod oci;
mod servers;
mod set;
mod sources;
mod urls;
mod webtree;

/// Prints why a test cannot run here; fails it where it has to.
fn skip(why: &str) {
    println!("SKIPPED: {why}");
    assert_ne!(std::env::var("OSIMG_REQUIRE_PRIVILEGED").as_deref(), Ok("1"), "a required test cannot run: {why}");
}

/// Whether all these programs are here.
fn have(tools: &[&str]) -> bool {
    for tool in tools {
        if osimg::process::find_program(tool).is_none() {
            skip(&format!("there is no {tool}"));
            return false;
        }
    }
    true
}

fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("pieces-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}
