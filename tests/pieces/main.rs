//! Boot pieces and the registries other than Glance, with real servers: docker-registry, nginx,
//! Python's http.server. Results are checked by skopeo, productmd, sha256sum and xorriso.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by a panic, and runs the programs that judge"
)]

mod cli;
mod occupied;
mod oci;
mod oci_image;
mod outside;
mod servers;
mod set;
mod sources;
mod tags;
mod urls;
mod webtree;

/// Prints why a test cannot run here. Where the tests are required, this fails the test.
fn skip(why: &str) {
    println!("SKIPPED: {why}");
    assert_ne!(
        std::env::var("OSIMG_REQUIRE_PRIVILEGED").as_deref(),
        Ok("1"),
        "a required test cannot run: {why}"
    );
}

/// Whether all these programs are installed.
fn have(tools: &[&str]) -> bool {
    for tool in tools {
        if osimg::process::find_program(tool).is_none() {
            skip(&format!("{tool} is not installed"));
            return false;
        }
    }
    true
}

fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("pieces-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}
