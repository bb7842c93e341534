//! Every failure is reported with its path or format, and nothing hangs.

use crate::support::{Packing, can_run, directory, inside, noise, shell};
use osimg::archive::{Capabilities, Format, Options, Output, write_tree};
use osimg::error::{ExitCode, exit_code, render};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A tree with `mebibytes` of data that does not compress.
fn noisy_tree(directory: &Path, mebibytes: usize) -> std::path::PathBuf {
    let tree = inside(directory, "tree");
    fs::write(tree.join("noise"), noise(1, mebibytes << 20, 8)).unwrap();
    tree
}

fn pack_into(tree: &Path, format: Format, sink: impl Write + Send) -> anyhow::Error {
    let outputs = vec![Output { format, sink: Box::new(sink) }];
    write_tree(tree, outputs, &Packing::default().options(&|_| (), &|| false)).unwrap_err().into()
}

#[test]
fn a_full_disk_is_reported_as_such_for_every_format() {
    let directory = directory();
    let tree = noisy_tree(directory.path(), 17);
    for format in Format::ALL {
        let error =
            pack_into(&tree, format, File::options().write(true).open("/dev/full").unwrap());
        let full = |cause: &(dyn std::error::Error + 'static)| {
            cause.downcast_ref::<io::Error>().map(io::Error::kind)
        };
        assert!(
            error.chain().any(|cause| full(cause) == Some(io::ErrorKind::StorageFull)),
            "{error:?}"
        );
        assert_eq!(exit_code(&error), ExitCode::Space);
        assert!(
            render(&error).contains(&format!("writing the {format} archive")),
            "{}",
            render(&error)
        );
    }
}

/// Accepts bytes until the disk is full; then even a flush fails.
struct Filling {
    room: usize,
}

impl Write for Filling {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.room);
        self.room -= count;
        if count == 0 { Err(io::Error::from_raw_os_error(28)) } else { Ok(count) }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.room == 0 { Err(io::Error::from_raw_os_error(28)) } else { Ok(()) }
    }
}

#[test]
fn one_failing_output_ends_all_of_them() {
    let directory = directory();
    let tree = noisy_tree(directory.path(), 20);
    for room in [0, 1, 600, 3 << 20] {
        let mut outputs: Vec<Output<'_>> =
            Format::ALL.iter().map(|f| Output { format: *f, sink: Box::new(io::sink()) }).collect();
        outputs[1].sink = Box::new(Filling { room });
        let error: anyhow::Error =
            write_tree(&tree, outputs, &Packing::default().options(&|_| (), &|| false))
                .unwrap_err()
                .into();
        assert!(render(&error).contains("writing the tgz archive"), "{}", render(&error));
    }
}

#[test]
fn a_cancelled_packing_ends_as_interrupted() {
    let directory = directory();
    let tree = noisy_tree(directory.path(), 60);
    for format in Format::ALL {
        let cancelled = AtomicBool::new(false);
        let outputs = vec![Output { format, sink: Box::new(io::sink()) }];
        let progress = |progress: osimg::archive::Progress| {
            if progress.bytes > 5 << 20 {
                cancelled.store(true, Ordering::Relaxed);
            }
        };
        let error: anyhow::Error = write_tree(
            &tree,
            outputs,
            &Packing::default().options(&progress, &|| cancelled.load(Ordering::Relaxed)),
        )
        .unwrap_err()
        .into();
        assert_eq!(exit_code(&error), ExitCode::Interrupted, "{}", render(&error));
    }
}

#[test]
fn a_file_that_grows_or_shrinks_in_the_meantime_is_named() {
    let directory = directory();
    let tree = noisy_tree(directory.path(), 8);
    let file = tree.join("noise");
    for size in [4 << 20, 9 << 20] {
        let changes = AtomicU64::new(0);
        let progress = |progress: osimg::archive::Progress| {
            if progress.bytes > 2 << 20 && changes.fetch_add(1, Ordering::Relaxed) == 0 {
                File::options().write(true).open(&file).unwrap().set_len(size).unwrap();
            }
        };
        let outputs = vec![Output { format: Format::Tar, sink: Box::new(io::sink()) }];
        let error: anyhow::Error =
            write_tree(&tree, outputs, &Packing::default().options(&progress, &|| false))
                .unwrap_err()
                .into();
        assert!(
            render(&error).contains("packing /noise: it changed in the meantime"),
            "{}",
            render(&error)
        );
    }
}

#[test]
fn a_mount_inside_the_tree_is_named() {
    if !can_run(&["unshare", "mount"]) {
        return;
    }
    let directory = directory();
    let tree = inside(directory.path(), "tree");
    inside(&tree, "proc");
    fs::write(tree.join("hosts"), "").unwrap();
    for (what, place) in [("/proc", "proc"), ("/etc/hosts", "hosts")] {
        let mounted =
            std::panic::catch_unwind(|| shell(&tree, &format!("mount --bind {what} {place}")));
        if mounted.is_err() {
            crate::support::skip("bind mounts are not possible here");
            return;
        }
        let error = std::panic::catch_unwind(|| pack_into(&tree, Format::Tar, io::sink()));
        shell(&tree, &format!("umount {place}"));
        let error = error.unwrap();
        assert!(
            render(&error).contains(&format!("packing /{place}: something is mounted there")),
            "{}",
            render(&error)
        );
        assert_eq!(exit_code(&error), ExitCode::Host);
    }
}

#[test]
fn a_capability_of_a_container_is_packed_as_it_is_unless_an_image_is_built() {
    if !can_run(&["setfattr", "tar"]) {
        return;
    }
    let directory = directory();
    let tree = inside(directory.path(), "tree");
    // Version 3, effective, CAP_NET_BIND_SERVICE; the namespace's root is uid 1000.
    shell(
        &tree,
        "touch ping; setfattr -n security.capability -v \
         0x0100000300040000000000000000000000000000e8030000 ping",
    );
    let packing = Packing::default();
    let options =
        Options { capabilities: Capabilities::OfHost, ..packing.options(&|_| (), &|| false) };
    let outputs = vec![Output { format: Format::Tar, sink: Box::new(io::sink()) }];
    let error: anyhow::Error = write_tree(&tree, outputs, &options).unwrap_err().into();
    assert!(
        render(&error).contains("packing /ping") && render(&error).contains("uid 1000"),
        "{}",
        render(&error)
    );
    // Packed as it is, where no image is built.
    let summary = packing.pack(&tree, directory.path(), "x", &[Format::Tar]);
    assert!(
        summary.warnings[0].contains("valid only in the user namespace of a container: /ping"),
        "{:?}",
        summary.warnings
    );
    let target = inside(directory.path(), "target");
    shell(&target, "tar --xattrs --xattrs-include='*' -xf ../x.tar");
    assert_eq!(
        xattr::get(target.join("ping"), "security.capability").unwrap(),
        xattr::get(tree.join("ping"), "security.capability").unwrap()
    );
}

#[test]
fn anything_but_a_directory_is_refused() {
    let directory = directory();
    fs::write(directory.path().join("file"), "").unwrap();
    for name in ["file", "missing"] {
        let error = pack_into(&directory.path().join(name), Format::Tgz, io::sink());
        assert!(render(&error).contains(name), "{}", render(&error));
    }
    let error: anyhow::Error =
        write_tree(directory.path(), Vec::new(), &Packing::default().options(&|_| (), &|| false))
            .unwrap_err()
            .into();
    assert_eq!(exit_code(&error), ExitCode::Usage);
}
