//! Files and directories that arguments name: what they must be, and what exists already.

use super::{osimg, text};

#[test]
fn a_wrong_file_as_an_argument_is_a_mistake_in_the_command_line() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    nix::unistd::mkfifo(&dir.path().join("fifo.tgz"), nix::sys::stat::Mode::S_IRWXU)
        .expect("a FIFO");
    let _bound = std::os::unix::net::UnixListener::bind(path("socket.tgz")).expect("a socket");
    std::os::unix::fs::symlink("/dev/zero", path("device.tgz")).expect("a link");
    std::fs::create_dir(path("directory.tgz")).expect("a directory");
    std::fs::create_dir(path("tree")).expect("a directory");
    let good = path("good.tgz");
    let packed = osimg(&["pack", "-q", "--selinux", "none", &path("tree"), "-o", &good]);
    assert!(packed.status.success(), "{}", text(&packed.stderr));
    let bytes = std::fs::read(&good).expect("a tarball");
    std::fs::write(path("short.tgz"), &bytes[..bytes.len() / 2]).expect("a file");
    std::fs::write(path("altered.tgz"), [&bytes[..bytes.len() - 6], &[7; 6]].concat())
        .expect("a file");
    std::fs::write(path("text.tgz"), "plain text\n".repeat(99)).expect("a file");
    let registry = format!("dir:{}", path("out"));
    for name in ["missing", "fifo", "socket", "device", "directory", "short", "altered", "text"] {
        let file = path(&format!("{name}.tgz"));
        let words: [&[&str]; 7] = [
            &["inspect", &file],
            &["diff", &file, &good],
            &["diff", &good, &file],
            &["publish", &file, "--registry", &registry],
            &["verify", &file],
            &["boot", &file],
            &["pack", &file, "-o", &path("new.tgz")],
        ];
        for words in words {
            // A tree can be examined and packed, and a damaged archive is a finding.
            let is_tree = name == "directory" && matches!(words[0], "inspect" | "diff" | "pack");
            let finding = matches!(name, "short" | "altered" | "text")
                && matches!(words[0], "verify" | "publish" | "boot");
            if is_tree || finding {
                continue;
            }
            let output = osimg(words);
            let stderr = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{words:?}: {stderr}");
            assert!(stderr.contains(&file) && stderr.contains("hint: "), "{words:?}: {stderr}");
        }
    }
    // A damaged tarball is never right for a node.
    let output = osimg(&["publish", &path("short.tgz"), "--registry", &registry]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(10), "{stderr}");
    assert!(stderr.contains("hint: fetch or build") && !stderr.contains("--allow"), "{stderr}");
}

#[test]
fn a_wrong_directory_as_an_argument_is_named_as_what_it_is() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    nix::unistd::mkfifo(&dir.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    std::fs::write(path("file"), "").expect("a file");
    std::fs::create_dir(path("tree")).expect("a directory");
    let good = path("good.tgz");
    osimg(&["pack", "-q", "--selinux", "none", &path("tree"), "-o", &good]);
    for (name, kind) in [("file", "a file"), ("fifo", "a FIFO")] {
        let (file, below) = (path(name), path(&format!("{name}/x.tgz")));
        let (registry, tree) = (format!("dir:{file}"), format!("tree:{file}"));
        let words: [&[&str]; 7] = [
            &["pack", &file, "-o", &path("new.tgz")],
            &["pack", &path("tree"), "-o", &below],
            &["images", "--registry", &registry],
            &["images", "--registry", &tree],
            &["publish", &good, "--registry", &registry],
            &["publish", &good, "--registry", &tree],
            &["cache", "--prune", "--max", "0", "--cache", &file],
        ];
        for words in words {
            let stderr = text(&osimg(words).stderr);
            let reason = format!("{file}: it is {kind}, not a directory");
            assert!(stderr.contains(&reason) && stderr.contains("hint: "), "{words:?}: {stderr}");
        }
    }
}

#[test]
fn a_special_file_in_a_tree_is_named_by_its_path_in_the_image() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| dir.path().join(name);
    let contexts = "tree/etc/selinux/targeted/contexts/files";
    std::fs::create_dir_all(path(contexts)).expect("directories");
    let config = "SELINUX=enforcing\nSELINUXTYPE=targeted\n";
    let (tree, out) = (path("tree"), path("out.tgz"));
    for (file, content) in [
        ("etc/selinux/config".to_owned(), config),
        (format!("{}/file_contexts", &contexts["tree/".len()..]), "/.* system_u:object_r:x:s0\n"),
    ] {
        let path = tree.join(&file);
        for kind in ["FIFO", "socket", "link", "directory"] {
            let bound = match kind {
                "FIFO" => {
                    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
                    None
                }
                "socket" => Some(std::os::unix::net::UnixListener::bind(&path).expect("a socket")),
                "link" => {
                    std::os::unix::fs::symlink("/dev/zero", &path).expect("a link");
                    None
                }
                _ => {
                    std::fs::create_dir(&path).expect("a directory");
                    None
                }
            };
            let output = osimg(&["pack", &tree.to_string_lossy(), "-o", &out.to_string_lossy()]);
            drop(bound);
            let stderr = text(&output.stderr);
            assert_eq!(output.status.code(), Some(7), "{kind}: {stderr}");
            let reason = format!("reading {file} in the image: it is a {kind}, not a file\nhint: ");
            assert!(stderr.contains(&reason), "{kind}: {stderr}");
            let _ = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir(&path));
        }
        std::fs::write(&path, content).expect("a file");
    }
}

#[test]
fn publishing_the_same_bytes_again_is_reported_as_the_same_artifact() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    std::fs::create_dir(path("tree")).expect("a directory");
    let tarball = path("os-1.tgz");
    osimg(&["pack", "-q", "--selinux", "none", &path("tree"), "-o", &tarball]);
    let publish = |registry: &str, more: &[&str]| {
        osimg(&[&["publish", &tarball, "--registry", registry], more].concat())
    };
    let (directory, tree) = (format!("dir:{}", path("dir")), format!("tree:{}", path("www")));
    let unfit = text(&publish(&directory, &[]).stderr);
    let allowed = unfit.split("to let it pass as it is: ").nth(1).expect("a hint");
    let allowed: Vec<&str> = allowed.lines().next().expect("options").split(' ').collect();
    for (first, second, updated) in [
        (directory.clone(), directory, false),
        (format!("{tree}=http://a.test/x"), format!("{tree}=http://a.test/x"), false),
        (format!("{tree}=http://a.test/x"), format!("{tree}=http://b.test/y"), true),
    ] {
        publish(&first, &allowed);
        let again = publish(&second, &[&allowed[..], &["--json"]].concat());
        let stderr = text(&again.stderr);
        assert_eq!(again.status.code(), Some(0), "{stderr}");
        assert!(stderr.contains("exists already with the same bytes"), "{stderr}");
        assert_eq!(stderr.contains("its manifest is updated"), updated, "{second}: {stderr}");
        let document: serde_json::Value = serde_json::from_slice(&again.stdout).expect("JSON");
        assert_eq!(document["tarball"]["made"], "reused", "{document}");
    }
}
