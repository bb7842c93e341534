//! Limits on the data that a repository can write into the package cache. A hostile or broken
//! server cannot fill its file system.
//!
//! There are two limits. The driver sets a limit on the size of each file, which the kernel
//! enforces. While the driver runs, [`Watch`] compares the cache with the announced sizes, and
//! stops the phase.

use anyhow::Context;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::Job;
use super::cache::{PACKAGES, downloaded, entries, repository};
use super::events::PlannedPackage;
use crate::error::{ExitCode, Failure, Result};
use crate::private::Space;
use crate::report::bytes;

/// An index lists a dozen files in a few KiB; lists of mirrors have a few hundred KiB.
const INDEX: u64 = 16 << 20;
/// The largest known metadata are file lists of whole distributions, with a few hundred MiB.
const METADATA: u64 = 2 << 30;
/// Unpacked group lists, which dnf 4 writes into a directory of that name; known ones have less
/// than 20 MiB.
const GROUPS: u64 = 256 << 20;
const GROUPS_DIRECTORY: &str = "gen";
/// rpm 4 cannot build a larger package without large-file tags, and no known package has half this
/// size.
const PACKAGE: u64 = 16 << 30;
/// The limit on unpacked metadata; known ones have less than 2 GiB.
const UNPACKED: u64 = 4 << 30;
/// The driver's memory limit; with all file lists of a large distribution dnf needs less than 2
/// GiB.
const MEMORY: u64 = 8 << 30;
/// A fast disk writes a few hundred MiB between two checks.
const INTERVAL: Duration = Duration::from_millis(100);
/// Metadata files up to this size are not compared with their announced size.
const SMALL: u64 = 1 << 20;

/// The cause of a failure by one of these limits. Another attempt would fail too.
#[derive(Debug)]
pub(super) struct LimitExceeded;

impl fmt::Display for LimitExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the download was stopped")
    }
}

impl std::error::Error for LimitExceeded {}

/// The limits that the driver sets for itself, for its request.
pub(super) fn request(job: &Job<'_>) -> Value {
    let room = space(job).map_or(PACKAGE, |space| space.free.saturating_sub(space.reserve));
    json!({ "file": PACKAGE.min(room), "index": INDEX, "memory": MEMORY })
}

fn space(job: &Job<'_>) -> Result<Space> {
    Space::read(job.cache.directory())
        .with_context(|| format!("reading the free space of {}", job.cache.path().display()))
}

/// A file in the cache that a phase writes.
#[derive(Debug, Clone)]
struct WatchedFile {
    path: PathBuf,
    repository: String,
    size: u64,
    limit: u64,
}

/// Watches the cache during a download.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    job: &'a Job<'a>,
    began: SystemTime,
    space: Space,
    next: Instant,
    /// Packages to be downloaded, with their repositories and sizes.
    expected: BTreeMap<PathBuf, (String, u64)>,
    /// How many of the announced packages are in `expected`.
    announced: usize,
    /// A file that was too large at the last check. It may have been replaced during that check.
    suspect: Option<PathBuf>,
}

impl<'a> Watch<'a> {
    /// Starts to watch, before the driver starts. `detail` belongs to its request and has the files
    /// that a lock lists.
    pub(super) fn new(job: &'a Job<'a>, detail: &Value) -> Result<Self> {
        let space = space(job)?;
        let (began, next) = (SystemTime::now(), Instant::now());
        let mut watch = Self {
            job,
            began,
            space,
            next,
            expected: BTreeMap::new(),
            announced: 0,
            suspect: None,
        };
        for file in detail["files"].as_array().into_iter().flatten() {
            if let (Some(path), Some(repository), Some(size)) =
                (file["path"].as_str(), file["repository"].as_str(), file["size"].as_u64())
            {
                watch.expect(path, repository, size);
            }
        }
        Ok(watch)
    }

    fn expect(&mut self, path: &str, repository: &str, size: u64) {
        if let Some(below) = downloaded(Path::new(path)) {
            self.expected.insert(
                self.job.cache.downloads().join(below),
                (repository.to_owned(), size.min(PACKAGE)),
            );
        }
    }

    /// Compares sizes and free space with the limits; `planned` are the packages that the driver
    /// has announced so far. Does nothing if the last check was very recent.
    ///
    /// # Errors
    /// [`ExitCode::Repository`] if a file is too large, [`ExitCode::Space`] if there is not enough
    /// free space. Both name the repository, and the file is removed.
    pub(super) fn check(&mut self, planned: &[PlannedPackage]) -> Result<()> {
        if Instant::now() < self.next {
            return Ok(());
        }
        self.next = Instant::now() + INTERVAL;
        for package in planned.get(self.announced..).unwrap_or_default() {
            if let Some(path) = &package.path {
                self.expect(path, &package.repo, package.size);
            }
        }
        self.announced = planned.len();
        let files = self.files();
        let over = files.iter().find(|file| file.size > file.limit);
        if let Some(file) = over.filter(|file| self.suspect.as_ref() == Some(&file.path)) {
            return Err(self.too_large(file));
        }
        self.suspect = over.map(|file| file.path.clone());
        let free = space(self.job)?.free;
        if free >= self.space.reserve {
            return Ok(());
        }
        let recent =
            files.iter().filter(|file| modified(&file.path).is_some_and(|time| time >= self.began));
        Err(self.too_full(free, recent.max_by_key(|file| file.size)))
    }

    /// All files in the cache that may have grown: metadata of all repositories, and the packages
    /// to be downloaded.
    fn files(&self) -> Vec<WatchedFile> {
        let mut files = Vec::new();
        for (path, (repository, limit)) in &self.expected {
            if let Ok(meta) = path.symlink_metadata() {
                files.push(WatchedFile {
                    path: path.clone(),
                    repository: repository.clone(),
                    size: meta.len(),
                    limit: *limit,
                });
            }
        }
        for Metadata { path, repository, size } in metadata(self.job.cache.downloads()) {
            let limit = limit(&path, size, |index| self.job.cache.open_download(index));
            files.push(WatchedFile { path, repository, size, limit });
        }
        files
    }

    fn too_large(&self, file: &WatchedFile) -> anyhow::Error {
        self.job.cache.discard_download(&file.path);
        let name = file.path.file_name().unwrap_or_default().to_string_lossy();
        let message = match self.expected.contains_key(&file.path) {
            true => {
                format!("{name} is larger than the {} announced in the metadata", bytes(file.limit))
            }
            false => format!("{name} is larger than the limit of {}", bytes(file.limit)),
        };
        Failure::new(
            ExitCode::Repository,
            format!("downloading from the repository '{}': {message}", file.repository),
        )
        .because(LimitExceeded)
        .hint("the server is broken or hostile: use another mirror")
        .into()
    }

    fn too_full(&self, free: u64, largest: Option<&WatchedFile>) -> anyhow::Error {
        let from = largest
            .map_or_else(String::new, |file| format!(" from the repository '{}'", file.repository));
        let name = largest
            .and_then(|file| file.path.file_name())
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let last = largest.map_or_else(String::new, |file| {
            format!("; the largest new file is {name}, {}", bytes(file.size))
        });
        if let Some(file) = largest
            .filter(|file| self.expected.get(&file.path).is_none_or(|(_, size)| *size != file.size))
        {
            self.job.cache.discard_download(&file.path);
        }
        let directory = self.job.cache.path().display();
        Failure::new(
            ExitCode::Space,
            format!(
                "downloading{from}: the package cache {directory} has only {} free{last}",
                bytes(free)
            ),
        )
        .because(LimitExceeded)
        .hint("use a directory with more space: --cache DIR")
        .into()
    }
}

/// Explains a crash of the driver, if a repository's metadata unpack to an excessive size.
pub(super) fn explain(job: &Job<'_>, error: anyhow::Error) -> anyhow::Error {
    let bomb = metadata(job.cache.downloads())
        .into_iter()
        .find(|file| unpacks_to_more(&file.path, UNPACKED));
    let Some(Metadata { path, repository, .. }) = bomb else { return error };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let message = format!(
        "reading the metadata of the repository '{repository}': {name} unpacks to more than {}",
        bytes(UNPACKED)
    );
    job.cache.discard_download(&path);
    Failure::new(ExitCode::Repository, message)
        .because(LimitExceeded)
        .hint("the server is broken or hostile: use another mirror")
        .into()
}

/// A metadata file of the cache.
#[derive(Debug)]
struct Metadata {
    path: PathBuf,
    repository: String,
    size: u64,
}

/// All files of a repository except packages. Files that disappear in the meantime are skipped.
fn metadata(directory: &Path) -> Vec<Metadata> {
    let mut found = Vec::new();
    for entry in entries(directory).unwrap_or_default() {
        let name = entry.file_name();
        let Some(id) = repository(&name) else { continue };
        let walk = walkdir::WalkDir::new(entry.path())
            .into_iter()
            .filter_entry(|entry| entry.file_name() != PACKAGES);
        for file in
            walk.filter_map(std::result::Result::ok).filter(|entry| entry.file_type().is_file())
        {
            let Ok(meta) = file.metadata() else { continue };
            found.push(Metadata {
                path: file.into_path(),
                repository: id.to_owned(),
                size: meta.len(),
            });
        }
    }
    found
}

/// The limit on the size of a metadata file.
fn limit(path: &Path, size: u64, open: impl FnOnce(&Path) -> Option<fs::File>) -> u64 {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if ["repomd.xml", "metalink", "mirrorlist"].iter().any(|start| name.starts_with(start)) {
        return INDEX;
    }
    if path.parent().and_then(Path::file_name).is_some_and(|parent| parent == GROUPS_DIRECTORY) {
        return GROUPS;
    }
    if size <= SMALL {
        return METADATA;
    }
    let announced = open(&path.with_file_name("repomd.xml"))
        .and_then(|index| announced(index, &name))
        .unwrap_or(METADATA);
    announced.clamp(SMALL, METADATA)
}

/// The size that an index announces for a file.
fn announced(index: fs::File, name: &str) -> Option<u64> {
    let mut text = String::new();
    index.take(INDEX).read_to_string(&mut text).ok()?;
    let entry = text.split("<data ").find(|entry| entry.contains(&format!("/{name}\"")))?;
    entry.split_once("<size>")?.1.split_once('<')?.0.trim().parse().ok()
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.symlink_metadata().ok()?.modified().ok()
}

/// Whether a compressed file has more than `limit` bytes when unpacked.
fn unpacks_to_more(path: &Path, limit: u64) -> bool {
    let Ok(file) = crate::files::open(path) else { return false };
    let file = std::io::BufReader::new(file);
    let mut unpacked: Box<dyn Read> = match path.extension().and_then(|end| end.to_str()) {
        Some("gz") => Box::new(flate2::read::MultiGzDecoder::new(file)),
        Some("xz") => Box::new(liblzma::read::XzDecoder::new_multi_decoder(file)),
        Some("bz2") => Box::new(bzip2::read::MultiBzDecoder::new(file)),
        Some("zst") => match zstd::Decoder::new(file) {
            Ok(decoder) => Box::new(decoder),
            Err(_) => return false,
        },
        _ => return false,
    };
    // A file that is damaged after so many bytes also counts.
    let mut unpacked = unpacked.by_ref().take(limit + 1);
    let mut buffer = vec![0; 1 << 20];
    loop {
        match unpacked.read(&mut buffer) {
            Ok(0) | Err(_) => return unpacked.limit() == 0,
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn metadata_may_have_the_announced_size_and_an_index_its_own_limit() {
        let directory = tempfile::tempdir().unwrap();
        let index = "<data type=\"primary\">\n<location \
                     href=\"repodata/1-primary.xml.gz\"/>\n<size>3000000</size></data>\n<data \
                     type=\"other\"><location \
                     href=\"repodata/2-other.xml.gz\"/><size>9999999999999</size></data>";
        fs::write(directory.path().join("repomd.xml"), index).unwrap();
        let at = |name: &str| {
            limit(&directory.path().join(name), SMALL + 1, |index| fs::File::open(index).ok())
        };
        assert_eq!(at("1-primary.xml.gz"), 3_000_000);
        assert_eq!(at("2-other.xml.gz"), METADATA, "the announced size is limited too");
        assert_eq!(at("3-unknown.xml.gz"), METADATA);
        assert_eq!(at("repomd.xml"), INDEX);
        assert_eq!(at("repomd.xml.asc"), INDEX);
    }

    #[test]
    fn an_excessive_unpacked_size_is_found_in_every_format() {
        let directory = tempfile::tempdir().unwrap();
        let zeros = vec![0u8; 1 << 20];
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&zeros).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 0);
        xz.write_all(&zeros).unwrap();
        let mut bz = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bz.write_all(&zeros).unwrap();
        let packed = [
            ("gz", gz.finish().unwrap()),
            ("xz", xz.finish().unwrap()),
            ("bz2", bz.finish().unwrap()),
            ("zst", zstd::encode_all(&*zeros, 1).unwrap()),
        ];
        for (end, content) in packed {
            let path = directory.path().join(format!("primary.xml.{end}"));
            fs::write(&path, content).unwrap();
            assert!(unpacks_to_more(&path, (1 << 20) - 1), "{end}");
            assert!(!unpacks_to_more(&path, 1 << 20), "{end}");
        }
    }
}
