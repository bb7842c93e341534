//! The repository's own recipe on the demo distribution: hundreds of real packages with real scriptlets.

use crate::stage::Stage;
use crate::support::{require_root, skip};
use std::path::{Path, PathBuf};

/// The distribution's settings; `make test` makes it before.
fn distribution() -> Option<PathBuf> {
    if !require_root() {
        return None;
    }
    let folder =
        std::env::var_os("OSIMG_DEMO_REPO").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".demo/repo"), PathBuf::from);
    let settings = folder.join("osimg-demo.toml");
    if !settings.exists() {
        skip(&format!("there is no demo distribution in {}: make demo", folder.display()));
        return None;
    }
    Some(settings)
}

/// The three lines of Ironic's documentation, word for word.
/// <https://docs.openstack.org/ironic/latest/admin/anaconda-deploy-interface.html>
const DOCUMENTED: &str = "group install 'Minimal Install'\ninstall cloud-init\nts run\n";

#[test]
fn the_documented_recipe_builds_and_its_image_is_said_to_have_no_kernel() {
    let Some(settings) = distribution() else { return };
    let stage = Stage::empty();
    stage.build(DOCUMENTED).arg("--settings").arg(settings).args(&["--level", "fast"]).succeeds();
    let manifest = stage.manifest();
    assert_eq!(manifest["kernels"], serde_json::json!([]));
    let names: Vec<&str> = manifest["packages"].as_array().unwrap().iter().map(|p| p["nevra"].as_str().unwrap()).collect();
    assert!(names.iter().any(|name| name.starts_with("cloud-init-")), "{names:?}");
    assert!(names.len() > 100, "{}", names.len());
}
