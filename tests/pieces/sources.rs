//! Boot pieces from files, directories, ISO images and web servers: the correct bytes, verified, of
//! the image's own release, or an error with the reason.

use osimg::error::{ExitCode, Result, exit_code, render};
use osimg::installer::ImageRelease;
use osimg::installer::pieces::{BootPieces, Gathering, Mismatch, Source};
use osimg::installer::treeinfo::{Checksum, Release, TreeInfo, TreePath};
use osimg::report::Report;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::servers::{certificate, nginx, odd, output, python, sha256sum};
use crate::set::{gzip, kernel, stage2, write};
use crate::{directory, have};

fn image() -> ImageRelease {
    ImageRelease {
        id: Some("osimg-demo".into()),
        version: Some("12".into()),
        arch: Some("x86_64".into()),
    }
}

/// An install tree of the demo distribution, with digests by `sha256sum`.
fn tree(top: &Path) -> TreeInfo {
    write(top, "images/pxeboot/vmlinuz", &kernel("one"));
    write(top, "images/pxeboot/initrd.img", &gzip("ramdisk"));
    write(top, "images/install.img", &stage2(700_000));
    let path = |text: &str| TreePath::parse(text).unwrap();
    let (k, r, s) = (
        path("images/pxeboot/vmlinuz"),
        path("images/pxeboot/initrd.img"),
        path("images/install.img"),
    );
    let info = TreeInfo {
        release: Release {
            name: "osimg demo distribution".into(),
            short: Some("osimg-demo".into()),
            version: "12".into(),
        },
        arch: "x86_64".into(),
        timestamp: Some(1_700_000_000),
        checksums: [&k, &r, &s]
            .map(|p| (p.to_string(), Checksum::Sha256(sha256sum(&top.join(p.as_str())))))
            .into(),
        images: BTreeMap::from([(
            "x86_64".into(),
            BTreeMap::from([("kernel".into(), k), ("initrd".into(), r)]),
        )]),
        stage2: Some(s),
        variants: Vec::new(),
    };
    std::fs::write(top.join(".treeinfo"), info.render()).unwrap();
    info
}

fn gather_for(
    place: &str,
    image: &ImageRelease,
    cache: &Path,
    mismatch: Mismatch,
    ca: Option<&Path>,
) -> (Result<BootPieces>, Vec<String>) {
    let report = Report::silent();
    let source = Source::choose(None, None, None, Some(place)).unwrap().unwrap();
    let pieces =
        source.gather(image, &Gathering { cache, ca, mismatch, allow: &BTreeSet::new() }, &report);
    (pieces, report.warnings())
}

fn gather(place: &str, cache: &Path) -> Result<BootPieces> {
    gather_for(place, &image(), cache, Mismatch::Refuse, None).0
}

/// Checks that the pieces are byte for byte those of the tree.
fn same(pieces: &BootPieces, top: &Path) {
    for (piece, path) in [
        (&pieces.kernel, "images/pxeboot/vmlinuz"),
        (&pieces.ramdisk, "images/pxeboot/initrd.img"),
        (pieces.stage2.as_ref().unwrap(), "images/install.img"),
    ] {
        assert_eq!(
            std::fs::read(&piece.path).unwrap(),
            std::fs::read(top.join(path)).unwrap(),
            "{path}"
        );
        assert_eq!(piece.sha256, sha256sum(&top.join(path)));
    }
}

fn refusal(result: Result<BootPieces>, code: ExitCode) -> String {
    let error = result.unwrap_err();
    assert_eq!(exit_code(&error), code, "{}", render(&error));
    render(&error)
}

#[test]
fn pieces_in_a_directory_are_used_where_they_are() {
    let (top, cache) = (directory(), directory());
    tree(top.path());
    let pieces = gather(&top.path().display().to_string(), cache.path()).unwrap();
    same(&pieces, top.path());
    assert_eq!(pieces.kernel.path, top.path().join("images/pxeboot/vmlinuz"));
    assert_eq!(pieces.release.unwrap().to_string(), "osimg demo distribution 12");
}

#[test]
fn iso_images_with_both_kinds_of_names_give_the_files_put_into_them() {
    if !have(&["xorriso", "genisoimage", "bsdtar"]) {
        return;
    }
    let (top, out) = (directory(), directory());
    tree(top.path());
    // So many files that a directory of the ISO image needs more than one sector.
    for number in 0..200 {
        write(
            top.path(),
            &format!("Packages/a-package-with-a-long-name-{number}.x86_64.rpm"),
            b"x",
        );
    }
    let rock_ridge = out.path().join("rr.iso");
    output(
        Command::new("xorriso")
            .args(["-as", "mkisofs", "-quiet", "-R", "-V", "T", "-o"])
            .arg(&rock_ridge)
            .arg(top.path()),
    );
    let joliet = out.path().join("joliet.iso");
    output(
        Command::new("genisoimage")
            .args(["-quiet", "-J", "-V", "T", "-o"])
            .arg(&joliet)
            .arg(top.path()),
    );
    for image in [&rock_ridge, &joliet] {
        let cache = directory();
        let pieces = gather(&image.display().to_string(), cache.path()).unwrap();
        same(&pieces, top.path());
        assert!(pieces.kernel.path.starts_with(cache.path()));
        let judged = Command::new("bsdtar")
            .arg("-xOf")
            .arg(image)
            .arg("images/install.img")
            .output()
            .unwrap()
            .stdout;
        assert_eq!(judged, std::fs::read(&pieces.stage2.unwrap().path).unwrap());
    }
    // Truncated after its directories.
    let whole = std::fs::read(&rock_ridge).unwrap();
    std::fs::write(out.path().join("cut.iso"), &whole[..whole.len() / 2]).unwrap();
    let text = refusal(
        gather(&out.path().join("cut.iso").display().to_string(), directory().path()),
        ExitCode::Space,
    );
    assert!(text.contains("cut off"), "{text}");
    let text = refusal(
        gather(&top.path().join(".treeinfo").display().to_string(), directory().path()),
        ExitCode::Usage,
    );
    assert!(text.contains("neither a directory nor an ISO image"), "{text}");
}

#[test]
fn a_small_boot_image_is_recognized_by_its_discinfo() {
    let (top, cache) = (directory(), directory());
    tree(top.path());
    std::fs::remove_file(top.path().join(".treeinfo")).unwrap();
    std::fs::rename(top.path().join("images/install.img"), top.path().join("x")).unwrap();
    write(top.path(), "LiveOS/squashfs.img", &std::fs::read(top.path().join("x")).unwrap());
    write(top.path(), ".discinfo", b"1700000000.123\nosimg-demo 12\nx86_64\n");
    let place = top.path().display().to_string();
    let (pieces, warnings) = gather_for(&place, &image(), cache.path(), Mismatch::Refuse, None);
    let pieces = pieces.unwrap();
    assert!(pieces.stage2.unwrap().path.ends_with("LiveOS/squashfs.img"));
    assert_eq!(pieces.release.unwrap().version, "12");
    assert_eq!(warnings.len(), 3, "they have no known checksums: {warnings:?}");
}

#[test]
fn a_file_that_the_cache_can_keep_is_downloaded_once() {
    if !have(&["nginx"]) {
        return;
    }
    let (top, cache) = (directory(), directory());
    tree(top.path());
    let log = top.path().join("log");
    let server = nginx(top.path(), &format!("access_log {};", log.display()));
    let url = format!("http://127.0.0.1:{}/", server.port);
    same(&gather(&url, cache.path()).unwrap(), top.path());
    same(&gather(&format!("{url}.treeinfo"), cache.path()).unwrap(), top.path());
    let asked = std::fs::read_to_string(&log).unwrap();
    assert_eq!(asked.matches("install.img").count(), 1, "{asked}");
    assert_eq!(asked.matches(".treeinfo").count(), 2, "{asked}");
    // Damaged in the cache: downloaded again.
    let kept = gather(&url, cache.path()).unwrap().kernel.path;
    std::fs::write(&kept, "rot").unwrap();
    same(&gather(&url, cache.path()).unwrap(), top.path());
}

#[test]
fn a_private_authority_is_trusted_when_it_is_named() {
    if !have(&["nginx", "openssl"]) {
        return;
    }
    let (top, keys) = (directory(), directory());
    tree(top.path());
    certificate(keys.path());
    let keys = keys.path().display();
    let server = nginx(
        top.path(),
        &format!("ssl_certificate {keys}/server.crt; ssl_certificate_key {keys}/server.key;"),
    );
    let url = format!("https://127.0.0.1:{}/", server.port);
    let ca = PathBuf::from(format!("{keys}/ca.crt"));
    same(
        &gather_for(&url, &image(), directory().path(), Mismatch::Refuse, Some(&ca)).0.unwrap(),
        top.path(),
    );
    let text = refusal(gather(&url, directory().path()), ExitCode::Trust);
    assert!(text.contains("not trusted") && text.contains("hint"), "{text}");
    let plain = url.replace("https", "http");
    let text = refusal(
        gather_for(&plain, &image(), directory().path(), Mismatch::Refuse, Some(&ca)).0,
        ExitCode::Repository,
    );
    assert!(text.contains("400"), "{text}");
}

#[test]
fn pieces_that_differ_from_their_description_are_refused() {
    if !have(&["python3"]) {
        return;
    }
    let (top, cache) = (directory(), directory());
    tree(top.path());
    let server = python(top.path());
    let url = format!("http://127.0.0.1:{}", server.port);
    write(top.path(), "images/install.img", &stage2(700_001));
    for place in [url.clone(), top.path().display().to_string()] {
        let text = refusal(gather(&place, cache.path()), ExitCode::Trust);
        assert!(text.contains("install.img") && text.contains("the .treeinfo promises"), "{text}");
    }
    assert!(
        std::fs::read_dir(cache.path().join("pieces")).unwrap().count() == 0,
        "the stage2 comes first, and no part of it is kept"
    );
    std::fs::remove_file(top.path().join("images/install.img")).unwrap();
    let text = refusal(gather(&url, cache.path()), ExitCode::Repository);
    assert!(text.contains("images/install.img") && text.contains("not there"), "{text}");
    std::fs::remove_file(top.path().join(".treeinfo")).unwrap();
    let text = refusal(gather(&url, cache.path()), ExitCode::Repository);
    assert!(text.contains("name the tree's top"), "{text}");
}

#[test]
fn another_distribution_release_or_machine_is_refused_unless_it_is_allowed() {
    let (top, cache) = (directory(), directory());
    tree(top.path());
    let place = top.path().display().to_string();
    let with = |id: &str, version: &str, arch: &str| ImageRelease {
        id: Some(id.into()),
        version: Some(version.into()),
        arch: Some(arch.into()),
    };
    for other in [with("rocky", "12", "x86_64"), with("osimg-demo", "13", "x86_64")] {
        let text = refusal(
            gather_for(&place, &other, cache.path(), Mismatch::Refuse, None).0,
            ExitCode::Recipe,
        );
        assert!(
            text.contains("osimg demo distribution 12's, the image is")
                && text.contains("--allow-release-mismatch"),
            "{text}"
        );
        let (pieces, warnings) = gather_for(&place, &other, cache.path(), Mismatch::Allow, None);
        pieces.unwrap();
        assert!(warnings.iter().any(|w| w.contains("allowed, as asked")), "{warnings:?}");
    }
    let text = refusal(
        gather_for(
            &place,
            &with("osimg-demo", "12", "aarch64"),
            cache.path(),
            Mismatch::Allow,
            None,
        )
        .0,
        ExitCode::Recipe,
    );
    assert!(text.contains("it is for x86_64, the image for aarch64"), "{text}");
}

#[test]
fn a_treeinfo_with_paths_outside_its_tree_opens_nothing() {
    let (top, cache) = (directory(), directory());
    tree(top.path());
    let text = std::fs::read_to_string(top.path().join(".treeinfo")).unwrap();
    for trick in [
        "../../../etc/shadow",
        "/etc/shadow",
        "file:///etc/shadow",
        "images//x",
        "images/%2e%2e/x",
        "images/\u{7}x",
    ] {
        let altered = text.replace("kernel = images/pxeboot/vmlinuz", &format!("kernel = {trick}"));
        assert_ne!(altered, text);
        std::fs::write(top.path().join(".treeinfo"), altered).unwrap();
        let refusal =
            refusal(gather(&top.path().display().to_string(), cache.path()), ExitCode::Repository);
        assert!(refusal.contains(".treeinfo:") && !refusal.contains('\u{7}'), "{refusal:?}");
    }
}

#[test]
fn single_files_given_in_the_wrong_order_are_reported() {
    let (top, cache) = (directory(), directory());
    tree(top.path());
    let path = |name: &str| top.path().join(name).display().to_string();
    let (k, r, s) = (
        path("images/pxeboot/vmlinuz"),
        path("images/pxeboot/initrd.img"),
        path("images/install.img"),
    );
    let gather = |k: &str, r: &str, s: &str| {
        let source = Source::choose(Some(k), Some(r), Some(s), None).unwrap().unwrap();
        source.gather(
            &image(),
            &Gathering {
                cache: cache.path(),
                ca: None,
                mismatch: Mismatch::Refuse,
                allow: &BTreeSet::new(),
            },
            &Report::silent(),
        )
    };
    same(&gather(&k, &r, &s).unwrap(), top.path());
    for (a, b, c) in [(&r, &k, &s), (&k, &s, &r), (&s, &r, &k), (&r, &s, &k)] {
        let text = refusal(gather(a, b, c), ExitCode::Usage);
        assert!(text.contains("in the right order?"), "{text}");
    }
    assert!(Source::choose(Some(&k), None, None, None).is_err());
    assert!(Source::choose(Some(&k), Some(&r), None, Some("tree")).is_err());
    assert!(Source::choose(None, None, None, None).unwrap().is_none());
}

/// Responses of a server that fails until its third response.
#[test]
fn temporary_errors_of_a_server_are_retried_and_others_are_reported() {
    let body = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\n0123456789";
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    let port = odd(move |_, _, stream| {
        let _ = match seen.fetch_add(1, Ordering::SeqCst) {
            0 => stream
                .write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
            1 => stream.write_all(&body[..body.len() - 4]),
            2 => Ok(()),
            _ => stream.write_all(body),
        };
    });
    let fetch = |port: u16| {
        let (cache, other) = (directory(), directory());
        let (ramdisk, stage2) =
            (write(other.path(), "r", &gzip("r")), write(other.path(), "s", &stage2(9)));
        let url = format!("http://127.0.0.1:{port}/vmlinuz");
        let source = Source::choose(
            Some(&url),
            Some(ramdisk.to_str().unwrap()),
            Some(stage2.to_str().unwrap()),
            None,
        )
        .unwrap()
        .unwrap();
        let pieces = source.gather(
            &image(),
            &Gathering {
                cache: cache.path(),
                ca: None,
                mismatch: Mismatch::Refuse,
                allow: &BTreeSet::from(["unrecognised-kernel".to_owned()]),
            },
            &Report::silent(),
        );
        let left: Vec<_> = std::fs::read_dir(cache.path().join("pieces")).unwrap().collect();
        (pieces.map(|p| std::fs::read_to_string(p.kernel.path).unwrap()), left.len())
    };
    assert_eq!(fetch(port).0.unwrap(), "0123456789");
    assert_eq!(count.load(Ordering::SeqCst), 4);

    for (answer, why) in [
        // Used as a path on the same server, never as a file of this machine.
        (
            "HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: \
             0\r\nConnection: close\r\n\r\n",
            "in a loop",
        ),
        (
            "HTTP/1.1 302 Found\r\nLocation: file://localhost/etc/passwd\r\nContent-Length: \
             0\r\nConnection: close\r\n\r\n",
            "not a web address",
        ),
        (
            "HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\nConnection: \
             close\r\n\r\n",
            "in a loop",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "longer than"),
        (
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
            "Content-Encoding",
        ),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "403"),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "there is none"),
    ] {
        let port = odd(move |_, _, stream| drop(stream.write_all(answer.as_bytes())));
        let (result, left) = fetch(port);
        let error = result.unwrap_err();
        assert_eq!(exit_code(&error), ExitCode::Repository);
        println!("{}", render(&error));
        assert!(render(&error).contains(why), "{answer:?}: {}", render(&error));
        assert_eq!(left, 0, "no partial file is kept");
    }
}
