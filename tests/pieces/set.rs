//! Small sets that can be published often: a real tarball, and boot pieces that begin like real
//! ones.

use flate2::Compression;
use flate2::write::GzEncoder;
use osimg::set::{Piece, Set};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The first bytes of a kernel, followed by unique noise.
pub fn kernel(noise: &str) -> Vec<u8> {
    let mut bytes = vec![0; 0x202];
    bytes.extend_from_slice(b"HdrS");
    bytes.extend_from_slice(noise.as_bytes());
    bytes
}

/// A gzip file of some text.
pub fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// The first bytes of a squashfs, followed by `size` incompressible bytes.
pub fn stage2(size: usize) -> Vec<u8> {
    let mut bytes = b"hsqs".to_vec();
    let mut state = 1_u32;
    bytes.extend(
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .take(size),
    );
    bytes
}

pub fn write(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    path
}

pub fn piece(directory: &Path, name: &str, bytes: &[u8]) -> Piece {
    Piece::from_file(&write(directory, name, bytes), |_, _| {}).unwrap()
}

/// A set of all five pieces; the tarball contains `content`.
pub fn set(directory: &Path, name: &str, content: &str) -> Set {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    tar.append_data(&mut header, "./etc/motd", content.as_bytes()).unwrap();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&tar.into_inner().unwrap()).unwrap();
    let tarball = write(directory, &format!("{name}.tgz"), &encoder.finish().unwrap());
    let mut set = Set::from_tarball(&tarball, |_, _| {}).unwrap();
    set.arch = Some("x86_64".into());
    set.os_distro = Some("osimg-demo".into());
    set.os_version = Some("12".into());
    set.kernel = Some(piece(directory, "vmlinuz", &kernel("one")));
    set.ramdisk = Some(piece(directory, "initrd.img", &gzip("ramdisk")));
    set.stage2 = Some(piece(directory, "install.img", &stage2(300_000)));
    set.kickstart =
        Some(piece(directory, "ks.cfg", b"liveimg --url {{ ks_options.liveimg_url }}\n"));
    set
}
