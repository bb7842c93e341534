//! The reader compared with the file system. GNU tar, bsdtar, Python and osimg pack a tree; the
//! reader must find the tree in each archive.
#![expect(clippy::disallowed_methods, reason = "tests run the independent tools that judge")]

use crate::support::{Packing, can_run, directory, hard_tree, noise, python, shell};
use osimg::archive::Format;
use osimg::archive::read::{Entry, Kind, Part, Reader};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The facts that must be equal in an archive and a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    kind: Kind,
    mode: u32,
    owner: (u64, u64),
    size: u64,
    modified: (i64, u32),
    link: Vec<u8>,
    device: Option<(u64, u64)>,
    digest: Vec<u8>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The files of an archive or a tree by name.
type Tree = BTreeMap<Vec<u8>, Facts>;

pub fn digest_of(reader: &mut Reader<'_>) -> osimg::archive::Result<Vec<u8>> {
    let mut digest = Sha256::new();
    let zeros = vec![0; 1 << 16];
    reader.content(|part| {
        match part {
            Part::Data(bytes) => digest.update(bytes),
            Part::Hole(mut count) => {
                while count > 0 {
                    let step = count.min(1 << 16);
                    digest.update(&zeros[..usize::try_from(step)?]);
                    count -= step;
                }
            }
        }
        Ok::<(), osimg::archive::Error>(())
    })?;
    Ok(digest.finalize().to_vec())
}

fn plain(name: &[u8]) -> Vec<u8> {
    let name = name.strip_prefix(b"./").unwrap_or(name);
    name.strip_suffix(b"/").unwrap_or(name).to_vec()
}

/// Everything in an archive. A hard link has the facts of its target.
pub fn facts_of_archive(mut reader: Reader<'_>) -> osimg::error::Result<(Tree, Vec<Entry>)> {
    let (mut all, mut entries) = (Tree::new(), Vec::new());
    while let Some(entry) = reader.next()? {
        let facts = if entry.kind == Kind::HardLink {
            all.get(&plain(&entry.link))
                .cloned()
                .ok_or_else(|| anyhow::anyhow!("a hard link without a target"))?
        } else {
            Facts {
                kind: entry.kind,
                mode: entry.mode,
                owner: (entry.uid, entry.gid),
                size: entry.size,
                modified: (entry.mtime.seconds, entry.mtime.nanoseconds),
                link: entry.link.clone(),
                device: entry.device,
                digest: if entry.kind == Kind::File { digest_of(&mut reader)? } else { Vec::new() },
                xattrs: entry.xattrs.clone(),
            }
        };
        all.insert(plain(&entry.path), facts);
        entries.push(entry);
    }
    anyhow::ensure!(reader.irregular().is_empty(), "{:?}", reader.irregular());
    Ok((all, entries))
}

fn walk(tree: &Path, path: &Path, all: &mut Tree) {
    let about = fs::symlink_metadata(path).unwrap();
    let kind = match about.file_type() {
        t if t.is_file() => Kind::File,
        t if t.is_dir() => Kind::Directory,
        t if t.is_symlink() => Kind::Symlink,
        t if t.is_char_device() => Kind::Character,
        t if t.is_block_device() => Kind::Block,
        t if t.is_fifo() => Kind::Fifo,
        _ => return,
    };
    let is_device = matches!(kind, Kind::Character | Kind::Block);
    let facts = Facts {
        kind,
        mode: about.mode() & 0o7777,
        owner: (about.uid().into(), about.gid().into()),
        size: if kind == Kind::File { about.len() } else { 0 },
        modified: (about.mtime(), u32::try_from(about.mtime_nsec()).unwrap()),
        link: fs::read_link(path)
            .map(|link| link.as_os_str().as_bytes().to_vec())
            .unwrap_or_default(),
        device: is_device
            .then(|| (nix::sys::stat::major(about.rdev()), nix::sys::stat::minor(about.rdev()))),
        digest: if kind == Kind::File {
            Sha256::digest(fs::read(path).unwrap()).to_vec()
        } else {
            Vec::new()
        },
        xattrs: xattr::list(path)
            .unwrap()
            .map(|name| {
                (name.as_bytes().to_vec(), xattr::get(path, &name).unwrap().unwrap_or_default())
            })
            .filter(|(name, _)| name != b"security.selinux")
            .collect(),
    };
    all.insert(plain(path.strip_prefix(tree).unwrap().as_os_str().as_bytes()), facts);
    if kind == Kind::Directory {
        let names: Vec<PathBuf> =
            fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.iter().for_each(|below| walk(tree, below, all));
    }
}

fn facts_of_tree(tree: &Path) -> Tree {
    let mut all = BTreeMap::new();
    walk(tree, tree, &mut all);
    all
}

/// The attributes that an archive format can represent.
#[derive(Clone, Copy, PartialEq)]
enum Holds {
    WholeSeconds,
    Nanoseconds,
    Xattrs,
}

#[track_caller]
fn agrees(tree: &Tree, tarball: &Path, holds: Holds) -> Vec<Entry> {
    let reader = Reader::new(fs::File::open(tarball).unwrap()).unwrap();
    let (found, entries) = facts_of_archive(reader)
        .unwrap_or_else(|e| panic!("{}: {}", tarball.display(), osimg::error::render(&e)));
    let shown = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    let reduced = |facts: &Facts| {
        let mut facts = facts.clone();
        if holds == Holds::WholeSeconds {
            facts.modified.1 = 0;
        }
        if holds == Holds::Xattrs {
            // ACLs are in separate records. The other attributes belong to the build host, and
            // osimg does not pack them.
            let elsewhere: [&[u8]; 5] = [
                b"system.",
                b"trusted.overlay.",
                b"user.overlay.",
                b"security.sehash",
                b"security.evm",
            ];
            facts.xattrs.retain(|name, _| !elsewhere.iter().any(|prefix| name.starts_with(prefix)));
        } else {
            facts.xattrs.clear();
        }
        facts
    };
    for (name, facts) in tree {
        let there = found
            .get(name)
            .unwrap_or_else(|| panic!("{} lacks {}", tarball.display(), shown(name)));
        assert_eq!(reduced(there), reduced(facts), "{}: {}", tarball.display(), shown(name));
    }
    assert_eq!(found.len(), tree.len(), "{}", tarball.display());
    entries
}

/// A tree that every writer can represent in every format.
fn common_tree(directory: &Path) -> PathBuf {
    let tree = directory.join("common");
    fs::create_dir_all(tree.join("etc/deep/er")).unwrap();
    fs::write(tree.join("etc/empty"), "").unwrap();
    fs::write(tree.join("etc/block"), noise(1, 512, 8)).unwrap();
    fs::write(tree.join("etc/more"), noise(2, 100_001, 8)).unwrap();
    let long = format!("{}/{}", "d".repeat(60), "f".repeat(90));
    fs::create_dir(tree.join("d".repeat(60))).unwrap();
    fs::write(tree.join(long), "long").unwrap();
    shell(
        &tree,
        "ln -s ../etc/more etc/deep/symlink; ln etc/more etc/zlink; mkfifo -m 600 pipe; mknod \
         null c 1 3; mknod disk b 8 17; chown 1000:2000 etc/block; chmod 4755 etc/more; chmod \
         1777 etc/deep; chmod 0 etc/empty; find . -exec touch -h -d @1700000000 {} +",
    );
    tree
}

#[test]
fn archives_of_every_writer_and_format_are_read_as_the_tree_is() {
    if !can_run(&["tar", "bsdtar", "python3"]) {
        return;
    }
    let directory = directory();
    let tree = common_tree(directory.path());
    let facts = facts_of_tree(&tree);
    for format in ["ustar", "gnu", "oldgnu", "posix"] {
        shell(directory.path(), &format!("tar --format={format} -cf {format}.tar -C common ."));
        agrees(&facts, &directory.path().join(format!("{format}.tar")), Holds::WholeSeconds);
    }
    for format in ["ustar", "pax", "gnutar"] {
        shell(
            directory.path(),
            &format!("bsdtar --format {format} -cf bsd-{format}.tar -C common ."),
        );
        agrees(&facts, &directory.path().join(format!("bsd-{format}.tar")), Holds::WholeSeconds);
    }
    let program = "import sys, tarfile
for name in 'USTAR', 'GNU', 'PAX':
    with tarfile.open('python-' + name + '.tar.xz', 'w:xz', format=getattr(tarfile, name + \
                   '_FORMAT')) as archive: archive.add('common', '.')";
    fs::write(directory.path().join("write.py"), program).unwrap();
    shell(directory.path(), "python3 write.py");
    for format in ["USTAR", "GNU", "PAX"] {
        agrees(
            &facts,
            &directory.path().join(format!("python-{format}.tar.xz")),
            Holds::WholeSeconds,
        );
    }
    shell(
        directory.path(),
        "tar -cf - -C common . | gzip > x.gz; tar -cf - -C common . | bzip2 > x.bz2; tar -cf - -C \
         common . | xz > x.xz",
    );
    for name in ["x.gz", "x.bz2", "x.xz"] {
        agrees(&facts, &directory.path().join(name), Holds::WholeSeconds);
    }
}

#[test]
fn every_form_of_sparse_files_is_read_with_its_holes() {
    if !can_run(&["tar", "bsdtar", "python3"]) {
        return;
    }
    let directory = directory();
    let tree = directory.path().join("sparse");
    fs::create_dir(&tree).unwrap();
    // So many data segments that the old format needs extra blocks for them; a hole at the end;
    // only a hole; and a long name.
    let program = "import sys
def write(name, size, step):
    with open(name, 'wb') as f:
        f.truncate(size)
        for at in range(0, size - 5000 if step else 0, step or 1):
            f.seek(at); f.write(b'%09d' % at * 100)
write('sparse/many', 8 << 20, 128 << 10)
write('sparse/few', 1 << 20, 512 << 10)
write('sparse/hole', 3 << 20, 0)
write('sparse/' + 'n' * 150, 1 << 20, 300 << 10)
write('sparse/long', 40 << 20, 20 << 20)";
    fs::write(directory.path().join("write.py"), program).unwrap();
    shell(directory.path(), "python3 write.py; find sparse -exec touch -h -d @1700000000 {} +");
    let facts = facts_of_tree(&tree);
    let mut lines = vec![
        "tar --format=gnu -S -cf gnu.tar -C sparse .".to_owned(),
        "bsdtar --format pax -cf bsd.tar -C sparse .".into(),
    ];
    for version in ["0.0", "0.1", "1.0"] {
        lines.push(format!(
            "tar --format=posix -S --sparse-version={version} -cf posix-{version}.tar -C sparse ."
        ));
    }
    for line in lines {
        shell(directory.path(), &line);
        let name = line.split(' ').find(|word| word.ends_with(".tar")).unwrap();
        let entries = agrees(&facts, &directory.path().join(name), Holds::WholeSeconds);
        assert_eq!(entries.iter().filter(|entry| entry.sparse.is_some()).count(), 5, "{name}");
        let many = entries.iter().find(|entry| entry.path == b"./many").unwrap();
        assert!(many.sparse.as_ref().unwrap().len() > 30, "{name}");
        assert!(fs::metadata(directory.path().join(name)).unwrap().len() < 2 << 20, "{name}");
    }
    Packing::default().pack(&tree, directory.path(), "own", &[Format::Tar]);
    let entries = agrees(&facts, &directory.path().join("own.tar"), Holds::Nanoseconds);
    // Only holes of 16 MiB and more.
    let sparse: Vec<&[u8]> = entries
        .iter()
        .filter(|entry| entry.sparse.is_some())
        .map(|entry| entry.path.as_slice())
        .collect();
    assert_eq!(sparse, [b"./long"]);
}

#[test]
fn the_hard_cases_are_read_as_they_are_on_disk() {
    if !can_run(&["tar", "python3", "setfacl"]) {
        return;
    }
    let directory = directory();
    let tree = hard_tree(directory.path(), &["--no-big"]);
    let facts = facts_of_tree(&tree);
    Packing::default().pack(&tree, directory.path(), "own", &Format::ALL);
    for format in Format::ALL {
        let entries =
            agrees(&facts, &directory.path().join(format!("own.{format}")), Holds::Xattrs);
        assert!(
            entries.iter().any(|entry| entry.acl.is_some())
                && entries.iter().any(|entry| entry.default_acl.is_some())
        );
        assert!(entries.iter().any(|entry| entry.kind == Kind::HardLink && entry.size == 0));
    }
    shell(directory.path(), "tar --xattrs --acls --selinux --format=posix -cf gnu.tar -C hard .");
    agrees(&facts, &directory.path().join("gnu.tar"), Holds::Xattrs);
}

#[test]
fn labels_are_read_from_either_record() {
    if !can_run(&["python3"]) {
        return;
    }
    let directory = directory();
    let label = "system_u:object_r:etc_t:s0";
    for record in ["RHT.security.selinux", "SCHILY.xattr.security.selinux"] {
        let path = directory.path().join(format!("{record}.tar"));
        let program = format!(
            "import sys, tarfile; m = tarfile.TarInfo('./file'); m.pax_headers = {{'{record}': \
             '{label}'}}; t = tarfile.open(sys.argv[1], 'w', format=tarfile.PAX_FORMAT); \
             t.addfile(m); t.close()"
        );
        python(&program, &[&path]);
        let (_, entries) =
            facts_of_archive(Reader::new(fs::File::open(&path).unwrap()).unwrap()).unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].label.as_deref(), Some(label.as_bytes()), "{record}");
        assert!(!entries[0].xattrs.contains_key(b"security.selinux".as_slice()), "{record}");
    }
}

/// The magic bytes of other formats are valid file names.
#[test]
fn an_archive_may_begin_with_a_name_that_looks_like_another_format() {
    if !can_run(&["tar"]) {
        return;
    }
    let directory = directory();
    let names = [
        b"\x1F\x8B\x08".as_slice(),
        b"BZh91AY",
        b"\xFD7zXZ",
        b"(\xB5/\xFD",
        b"hsqs",
        b"PK\x03\x04",
        b"\x7FELF",
        b"QFI\xFB",
    ];
    for (number, name) in names.into_iter().enumerate() {
        let root = directory.path().join(number.to_string());
        let file = root.join(std::ffi::OsStr::from_bytes(name));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "content\n").unwrap();
        for format in ["v7", "oldgnu", "gnu", "ustar", "posix"] {
            let tarball = directory.path().join(format!("{number}.{format}.tar"));
            let mut tar = std::process::Command::new("tar");
            tar.arg(format!("--format={format}")).arg("-cf").arg(&tarball).arg("-C").arg(&root);
            crate::support::run(tar.arg(std::ffi::OsStr::from_bytes(name)));
            let reader = Reader::new(fs::File::open(&tarball).unwrap()).unwrap();
            assert_eq!(reader.format(), Format::Tar, "{name:?} {format}");
            let (_, entries) = facts_of_archive(reader).unwrap();
            assert_eq!(entries[0].path, name, "{format}");
        }
    }
}

/// A header holds the first 100 bytes of a long name, wherever they end.
#[test]
fn long_names_of_sparse_files_may_be_cut_anywhere() {
    if !can_run(&["tar", "bsdtar"]) {
        return;
    }
    let directory = directory();
    let tree = directory.path().join("sparse");
    for length in 78..=99 {
        let parent = tree.join("d".repeat(length));
        fs::create_dir_all(&parent).unwrap();
        let file = fs::File::create(parent.join("n".repeat(120))).unwrap();
        file.set_len(32 << 20).unwrap();
        std::os::unix::fs::FileExt::write_at(&file, b"data", 16 << 20).unwrap();
    }
    shell(directory.path(), "find sparse -exec touch -h -d @1700000000 {} +");
    let facts = facts_of_tree(&tree);
    Packing::default().pack(&tree, directory.path(), "own", &[Format::Tar]);
    let entries = agrees(&facts, &directory.path().join("own.tar"), Holds::Nanoseconds);
    assert_eq!(entries.iter().filter(|entry| entry.sparse.is_some()).count(), 22);
    for reader in ["tar", "bsdtar"] {
        let unpacked = format!("mkdir {reader}; {reader} -xf own.tar -C {reader}");
        shell(directory.path(), &format!("{unpacked}; diff -r sparse {reader}"));
    }
    shell(directory.path(), "tar --format=posix -S -cf gnu.tar -C sparse .");
    agrees(&facts, &directory.path().join("gnu.tar"), Holds::WholeSeconds);
}
