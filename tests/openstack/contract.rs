//! The common contract of all registries, tested with each of them.

use crate::servers::{IMAGES, Servers};
use crate::sets::Files;
use osimg::cloud::Cloud;
use osimg::error::{ExitCode, exit_code};
use osimg::registry::{self, Address, Entry, Glance, PublishOptions, Registry, State};
use osimg::report::Report;
use osimg::set::{Made, References, Role};

/// A registry of one kind, opened again at each call.
type Open<'a> = &'a (dyn Fn() -> Box<dyn Registry> + Sync);

/// Runs the suite on one backend.
fn keeps_the_contract(name: &str, open: Open<'_>) {
    publishing_twice_has_the_same_result_as_once(&Files::new(&format!("{name}-twice")), open);
    versions_follow_each_other_and_are_pruned(&Files::new(&format!("{name}-versions")), open);
    a_file_that_changed_after_hashing_leaves_nothing(&Files::new(&format!("{name}-changed")), open);
    names_that_cannot_be_written_are_refused(&Files::new(&format!("{name}-names")), open);
    two_publishers_at_once_make_one_entry(&Files::new(&format!("{name}-both")), open);
    of_two_publishers_of_other_bytes_one_is_refused(name, open);
    removal_removes_only_pieces_that_no_other_entry_uses(
        &Files::new(&format!("{name}-shared")),
        open,
    );
}

/// The id that the registry lists a published set under.
fn id(references: &References) -> &str {
    &references.manifest.as_ref().unwrap_or(&references.tarball).id
}

fn entries(registry: &dyn Registry, files: &Files) -> Vec<Entry> {
    registry.list().unwrap().into_iter().filter(|entry| entry.name == files.name).collect()
}

fn publishing_twice_has_the_same_result_as_once(files: &Files, open: Open<'_>) {
    let set = files.set("1");
    let first = open().publish(&set, &Report::silent()).unwrap();
    for role in Role::ALL {
        let (reference, piece) = (first.role(role).unwrap(), set.piece(role).unwrap());
        assert_eq!(
            (reference.size, reference.sha512.as_ref()),
            (piece.size, Some(&piece.sha512)),
            "{role}"
        );
        assert_eq!(reference.made, Made::New, "{role}");
    }
    let second = open().publish(&set, &Report::silent()).unwrap();
    for role in Role::ALL {
        let (one, two) = (first.role(role).unwrap(), second.role(role).unwrap());
        assert_eq!((&one.id, two.made), (&two.id, Made::Reused), "{role}");
    }
    let entries = entries(open().as_ref(), files);
    assert_eq!(entries.len(), 1, "{entries:?}");
    let entry = &entries[0];
    assert_eq!(
        (entry.id.as_str(), entry.version.as_str(), entry.state),
        (id(&first), "1", State::Current)
    );
    assert_eq!(
        (entry.size, entry.sha512.as_ref()),
        (Some(set.tarball.piece.size), Some(&set.tarball.piece.sha512))
    );
    assert_eq!(entry.pieces.len(), 4, "{entry:?}");
}

fn versions_follow_each_other_and_are_pruned(files: &Files, open: Open<'_>) {
    for version in ["1", "2", "3"] {
        open().publish(&files.set(version), &Report::silent()).unwrap();
    }
    let states: Vec<(String, State)> =
        entries(open().as_ref(), files).into_iter().map(|e| (e.version, e.state)).collect();
    let expected = [("3", State::Current), ("2", State::Older), ("1", State::Older)];
    assert_eq!(states, expected.map(|(version, state)| (version.to_owned(), state)));
    open().prune(Some(&files.name), 1).unwrap();
    let left = entries(open().as_ref(), files);
    assert_eq!(left.iter().map(|e| e.version.as_str()).collect::<Vec<_>>(), ["3"]);
    let again = open().publish(&files.set("3"), &Report::silent()).unwrap();
    for role in Role::ALL {
        assert_eq!(
            again.role(role).unwrap().made,
            Made::Reused,
            "the {role} of the newest still exists"
        );
    }
}

fn a_file_that_changed_after_hashing_leaves_nothing(files: &Files, open: Open<'_>) {
    let set = files.set("1");
    let mut bytes = std::fs::read(&set.tarball.piece.path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&set.tarball.piece.path, bytes).unwrap();
    let error = open().publish(&set, &Report::silent()).unwrap_err();
    assert_eq!(exit_code(&error), ExitCode::Trust, "{error:#}");
    assert_eq!(entries(open().as_ref(), files), []);
    std::fs::write(&set.tarball.piece.path, "short").unwrap();
    let error = open().publish(&set, &Report::silent()).unwrap_err();
    assert_eq!(exit_code(&error), ExitCode::Trust, "{error:#}");
    assert_eq!(entries(open().as_ref(), files), []);
}

fn names_that_cannot_be_written_are_refused(files: &Files, open: Open<'_>) {
    for bad in ["a\u{7}b", "a\u{1b}[31mb", "a/b", "..", ""] {
        let mut set = files.set("1");
        set.name = bad.to_owned();
        let error = open().publish(&set, &Report::silent()).unwrap_err();
        assert_eq!(exit_code(&error), ExitCode::Usage, "{bad:?}: {error:#}");
        assert!(!format!("{error:#}").chars().any(char::is_control), "{error:#?}");
    }
}

fn two_publishers_at_once_make_one_entry(files: &Files, open: Open<'_>) {
    let set = files.set("1");
    let published: Vec<_> = std::thread::scope(|scope| {
        let publishers: Vec<_> =
            (0..2).map(|_| scope.spawn(|| open().publish(&set, &Report::silent()))).collect();
        publishers.into_iter().map(|publisher| publisher.join().unwrap()).collect()
    });
    let ids: Vec<&str> = published.iter().flatten().map(id).collect();
    assert!(!ids.is_empty(), "one of them succeeds");
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    for error in published.iter().filter_map(|result| result.as_ref().err()) {
        assert_eq!(exit_code(error), ExitCode::Locked, "{error:#}");
    }
    let entries = entries(open().as_ref(), files);
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!(entries[0].id, ids[0]);
}

fn of_two_publishers_of_other_bytes_one_is_refused(name: &str, open: Open<'_>) {
    for round in 0..3 {
        let files = Files::new(&format!("{name}-one-{round}"));
        let others = Files::new(&format!("{name}-other-{round}"));
        let mut other = others.set("1");
        other.name.clone_from(&files.name);
        let published: Vec<_> = std::thread::scope(|scope| {
            let publishers: Vec<_> = [files.set("1"), other]
                .into_iter()
                .map(|set| scope.spawn(move || open().publish(&set, &Report::silent())))
                .collect();
            publishers.into_iter().map(|publisher| publisher.join().unwrap()).collect()
        });
        let (kept, refused): (Vec<_>, Vec<_>) = published.iter().partition(|one| one.is_ok());
        assert_eq!((kept.len(), refused.len()), (1, 1), "{published:?}");
        let error = refused[0].as_ref().unwrap_err();
        assert!(matches!(exit_code(error), ExitCode::Locked | ExitCode::Registry), "{error:#}");
        let entries = entries(open().as_ref(), &files);
        assert_eq!(entries.len(), 1, "{entries:?}");
        assert_eq!(entries[0].id, id(kept[0].as_ref().unwrap()));
    }
}

fn removal_removes_only_pieces_that_no_other_entry_uses(files: &Files, open: Open<'_>) {
    open().publish(&files.set("1"), &Report::silent()).unwrap();
    open().publish(&files.set("2"), &Report::silent()).unwrap();
    for left in [1, 0] {
        let registry = open();
        let entry = entries(registry.as_ref(), files).remove(0);
        let removed = registry.remove(&entry).unwrap();
        assert!(removed.removed.contains(&entry.id), "{removed:?}");
        assert_eq!(entries(registry.as_ref(), files).len(), left);
    }
}

#[test]
fn a_directory_keeps_the_contract() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let address = Address::Directory(dir.path().join("images"));
    keeps_the_contract("directory", &|| {
        registry::open(&address, &PublishOptions::default(), &Report::silent()).unwrap()
    });
    // The last check of the suite empties the directory: no checksum file, link or lock is
    // left.
    let left: Vec<String> = std::fs::read_dir(dir.path().join("images"))
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert!(!left.iter().any(|name| name.contains("directory-shared")), "{left:?}");
}

#[test]
fn a_web_servers_tree_keeps_the_contract() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let address = Address::Tree(dir.path().join("www"), Some("http://web.example/os".into()));
    keeps_the_contract("tree", &|| {
        registry::open(&address, &PublishOptions::default(), &Report::silent()).unwrap()
    });
    let left: Vec<String> = std::fs::read_dir(dir.path().join("www"))
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert!(
        !left.iter().any(|name| name.contains("tree-shared") || name.starts_with('.')),
        "{left:?}"
    );
}

#[test]
fn an_oci_registry_keeps_the_contract() {
    if osimg::process::find_program("docker-registry").is_none() {
        return crate::skip("docker-registry is not installed");
    }
    let server = crate::loopback::Registry::default().start();
    let address = Address::Oci(format!("127.0.0.1:{}/os/image", server.port));
    keeps_the_contract("oci", &|| {
        registry::open(&address, &PublishOptions::default(), &Report::silent()).unwrap()
    });
}

#[test]
fn glance_keeps_the_contract() {
    let Some(servers) = Servers::shared(IMAGES) else { return };
    for cloud in ["osimg-demo", "osimg-noauth", "osimg-tls"] {
        keeps_the_contract(cloud, &|| {
            let cloud = Cloud::load_from(&servers.clouds_yaml(), cloud).unwrap();
            Box::new(Glance::log_in(cloud, &PublishOptions::default(), &Report::silent()).unwrap())
        });
    }
}
