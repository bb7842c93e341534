//! The recipes that come with osimg: each is valid and pins its keys.

use osimg::recipe::{Recipe, Verify};
use std::path::{Path, PathBuf};

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn recipes() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(project().join("recipes"))
        .expect("recipes/")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "yum"))
        .collect();
    found.sort();
    found
}

#[test]
fn every_ready_recipe_is_valid_and_pins_full_fingerprints() {
    let found = recipes();
    assert!(found.len() >= 8, "{found:?}");
    for path in found {
        let recipe = Recipe::load(&path, None)
            .unwrap_or_else(|error| panic!("{}: {error:#}", path.display()));
        let transactions = recipe
            .script
            .transactions()
            .unwrap_or_else(|error| panic!("{}: {error:#}", path.display()));
        assert_eq!(transactions.len(), 1, "{}", path.display());
        let packages = &recipe.settings.packages;
        assert!(!packages.repositories.is_empty(), "{} names no repository", path.display());
        assert!(!packages.keys.is_empty(), "{} pins no key", path.display());
        assert_eq!(packages.verify, Verify::Strict, "{}", path.display());
        let wanted: Vec<&str> =
            transactions[0].install.iter().map(|spec| spec.text.as_str()).collect();
        for needed in ["cloud-init", "kernel", "grub2-efi-x64", "shim-x64", "efibootmgr", "curl"] {
            assert!(wanted.contains(&needed), "{} lacks {needed}", path.display());
        }
    }
}

#[test]
fn baremetal_yum_begins_and_ends_like_the_recipe_in_ironics_documentation() {
    let path = project().join("baremetal.yum");
    let recipe = Recipe::load(&path, None).expect("baremetal.yum");
    let text = recipe.script.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.first().copied(), Some("group install 'Minimal Install'"));
    assert_eq!(lines.get(1).copied(), Some("install cloud-init"));
    assert_eq!(lines.last().copied(), Some("ts run"));
}
