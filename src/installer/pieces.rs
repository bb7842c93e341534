//! Boot pieces: the installer's kernel, ramdisk and second stage, from files, an ISO image or an
//! install tree; checked, and of the image's own distribution.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::iso::Iso;
use super::magic;
use super::release::{Comparison, ImageRelease, compare};
use super::store::Store;
use super::tree::Tree;
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::http::{self, Client, Redirects, Trust, WebUrl};
use crate::installer::treeinfo::{self, Checksum, Release, TreeInfo, TreePath};
use crate::recipe::DeploySettings;
use crate::report::{Report, Unit, bytes};
use crate::set::{Piece, Role, Set};

/// No kernel, ramdisk or second stage is larger; a server that sends more sends another file.
const LARGEST: u64 = 8 << 30;
/// Where the pieces are in a tree that does not say so; the second stage is the first of its names
/// that exists.
const KERNEL: &str = "images/pxeboot/vmlinuz";
const RAMDISK: &str = "images/pxeboot/initrd.img";
const STAGE2: [&str; 2] = ["images/install.img", "LiveOS/squashfs.img"];

/// One file, here or on a web server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file of this machine.
    File(PathBuf),
    /// A file of a web server.
    Web(WebUrl),
}

/// Where boot pieces come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// From single files.
    Files {
        /// The kernel.
        kernel: Place,
        /// The initramfs.
        ramdisk: Place,
        /// The second stage.
        stage2: Option<Place>,
    },
    /// From an install tree: a directory, an ISO image or a URL.
    Tree(Place),
}

/// How boot pieces of another distribution or release than the image's are handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mismatch {
    /// It is an error.
    #[default]
    Refuse,
    /// It is a warning.
    Allow,
}

/// How pieces are gathered.
#[derive(Debug, Clone)]
pub struct Gathering<'a> {
    /// osimg's cache directory.
    pub cache: &'a Path,
    /// The authorities that servers are checked against; the host's when there are none.
    pub ca: Option<&'a Path>,
    /// How a mismatch is handled.
    pub mismatch: Mismatch,
    /// Names of findings that were allowed; [`unrecognised_names`] are for pieces.
    pub allow: &'a BTreeSet<String>,
}

/// The pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootPieces {
    /// The kernel.
    pub kernel: Piece,
    /// The initramfs.
    pub ramdisk: Piece,
    /// The second stage.
    pub stage2: Option<Piece>,
    /// The distribution that they are of, where that is known.
    pub release: Option<Release>,
}

/// The names that let a boot piece pass although its first bytes do not identify it.
#[must_use]
pub(crate) fn unrecognised_names() -> Vec<String> {
    [Role::Kernel, Role::Ramdisk, Role::Stage2].map(magic::unrecognised).to_vec()
}

impl BootPieces {
    /// Puts them into the set.
    pub fn join(self, set: &mut Set) {
        set.kernel = Some(self.kernel);
        set.ramdisk = Some(self.ramdisk);
        set.stage2 = self.stage2;
    }
}

impl Place {
    /// Reads a path or a URL.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("file://") {
            return Ok(Self::File(path.into()));
        }
        if text.contains("://") {
            return match WebUrl::parse(text) {
                Ok(url) => Ok(Self::Web(url)),
                Err(why) => Err(Failure::new(
                    ExitCode::Usage,
                    format!("reading the URL of a boot piece: {why}"),
                )
                .hint(
                    "a file, or an http or https URL; what is published already is found again by \
                     its digest",
                )
                .into()),
            };
        }
        if text.is_empty() {
            return Err(Failure::new(
                ExitCode::Usage,
                "reading the path of a boot piece: it is empty",
            )
            .into());
        }
        Ok(Self::File(text.into()))
    }

    /// Checks that a file of this host can be opened.
    fn check_file(&self) -> Result<()> {
        match self {
            Self::File(path) => crate::files::open(path)
                .map(drop)
                .or_fail(ExitCode::Recipe, format!("reading {}", path.display())),
            Self::Web(_) => Ok(()),
        }
    }

    fn fetch(
        &self,
        what: Role,
        store: &Store,
        ca: Option<&Path>,
        progress: impl FnMut(u64, u64),
    ) -> Result<Piece> {
        match self {
            Self::File(path) => Piece::from_file(path, progress),
            Self::Web(url) => {
                let client = Client::new(&Trust::named(ca), Redirects::Follow)?;
                let piece = store.keep(url.as_str(), None, |part| {
                    let take = |bytes: &[u8], begins| part.take(bytes, begins);
                    http::download(&client, url, LARGEST, progress, take)
                })?;
                piece.ok_or_else(|| {
                    Failure::new(
                        ExitCode::Repository,
                        format!("fetching the {what} {url}: there is none"),
                    )
                    .into()
                })
            }
        }
    }
}

impl Source {
    /// The source that settings or options name; `None` without one.
    ///
    /// # Errors
    /// When they contradict each other or leave a piece out.
    pub fn choose(
        kernel: Option<&str>,
        ramdisk: Option<&str>,
        stage2: Option<&str>,
        tree: Option<&str>,
    ) -> Result<Option<Self>> {
        let wrong = |message: &str, hint: &str| {
            Err(Failure::new(ExitCode::Usage, message).hint(hint).into())
        };
        match (kernel, ramdisk, tree) {
            (None, None, Some(tree)) if stage2.is_none() => {
                Ok(Some(Self::Tree(Place::parse(tree)?)))
            }
            (_, _, Some(_)) => wrong(
                "choosing the boot pieces: both an install tree and single files are named",
                "keep one of them",
            ),
            (Some(kernel), Some(ramdisk), None) => Ok(Some(Self::Files {
                kernel: Place::parse(kernel)?,
                ramdisk: Place::parse(ramdisk)?,
                stage2: stage2.map(Place::parse).transpose()?,
            })),
            (None, None, None) if stage2.is_none() => Ok(None),
            _ => wrong(
                "choosing the boot pieces: kernel, ramdisk and stage2 go together, and one of \
                 them is missing",
                "name all three, or an install tree that has them",
            ),
        }
    }

    /// The source that `[deploy]` names.
    ///
    /// # Errors
    /// As [`Source::choose`].
    pub(crate) fn from_settings(settings: &DeploySettings) -> Result<Option<Self>> {
        let DeploySettings { kernel, ramdisk, stage2, tree, .. } = settings;
        Self::choose(kernel.as_deref(), ramdisk.as_deref(), stage2.as_deref(), tree.as_deref())
    }

    /// Checks that what is on this host exists and can be opened.
    ///
    /// # Errors
    /// When a file or tree is missing or cannot be read.
    pub(crate) fn check_files(&self) -> Result<()> {
        match self {
            Self::Files { kernel, ramdisk, stage2 } => {
                let places = [Some(kernel), Some(ramdisk), stage2.as_ref()];
                places.into_iter().flatten().try_for_each(Place::check_file)
            }
            Self::Tree(Place::File(path)) if path.is_dir() => Ok(()),
            Self::Tree(place) => place.check_file(),
        }
    }

    /// Gathers and checks the pieces for an image.
    ///
    /// # Errors
    /// When one is not available, does not match its tree's checksum, is not a kernel, ramdisk or
    /// second stage, or belongs to another distribution.
    pub fn gather(
        &self,
        image: &ImageRelease,
        how: &Gathering<'_>,
        report: &Report,
    ) -> Result<BootPieces> {
        let step = report.step("gathering the boot pieces");
        let progress = |done, total| step.progress(Unit::Bytes, done, total);
        let store = Store::open(how.cache)?;
        let pieces = match self {
            Self::Files { kernel, ramdisk, stage2 } => BootPieces {
                kernel: kernel.fetch(Role::Kernel, &store, how.ca, progress)?,
                ramdisk: ramdisk.fetch(Role::Ramdisk, &store, how.ca, progress)?,
                stage2: stage2
                    .as_ref()
                    .map(|place| place.fetch(Role::Stage2, &store, how.ca, progress))
                    .transpose()?,
                release: None,
            },
            Self::Tree(place) => {
                let mut tree = open(place, how.ca)?;
                let info = describe(&mut tree)?;
                belongs(&tree, &info, image, how.mismatch, report)?;
                let mut take = |path: &TreePath, role: Role| {
                    let checksum = info.checksums.get(path.as_str());
                    let piece = tree.piece(path, checksum, &store, LARGEST, progress)?;
                    if let Some(piece) = &piece
                        && !matches!(checksum, Some(Checksum::Sha256(_)))
                    {
                        let why = match checksum {
                            Some(Checksum::Other(kind)) => {
                                format!("its .treeinfo has only a {kind} of it")
                            }
                            _ => "its .treeinfo has no checksum of it".to_owned(),
                        };
                        report.warn(&format!(
                            "{} was not checked: {why}; its sha256 is {}",
                            tree.place(path.as_str()),
                            piece.sha256
                        ));
                    }
                    step.item(role.word());
                    Ok::<_, anyhow::Error>(piece)
                };
                let missing = |path: &TreePath| {
                    Failure::new(
                        ExitCode::Repository,
                        format!("taking {path} from the install tree: it is not there"),
                    )
                    .hint("take another mirror, or the DVD's image instead of the small one")
                };
                let TreeDescription { kernel, ramdisk, stage2, .. } = &info;
                let mut found = None;
                for path in stage2 {
                    found = take(path, Role::Stage2)?;
                    if found.is_some() {
                        break;
                    }
                }
                BootPieces {
                    kernel: take(kernel, Role::Kernel)?.ok_or_else(|| missing(kernel))?,
                    ramdisk: take(ramdisk, Role::Ramdisk)?.ok_or_else(|| missing(ramdisk))?,
                    stage2: Some(found.ok_or_else(|| missing(stage2.first().unwrap_or(kernel)))?),
                    release: info.release,
                }
            }
        };
        let roles = [
            (Role::Kernel, Some(&pieces.kernel)),
            (Role::Ramdisk, Some(&pieces.ramdisk)),
            (Role::Stage2, pieces.stage2.as_ref()),
        ];
        for (role, piece) in roles.into_iter().filter_map(|(role, piece)| Some((role, piece?))) {
            let Some(doubt) = magic::check(role, piece, image.arch.as_deref())? else { continue };
            let name = magic::unrecognised(role);
            if !how.allow.contains(&name) {
                return Err(Failure::new(
                    ExitCode::Usage,
                    format!("taking {} as the {role}: it is not recognised", piece.path.display()),
                )
                .hint(
                    "name the installer's own file: images/pxeboot/vmlinuz, \
                     images/pxeboot/initrd.img, images/install.img",
                )
                .hint(format!("to take it as it is: --allow {name}"))
                .into());
            }
            report.warn(&doubt);
        }
        if pieces.release.is_none() {
            let of = image
                .id
                .as_ref()
                .zip(image.version.as_ref())
                .map_or("the image's own".to_owned(), |(id, v)| format!("{id} {v}"));
            report.note(&format!("the release of the boot pieces is not known: it must be {of}"));
        }
        let total = roles.iter().filter_map(|(_, piece)| Some(piece.as_ref()?.size)).sum();
        step.finish(&format!(
            "{}, {}",
            pieces.release.as_ref().map_or("boot pieces".to_owned(), ToString::to_string),
            bytes(total)
        ));
        Ok(pieces)
    }
}

/// The description of a tree, from its `.treeinfo` or from the usual places.
struct TreeDescription {
    release: Option<Release>,
    arch: Option<String>,
    kernel: TreePath,
    ramdisk: TreePath,
    /// The first that exists.
    stage2: Vec<TreePath>,
    checksums: std::collections::BTreeMap<String, Checksum>,
}

fn open(place: &Place, ca: Option<&Path>) -> Result<Tree> {
    match place {
        Place::Web(url) if url.file_name().to_ascii_lowercase().ends_with(".iso") => {
            Err(Failure::new(
                ExitCode::Usage,
                format!("opening the install tree {url}: it is an ISO image on a server"),
            )
            .hint("download it and name the file, or name the tree's own URL, where .treeinfo is")
            .into())
        }
        Place::Web(url) => {
            let text = url.as_str().trim_end_matches('/');
            let text = text.strip_suffix(".treeinfo").unwrap_or(text);
            let url = WebUrl::parse(text).map_err(|why| {
                Failure::new(ExitCode::Usage, format!("opening the install tree: {why}"))
            })?;
            Ok(Tree::Web { url, client: Client::new(&Trust::named(ca), Redirects::Follow)? })
        }
        Place::File(path) if path.is_dir() => Ok(Tree::Directory(path.clone())),
        Place::File(path) => {
            let doing = || format!("opening the install tree {}", path.display());
            let file = crate::files::open(path).or_fail(ExitCode::Usage, doing())?;
            if !magic::is_iso(file.try_clone().or_fail(ExitCode::Space, doing())?) {
                return Err(Failure::new(
                    ExitCode::Usage,
                    format!("{}: it is neither a directory nor an ISO image", doing()),
                )
                .into());
            }
            Ok(Tree::Iso {
                path: path.clone(),
                image: Iso::open(file).or_fail(ExitCode::Space, doing())?,
            })
        }
    }
}

fn describe(tree: &mut Tree) -> Result<TreeDescription> {
    for name in [".treeinfo", "treeinfo"] {
        let Some(text) = tree.text(name, treeinfo::LONGEST as u64)? else { continue };
        let place = tree.place(name);
        let wrong = |why: &str| {
            Failure::new(ExitCode::Repository, format!("reading {place}:{why}"))
                .hint("is it the tree's top, .../os/?")
        };
        let info = TreeInfo::parse(&text).map_err(|error| {
            wrong(&if error.place.is_some() { error.to_string() } else { format!(" {error}") })
        })?;
        let (kernel, ramdisk) = info.boot().map_err(|why| wrong(&format!(" {why}")))?;
        let stage2 = info.stage2.clone().map_or_else(usual_stage2, |path| Ok(vec![path]))?;
        return Ok(TreeDescription {
            kernel: kernel.clone(),
            ramdisk: ramdisk.clone(),
            stage2,
            release: Some(info.release),
            arch: Some(info.arch),
            checksums: info.checksums,
        });
    }
    // Small boot images have only a .discinfo: time stamp, release, architecture, each on its line.
    let disc = tree.text(".discinfo", 4096)?;
    let line = |number: usize| {
        disc.as_ref()
            .and_then(|text| text.lines().nth(number))
            .map(str::trim)
            .filter(|line| !line.is_empty())
    };
    let release = line(1).and_then(|line| line.rsplit_once(' ')).map(|(name, version)| Release {
        name: name.to_owned(),
        short: None,
        version: version.to_owned(),
    });
    let here = usual(KERNEL)?;
    if disc.is_none() && matches!(tree, Tree::Web { .. }) {
        return Err(Failure::new(
            ExitCode::Repository,
            format!("reading {}: there is none", tree.place(".treeinfo")),
        )
        .hint("name the tree's top, where .treeinfo is: .../BaseOS/x86_64/os")
        .into());
    }
    Ok(TreeDescription {
        release,
        arch: line(2).map(str::to_owned),
        kernel: here,
        ramdisk: usual(RAMDISK)?,
        stage2: usual_stage2()?,
        checksums: std::collections::BTreeMap::new(),
    })
}

fn usual(path: &str) -> Result<TreePath> {
    TreePath::parse(path).map_err(|why| anyhow::anyhow!("looking for {path}: {why}"))
}

fn usual_stage2() -> Result<Vec<TreePath>> {
    STAGE2.iter().map(|path| usual(path)).collect()
}

fn belongs(
    tree: &Tree,
    known: &TreeDescription,
    image: &ImageRelease,
    mismatch: Mismatch,
    report: &Report,
) -> Result<()> {
    let place = tree.place("");
    if let (Some(have), Some(want)) = (&known.arch, &image.arch)
        && have != want
    {
        return Err(Failure::new(
            ExitCode::Recipe,
            format!(
                "comparing the install tree {place} with the image: it is for {have}, the image \
                 for {want}"
            ),
        )
        .hint(format!("take the tree for {want}"))
        .into());
    }
    let Some(release) = &known.release else { return Ok(()) };
    match (compare(release, image), mismatch) {
        (Comparison::Same, _) => Ok(()),
        (Comparison::Note(note), _) => {
            report.note(&note);
            Ok(())
        }
        (Comparison::Differs(how), Mismatch::Allow) => {
            report.warn(&format!("{how}: allowed, as asked"));
            Ok(())
        }
        (Comparison::Differs(how), Mismatch::Refuse) => Err(Failure::new(
            ExitCode::Recipe,
            format!("comparing the install tree {place} with the image: {how}"),
        )
        .hint(
            "the installer decides where the boot loader goes (EFI/<distribution>) and runs the \
             image's tools: take the image's own release",
        )
        .hint("if they do fit: --allow-release-mismatch")
        .into()),
    }
}
