//! The tree that a web server provides: checked by sha256sum, productmd, nginx, and osimg's own
//! readers of URLs and trees.

use osimg::deploy::http::{Expected, check};
use osimg::error::{ExitCode, exit_code};
use osimg::installer::ImageRelease;
use osimg::installer::pieces::{Gathering, Mismatch, Source};
use osimg::registry::{Address, Existing, PublishOptions, Registry as _, State, WebTree};
use osimg::report::Report;
use osimg::set::{Made, Piece, References, Role};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::servers::{nginx, output, productmd};
use crate::set::{gzip, kernel, piece, set};
use crate::{directory, have};

fn publish(tree: &WebTree, set: &osimg::set::Set) -> References {
    tree.publish(set, &Report::silent()).unwrap()
}

fn names(directory: &Path) -> BTreeSet<String> {
    let walk = walkdir::WalkDir::new(directory).min_depth(1).into_iter().map(Result::unwrap);
    walk.filter(|e| !e.file_type().is_dir())
        .map(|e| e.path().strip_prefix(directory).unwrap().display().to_string())
        .collect()
}

#[test]
fn a_set_is_published_as_a_tree_that_every_reader_understands() {
    if !have(&["nginx", "sha256sum", "python3"]) {
        return;
    }
    let (www, files) = (directory(), directory());
    let server = nginx(www.path(), "");
    let url = format!("http://127.0.0.1:{}/os", server.port);
    let tree = WebTree::open(&www.path().join("os"), Some(&url)).unwrap();
    let set = set(files.path(), "web-20261122", "hello");
    let references = publish(&tree, &set);
    let home = www.path().join("os/web-20261122");

    assert_eq!(
        references.tarball.url.as_deref(),
        Some(format!("{url}/web-20261122/web-20261122.tgz").as_str())
    );
    for role in Role::ALL {
        let (reference, piece) = (references.role(role).unwrap(), set.piece(role).unwrap());
        let checked = check(
            reference.url.as_ref().unwrap(),
            &Expected { role, size: Some(piece.size), ca: None },
        )
        .unwrap();
        assert_eq!(checked.problems, [], "{role}");
    }
    output(
        Command::new("sha256sum")
            .args(["--strict", "-c", "SHA256SUMS", "web-20261122.tgz.sha256"])
            .current_dir(&home),
    );
    output(
        Command::new("sha512sum")
            .args(["--strict", "-c", "SHA512SUMS", "web-20261122.tgz.sha512"])
            .current_dir(&home),
    );

    // Read by productmd, which the distributions' own tools use.
    if let Some(site) = productmd() {
        let program = "import productmd.treeinfo as t, sys; i = t.TreeInfo(); \
                       i.load(sys.argv[1]); print(i.release.short, i.release.version, \
                       i.tree.arch, i.images['x86_64']['kernel'], i.images['x86_64']['initrd'], \
                       i.stage2.mainimage); print([list(v) == ['sha256', \
                       t.compute_checksum(sys.argv[2] + '/' + p, 'sha256')] for p, v in \
                       i.checksums.checksums.items()])";
        let mut command = Command::new("python3");
        let listed = output(
            command
                .arg("-c")
                .arg(program)
                .arg(home.join(".treeinfo"))
                .arg(&home)
                .env("PYTHONPATH", site),
        );
        assert_eq!(
            listed,
            "osimg-demo 12 x86_64 images/pxeboot/vmlinuz images/pxeboot/initrd.img \
             images/install.img\n[True, True, True]\n"
        );
    }

    // Read by osimg, which takes boot pieces from it.
    let source =
        Source::choose(None, None, None, Some(&format!("{url}/web-latest"))).unwrap().unwrap();
    let image = ImageRelease {
        id: set.os_distro.clone(),
        version: set.os_version.clone(),
        arch: set.arch.clone(),
    };
    let cache = directory();
    let pieces = source
        .gather(
            &image,
            &Gathering {
                cache: cache.path(),
                ca: None,
                mismatch: Mismatch::Refuse,
                allow: &BTreeSet::new(),
            },
            &Report::silent(),
        )
        .unwrap();
    assert_eq!(pieces.stage2.unwrap().sha256, set.stage2.as_ref().unwrap().sha256);
    let both = ["images/install.img", "LiveOS/squashfs.img"]
        .map(|path| Piece::from_file(&home.join(path), |_, _| {}).unwrap().sha256);
    assert_eq!(both[0], both[1]);
}

#[test]
fn publishing_again_changes_nothing_and_other_formats_and_versions_are_added() {
    let (www, files) = (directory(), directory());
    let tree = WebTree::open(www.path(), None).unwrap();
    let first = set(files.path(), "web-1", "hello");
    let references = publish(&tree, &first);
    assert_eq!(references.tarball.url, None);
    let home = www.path().join("web-1");
    let before = std::fs::metadata(&home).unwrap();
    let again = publish(&tree, &first);
    assert_eq!(again.tarball.made, Made::Reused);
    assert_eq!(
        std::os::unix::fs::MetadataExt::ino(&before),
        std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&home).unwrap())
    );

    // The same version as .tar, of the same tree. With another kernel it is refused.
    let tar = output(
        Command::new("sh")
            .args(["-c", "gzip -dc web-1.tgz >web-1.tar && sha256sum web-1.tar"])
            .current_dir(files.path()),
    );
    let mut other =
        osimg::set::Set::from_tarball(&files.path().join("web-1.tar"), |_, _| {}).unwrap();
    other.arch.clone_from(&first.arch);
    other.kernel = Some(piece(files.path(), "vmlinuz-2", &kernel("two")));
    other.ramdisk = Some(piece(files.path(), "initrd-2", &gzip("two")));
    let error = tree.publish(&other, &Report::silent()).unwrap_err();
    assert_eq!(exit_code(&error), ExitCode::Registry, "{error:#}");
    assert!(error.to_string().contains("images/pxeboot/vmlinuz"), "{error:#}");
    (other.kernel, other.ramdisk) = (first.kernel.clone(), first.ramdisk.clone());
    publish(&tree, &other);
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(home.join("web-1.json")).unwrap()).unwrap();
    assert_eq!(manifest["archive"]["sha256"], tar.split(' ').next().unwrap());
    assert_eq!(manifest["tarballs"].as_array().unwrap().len(), 2);
    let held = names(&home);
    for name in [
        "web-1.tgz",
        "web-1.tgz.sha256",
        "web-1.tar",
        "web-1.tar.sha512",
        "images/install.img",
        "web-1.json",
        "SHA256SUMS",
    ] {
        assert!(held.contains(name), "{name}: {held:?}");
    }
    output(Command::new("sha256sum").args(["--strict", "-c", "SHA256SUMS"]).current_dir(&home));
    let entries = tree.list().unwrap();
    assert_eq!(entries.len(), 2);
    assert!(entries.iter().all(|entry| entry.state == State::Current));

    // One is removed, then the other, and nothing is left.
    let tgz = entries.iter().find(|entry| entry.extension == ".tgz").unwrap();
    assert_eq!(tree.remove(tgz).unwrap().removed, ["web-1.tgz"]);
    assert!(!names(&home).contains("web-1.tgz"));
    output(Command::new("sha256sum").args(["--strict", "-c", "SHA256SUMS"]).current_dir(&home));
    assert!(tree.remove(tgz).is_err());
    assert_eq!(std::fs::read_link(www.path().join("web-latest")).unwrap(), Path::new("web-1"));
    tree.prune(None, 0).unwrap();
    assert_eq!(names(www.path()), BTreeSet::new());
}

#[test]
fn references_to_other_trees_do_not_count_and_a_tree_can_be_moved() {
    let (www, files) = (directory(), directory());
    let first = WebTree::open(&www.path().join("a"), None).unwrap();
    publish(&first, &set(files.path(), "web-1", "hello"));
    // The published manifest has the reference to the first tree, and is the second one's source.
    let tarball = www.path().join("a/web-1/web-1.tgz");
    let copied = osimg::set::Set::from_tarball(&tarball, |_, _| {}).unwrap();
    for url in [None, Some("http://mirror.example/os")] {
        let second = WebTree::open(&www.path().join("b"), url).unwrap();
        publish(&second, &copied);
        assert_eq!(second.list().unwrap().len(), 1);
        assert_eq!(second.prune(None, 1).unwrap().removed, Vec::<String>::new());
    }
    assert!(www.path().join("b/web-1/web-1.tgz").is_file());
    std::fs::rename(www.path().join("a"), www.path().join("moved")).unwrap();
    let moved = WebTree::open(&www.path().join("moved"), None).unwrap();
    assert_eq!(moved.list().unwrap().len(), 1);
    let error = moved.publish(&set(files.path(), "web-1", "other"), &Report::silent()).unwrap_err();
    assert_eq!(exit_code(&error), ExitCode::Registry, "{error:#}");
    // Nor is a version replaced that no readable manifest describes.
    std::fs::write(www.path().join("moved/web-1/web-1.json"), "{").unwrap();
    let error = moved.publish(&set(files.path(), "web-1", "other"), &Report::silent()).unwrap_err();
    assert_eq!(exit_code(&error), ExitCode::Registry, "{error:#}");
    let tarball = www.path().join("b/web-1/web-1.tgz");
    publish(&moved, &osimg::set::Set::from_tarball(&tarball, |_, _| {}).unwrap());
}

#[test]
fn a_piece_that_changes_while_it_is_published_leaves_the_old_tree_intact() {
    let (www, files) = (directory(), directory());
    let tree = WebTree::open(www.path(), None).unwrap();
    let first = set(files.path(), "web-1", "hello");
    publish(&tree, &first);
    let before = names(www.path());
    let mut second = first.clone();
    second.stage2 = Some(piece(files.path(), "stage2-2", b"hsqs and more"));
    std::fs::write(files.path().join("stage2-2"), b"hsqs and less").unwrap();
    let error = tree.publish(&second, &Report::silent()).unwrap_err();
    assert_eq!(exit_code(&error), ExitCode::Registry, "{error:#}");
    let tree = tree.with_existing(Existing::Replace);
    let error = tree.publish(&second, &Report::silent()).unwrap_err();
    assert!(error.to_string().contains("it changed in the meantime"), "{error:#}");
    assert_eq!(names(www.path()), before);
    let kept = Piece::from_file(&www.path().join("web-1/images/install.img"), |_, _| {}).unwrap();
    assert_eq!(Some(kept.sha256), first.stage2.map(|piece| piece.sha256));
    // A killed publisher has left its hidden directory. The next one removes it.
    std::fs::create_dir_all(www.path().join(".web-1.new-abcdef/images")).unwrap();
    publish(&tree, &set(files.path(), "web-1", "other"));
    assert!(!www.path().join(".web-1.new-abcdef").exists());
    assert!(WebTree::open(www.path(), Some("http://user:secret@h/x")).is_err());
}

#[test]
fn a_manifest_with_foreign_paths_does_not_lead_out_of_the_tree() {
    let (www, files) = (directory(), directory());
    let tree = WebTree::open(&www.path().join("os"), None).unwrap();
    let first = set(files.path(), "web-1", "hello");
    publish(&tree, &first);
    assert_eq!(tree.list().unwrap().len(), 1);
    let manifest = www.path().join("os/web-1/web-1.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let victim = www.path().join("victim.tgz");
    std::fs::write(&victim, "precious").unwrap();
    let before = names(www.path());
    for foreign in ["../../victim.tgz", "../../../victim.tgz", victim.to_str().unwrap()] {
        for role in ["tarball", "kernel"] {
            let mut forged: serde_json::Value = serde_json::from_str(&text).unwrap();
            for set in forged["published"].as_array_mut().unwrap() {
                set[role]["id"] = foreign.into();
            }
            std::fs::write(&manifest, forged.to_string()).unwrap();
            assert_eq!(tree.list().unwrap(), [], "{role} {foreign}");
            publish(&tree, &first);
            assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious", "{role} {foreign}");
            assert_eq!(names(www.path()), before, "{role} {foreign}");
        }
    }
}

#[test]
fn two_architectures_of_a_version_have_their_own_directories_links_and_counts() {
    let (www, files) = (directory(), directory());
    let address: Address = format!("tree:{}", www.path().display()).parse().unwrap();
    let open =
        || osimg::registry::open(&address, &PublishOptions::default(), &Report::silent()).unwrap();
    let mut sets = Vec::new();
    for (version, arch) in
        [("web-1", "x86_64"), ("web-1", "aarch64"), ("web-2", "aarch64"), ("web-2", "x86_64")]
    {
        let place = files.path().join(format!("{version}-{arch}"));
        std::fs::create_dir(&place).unwrap();
        let mut set = set(&place, version, &format!("{version} {arch}"));
        set.arch = Some(arch.to_owned());
        let references = open().publish(&set, &Report::silent()).unwrap();
        // Published again: each architecture finds its own files.
        let again = open().publish(&set, &Report::silent()).unwrap();
        assert_eq!((again.tarball.id, again.tarball.made), (references.tarball.id, Made::Reused));
        sets.push(set);
    }
    for (directory, link) in [("web-2", "web-latest"), ("web-2.aarch64", "web-latest.aarch64")] {
        assert_eq!(std::fs::read_link(www.path().join(link)).unwrap(), Path::new(directory));
        let info = std::fs::read_to_string(www.path().join(directory).join(".treeinfo")).unwrap();
        assert_eq!(info.contains("arch = aarch64"), directory.ends_with("aarch64"), "{info}");
        output(
            Command::new("sha256sum")
                .args(["--strict", "-c", "SHA256SUMS"])
                .current_dir(www.path().join(directory)),
        );
    }
    let entries = open().list().unwrap();
    let current: Vec<_> = entries
        .iter()
        .filter(|e| e.state == State::Current)
        .map(|e| (e.version.as_str(), e.arch.as_deref()))
        .collect();
    assert_eq!(current.len(), 2, "{entries:?}");
    assert!(
        current.contains(&("2", Some("x86_64"))) && current.contains(&("2", Some("aarch64"))),
        "{current:?}"
    );
    open().prune(None, 1).unwrap();
    let left: BTreeSet<String> = std::fs::read_dir(www.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(
        left,
        ["web-2", "web-2.aarch64", "web-latest", "web-latest.aarch64"].map(str::to_owned).into()
    );
    // The remaining one is still found when it is published again.
    assert_eq!(open().publish(&sets[2], &Report::silent()).unwrap().tarball.made, Made::Reused);
}

#[test]
fn two_architectures_of_a_version_have_their_own_files_in_a_directory() {
    let (out, files) = (directory(), directory());
    let address: Address = format!("dir:{}", out.path().display()).parse().unwrap();
    let open =
        || osimg::registry::open(&address, &PublishOptions::default(), &Report::silent()).unwrap();
    for (version, arch) in [("web-1", "aarch64"), ("web-1", "x86_64"), ("web-2", "x86_64")] {
        let place = files.path().join(format!("{version}-{arch}"));
        std::fs::create_dir(&place).unwrap();
        let mut set = set(&place, version, &format!("{version} {arch}"));
        set.arch = Some(arch.to_owned());
        open().publish(&set, &Report::silent()).unwrap();
        // Another tarball of the same version and architecture is refused.
        let mut other = self::set(&directory().keep(), version, "other");
        other.arch = set.arch.clone();
        let error = open().publish(&other, &Report::silent()).unwrap_err();
        assert_eq!(exit_code(&error), ExitCode::Registry, "{error:#}");
    }
    let held = names(out.path());
    for name in [
        "web-1.tgz",
        "web-1.json",
        "web-1.x86_64.tgz",
        "web-1.x86_64.vmlinuz",
        "web-1.x86_64.json",
        "web-2.x86_64.tgz",
    ] {
        assert!(held.contains(name), "{name}: {held:?}");
    }
    for (link, target) in
        [("web-latest.tgz", "web-1.tgz"), ("web-latest.x86_64.tgz", "web-2.x86_64.tgz")]
    {
        assert_eq!(std::fs::read_link(out.path().join(link)).unwrap(), Path::new(target));
    }
    output(
        Command::new("sh")
            .args(["-ec", "for f in *.sha256; do sha256sum -c $f; done"])
            .current_dir(out.path()),
    );
    open().prune(None, 1).unwrap();
    let left: BTreeSet<String> = open().list().unwrap().into_iter().map(|entry| entry.id).collect();
    assert_eq!(left, ["web-1.tgz", "web-2.x86_64.tgz"].map(str::to_owned).into());
    open().prune(None, 0).unwrap();
    assert_eq!(names(out.path()), BTreeSet::new());
}

#[test]
fn only_files_that_osimg_published_are_removed_or_replaced() {
    for (name, keeps) in [("notes.txt", false), ("images/notes.txt", false), ("inner", true)] {
        let (www, files) = (directory(), directory());
        let tree = WebTree::open(www.path(), None).unwrap();
        publish(&tree, &set(files.path(), "web-1", "one"));
        let path = www.path().join("web-1").join(name);
        if keeps {
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("web-9.tgz"), "precious").unwrap();
        } else {
            std::fs::write(&path, "precious").unwrap();
        }
        let before = names(www.path());
        let replacing = WebTree::open(www.path(), None).unwrap().with_existing(Existing::Replace);
        let other = set(files.path(), "web-1", "two");
        let error = replacing.publish(&other, &Report::silent()).unwrap_err();
        assert!(error.to_string().contains(&format!("web-1/{name}")), "{error:#}");
        assert_eq!(names(www.path()), before);

        let removal = tree.prune(None, 0).unwrap();
        assert_eq!(removal.removed, ["web-1.tgz"]);
        assert_eq!(removal.problems[0].id, format!("web-1/{name}"));
        let left = if keeps { format!("web-1/{name}/web-9.tgz") } else { format!("web-1/{name}") };
        assert_eq!(names(www.path()), BTreeSet::from([left]));
    }
}

#[test]
fn no_tree_is_published_inside_a_version_of_another() {
    let (www, files) = (directory(), directory());
    let tree = WebTree::open(www.path(), None).unwrap();
    let set = set(files.path(), "web-1", "one");
    publish(&tree, &set);
    let before = names(www.path());
    let home = www.path().join("web-1");
    assert!(WebTree::open(&home.join("inner"), None).is_err());
    assert!(!home.join("inner").exists());
    for inside in [home.clone(), home.join("images")] {
        let inner = WebTree::open(&inside, None).unwrap();
        assert!(inner.publish(&set, &Report::silent()).is_err());
    }
    assert_eq!(names(www.path()), before);
}

#[test]
fn a_removed_version_is_reported_as_removed_even_if_the_link_cannot_be_updated() {
    let (www, files) = (directory(), directory());
    let tree = WebTree::open(www.path(), None).unwrap();
    for version in ["web-1", "web-2"] {
        publish(&tree, &set(files.path(), version, version));
    }
    let link = www.path().join("web-latest");
    std::fs::remove_file(&link).unwrap();
    std::fs::create_dir(&link).unwrap();
    let removal = tree.prune(None, 1).unwrap();
    assert_eq!(removal.removed, ["web-1.tgz", "web-1"]);
    assert!(removal.kept.is_empty());
    assert_eq!(removal.problems[0].id, "web-latest");
    assert!(removal.failure().is_some() && link.is_dir());
}
