//! Finding the policy in the tree of an image, and limits on a hostile tree.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use osimg::selinux::Lookup;

/// An image tree with a configuration and with the given files in the policy's directory.
fn image(config: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    let directory = tree.path().join("etc/selinux/targeted/contexts/files");
    fs::create_dir_all(&directory).unwrap();
    fs::write(tree.path().join("etc/selinux/config"), config).unwrap();
    for (name, text) in files {
        fs::write(directory.join(name), text).unwrap();
    }
    tree
}

const CONFIG: &str = "# comment\nSELINUX=enforcing\nSELINUXTYPE=targeted \n";

#[test]
fn an_image_s_policy_is_found_with_all_its_files() {
    let tree = image(
        CONFIG,
        &[
            ("file_contexts", "/.* s:o:default_t:s0\n"),
            ("file_contexts.homedirs", "/home/.* s:o:home_t:s0\n"),
            ("file_contexts.local", "/home/l.* s:o:local_t:s0\n"),
            ("file_contexts.subs", "/h /home\n"),
            ("file_contexts.subs_dist", "/users /home\n"),
        ],
    );
    let policy = osimg::selinux::load_from_tree(tree.path()).unwrap().unwrap();
    assert_eq!(policy.specs(), 3);
    for (path, context) in
        [("/x", "default_t"), ("/home/u", "home_t"), ("/h/u", "home_t"), ("/users/l", "local_t")]
    {
        assert_eq!(
            policy.lookup(path.as_bytes(), 0),
            Lookup::Context(format!("s:o:{context}:s0").as_bytes()),
            "{path}"
        );
    }
}

#[test]
fn an_image_without_a_policy_is_an_error_only_if_it_enforces_one() {
    let bare = tempfile::tempdir().unwrap();
    assert!(osimg::selinux::load_from_tree(bare.path()).unwrap().is_none());
    assert!(
        osimg::selinux::load_from_tree(image("SELINUX=disabled\n", &[]).path()).unwrap().is_none()
    );
    assert!(
        osimg::selinux::load_from_tree(image("SELINUX=permissive\n", &[]).path())
            .unwrap()
            .is_none()
    );
    let refusal = osimg::selinux::load_from_tree(image(CONFIG, &[]).path()).unwrap_err();
    assert!(osimg::error::render(&refusal).contains("does not boot without it"), "{refusal:#}");
    assert!(osimg::selinux::load_from_tree(Path::new("/nonexistent")).is_err());
}

#[test]
fn a_policy_with_only_compiled_files_is_reported_as_such() {
    for name in ["file_contexts.bin", "file_contexts"] {
        let tree = image(CONFIG, &[]);
        let file = tree.path().join("etc/selinux/targeted/contexts/files").join(name);
        fs::write(&file, [&0xf97c_ff8a_u32.to_ne_bytes()[..], b"\x05"].concat()).unwrap();
        let refusal = osimg::selinux::load_from_tree(tree.path()).unwrap_err().to_string();
        assert!(refusal.contains("only the compiled form"), "{refusal}");
    }
}

#[test]
fn links_do_not_lead_out_of_the_tree_when_a_policy_is_read() {
    let outside = image(CONFIG, &[("file_contexts", "/.* s:o:outside_t:s0\n")]);
    // An absolute link, and one with many `..`: both end at a missing file inside the tree.
    for target in [
        outside.path().join("etc/selinux"),
        PathBuf::from(format!(
            "../../../../../../../../../..{}/etc/selinux",
            outside.path().display()
        )),
    ] {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir(tree.path().join("etc")).unwrap();
        symlink(&target, tree.path().join("etc/selinux")).unwrap();
        assert!(osimg::selinux::load_from_tree(tree.path()).unwrap().is_none());
    }
    let tree = image(CONFIG, &[]);
    symlink(
        outside.path().join("etc/selinux/targeted/contexts/files/file_contexts"),
        tree.path().join("etc/selinux/targeted/contexts/files/file_contexts"),
    )
    .unwrap();
    assert!(osimg::selinux::load_from_tree(tree.path()).is_err());
    let refusal = osimg::selinux::load_from_tree(image("SELINUXTYPE=../../x\n", &[]).path())
        .unwrap_err()
        .to_string();
    assert!(refusal.contains("is not the name of a policy"), "{refusal}");
}

#[test]
fn special_files_and_oversized_files_are_refused_at_once() {
    let tree = image(CONFIG, &[]);
    let file = tree.path().join("etc/selinux/targeted/contexts/files/file_contexts");
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let refusal = osimg::selinux::load_from_tree(tree.path()).unwrap_err().to_string();
    assert!(
        refusal.contains("reading etc/selinux/") && refusal.contains("in the image: it is a FIFO"),
        "{refusal}"
    );
    let refusal = format!("{:#}", osimg::selinux::load(&file).unwrap_err());
    assert!(refusal.contains("it is a FIFO, not a file"), "{refusal}");
    fs::remove_file(&file).unwrap();
    fs::File::create(&file).unwrap().set_len(65 << 20).unwrap();
    let refusal = osimg::selinux::load_from_tree(tree.path()).unwrap_err().to_string();
    assert!(refusal.contains("larger than 64 MiB"), "{refusal}");
}
